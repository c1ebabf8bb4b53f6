//! A document as CouchDB writes it: its special members apart from its fields, whose values keep their source text.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    sync::Arc,
};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, IgnoredAny, MapAccess, Visitor},
    ser::SerializeMap,
};
use serde_json::value::{RawValue, to_raw_value};
use smol_str::SmolStr;

use super::{Rev, three_way::same_attachments};

/// Fields of most documents.
const FEW: usize = 32;

/// The members of a document that do not begin with an underscore, in their order. A value is the text it was written
/// with: `1.0`, 2^53+1 and the order of nested keys survive (CouchDB tells `1` from `1.0`; transcripts, documents 137-152).
///
/// A copy shares what was read: every version of a document begins as a copy of another, and changes few fields.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    read: Arc<[Field]>,
    now: Vec<Place>,
}

type Field = (SmolStr, Box<RawValue>);

/// What stands at one place of the order.
#[derive(Clone, Debug)]
enum Place {
    /// This one of those that were read.
    Read(usize),
    /// One that was set or renamed since.
    Set(Field),
}

/// A document with its special members.
#[derive(Clone, Debug, Default)]
pub struct Document {
    /// `_id`
    pub id: Option<String>,
    /// `_rev`
    pub rev: Option<Rev>,
    /// `_deleted`
    pub deleted: bool,
    /// `_revisions`, newest first.
    pub revisions: Vec<Rev>,
    /// `_attachments`, as it stood.
    pub attachments: Option<Box<RawValue>>,
    /// All that is not special.
    pub fields: Fields,
}

const OUT_OF_RANGE: &str = "`_revisions` begins at no generation";

/// A document to be written, its parts borrowed from wherever they are: a batch of many is never held twice.
pub struct Written<'a> {
    /// `_id`
    pub id: Option<&'a str>,
    /// `_rev`
    pub rev: Option<&'a Rev>,
    /// `_revisions`, newest first.
    pub revisions: &'a [Rev],
    /// `_deleted`
    pub deleted: bool,
    /// Whose fields and attachments these are; none has none.
    pub body: Option<&'a Document>,
}

#[derive(Serialize)]
struct WrittenRevisions<'a> {
    start: u64,
    #[serde(serialize_with = "hashes")]
    ids: &'a [Rev],
}

#[derive(Deserialize)]
struct Revisions {
    start: u64,
    ids: Vec<String>,
}

impl Fields {
    /// Of a doubled name the last value stays, as in CouchDB.
    fn new(mut all: Vec<Field>) -> Self {
        // Few fields are compared faster than hashed.
        if all.len() > FEW || (1..all.len()).any(|n| all[..n].iter().any(|(name, _)| *name == all[n].0)) {
            let last: HashMap<&str, usize> = all.iter().enumerate().map(|(n, (name, _))| (&**name, n)).collect();
            if last.len() < all.len() {
                let keep: HashSet<usize> = last.into_values().collect();
                let mut n = 0..;
                all.retain(|_| n.next().is_some_and(|n| keep.contains(&n)));
            }
        }
        Self::distinct(all)
    }

    /// Of names no two of which are the same.
    pub(crate) fn distinct(all: Vec<Field>) -> Self {
        Self {
            now: (0..all.len()).map(Place::Read).collect(),
            read: all.into(),
        }
    }

    /// The value of a field.
    pub fn get(&self, name: &str) -> Option<&RawValue> {
        self.iter().find(|(n, _)| *n == name).map(|(_, value)| value)
    }

    /// Sets a field where it stands, or at the end.
    pub fn set(&mut self, name: &str, value: Box<RawValue>) {
        let place = Place::Set((name.into(), value));
        match self.position(name) {
            Some(at) => self.now[at] = place,
            None => self.now.push(place),
        }
    }

    /// Removes a field and answers its value.
    pub fn take(&mut self, name: &str) -> Option<Box<RawValue>> {
        let at = self.position(name)?;
        Some(match self.now.remove(at) {
            Place::Read(n) => self.read[n].1.clone(),
            Place::Set((_, value)) => value,
        })
    }

    /// Renames a field where it stands. One that already bears the new name gives way.
    pub fn rename(&mut self, from: &str, to: &str) {
        if from != to
            && let Some(value) = self.get(from).map(RawValue::to_owned)
        {
            self.take(to);
            if let Some(at) = self.position(from) {
                self.now[at] = Place::Set((to.into(), value));
            }
        }
    }

    /// Removes every field but those of certain names.
    pub fn retain(&mut self, is_kept: impl Fn(&str) -> bool) {
        let read = &self.read;
        self.now.retain(|place| is_kept(&place.field(read).0));
    }

    fn position(&self, name: &str) -> Option<usize> {
        self.iter().position(|(n, _)| n == name)
    }

    /// Name and value of every field.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> + Clone {
        self.now.iter().map(|place| {
            let (name, value) = place.field(&self.read);
            (name.as_str(), &**value)
        })
    }

    /// The same fields with equal values, in any order. Values of different text are compared as JSON.
    pub fn same_as(&self, other: &Self) -> bool {
        let others: HashMap<&str, &RawValue> = other.iter().collect();
        self.now.len() == other.now.len()
            && self
                .iter()
                .all(|(name, value)| others.get(name).is_some_and(|other| same_value(value, other)))
    }
}

impl Place {
    fn field<'a>(&'a self, read: &'a [Field]) -> &'a Field {
        match self {
            Place::Read(n) => &read[*n],
            Place::Set(field) => field,
        }
    }
}

/// Equal as JSON, whatever the text. What does not parse (a number beyond `f64`, say) is compared as text, and so are numbers of
/// more digits than are read: CouchDB keeps integers of any length.
pub fn same_value(a: &RawValue, b: &RawValue) -> bool {
    let same = || matches!((parse(a), parse(b)), (Some(a), Some(b)) if a == b);
    a.get() == b.get() || same() && long_numbers(a) == long_numbers(b)
}

/// In an order of their own: members of objects may be in any.
fn long_numbers(value: &RawValue) -> Vec<&str> {
    let digits = value.get().split(|c: char| !c.is_ascii_digit());
    let mut long: Vec<&str> = digits.filter(|digits| digits.len() > 19).collect();
    long.sort_unstable();
    long
}

fn parse(value: &RawValue) -> Option<serde_json::Value> {
    serde_json::from_str(value.get()).ok()
}

impl<K: Into<SmolStr>> FromIterator<(K, Box<RawValue>)> for Fields {
    /// Of a doubled name the last value stays, as in CouchDB.
    fn from_iter<I: IntoIterator<Item = (K, Box<RawValue>)>>(fields: I) -> Self {
        Self::new(fields.into_iter().map(|(name, value)| (name.into(), value)).collect())
    }
}

impl From<&serde_json::Map<String, serde_json::Value>> for Fields {
    fn from(object: &serde_json::Map<String, serde_json::Value>) -> Self {
        let raw = |value| to_raw_value(value).unwrap_or_default();
        object.iter().map(|(name, value)| (name.as_str(), raw(value))).collect()
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Document::deserialize(from).map(|document| document.fields)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a document, which is a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Document, A::Error> {
                let mut document = Document::default();
                let mut fields: Vec<Field> = Vec::with_capacity(FEW / 2);
                while let Some(name) = members.next_key::<SmolStr>()? {
                    match name.as_str() {
                        "_id" => document.id = Some(members.next_value()?),
                        "_rev" => {
                            let text: String = members.next_value()?;
                            document.rev = Some(text.parse().map_err(A::Error::custom)?);
                        }
                        "_deleted" => document.deleted = members.next_value()?,
                        "_attachments" => document.attachments = Some(members.next_value()?),
                        "_revisions" => {
                            let revisions = members.next_value::<Revisions>()?;
                            document.revisions =
                                revisions.newest_first().ok_or_else(|| A::Error::custom(OUT_OF_RANGE))?;
                        }
                        special if special.starts_with('_') => {
                            members.next_value::<IgnoredAny>()?;
                        }
                        _ => {
                            let value = members.next_value()?;
                            fields.push((name, value));
                        }
                    }
                }
                document.fields = Fields::new(fields);
                Ok(document)
            }
        }
        from.deserialize_map(Members)
    }
}

impl Document {
    /// The same names for the same bytes, whenever they came.
    pub fn has_same_attachments(&self, other: &Self) -> bool {
        same_attachments(self, other)
    }

    /// The same, borrowed.
    pub fn as_written(&self) -> Written<'_> {
        Written {
            id: self.id.as_deref(),
            rev: self.rev.as_ref(),
            revisions: &self.revisions,
            deleted: self.deleted,
            body: Some(self),
        }
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.as_written().serialize(to)
    }
}

impl Serialize for Written<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        if let Some(id) = self.id {
            map.serialize_entry("_id", id)?;
        }
        if let Some(rev) = self.rev {
            map.serialize_entry("_rev", &format_args!("{rev}"))?;
        }
        if let Some(newest) = self.revisions.first() {
            let revisions = WrittenRevisions {
                start: newest.generation(),
                ids: self.revisions,
            };
            map.serialize_entry("_revisions", &revisions)?;
        }
        if self.deleted {
            map.serialize_entry("_deleted", &true)?;
        }
        for (name, value) in self.body.iter().flat_map(|body| body.fields.iter()) {
            map.serialize_entry(name, value)?;
        }
        if let Some(attachments) = self.body.and_then(|body| body.attachments.as_ref()) {
            map.serialize_entry("_attachments", attachments)?;
        }
        map.end()
    }
}

fn hashes<S: Serializer>(revs: &[Rev], to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(revs.iter().map(Rev::hash))
}

impl Revisions {
    /// CouchDB takes more ids than generations; those before the first generation are nobody's ancestors.
    fn newest_first(self) -> Option<Vec<Rev>> {
        let revisions = (1..=self.start).rev().zip(self.ids);
        (1..=Rev::LAST_GENERATION).contains(&self.start).then(|| {
            revisions
                .map(|(generation, hash)| Rev::new(generation, &hash))
                .collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn keeps_the_source_text_of_values() {
        let text =
            r#"{"_id":"a","n":1.0,"big":9007199254740993,"exp":1e2,"neg":-0.0,"o":{"z":1, "a":2},"k\"ey":"\u00e9"}"#;
        assert_eq!(serde_json::to_string(&document(text)).unwrap(), text);
    }

    #[test]
    fn takes_special_members_apart() {
        let doc = document(
            r#"{"_id":"a","_rev":"3-c","_revisions":{"start":3,"ids":["c","b"]},"_deleted":true,"_conflicts":["1-x"],"v":1}"#,
        );
        assert_eq!(doc.revisions, ["3-c".parse().unwrap(), "2-b".parse().unwrap()]);
        assert!(doc.deleted);
        assert_eq!(doc.fields.iter().count(), 1);
    }

    #[test]
    fn takes_no_generation_that_cannot_be_counted_on() {
        for start in [
            "0",
            "-3",
            "9007199254740992",
            "18446744073709551615",
            "99999999999999999999",
        ] {
            let text = format!(r#"{{"_revisions":{{"start":{start},"ids":["c"]}}}}"#);
            assert!(serde_json::from_str::<Document>(&text).is_err(), "{text}");
        }
        let doc = document(r#"{"_revisions":{"start":2,"ids":["d","c","b"]}}"#);
        assert_eq!(doc.revisions, ["2-d".parse().unwrap(), "1-c".parse().unwrap()]);
    }

    #[test]
    fn of_a_doubled_key_the_last_wins() {
        assert_eq!(document(r#"{"v":1,"v":2}"#).fields.get("v").unwrap().get(), "2");
    }

    #[test]
    fn a_copy_changes_alone() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let read = document(r#"{"a":1.0,"b":2,"c":3,"d":4}"#).fields;
        let mut copy = read.clone();
        copy.set("b", raw("20"));
        copy.rename("a", "c");
        assert_eq!(copy.take("d").unwrap().get(), "4");
        copy.set("e", raw("5"));
        copy.set("f", raw("6"));
        copy.retain(|name| name != "f");
        assert!(copy.get("a").is_none() && copy.take("d").is_none());
        assert_eq!(serde_json::to_string(&copy).unwrap(), r#"{"c":1.0,"b":20,"e":5}"#);
        assert_eq!(serde_json::to_string(&read).unwrap(), r#"{"a":1.0,"b":2,"c":3,"d":4}"#);
    }

    #[test]
    fn compares_values_not_texts() {
        let fields = |text| document(text).fields;
        assert!(fields(r#"{"a":[1, 2],"b":"x"}"#).same_as(&fields(r#"{"b":"\u0078","a":[1,2]}"#)));
        assert!(!fields(r#"{"a":1}"#).same_as(&fields(r#"{"a":2}"#)));
        assert!(!fields(r#"{"a":1}"#).same_as(&fields(r#"{"a":1,"b":2}"#)));
        let long = fields(r#"{"a":{"x":100000000000000000000001,"y":1}}"#);
        assert!(long.same_as(&fields(r#"{"a":{"y":1,"x": 100000000000000000000001}}"#)));
        assert!(!long.same_as(&fields(r#"{"a":{"x":100000000000000000000002,"y":1}}"#)));
    }
}
