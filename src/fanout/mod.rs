//! The fan-out: reads entities from an upstream, reconciles them, and writes what is missing.
//!
//! Everything here is done with the service account, and nothing has to be kept between two calls: whoever looks at an entity
//! sees what it lacks. What is remembered ([`Recent`]) saves looks.

mod batch;
mod embedders;
mod entities;
mod following;
mod in_flight;
mod missed;
mod recent;
mod retry;
mod shared;
mod store;
mod stuck;
mod survey;
mod upload;

use std::{collections::HashSet, sync::Arc};

use tokio::sync::Semaphore;

pub use crate::upstream::account::Error;
use crate::{
    lens::{Lens, PutError},
    reconcile::{Body, Entity, Outcome, Write, reconcile, references},
    schema::{ClassId, Registry},
    upstream::Upstream,
};
pub use entities::AT_ONCE;
pub use following::Echo;
use following::PAGES;
pub use in_flight::{InFlight, Stay};
pub use missed::Missed;
pub use recent::Recent;
pub use retry::{Became, Retrying, Which};
use shared::Pool;
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
    /// For each page of entities that follow a shared document.
    pages: Arc<Semaphore>,
    /// See [`Entity::has_copies`].
    adopts: bool,
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
    /// Entities that were parked, for one of these reasons.
    pub parked: usize,
    /// Entities that ought to be parked, and could not be.
    pub lost: usize,
    /// Entities that could not be read or written at all.
    pub failed: usize,
}

/// What a fan-out did, and what is to be done for others because of it.
#[derive(Debug, Default)]
pub struct Done {
    /// What was written.
    pub report: Report,
    /// What other entities have to follow: see [`FanOut::follow`].
    pub echo: Echo,
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
            pages: Arc::new(Semaphore::new(PAGES)),
            adopts: false,
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

    /// The entity a document belongs to; none if no lens ties its class to another, and none shares it.
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
        let blank = Entity::new(&self.registry, entity.first, &entity.key)?;
        Some(Entity {
            has_copies: self.adopts,
            ..blank
        })
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
    pub async fn bring_in_step(&self, db: &str, mut entities: Vec<Entity>) -> Result<Done, Error> {
        let mut done = Done::default();
        let mut writes: Vec<Write> = Vec::new();
        let mut sorted = Sorted::default();
        let mut settled = Vec::new();
        let mut pool = Pool::default();
        for round in 0..ROUNDS {
            let mut unread = Vec::new();
            let mut needs = Vec::new();
            for (n, mut entity) in entities.into_iter().enumerate() {
                pool.refresh(&mut entity);
                let mut reconciled = entity.clone();
                let outcome = reconcile(&self.registry, &self.lenses, &mut reconciled);
                if outcome.is_complete() || round + 1 == ROUNDS {
                    done.report.count(db, &outcome);
                    sorted.add(self, &entity, &outcome.refusals);
                    if outcome.refusals.is_empty() || self.sink.parks() {
                        let names = self.leaves(db, &entity, &outcome.writes);
                        // Others are still to follow.
                        match self.is_shared(&entity, &outcome.writes) {
                            true => done.echo.note_settled(names),
                            false => settled.extend(names),
                        }
                    }
                    self.note(&mut done.echo, &entity, &reconciled, &outcome.writes);
                    pool.learn(reconciled);
                    writes.extend(outcome.writes);
                } else {
                    unread.push((entity, outcome.wants));
                    needs.push(outcome.needs);
                }
                if n % TURN == TURN - 1 {
                    tokio::task::yield_now().await;
                }
            }
            entities = entities::read_wanted(&self.upstream, db, unread).await?;
            let all: HashSet<_> = needs.iter().flatten().cloned().collect();
            pool.read(&self.upstream, db, all).await?;
            for (entity, needs) in entities.iter_mut().zip(&needs) {
                pool.give(entity, needs);
            }
            if entities.is_empty() {
                break;
            }
        }
        let count = writes.len();
        let (plain, with_attachments) = upload::apart(writes);
        let mut refused = store::write(&self.upstream, db, plain).await?;
        let uploads = upload::write(&self.upstream, db, with_attachments, &self.uploads).await?;
        refused.extend(uploads.refused);
        done.report.refused = refused.len();
        done.report.written = count - refused.len() - uploads.left_out;
        metrics::counter!("chesterfield_derived_revisions_total").increment(done.report.written as u64);
        metrics::counter!("chesterfield_refused_revisions_total").increment(done.report.refused as u64);
        sorted.refuse(self, refused);
        (done.report.parked, done.report.lost) = self.sink.take(db, sorted).await;
        // Of what is parked somebody else takes care.
        if done.report.lost == 0 && (done.report.refused == 0 || self.sink.parks()) {
            self.recent.note(settled);
        } else {
            done.echo.forget_settled();
        }
        Ok(done)
    }

    /// Others embed an entity's documents, or some that are made of it.
    fn is_shared(&self, entity: &Entity, writes: &[Write]) -> bool {
        let mut members = entity.members.iter();
        members.any(|member| self.registry.is_shared(member.class))
            || writes.iter().any(|write| entity.position(&write.id).is_none())
    }

    /// Notes what others have to follow.
    fn note(&self, echo: &mut Echo, read: &Entity, reconciled: &Entity, writes: &[Write]) {
        let Some(key) = read.members.first().and_then(|member| self.entity_of(&member.id)) else {
            return;
        };
        echo.note(self, &key, writes);
        if !writes.is_empty() && !references(&self.lenses, reconciled).is_subset(&references(&self.lenses, read)) {
            echo.note_reference(key);
        }
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

impl From<Report> for Done {
    fn from(report: Report) -> Self {
        let echo = Echo::default();
        Self { report, echo }
    }
}

impl std::ops::AddAssign for Done {
    fn add_assign(&mut self, other: Self) {
        self.report += other.report;
        self.echo += other.echo;
    }
}

impl std::ops::AddAssign for Report {
    fn add_assign(&mut self, other: Self) {
        self.written += other.written;
        self.refused += other.refused;
        self.stuck += other.stuck;
        self.waiting += other.waiting;
        self.parked += other.parked;
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
