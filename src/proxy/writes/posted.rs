//! What a write says of itself before it is sent: which documents it touches, and what it makes of them.

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, header};
use http_body::Body as _;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{
    super::{
        Call, Error,
        encoding::{Members, decompress},
    },
    Limits,
    passing::{self, Seen},
    room::{FREE, Place, Room},
};
use crate::{
    couch::{
        Document, Rev, Route,
        route::{is_multipart, query_pairs},
    },
    fanout::{AT_ONCE, EntityKey, FanOut},
    reconcile::Body as Stored,
    upstream::body::{self, Peeked, ReadError, full},
};

/// The longest body that is held, and read whole: documents of CouchDB's default `max_document_size`, 8 MB, are rare, and
/// replicators send batches of half a megabyte (`couch_replicator`) or a hundred documents (PouchDB).
const LONGEST: usize = 4 << 20;

/// What is known of a write before it is sent.
pub enum Posted {
    /// It touches no entity.
    Nothing,
    /// It may touch one, which its answer will name.
    Unknown,
    /// An update function may touch one, which the headers of its answer will name.
    Function,
    /// One document.
    One(Write),
    /// Many, in the order of the request; none for a document of no entity.
    Bulk {
        /// As given in the body.
        new_edits: bool,
        /// The documents.
        writes: Vec<Option<Write>>,
    },
    /// More than are held: the entities are known when it is sent.
    Passing(Seen),
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
            Posted::Nothing | Posted::Unknown | Posted::Function | Posted::Passing(_) => Vec::new(),
        };
        keys.sort();
        keys.dedup();
        keys
    }

    /// The entities that are known now that it has been sent.
    pub fn passed(&self) -> Vec<EntityKey> {
        match self {
            Posted::Passing(seen) => seen.entities(),
            _ => Vec::new(),
        }
    }

    /// Why it broke off, if it was too long.
    pub fn too_long(&self) -> Option<ReadError> {
        match self {
            Posted::Passing(seen) => seen.too_long(),
            _ => None,
        }
    }
}

/// A write that was looked into.
pub struct Read {
    /// To be forwarded as it is.
    pub call: Call,
    /// What is known of it.
    pub posted: Posted,
    /// Where that is held.
    pub place: Place,
}

/// Looks into a write as far as it has to be.
pub async fn read(fan_out: &FanOut, mut call: Call, room: &Room, limits: &Limits) -> Result<Read, Error> {
    let mut place = Place::default();
    let query = call.parts.uri.query().unwrap_or_default();
    let values = |name: &'static str| query_pairs(query).filter(move |(key, _)| key == name);
    let value = |name| values(name).next().map(|(_, value)| value.into_owned());
    // Of several the first counts, but here the last (`chttpd_db:parse_doc_query`).
    let replicated = values("new_edits").last().is_some_and(|(_, value)| value == "false");
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
                match hold(&mut call, room, &mut place, limits.body).await? {
                    Some(text) => Posted::One(one(id, &text, given, replicated, entity)),
                    None => Posted::Unknown,
                }
            }
            _ => Posted::Unknown,
        },
        Route::Attachment { id, .. } if fan_out.entity_of(id).is_none() => Posted::Nothing,
        Route::PostDocument { .. } if !is_late => match hold(&mut call, room, &mut place, limits.body).await? {
            Some(text) => posted(fan_out, &text),
            None => Posted::Unknown,
        },
        Route::BulkDocs { .. } => {
            if call.body.size_hint().lower() > limits.body as u64 {
                body::discard(call.body);
                return Err(ReadError::TooLong(limits.body).into());
            }
            let text = hold(&mut call, room, &mut place, limits.body).await?;
            match text.and_then(|text| bulk(fan_out, &text)) {
                Some(posted) => posted,
                None => {
                    let body = std::mem::replace(&mut call.body, body::empty());
                    let (body, seen) = passing::watch(fan_out, &call.parts.headers, body, limits.body);
                    call.body = body;
                    Posted::Passing(seen)
                }
            }
        }
        Route::UpdateHandler { .. } => Posted::Function,
        _ => Posted::Unknown,
    };
    Ok(Read { call, posted, place })
}

fn posted(fan_out: &FanOut, text: &[u8]) -> Posted {
    let Some(id) = id(text) else { return Posted::Nothing };
    match fan_out.entity_of(&id) {
        Some(entity) => Posted::One(one(id.into_owned(), text, None, false, entity)),
        None => Posted::Nothing,
    }
}

fn id(text: &[u8]) -> Option<Cow<'_, str>> {
    if let Ok(Named { id }) = serde_json::from_slice(text) {
        return id;
    }
    let members: Members<'_> = serde_json::from_slice(text).ok()?;
    serde_json::from_str::<String>(members.get("_id")?.get())
        .ok()
        .map(Cow::Owned)
}

/// None if there are more documents than one request reads.
fn bulk(fan_out: &FanOut, text: &[u8]) -> Option<Posted> {
    fn docs_of<'a>(members: &Members<'a>) -> Option<(bool, Vec<&'a RawValue>)> {
        let new_edits = members
            .get("new_edits")
            .map_or(Ok(true), |value| serde_json::from_str(value.get()));
        let new_edits = new_edits.ok()?;
        let docs: Vec<&RawValue> = serde_json::from_str(members.get("docs")?.get()).ok()?;
        Some((new_edits, docs))
    }
    let parsed = serde_json::from_slice(text).ok();
    // CouchDB will not take it either.
    let Some((new_edits, docs)) = parsed.as_ref().and_then(docs_of) else {
        return Some(Posted::Unknown);
    };
    let write = |text: &RawValue| {
        let id = id(text.get().as_bytes())?;
        let entity = fan_out.entity_of(&id)?;
        Some(one(id.into_owned(), text.get().as_bytes(), None, !new_edits, entity))
    };
    if docs.len() > AT_ONCE {
        return None;
    }
    let writes: Vec<Option<Write>> = docs.into_iter().map(write).collect();
    Some(if writes.iter().all(Option::is_none) {
        Posted::Nothing
    } else {
        Posted::Bulk { new_edits, writes }
    })
}

/// The id is CouchDB's choice between those given: the URL's wins (transcripts, documents 25). A document that cannot be read here is
/// for CouchDB to judge, and looked at afterwards.
fn one(id: String, text: &[u8], given: Option<Rev>, replicated: bool, entity: EntityKey) -> Write {
    let mut write = Write {
        id,
        rev: None,
        base: Base::Nothing,
        body: Stored::Unread,
        entity,
    };
    let Ok(mut document) = serde_json::from_slice::<Document>(text) else {
        return write;
    };
    let mut path = std::mem::take(&mut document.revisions);
    // What `_revisions` says comes before what `_rev` says, wherever they stand and whatever is asked for (measured on 3.5.0).
    path.extend(document.rev.take().filter(|_| path.is_empty()));
    if replicated && !path.is_empty() {
        write.rev = path.first().cloned();
        write.base = Base::Path(path);
    } else if let Some(parent) = given.or(path.into_iter().next()) {
        write.base = Base::On(parent);
    }
    if document.deleted {
        write.body = Stored::Tombstone;
    } else if document.attachments.is_none() {
        // How attachments stand afterwards is for CouchDB to say.
        write.body = Stored::Live(Arc::new(document));
    }
    write
}

/// The whole body, decompressed, if there is room for it. Whatever was read is put back.
async fn hold(call: &mut Call, room: &Room, place: &mut Place, limit: usize) -> Result<Option<Bytes>, Error> {
    let headers = &call.parts.headers;
    let announced = call
        .body
        .size_hint()
        .exact()
        .filter(|_| !headers.contains_key(header::CONTENT_ENCODING));
    let longest = LONGEST.min(limit);
    let announced = announced.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > longest) {
        return Ok(None);
    }
    // What is not announced takes room as it comes.
    let mut wanted = announced.unwrap_or(FREE.min(longest));
    loop {
        *place = Place::default();
        *place = room.take(wanted);
        let body = std::mem::replace(&mut call.body, body::empty());
        let text = match body::peek(body, place.size).await? {
            Peeked::Whole(sent) => {
                call.body = full(sent.clone());
                match decompress(&call.parts.headers, sent.clone(), place.size) {
                    Ok(text) => Some((sent.len().max(text.len()), text)),
                    Err(Error::Body(ReadError::TooLong(_))) => None,
                    // CouchDB says so itself.
                    Err(_) => Some((sent.len(), Bytes::new())),
                }
            }
            Peeked::Longer(body) => {
                call.body = body;
                None
            }
        };
        match text {
            Some((length, text)) => {
                place.keep(length);
                return Ok(Some(text));
            }
            None if place.size < wanted || announced.is_some() || wanted == longest => return Ok(None),
            None => wanted = (2 * wanted).min(longest),
        }
    }
}

fn if_match(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::IF_MATCH)?.to_str().ok()?;
    Some(value.trim().trim_matches('"').to_owned())
}

/// CouchDB takes any other type than these for JSON in a `PUT`.
fn is_json(headers: &HeaderMap) -> bool {
    const FORM: &[u8] = b"application/x-www-form-urlencoded";
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .map(HeaderValue::as_bytes)
        .unwrap_or_default();
    let begin = content_type.get(..FORM.len());
    !is_multipart(headers) && !begin.is_some_and(|begin| begin.eq_ignore_ascii_case(FORM))
}
