//! What a script answers, read back into fields.

use std::fmt::Write;

use rquickjs::{Array, Atom, Filter, Function, Object, Type, Value};
use serde_json::value::RawValue;

use super::{
    Answer,
    bridge::{Bridge, Given, Held, number},
};
use crate::couch::Fields;

/// How deep an answer may be nested; one that holds itself is deeper.
const DEPTH: usize = 100;

/// Values after which the clock is looked at.
const STEPS: usize = 4096;

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
        let document: Value = documents.get(target)?;
        if document.is_null() {
            return Ok(Answer::Nothing);
        }
        if document.is_undefined() {
            let mut names = Vec::new();
            for name in documents.keys::<Atom>() {
                names.push(format!("`{}`", text(&name?)?));
            }
            let instead = match names.is_empty() {
                true => "nothing".to_owned(),
                false => names.join(", "),
            };
            return wrong(format!(
                "`{way}` answers {instead}, but no `{target}`: null says that there is none"
            ));
        }
        let held = self.held.borrow();
        let origin = match held.texts.is_empty() {
            true => None,
            false => Some(self.tools.origin.clone().restore(self.ctx)?),
        };
        drop(held);
        let mut writer = Writer {
            bridge: self,
            given,
            origin,
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
    /// Tells what is passed on as it was given; none if nothing was given that could be.
    origin: Option<Function<'js>>,
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
        let mut fields: Vec<(Box<str>, Box<RawValue>)> = Vec::new();
        for member in object.own_props::<Atom, Value>(Filter::new().string().enum_only()) {
            let (name, value) = member?;
            let name = text(&name)?;
            if name.starts_with('_') {
                return wrong(format!(
                    "a member `{name}`: what begins with an underscore is not a script's to say"
                ));
            }
            if value.is_undefined() {
                continue;
            }
            let value = self.field(&name, &value).map_err(|error| within(error, &name))?;
            fields.push((name.into(), value));
        }
        Ok(fields.into_iter().collect())
    }

    fn field(&mut self, name: &str, value: &Value<'js>) -> Taken<Box<RawValue>> {
        if let Some(text) = self.given.text(name, value) {
            self.length += text.get().len();
            return Ok(text.to_owned());
        }
        if let Some(n) = self.known(value)? {
            let held = self.bridge.held.borrow();
            self.length += held.texts[n].get().len();
            return Ok(held.texts[n].clone());
        }
        let mut text = String::new();
        self.value(&mut text, name, value, 0)?;
        self.length += text.len();
        RawValue::from_string(text).or_else(|error| wrong(format!("what is no JSON: {error}")))
    }

    /// The number of an object or array that was given.
    fn known(&self, value: &Value<'js>) -> Taken<Option<usize>> {
        match &self.origin {
            Some(origin) if value.is_object() => {
                let n: Value = origin.call((value.clone(),))?;
                Ok(n.as_int().and_then(|n| usize::try_from(n).ok()))
            }
            _ => Ok(None),
        }
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
        match value.type_of() {
            Type::Null => to.push_str("null"),
            Type::Bool => to.push_str(if value.as_bool() == Some(true) { "true" } else { "false" }),
            Type::Int => {
                let n = value.as_int().unwrap_or_default();
                self.scalar(to, name, n.to_string(), Some(f64::from(n)));
            }
            Type::Float => {
                let n = value.as_float().unwrap_or_default();
                let canonical = number(n);
                let is_written = self.bridge.held.borrow().spelled(name, &canonical, Some(n)).is_some();
                if !n.is_finite() && !is_written {
                    return wrong(format!("{n}, which JSON does not have"));
                }
                self.scalar(to, name, canonical, Some(n));
            }
            Type::BigInt => {
                let text: String = self
                    .bridge
                    .tools
                    .text
                    .clone()
                    .restore(self.bridge.ctx)?
                    .call((value.clone(),))?;
                to.push_str(&text);
            }
            Type::String => self.string(to, name, value)?,
            _ => match (self.known(value)?, plain(value)) {
                (Some(n), _) => to.push_str(self.bridge.held.borrow().texts[n].get()),
                (None, Some(object)) if !value.is_array() => self.object(to, object, depth)?,
                (None, Some(_)) => {
                    let array = value.as_array().cloned();
                    self.array(to, name, &array.map_or_else(|| wrong("no array"), Ok)?, depth)?;
                }
                (None, None) => return wrong(format!("{}, which JSON does not have", kind(value))),
            },
        }
        Ok(())
    }

    fn scalar(&self, to: &mut String, name: &str, canonical: String, number: Option<f64>) {
        let held: &Held = &self.bridge.held.borrow();
        to.push_str(held.spelled(name, &canonical, number).unwrap_or(&canonical));
    }

    fn string(&self, to: &mut String, name: &str, value: &Value<'js>) -> Taken<()> {
        let text = value.as_string().map(|text| text.to_string());
        if let Some(Ok(text)) = text {
            self.scalar(to, name, serde_json::to_string(&text).unwrap_or_default(), None);
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
        to.push('[');
        for (n, item) in array.iter::<Value>().enumerate() {
            if n > 0 {
                to.push(',');
            }
            self.value(to, name, &item?, depth + 1)
                .map_err(|error| within(error, &n.to_string()))?;
        }
        to.push(']');
        Ok(())
    }

    fn object(&mut self, to: &mut String, object: &Object<'js>, depth: usize) -> Taken<()> {
        to.push('{');
        let mut is_first = true;
        for member in object.own_props::<Atom, Value>(Filter::new().string().enum_only()) {
            let (name, value) = member?;
            let name = text(&name)?;
            if value.is_undefined() {
                continue;
            }
            let comma = if is_first { "" } else { "," };
            is_first = false;
            let _ = write!(to, "{comma}{}:", serde_json::to_string(&name).unwrap_or_default());
            self.value(to, &name, &value, depth + 1)
                .map_err(|error| within(error, &name))?;
        }
        to.push('}');
        Ok(())
    }
}

/// A name. `Atom` itself would cut it at its first U+0000, and take halves of characters for text.
fn text(name: &Atom) -> Taken<String> {
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
