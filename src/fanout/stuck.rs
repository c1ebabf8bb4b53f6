//! Telling entities that came through from those that are stuck, and what is done with the latter.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{EntityKey, FanOut, store::Refused};
use crate::{
    lens::PutError,
    parked::{self, Kind, Parked, Stuck},
    reconcile::{Entity, Refusal},
    schema::ClassId,
};

/// Entities by name: each with what it is stuck at, or with nothing if it came through.
#[derive(Default)]
pub struct Sorted(HashMap<String, Option<Stuck>>);

/// What is done with entities that cannot be carried whole.
#[derive(Clone)]
pub enum Sink {
    /// The log has told of them.
    Nowhere,
    /// They are parked.
    Parked(Parked),
    /// Somebody looks into them.
    Held(Parked, Arc<Mutex<Sorted>>),
}

impl Sorted {
    /// Adds an entity that was reconciled; refusals are those of its lenses. One that could not be read is left out.
    pub fn add(&mut self, fan_out: &FanOut, entity: &Entity, refusals: &[Refusal]) {
        let ids = entity.members.iter().map(|member| &*member.id);
        let Some(name) = parked::name(ids) else { return };
        let stuck = refusals.first().map(|Refusal { target, error }| Stuck {
            entity: name.to_owned(),
            key: entity.key.clone(),
            target: target.clone(),
            error: match error {
                PutError::NoValue { .. } => Kind::Lens,
                PutError::Script(_) => Kind::Script,
                PutError::Invalid(_) => Kind::Schema,
            },
            reason: error.to_string(),
            place: error.place(),
            registry: fan_out.fingerprint(entity.members[0].class),
        });
        self.0.insert(name.to_owned(), stuck);
    }

    /// Adds revisions that the upstream refused.
    pub fn refuse(&mut self, fan_out: &FanOut, refused: Vec<Refused>) {
        for Refused { id, error, reason } in refused {
            let Some(entity) = fan_out.entity_of(&id) else { continue };
            let Some(name) = fan_out.name_of(&entity) else { continue };
            let stuck = Stuck {
                entity: name.clone(),
                key: entity.key,
                target: id,
                error,
                reason,
                place: String::new(),
                registry: fan_out.fingerprint(entity.first),
            };
            self.0.entry(name).or_default().get_or_insert(stuck);
        }
    }

    /// What has become of an entity; none if it was not reconciled.
    pub fn get(&self, name: &str) -> Option<Result<(), Stuck>> {
        let found = self.0.get(name)?;
        Some(found.clone().map_or(Ok(()), Err))
    }
}

impl Sink {
    /// Whether what is stuck is tried again by those who look at what is parked.
    pub fn parks(&self) -> bool {
        matches!(self, Sink::Parked(_))
    }

    /// Answers how many were parked, and how many should have been and could not be.
    pub async fn take(&self, db: &str, sorted: Sorted) -> (usize, usize) {
        match self {
            Sink::Nowhere => (0, 0),
            Sink::Parked(parked) => {
                let (mut stuck, mut through) = (Vec::new(), Vec::new());
                for (name, found) in sorted.0 {
                    match found {
                        Some(found) => stuck.push(found),
                        None => through.push(name),
                    }
                }
                let lost = parked.note(db, &stuck, &through).await;
                (stuck.len().saturating_sub(lost), lost)
            }
            Sink::Held(_, held) => {
                held.lock().unwrap_or_else(PoisonError::into_inner).0.extend(sorted.0);
                (0, 0)
            }
        }
    }
}

impl FanOut {
    /// The same, and entities that cannot be carried whole are parked.
    pub fn parking(self, parked: Parked) -> Self {
        let sink = Sink::Parked(parked);
        Self { sink, ..self }
    }

    /// Where they are parked.
    pub(super) fn parked(&self) -> Option<&Parked> {
        match &self.sink {
            Sink::Parked(parked) | Sink::Held(parked, _) => Some(parked),
            Sink::Nowhere => None,
        }
    }

    /// The same, for somebody who looks into what becomes of each entity.
    pub(super) fn holding(&self, parked: &Parked, held: &Arc<Mutex<Sorted>>) -> Self {
        let sink = Sink::Held(parked.clone(), held.clone());
        Self { sink, ..self.clone() }
    }

    /// What entities with a document of this class are tried with.
    pub(super) fn fingerprint(&self, class: ClassId) -> String {
        let fingerprint = self.parked().map(|parked| parked.fingerprint(class).to_owned());
        fingerprint.unwrap_or_default()
    }

    /// The name of an entity, see [`parked::name`].
    pub(super) fn name_of(&self, entity: &EntityKey) -> Option<String> {
        let ids = self.registry.entity_ids(entity.first, &entity.key)?;
        parked::name(ids.iter().map(String::as_str)).map(str::to_owned)
    }
}
