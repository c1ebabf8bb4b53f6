//! Between fields and JavaScript's values, in both directions, without losing how a value was written.
//!
//! * An object or array is read when a script looks into it; until then, and after, it is read-only. One that is passed on is
//!   written as it stood, wherever it goes.
//! * An integer beyond 2^53 is a BigInt, so that nothing of it is lost.
//! * A number or string that JavaScript would write in another way (`1.0`, `1e2`) is written as it stood if it goes where it was: under
//!   the same name. A number may go anywhere if its value was written in one way only.

use std::{
    cell::RefCell,
    collections::{HashMap, HashSet},
    rc::Rc,
};

use rquickjs::{Ctx, Error, Exception, Function, Object, Persistent, String as JsString, Value, object::Property};
use serde_json::value::RawValue;

use super::engine::Watch;
use crate::couch::Fields;

/// The largest integer up to which all are numbers of JavaScript.
const SAFE: i64 = (1 << 53) - 1;

/// Integers of more digits take long to read, and stand for no count.
const DIGITS: usize = 300;

/// Functions of `realm.js`.
pub struct Tools<F> {
    /// An object or array that is read when it is looked into.
    make: F,
    /// The number of such an object.
    pub origin: F,
    /// Forgets those numbers.
    forget: F,
    /// Ties modules together.
    pub link: F,
    /// `String`
    pub text: F,
    /// `BigInt`
    bigint: F,
}

/// What is kept of the source texts during one call.
#[derive(Default)]
pub struct Held {
    /// Objects and arrays, by the number that the realm knows them by.
    pub texts: Vec<Box<RawValue>>,
    /// The members that these are, or are within.
    names: Vec<Box<str>>,
    /// Bytes that there is room for. What is looked into at every depth is held once for each.
    room: usize,
    /// Numbers and strings that JavaScript would write in another way, by what it would write.
    odd: HashMap<String, Odd>,
    /// All other numbers.
    plain: HashSet<u64>,
}

/// The fields that a script was given, with the values it saw.
#[derive(Default)]
pub struct Given<'js, 'd>(Vec<(&'d str, Value<'js>, &'d RawValue)>);

impl<'js, 'd> Given<'js, 'd> {
    /// The text of a field that is as it was given.
    pub fn text(&self, name: &str, value: &Value<'js>) -> Option<&'d RawValue> {
        let same = |(n, v, _): &&(&str, Value<'js>, &RawValue)| *n == name && v == value;
        self.0.iter().find(same).map(|(_, _, text)| *text)
    }
}

struct Odd {
    /// What stood there, by the member it was, or was within.
    sources: HashMap<String, Rc<str>>,
    /// What stood there everywhere; none if it was written in several ways.
    source: Option<Rc<str>>,
}

/// One call's documents.
pub struct Bridge<'js, 'a> {
    pub ctx: &'a Ctx<'js>,
    pub tools: &'a Tools<Persistent<Function<'static>>>,
    pub held: &'a RefCell<Held>,
    pub watch: &'a Watch,
}

impl<'js> Tools<Function<'js>> {
    fn of(tools: &Object<'js>) -> rquickjs::Result<Self> {
        Ok(Self {
            make: tools.get("make")?,
            origin: tools.get("origin")?,
            forget: tools.get("forget")?,
            link: tools.get("link")?,
            text: tools.get("text")?,
            bigint: tools.get("bigint")?,
        })
    }

    fn map<T>(self, map: impl Fn(Function<'js>) -> T) -> Tools<T> {
        Tools {
            make: map(self.make),
            origin: map(self.origin),
            forget: map(self.forget),
            link: map(self.link),
            text: map(self.text),
            bigint: map(self.bigint),
        }
    }
}

impl Tools<Persistent<Function<'static>>> {
    /// Keeps them beyond one entry into the realm.
    pub fn save<'js>(ctx: &Ctx<'js>, tools: &Object<'js>) -> rquickjs::Result<Self> {
        Ok(Tools::of(tools)?.map(|function| Persistent::save(ctx, function)))
    }
}

impl Held {
    /// How a number or string is written that JavaScript writes `canonical`.
    pub fn spelled(&self, name: &str, canonical: &str, number: Option<f64>) -> Option<&str> {
        let odd = self.odd.get(canonical)?;
        if let Some(source) = odd.sources.get(name) {
            return Some(source);
        }
        let is_plain = self.plain.contains(&number?.to_bits());
        odd.source.as_deref().filter(|_| !is_plain)
    }

    fn note(&mut self, name: &str, canonical: String, source: &str) {
        let source: Rc<str> = source.into();
        let odd = self.odd.entry(canonical).or_insert_with(|| Odd {
            sources: HashMap::new(),
            source: Some(source.clone()),
        });
        if odd.source.as_ref() != Some(&source) {
            odd.source = None;
        }
        if !odd.sources.contains_key(name) {
            odd.sources.insert(name.to_owned(), source);
        }
    }
}

/// A number as JavaScript writes it.
pub fn number(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 {
        "0".to_owned()
    } else if (1e-6..1e21).contains(&size) || !value.is_finite() {
        value.to_string()
    } else if size < 1.0 {
        format!("{value:e}")
    } else {
        format!("{value:e}").replace('e', "e+")
    }
}

impl<'js, 'a> Bridge<'js, 'a> {
    /// `room`: bytes that may be held of documents.
    pub fn new(
        ctx: &'a Ctx<'js>,
        tools: &'a Tools<Persistent<Function<'static>>>,
        held: &'a RefCell<Held>,
        watch: &'a Watch,
        room: usize,
    ) -> Self {
        held.borrow_mut().room = room;
        Self {
            ctx,
            tools,
            held,
            watch,
        }
    }

    /// Forgets the call's documents.
    pub fn forget(&self) -> rquickjs::Result<()> {
        let mut held = self.held.borrow_mut();
        if !held.texts.is_empty() {
            self.tools.forget.clone().restore(self.ctx)?.call::<_, ()>(())?;
        }
        held.texts.clear();
        held.names.clear();
        held.odd.clear();
        held.plain.clear();
        Ok(())
    }

    /// Puts a document among those that a script is shown.
    pub fn give<'d>(
        &self,
        given: &mut Given<'js, 'd>,
        documents: &Object<'js>,
        class: &str,
        fields: &'d Fields,
    ) -> rquickjs::Result<()> {
        let make = self.tools.make.clone().restore(self.ctx)?;
        let bigint = self.tools.bigint.clone().restore(self.ctx)?;
        let reader = Reader {
            ctx: self.ctx,
            make: &make,
            bigint: &bigint,
            held: self.held,
        };
        let document = Object::new(self.ctx.clone())?;
        for (name, text) in fields.iter() {
            let value = reader.value(name, text)?;
            given.0.push((name, value.clone(), text));
            // Defined, not assigned: `__proto__` is a name like others.
            document.prop(name, Property::from(value).enumerable())?;
        }
        documents.set(class, document)
    }

    /// The function that reads an object or array when a script looks into it.
    pub fn filler(ctx: &Ctx<'js>, held: Rc<RefCell<Held>>) -> rquickjs::Result<Function<'js>> {
        Function::new(
            ctx.clone(),
            move |ctx: Ctx<'js>, n: usize, into: Object<'js>, make: Function<'js>, bigint: Function<'js>| {
                Reader {
                    ctx: &ctx,
                    make: &make,
                    bigint: &bigint,
                    held: &held,
                }
                .fill(n, &into)
            },
        )
    }
}

struct Reader<'js, 'a> {
    ctx: &'a Ctx<'js>,
    make: &'a Function<'js>,
    bigint: &'a Function<'js>,
    held: &'a RefCell<Held>,
}

impl<'js> Reader<'js, '_> {
    fn fill(&self, n: usize, into: &Object<'js>) -> rquickjs::Result<()> {
        let text = self.held.borrow().texts.get(n).cloned();
        let Some(text) = text else { return Ok(()) };
        let name = self.held.borrow().names.get(n).cloned().unwrap_or_default();
        if text.get().starts_with('[') {
            let items: Vec<&RawValue> = serde_json::from_str(text.get()).unwrap_or_default();
            for (n, item) in items.into_iter().enumerate() {
                into.set(u32::try_from(n).unwrap_or(u32::MAX), self.value(&name, item)?)?;
            }
        } else {
            let members: Members = serde_json::from_str(text.get())
                .map_err(|_| Exception::throw_type(self.ctx, "an object has a name that is no text"))?;
            for (name, value) in &members.0 {
                // A name may stand there twice.
                let property = Property::from(self.value(name, value)?).enumerable().configurable();
                into.prop(name.as_ref(), property)?;
            }
        }
        Ok(())
    }

    fn value(&self, name: &str, value: &RawValue) -> rquickjs::Result<Value<'js>> {
        let text = value.get();
        let ctx = || self.ctx.clone();
        match text.as_bytes().first() {
            Some(b'{') | Some(b'[') => {
                let n = self.held.borrow_mut().hold(name, value)?;
                self.make.call((n, text.starts_with('[')))
            }
            Some(b'"') => self.string(name, text),
            Some(b't') => Ok(Value::new_bool(ctx(), true)),
            Some(b'f') => Ok(Value::new_bool(ctx(), false)),
            Some(b'n') | None => Ok(Value::new_null(ctx())),
            Some(_) => self.number(name, text),
        }
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
            self.held.borrow_mut().plain.insert((n as f64).to_bits());
            return Ok(Value::new_number(self.ctx.clone(), n as f64));
        }
        if is_integer && text.len() <= DIGITS {
            return self.bigint.call((text,));
        }
        // Beyond all numbers is infinity, which only this spelling leads back from.
        let value: f64 = text.parse().unwrap_or(f64::INFINITY);
        let mut held = self.held.borrow_mut();
        let canonical = number(value);
        match canonical == text {
            true => drop(held.plain.insert(value.to_bits())),
            false => held.note(name, canonical, text),
        }
        Ok(Value::new_number(self.ctx.clone(), value))
    }
}

impl Held {
    fn hold(&mut self, name: &str, value: &RawValue) -> rquickjs::Result<usize> {
        self.room = self.room.checked_sub(value.get().len()).ok_or(Error::Allocation)?;
        self.texts.push(value.to_owned());
        self.names.push(name.into());
        Ok(self.texts.len() - 1)
    }
}

/// The members of an object, in their order. Of a doubled name the last value stays, as in CouchDB.
#[derive(Default)]
struct Members<'a>(Vec<(std::borrow::Cow<'a, str>, &'a RawValue)>);

impl<'de> serde::Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> serde::de::Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Members::default();
                while let Some((name, value)) = map.next_entry::<Name<'de>, &RawValue>()? {
                    members.0.push((name.0, value));
                }
                Ok(members)
            }
        }
        from.deserialize_map(Object)
    }
}

/// A name, borrowed where it can be.
#[derive(serde::Deserialize)]
struct Name<'a>(#[serde(borrow)] std::borrow::Cow<'a, str>);
