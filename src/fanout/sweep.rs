//! Reconciling everything a database holds, a page of its changes at a time.

use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use serde_json::Value;

use super::{EntityKey, Error, FanOut, Following, Report, store};

/// Changes in one page.
const PAGE: usize = 1000;

#[derive(Deserialize)]
struct Changes {
    results: Vec<Change>,
    last_seq: Value,
}

#[derive(Deserialize)]
struct Change {
    id: String,
}

impl FanOut {
    /// Brings every entity of a database in step: what was written past the proxy, what a crash left undone, and what
    /// was there before its versions were. Ends at the changes that were there when it began, or later.
    pub async fn sweep(&self, db: &str) -> Result<Report, Error> {
        let mut report = Report::default();
        let mut since = "0".to_owned();
        loop {
            let query = format!("?limit={PAGE}&since={}", utf8_percent_encode(&since, NON_ALPHANUMERIC));
            let (status, answer) =
                store::post(&self.upstream, db, "_changes", &query, "{}".into(), store::LIMIT).await?;
            if status != StatusCode::OK {
                return Err(store::refused("_changes", status, &answer));
            }
            let unreadable = |source: serde_json::Error| Error::Unreadable {
                request: "_changes",
                source: source.into(),
            };
            let page: Changes = serde_json::from_slice(&answer).map_err(unreadable)?;
            let mut keys: Vec<EntityKey> = page.results.iter().filter_map(|row| self.entity_of(&row.id)).collect();
            keys.sort();
            keys.dedup();
            report += self.reconcile_all(db, &keys).await?;
            if page.results.len() < PAGE {
                return Ok(report);
            }
            // A seq is a string, or a number or an array on old servers: whatever it is, it goes back as it came.
            since = page
                .last_seq
                .as_str()
                .map_or_else(|| page.last_seq.to_string(), str::to_owned);
        }
    }

    /// Reconciles entities, and all that follow.
    async fn reconcile_all(&self, db: &str, keys: &[EntityKey]) -> Result<Report, Error> {
        let mut done = self.reconcile(db, keys).await?;
        let mut report = done.report;
        let mut following = Following::default();
        loop {
            following.add(self, done.echo);
            let Some(page) = following.next(self, db).await? else {
                return Ok(report);
            };
            done = self.reconcile(db, &page).await?;
            report += done.report;
        }
    }
}
