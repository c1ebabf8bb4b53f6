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

    /// What passes both.
    pub fn and(&self, other: &RawValue) -> Result<Self, serde_json::Error> {
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
