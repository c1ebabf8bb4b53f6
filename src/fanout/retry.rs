//! Trying parked entities again: when their pause is over, at once when the schemas have changed, and when somebody asks.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::StatusCode;
use jiff::Timestamp;
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{EntityKey, Error, FanOut, stuck::Sorted};
use crate::parked::{Entry, Gone, Parked, Stuck};

/// The longest rest between two looks: other proxies park, too.
const MOST: Duration = Duration::from_secs(60);

/// The shortest, unless pauses are shorter.
const LEAST: Duration = Duration::from_secs(1);

/// A look is followed by a rest of so many times its length: however much is parked, looking takes the upstream no more than a
/// fiftieth of the time.
const REST: u32 = 50;

/// Which parked entities are tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    /// Those whose pause is over.
    Due,
    /// Those, too, that were last tried with other schemas.
    Changed,
    /// All, of one database or of every one.
    All(Option<String>),
}

/// What became of an entity that was tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Became {
    /// It is parked no longer.
    Gone(Gone),
    /// It stays parked.
    Stuck(Stuck),
    /// Somebody else is trying it right now.
    Taken,
    /// The upstream gave no usable answer: nothing is known, and it is tried again soon.
    Failed(String),
}

/// The task that tries parked entities again, as long as this lives.
pub struct Retrying {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Retrying {
    /// Begins; none if the fan-out parks nothing.
    pub fn start(fan_out: FanOut) -> Option<Self> {
        let parked = fan_out.parked()?.clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = tokio::spawn(async move {
            // Whatever is cut off was claimed for a short time only.
            stopped.run_until_cancelled(retry_for_ever(&fan_out, &parked)).await;
        });
        Some(Self { stop, task })
    }

    /// Ends it.
    pub async fn finish(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "the task that retries parked entities failed");
        }
    }
}

async fn retry_for_ever(fan_out: &FanOut, parked: &Parked) {
    let mut which = Which::Changed;
    loop {
        let begun = Instant::now();
        match fan_out.retry(&which, &mut |_, _| {}).await {
            // Schemas change with the process.
            Ok(()) => which = Which::Due,
            Err(error) => tracing::warn!(
                %error,
                mend = "the account of the upstream's URL must be able to read and write the database `chesterfield`",
                "parked entities cannot be looked at"
            ),
        }
        let least = LEAST.min(parked.pauses().first).max(begun.elapsed() * REST);
        parked.rest(least, MOST.max(least)).await;
    }
}

impl FanOut {
    /// Tries parked entities again, a page at a time, and tells of each what became of it. Does nothing if none is parked here.
    pub async fn retry(&self, which: &Which, tell: &mut (dyn FnMut(&Entry, &Became) + Send)) -> Result<(), Error> {
        let Some(parked) = self.parked() else { return Ok(()) };
        let db = match which {
            Which::All(db) => db.as_deref(),
            Which::Due | Which::Changed => None,
        };
        parked.look();
        let mut left = 0_usize;
        let mut after = None;
        loop {
            let page = parked.page(db, after.as_deref()).await?;
            let now = parked.now();
            let (due, later): (Vec<Entry>, Vec<Entry>) = page
                .entries
                .into_iter()
                .partition(|entry| which.why(entry, parked.registry(), now).is_some());
            later.iter().for_each(|entry| parked.expect(entry.next));
            for entry in &due {
                let why = which.why(entry, parked.registry(), now).unwrap_or_default();
                metrics::counter!("chesterfield_retried_total", "why" => why).increment(1);
            }
            left += later.len() + due.len();
            for (entry, became) in self.retry_these(parked, due).await? {
                left -= usize::from(matches!(became, Became::Gone(_)));
                tell(&entry, &became);
            }
            after = page.after;
            if after.is_none() {
                break;
            }
        }
        if db.is_none() {
            metrics::gauge!("chesterfield_parked_entities").set(left as f64);
        }
        Ok(())
    }

    /// Tries a page of entities, in their order.
    async fn retry_these(&self, parked: &Parked, due: Vec<Entry>) -> Result<Vec<(Entry, Became)>, Error> {
        let claimed = parked.claim(due.clone()).await?;
        let taken = due
            .into_iter()
            .filter(|entry| !claimed.iter().any(|claimed| claimed.id == entry.id));
        let mut all: Vec<(Entry, Became)> = taken.map(|entry| (entry, Became::Taken)).collect();
        // In the order of ids, and so by database.
        for of_one in claimed.chunk_by(|a, b| a.db == b.db) {
            all.extend(self.retry_in(&of_one[0].db, of_one).await);
        }
        let settled = all.iter().filter_map(|(entry, became)| {
            let became = match became {
                Became::Gone(gone) => Ok(*gone),
                Became::Stuck(stuck) => Err(stuck.clone()),
                Became::Taken | Became::Failed(_) => return None,
            };
            Some((entry.clone(), became))
        });
        parked.settle(settled.collect()).await;
        all.sort_by(|(a, _), (b, _)| a.id.cmp(&b.id));
        Ok(all)
    }

    /// Tries entities of one database. An upstream that does not answer fails them, and nothing else.
    async fn retry_in(&self, db: &str, entries: &[Entry]) -> Vec<(Entry, Became)> {
        let mut keys: Vec<EntityKey> = entries
            .iter()
            .filter_map(|entry| self.entity_of(&entry.target))
            .collect();
        keys.sort();
        keys.dedup();
        let held = Arc::new(Mutex::new(Sorted::default()));
        let done = self.holding(&held).reconcile(db, &keys).await;
        let is_database_gone = matches!(
            &done,
            Err(Error::Refused {
                status: StatusCode::NOT_FOUND,
                ..
            })
        );
        let failed = done.err().map_or_else(
            || "it cannot be read or written: the log tells why".to_owned(),
            |error| error.to_string(),
        );
        let sorted = held.lock().unwrap_or_else(PoisonError::into_inner);
        let became = |entry: &Entry| {
            let Some(key) = self.entity_of(&entry.target).filter(|_| !is_database_gone) else {
                return Became::Gone(Gone::Needless);
            };
            match self.name_of(&key).and_then(|name| sorted.get(&name)) {
                Some(Ok(())) => Became::Gone(Gone::Carried),
                Some(Err(stuck)) => Became::Stuck(stuck),
                None => Became::Failed(failed.clone()),
            }
        };
        entries.iter().map(|entry| (entry.clone(), became(entry))).collect()
    }
}

impl Which {
    /// Why an entity is to be tried; none if it is not.
    fn why(&self, entry: &Entry, registry: &str, now: Timestamp) -> Option<&'static str> {
        match self {
            Which::All(_) => Some("asked"),
            Which::Changed if entry.registry != registry => Some("schemas"),
            Which::Due | Which::Changed => (entry.next <= now).then_some("due"),
        }
    }
}
