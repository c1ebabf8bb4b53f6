//! A page of `_changes`: which documents have changed, and the revisions of all their leaves.

use std::borrow::Cow;

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::Error;
use crate::upstream::{
    Upstream,
    account::{self, Ask, encoded, path},
};

/// Changes in one page.
pub const PAGE: usize = 500;

/// The most that is read of a page of several changes, in bytes: a leaf takes about fifty of them.
const LIMIT: usize = 8 << 20;

/// The same of one change.
const LIMIT_OF_ONE: usize = 256 << 20;

/// A page as it came.
pub struct Answer {
    body: Bytes,
    asked: usize,
}

/// What stands in a page.
pub struct Page<'a> {
    /// In the order of the feed.
    pub rows: Vec<Row<'a>>,
    /// Where the next page begins: opaque, as it is to be given back.
    pub last_seq: String,
    /// The changes after this page, as far as CouchDB says.
    pub pending: u64,
    /// There may be more.
    pub is_full: bool,
}

/// A document that has changed.
#[derive(Deserialize)]
pub struct Row<'a> {
    /// Its `_id`.
    #[serde(borrow)]
    pub id: Cow<'a, str>,
    /// All its leaves, deleted ones too.
    #[serde(borrow)]
    pub changes: Vec<Leaf<'a>>,
}

/// A leaf of a document.
#[derive(Deserialize)]
pub struct Leaf<'a> {
    /// Its revision.
    #[serde(borrow)]
    pub rev: Cow<'a, str>,
}

#[derive(Deserialize)]
struct Body<'a> {
    #[serde(borrow)]
    results: Vec<Row<'a>>,
    #[serde(borrow)]
    last_seq: &'a RawValue,
    pending: Option<u64>,
}

impl Answer {
    /// Reads what came after `since`: fewer changes than a page where they are of very many leaves.
    pub async fn read(upstream: &Upstream, db: &str, since: &str) -> Result<Self, Error> {
        let mut asked = PAGE;
        loop {
            let query = format!("?style=all_docs&limit={asked}&since={}", encoded(since));
            let limit = if asked > 1 { LIMIT } else { LIMIT_OF_ONE };
            let ask = Ask::new(Method::GET, "_changes", path([db, "_changes"]) + &query).limit(limit);
            match ask.send(upstream).await {
                Err(account::Error::TooLong { .. }) if asked > 1 => asked /= 4,
                reply => {
                    let body = reply?.expect(&[StatusCode::OK])?.body;
                    return Ok(Self { body, asked });
                }
            }
        }
    }

    /// What it says.
    pub fn page(&self) -> Result<Page<'_>, Error> {
        let body: Body<'_> = serde_json::from_slice(&self.body).map_err(|source| account::Error::Unreadable {
            request: "_changes",
            source: source.into(),
        })?;
        // A seq is a string, or a number or an array on old servers: whatever it is, it goes back as it came.
        let last_seq = serde_json::from_str(body.last_seq.get()).unwrap_or_else(|_| body.last_seq.get().to_owned());
        Ok(Page {
            is_full: body.results.len() >= self.asked,
            rows: body.results,
            last_seq,
            pending: body.pending.unwrap_or_default(),
        })
    }
}
