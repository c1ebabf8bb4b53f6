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

/// A document that others embed, as a client sends it, with its key; none deletes it.
pub type SentShared = (ClassId, String, Option<Fields>);

impl<'a> Rehearsal<'a> {
    /// An entity without any document: that of `class` under `key`, or the only one of a class of one document.
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

    /// Whether documents of this entity embed those of a class.
    pub fn shares(&self, class: ClassId) -> bool {
        let mut steps = self.registry.embedding(class).map(|step| &self.registry.steps()[step]);
        steps.any(|step| step.old.iter().any(|old| self.has(*old)))
    }

    /// Writes documents, each on top of what is shown, and carries them. What is no class of this entity is left out.
    pub fn write(&mut self, documents: &[Sent]) -> Result<(), Stuck> {
        self.write_all(documents, &[])
    }

    /// Writes documents of this entity and some that it shares, each on top of what is shown, and carries them.
    pub fn write_all(&mut self, documents: &[Sent], shared: &[SentShared]) -> Result<(), Stuck> {
        let own = documents.iter().map(|(class, fields)| (*class, None, fields));
        let others = shared.iter().map(|(class, key, fields)| (*class, Some(&**key), fields));
        for (class, key, fields) in own.chain(others) {
            self.edits += 1;
            let hash = format!("{0:012x}{0:020x}", self.edits);
            let Some(member) = self.member(class, key) else {
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
        let outcome = self.carry();
        match self.reasons(&outcome) {
            reasons if reasons.is_empty() => Ok(()),
            reasons => Err(Stuck {
                reasons,
                is_waiting: outcome.refusals.is_empty() && !outcome.is_restless,
            }),
        }
    }

    /// The document to write; one that is shared, and was not named before, is not there.
    fn member(&mut self, class: ClassId, key: Option<&str>) -> Option<&mut Member> {
        let Some(key) = key else {
            return self.entity.members.iter_mut().find(|member| member.class == class);
        };
        let id = self.registry.class(class).pattern.id(key);
        let shared = &mut self.entity.shared;
        let place = shared.iter().position(|member| member.id == id);
        let place = place.unwrap_or_else(|| {
            shared.push(Member::new(class, id).into());
            shared.len() - 1
        });
        Some(Arc::make_mut(&mut shared[place]))
    }

    fn carry(&mut self) -> Outcome {
        loop {
            let mut carried = self.entity.clone();
            let outcome = reconcile(self.registry, self.lenses, &mut carried);
            if outcome.needs.is_empty() {
                self.entity = carried;
                return outcome;
            }
            // What nobody has written is not there.
            let missing = outcome
                .needs
                .into_iter()
                .map(|need| Member::new(need.class, need.id).into());
            self.entity.shared.extend(missing);
        }
    }

    /// What a client sees of a shared document.
    pub fn shown_shared(&self, class: ClassId, key: &str) -> Option<&Fields> {
        let id = self.registry.class(class).pattern.id(key);
        let member = self.entity.shared.iter().find(|member| member.id == id)?;
        Some(&document(member)?.fields)
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
            let mut awaited = self.awaited();
            let missing = self.entity.shared.iter().filter(|member| member.tree.is_empty());
            awaited.extend(missing.map(|member| member.id.clone()));
            reasons.push(format!("a lens waits for {}, which is not there", awaited.join(", ")));
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
