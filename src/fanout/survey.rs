//! Looking at entities without writing anything.

use super::{EntityKey, Error, FanOut, entities};
use crate::reconcile::{Entity, reconcile};

/// How entities stand, of those that have a live document.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Survey {
    /// All of them.
    pub entities: u64,
    /// Those with a document in conflict: several of its leaves live.
    pub conflicts: u64,
    /// Those that wait for a document that a lens needs.
    pub waiting: u64,
    /// Those with an edit that no lens can carry.
    pub stuck: u64,
    /// Those that lack a revision that could be written.
    pub behind: u64,
}

impl FanOut {
    /// Reads entities and counts those that `counts`, given the first of the ids of its live documents.
    pub async fn survey(&self, db: &str, keys: &[EntityKey], counts: impl Fn(&str) -> bool) -> Result<Survey, Error> {
        let mut survey = Survey::default();
        let mut at_once = super::AT_ONCE;
        let mut rest = keys;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(at_once.min(rest.len()));
            match self.read_measured(db, now, entities::BUDGET).await {
                Err(Error::TooLong { .. }) if now.len() > 1 => at_once = now.len() / 2,
                read => {
                    let mut entities = read?.0;
                    self.read_shared(db, &mut entities).await?;
                    for entity in entities {
                        if first_live(&entity).is_some_and(&counts) {
                            survey.add(self, entity);
                        }
                        tokio::task::yield_now().await;
                    }
                    rest = later;
                }
            }
        }
        Ok(survey)
    }
}

fn first_live(entity: &Entity) -> Option<&str> {
    let is_live = |id: &Entity, n: usize| id.members[n].tree.live().next().is_some();
    let live = (0..entity.members.len()).filter(|&n| is_live(entity, n));
    live.map(|n| entity.members[n].id.as_str()).min()
}

impl Survey {
    fn add(&mut self, fan_out: &FanOut, mut entity: Entity) {
        self.entities += 1;
        let is_in_conflict = entity.members.iter().any(|member| member.tree.live().nth(1).is_some());
        self.conflicts += u64::from(is_in_conflict);
        let outcome = reconcile(&fan_out.registry, &fan_out.lenses, &mut entity);
        self.waiting += u64::from(outcome.is_waiting);
        self.stuck += u64::from(!outcome.refusals.is_empty());
        self.behind += u64::from(!outcome.writes.is_empty() || !outcome.wants.is_empty());
    }
}

impl std::ops::AddAssign for Survey {
    fn add_assign(&mut self, other: Self) {
        self.entities += other.entities;
        self.conflicts += other.conflicts;
        self.waiting += other.waiting;
        self.stuck += other.stuck;
        self.behind += other.behind;
    }
}
