//! Which classes a database is not yet in step with, and the walk over their documents.

use std::{borrow::Cow, collections::BTreeMap};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde::Deserialize;

use super::{
    Error,
    checkpoint::{Backfill, Checkpoint},
};
use crate::{
    fanout::{EntityKey, FanOut},
    schema::{Fingerprints, Registry},
    upstream::{
        Upstream,
        account::{self, Ask, encoded, path},
    },
};

/// Documents in one page: two thirds of a page of changes, as no revision is skipped here.
pub const PAGE: usize = 300;

/// The most that is read of a page, in bytes: rows without documents.
const LIMIT: usize = 64 << 20;

/// A part of all ids, in the order of bytes.
type Range = (String, Option<String>);

/// What has to be seen for the classes of a registry.
pub struct Plan {
    /// Every class that lenses tie to another, by name, with its fingerprint and the ids of its documents.
    classes: BTreeMap<String, (String, Range)>,
}

#[derive(Deserialize)]
struct AllDocs<'a> {
    #[serde(borrow)]
    rows: Vec<Row<'a>>,
}

#[derive(Deserialize)]
struct Row<'a> {
    #[serde(borrow)]
    id: Cow<'a, str>,
}

/// A step of the walk.
pub struct Page {
    /// The entities, each once.
    pub keys: Vec<EntityKey>,
    /// Documents that were listed.
    pub documents: u64,
    /// Where the next one begins: the first id that may not have been looked at.
    pub next: Option<String>,
    /// It was the last page of the last class.
    pub is_last: bool,
}

impl Plan {
    /// A class that no lens ties to another has nothing to be in step with.
    pub fn new(registry: &Registry, fingerprints: &Fingerprints) -> Self {
        let tied = registry.classes().filter(|(id, _)| registry.entity(*id).len() > 1);
        let classes = tied.map(|(id, class)| {
            let planned = (fingerprints.of(id).to_owned(), class.pattern.range());
            (class.name.to_string(), planned)
        });
        Self {
            classes: classes.collect(),
        }
    }

    /// All classes, with their fingerprints.
    pub fn all(&self) -> BTreeMap<String, String> {
        let classes = self.classes.iter();
        classes
            .map(|(name, (print, _))| (name.clone(), print.clone()))
            .collect()
    }

    /// The classes that a database is not in step with.
    pub fn affected(&self, checkpoint: &Checkpoint) -> BTreeMap<String, String> {
        let mut affected = self.all();
        affected.retain(|name, print| checkpoint.classes.get(name) != Some(print));
        affected
    }

    /// The next page of a walk.
    pub async fn read(&self, fan_out: &FanOut, db: &str, walk: &Backfill) -> Result<Page, Error> {
        let Some((start, end)) = self.rest(walk) else {
            return Ok(Page {
                keys: Vec::new(),
                documents: 0,
                next: None,
                is_last: true,
            });
        };
        let body = list(fan_out.upstream(), db, &start, end.as_deref()).await?;
        let listed: AllDocs<'_> = serde_json::from_slice(&body).map_err(|source| account::Error::Unreadable {
            request: "_all_docs",
            source: source.into(),
        })?;
        let mut keys: Vec<EntityKey> = listed
            .rows
            .iter()
            .filter_map(|row| fan_out.entity_of(&row.id))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let documents = listed.rows.len();
        let next = match listed.rows.last() {
            Some(row) if documents >= PAGE => Some(behind(&row.id)),
            _ => end,
        };
        Ok(Page {
            keys,
            documents: documents as u64,
            is_last: next.is_none(),
            next,
        })
    }

    /// What is left of the range that a walk has come to; none if nothing is.
    fn rest(&self, walk: &Backfill) -> Option<Range> {
        let ranges = walk.classes.keys().filter_map(|name| Some(&self.classes.get(name)?.1));
        let is_left = |(_, end): &&Range| match (&walk.next, end) {
            (Some(next), Some(end)) => next < end,
            _ => true,
        };
        // The first that is left, in the order of ids; of those that begin together any one will do.
        let (start, end) = ranges.filter(is_left).min()?;
        let start = walk.next.as_ref().map_or(start, |next| next.max(start));
        Some((start.clone(), end.clone()))
    }
}

/// Nothing stands between an id and the same with a zero behind it.
fn behind(id: &str) -> String {
    format!("{id}\0")
}

impl Backfill {
    /// A walk that has not begun, in a database of so many documents.
    pub fn over(classes: BTreeMap<String, String>, of: u64) -> Self {
        Self {
            classes,
            next: None,
            done: 0,
            of,
        }
    }
}

/// A database as a whole.
#[derive(Deserialize)]
pub struct Database {
    /// Its documents, without deleted ones.
    pub doc_count: u64,
    /// What came last.
    update_seq: serde_json::Value,
}

impl Database {
    /// Asks for it.
    pub async fn read(upstream: &Upstream, db: &str) -> Result<Self, Error> {
        let reply = Ask::new(Method::GET, "a database", path([db])).send(upstream).await?;
        Ok(reply.expect(&[StatusCode::OK])?.json()?)
    }

    /// Where the changes end.
    pub fn update_seq(&self) -> String {
        match &self.update_seq {
            serde_json::Value::String(seq) => seq.clone(),
            other => other.to_string(),
        }
    }
}

async fn list(upstream: &Upstream, db: &str, start: &str, end: Option<&str>) -> Result<Bytes, Error> {
    let json = |id: &str| encoded(&serde_json::Value::from(id).to_string());
    let mut query = format!("?limit={PAGE}&start_key={}", json(start));
    if let Some(end) = end {
        query.push_str(&format!("&end_key={}&inclusive_end=false", json(end)));
    }
    let ask = Ask::new(Method::GET, "_all_docs", path([db, "_all_docs"]) + &query).limit(LIMIT);
    Ok(ask.send(upstream).await?.expect(&[StatusCode::OK])?.body)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(ranges: &[(&str, &str, Option<&str>)]) -> Plan {
        let classes = ranges.iter().map(|(name, start, end)| {
            let range = ((*start).to_owned(), end.map(str::to_owned));
            ((*name).to_owned(), (format!("print of {name}"), range))
        });
        Plan {
            classes: classes.collect(),
        }
    }

    /// The ranges that a walk over all classes goes through if each is read in one page.
    fn walked(plan: &Plan) -> Vec<(String, Option<String>)> {
        let mut walk = Backfill::over(plan.all(), 0);
        let mut walked = Vec::new();
        while let Some((start, end)) = plan.rest(&walk) {
            walked.push((start, end.clone()));
            match end {
                Some(end) => walk.next = Some(end),
                None => break,
            }
        }
        walked
    }

    #[test]
    fn every_id_is_walked_over_once() {
        let range = |start: &str, end: Option<&str>| (start.to_owned(), end.map(str::to_owned));
        let apart = plan(&[
            ("b", "b:", Some("b;")),
            ("a", "a:", Some("a;")),
            ("a2", "a:", Some("a;")),
        ]);
        assert_eq!(walked(&apart), [range("a:", Some("a;")), range("b:", Some("b;"))]);
        let nested = plan(&[
            ("inner", "ab", Some("ac")),
            ("outer", "a", Some("b")),
            ("over", "ad", Some("c")),
        ]);
        assert_eq!(walked(&nested), [range("a", Some("b")), range("b", Some("c"))]);
        let open = plan(&[("z", "z", None), ("a", "a", Some("a\0"))]);
        assert_eq!(walked(&open), [range("a", Some("a\0")), range("z", None)]);
        assert_eq!(
            walked(&plan(&[("all", "", None), ("a", "a", Some("b"))])),
            [range("", None)]
        );
    }

    #[test]
    fn what_has_another_fingerprint_is_affected() {
        let plan = plan(&[("a", "a", None), ("b", "b", None), ("c", "c", None)]);
        let mut checkpoint = Checkpoint {
            since: "0".into(),
            classes: plan.all(),
            backfill: None,
            failed: Default::default(),
        };
        assert!(plan.affected(&checkpoint).is_empty());
        checkpoint.classes.remove("a");
        checkpoint.classes.insert("b".into(), "another".into());
        let affected = plan.affected(&checkpoint);
        assert_eq!(affected.keys().collect::<Vec<_>>(), ["a", "b"]);
    }
}
