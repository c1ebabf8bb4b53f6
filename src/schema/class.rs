//! A class: a schema in one major version, `todo-item@2`.

use std::{fmt, str::FromStr, sync::Arc};

use serde_json::value::{RawValue, to_raw_value};

use super::{Flaw, IdPattern, Validator};
use crate::couch::Fields;

/// A schema's name and a major version, written `todo-item@2`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassName {
    /// The name that documents carry in `schema`.
    pub schema: Arc<str>,
    /// The number that documents carry in `version`.
    pub major: u64,
}

/// A document in examples and stories: its class, and its key where it is not the one that the entity there has: `group@1/garden`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DocumentName {
    /// `group@1`
    pub class: ClassName,
    /// `garden`
    pub key: Option<String>,
}

/// The text names no class.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no class: expected a schema, an at sign and a major version, as in `todo-item@2`")]
pub struct InvalidClassName(String);

/// A class's place in its [`Registry`](super::Registry).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClassId(pub usize);

/// The fields that tell a document's class: [`ClassName::fields`]. The engine sets them.
pub const CLASS_FIELDS: [&str; 2] = ["schema", "version"];

/// A schema in one major version.
#[derive(Clone, Debug)]
pub struct Class {
    /// `todo-item@2`
    pub name: ClassName,
    /// The schema's whole version; its major is the class's.
    pub version: semver::Version,
    /// How `_id` is made of a key.
    pub pattern: IdPattern,
    /// The JSON Schema, as it is written.
    pub definition: Arc<serde_json::Value>,
    /// The same, compiled.
    pub validator: Validator,
    /// Attachments of its documents stay with them, and those of other classes do not come.
    pub omits_attachments: bool,
    /// Two sides of a conflict that have changed different fields become one.
    pub merges_fields: bool,
}

impl Class {
    /// A class whose documents may be anything.
    pub fn new(name: ClassName, version: semver::Version, pattern: IdPattern) -> Self {
        Self {
            name,
            version,
            pattern,
            definition: Arc::new(serde_json::Value::Bool(true)),
            validator: Validator::default(),
            omits_attachments: false,
            merges_fields: false,
        }
    }

    /// The same class, whose documents fit a JSON Schema.
    pub fn with_definition(self, definition: serde_json::Value) -> Result<Self, Flaw> {
        Ok(Self {
            validator: Validator::new(&definition)?,
            definition: Arc::new(definition),
            ..self
        })
    }
}

impl ClassName {
    /// What the documents of the class say of themselves: [`CLASS_FIELDS`] with their values.
    pub fn fields(&self) -> [(&'static str, Box<RawValue>); 2] {
        let [schema, version] = CLASS_FIELDS;
        [
            (schema, to_raw_value(&*self.schema).unwrap_or_default()),
            (version, to_raw_value(&self.major).unwrap_or_default()),
        ]
    }
}

/// The fields without those that the engine sets.
pub fn bare(fields: &Fields) -> Fields {
    let mut bare = fields.clone();
    bare.retain(|name| !CLASS_FIELDS.contains(&name));
    bare
}

impl fmt::Display for ClassName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.schema, self.major)
    }
}

impl FromStr for ClassName {
    type Err = InvalidClassName;

    fn from_str(text: &str) -> Result<Self, InvalidClassName> {
        let invalid = || InvalidClassName(text.to_owned());
        let (schema, major) = text.rsplit_once('@').ok_or_else(invalid)?;
        if schema.is_empty() {
            return Err(invalid());
        }
        Ok(Self {
            schema: schema.into(),
            major: major.parse().map_err(|_| invalid())?,
        })
    }
}

impl serde::Serialize for ClassName {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for ClassName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl FromStr for DocumentName {
    type Err = InvalidClassName;

    fn from_str(text: &str) -> Result<Self, InvalidClassName> {
        let whole = text.parse().map(|class| Self { class, key: None });
        let split = |(n, _)| {
            let class = text[..n].parse().ok()?;
            let key = Some(text[n + 1..].to_owned());
            Some(Self { class, key })
        };
        // Keys may hold anything, and schemas a slash.
        whole.or_else(|invalid| text.match_indices('/').find_map(split).ok_or(invalid))
    }
}

impl<'de> serde::Deserialize<'de> for DocumentName {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_documents_say_of_their_class_is_not_their_own() {
        let name: ClassName = "to\"do@2".parse().unwrap();
        let own: Fields = serde_json::from_str(r#"{"title":"a","version":1}"#).unwrap();
        let mut whole = own.clone();
        name.fields()
            .into_iter()
            .for_each(|(field, value)| whole.set(field, value));
        let text = serde_json::to_string(&whole).unwrap();
        assert_eq!(text, r#"{"title":"a","version":2,"schema":"to\"do"}"#);
        assert_eq!(serde_json::to_string(&bare(&whole)).unwrap(), r#"{"title":"a"}"#);
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!("todo-item@2".parse::<ClassName>().unwrap().to_string(), "todo-item@2");
        for text in ["todo-item", "@2", "todo-item@", "todo-item@2.0"] {
            assert!(text.parse::<ClassName>().is_err(), "{text}");
        }
    }
}
