//! A Mango selector as text, and the short name under which caches tell it from others.

use std::{fmt, sync::Arc};

use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

/// A selector: one JSON object, kept as text.
#[derive(Clone, Debug)]
pub struct Selector {
    json: Arc<RawValue>,
    tag: Arc<str>,
}

impl Selector {
    /// `json` has to be an object: CouchDB refuses any other.
    pub fn new(json: Arc<RawValue>) -> Self {
        let digest = Sha256::digest(json.get());
        let tag = digest
            .iter()
            .take(4)
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        Self { json, tag: tag.into() }
    }

    /// What passes both. `{}` passes all by itself, but nothing as a member of `$and` (measured on 3.5.0).
    pub fn and(&self, other: &RawValue) -> Result<Self, serde_json::Error> {
        if other.get().split_ascii_whitespace().collect::<String>() == "{}" {
            return Ok(self.clone());
        }
        RawValue::from_string(format!(r#"{{"$and":[{},{}]}}"#, self.json.get(), other.get()))
            .map(|both| Self::new(both.into()))
    }

    /// The JSON text.
    pub fn json(&self) -> &RawValue {
        &self.json
    }

    /// Eight hex digits of SHA-256 of the text.
    pub fn tag(&self) -> &str {
        &self.tag
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.json.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_selectors_count() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let ours = Selector::new(raw(r#"{"a":1}"#).into());
        let both = |other| ours.and(&raw(other)).unwrap().to_string();
        assert_eq!(both(r#"{ "b":1.0}"#), r#"{"$and":[{"a":1},{ "b":1.0}]}"#);
        assert_eq!(both("{ \n}"), r#"{"a":1}"#);
    }
}
