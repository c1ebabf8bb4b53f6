//! What CouchDB accepted of a write.

use std::collections::HashSet;

use bytes::Bytes;
use http::{Response, response};
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    super::Error,
    posted::{Base, Posted, Write},
};
use crate::{
    couch::Rev,
    fanout::EntityKey,
    reconcile::Body as Stored,
    upstream::{
        self, Body, Upstream,
        body::{self, full},
    },
};

/// The most that is read of an answer: a row for each document, whatever their number.
const LIMIT: usize = 256 << 20;

/// What CouchDB accepted.
#[derive(Default)]
pub struct Accepted {
    /// Revisions whose place and body are known.
    pub known: Vec<Revision>,
    /// Documents of which only the id is known.
    pub unseen: Vec<String>,
}

/// A revision that CouchDB has written.
pub struct Revision {
    /// The document.
    pub id: String,
    /// The new revision.
    pub rev: Rev,
    /// What it stands on.
    pub base: Base,
    /// Its body.
    pub body: Stored,
    /// Its entity.
    pub entity: EntityKey,
}

/// A row of an answer: one of success, or of failure.
#[derive(Deserialize)]
struct Row {
    id: Option<String>,
    rev: Option<String>,
    error: Option<serde::de::IgnoredAny>,
}

impl Accepted {
    /// Nothing was.
    pub fn is_none(&self) -> bool {
        self.known.is_empty() && self.unseen.is_empty()
    }

    fn add(&mut self, write: &Write, rev: Option<Rev>) {
        match rev {
            Some(rev) => {
                let (id, base, body) = (write.id.clone(), write.base.clone(), write.body.clone());
                let entity = write.entity.clone();
                self.known.push(Revision {
                    id,
                    rev,
                    base,
                    body,
                    entity,
                });
            }
            None => self.unseen.push(write.id.clone()),
        }
    }
}

/// Reads an answer as far as it has to be; the answer that comes back is to be given as it is.
pub async fn read(
    upstream: &Upstream,
    answer: Response<Body>,
    posted: &Posted,
) -> Result<(Response<Body>, Accepted), Error> {
    let mut accepted = Accepted::default();
    if !answer.status().is_success() {
        return Ok((answer, accepted));
    }
    let (head, body) = answer.into_parts();
    if let (Some(id), Some(_)) = (
        head.headers.get("x-couch-id"),
        head.headers.get("x-couch-update-newrev"),
    ) {
        // An update function's: its body can be anything, and the id is percent-encoded.
        let id = percent_encoding::percent_decode(id.as_bytes()).decode_utf8();
        accepted.unseen.extend(id.ok().map(|id| id.into_owned()));
        return Ok((Response::from_parts(head, body), accepted));
    }
    let body = body::read(body, LIMIT).await;
    let body = body.map_err(|source| upstream::Error::Broken {
        name: upstream.name.clone(),
        source: source.into(),
    })?;
    match posted {
        Posted::Nothing => {}
        Posted::Unknown => {
            if let Some(Row {
                id: Some(id),
                error: None,
                ..
            }) = parse(&body)
            {
                accepted.unseen.push(id);
            }
        }
        Posted::One(write) => accepted.add(write, parse(&body).and_then(|row: Row| rev(&row))),
        Posted::Bulk {
            new_edits: true,
            writes,
        } => {
            let rows: Vec<Row> = parse(&body).unwrap_or_default();
            for (write, row) in writes.iter().zip(&rows) {
                if let (Some(write), None) = (write, &row.error) {
                    accepted.add(write, rev(row));
                }
            }
        }
        Posted::Bulk {
            new_edits: false,
            writes,
        } => {
            // Failures only (documentation, `_bulk_docs`).
            let rows: Vec<Row> = parse(&body).unwrap_or_default();
            let failed: HashSet<(Option<String>, Option<Rev>)> =
                rows.iter().map(|row| (row.id.clone(), rev(row))).collect();
            for write in writes.iter().flatten() {
                let has_failed = |rev: Option<Rev>| failed.contains(&(Some(write.id.clone()), rev));
                if !has_failed(None) && !has_failed(write.rev.clone()) {
                    accepted.add(write, write.rev.clone());
                }
            }
        }
    }
    Ok((whole(head, body), accepted))
}

fn whole(head: response::Parts, body: Bytes) -> Response<Body> {
    Response::from_parts(head, full(body))
}

fn rev(row: &Row) -> Option<Rev> {
    row.rev.as_deref()?.parse().ok()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}
