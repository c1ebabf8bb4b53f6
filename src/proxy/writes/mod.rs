//! Writes: forwarded first and unchanged, with the client's own credentials; what CouchDB accepted is then carried into the
//! other versions, before the answer is given.
//!
//! A write costs two round trips where a bare one costs one: while the write is on its way, the entities it touches are read.

mod answer;
mod posted;

use std::{collections::HashMap, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use http::Response;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;
use tracing::{Instrument, Span};

use super::{Answer, Call, service::Writes, service::pass};
use crate::{
    couch::Rev,
    fanout::{EntityKey, Error, FanOut, InFlight, Report, Stay, insert},
    reconcile::{Body as Stored, Entity},
    upstream::{self, Body, Upstream},
};
use answer::Accepted;
use posted::{Base, Posted};

/// The fan-out behind every write.
pub struct FanningOut {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// How much a write may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The most that is read of a write's body, in bytes. A longer `_bulk_docs` is refused with 413, upon which replicators halve
    /// their batches; a longer document is passed on and looked at afterwards.
    pub body: usize,
    /// How long the answer waits for the fan-out, which goes on behind it.
    pub patience: Duration,
}

struct Shared {
    upstream: Upstream,
    fan_out: FanOut,
    in_flight: InFlight,
    limits: Limits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body: 64 << 20,
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
            in_flight: InFlight::default(),
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
            let call = match posted::read(&self.shared.fan_out, call, self.shared.limits.body).await? {
                (call, Posted::Nothing) => return pass(&self.shared.upstream, call).await,
                seen => seen,
            };
            let (give, given) = oneshot::channel();
            let work = self.shared.clone().write(call, give).instrument(Span::current());
            self.tasks.spawn(work);
            given.await.unwrap_or_else(|_| Err(super::Error::Lost))
        })
    }
}

impl Shared {
    async fn write(self: Arc<Self>, (call, posted): (Call, Posted), give: oneshot::Sender<Answer>) {
        let db = call.route.db().unwrap_or_default().to_owned();
        let keys = posted.entities();
        let mut stay = self.in_flight.enter(&db, &keys);
        let (forwarded, read) = tokio::join!(self.upstream.send(call.into_request()), self.fan_out.read(&db, &keys));
        let read = read
            .inspect_err(|error| tracing::warn!(%error, "siblings could not be read ahead"))
            .ok();
        let answered = match forwarded {
            Ok(answer) => answer::read(&self.upstream, answer, &posted).await,
            Err(error) => Err(error.into()),
        };
        let (answer, accepted) = match answered {
            Ok(seen) => seen,
            Err(error) => {
                let never_sent = matches!(error, super::Error::Upstream(upstream::Error::Unreachable { .. }));
                let _ = give.send(Err(error));
                // Whether it was written cannot be told: it is looked at.
                let keys = if never_sent { Vec::new() } else { keys };
                return self.fan_out(&db, keys, None, Accepted::default(), &mut stay).await;
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
        let (entities, mut unseen) = self.apply(keys, read, &accepted);
        let mut late = None;
        if !accepted.unseen.is_empty() {
            let keys: Vec<EntityKey> = accepted
                .unseen
                .iter()
                .filter_map(|id| self.fan_out.entity_of(id))
                .collect();
            late = Some(self.in_flight.enter(db, &keys));
            unseen.extend(keys);
        }
        let mut report = Report::default();
        let mut note = |result: Result<Report, Error>| match result {
            Ok(done) => report += done,
            Err(error) => {
                metrics::counter!("chesterfield_fan_out_failures_total").increment(1);
                tracing::error!(%error, db, "a fan-out failed");
            }
        };
        if !entities.is_empty() {
            note(self.fan_out.bring_in_step(db, entities).await);
        }
        loop {
            if !unseen.is_empty() {
                note(self.fan_out.reconcile(db, &unseen).await);
            }
            unseen = stay.leave();
            if let Some(late) = &mut late {
                unseen.extend(late.leave());
            }
            if unseen.is_empty() {
                break;
            }
        }
        Span::current().record("fan_out", report.written);
    }

    /// Puts what was accepted into what was read ahead. Where that cannot be done for sure, the entity is to be read again.
    fn apply(
        &self,
        keys: Vec<EntityKey>,
        read: Option<Vec<Entity>>,
        accepted: &Accepted,
    ) -> (Vec<Entity>, Vec<EntityKey>) {
        let Some(read) = read else { return (Vec::new(), keys) };
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
        (entities.into_values().collect(), unseen)
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
