//! Reading and writing the documents of parked entities.

use std::collections::HashMap;

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{json, value::RawValue};

use super::{Entry, Gone, Stuck};
use crate::upstream::{
    Upstream,
    account::{self, Ask, DATABASE, Error, path},
};

/// Entities that are read at once.
const PAGE: usize = 200;

/// Entities in one page where they are only counted.
const COUNTED: usize = 1000;

/// The most that is read of them.
const LIMIT: usize = 16 << 20;

/// What is to be written.
pub enum Put {
    /// It is parked, for the first time or again.
    Park(Entry, Stuck),
    /// It is parked no longer.
    Unpark(Entry, Gone),
}

/// Some of what is parked, in the order of ids.
#[derive(Debug, Default)]
pub struct Page {
    /// All that is understood of it.
    pub entries: Vec<Entry>,
    /// Where the next page begins; none if this is the last.
    pub after: Option<String>,
}

/// A document to be written.
#[derive(Serialize)]
#[serde(untagged)]
pub enum Written<'a> {
    Parked(&'a Entry),
    Deleted {
        _id: &'a str,
        _rev: Option<&'a str>,
        _deleted: bool,
    },
}

/// What became of a document that was written: its new revision, or why it was not.
pub type Row = Result<String, Refusal>;

#[derive(Debug, Deserialize)]
pub struct Refusal {
    pub error: String,
    #[serde(default)]
    pub reason: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Said {
    Ok { rev: String },
    No(Refusal),
}

#[derive(Deserialize)]
struct Listed {
    rows: Vec<ListedRow>,
}

/// Where keys are asked for, documents that are not there are listed without an id, and deleted ones without a document.
#[derive(Deserialize)]
struct ListedRow {
    id: Option<String>,
    doc: Option<Box<RawValue>>,
}

impl Put {
    pub fn entry(&self) -> &Entry {
        match self {
            Put::Park(entry, _) | Put::Unpark(entry, _) => entry,
        }
    }

    pub fn document(&self) -> Written<'_> {
        match self {
            Put::Park(entry, _) => parked(entry),
            Put::Unpark(entry, _) => Written::Deleted {
                _id: &entry.id,
                _rev: entry.rev.as_deref(),
                _deleted: true,
            },
        }
    }
}

pub fn parked(entry: &Entry) -> Written<'_> {
    Written::Parked(entry)
}

impl Refusal {
    pub fn is_conflict(&self) -> bool {
        self.error == "conflict"
    }
}

/// Writes documents, each on top of the revision it names; answers what became of each. The database is made if it is not there.
pub async fn write<'a>(upstream: &Upstream, documents: impl Iterator<Item = Written<'a>>) -> Result<Vec<Row>, Error> {
    let documents: Vec<Written<'_>> = documents.collect();
    let body = json!({ "docs": documents }).to_string();
    let ask = || {
        let ask = Ask::new(Method::POST, "chesterfield/_bulk_docs", path([DATABASE, "_bulk_docs"]));
        ask.with(body.clone()).limit(LIMIT)
    };
    let mut reply = ask().send(upstream).await?;
    if reply.status == StatusCode::NOT_FOUND {
        account::ensure_database(upstream).await?;
        reply = ask().send(upstream).await?;
    }
    let reply = reply.expect(&[StatusCode::CREATED, StatusCode::ACCEPTED])?;
    let rows: Vec<Said> = reply.json()?;
    let rows = rows.into_iter().map(|row| match row {
        Said::Ok { rev } => Ok(rev),
        Said::No(refusal) => Err(refusal),
    });
    Ok(rows.collect())
}

/// What is parked under these ids.
pub async fn read(upstream: &Upstream, ids: &[&str]) -> Result<HashMap<String, Entry>, Error> {
    let entries = list(upstream, &json!({ "keys": ids, "include_docs": true })).await?.0;
    Ok(entries.into_iter().map(|entry| (entry.id.clone(), entry)).collect())
}

/// What is parked from the first id of a range up to its second, without it, and behind `after`.
pub async fn page(upstream: &Upstream, (first, behind): &(String, String), after: Option<&str>) -> Result<Page, Error> {
    let start = after.map_or_else(|| first.clone(), |after| format!("{after}\0"));
    let (entries, last) = list(
        upstream,
        &json!({
            "start_key": start,
            "end_key": behind,
            "inclusive_end": false,
            "limit": PAGE,
            "include_docs": true,
        }),
    )
    .await?;
    Ok(Page { entries, after: last })
}

/// How many are parked from the first id of a range up to its second, without it.
pub async fn count(upstream: &Upstream, (first, behind): &(String, String)) -> Result<u64, Error> {
    let (mut start, mut count) = (first.clone(), 0);
    loop {
        let question = json!({"start_key": start, "end_key": behind, "inclusive_end": false, "limit": COUNTED});
        let rows = rows(upstream, &question).await?;
        count += rows.len() as u64;
        match rows.last().and_then(|row| row.id.as_ref()) {
            Some(last) if rows.len() == COUNTED => start = format!("{last}\0"),
            _ => return Ok(count),
        }
    }
}

/// None if there is no such database.
async fn rows(upstream: &Upstream, question: &serde_json::Value) -> Result<Vec<ListedRow>, Error> {
    let ask = Ask::new(Method::POST, "chesterfield/_all_docs", path([DATABASE, "_all_docs"]));
    let reply = ask.with(question.to_string()).limit(LIMIT).send(upstream).await?;
    if reply.status == StatusCode::NOT_FOUND {
        return Ok(Vec::new());
    }
    let Listed { rows } = reply.expect(&[StatusCode::OK])?.json()?;
    Ok(rows)
}

/// Answers the last id, too, if there are as many as were asked for.
async fn list(upstream: &Upstream, question: &serde_json::Value) -> Result<(Vec<Entry>, Option<String>), Error> {
    let rows = rows(upstream, question).await?;
    let last = rows
        .last()
        .filter(|_| rows.len() == PAGE)
        .and_then(|row| row.id.clone());
    let entries = rows.iter().filter_map(|row| {
        let document = row.doc.as_ref()?;
        let entry = serde_json::from_str(document.get());
        let told = entry.map_err(|error| {
            let mend = "delete it, or give it back what it lacks";
            tracing::warn!(parked = row.id, %error, mend, "a parked document cannot be read, and is not tried again");
        });
        told.ok()
    });
    Ok((entries.collect(), last))
}
