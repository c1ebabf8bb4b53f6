//! Databases in which a fan-out failed, for whoever makes up for it.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::sync::Notify;

/// The most names that are kept: who looks through all databases finds the others.
const KEPT: usize = 1000;

/// The names of such databases, each once.
#[derive(Clone, Default)]
pub struct Missed(Arc<Shared>);

#[derive(Default)]
struct Shared {
    names: Mutex<BTreeSet<String>>,
    added: Notify,
}

impl Missed {
    /// Something may not have been carried here.
    pub fn add(&self, db: &str) {
        let mut names = self.0.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() < KEPT {
            names.insert(db.to_owned());
        }
        drop(names);
        self.0.added.notify_one();
    }

    /// The next one, when there is one. For one who asks.
    pub async fn next(&self) -> String {
        loop {
            let name = self.0.names.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            match name {
                Some(name) => return name,
                None => self.0.added.notified().await,
            }
        }
    }
}
