//! What the proxy would make of writes, in memory: the documents of one entity, written as clients write them and carried by
//! [`reconcile`].

pub mod scenario;

use std::sync::Arc;

use crate::{
    couch::{Document, Fields, Rev},
    lens::Lens,
    reconcile::{Body, Entity, Member, Outcome, reconcile},
    schema::{ClassId, Direction, Registry},
};
pub use scenario::{Scenario, ScenarioFile};

/// One entity of an otherwise empty database.
#[derive(Clone, Debug)]
pub struct Rehearsal<'a> {
    registry: &'a Registry,
    lenses: &'a [Lens],
    entity: Entity,
    edits: u64,
}

/// There is nothing to rehearse.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// No lens names the class.
    #[error("no lens ties {0} to another class")]
    Alone(String),
    /// The key makes ids that are another class's.
    #[error("the key `{0}` cannot stand in the ids of every class: it makes the id of another one")]
    Key(String),
}

/// Why the documents are not in step after a write: a line for each reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .reasons.join("\n"))]
pub struct Stuck {
    /// Never empty.
    pub reasons: Vec<String>,
    /// Nothing is wrong, but a document is missing: what does not need it was carried.
    pub is_waiting: bool,
}

/// A document as a client sends it; none deletes it.
pub type Sent = (ClassId, Option<Fields>);

impl<'a> Rehearsal<'a> {
    /// An entity without any document: that of `class` under `key`, which says nothing for a class of one document.
    pub fn new(registry: &'a Registry, lenses: &'a [Lens], class: ClassId, key: &str) -> Result<Self, Unfit> {
        let is_keyed = registry.class(class).pattern.is_keyed();
        let key = if is_keyed { key } else { "" };
        let Some(entity) = Entity::new(registry, class, key) else {
            return Err(match registry.entity(class) {
                [_] => Unfit::Alone(registry.class(class).name.to_string()),
                _ => Unfit::Key(key.to_owned()),
            });
        };
        Ok(Self {
            registry,
            lenses,
            entity,
            edits: 0,
        })
    }

    /// Whether the documents of a class are of this entity.
    pub fn has(&self, class: ClassId) -> bool {
        self.entity.members.iter().any(|member| member.class == class)
    }

    /// Writes documents, each on top of what is shown, and carries them. What is no class of this entity is left out.
    pub fn write(&mut self, documents: &[Sent]) -> Result<(), Stuck> {
        for (class, fields) in documents {
            self.edits += 1;
            let hash = format!("{0:012x}{0:020x}", self.edits);
            let Some(member) = self.entity.members.iter_mut().find(|member| member.class == *class) else {
                continue;
            };
            let mut path = member.tree.winner().map_or_else(Vec::new, |winner| member.revs(winner));
            let generation = path.first().map_or(1, |rev| rev.generation() + 1);
            path.insert(0, Rev::new(generation, &hash));
            let body = fields.clone().map_or(Body::Tombstone, |fields| {
                Body::Live(Arc::new(Document {
                    fields,
                    ..Document::default()
                }))
            });
            member.insert(&path, body, Body::Missing);
        }
        let outcome = reconcile(self.registry, self.lenses, &mut self.entity);
        match self.reasons(&outcome) {
            reasons if reasons.is_empty() => Ok(()),
            reasons => Err(Stuck {
                reasons,
                is_waiting: outcome.refusals.is_empty() && !outcome.is_restless,
            }),
        }
    }

    /// What a client sees of a class.
    pub fn shown(&self, class: ClassId) -> Option<&Fields> {
        let member = self.entity.members.iter().find(|member| member.class == class)?;
        Some(&document(member)?.fields)
    }

    /// The classes of the entity with the ids of their documents.
    pub fn ids(&self) -> impl Iterator<Item = (ClassId, &str)> {
        self.entity.members.iter().map(|member| (member.class, &*member.id))
    }

    fn reasons(&self, outcome: &Outcome) -> Vec<String> {
        let mut reasons: Vec<String> = Vec::new();
        for refusal in &outcome.refusals {
            let class = self.entity.members.iter().find(|member| member.id == refusal.target);
            let class = class.map_or_else(String::new, |member| self.name(member.class));
            let reason = format!("no {class} could be made: {}", refusal.error);
            if !reasons.contains(&reason) {
                reasons.push(reason);
            }
        }
        if outcome.is_waiting {
            reasons.push(format!(
                "a lens waits for {}, which is not there",
                self.awaited().join(", ")
            ));
        }
        if outcome.is_restless {
            reasons.push("the versions never come to rest".to_owned());
        }
        reasons
    }

    /// The documents that are missing beside others of their side.
    fn awaited(&self) -> Vec<String> {
        let is_there = |class: &ClassId| {
            let member = self.entity.members.iter().find(|member| member.class == *class);
            member.is_some_and(|member| !member.tree.is_empty())
        };
        let mut awaited = Vec::new();
        for lens in self.lenses {
            for direction in Direction::BOTH {
                let (near, _) = lens.step().sides(direction);
                if near.iter().any(is_there) {
                    let missing = near.iter().filter(|class| lens.awaits(**class) && !is_there(class));
                    awaited.extend(missing.map(|class| self.name(*class)));
                }
            }
        }
        awaited
    }

    fn name(&self, class: ClassId) -> String {
        self.registry.class(class).name.to_string()
    }
}

fn document(member: &Member) -> Option<&Arc<Document>> {
    member.at(member.tree.winner()?).body.live()
}
