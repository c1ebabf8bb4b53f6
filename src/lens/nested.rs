//! Nested values, read one level deep: what no operation touches keeps its text at every depth.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::{RawValue, to_raw_value};
use smol_str::SmolStr;

use crate::couch::Fields;

/// The one field of a value that is no object: itself.
pub const ITSELF: &str = ".";

/// The members of an object, whatever they are called: none is special below the top of a document.
struct Members(Fields);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Each;
        impl<'de> Visitor<'de> for Each {
            type Value = Members;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Members, A::Error> {
                let mut all: Vec<(SmolStr, Box<RawValue>)> = Vec::new();
                while let Some(member) = members.next_entry()? {
                    all.push(member);
                }
                Ok(Members(all.into_iter().collect()))
            }
        }
        from.deserialize_map(Each)
    }
}

/// The members of an object; none of anything else.
pub fn object(value: &RawValue) -> Option<Fields> {
    let members: Members = serde_json::from_str(value.get()).ok()?;
    Some(members.0)
}

/// The elements of an array; none of anything else.
pub fn array(value: &RawValue) -> Option<Vec<Box<RawValue>>> {
    serde_json::from_str(value.get()).ok()
}

/// An array of elements.
pub fn array_of(elements: &[Box<RawValue>]) -> Box<RawValue> {
    to_raw_value(elements).unwrap_or_default()
}

/// The members of an object. All else is the field [`ITSELF`]; so is an object that has a member of that name.
pub fn fields(value: &RawValue) -> Fields {
    let itself = || [(ITSELF, value.to_owned())].into_iter().collect();
    object(value)
        .filter(|members| members.get(ITSELF).is_none())
        .unwrap_or_else(itself)
}

/// The other way round.
pub fn value(fields: &Fields) -> Box<RawValue> {
    match fields.get(ITSELF) {
        Some(value) => value.to_owned(),
        None => object_of(fields),
    }
}

/// An object with these members.
pub fn object_of(fields: &Fields) -> Box<RawValue> {
    to_raw_value(fields).unwrap_or_default()
}

/// The characters of a JSON string; none of anything else.
pub fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A JSON string.
pub fn string_of(text: &str) -> Box<RawValue> {
    to_raw_value(text).unwrap_or_default()
}
