//! What a script answers, read back into fields.

use std::{fmt::Write, rc::Rc};

use rquickjs::{Array, Atom, Coerced, Filter, Object, Persistent, Type, Value, atom::PredefinedAtom};
use serde_json::value::RawValue;
use smol_str::SmolStr;

use super::{
    Answer,
    bridge::{Bridge, Given, number},
    engine::STEPS,
    layout::{Layout, Name},
};
use crate::couch::Fields;

/// How deep an answer may be nested; one that holds itself is deeper.
const DEPTH: usize = 100;

/// What CouchDB takes for no JSON.
const HALF: &str = "half of a character: cut texts as in `[...text].slice(0, 9).join('')`";

/// Why an answer is none.
pub enum Wrong {
    /// In our words.
    Said(String),
    /// A getter of the answer's, say, has failed.
    Engine(rquickjs::Error),
}

impl From<rquickjs::Error> for Wrong {
    fn from(error: rquickjs::Error) -> Self {
        Wrong::Engine(error)
    }
}

type Taken<T> = Result<T, Wrong>;

fn wrong<T>(what: impl Into<String>) -> Taken<T> {
    Err(Wrong::Said(what.into()))
}

impl<'js> Bridge<'js, '_> {
    /// Reads the answer of `way`. `limit`: bytes that a document may take.
    pub fn take(
        &self,
        given: &Given<'js, '_>,
        way: &str,
        answer: &Value<'js>,
        target: &str,
        limit: usize,
    ) -> Taken<Answer> {
        if answer.is_null() {
            return Ok(Answer::NotReady);
        }
        if answer.is_promise() {
            return wrong(format!(
                "`{way}` answers a promise: it has to answer at once, so it cannot be `async`"
            ));
        }
        let documents = match answer.as_object() {
            Some(documents) if !answer.is_function() && !answer.is_array() => documents,
            _ => {
                let what = kind(answer);
                return wrong(format!(
                    "`{way}` answers {what} instead of documents: `{{ \"{target}\": {{ … }} }}`, or null"
                ));
            }
        };
        let document: Value = documents.get(self.class(target)?)?;
        if document.is_null() {
            return Ok(Answer::Nothing);
        }
        if document.is_undefined() {
            let mut names = Vec::new();
            for name in documents.keys::<Atom>() {
                names.push(format!("`{}`", text(name?)?));
            }
            let instead = match names.is_empty() {
                true => "nothing".to_owned(),
                false => names.join(", "),
            };
            return wrong(format!(
                "`{way}` answers {instead}, but no `{target}`: null says that there is none"
            ));
        }
        let mut writer = Writer {
            bridge: self,
            given,
            limit,
            length: 0,
            steps: 0,
        };
        writer
            .document(&document)
            .map_err(|error| match error {
                Wrong::Said(what) => Wrong::Said(format!("`{way}` answers {target} with {what}")),
                error => error,
            })
            .map(Answer::Document)
    }
}

struct Writer<'js, 'a, 'b, 'd> {
    bridge: &'a Bridge<'js, 'b>,
    given: &'a Given<'js, 'd>,
    /// Bytes that are left.
    limit: usize,
    length: usize,
    steps: usize,
}

impl<'js> Writer<'js, '_, '_, '_> {
    fn document(&mut self, document: &Value<'js>) -> Taken<Fields> {
        let Some(object) = plain(document) else {
            return wrong(format!("{} instead of an object", kind(document)));
        };
        let (names, layout) = self.layout(object)?;
        let mut fields: Vec<(SmolStr, Box<RawValue>)> = Vec::with_capacity(names.len());
        for (n, name) in names.into_iter().enumerate() {
            let text = &layout.texts[n];
            let value: Value = object.get(name.restore(self.bridge.ctx)?)?;
            if text.starts_with('_') {
                return wrong(format!(
                    "a member `{text}`: what begins with an underscore is not a script's to say"
                ));
            }
            if value.is_undefined() {
                continue;
            }
            let value = match self.given.text(&layout.names[n], &value) {
                Some(given) => Ok(given.to_owned()),
                None => self.field(text, &value),
            };
            let value = value.map_err(|error| within(error, text))?;
            self.length += value.get().len();
            fields.push((text.clone(), value));
        }
        Ok(Fields::distinct(fields))
    }

    /// The names of an object's members, each to be used once, and its layout.
    fn layout(&self, object: &Object<'js>) -> Taken<(Vec<Name>, Rc<Layout>)> {
        let ctx = self.bridge.ctx;
        let own = object.own_keys::<Atom>(Filter::new().string().enum_only());
        let mut names = Vec::with_capacity(own.len());
        for name in own {
            names.push(Persistent::save(ctx, name?));
        }
        let layout = self.bridge.held.borrow_mut().layouts.made(ctx, &names, text)?;
        Ok((names, layout))
    }

    fn field(&mut self, name: &str, value: &Value<'js>) -> Taken<Box<RawValue>> {
        let mut text = String::new();
        self.value(&mut text, name, value, 0)?;
        RawValue::from_string(text).or_else(|error| wrong(format!("what is no JSON: {error}")))
    }

    fn value(&mut self, to: &mut String, name: &str, value: &Value<'js>, depth: usize) -> Taken<()> {
        self.steps += 1;
        if self.steps.is_multiple_of(STEPS) && self.bridge.watch.strikes() {
            return Err(Wrong::Engine(rquickjs::Error::Unknown));
        }
        if depth > DEPTH {
            return wrong(format!("what is nested deeper than {DEPTH}: does it hold itself?"));
        }
        if self.length + to.len() > self.limit {
            return wrong(format!("more than {} MB", self.limit >> 20));
        }
        if (value.is_object() || value.is_string())
            && let Some(text) = self.bridge.held.borrow().known(self.bridge.ctx, value)
        {
            to.push_str(text);
            return Ok(());
        }
        if value.is_object() {
            return match (plain(value), value.as_array()) {
                (_, Some(array)) => self.array(to, name, array, depth),
                (Some(object), None) => self.object(to, object, depth),
                (None, None) => wrong(format!("{}, which JSON does not have", kind(value))),
            };
        }
        match value.type_of() {
            Type::Null => to.push_str("null"),
            Type::Bool => to.push_str(if value.as_bool() == Some(true) { "true" } else { "false" }),
            Type::Int => {
                let n = value.as_int().unwrap_or_default();
                let start = to.len();
                let _ = write!(to, "{n}");
                self.spelled(to, start, name, Some(f64::from(n)));
            }
            Type::Float => {
                let n = value.as_float().unwrap_or_default();
                let start = to.len();
                to.push_str(&number(n));
                let is_spelled = self.spelled(to, start, name, Some(n));
                if !n.is_finite() && !is_spelled {
                    return wrong(format!("{n}, which JSON does not have"));
                }
            }
            Type::BigInt => to.push_str(&value.get::<Coerced<String>>()?),
            Type::String => self.string(to, name, value)?,
            _ => return wrong(format!("{}, which JSON does not have", kind(value))),
        }
        Ok(())
    }

    /// Puts how a number or string was written, if that was in another way, in place of what begins at `start`.
    fn spelled(&self, to: &mut String, start: usize, name: &str, number: Option<f64>) -> bool {
        let held = self.bridge.held.borrow();
        let Some(source) = held.spelled(name, &to[start..], number) else {
            return false;
        };
        to.truncate(start);
        to.push_str(source);
        true
    }

    fn string(&self, to: &mut String, name: &str, value: &Value<'js>) -> Taken<()> {
        let text = value.as_string().map(|text| text.to_string());
        if let Some(Ok(text)) = text {
            let start = to.len();
            quote(to, &text);
            self.spelled(to, start, name, None);
            return Ok(());
        }
        let canonical = self.bridge.ctx.json_stringify(value.clone())?;
        let canonical = canonical.map(|text| text.to_string()).transpose()?;
        match self
            .bridge
            .held
            .borrow()
            .spelled(name, &canonical.unwrap_or_default(), None)
        {
            Some(source) => to.push_str(source),
            None => return wrong(HALF),
        }
        Ok(())
    }

    fn array(&mut self, to: &mut String, name: &str, array: &Array<'js>, depth: usize) -> Taken<()> {
        // `Array::len` panics beyond 2^31.
        let length: f64 = array.as_object().get(PredefinedAtom::Length)?;
        to.push('[');
        for n in 0..length as usize {
            if n > 0 {
                to.push(',');
            }
            self.value(to, name, &array.get(n)?, depth + 1)
                .map_err(|error| within(error, &n.to_string()))?;
        }
        to.push(']');
        Ok(())
    }

    fn object(&mut self, to: &mut String, object: &Object<'js>, depth: usize) -> Taken<()> {
        to.push('{');
        let mut is_first = true;
        let (names, layout) = self.layout(object)?;
        for (name, text) in names.into_iter().zip(&layout.texts) {
            let value: Value = object.get(name.restore(self.bridge.ctx)?)?;
            if value.is_undefined() {
                continue;
            }
            if !std::mem::take(&mut is_first) {
                to.push(',');
            }
            quote(to, text);
            to.push(':');
            self.value(to, text, &value, depth + 1)
                .map_err(|error| within(error, text))?;
        }
        to.push('}');
        Ok(())
    }
}

/// Writes a string as JSON.
fn quote(to: &mut String, text: &str) {
    let is_escaped = |byte: u8| byte < b' ' || byte == b'"' || byte == b'\\';
    // Without a branch in it, which is many bytes at once.
    if text.bytes().fold(false, |found, byte| found | is_escaped(byte)) {
        to.push_str(&serde_json::to_string(text).unwrap_or_default());
        return;
    }
    to.push('"');
    to.push_str(text);
    to.push('"');
}

/// A name. `Atom` itself would cut it at its first U+0000, and take halves of characters for text.
fn text(name: Atom) -> Taken<String> {
    name.to_js_string()?
        .to_string()
        .or_else(|_| wrong(format!("a name that is {HALF}")))
}

/// A value that is written member by member: no function, no instance of a class.
fn plain<'v, 'js>(value: &'v Value<'js>) -> Option<&'v Object<'js>> {
    if value.is_array() || value.is_proxy() {
        return value.as_object();
    }
    let object = value.as_object().filter(|_| !value.is_function())?;
    match object.get_prototype() {
        None => Some(object),
        Some(prototype) => prototype.get_prototype().is_none().then_some(object),
    }
}

fn kind(value: &Value) -> String {
    let constructor = || {
        let constructor: Object = value.as_object()?.get("constructor").ok()?;
        constructor.get::<_, String>("name").ok()
    };
    match value.type_of() {
        Type::Undefined => "undefined".to_owned(),
        Type::Object | Type::Exception => {
            constructor().map_or_else(|| "an object".to_owned(), |name| format!("a {name}"))
        }
        other => format!("a {}", other.as_str()),
    }
}

/// Puts a member's name before what is wrong there.
fn within(error: Wrong, name: &str) -> Wrong {
    match error {
        Wrong::Said(what) => Wrong::Said(match what.strip_prefix("at `") {
            Some(rest) => format!("at `{name}.{rest}"),
            None => format!("at `{name}` {what}"),
        }),
        error => error,
    }
}
