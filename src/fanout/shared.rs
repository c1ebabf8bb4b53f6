//! The shared documents of one batch of entities: each is read once, and what one entity creates the others find.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use super::{Error, FanOut, entities};
use crate::{
    reconcile::{Entity, Member, Need, reconcile},
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

impl FanOut {
    /// Reads the documents that entities share, for who only looks at them.
    pub(super) async fn read_shared(&self, db: &str, entities: &mut [Entity]) -> Result<(), Error> {
        let embeds = |entity: &Entity| {
            let steps = self.registry.steps().iter().filter(|step| !step.shared.is_empty());
            let mut old = steps.flat_map(|step| &step.old);
            old.any(|class| entity.members.iter().any(|member| member.class == *class))
        };
        let mut pool = Pool::default();
        let mut rest: Vec<&mut Entity> = entities.iter_mut().filter(|entity| embeds(entity)).collect();
        while !rest.is_empty() {
            let mut missing = Vec::new();
            for entity in rest {
                let outcome = reconcile(&self.registry, &self.lenses, &mut entity.clone());
                if !outcome.needs.is_empty() {
                    missing.push((entity, outcome.needs));
                }
                tokio::task::yield_now().await;
            }
            let needs = missing.iter().flat_map(|(_, needs)| needs).cloned().collect();
            pool.read(&self.upstream, db, needs).await?;
            rest = Vec::new();
            for (entity, needs) in missing {
                pool.give(entity, &needs);
                rest.push(entity);
            }
        }
        Ok(())
    }
}
