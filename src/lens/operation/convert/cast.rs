//! The same value in another type: numbers, strings, booleans.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Mapping;
use crate::{
    lens::{nested, operation::side},
    schema::Direction,
};

/// A type, as it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Type {
    String,
    Number,
    Boolean,
}

/// From the old side's type to the new side's.
#[derive(Debug)]
pub struct Cast([Type; 2]);

impl Cast {
    pub fn new(old: Type, new: Type) -> Self {
        Self([old, new])
    }
}

impl Type {
    fn of(value: &RawValue) -> Option<Self> {
        match value.get().as_bytes().first()? {
            b'"' => Some(Type::String),
            b't' | b'f' => Some(Type::Boolean),
            b'-' | b'0'..=b'9' => Some(Type::Number),
            _ => None,
        }
    }
}

/// Numbers beyond `f64` are JSON, but CouchDB does not take them.
fn json(text: &str) -> Option<Box<RawValue>> {
    let value = RawValue::from_string(text.to_owned()).ok()?;
    serde_json::from_str::<serde_json::Value>(text).is_ok().then_some(value)
}

impl Mapping for Cast {
    /// `null` is `null`. The text of a number is the number as it is written.
    fn map(&self, to: Direction, value: &RawValue) -> Option<Box<RawValue>> {
        if value.get() == "null" {
            return Some(value.to_owned());
        }
        let (from, to) = (self.0[side(to.reverse())], self.0[side(to)]);
        if Type::of(value) != Some(from) {
            return None;
        }
        match (from, to) {
            (Type::Number | Type::Boolean, Type::String) => Some(nested::string_of(value.get())),
            (Type::String, Type::Number | Type::Boolean) => {
                let text = nested::string(value)?;
                let text = text.trim();
                json(text).filter(|value| Type::of(value) == Some(to))
            }
            (Type::Boolean, Type::Number) => json(if value.get() == "true" { "1" } else { "0" }),
            (Type::Number, Type::Boolean) => {
                let number: f64 = value.get().parse().ok()?;
                json(if number == 0.0 { "false" } else { "true" })
            }
            (from, to) if from == to => Some(value.to_owned()),
            _ => None,
        }
    }
}
