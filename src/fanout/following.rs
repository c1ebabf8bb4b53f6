//! What follows from a fan-out in other entities: those that embed a shared document show what it says now.
//!
//! Entities that embed each other are refused when the schemas are read, so this ends. The newest is followed first, and what is
//! waiting is at most a page of each entity on the way.

use super::{AT_ONCE, EntityKey, Error, FanOut, Report, embedders::Embedders};
use crate::reconcile::Write;

/// Pages that are looked at at once, by all who follow: each is held in memory.
pub const PAGES: usize = 4;

/// What a fan-out did to documents that other entities embed.
#[derive(Debug, Default)]
pub struct Echo {
    /// Entities that refer to a shared document from now on. It may have been edited before they could be found by a look-up.
    again: Vec<EntityKey>,
    /// Shared documents that were made of what is embedded, perhaps at the same time as by somebody else.
    created: Vec<EntityKey>,
    /// Shared documents that were written.
    changed: Vec<EntityKey>,
    /// What is in step of shared documents themselves, as [`Recent`](super::Recent) names it: all is once they have been followed.
    settled: Vec<u64>,
}

/// The entities that are still to be looked at.
#[derive(Debug, Default)]
struct Following {
    stack: Vec<Task>,
}

#[derive(Debug)]
enum Task {
    Look(Vec<EntityKey>),
    Embedders(Embedders),
}

impl Echo {
    /// That of a client's writes to these entities.
    pub fn of(fan_out: &FanOut, written: &[EntityKey]) -> Self {
        let is_shared = |key: &&EntityKey| {
            let mut classes = fan_out.registry.entity(key.first).iter();
            classes.any(|class| fan_out.registry.is_shared(*class))
        };
        Self {
            changed: written.iter().filter(is_shared).cloned().collect(),
            ..Self::default()
        }
    }

    /// Notes what was written for an entity.
    pub(super) fn note(&mut self, fan_out: &FanOut, entity: &EntityKey, writes: &[Write]) {
        for write in writes {
            let of = fan_out.registry.classify(&write.id);
            if of.is_some_and(|(class, _)| fan_out.registry.is_shared(class))
                && let Some(key) = fan_out.entity_of(&write.id)
            {
                let noted = if key == *entity {
                    &mut self.changed
                } else {
                    &mut self.created
                };
                if !noted.contains(&key) {
                    noted.push(key);
                }
            }
        }
    }

    pub(super) fn note_settled(&mut self, names: impl IntoIterator<Item = u64>) {
        self.settled.extend(names);
    }

    /// Something was refused.
    pub(super) fn forget_settled(&mut self) {
        self.settled.clear();
    }

    /// Notes an entity that refers to what it did not refer to before.
    pub(super) fn note_reference(&mut self, entity: EntityKey) {
        self.again.push(entity);
    }
}

impl std::ops::AddAssign for Echo {
    fn add_assign(&mut self, other: Self) {
        self.again.extend(other.again);
        self.created.extend(other.created);
        self.changed.extend(other.changed);
        self.settled.extend(other.settled);
    }
}

impl Following {
    /// Adds what is to be followed before all else.
    fn add(&mut self, fan_out: &FanOut, echo: Echo) {
        let shared = echo.changed.iter().chain(&echo.created);
        for key in shared {
            for &class in fan_out.registry.entity(key.first) {
                for step in fan_out.registry.embedding(class) {
                    let lens = &fan_out.lenses[step];
                    let shares = lens.shares().iter().filter(|share| share.class() == class);
                    let Some(&refers) = lens.step().new.first() else {
                        continue;
                    };
                    let embedders = shares.map(|share| Task::Embedders(Embedders::new(refers, share, &key.key)));
                    self.stack.extend(embedders);
                }
            }
        }
        for keys in [echo.created, echo.again] {
            let pages = keys.chunks(AT_ONCE).map(|page| Task::Look(page.to_vec()));
            self.stack.extend(pages);
        }
    }

    /// The entities that are to be reconciled next, no more than a page; none at the end. What that echoes is to be added before this is
    /// asked again.
    async fn next(&mut self, fan_out: &FanOut, db: &str) -> Result<Option<Vec<EntityKey>>, Error> {
        while let Some(task) = self.stack.pop() {
            match task {
                Task::Look(keys) => return Ok(Some(keys)),
                Task::Embedders(mut embedders) => {
                    let page = embedders.next(fan_out, db).await?;
                    if !page.is_empty() {
                        self.stack.push(Task::Embedders(embedders));
                        return Ok(Some(page));
                    }
                    if !embedders.has_ended() {
                        self.stack.push(Task::Embedders(embedders));
                    }
                }
            }
        }
        Ok(None)
    }
}

impl FanOut {
    /// Looks at all that a fan-out echoes in, a page at a time. Only when all have followed the shared documents count as seen; what `failed` is
    /// told of is counted, and keeps nothing else from it.
    pub async fn follow(
        &self,
        db: &str,
        mut echo: Echo,
        mut failed: impl FnMut(&EntityKey, &Error),
    ) -> Result<Report, Error> {
        let mut report = Report::default();
        let mut following = Following::default();
        let mut settled = Vec::new();
        loop {
            settled.append(&mut echo.settled);
            following.add(self, echo);
            let Some(page) = following.next(self, db).await? else {
                break;
            };
            // It is never closed.
            let _page = self.pages.acquire().await;
            let done = self.pass(db, &page, &mut failed).await?;
            report += done.report;
            echo = done.echo;
        }
        if report.failed == 0 && report.lost == 0 {
            self.recent().note(settled);
        }
        Ok(report)
    }
}
