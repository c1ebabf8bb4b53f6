//! From the text of values to JavaScript's values.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
};

use indexmap::IndexMap;
use rquickjs::{Array, Ctx, Error, Exception, Function, IntoAtom, Object, String as JsString, Value, object::Property};
use serde_json::value::RawValue;

use super::{
    bridge::{Tools, number},
    engine::{STEPS, Watch},
    held::{Held, Text},
    layout::Of,
};

/// The largest integer up to which all are numbers of JavaScript.
const SAFE: i64 = (1 << 53) - 1;

/// Integers of more digits take long to read, and stand for no count.
const DIGITS: usize = 300;

/// Objects and arrays of at most so many bytes are read with what they stand in: it is cheaper than to wait whether they are looked
/// into.
const SMALL: usize = 1 << 10;

/// How deep they are. Each depth is read through once more, and what reads cannot be interrupted.
const DEEP: usize = 8;

/// Reads values of documents.
pub struct Reader<'js, 'a> {
    pub ctx: &'a Ctx<'js>,
    pub tools: &'a Tools<Function<'js>>,
    pub held: &'a RefCell<Held>,
    pub watch: &'a Watch,
    /// Values that were read.
    pub steps: Cell<usize>,
}

/// The text that a value stands in: its number, where it begins in memory, and how much deeper one may look.
#[derive(Clone, Copy)]
struct Within {
    n: usize,
    start: usize,
    depth: usize,
}

/// The members of an object, in their order. Of a doubled name the last value stays, as in CouchDB.
type Members<'a> = IndexMap<Name<'a>, &'a RawValue>;

/// A name, borrowed where it can be.
#[derive(PartialEq, Eq, Hash, serde::Deserialize)]
pub struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

impl<'js> Reader<'js, '_> {
    /// A value that waits to be looked into if it is an object or array.
    pub fn value(&self, name: &str, value: &RawValue) -> rquickjs::Result<Value<'js>> {
        let text = value.get();
        let ctx = || self.ctx.clone();
        match text.as_bytes().first() {
            Some(b'{') | Some(b'[') => {
                let n = self.held.borrow_mut().hold(name, value)?;
                let made: Value = self.tools.make.call((n, text.starts_with('[')))?;
                self.held.borrow_mut().know(self.ctx, &made, n, 0..text.len());
                Ok(made)
            }
            Some(b'"') => self.string(name, text),
            Some(b't') => Ok(Value::new_bool(ctx(), true)),
            Some(b'f') => Ok(Value::new_bool(ctx(), false)),
            Some(b'n') | None => Ok(Value::new_null(ctx())),
            Some(_) => self.number(name, text),
        }
    }

    /// Reads an object or array that a script looks into.
    pub fn fill(&self, n: usize, into: &Object<'js>) -> rquickjs::Result<()> {
        let Some(Text { name, text }) = self.held.borrow().held(n) else {
            return Ok(());
        };
        let within = Within {
            n,
            start: text.get().as_ptr().addr(),
            depth: DEEP,
        };
        if let Some(array) = into.as_array() {
            return self.items(&name, &text, within, array);
        }
        for (Name(name), value) in self.members(&text)? {
            let value = self.inner(&name, value, within)?;
            // What stands behind a proxy has to be open to what that says of it.
            into.prop(&*name, Property::from(value).enumerable().configurable())?;
        }
        Ok(())
    }

    fn items(&self, name: &str, text: &RawValue, within: Within, into: &Array<'js>) -> rquickjs::Result<()> {
        let items: Vec<&RawValue> = serde_json::from_str(text.get()).unwrap_or_default();
        for (n, item) in items.into_iter().enumerate() {
            into.set(n, self.inner(name, item, within)?)?;
        }
        Ok(())
    }

    fn members<'t>(&self, text: &'t RawValue) -> rquickjs::Result<Members<'t>> {
        serde_json::from_str(text.get())
            .map_err(|_| Exception::throw_type(self.ctx, "an object has a name that is no text"))
    }

    fn closed(&self, text: &RawValue, within: Within) -> rquickjs::Result<Value<'js>> {
        let object = Object::new(self.ctx.clone())?;
        let members = self.members(text)?;
        let names = members.keys().map(|Name(name)| &**name);
        let layout = self.held.borrow_mut().layouts.layout(self.ctx, Of::Shown, names)?;
        for (n, (Name(name), value)) in members.into_iter().enumerate() {
            let value = self.inner(&name, value, within)?;
            match &layout {
                Some(layout) => shown(&object, layout.atom(self.ctx, n)?, value)?,
                None => shown(&object, &*name, value)?,
            }
        }
        self.tools.close.call((object,))
    }

    /// A value within one that is looked into.
    fn inner(&self, name: &str, value: &RawValue, within: Within) -> rquickjs::Result<Value<'js>> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get().is_multiple_of(STEPS) && self.watch.strikes() {
            return Err(Error::Unknown);
        }
        let text = value.get();
        let is_array = text.starts_with('[');
        if !(is_array || text.starts_with('{')) || text.len() > SMALL || within.depth == 0 {
            return self.value(name, value);
        }
        let deeper = Within {
            depth: within.depth - 1,
            ..within
        };
        let made = if is_array {
            let array = Array::new(self.ctx.clone())?;
            self.items(name, value, deeper, &array)?;
            self.tools.cover.call((array,))?
        } else {
            self.closed(value, deeper)?
        };
        let start = text.as_ptr().addr() - within.start;
        self.held
            .borrow_mut()
            .know(self.ctx, &made, within.n, start..start + text.len());
        Ok(made)
    }

    fn string(&self, name: &str, text: &str) -> rquickjs::Result<Value<'js>> {
        if !text.contains('\\') {
            let inner = &text[1..text.len() - 1];
            return Ok(JsString::from_str(self.ctx.clone(), inner)?.into_value());
        }
        let mut held = self.held.borrow_mut();
        if let Ok(string) = serde_json::from_str::<String>(text) {
            let canonical = serde_json::to_string(&string).unwrap_or_default();
            if canonical != text {
                held.note(name, canonical, text);
            }
            return Ok(JsString::from_str(self.ctx.clone(), &string)?.into_value());
        }
        // Half a surrogate pair is no string of Rust's, but one of JavaScript's: only how it stood there leads back.
        let value = self.ctx.json_parse(text)?;
        let canonical = self.ctx.json_stringify(value.clone())?;
        let canonical = canonical.map(|text| text.to_string()).transpose()?;
        held.note(name, canonical.unwrap_or_default(), text);
        Ok(value)
    }

    fn number(&self, name: &str, text: &str) -> rquickjs::Result<Value<'js>> {
        let is_integer = text != "-0" && !text.contains(['.', 'e', 'E']);
        let small = text.parse::<i64>().ok().filter(|n| is_integer && n.abs() <= SAFE);
        if let Some(n) = small {
            self.held.borrow_mut().note_plain(n as f64);
            return Ok(Value::new_number(self.ctx.clone(), n as f64));
        }
        if is_integer && text.len() <= DIGITS {
            return self.tools.bigint.call((text,));
        }
        // Beyond all numbers is infinity, which only this spelling leads back from.
        let value: f64 = text.parse().unwrap_or(f64::INFINITY);
        let mut held = self.held.borrow_mut();
        let canonical = number(value);
        match canonical == text {
            true => held.note_plain(value),
            false => held.note(name, canonical, text),
        }
        Ok(Value::new_number(self.ctx.clone(), value))
    }
}

/// Adds a member to an object that is shown to a script. It is defined, not assigned: `__proto__` is a name like others.
pub fn shown<'js>(object: &Object<'js>, name: impl IntoAtom<'js>, value: Value<'js>) -> rquickjs::Result<()> {
    object.prop(name, Property::from(value).enumerable())
}
