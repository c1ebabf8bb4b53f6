//! Attachments inside documents: how they come in and in which form they are shown.

use std::cmp::Reverse;

use base64::{Engine, prelude::BASE64_STANDARD};
use rouchdb_core::document::{AttachmentMeta, Document};
use serde_json::{Map, Value, json};

use super::{request::gunzip, respond::Failure};

/// How a document's attachments are shown.
#[derive(Clone, Default)]
pub enum Form {
    #[default]
    Stubs,
    /// Base64 inside the JSON.
    Data,
    /// The bytes follow as parts of a multipart answer.
    Follows,
    /// `atts_since`: the newer ones as data (or to follow), those the asker has as stubs.
    Since(Vec<String>, Box<Form>),
}

/// An attachment in a document that is written.
pub enum Input {
    Data {
        content_type: String,
        bytes: Vec<u8>,
        revpos: Option<u64>,
    },
    /// The attachment of that name of the revision it builds on.
    Stub { revpos: Option<u64> },
    /// Its bytes come in a later part of the request.
    Follows {
        content_type: String,
        /// Of the part, so of the encoded bytes.
        length: Option<u64>,
        revpos: Option<u64>,
        gzipped: bool,
    },
}

impl Form {
    pub fn needs_data(&self) -> bool {
        !matches!(self, Self::Stubs)
    }

    /// The same choice, the bytes outside the JSON. An answer in parts always carries them.
    pub fn following(self) -> Self {
        match self {
            Self::Since(known, _) => Self::Since(known, Box::new(Self::Follows)),
            _ => Self::Follows,
        }
    }

    /// The names whose bytes are shown beside or inside the JSON, in the order of the JSON.
    fn sent<'a>(&self, document: &'a Document, revisions: Option<&Value>) -> Vec<&'a str> {
        let since = match self {
            Self::Stubs => return Vec::new(),
            Self::Data | Self::Follows => 0,
            Self::Since(known, _) => newest_known(known, revisions),
        };
        let newer = |(_, meta): &(&str, &AttachmentMeta)| meta.revpos > since || since == 0;
        in_order(document)
            .into_iter()
            .filter(newer)
            .map(|(name, _)| name)
            .collect()
    }

    /// The `_attachments` member, if there is any attachment.
    pub fn show(&self, document: &Document, revisions: Option<&Value>) -> Option<Value> {
        if document.attachments.is_empty() {
            return None;
        }
        let sent = self.sent(document, revisions);
        let form = match self {
            Self::Since(_, form) => form,
            form => form,
        };
        let show = |(name, meta): (&str, &AttachmentMeta)| {
            let shown = match (form, sent.contains(&name)) {
                (Self::Follows, true) => with(meta, json!({"length": meta.length, "follows": true})),
                (Self::Data, true) => with(
                    meta,
                    json!({"data": BASE64_STANDARD.encode(meta.data.as_deref().unwrap_or_default())}),
                ),
                _ => with(meta, json!({"length": meta.length, "stub": true})),
            };
            (name.to_owned(), shown)
        };
        Some(Value::Object(in_order(document).into_iter().map(show).collect()))
    }
}

/// The newest first, as in CouchDB; those of one revision by name, for the storage does not keep their order.
fn in_order(document: &Document) -> Vec<(&str, &AttachmentMeta)> {
    let mut all: Vec<_> = document
        .attachments
        .iter()
        .map(|(name, meta)| (name.as_str(), meta))
        .collect();
    all.sort_by_key(|(name, meta)| (Reverse(meta.revpos), *name));
    all
}

fn with(meta: &AttachmentMeta, form: Value) -> Value {
    let mut shown = json!({"content_type": meta.content_type, "revpos": meta.revpos, "digest": meta.digest});
    if let (Some(shown), Value::Object(form)) = (shown.as_object_mut(), form) {
        shown.extend(form);
    }
    shown
}

/// The generation of the newest revision the asker has on this revision's path.
fn newest_known(known: &[String], revisions: Option<&Value>) -> u64 {
    let start = revisions.and_then(|r| r["start"].as_u64()).unwrap_or(0);
    let ids = revisions
        .and_then(|r| r["ids"].as_array())
        .map_or(&[][..], Vec::as_slice);
    let on_path = ids
        .iter()
        .zip(0..)
        .filter_map(|(hash, back)| Some((start.checked_sub(back)?, hash.as_str()?)));
    let has = |(generation, hash): &(u64, &str)| known.iter().any(|rev| *rev == format!("{generation}-{hash}"));
    on_path.filter(has).map(|(generation, _)| generation).max().unwrap_or(0)
}

/// The `_attachments` member of a document that is written.
pub fn parse(value: Value) -> Result<Vec<(String, Input)>, Failure> {
    match value {
        Value::Object(attachments) => attachments.into_iter().map(parse_one).collect(),
        _ => Err(Failure::doc_validation("Bad special document member: _attachments")),
    }
}

fn parse_one((name, value): (String, Value)) -> Result<(String, Input), Failure> {
    check_name(&name)?;
    let invalid = || Failure::bad_request(format!("Invalid attachment data for {name}"));
    let member: Map<String, Value> = match value {
        Value::Object(member) => member,
        _ => return Err(invalid()),
    };
    let is = |key: &str| member.get(key) == Some(&Value::Bool(true));
    let content_type = member
        .get("content_type")
        .and_then(Value::as_str)
        .unwrap_or("application/octet-stream")
        .to_owned();
    let revpos = member.get("revpos").and_then(Value::as_u64);
    // A replicator sends what its source stored compressed as it is.
    let gzipped = member.get("encoding").and_then(Value::as_str) == Some("gzip");
    let input = if is("stub") {
        Input::Stub { revpos }
    } else if is("follows") {
        let length = member.get(if gzipped { "encoded_length" } else { "length" });
        Input::Follows {
            content_type,
            length: length.and_then(Value::as_u64),
            revpos,
            gzipped,
        }
    } else {
        let data = member.get("data").and_then(Value::as_str).ok_or_else(invalid)?;
        let bytes = BASE64_STANDARD.decode(data).map_err(|_| invalid())?;
        let bytes = if gzipped { gunzip(&bytes)?.to_vec() } else { bytes };
        Input::Data {
            content_type,
            bytes,
            revpos,
        }
    };
    Ok((name, input))
}

pub fn check_name(name: &str) -> Result<(), Failure> {
    if name.starts_with('_') {
        let reason = format!("Attachment name '{name}' starts with prohibited character '_'");
        return Err(Failure::bad_request(reason));
    }
    Ok(())
}
