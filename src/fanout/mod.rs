//! The fan-out: reads entities from an upstream, reconciles them, and writes what is missing.
//!
//! Everything here is done with the service account, and nothing has to be kept between two calls: whoever looks at an entity
//! sees what it lacks. What is remembered ([`Recent`]) saves looks.

mod batch;
mod entities;
mod in_flight;
mod missed;
mod recent;
mod retry;
mod store;
mod stuck;
mod survey;
mod upload;

use std::sync::Arc;

pub use crate::upstream::account::Error;
use tokio::sync::Semaphore;

use crate::{
    lens::{Lens, PutError},
    reconcile::{Body, Entity, Outcome, Write, reconcile},
    schema::{ClassId, Registry},
    upstream::Upstream,
};
pub use entities::AT_ONCE;
pub use in_flight::{InFlight, Stay};
pub use missed::Missed;
pub use recent::Recent;
pub use retry::{Became, Retrying, Which};
use stuck::{Sink, Sorted};
pub use survey::Survey;

/// Reconciles entities of any database of one upstream.
#[derive(Clone)]
pub struct FanOut {
    upstream: Upstream,
    registry: Arc<Registry>,
    lenses: Arc<[Lens]>,
    /// What is done with entities that cannot be carried whole.
    sink: Sink,
    in_flight: InFlight,
    recent: Recent,
    missed: Missed,
    /// Requests with attachments that may be on their way.
    uploads: Arc<Semaphore>,
}

/// Names an entity in its database.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EntityKey {
    /// The first of its classes, in the order of the registry.
    first: ClassId,
    key: String,
}

/// What a fan-out did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Revisions that were missing, and now are written.
    pub written: usize,
    /// Revisions that the upstream refused.
    pub refused: usize,
    /// Entities with an edit that a lens could not carry.
    pub stuck: usize,
    /// Entities that wait for a document.
    pub waiting: usize,
    /// Entities that ought to be parked, and could not be.
    pub lost: usize,
    /// Entities that could not be read or written at all.
    pub failed: usize,
}

/// Rounds of reading bodies of inner revisions: each lets the derivation go at least one class further.
const ROUNDS: usize = 16;

/// Entities reconciled before other tasks get their turn.
const TURN: usize = 32;

impl FanOut {
    /// `lenses` are those of the registry's steps.
    pub fn new(upstream: Upstream, registry: Arc<Registry>, lenses: Arc<[Lens]>) -> Self {
        Self {
            upstream,
            registry,
            lenses,
            sink: Sink::Nowhere,
            in_flight: InFlight::default(),
            recent: Recent::default(),
            missed: Missed::default(),
            uploads: Arc::new(Semaphore::new(upload::AT_ONCE)),
        }
    }

    /// Who is at work on which entities; clones of a fan-out share it.
    pub fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }

    /// What was brought in step of late, by any clone.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }

    /// Where a fan-out of any clone has failed.
    pub fn missed(&self) -> &Missed {
        &self.missed
    }

    /// The upstream that entities are read from and written to.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// The classes and how lenses tie them.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The entity a document belongs to; none if no lens ties its class to another.
    pub fn entity_of(&self, doc_id: &str) -> Option<EntityKey> {
        let (class, key) = self.registry.classify(doc_id)?;
        let entity = EntityKey {
            first: *self.registry.entity(class).first()?,
            key: key.to_owned(),
        };
        self.blank(&entity).map(|_| entity)
    }

    /// The id of one of an entity's documents, whether it exists or not.
    pub fn any_id(&self, entity: &EntityKey) -> String {
        self.registry.class(entity.first).pattern.id(&entity.key)
    }

    fn blank(&self, entity: &EntityKey) -> Option<Entity> {
        Entity::new(&self.registry, entity.first, &entity.key)
    }

    /// Reads entities, in the order of `keys`, with one request. Of more than [`AT_ONCE`], or if they are too large to be held at once,
    /// none is read: [`FanOut::reconcile`] takes any number of any size.
    pub async fn read(&self, db: &str, keys: &[EntityKey]) -> Result<Vec<Entity>, Error> {
        Ok(self.read_measured(db, keys, entities::BUDGET_AHEAD).await?.0)
    }

    /// Answers how many bytes were read, too.
    async fn read_measured(&self, db: &str, keys: &[EntityKey], budget: usize) -> Result<(Vec<Entity>, usize), Error> {
        let mut read: Vec<Entity> = keys.iter().filter_map(|key| self.blank(key)).collect();
        let length = match read.len() {
            0 => 0,
            1..=AT_ONCE => entities::read(&self.upstream, db, &mut read, budget).await?,
            _ => {
                return Err(Error::TooLong {
                    request: "_bulk_get",
                    limit: budget,
                });
            }
        };
        Ok((read, length))
    }

    /// Writes whatever is missing in these entities.
    pub async fn bring_in_step(&self, db: &str, mut entities: Vec<Entity>) -> Result<Report, Error> {
        let mut report = Report::default();
        let mut writes: Vec<Write> = Vec::new();
        let mut sorted = Sorted::default();
        let mut settled = Vec::new();
        for round in 0..ROUNDS {
            let mut unread = Vec::new();
            for (n, entity) in entities.into_iter().enumerate() {
                let outcome = reconcile(&self.registry, &self.lenses, &mut entity.clone());
                if outcome.wants.is_empty() || round + 1 == ROUNDS {
                    report.count(db, &outcome);
                    sorted.add(self, &entity, &outcome.refusals);
                    if outcome.refusals.is_empty() || self.sink.parks() {
                        settled.extend(self.leaves(db, &entity, &outcome.writes));
                    }
                    writes.extend(outcome.writes);
                } else {
                    unread.push((entity, outcome.wants));
                }
                if n % TURN == TURN - 1 {
                    tokio::task::yield_now().await;
                }
            }
            entities = entities::read_wanted(&self.upstream, db, unread).await?;
            if entities.is_empty() {
                break;
            }
        }
        let count = writes.len();
        let (plain, with_attachments) = upload::apart(writes);
        let mut refused = store::write(&self.upstream, db, plain).await?;
        let uploads = upload::write(&self.upstream, db, with_attachments, &self.uploads).await?;
        refused.extend(uploads.refused);
        report.refused = refused.len();
        report.written = count - refused.len() - uploads.left_out;
        metrics::counter!("chesterfield_derived_revisions_total").increment(report.written as u64);
        metrics::counter!("chesterfield_refused_revisions_total").increment(report.refused as u64);
        sorted.refuse(self, refused);
        report.lost = self.sink.take(db, sorted).await;
        // Of what is parked somebody else takes care.
        if report.lost == 0 && (report.refused == 0 || self.sink.parks()) {
            self.recent.note(settled);
        }
        Ok(report)
    }

    /// The names for [`Recent`] of every leaf that an entity had or gets.
    fn leaves<'a>(&'a self, db: &'a str, entity: &'a Entity, writes: &'a [Write]) -> impl Iterator<Item = u64> + 'a {
        let had = entity.members.iter().flat_map(move |member| {
            let leaves = member.tree.leaves();
            leaves.map(move |leaf| self.recent.name(db, &member.id, member.tree.rev(leaf)))
        });
        let gets = writes
            .iter()
            .filter_map(move |write| Some(self.recent.name(db, &write.id, write.path.first()?)));
        had.chain(gets)
    }
}

impl Report {
    fn count(&mut self, db: &str, outcome: &Outcome) {
        self.waiting += usize::from(outcome.is_waiting);
        self.stuck += usize::from(!outcome.refusals.is_empty());
        if outcome.is_restless {
            let document = outcome.writes.last().map(|write| write.id.as_str());
            tracing::error!(db, document, "an entity does not come to rest");
        }
        for refusal in &outcome.refusals {
            let (why, told) = match refusal.error {
                PutError::Invalid(_) => ("schema", "what a lens makes does not fit its class, and is not written"),
                _ => ("lens", "a lens cannot carry an edit"),
            };
            metrics::counter!("chesterfield_lens_errors_total", "why" => why).increment(1);
            tracing::warn!(db, document = refusal.target, place = refusal.error.place(), "{told}");
        }
    }
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.refused += other.refused;
        self.stuck += other.stuck;
        self.waiting += other.waiting;
        self.lost += other.lost;
        self.failed += other.failed;
    }
}

/// Adds a revision to a document of an entity that was read; its ancestors' bodies are unread. Nothing if the entity has
/// no such document.
pub fn insert(entity: &mut Entity, id: &str, path: &[crate::couch::Rev], body: Body) {
    if let Some(place) = entity.position(id) {
        entity.members[place].insert(path, body, Body::Unread);
    }
}
