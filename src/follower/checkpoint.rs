//! How far a database has been followed, kept in the database itself as `_local/chesterfield`.
//!
//! A `_local` document has no conflicts, and who writes last wins (transcripts, local_and_replication 9-13): two proxies that write it
//! at once lose no more than where one of them was, and look twice. It is not replicated, changes no `update_seq` and is in no feed. The
//! checkpoints of clients with a filter have names of their own (`filter-…`); no replicator of others calls one so.

use std::collections::{BTreeMap, BTreeSet};

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::Error;
use crate::upstream::{
    Upstream,
    account::{Ask, path},
};

const NAME: &str = "_local/chesterfield";

/// What is known of a database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// What came up to here in `_changes` has been looked at, but for what `backfill` still has to see.
    pub since: String,
    /// The classes that are in step, by name, each with its fingerprint: what their documents were brought in step with.
    #[serde(default)]
    pub classes: BTreeMap<String, String>,
    /// What is being brought in step with classes that are new or have changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backfill: Option<Backfill>,
    /// Documents of entities that could not be read or written: tried again whenever all databases are looked through.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub failed: BTreeSet<String>,
}

/// A walk over all documents of some classes, in the order of their ids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backfill {
    /// The classes, by name, each with its fingerprint.
    pub classes: BTreeMap<String, String>,
    /// Where it goes on: the first id that may not have been looked at. None at the beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// Documents that have been looked at.
    pub done: u64,
    /// All documents of the database when it began. Those of other classes are stepped over where their ids allow it, so `done` may
    /// end below.
    pub of: u64,
}

impl Checkpoint {
    /// None if there is none, or none that can be understood. Fails with 404 only where the database is not there.
    pub async fn read(upstream: &Upstream, db: &str) -> Result<Option<Self>, Error> {
        let reply = Ask::new(Method::GET, NAME, at(db)).send(upstream).await?;
        match reply.status {
            StatusCode::OK => match reply.json() {
                Ok(checkpoint) => Ok(Some(checkpoint)),
                Err(error) => {
                    tracing::warn!(db, %error, "the database is followed from its beginning");
                    Ok(None)
                }
            },
            // "missing", or "Database does not exist." (transcripts, local_and_replication).
            StatusCode::NOT_FOUND if !is_of_database(&reply.body) => Ok(None),
            _ => Err(reply.refused().into()),
        }
    }

    /// Keeps it.
    pub async fn write(&self, upstream: &Upstream, db: &str) -> Result<(), Error> {
        let body = serde_json::to_vec(self).unwrap_or_default();
        let reply = Ask::new(Method::PUT, NAME, at(db)).with(body).send(upstream).await?;
        reply.expect(&[StatusCode::CREATED, StatusCode::ACCEPTED, StatusCode::OK])?;
        Ok(())
    }
}

fn at(db: &str) -> String {
    // The slash of `_local/` is one.
    format!("{}/{NAME}", path([db]))
}

/// Whether it is the database that is missing, and not a document in it.
fn is_of_database(body: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Said {
        reason: String,
    }
    let said = serde_json::from_slice::<Said>(body);
    said.is_ok_and(|said| said.reason != "missing" && said.reason != "deleted")
}
