//! The follower: reads what has changed in the databases, and brings in step what no proxy saw: what was written straight to CouchDB or by
//! its replicator, what a proxy left undone that died, and all documents when classes are new or have changed.
//!
//! One task owns all others ([`Follower`]). Databases that something happens in are named by `sources` and wait in a queue, each once; a
//! few at a time are looked at (`look`), one page each, so that a large one holds up no other. How far each has been read is kept
//! in it ([`Checkpoint`]). A page that fails is read again after a pause that grows.
//!
//! Whatever is done twice, by two proxies or after a crash, does no harm: reconciling finds nothing to do.

mod backfill;
mod checkpoint;
mod feed;
mod lease;
mod look;
mod names;
mod queue;
mod sources;
mod status;
mod throttle;

use std::{num::NonZeroU32, sync::Arc, time::Duration};

use http::StatusCode;
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    fanout::{FanOut, Report},
    proxy::Databases,
    schema::Fingerprints,
    upstream::{Upstream, account},
};
pub use checkpoint::{Backfill, Checkpoint};
use lease::Leases;
use look::Looker;
pub use names::Names;
pub use queue::{Lag, Pauses};
use queue::{Next, Queue, Task};
pub use status::{Made, Status};
use throttle::Throttle;

/// How often what is behind is measured.
const MEASURED: Duration = Duration::from_secs(1);

/// What a follower has to know.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The databases that hold documents in versions.
    pub databases: Databases,
    /// The patterns that make up `databases`. Those that are names can be had where the service account may not list all; and proxies
    /// share the work with those that have the same.
    pub patterns: Vec<String>,
    /// How often every database is looked at, whatever CouchDB tells of it.
    pub sweep: Duration,
    /// How long one database is left alone.
    pub pauses: Pauses,
    /// How many databases are looked at at once.
    pub at_once: usize,
    /// How many documents a second are made up for; none: as many as can be.
    pub rate: Option<NonZeroU32>,
    /// How long a proxy that is silent keeps its share of the databases from others; none: nothing is shared.
    pub lease: Option<Duration>,
    /// How long what has begun may take to end.
    pub drain: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            databases: Databases::default(),
            patterns: Vec::new(),
            sweep: Duration::from_secs(300),
            pauses: Pauses {
                rest: Duration::from_secs(2),
                retry: Duration::from_secs(1),
                longest: Duration::from_secs(300),
            },
            at_once: 4,
            rate: NonZeroU32::new(500),
            lease: Some(Duration::from_secs(30)),
            drain: Duration::from_secs(30),
        }
    }
}

/// A database could not be looked at, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The upstream gave no usable answer.
    #[error(transparent)]
    Account(#[from] account::Error),
    /// More entities failed than the checkpoint is moved past.
    #[error("{0} entities cannot be read or written")]
    Failures(usize),
    /// Entities are stuck, and could not be parked either.
    #[error("{0} entities cannot be parked: the log tells why")]
    Lost(usize),
}

impl Error {
    fn is_status(&self, expected: StatusCode) -> bool {
        matches!(self, Error::Account(account::Error::Refused { status, .. }) if *status == expected)
    }
}

/// A page of a backfill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Documents in this page.
    pub documents: u64,
    /// Documents since the backfill began.
    pub done: u64,
    /// As [`Backfill::of`].
    pub of: u64,
    /// It was the last page.
    pub is_done: bool,
    /// What was done for this page.
    pub report: Report,
}

/// What all tasks of a follower share.
struct Shared {
    settings: Settings,
    fan_out: FanOut,
    looker: Looker,
    queue: Queue,
    /// None if nothing is shared.
    leases: Option<Leases>,
    /// Somebody asks that all databases be looked through.
    sweep: Notify,
}

impl Shared {
    fn upstream(&self) -> &Upstream {
        self.fan_out.upstream()
    }

    fn is_ours(&self, db: &str) -> bool {
        self.settings.databases.contains(db) && self.leases.as_ref().is_none_or(|leases| leases.holds(db))
    }
}

/// A running follower; dropped, it is cut off.
pub struct Follower {
    shared: Arc<Shared>,
    owner: AbortOnDropHandle<()>,
}

impl Follower {
    /// Follows the databases of `fan_out`'s upstream until it is told to stop.
    pub fn start(fan_out: FanOut, fingerprints: &Fingerprints, settings: Settings, stop: CancellationToken) -> Self {
        let throttle = Throttle::new(settings.rate);
        let shared = Arc::new(Shared {
            looker: Looker::new(fan_out.clone(), fingerprints, throttle),
            leases: settings
                .lease
                .map(|term| Leases::new(fan_out.upstream().clone(), &settings.patterns, term)),
            settings,
            fan_out,
            queue: Queue::default(),
            sweep: Notify::new(),
        });
        let owner = AbortOnDropHandle::new(tokio::spawn(own(shared.clone(), stop)));
        Self { shared, owner }
    }

    /// How far reading is behind.
    pub fn lag(&self) -> Lag {
        self.shared.queue.lag()
    }

    /// Whether this process follows a database.
    pub fn follows(&self, db: &str) -> bool {
        self.shared.is_ours(db)
    }

    /// How many proxies share the databases, whenever that changes; none if nothing is shared.
    pub fn proxies(&self) -> Option<watch::Receiver<usize>> {
        self.shared.leases.as_ref().map(Leases::members)
    }

    /// Asks for a look at a database.
    pub fn wake(&self, db: &str) {
        self.shared.queue.wake(db, true);
    }

    /// Waits until every look that was asked for has been taken, and found no more.
    pub async fn rested(&self) {
        self.shared.queue.rested().await;
    }

    /// Has all databases looked through now.
    pub fn sweep(&self) {
        self.shared.sweep.notify_one();
    }

    /// Waits until it has ended, which it does once it is told to stop.
    pub async fn ended(self) {
        if let Err(error) = self.owner.await {
            tracing::error!(%error, "the follower's task failed");
        }
    }
}

/// Every task of a follower begins and ends in here.
async fn own(shared: Arc<Shared>, stop: CancellationToken) {
    let mut sources = JoinSet::new();
    let at = shared.clone();
    sources.spawn(async move { sources::updates(&at).await });
    let at = shared.clone();
    sources.spawn(async move { sources::sweeps(&at).await });
    let at = shared.clone();
    sources.spawn(async move { sources::missed(&at).await });
    let at = shared.clone();
    sources.spawn(async move { share(&at).await });
    let mut looks = JoinSet::new();
    let mut clock = interval(MEASURED);
    clock.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(ended) = looks.join_next() => failed(ended),
            task = shared.queue.next(), if looks.len() < shared.settings.at_once => {
                looks.spawn(look(shared.clone(), task));
            }
            _ = clock.tick() => measure(shared.queue.lag()),
        }
    }
    sources.shutdown().await;
    // Cut off they would do no harm, but what they have done would be looked at again.
    let ended = async { while looks.join_next().await.is_some() {} };
    if timeout(shared.settings.drain, ended).await.is_err() {
        looks.shutdown().await;
    }
    if let Some(leases) = &shared.leases {
        _ = timeout(shared.settings.drain, leases.release()).await;
    }
}

/// Keeps this process's share of the databases.
async fn share(shared: &Shared) {
    let Some(leases) = &shared.leases else { return };
    let changed = || {
        // Others may have followed a database that is this one's again.
        shared.fan_out.recent().forget();
        shared.sweep.notify_one();
    };
    leases.keep(shared.settings.pauses, changed).await;
}

fn failed(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "a look at a database failed");
    }
}

/// A look under way. However it ends, the queue learns of it.
struct Looking {
    shared: Arc<Shared>,
    task: Task,
    next: Next,
}

impl Drop for Looking {
    fn drop(&mut self) {
        self.shared
            .queue
            .done(&self.task, self.next, self.shared.settings.pauses);
    }
}

async fn look(shared: Arc<Shared>, task: Task) {
    let mut looking = Looking {
        shared: shared.clone(),
        task,
        next: Next::Failed,
    };
    let Task { db, is_thorough } = &looking.task;
    if !shared.is_ours(db) {
        looking.next = Next::Gone;
        return;
    }
    looking.next = match shared.looker.look(db, *is_thorough).await {
        Ok(next) => next,
        Err(error) => {
            metrics::counter!("chesterfield_follower_errors_total").increment(1);
            tracing::warn!(db = &**db, %error, "a database cannot be followed now, and is tried again");
            Next::Failed
        }
    };
}

fn measure(lag: Lag) {
    metrics::gauge!("chesterfield_follower_waiting_databases").set(lag.databases as f64);
    metrics::gauge!("chesterfield_follower_pending_changes", "of" => "all").set(lag.pending as f64);
    metrics::gauge!("chesterfield_follower_pending_changes", "of" => "worst").set(lag.pending_most as f64);
    metrics::gauge!("chesterfield_follower_oldest_wait_seconds").set(lag.oldest.as_secs_f64());
}

/// Brings a whole database in step, in the foreground and as fast as it goes; what comes of each page is told.
pub async fn backfill(
    fan_out: FanOut,
    fingerprints: &Fingerprints,
    db: &str,
    tell: impl FnMut(&Progress),
) -> Result<(), Error> {
    let looker = Looker::new(fan_out, fingerprints, Throttle::new(None));
    looker.run(db, tell).await
}
