//! Writes: forwarded first and unchanged, with the client's own credentials; what CouchDB accepted is then carried into the
//! other versions, before the answer is given.
//!
//! A write costs two round trips where a bare one costs one: while the write is on its way, the entities it touches are read.

mod answer;
mod passing;
mod posted;
pub(super) mod room;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::{StreamExt, future::BoxFuture, stream};
use http::Response;
use tokio::sync::{Semaphore, oneshot};
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::{Answer, Call, service::Writes, service::pass};
use crate::{
    couch::Rev,
    fanout::{AT_ONCE, Done, Echo, EntityKey, Error, FanOut, Report, Stay, insert},
    reconcile::{Body as Stored, Entity},
    upstream::{self, Body, Upstream},
};
use answer::Accepted;
use posted::{Base, Posted, Read};
use room::{Place, Room};

/// Entities that are looked at afterwards, all writes together: each batch of them is held in memory.
const LATE: usize = 4 * AT_ONCE;

/// Batches of one write that are on their way at once.
const SIDE_BY_SIDE: usize = 2;

/// The fan-out behind every write.
pub struct FanningOut {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// How much a write may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest `_bulk_docs`, in bytes. A longer one is refused with 413, upon which replicators halve their batches.
    pub body: usize,
    /// How much of all bodies may be held at once, in bytes. What finds no room is passed on, and looked at afterwards.
    pub held: usize,
    /// How long the answer waits for the fan-out, which goes on behind it.
    pub patience: Duration,
}

struct Shared {
    upstream: Upstream,
    fan_out: FanOut,
    room: Room,
    late: Semaphore,
    limits: Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 1 << 30,
            held: 128 << 20,
            patience: Duration::from_secs(30),
        }
    }
}

impl FanningOut {
    /// Carries what is written to `upstream`.
    pub fn new(upstream: Upstream, fan_out: FanOut, limits: Limits) -> Self {
        let shared = Shared {
            upstream,
            fan_out,
            room: Room::new(limits.held),
            late: Semaphore::new(LATE),
            limits,
        };
        Self {
            shared: Arc::new(shared),
            tasks: TaskTracker::new(),
        }
    }

    /// Waits until every fan-out that has begun is done. To be called when no request comes any more.
    pub async fn finish(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Writes for FanningOut {
    /// Once a write is on its way it is seen through, even if its client goes away: a fan-out cut off would be repaired only
    /// by whoever looks next.
    fn forward(&self, call: Call) -> BoxFuture<'_, Answer> {
        Box::pin(async move {
            let shared = &self.shared;
            let Read { call, posted, place } =
                posted::read(&shared.fan_out, call, &shared.room, &shared.limits).await?;
            if matches!(posted, Posted::Nothing) {
                return pass(&shared.upstream, call).await;
            }
            let (give, given) = oneshot::channel();
            let work = shared
                .clone()
                .write(call, posted, place, give)
                .instrument(Span::current());
            self.tasks.spawn(work);
            given.await.unwrap_or_else(|_| Err(super::Error::Lost))
        })
    }
}

impl Shared {
    async fn write(self: Arc<Self>, call: Call, posted: Posted, _place: Place, give: oneshot::Sender<Answer>) {
        let db = call.route.db().unwrap_or_default().to_owned();
        let keys = posted.entities();
        let mut stay = self.fan_out.in_flight().enter(&db, &keys);
        let (forwarded, read) = tokio::join!(self.upstream.send(call.into_request()), self.fan_out.read(&db, &keys));
        let read = read.map_err(|error| match error {
            // They are large, and read in parts afterwards.
            Error::TooLong { .. } => {}
            error => tracing::warn!(%error, "siblings could not be read ahead"),
        });
        let read = read.ok();
        let answered = match (forwarded, posted.too_long()) {
            // Whatever the upstream made of a body that broke off.
            (_, Some(error)) => Err(error.into()),
            (Ok(answer), None) => answer::read(&self.upstream, &self.fan_out, answer, &posted).await,
            (Err(error), None) => Err(error.into()),
        };
        let (answer, accepted) = match answered {
            Ok(seen) => seen,
            Err(error) => {
                let never_sent = matches!(error, super::Error::Upstream(upstream::Error::Unreachable { .. }));
                let _ = give.send(Err(error));
                // Whether it was written cannot be told: it is looked at.
                let accepted = Accepted {
                    unseen: posted.passed(),
                    ..Accepted::default()
                };
                let keys = if never_sent { Vec::new() } else { keys };
                return self.fan_out(&db, keys, None, accepted, &mut stay).await;
            }
        };
        if accepted.is_none() {
            let _ = give.send(Ok(answer));
            // It may still be the last of several, who looks again for the others.
            return self.fan_out(&db, Vec::new(), None, accepted, &mut stay).await;
        }
        let fan_out = self.fan_out(&db, keys, read, accepted, &mut stay);
        self.answer_in_time(give, answer, fan_out).await;
    }

    /// Gives the answer after the fan-out, or when patience ends; the fan-out ends in its own time.
    async fn answer_in_time(
        &self,
        give: oneshot::Sender<Answer>,
        answer: Response<Body>,
        fan_out: impl Future<Output = ()>,
    ) {
        let mut fan_out = std::pin::pin!(fan_out);
        let done = tokio::time::timeout(self.limits.patience, fan_out.as_mut()).await;
        // Whoever no longer waits does not need it.
        let _ = give.send(Ok(answer));
        if done.is_err() {
            tracing::warn!("a fan-out takes long; its write is answered");
            fan_out.await;
        }
    }

    /// A failed fan-out never fails the client's write: it is told in the log, and made up for by whoever looks next.
    async fn fan_out(
        &self,
        db: &str,
        keys: Vec<EntityKey>,
        read: Option<Vec<Entity>>,
        accepted: Accepted,
        stay: &mut Stay,
    ) {
        let mut done = Done {
            echo: Echo::of(&self.fan_out, &keys),
            ..Done::default()
        };
        let written = keys.clone();
        let (entities, mut unseen) = self.apply(keys, read, &accepted);
        if !entities.is_empty() {
            let known: Vec<EntityKey> = entities.keys().cloned().collect();
            let entities = entities.into_values().collect();
            done += self.told(db, &known, self.fan_out.bring_in_step(db, entities).await);
        }
        loop {
            if !unseen.is_empty() {
                done += self.told(db, &unseen, self.fan_out.reconcile(db, &unseen).await);
            }
            unseen = stay.leave();
            if unseen.is_empty() {
                break;
            }
        }
        let Done { mut report, echo } = done;
        let followed = self.fan_out.follow(db, echo, self.failed(db)).await;
        report += self.told(db, &written, followed.map(Done::from)).report;
        let late: Vec<_> = accepted
            .unseen
            .chunks(AT_ONCE)
            .map(|keys| self.look_at(db, keys))
            .collect();
        let mut late = stream::iter(late).buffer_unordered(SIDE_BY_SIDE);
        while let Some(done) = late.next().await {
            report += done;
        }
        Span::current().record("fan_out", report.written);
    }

    /// Reads and reconciles what has been written. Whoever has a turn waits for nobody but the upstream.
    async fn look_at(&self, db: &str, keys: &[EntityKey]) -> Report {
        // It is never closed.
        let _turn = self.late.acquire_many(keys.len() as u32).await;
        let seen = self.fan_out.look_at(db, keys, self.failed(db)).await;
        self.told(db, keys, seen.map(Done::from)).report
    }

    fn failed(&self, db: &str) -> impl FnMut(&EntityKey, &Error) {
        move |key, error| self.fan_out.tell_failed(db, key, error)
    }

    /// What failed is counted, told in the log, and left to the follower.
    fn told(&self, db: &str, keys: &[EntityKey], result: Result<Done, Error>) -> Done {
        let done = result.unwrap_or_else(|error| {
            metrics::counter!("chesterfield_fan_out_failures_total").increment(1);
            tracing::error!(%error, db, "a fan-out failed");
            self.fan_out.missed().add(db, keys);
            Done::default()
        });
        if done.report.failed > 0 {
            self.fan_out.missed().add(db, keys);
        }
        done
    }

    /// Puts what was accepted into what was read ahead. Where that cannot be done for sure, the entity is to be read again.
    fn apply(
        &self,
        keys: Vec<EntityKey>,
        read: Option<Vec<Entity>>,
        accepted: &Accepted,
    ) -> (HashMap<EntityKey, Entity>, Vec<EntityKey>) {
        let Some(read) = read else {
            return (HashMap::new(), keys);
        };
        let mut entities: HashMap<EntityKey, Entity> = keys.into_iter().zip(read).collect();
        let mut unseen = Vec::new();
        for write in &accepted.known {
            let key = &write.entity;
            let placed = entities.get_mut(key).is_some_and(|entity| {
                let Some(path) = path(entity, &write.id, &write.rev, &write.base) else {
                    return false;
                };
                insert(entity, &write.id, &path, write.body.clone());
                !matches!(write.body, Stored::Unread)
            });
            if !placed && entities.remove(key).is_some() {
                unseen.push(key.clone());
            }
        }
        (entities, unseen)
    }
}

/// CouchDB's default `_revs_limit`.
const REVS_LIMIT: usize = 1000;

/// The path of a revision that CouchDB has just made, or taken over.
fn path(entity: &Entity, id: &str, rev: &Rev, base: &Base) -> Option<Vec<Rev>> {
    let member = &entity.members[entity.position(id)?];
    let tree = &member.tree;
    if let Base::Path(path) = base {
        // How much of a longer one CouchDB keeps is to be read.
        return (path.len() <= REVS_LIMIT).then(|| path.clone());
    }
    // Read after it was written.
    if tree.find(rev).is_some() {
        return Some(vec![rev.clone()]);
    }
    let parent = match base {
        Base::On(parent) => Some(tree.find(parent)?),
        _ if rev.generation() == 1 => None,
        // A document created anew stands on top of its tombstone.
        _ => Some(tree.winner()?),
    };
    let mut path = vec![rev.clone()];
    path.extend(parent.map(|parent| member.revs(parent)).unwrap_or_default());
    path.get(1)
        .is_none_or(|parent| parent.generation() + 1 == rev.generation())
        .then_some(path)
}
