//! How the values of one call were written, and what is remembered for the next.

use std::{
    collections::{HashMap, HashSet},
    ops::Range,
    rc::Rc,
};

use rquickjs::{Ctx, Error, Persistent, Value};
use rustc_hash::FxHashMap;
use serde_json::value::RawValue;

use super::layout::Layouts;

/// What is kept of the source texts during one call.
#[derive(Default)]
pub struct Held {
    /// Objects and arrays that are read when a script looks into them, by the number that the realm knows them by.
    texts: Vec<Text>,
    /// All objects and arrays that were given, by what they are: which of the texts they stand in, and where.
    known: FxHashMap<Persistent<Value<'static>>, (usize, Range<usize>)>,
    /// Bytes that there is room for. What is looked into at every depth is held once for each.
    room: usize,
    /// Numbers and strings that JavaScript would write in another way, by what it would write.
    odd: HashMap<String, Odd>,
    /// All other numbers.
    plain: HashSet<u64>,
    /// Names and layouts, which stay when a call has ended.
    pub layouts: Layouts,
}

/// An object or array as it stands, and the member that it is, or is within.
#[derive(Clone)]
pub struct Text {
    pub name: Rc<str>,
    pub text: Rc<RawValue>,
}

struct Odd {
    /// What stood there, by the member it was, or was within.
    sources: HashMap<String, Rc<str>>,
    /// What stood there everywhere; none if it was written in several ways.
    source: Option<Rc<str>>,
}

impl Held {
    /// Begins a call. `room`: bytes that may be held of documents.
    pub fn begin(&mut self, room: usize) {
        self.room = room;
    }

    /// Forgets the call's documents.
    pub fn forget(&mut self) {
        self.texts.clear();
        self.known.clear();
        self.odd.clear();
        self.plain.clear();
    }

    /// Holds an object or array, and answers its number.
    pub fn hold(&mut self, name: &str, value: &RawValue) -> rquickjs::Result<usize> {
        self.room = self.room.checked_sub(value.get().len()).ok_or(Error::Allocation)?;
        self.texts.push(Text {
            name: name.into(),
            text: value.to_owned().into(),
        });
        Ok(self.texts.len() - 1)
    }

    pub fn held(&self, n: usize) -> Option<Text> {
        self.texts.get(n).cloned()
    }

    /// Remembers which object or array a piece of a text has become. Whatever is remembered lives as long: none can take its place.
    pub fn know<'js>(&mut self, ctx: &Ctx<'js>, value: &Value<'js>, n: usize, piece: Range<usize>) {
        self.known.insert(Persistent::save(ctx, value.clone()), (n, piece));
    }

    /// The text of an object or array that was given.
    pub fn known<'js>(&self, ctx: &Ctx<'js>, value: &Value<'js>) -> Option<&str> {
        if self.known.is_empty() {
            return None;
        }
        let (n, piece) = self.known.get(&Persistent::save(ctx, value.clone()))?;
        self.texts.get(*n)?.text.get().get(piece.clone())
    }

    /// How a number or string is written that JavaScript writes `canonical`.
    pub fn spelled(&self, name: &str, canonical: &str, number: Option<f64>) -> Option<&str> {
        if self.odd.is_empty() {
            return None;
        }
        let odd = self.odd.get(canonical)?;
        if let Some(source) = odd.sources.get(name) {
            return Some(source);
        }
        let is_plain = self.plain.contains(&number?.to_bits());
        odd.source.as_deref().filter(|_| !is_plain)
    }

    /// Notes a number or string that JavaScript would write in another way.
    pub fn note(&mut self, name: &str, canonical: String, source: &str) {
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

    /// Notes a number that is written as JavaScript would.
    pub fn note_plain(&mut self, number: f64) {
        self.plain.insert(number.to_bits());
    }
}
