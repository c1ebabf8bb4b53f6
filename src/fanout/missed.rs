//! Entities whose fan-out failed in this process, for whoever makes up for it.
//!
//! They are named one by one: a batch of which only a part was written may leave nothing in a feed that tells of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::Notify;

use super::EntityKey;

/// The most that are kept. What is beyond is found in the feeds, as it is after a crash.
const KEPT: usize = 10_000;

/// Such entities, each once.
#[derive(Clone, Default)]
pub struct Missed(Arc<Shared>);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    added: Notify,
}

#[derive(Default)]
struct State {
    missed: BTreeMap<String, BTreeSet<EntityKey>>,
    /// How many entities these are.
    count: usize,
    /// The database that was answered last: the one behind it comes next, so that none that fails again keeps others from their turn.
    last: String,
}

impl Missed {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something may not have been carried here.
    pub fn add(&self, db: &str, keys: &[EntityKey]) {
        let mut state = self.state();
        for key in keys.iter().take(KEPT.saturating_sub(state.count)) {
            let of_db = state.missed.entry(db.to_owned()).or_default();
            let is_new = of_db.insert(key.clone());
            state.count += usize::from(is_new);
        }
        drop(state);
        self.0.added.notify_one();
    }

    /// Those of one database, when there are any. For one who asks.
    pub async fn next(&self) -> (String, Vec<EntityKey>) {
        loop {
            let of_one = self.state().take();
            match of_one {
                Some(of_one) => return of_one,
                None => self.0.added.notified().await,
            }
        }
    }
}

impl State {
    fn take(&mut self) -> Option<(String, Vec<EntityKey>)> {
        let behind = (Bound::Excluded(&self.last), Bound::Unbounded);
        let next = self
            .missed
            .range::<String, _>(behind)
            .next()
            .or(self.missed.iter().next());
        let db = next?.0.clone();
        let keys = self.missed.remove(&db)?;
        self.count -= keys.len();
        self.last.clone_from(&db);
        Some((db, keys.into_iter().collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::ClassId;

    #[tokio::test]
    async fn each_is_kept_once_and_no_more_than_so_many() {
        let missed = Missed::default();
        let keys: Vec<EntityKey> = (0..KEPT + 5)
            .map(|n| EntityKey {
                first: ClassId(0),
                key: format!("{n:06}"),
            })
            .collect();
        missed.add("b", &keys[..2]);
        missed.add("b", &keys[..3]);
        missed.add("a", &keys);
        let (db, of_a) = missed.next().await;
        assert_eq!((db.as_str(), of_a.len()), ("a", KEPT - 3));
        assert_eq!(missed.next().await, ("b".to_owned(), keys[..3].to_vec()));
        missed.add("b", &keys[..1]);
        missed.add("c", &keys[..1]);
        assert_eq!(missed.next().await.0, "c", "who has had its turn comes last");
        assert_eq!(missed.next().await.0, "b");
    }
}
