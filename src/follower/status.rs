//! How a database stands: how far it has been followed, and what could not be brought in step.

use http::{Method, StatusCode};
use serde::{Deserialize, Serialize};

use super::{
    Error,
    backfill::Plan,
    checkpoint::{Backfill, Checkpoint},
};
use crate::{
    fanout::{FanOut, Survey},
    parked,
    schema::Fingerprints,
    upstream::{
        Upstream,
        account::{Ask, encoded, path},
    },
};

/// How a database stands.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Its name.
    pub database: String,
    /// Whether anybody has ever followed it.
    pub followed: bool,
    /// Changes that nobody has read yet.
    pub unread: u64,
    /// Classes that it is not yet in step with, by name.
    pub missing: Vec<String>,
    /// How far they are, if that has begun.
    pub backfill: Option<Made>,
    /// Documents of entities that cannot be read or written.
    pub failed: Vec<String>,
    /// Entities that are parked.
    pub parked: u64,
    /// How its entities stand, if they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub survey: Option<Survey>,
}

/// How far a backfill is.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Made {
    /// As [`Backfill::done`].
    pub done: u64,
    /// As [`Backfill::of`].
    pub of: u64,
}

#[derive(Deserialize)]
struct Pending {
    pending: u64,
}

impl Status {
    /// Asks the upstream. With `is_thorough` every entity is read and counted, a page at a time.
    pub async fn read(
        fan_out: &FanOut,
        fingerprints: &Fingerprints,
        database: &str,
        is_thorough: bool,
    ) -> Result<Self, Error> {
        let upstream = fan_out.upstream();
        let plan = Plan::new(fan_out.registry(), fingerprints);
        let checkpoint = Checkpoint::read(upstream, database).await?;
        let since = checkpoint.as_ref().map_or("0", |kept| &kept.since);
        let affected = checkpoint
            .as_ref()
            .map_or_else(|| plan.all(), |kept| plan.affected(kept));
        let walk = checkpoint.as_ref().and_then(|kept| kept.backfill.as_ref());
        let survey = if is_thorough {
            Some(survey(fan_out, &plan, database).await?)
        } else {
            None
        };
        Ok(Self {
            unread: unread(upstream, database, since).await?,
            parked: parked::count(upstream, database).await?,
            database: database.to_owned(),
            followed: checkpoint.is_some(),
            backfill: walk.filter(|walk| walk.classes == affected).map(Made::of),
            missing: affected.into_keys().collect(),
            failed: checkpoint.into_iter().flat_map(|kept| kept.failed).collect(),
            survey,
        })
    }
}

impl Made {
    fn of(walk: &Backfill) -> Self {
        let &Backfill { done, of, .. } = walk;
        Self { done, of }
    }
}

async fn unread(upstream: &Upstream, db: &str, since: &str) -> Result<u64, Error> {
    // Without a row all changes are still to come (transcripts, local_and_replication 60).
    let query = format!("?limit=0&since={}", encoded(since));
    let ask = Ask::new(Method::GET, "_changes", path([db, "_changes"]) + &query);
    let end: Pending = ask.send(upstream).await?.expect(&[StatusCode::OK])?.json()?;
    Ok(end.pending)
}

/// Counts every entity that has a live document once: on the page with the first of them.
async fn survey(fan_out: &FanOut, plan: &Plan, db: &str) -> Result<Survey, Error> {
    let mut survey = Survey::default();
    let mut walk = Backfill::over(plan.all(), 0);
    loop {
        let page = plan.read(fan_out, db, &walk).await?;
        let is_here = |id: &str| {
            let is_behind = walk.next.as_deref().is_none_or(|start| start <= id);
            is_behind && page.next.as_deref().is_none_or(|end| id < end)
        };
        survey += fan_out.survey(db, &page.keys, is_here).await?;
        if page.is_last {
            return Ok(survey);
        }
        walk.next = page.next;
    }
}
