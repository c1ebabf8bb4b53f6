//! How the values of one call were written, and what is remembered for the next.

use std::{collections::HashMap, ops::Range, rc::Rc};

use rquickjs::{Ctx, Error, Function, JsLifetime, Object, Persistent, Value};
use rustc_hash::{FxHashMap, FxHashSet};

use super::layout::Layouts;

/// Values that there stays room for from one call to the next.
const KEPT: usize = 1024;

/// What is kept of the source texts during one call.
#[derive(Default)]
pub struct Held {
    /// Objects and arrays that are read when a script looks into them, by the number that the realm knows them by.
    texts: Vec<Text>,
    /// All objects, arrays and most strings that were given, by what they are: which of the texts they stand in, and where.
    known: FxHashMap<Persistent<Value<'static>>, (usize, Range<usize>)>,
    /// Bytes that there is room for. What is looked into at every depth is held once for each.
    room: usize,
    /// Numbers and strings that JavaScript would write in another way, by what it would write.
    odd: HashMap<String, Odd>,
    /// All other numbers.
    plain: FxHashSet<u64>,
    /// Stay when a call has ended.
    pub layouts: Layouts,
    pub tools: Option<Tools>,
}

/// What of `realm.js` makes what scripts are shown.
pub struct Tools {
    /// The handlers of proxies, in front of what has been read and of what waits to be.
    pub open: Persistent<Object<'static>>,
    pub closed: Persistent<Object<'static>>,
    /// Closes an object to further members.
    pub close: Persistent<Function<'static>>,
    /// `BigInt`
    pub bigint: Persistent<Function<'static>>,
}

/// An object or array as it stands, and the member that it is, or is within.
#[derive(Clone)]
pub struct Text {
    pub name: Rc<str>,
    pub text: Rc<str>,
}

struct Odd {
    /// What stood there, by the member it was, or was within.
    sources: HashMap<String, Rc<str>>,
    /// What stood there everywhere; none if it was written in several ways.
    source: Option<Rc<str>>,
}

impl Tools {
    pub fn save(tools: &Object) -> rquickjs::Result<Self> {
        Ok(Self {
            open: tools.get("open")?,
            closed: tools.get("closed")?,
            close: tools.get("close")?,
            bigint: tools.get("bigint")?,
        })
    }
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
        // What a large document took would be looked through at the end of every call.
        self.known.shrink_to(KEPT);
        self.plain.shrink_to(KEPT);
    }

    /// Holds an object or array, and answers its number.
    pub fn hold(&mut self, name: &str, text: &str) -> rquickjs::Result<usize> {
        self.room = self.room.checked_sub(text.len()).ok_or(Error::Allocation)?;
        self.texts.push(Text {
            name: name.into(),
            text: text.into(),
        });
        Ok(self.texts.len() - 1)
    }

    pub fn tool<'js, T>(
        &self,
        ctx: &Ctx<'js>,
        of: impl Fn(&Tools) -> &Persistent<T>,
    ) -> rquickjs::Result<T::Changed<'js>>
    where
        T: Clone + JsLifetime<'static>,
    {
        let tool = self.tools.as_ref().map(of).ok_or(Error::Unknown)?;
        tool.clone().restore(ctx)
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
        self.texts.get(*n)?.text.get(piece.clone())
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
