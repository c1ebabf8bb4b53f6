//! What this process has just brought in step, so that whoever reads the same edits in a feed need not look at them again.

use std::{
    collections::{HashSet, VecDeque},
    hash::{BuildHasher, RandomState},
    sync::{Arc, Mutex, PoisonError},
};

use crate::couch::Rev;

/// How many revisions are remembered: of each eight bytes, in a set and in a queue.
const REMEMBERED: usize = 1 << 16;

/// Leaves whose entities were in step with them; the oldest are forgotten.
///
/// Whatever changes an entity makes a leaf that is not known. So who passes over documents of which every leaf is known misses nothing:
/// neither a batch of which only a part was written, nor derived revisions that were replicated without what they stem from.
///
/// Forgetting costs a look in vain. Two revisions are taken for one by the chance of 2^-64 for each pair; the hash is another one
/// in each process, so that nobody can choose revisions that are.
#[derive(Clone, Default)]
pub struct Recent(Arc<Shared>);

#[derive(Default)]
struct Shared {
    hasher: RandomState,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    set: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Recent {
    /// A revision's name for [`Recent::note`].
    pub fn name(&self, db: &str, id: &str, rev: &Rev) -> u64 {
        self.0.hasher.hash_one((db, id, rev))
    }

    /// Remembers revisions.
    pub fn note(&self, names: impl IntoIterator<Item = u64>) {
        // Nothing in here can panic half-way.
        let mut known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        for name in names {
            if known.set.insert(name) {
                known.order.push_back(name);
            }
        }
        while known.order.len() > REMEMBERED {
            if let Some(oldest) = known.order.pop_front() {
                known.set.remove(&oldest);
            }
        }
    }

    /// Forgets all.
    pub fn forget(&self) {
        *self.0.known.lock().unwrap_or_else(PoisonError::into_inner) = Known::default();
    }

    /// Whether a revision's entity was in step with it.
    pub fn knows(&self, db: &str, id: &str, rev: &Rev) -> bool {
        let name = self.name(db, id, rev);
        let known = self.0.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.set.contains(&name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_are_forgotten() {
        let recent = Recent::default();
        let rev: Rev = "1-a".parse().unwrap();
        let name = |n: usize| recent.name("db", &n.to_string(), &rev);
        recent.note([name(0), name(1), name(0)]);
        recent.note((2..=REMEMBERED).map(name));
        assert!(!recent.knows("db", "0", &rev));
        assert!(recent.knows("db", "1", &rev) && recent.knows("db", &REMEMBERED.to_string(), &rev));
        assert!(!recent.knows("other", "1", &rev) && !recent.knows("db", "1", &"1-b".parse().unwrap()));
        let known = recent.0.known.lock().unwrap();
        assert_eq!((known.set.len(), known.order.len()), (REMEMBERED, REMEMBERED));
    }
}
