//! From the text of values to JavaScript's values.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
};

use indexmap::IndexMap;
use memchr::memchr;
use rquickjs::{
    Array, Ctx, Error, Exception, Object, Proxy, String as JsString, Value, atom::PredefinedAtom, object::Property,
    proxy::ProxyHandler,
};

use super::{
    bridge::number,
    engine::{STEPS, Watch},
    held::{Held, Text},
    layout::{Name, Of},
    pieces::Pieces,
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

/// Members of most objects.
const FEW: usize = 32;

/// Reads values of documents.
pub struct Reader<'js, 'a> {
    pub ctx: &'a Ctx<'js>,
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

impl<'js, 'a> Reader<'js, 'a> {
    pub fn new(ctx: &'a Ctx<'js>, held: &'a RefCell<Held>, watch: &'a Watch) -> Self {
        Self {
            ctx,
            held,
            watch,
            steps: Cell::default(),
        }
    }

    /// A value that waits to be looked into if it is an object or array.
    pub fn value(&self, name: &str, text: &str) -> rquickjs::Result<Value<'js>> {
        let ctx = || self.ctx.clone();
        match text.as_bytes().first() {
            Some(b'{' | b'[') => self.waiting(name, text),
            Some(b'"') => self.string(name, text),
            Some(b't') => Ok(Value::new_bool(ctx(), true)),
            Some(b'f') => Ok(Value::new_bool(ctx(), false)),
            Some(b'n') | None => Ok(Value::new_null(ctx())),
            Some(_) => self.number(name, text),
        }
    }

    fn waiting(&self, name: &str, text: &str) -> rquickjs::Result<Value<'js>> {
        let n = self.held.borrow_mut().hold(name, text)?;
        let handler = Object::new_proto(
            self.ctx.clone(),
            Some(&self.held.borrow().tool(self.ctx, |tools| &tools.closed)?),
        )?;
        handler.set(PredefinedAtom::Index, n)?;
        let target = match text.starts_with('[') {
            true => Array::new(self.ctx.clone())?.into_object(),
            false => Object::new(self.ctx.clone())?,
        };
        let made = self.proxy(target, handler)?;
        self.held.borrow_mut().know(self.ctx, &made, n, 0..text.len());
        Ok(made)
    }

    fn proxy(&self, target: Object<'js>, handler: Object<'js>) -> rquickjs::Result<Value<'js>> {
        Ok(Proxy::new(self.ctx.clone(), target, ProxyHandler::from_object(handler)?)?.into_value())
    }

    /// Closes an object to further members.
    pub fn close(&self, object: Object<'js>) -> rquickjs::Result<Value<'js>> {
        let close = self.held.borrow().tool(self.ctx, |tools| &tools.close)?;
        close.call((object,))
    }

    /// Reads an object or array that a script looks into.
    pub fn fill(&self, n: usize, into: &Object<'js>) -> rquickjs::Result<()> {
        let Some(Text { name, text }) = self.held.borrow().held(n) else {
            return Ok(());
        };
        let within = Within {
            n,
            start: text.as_ptr().addr(),
            depth: DEEP,
        };
        if let Some(array) = into.as_array() {
            return self.items(&name, &text, within, array);
        }
        for (name, value) in self.members(&text)? {
            let value = self.inner(&name, value, within)?;
            // What stands behind a proxy has to be open to what that says of it.
            into.prop(&*name, Property::from(value).enumerable().configurable())?;
        }
        Ok(())
    }

    fn items(&self, name: &str, text: &str, within: Within, into: &Array<'js>) -> rquickjs::Result<()> {
        for (n, item) in Pieces::of(text).enumerate() {
            into.set(n, self.inner(name, item, within)?)?;
        }
        Ok(())
    }

    /// The members of an object, in their order. Of a doubled name the last value stays, as in CouchDB.
    fn members<'t>(&self, text: &'t str) -> rquickjs::Result<Vec<(Cow<'t, str>, &'t str)>> {
        let mut pieces = Pieces::of(text);
        let mut members = Vec::with_capacity(FEW / 4);
        while let (Some(name), Some(value)) = (pieces.next(), pieces.next()) {
            members.push((self.name(name)?, value));
        }
        // Few names are compared faster than hashed.
        let is_doubled = |n: usize| members[..n].iter().any(|(name, _)| *name == members[n].0);
        if members.len() > FEW || (1..members.len()).any(is_doubled) {
            let last: IndexMap<Cow<str>, &str> = members.into_iter().collect();
            members = last.into_iter().collect();
        }
        Ok(members)
    }

    fn name<'t>(&self, text: &'t str) -> rquickjs::Result<Cow<'t, str>> {
        if !text.contains('\\') {
            return Ok(Cow::Borrowed(&text[1..text.len() - 1]));
        }
        let name = serde_json::from_str(text).map(Cow::Owned);
        name.map_err(|_| Exception::throw_type(self.ctx, "an object has a name that is no text"))
    }

    fn closed(&self, text: &str, within: Within) -> rquickjs::Result<Value<'js>> {
        let object = Object::new(self.ctx.clone())?;
        let members = self.members(text)?;
        let texts = members.iter().map(|(name, _)| &**name);
        let layout = self.held.borrow_mut().layouts.named(self.ctx, Of::Shown, texts)?;
        for ((text, value), name) in members.into_iter().zip(&layout.names) {
            show(&object, name, self.inner(&text, value, within)?)?;
        }
        self.close(object)
    }

    /// A value within one that is looked into.
    fn inner(&self, name: &str, text: &str, within: Within) -> rquickjs::Result<Value<'js>> {
        self.steps.set(self.steps.get() + 1);
        if self.steps.get().is_multiple_of(STEPS) && self.watch.strikes() {
            return Err(Error::Unknown);
        }
        let is_near = text.len() <= SMALL && within.depth > 0;
        let deeper = Within {
            depth: within.depth.saturating_sub(1),
            ..within
        };
        let made = match text.as_bytes().first() {
            Some(b'[') if is_near => {
                let array = Array::new(self.ctx.clone())?;
                self.items(name, text, deeper, &array)?;
                // An array that cannot be changed, in front of one that can.
                let open = self.held.borrow().tool(self.ctx, |tools| &tools.open)?;
                self.proxy(array.into_object(), open)?
            }
            Some(b'{') if is_near => self.closed(text, deeper)?,
            Some(b'"') if is_usual(text) => self.value(name, text)?,
            _ => return self.value(name, text),
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
            if !is_usual(text) {
                let canonical = serde_json::to_string(&string).unwrap_or_default();
                if canonical != text {
                    held.note(name, canonical, text);
                }
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
            let bigint = self.held.borrow().tool(self.ctx, |tools| &tools.bigint)?;
            return bigint.call((text,));
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

/// Whether a string is seen at a glance to stand as it would be written.
fn is_usual(text: &str) -> bool {
    let mut rest = text.as_bytes();
    while let Some(at) = memchr(b'\\', rest) {
        if !matches!(rest.get(at + 1), Some(b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't')) {
            return false;
        }
        rest = &rest[at + 2..];
    }
    true
}

/// Adds a member to an object that is shown to a script. It is defined, not assigned: `__proto__` is a name like others.
pub fn show<'js>(object: &Object<'js>, name: &Name, value: Value<'js>) -> rquickjs::Result<()> {
    object.prop(name.clone().restore(object.ctx())?, Property::from(value).enumerable())
}
