//! Trying parked entities again: when their pause is over, at once when the schemas have changed, and when somebody asks.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::StatusCode;
use jiff::Timestamp;
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

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
    task: AbortOnDropHandle<()>,
}

impl Retrying {
    /// Begins; none if the fan-out parks nothing.
    pub fn start(fan_out: FanOut) -> Option<Self> {
        let parked = fan_out.parked()?.clone();
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let task = AbortOnDropHandle::new(tokio::spawn(async move {
            // Whatever is cut off was claimed for a short time only.
            stopped.run_until_cancelled(retry_for_ever(&fan_out, &parked)).await;
        }));
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
            left += page.entries.len();
            let mut due = Vec::new();
            for entry in page.entries {
                let registry = self.tried_with(&entry);
                match which.why(&entry, &registry, now) {
                    Some(why) => {
                        metrics::counter!("chesterfield_retried_total", "why" => why).increment(1);
                        due.push((entry, registry));
                    }
                    None => parked.expect(entry.next),
                }
            }
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

    /// The fingerprint of what an entity would be tried with; empty if no lens ties it to anything any more.
    fn tried_with(&self, entry: &Entry) -> String {
        let key = self.entity_of(&entry.target);
        key.map(|key| self.fingerprint(key.first)).unwrap_or_default()
    }

    /// Tries a page of entities, each with its fingerprint, in their order.
    async fn retry_these(&self, parked: &Parked, due: Vec<(Entry, String)>) -> Result<Vec<(Entry, Became)>, Error> {
        let claimed = parked.claim(&due).await?;
        let is_claimed: HashSet<&str> = claimed.iter().map(|entry| &*entry.id).collect();
        let taken = due.into_iter().filter(|(entry, _)| !is_claimed.contains(&*entry.id));
        let mut all: Vec<(Entry, Became)> = taken.map(|(entry, _)| (entry, Became::Taken)).collect();
        // In the order of ids, and so by database.
        for of_one in claimed.chunk_by(|a, b| a.db == b.db) {
            all.extend(self.retry_in(&of_one[0].db, of_one, parked).await);
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
    async fn retry_in(&self, db: &str, entries: &[Entry], parked: &Parked) -> Vec<(Entry, Became)> {
        let mut keys: Vec<EntityKey> = entries
            .iter()
            .filter_map(|entry| self.entity_of(&entry.target))
            .collect();
        keys.sort();
        keys.dedup();
        let held = Arc::new(Mutex::new(Sorted::default()));
        let mut failed = HashMap::new();
        let each = |key: &EntityKey, error: &Error| {
            self.tell_failed(db, key, error);
            failed.insert(key.clone(), error.to_string());
        };
        let done = self.holding(parked, &held).look_at(db, &keys, each).await;
        let is_database_gone = matches!(&done, Err(Error::Refused { status, .. }) if *status == StatusCode::NOT_FOUND);
        let at_all = match done {
            Ok(_) => "it cannot be read: the log tells why".to_owned(),
            Err(error) => error.to_string(),
        };
        let sorted = held.lock().unwrap_or_else(PoisonError::into_inner);
        let became = |entry: &Entry| {
            let Some(key) = self.entity_of(&entry.target).filter(|_| !is_database_gone) else {
                return Became::Gone(Gone::Needless);
            };
            match self.name_of(&key).and_then(|name| sorted.get(&name)) {
                Some(Ok(())) => Became::Gone(Gone::Carried),
                Some(Err(stuck)) => Became::Stuck(stuck),
                None => Became::Failed(failed.get(&key).unwrap_or(&at_all).clone()),
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use http::Request;
    use serde_json::json;
    use tower::{Service as _, service_fn};

    use super::*;
    use crate::{
        config::{Config, Given, Overrides},
        parked::Pauses,
        schema::Fingerprints,
        upstream::{Body, Upstream, UpstreamService, body::full, embedded::Embedded},
    };

    /// Seconds from the beginning to each time that entities were read, by the clock that tokio stops.
    type Reads = Arc<Mutex<Vec<u64>>>;

    async fn put(upstream: &Upstream, path: &str, body: &serde_json::Value) {
        let request = Request::put(path).header("content-type", "application/json");
        let answer = upstream
            .send(request.body(full(body.to_string())).unwrap())
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{path}");
    }

    /// A store that holds a person whom no script can carry, and a fan-out that notes when it looks.
    async fn people(pauses: Pauses) -> (FanOut, Reads) {
        let begun = Instant::now();
        let reads = Reads::default();
        let (noting, store) = (reads.clone(), UpstreamService::new(Embedded::memory()));
        let service = service_fn(move |request: Request<Body>| {
            if request.uri().path().ends_with("/_bulk_get") {
                noting.lock().unwrap().push(begun.elapsed().as_secs());
            }
            store.clone().call(request)
        });
        let upstream = Upstream {
            service: UpstreamService::new(service),
            account: None,
            name: "embedded".into(),
        };
        let schemas = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts/schemas");
        let given = |value| Given {
            value,
            by: "test".into(),
        };
        let overrides = Overrides {
            schemas: Some(given(schemas)),
            ..Overrides::default()
        };
        let schemas = Config::load(&overrides).unwrap().schemas;
        let then: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let clock = Arc::new(move || then + begun.elapsed());
        let parked = Parked::with_clock(upstream.clone(), schemas.fingerprints, pauses, clock);
        let fan_out = FanOut::new(upstream.clone(), schemas.registry, schemas.lenses.into()).parking(parked);
        put(&upstream, "/people", &json!({})).await;
        let person = json!({"schema": "person", "version": 1, "name": "Ada"});
        put(&upstream, "/people/person:k:v:1", &person).await;
        let key = fan_out.entity_of("person:k:v:1").unwrap();
        let report = fan_out.reconcile("people", &[key]).await.unwrap().report;
        assert_eq!((report.stuck, report.lost), (1, 0));
        (fan_out, reads)
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_until_they_are_the_longest() {
        let pauses = Pauses {
            first: Duration::from_secs(60),
            longest: Duration::from_secs(600),
        };
        let (fan_out, reads) = people(pauses).await;
        let retrying = Retrying::start(fan_out).unwrap();
        tokio::time::sleep(Duration::from_secs(2200)).await;
        retrying.finish().await;
        let reads = reads.lock().unwrap();
        let rests: Vec<u64> = reads.windows(2).map(|two| two[1] - two[0]).collect();
        assert_eq!((reads[0], &*rests), (0, &[60, 120, 240, 480, 600, 600][..]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_asked_for_is_tried_before_its_time_and_by_one_alone() {
        let (fan_out, reads) = people(Pauses::default()).await;
        let mut told = Vec::new();
        fan_out
            .retry(&Which::Due, &mut |_, became| told.push(became.clone()))
            .await
            .unwrap();
        assert_eq!(told, []);
        let which = Which::All(Some("people".to_owned()));
        fan_out
            .retry(&which, &mut |_, became| told.push(became.clone()))
            .await
            .unwrap();
        assert!(
            matches!(&told[..], [Became::Stuck(stuck)] if stuck.target == "person:k:v:2"),
            "{told:?}"
        );
        // Two read it before either has claimed it.
        let parked = fan_out.parked().unwrap();
        let page = parked.page(None, None).await.unwrap().entries.into_iter();
        let page: Vec<_> = page.map(|entry| (entry, String::new())).collect();
        let first = fan_out.retry_these(parked, page.clone()).await.unwrap();
        let second = fan_out.retry_these(parked, page).await.unwrap();
        assert!(matches!(first[0].1, Became::Stuck(_)), "{first:?}");
        assert_eq!(second[0].1, Became::Taken);
        assert_eq!(reads.lock().unwrap().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_looks_and_finds_nothing_rests() {
        let (fan_out, _) = people(Pauses::default()).await;
        let asked = Arc::new(Mutex::new(0));
        let (asking, store) = (asked.clone(), UpstreamService::new(Embedded::memory()));
        let service = service_fn(move |request: Request<Body>| {
            *asking.lock().unwrap() += 1;
            store.clone().call(request)
        });
        let upstream = Upstream {
            service: UpstreamService::new(service),
            account: None,
            name: "embedded".into(),
        };
        let parked = Parked::new(upstream.clone(), Fingerprints::default(), Pauses::default());
        let retrying = Retrying::start(FanOut { upstream, ..fan_out }.parking(parked)).unwrap();
        tokio::time::sleep(Duration::from_secs(3601)).await;
        retrying.finish().await;
        assert!((60..=62).contains(&*asked.lock().unwrap()), "{asked:?}");
    }
}
