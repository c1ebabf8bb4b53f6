//! What a write says of itself before it is sent: which documents it touches, and what it makes of them.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{HeaderMap, HeaderValue, Method, header};
use http_body::Body as _;
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::Frame;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::super::{
    Call, Error,
    body::{self, ReadError, full},
    changes::decompress,
};
use crate::{
    couch::{Document, Rev, Route, route::query_pairs},
    fanout::{EntityKey, FanOut},
    reconcile::Body as Stored,
    upstream::{Body, BoxError},
};

/// What is known of a write before it is sent.
pub enum Posted {
    /// It touches no entity.
    Nothing,
    /// It may touch one, which its answer will name.
    Unknown,
    /// One document.
    One(Write),
    /// Many, in the order of the request; none for a document of no entity.
    Bulk {
        /// As given in the body.
        new_edits: bool,
        /// The documents.
        writes: Vec<Option<Write>>,
    },
}

/// One document as it is posted.
#[derive(Clone)]
pub struct Write {
    /// Its id.
    pub id: String,
    /// Its revision, if the client gives it.
    pub rev: Option<Rev>,
    /// What it stands on.
    pub base: Base,
    /// Its body; unread if CouchDB alone knows what becomes of it.
    pub body: Stored,
    /// Its entity.
    pub entity: EntityKey,
}

/// What a new revision stands on.
#[derive(Clone)]
pub enum Base {
    /// This revision.
    On(Rev),
    /// Nothing, or the tombstone of the document.
    Nothing,
    /// The whole path is given, the new revision first (`new_edits: false`).
    Path(Vec<Rev>),
}

#[derive(Deserialize)]
struct BulkDocs<'a> {
    #[serde(default = "yes")]
    new_edits: bool,
    #[serde(borrow, default)]
    docs: Vec<&'a RawValue>,
}

fn yes() -> bool {
    true
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow, rename = "_id")]
    id: Option<Cow<'a, str>>,
}

impl Posted {
    /// The entities that are known beforehand, each once.
    pub fn entities(&self) -> Vec<EntityKey> {
        let mut keys: Vec<EntityKey> = match self {
            Posted::One(write) => vec![write.entity.clone()],
            Posted::Bulk { writes, .. } => writes.iter().flatten().map(|write| write.entity.clone()).collect(),
            Posted::Nothing | Posted::Unknown => Vec::new(),
        };
        keys.sort();
        keys.dedup();
        keys
    }
}

/// Looks into a write as far as it has to be. The call that comes back is to be forwarded as it is.
pub async fn read(fan_out: &FanOut, mut call: Call, limit: usize) -> Result<(Call, Posted), Error> {
    let query = call.parts.uri.query().unwrap_or_default();
    let value = |name: &str| {
        query_pairs(query)
            .filter(|(key, _)| key == name)
            .last()
            .map(|(_, value)| value.into_owned())
    };
    let replicated = value("new_edits").is_some_and(|value| value == "false");
    let given = value("rev")
        .or_else(|| if_match(&call.parts.headers))
        .and_then(|rev| rev.parse().ok());
    let is_late = value("batch").is_some_and(|batch| batch == "ok") || !is_json(&call.parts.headers);
    let posted = match &call.route {
        Route::Document { id, .. } => match (fan_out.entity_of(id), &call.method) {
            // Its destination is in a header; the answer names it.
            (_, method) if method.as_str() == "COPY" => Posted::Unknown,
            (None, _) => Posted::Nothing,
            (Some(entity), &Method::DELETE) => {
                let base = given.map_or(Base::Nothing, Base::On);
                Posted::One(Write {
                    id: id.clone(),
                    rev: None,
                    base,
                    body: Stored::Tombstone,
                    entity,
                })
            }
            (Some(entity), &Method::PUT) if !is_late => {
                let id = id.clone();
                match peek(&mut call, limit).await? {
                    Some(text) => one(id, &text, given, replicated, entity).map_or(Posted::Unknown, Posted::One),
                    None => Posted::Unknown,
                }
            }
            _ => Posted::Unknown,
        },
        Route::Attachment { id, .. } if fan_out.entity_of(id).is_none() => Posted::Nothing,
        Route::PostDocument { .. } if !is_late => match peek(&mut call, limit).await? {
            Some(text) => posted(fan_out, &text),
            None => Posted::Unknown,
        },
        Route::BulkDocs { .. } => match peek(&mut call, limit).await? {
            Some(text) => bulk(fan_out, &text),
            None => return Err(ReadError::TooLong(limit).into()),
        },
        _ => Posted::Unknown,
    };
    Ok((call, posted))
}

fn posted(fan_out: &FanOut, text: &[u8]) -> Posted {
    let Ok(Named { id: Some(id) }) = serde_json::from_slice(text) else {
        return Posted::Nothing;
    };
    let Some(entity) = fan_out.entity_of(&id) else {
        return Posted::Nothing;
    };
    one(id.into_owned(), text, None, false, entity).map_or(Posted::Unknown, Posted::One)
}

/// Nothing for a body that CouchDB will not take either.
fn bulk(fan_out: &FanOut, text: &[u8]) -> Posted {
    let Ok(BulkDocs { new_edits, docs }) = serde_json::from_slice(text) else {
        return Posted::Unknown;
    };
    let write = |text: &RawValue| {
        let id = serde_json::from_str::<Named<'_>>(text.get()).ok()?.id?;
        let entity = fan_out.entity_of(&id)?;
        one(id.into_owned(), text.get().as_bytes(), None, !new_edits, entity)
    };
    let writes: Vec<Option<Write>> = docs.into_iter().map(write).collect();
    if writes.iter().all(Option::is_none) {
        Posted::Nothing
    } else {
        Posted::Bulk { new_edits, writes }
    }
}

/// The id is CouchDB's choice between those given: the URL's wins (transcripts, documents 25).
fn one(id: String, text: &[u8], given: Option<Rev>, replicated: bool, entity: EntityKey) -> Option<Write> {
    let mut document: Document = serde_json::from_slice(text).ok()?;
    let rev = document.rev.take();
    let path = std::mem::take(&mut document.revisions);
    let base = match (replicated, path.is_empty()) {
        (true, false) => Base::Path(path),
        (true, true) => Base::Path(vec![rev.clone()?]),
        (false, _) => given.or(rev.clone()).map_or(Base::Nothing, Base::On),
    };
    let rev = match &base {
        Base::Path(path) => path.first().cloned(),
        _ => None,
    };
    let body = if document.deleted {
        Stored::Tombstone
    } else if document.attachments.is_some() {
        // How they stand afterwards is for CouchDB to say.
        Stored::Unread
    } else {
        Stored::Live(Arc::new(document))
    };
    Some(Write {
        id,
        rev,
        base,
        body,
        entity,
    })
}

/// The whole body, decompressed, if it is no longer than `limit`. Whatever was read is put back.
async fn peek(call: &mut Call, limit: usize) -> Result<Option<Bytes>, Error> {
    let mut body = std::mem::replace(&mut call.body, body::empty());
    let mut pieces: Vec<Bytes> = Vec::new();
    let mut length = 0;
    while length <= limit && body.size_hint().lower() <= (limit - length) as u64 {
        let Some(frame) = body.frame().await else {
            let whole = if pieces.len() == 1 {
                pieces.swap_remove(0)
            } else {
                Bytes::from(pieces.concat())
            };
            call.body = full(whole.clone());
            return Ok(decompress(&call.parts.headers, whole, limit).ok());
        };
        if let Ok(piece) = frame.map_err(ReadError::Broken)?.into_data() {
            length += piece.len();
            pieces.push(piece);
        }
    }
    let seen = stream::iter(pieces).map(|piece| Ok::<_, BoxError>(Frame::data(piece)));
    call.body = Body::new(StreamBody::new(seen.chain(BodyStream::new(body))));
    Ok(None)
}

fn if_match(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::IF_MATCH)?.to_str().ok()?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// CouchDB takes any other type than these for JSON in a `PUT`.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let of =
        |prefix: &[u8]| content_type.len() >= prefix.len() && content_type[..prefix.len()].eq_ignore_ascii_case(prefix);
    !of(b"multipart/") && !of(b"application/x-www-form-urlencoded")
}
