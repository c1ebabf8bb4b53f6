//! Reconciling everything a database holds, a page of its changes at a time.

use http::{Method, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use super::{EntityKey, Error, FanOut, Report, store};
use crate::upstream::account::{Ask, encoded, path};

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
            let path = format!("{}?limit={PAGE}&since={}", path([db, "_changes"]), encoded(&since));
            let ask = Ask::new(Method::POST, "_changes", path).with("{}").limit(store::LIMIT);
            let page: Changes = ask.send(&self.upstream).await?.expect(&[StatusCode::OK])?.json()?;
            let mut keys: Vec<EntityKey> = page.results.iter().filter_map(|row| self.entity_of(&row.id)).collect();
            keys.sort();
            keys.dedup();
            report += self.reconcile(db, &keys).await?;
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
}
