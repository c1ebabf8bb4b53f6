//! What CouchDB accepted of a write.

use std::collections::HashSet;

use http::Response;
use serde::{Deserialize, de::DeserializeOwned};

use super::{
    super::Error,
    posted::{Base, Posted, Write},
};
use crate::{
    couch::Rev,
    fanout::{EntityKey, FanOut},
    reconcile::Body as Stored,
    upstream::{
        Body, Upstream,
        body::{self, Peeked, full},
    },
};

/// The most that is read of an answer: a row for each document that was held.
const LIMIT: usize = 4 << 20;

/// What CouchDB accepted.
#[derive(Default)]
pub struct Accepted {
    /// Revisions whose place and body are known.
    pub known: Vec<Revision>,
    /// Entities of which no more is known than that they were written to.
    pub unseen: Vec<EntityKey>,
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
            None => self.unseen.push(write.entity.clone()),
        }
    }
}

/// Reads an answer as far as it has to be; the answer that comes back is to be given as it is.
pub async fn read(
    upstream: &Upstream,
    fan_out: &FanOut,
    answer: Response<Body>,
    posted: &Posted,
) -> Result<(Response<Body>, Accepted), Error> {
    let mut accepted = Accepted::default();
    if !answer.status().is_success() {
        return Ok((answer, accepted));
    }
    match posted {
        // The answer is as long as the request was. A row that was refused costs a look in vain.
        Posted::Passing(seen) => {
            accepted.unseen = seen.entities();
            return Ok((answer, accepted));
        }
        // Its body can be anything. Without these headers nothing was written (`chttpd_show`); the id is percent-encoded.
        Posted::Function => {
            let header = |name| answer.headers().get(name);
            if let (Some(id), Some(_)) = (header("x-couch-id"), header("x-couch-update-newrev")) {
                let id = percent_encoding::percent_decode(id.as_bytes()).decode_utf8();
                accepted.unseen.extend(id.ok().and_then(|id| fan_out.entity_of(&id)));
            }
            return Ok((answer, accepted));
        }
        _ => {}
    }
    let (head, body) = answer.into_parts();
    let peeked = body::peek(body, LIMIT).await;
    let peeked = peeked.map_err(|error| upstream.broken(error))?;
    let body = match peeked {
        Peeked::Whole(body) => body,
        Peeked::Longer(body) => {
            accepted.unseen = posted.entities();
            return Ok((Response::from_parts(head, body), accepted));
        }
    };
    match posted {
        Posted::Nothing | Posted::Function | Posted::Passing(_) => {}
        Posted::Unknown => {
            if let Some(Row {
                id: Some(id),
                error: None,
                ..
            }) = parse(&body)
            {
                accepted.unseen.extend(fan_out.entity_of(&id));
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
    accepted.unseen.sort_unstable();
    accepted.unseen.dedup();
    Ok((Response::from_parts(head, full(body)), accepted))
}

fn rev(row: &Row) -> Option<Rev> {
    row.rev.as_deref()?.parse().ok()
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Option<T> {
    serde_json::from_slice(body).ok()
}
