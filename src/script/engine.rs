//! QuickJS: one realm a thread, bounded in time and memory.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::Duration,
};

use rquickjs::{
    Array, CatchResultExt, CaughtError, Context, Ctx, Function, Object, Persistent, Runtime, Value,
    context::{EvalOptions, intrinsic},
};
use rustc_hash::FxHashMap;
use rustix::time::{ClockId, clock_gettime};

use super::{
    Answer, Call, Fault, Inner, Limits,
    answer::Wrong,
    bridge::{Bridge, Given},
    held::{Held, Tools},
};
use crate::schema::Direction;

/// All that a script may use. What else an engine has (clocks, weak references) is not added at all; Date and code made of text
/// are, and `realm.js` tames them.
type Intrinsics = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    intrinsic::Proxy,
    intrinsic::MapSet,
    intrinsic::TypedArrays,
    intrinsic::Promise,
);

const REALM: &str = include_str!("realm.js");

/// The file of the realm's own functions in stack traces.
const REALM_FILE: &str = "<realm>";

/// Of the thread's stack, whose least size is 2 MiB in Tokio and in std.
const STACK: usize = 512 << 10;

/// What is collected less often than QuickJS would: the realm itself is looked through each time.
const GARBAGE: usize = 4 << 20;

/// Compiled scripts in one realm: more are only seen where many configurations are tried.
const SCRIPTS: usize = 64;

/// Values that are read or written, after which the clock is looked at.
pub const STEPS: usize = 4096;

thread_local! {
    static CURRENT: RefCell<Option<Realm>> = const { RefCell::new(None) };
}

/// A context whose globals are frozen. Fields are dropped in this order: what is held of the runtime goes before it.
struct Realm {
    compiled: FxHashMap<u64, Persistent<Function<'static>>>,
    /// Ties modules together.
    link: Persistent<Function<'static>>,
    context: Context,
    runtime: Runtime,
    watch: Rc<Watch>,
    held: Rc<RefCell<Held>>,
    is_used: bool,
}

/// Tells a call that takes too long.
#[derive(Default)]
pub struct Watch {
    limit: Cell<Duration>,
    /// When the engine first asked. The clock is a system call, which short calls are spared.
    since: Cell<Option<Duration>>,
    has_struck: Cell<bool>,
}

impl Watch {
    fn start(&self, limit: Duration) {
        self.limit.set(limit);
        self.since.set(None);
        self.has_struck.set(false);
    }

    /// Asked by the engine, and by what reads documents and answers, after every few thousand steps.
    pub fn strikes(&self) -> bool {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        let now = Duration::try_from(now).unwrap_or_default();
        let since = self.since.get().unwrap_or(now);
        self.since.set(Some(since));
        let strikes = now.saturating_sub(since) > self.limit.get();
        self.has_struck.set(self.has_struck.get() || strikes);
        strikes
    }
}

/// How a call ended.
struct Ended<T> {
    result: Result<T, Fault>,
    /// A limit was met: what the engine was doing may be half done.
    is_spoiled: bool,
    ran_out_of_memory: bool,
}

/// Compiles a script in a realm of its own, and runs its modules once.
pub fn check(script: &Inner) -> Result<(), Fault> {
    let mut realm = Realm::new(script)?;
    realm
        .run(script, |ctx, function, _| {
            let nothing = Object::new(ctx.clone())?;
            function.call((Value::new_undefined(ctx.clone()), nothing.clone(), nothing, ""))
        })
        .result
        .and_then(|is_pair: bool| match is_pair {
            true => Ok(()),
            false => Err(Fault::of(script, "`up` and `down` have to be functions")),
        })
}

/// Runs a script in the thread's realm.
pub fn call(script: &Inner, call: &Call) -> Result<Answer, Fault> {
    CURRENT.with_borrow_mut(|current| {
        let mut realm = match current.take() {
            Some(realm) => realm,
            None => Realm::new(script)?,
        };
        let was_used = std::mem::replace(&mut realm.is_used, true);
        let ended = realm.call(script, call);
        if !ended.is_spoiled {
            *current = Some(realm);
            return ended.result;
        }
        drop(realm);
        // What earlier calls have left behind is no fault of this one.
        if ended.ran_out_of_memory && was_used {
            return call_afresh(script, call);
        }
        ended.result
    })
}

/// Runs a script where nothing has run before.
pub fn call_afresh(script: &Inner, call: &Call) -> Result<Answer, Fault> {
    Realm::new(script)?.call(script, call).result
}

impl Drop for Realm {
    fn drop(&mut self) {
        // The realm holds it, too, and it holds what is of the realm.
        *self.held.borrow_mut() = Held::default();
    }
}

impl Realm {
    fn new(script: &Inner) -> Result<Self, Fault> {
        Self::build().map_err(|error| Fault::of(script, format!("the engine cannot be started: {error}")))
    }

    fn build() -> rquickjs::Result<Self> {
        let runtime = Runtime::new()?;
        runtime.set_max_stack_size(STACK);
        runtime.set_gc_threshold(GARBAGE);
        let context = Context::custom::<Intrinsics>(&runtime)?;
        let held = Rc::new(RefCell::new(Held::default()));
        let watch = Rc::new(Watch::default());
        let link = context.with(|ctx| {
            let realm: Function = ctx.eval_with_options(REALM, options(REALM_FILE))?;
            let tools: Object = realm.call((Bridge::filler(&ctx, held.clone(), watch.clone())?,))?;
            let link: Persistent<Function> = tools.get("link")?;
            held.borrow_mut().tools = Some(Tools::save(&tools)?);
            rquickjs::Result::Ok(link)
        })?;
        let asked = watch.clone();
        runtime.set_interrupt_handler(Some(Box::new(move || asked.strikes())));
        Ok(Self {
            compiled: FxHashMap::default(),
            link,
            context,
            runtime,
            watch,
            held,
            is_used: false,
        })
    }

    fn call(&mut self, script: &Inner, call: &Call) -> Ended<Answer> {
        let limit = script.limits.memory;
        let mut ended = self.run(script, |ctx, function, bridge| {
            let mut given = Given::default();
            let docs = Object::new(ctx.clone())?;
            for (class, fields) in call.docs {
                bridge.give(&mut given, &docs, class, fields)?;
            }
            let existing = Object::new(ctx.clone())?;
            if let Some(fields) = call.existing {
                bridge.give(&mut given, &existing, call.target, fields)?;
            }
            let way = match call.way {
                Direction::Up => "up",
                Direction::Down => "down",
            };
            let answer: Value = function.call((call.way == Direction::Up, docs, existing, call.key))?;
            match bridge.take(&given, way, &answer, call.target, limit) {
                Ok(answer) => Ok(Ok(answer)),
                Err(Wrong::Said(what)) => Ok(Err(what)),
                Err(Wrong::Engine(error)) => Err(error),
            }
        });
        if self.runtime.is_job_pending() {
            ended.is_spoiled = true;
            ended.result = Err(Fault::of(
                script,
                "starts something asynchronous: `up` and `down` answer at once",
            ));
        }
        Ended {
            result: ended
                .result
                .and_then(|answer| answer.map_err(|what| Fault::of(script, what))),
            is_spoiled: ended.is_spoiled,
            ran_out_of_memory: ended.ran_out_of_memory,
        }
    }

    /// Enters the realm, with the script's function and its limits.
    fn run<T>(
        &mut self,
        script: &Inner,
        run: impl for<'js> FnOnce(&Ctx<'js>, &Function<'js>, &Bridge<'js, '_>) -> rquickjs::Result<T>,
    ) -> Ended<T> {
        let Limits { time, memory } = script.limits;
        self.runtime.set_memory_limit(memory);
        self.watch.start(time);
        let Self {
            compiled,
            link,
            context,
            watch,
            held,
            ..
        } = self;
        context.with(|ctx| {
            let ran = (|| {
                let function = match compiled.get(&script.id) {
                    Some(function) => function.clone().restore(&ctx)?,
                    None => {
                        let function = compile(&ctx, script, link)?;
                        if compiled.len() >= SCRIPTS {
                            compiled.clear();
                        }
                        compiled.insert(script.id, Persistent::save(&ctx, function.clone()));
                        function
                    }
                };
                held.borrow_mut().begin(memory);
                let bridge = Bridge { ctx: &ctx, held, watch };
                let ran = run(&ctx, &function, &bridge);
                held.borrow_mut().forget();
                ran
            })();
            match ran.catch(&ctx) {
                // A script that went on all the same would make something else on a faster machine.
                Ok(_) if watch.has_struck.get() => told(script, watch, CaughtError::Error(rquickjs::Error::Unknown)),
                Ok(value) => Ended {
                    result: Ok(value),
                    is_spoiled: false,
                    ran_out_of_memory: false,
                },
                Err(error) => told(script, watch, error),
            }
        })
    }
}

fn options(file: &str) -> EvalOptions {
    let mut options = EvalOptions::default();
    options.filename = Some(file.to_owned());
    options
}

/// The modules' functions, tied together.
fn compile<'js>(
    ctx: &Ctx<'js>,
    script: &Inner,
    link: &Persistent<Function<'static>>,
) -> rquickjs::Result<Function<'js>> {
    let functions = Array::new(ctx.clone())?;
    let imports = Array::new(ctx.clone())?;
    for (n, module) in script.modules.iter().enumerate() {
        let function: Function = ctx.eval_with_options(module.function.as_str(), options(&module.file))?;
        functions.set(n, function)?;
        imports.set(n, module.imports.clone())?;
    }
    let are_still = script.modules.iter().all(|module| module.is_still);
    link.clone().restore(ctx)?.call((functions, imports, are_still))
}

/// How the engine refuses to change an object.
const REFUSALS: [&str; 4] = [
    " is read-only",
    "object is not extensible",
    "could not delete property",
    "property is not configurable",
];

/// What they mean most often.
const READ_ONLY: &str = ": documents are, make a new object, as in `{ ...document, field: value }`";

/// An error of the engine in our words.
fn told<T>(script: &Inner, watch: &Watch, error: CaughtError) -> Ended<T> {
    let (what, stack) = match &error {
        CaughtError::Exception(exception) => {
            let name = exception.as_object().get::<_, String>("name").unwrap_or_default();
            let message = exception.message().unwrap_or_default();
            let is_refused = REFUSALS.iter().any(|refusal| message.ends_with(refusal));
            let hint = if is_refused { READ_ONLY } else { "" };
            (
                format!("{name}: {message}{hint}"),
                exception.stack().unwrap_or_default(),
            )
        }
        CaughtError::Value(value) => (format!("throws {}", shown(value)), String::new()),
        CaughtError::Error(error) => (error.to_string(), String::new()),
    };
    // Without memory for an error the engine throws null.
    let is_null = matches!(&error, CaughtError::Value(value) if value.is_null());
    let Limits { time, memory } = script.limits;
    let ran_out_of_memory = is_null || what.starts_with("InternalError: out of memory");
    let limit = if watch.has_struck.get() {
        let time = time.as_millis();
        Some(format!("takes longer than {time} ms: does a loop not end?"))
    } else if is_null {
        Some(format!("throws null, or takes more than {} MB of memory", memory >> 20))
    } else if ran_out_of_memory {
        Some(format!("takes more than {} MB of memory", memory >> 20))
    } else if what.starts_with("RangeError: Maximum call stack size exceeded") {
        Some("calls itself too deep".to_owned())
    } else {
        None
    };
    Ended {
        is_spoiled: limit.is_some(),
        ran_out_of_memory,
        result: Err(Fault::traced(script, &stack, limit.unwrap_or(what))),
    }
}

/// What was thrown, if it is no error.
fn shown(value: &Value) -> String {
    let text = value.as_string().and_then(|text| text.to_string().ok());
    text.map_or_else(|| value.type_name().to_owned(), |text| format!("“{text}”"))
}
