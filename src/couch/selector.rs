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

    /// What passes both. An empty selector lets everything pass, but nothing at all within an `$and` (measured on 3.5.0).
    pub fn and(&self, other: &RawValue) -> Result<Self, serde_json::Error> {
        if is_empty(other) {
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

fn is_empty(selector: &RawValue) -> bool {
    let members = selector.get().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    members.is_some_and(|members| members.trim_ascii().is_empty())
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
    fn an_empty_selector_adds_nothing() {
        let raw = |text: &str| RawValue::from_string(text.to_owned()).unwrap();
        let ours = Selector::new(raw(r#"{"a":1}"#).into());
        for (theirs, both) in [
            ("{}", r#"{"a":1}"#),
            ("{ \n}", r#"{"a":1}"#),
            (r#"{"b":2}"#, r#"{"$and":[{"a":1},{"b":2}]}"#),
        ] {
            assert_eq!(ours.and(&raw(theirs)).unwrap().to_string(), both);
        }
    }
}
