//! Entities that cannot be carried whole, parked as documents in the database `chesterfield` on the upstream: people see them in
//! Fauxton, and whoever retries finds them there.
//!
//! What is parked is what only a change of a document, a lens or the upstream's own rules can mend. That an upstream does not answer, or
//! answers 503, is no reason: then nothing is parked, and whoever looks next tries again.
//!
//! Several proxies park the same entity under the same id, and whoever tries one again claims it first by compare-and-swap. Of what
//! comes through the document is deleted. The tombstones do not grow without bound: ids are made of names, so each entity has one at most,
//! however often it is parked, with no more than CouchDB keeps of its revisions. An operator who wants to be rid of them deletes
//! the database while nothing is parked; it is made again when it is needed.

mod entry;
mod store;

use std::{
    collections::HashMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use jiff::Timestamp;
use tokio::{sync::Notify, time::Instant};

use crate::{
    schema::{ClassId, Fingerprints},
    upstream::{Upstream, account::Error},
};
pub use entry::{Entry, Kind, Pauses, Stuck, name};
pub use store::Page;
use store::Put;

/// What tells the time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// How many parked entities a process remembers, so that it need not read them before it writes them.
const KNOWN: usize = 1000;

/// Rounds of reading and writing again what others have written meanwhile.
const ROUNDS: usize = 4;

/// What becomes of an entity that is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It came through.
    Carried,
    /// Its database was deleted, or no lens ties its class to another any more.
    Needless,
}

/// How many entities of a database are parked.
pub async fn count(upstream: &Upstream, db: &str) -> Result<u64, Error> {
    store::count(upstream, &entry::range(Some(db))).await
}

/// The parked entities of one upstream; clones share what they know.
#[derive(Clone)]
pub struct Parked(Arc<Shared>);

struct Shared {
    upstream: Upstream,
    fingerprints: Fingerprints,
    pauses: Pauses,
    clock: Clock,
    state: Mutex<State>,
    /// Something was parked.
    parked: Notify,
}

#[derive(Default)]
struct State {
    /// What this process has written last, by id.
    known: HashMap<String, Entry>,
    /// When the first of what was seen or written since the last look is to be tried again.
    soonest: Option<Timestamp>,
}

impl Parked {
    /// `fingerprints` are of the schemas that entities are tried with.
    pub fn new(upstream: Upstream, fingerprints: Fingerprints, pauses: Pauses) -> Self {
        Self::with_clock(upstream, fingerprints, pauses, Arc::new(Timestamp::now))
    }

    /// The same, by another clock.
    pub fn with_clock(upstream: Upstream, fingerprints: Fingerprints, pauses: Pauses, clock: Clock) -> Self {
        Self(Arc::new(Shared {
            upstream,
            fingerprints,
            pauses,
            clock,
            state: Mutex::default(),
            parked: Notify::new(),
        }))
    }

    /// What entities of a class are tried with.
    pub fn fingerprint(&self, class: ClassId) -> &str {
        self.0.fingerprints.of(class)
    }

    /// When they are tried again.
    pub fn pauses(&self) -> &Pauses {
        &self.0.pauses
    }

    /// By the clock that parked entities are dated with.
    pub fn now(&self) -> Timestamp {
        (self.0.clock)()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Parks what is stuck, and unparks those that came through as far as this process knows them to be parked; entities are told by
    /// their names. One request, unless others have written the same entities since this process did. Answers how many could not
    /// be parked, which is told in the log.
    pub async fn note(&self, db: &str, stuck: &[Stuck], through: &[String]) -> usize {
        let now = self.now();
        let puts: Vec<Put> = {
            let state = self.state();
            let parked = stuck.iter().map(|stuck| {
                let known = state.known.get(&entry::id(db, &stuck.entity));
                Put::Park(self.noted(db, known, stuck, now), stuck.clone())
            });
            let through = through
                .iter()
                .filter(|_| !state.known.is_empty())
                .filter_map(|name| state.known.get(&entry::id(db, name)))
                .map(|known| Put::Unpark(known.clone(), Gone::Carried));
            parked.chain(through).collect()
        };
        self.write(puts).await
    }

    fn noted(&self, db: &str, known: Option<&Entry>, stuck: &Stuck, now: Timestamp) -> Entry {
        let pauses = self.pauses();
        match known {
            Some(known) => known.again(stuck, now, pauses),
            None => Entry::new(db, stuck, now, pauses),
        }
    }

    /// Notes what became of an entity that was claimed and tried again.
    pub async fn settle(&self, tried: Vec<(Entry, Result<Gone, Stuck>)>) -> usize {
        let now = self.now();
        let puts = tried.into_iter().map(|(entry, became)| match became {
            Ok(gone) => Put::Unpark(entry, gone),
            Err(stuck) => Put::Park(self.noted(&entry.db, Some(&entry), &stuck, now), stuck),
        });
        self.write(puts.collect()).await
    }

    /// Writes all of these, whoever else writes them; answers how many could not be written.
    async fn write(&self, mut puts: Vec<Put>) -> usize {
        let mut lost = 0;
        for _ in 0..ROUNDS {
            if puts.is_empty() {
                break;
            }
            let count = puts.len();
            match self.write_once(puts).await {
                Ok((conflicts, refused)) => {
                    puts = conflicts;
                    lost += refused;
                }
                Err(error) => {
                    metrics::counter!("chesterfield_parking_failures_total").increment(count as u64);
                    tracing::error!(
                        %error,
                        entities = count,
                        mend = "make the database `chesterfield`, and let the account of the upstream's URL write to it",
                        "entities cannot be parked: they are tried again with their next edit"
                    );
                    return lost + count;
                }
            }
        }
        // What is left over has been parked by whoever was faster each time.
        lost
    }

    /// Answers what others have written meanwhile, as it is to be written on top of that, and how many were refused.
    async fn write_once(&self, puts: Vec<Put>) -> Result<(Vec<Put>, usize), Error> {
        let rows = store::write(&self.0.upstream, puts.iter().map(Put::document)).await?;
        let (mut conflicts, mut refused) = (Vec::new(), 0);
        for (put, row) in puts.into_iter().zip(rows) {
            match row {
                Ok(rev) => self.written(put, rev),
                Err(row) if row.is_conflict() => conflicts.push(put),
                Err(row) => {
                    refused += 1;
                    let entry = put.entry();
                    tracing::error!(
                        db = entry.db,
                        parked = entry.id,
                        error = row.error,
                        reason = row.reason,
                        "cannot be parked"
                    );
                }
            }
        }
        if conflicts.is_empty() {
            return Ok((conflicts, refused));
        }
        let ids: Vec<&str> = conflicts.iter().map(|put| &*put.entry().id).collect();
        let mut there = store::read(&self.0.upstream, &ids).await?;
        let now = self.now();
        let again = conflicts.into_iter().filter_map(|put| match put {
            Put::Park(entry, stuck) => {
                let entry = self.noted(&entry.db, there.remove(&entry.id).as_ref(), &stuck, now);
                Some(Put::Park(entry, stuck))
            }
            // Somebody has tried it since, and knows better.
            Put::Unpark(entry, _) => {
                self.state().known.remove(&entry.id);
                None
            }
        });
        Ok((again.collect(), refused))
    }

    fn written(&self, put: Put, rev: String) {
        match put {
            Put::Park(mut entry, stuck) => {
                entry.rev = Some(rev);
                if entry.attempts == 1 {
                    metrics::gauge!("chesterfield_parked_entities").increment(1);
                }
                metrics::counter!("chesterfield_parked_total", "why" => stuck.error.name()).increment(1);
                tracing::warn!(
                    db = entry.db,
                    document = entry.target,
                    error = entry.error,
                    place = entry.place,
                    parked = entry.id,
                    attempts = entry.attempts,
                    next = %entry.next,
                    mend = "mend the document, its lens or what refuses it; the reason stands in the parked document",
                    "an entity is parked"
                );
                self.expect(entry.next);
                self.remember(entry);
                self.0.parked.notify_one();
            }
            Put::Unpark(entry, gone) => {
                let why = match gone {
                    Gone::Carried => "carried",
                    Gone::Needless => "needless",
                };
                metrics::gauge!("chesterfield_parked_entities").decrement(1);
                metrics::counter!("chesterfield_unparked_total", "why" => why).increment(1);
                tracing::info!(
                    db = entry.db,
                    document = entry.target,
                    parked = entry.id,
                    why,
                    "an entity is unparked"
                );
                self.state().known.remove(&entry.id);
            }
        }
    }

    fn remember(&self, entry: Entry) {
        let mut state = self.state();
        if state.known.len() >= KNOWN
            && let Some(any) = state.known.keys().next().cloned()
        {
            state.known.remove(&any);
        }
        state.known.insert(entry.id.clone(), entry);
    }

    /// A page of what is parked, of one database or of all, behind this id.
    pub async fn page(&self, db: Option<&str>, after: Option<&str>) -> Result<Page, Error> {
        store::page(&self.0.upstream, &entry::range(db), after).await
    }

    /// Takes on some of these, each with the fingerprint of what it is tried with, so that nobody else tries them: those that nobody
    /// else was faster with.
    pub async fn claim(&self, due: &[(Entry, String)]) -> Result<Vec<Entry>, Error> {
        if due.is_empty() {
            return Ok(Vec::new());
        }
        let now = self.now();
        let claims = due.iter().map(|(entry, registry)| entry.claimed(now, registry));
        let mut claims: Vec<Entry> = claims.collect();
        let rows = store::write(&self.0.upstream, claims.iter().map(store::parked)).await?;
        for (claim, row) in claims.iter_mut().zip(rows) {
            claim.rev = row.ok();
        }
        claims.retain(|claim| claim.rev.is_some());
        for claim in &claims {
            self.expect(claim.next);
        }
        Ok(claims)
    }

    /// Something is to be tried again at this time.
    pub fn expect(&self, next: Timestamp) {
        let mut state = self.state();
        state.soonest = Some(state.soonest.map_or(next, |soonest| soonest.min(next)));
    }

    /// Forgets when something is to be tried again: all of it is about to be looked at.
    pub fn look(&self) {
        self.state().soonest = None;
    }

    /// Rests until something is due, for `least` at least and for `most` at most: others park, too.
    pub async fn rest(&self, least: Duration, most: Duration) {
        let begun = Instant::now();
        loop {
            let soonest = self.state().soonest;
            let due = soonest.map_or(most, |soonest| until(self.now(), soonest));
            let wait = due.min(most.saturating_sub(begun.elapsed()));
            let wait = wait.max(least.saturating_sub(begun.elapsed()));
            tokio::select! {
                () = tokio::time::sleep(wait) => return,
                () = self.0.parked.notified() => {}
            }
        }
    }
}

fn until(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

impl fmt::Debug for Parked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parked").finish_non_exhaustive()
    }
}
