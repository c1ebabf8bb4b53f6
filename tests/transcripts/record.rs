//! The recordings, as their README describes them.

use std::{collections::BTreeMap, io::Write as _, path::PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::Value;

pub const TOPICS: [&str; 9] = [
    "root_and_db",
    "documents",
    "bulk",
    "changes",
    "find",
    "local_and_replication",
    "attachments",
    "security",
    "replicator_wire",
];

#[derive(Deserialize)]
pub struct Exchange {
    pub n: usize,
    pub title: String,
    #[serde(default)]
    pub uses: Vec<Use>,
    pub during: Option<During>,
    #[serde(default)]
    pub stream: bool,
    pub request: Request,
    pub response: Response,
}

/// A value in the request that an earlier answer made up.
#[derive(Deserialize)]
pub struct Use {
    pub value: String,
    pub n: usize,
    pub pointer: String,
}

/// A write made while the answer was open.
#[derive(Deserialize)]
pub struct During {
    pub method: String,
    pub path: String,
    pub body: Option<String>,
}

#[derive(Deserialize)]
pub struct Request {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
    pub body_base64: Option<String>,
    /// The real length of a body that was cut.
    pub body_bytes: Option<usize>,
}

#[derive(Deserialize)]
pub struct Response {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Option<String>,
    pub body_base64: Option<String>,
    pub stopped: Option<String>,
}

impl Exchange {
    /// Of a `_bulk_docs`, takes out the documents that a validation function refused, and the rows that say so.
    pub fn leave_out_refused(&mut self) {
        let json = |text: &Option<String>| -> Value { serde_json::from_str(text.as_deref().unwrap()).unwrap() };
        let (mut request, mut rows) = (json(&self.request.body), json(&self.response.body));
        let (docs, rows) = (request["docs"].as_array_mut().unwrap(), rows.as_array_mut().unwrap());
        let is_refusal = |row: &Value| row.get("error").is_some_and(|error| error != "conflict");
        let refused: Vec<Value> = rows
            .iter()
            .filter(|row| is_refusal(row))
            .map(|row| row["id"].clone())
            .collect();
        docs.retain(|doc| doc.get("_id").is_none_or(|id| !refused.contains(id)));
        rows.retain(|row| !is_refusal(row));
        self.response.body = Some(serde_json::to_string(rows).unwrap());
        self.request.body = Some(request.to_string());
    }
}

impl Request {
    /// `None`: nothing was sent. A cut body is one long run of its last character, and is made that again.
    pub fn bytes(&self) -> Option<Vec<u8>> {
        if let Some(encoded) = &self.body_base64 {
            return Some(BASE64_STANDARD.decode(encoded).unwrap());
        }
        let mut bytes = self.body.clone()?.into_bytes();
        if let (Some(length), Some(last)) = (self.body_bytes, bytes.last().copied()) {
            bytes.resize(length - 2, last);
            bytes.extend(b"\"}");
        }
        Some(bytes)
    }
}

impl Response {
    pub fn bytes(&self) -> Vec<u8> {
        match &self.body_base64 {
            Some(encoded) => BASE64_STANDARD.decode(encoded).unwrap(),
            None => self.body.clone().unwrap_or_default().into_bytes(),
        }
    }
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/couchdb-transcripts")
}

/// Whether the recordings are beside the repository. Without them a test is skipped, which is said, or fails where it must not be.
pub fn are_there() -> bool {
    let folder = folder();
    let are_there = folder.is_dir();
    if !are_there {
        let missing = format!("the recordings of CouchDB are not in {}", folder.display());
        assert!(std::env::var_os("CI").is_none_or(|ci| ci.is_empty()), "{missing}");
        let thread = std::thread::current();
        // What is printed by macros would be swallowed.
        let _ = writeln!(
            std::io::stderr(),
            "SKIPPED {}: {missing}",
            thread.name().unwrap_or_default()
        );
    }
    are_there
}

pub fn read(topic: &str) -> Vec<Exchange> {
    let file = folder().join(format!("{topic}.jsonl"));
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|error| panic!("the recordings are not there: {}: {error}", file.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}
