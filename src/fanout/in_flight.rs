//! Which entities are being worked on, so that of several at once the last one looks again.
//!
//! Two requests that write to one entity at the same time may each read it before the other has written. Both fan out from
//! what they saw; whoever ends last reads the entity once more, when nothing is under way any longer.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::EntityKey;

type Name = (Arc<str>, EntityKey);

/// Entities that are being worked on in this process.
#[derive(Clone, Default)]
pub struct InFlight(Arc<Mutex<HashMap<Name, Slot>>>);

#[derive(Default)]
struct Slot {
    present: usize,
    /// Somebody came while somebody else was there.
    is_shared: bool,
}

/// Presence at some entities; ended by dropping it, or by [`Stay::leave`].
pub struct Stay {
    entities: InFlight,
    names: Vec<Name>,
}

impl InFlight {
    fn with<T>(&self, act: impl FnOnce(&mut HashMap<Name, Slot>) -> T) -> T {
        // Nothing in here can panic half-way.
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Begins work on entities; to be called before they are read.
    pub fn enter(&self, db: &str, keys: &[EntityKey]) -> Stay {
        let db: Arc<str> = db.into();
        let names: Vec<Name> = keys.iter().map(|key| (db.clone(), key.clone())).collect();
        self.with(|slots| {
            for name in &names {
                let slot = slots.entry(name.clone()).or_default();
                slot.is_shared |= slot.present > 0;
                slot.present += 1;
            }
        });
        Stay {
            entities: self.clone(),
            names,
        }
    }
}

impl Stay {
    /// Leaves every entity but those that are to be looked at again, because others came and went meanwhile; they are answered,
    /// and left by calling this again.
    pub fn leave(&mut self) -> Vec<EntityKey> {
        let names = std::mem::take(&mut self.names);
        self.names = self.entities.with(|slots| {
            let again = |name: &Name| {
                let Some(slot) = slots.get_mut(name) else { return false };
                let again = slot.present == 1 && std::mem::take(&mut slot.is_shared);
                if !again {
                    depart(slots, name);
                }
                again
            };
            names.into_iter().filter(again).collect()
        });
        self.names.iter().map(|(_, key)| key.clone()).collect()
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        self.entities
            .with(|slots| self.names.iter().for_each(|name| depart(slots, name)));
    }
}

fn depart(slots: &mut HashMap<Name, Slot>, name: &Name) {
    if let Some(slot) = slots.get_mut(name) {
        slot.present -= 1;
        if slot.present == 0 {
            slots.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ClassId;

    fn key(key: &str) -> EntityKey {
        EntityKey {
            first: ClassId(0),
            key: key.into(),
        }
    }

    #[test]
    fn who_was_alone_does_not_look_again() {
        let entities = InFlight::default();
        assert_eq!(entities.enter("db", &[key("a")]).leave(), []);
        assert!(entities.0.lock().unwrap().is_empty());
    }

    #[test]
    fn of_several_the_last_looks_again_at_what_they_shared() {
        let entities = InFlight::default();
        let mut first = entities.enter("db", &[key("a"), key("b")]);
        let mut second = entities.enter("db", &[key("b"), key("c")]);
        let mut elsewhere = entities.enter("other", &[key("b")]);
        assert_eq!(first.leave(), []);
        assert_eq!(elsewhere.leave(), []);
        assert_eq!(second.leave(), [key("b")]);
        let mut third = entities.enter("db", &[key("b")]);
        assert_eq!(
            second.leave(),
            [],
            "the third came during the second look, and looks itself"
        );
        assert_eq!(third.leave(), [key("b")]);
        assert_eq!(third.leave(), []);
        assert!(entities.0.lock().unwrap().is_empty());
    }

    #[test]
    fn who_is_cut_off_is_gone() {
        let entities = InFlight::default();
        let first = entities.enter("db", &[key("a")]);
        let mut second = entities.enter("db", &[key("a")]);
        drop(first);
        assert_eq!(second.leave(), [key("a")]);
    }
}
