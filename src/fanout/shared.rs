//! The shared documents of one batch of entities: each is read once, and what one entity creates the others find.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Error, entities};
use crate::{
    reconcile::{Entity, Member, Need},
    upstream::Upstream,
};

/// Shared documents by id; none where what is there cannot be read.
#[derive(Default)]
pub struct Pool(HashMap<String, Option<Arc<Member>>>);

impl Pool {
    /// Reads those that are not here yet.
    pub async fn read(&mut self, upstream: &Upstream, db: &str, needs: HashSet<Need>) -> Result<(), Error> {
        let mut needs: Vec<Need> = needs
            .into_iter()
            .filter(|need| !self.0.contains_key(&need.id))
            .collect();
        needs.sort_unstable_by(|a, b| a.id.cmp(&b.id));
        let read = entities::read_shared(upstream, db, &needs).await?;
        let read = needs.into_iter().map(|need| need.id).zip(read);
        self.0.extend(read.map(|(id, member)| (id, member.map(Arc::new))));
        Ok(())
    }

    /// Gives an entity what it needs. One that needs what cannot be read is left without a document.
    pub fn give(&self, entity: &mut Entity, needs: &HashSet<Need>) {
        for need in needs {
            match self.0.get(&need.id) {
                Some(Some(member)) => entity.shared.push(member.clone()),
                _ => entity.members.clear(),
            }
        }
    }

    /// Shows an entity what others have created since.
    pub fn refresh(&self, entity: &mut Entity) {
        for member in &mut entity.shared {
            if let Some(Some(known)) = self.0.get(&member.id) {
                *member = known.clone();
            }
        }
    }

    /// Takes over what an entity has created.
    pub fn learn(&mut self, entity: Entity) {
        for member in entity.shared {
            self.0.insert(member.id.clone(), Some(member));
        }
    }
}
