//! A look at one database: what has changed since the last, and then a part of what classes that are new or have changed lack.

use std::collections::BTreeMap;

use http::StatusCode;

use super::{
    Error, Progress,
    backfill::{Database, Plan},
    checkpoint::{Backfill, Checkpoint},
    feed::{Answer, Page, Row},
    queue::Next,
    throttle::Throttle,
};
use crate::{
    couch::Rev,
    fanout::{EntityKey, FanOut, Report},
    schema::Fingerprints,
    upstream::account,
};

/// Entities of one database that may fail while it is followed. With more of them something else is wrong.
const FAILED: usize = 100;

/// What became of a page of changes.
#[derive(Default)]
struct Read {
    /// Entities.
    looked_at: usize,
    /// As [`Page::pending`].
    pending: u64,
    /// There may be more.
    is_full: bool,
}

/// Looks at databases of one upstream.
pub struct Looker {
    fan_out: FanOut,
    plan: Plan,
    throttle: Throttle,
}

impl Looker {
    /// What lies behind is made up for as fast as `throttle` lets.
    pub fn new(fan_out: FanOut, fingerprints: &Fingerprints, throttle: Throttle) -> Self {
        Self {
            plan: Plan::new(fan_out.registry(), fingerprints),
            fan_out,
            throttle,
        }
    }

    /// Reads a page of changes, and if nothing is left of them a page of what is to be made up for. A thorough look tries again what
    /// has failed before.
    pub async fn look(&self, db: &str, is_thorough: bool) -> Result<Next, Error> {
        match self.step(db, is_thorough).await {
            Err(error) if error.is_status(StatusCode::NOT_FOUND) => Ok(Next::Gone),
            next => next,
        }
    }

    async fn step(&self, db: &str, is_thorough: bool) -> Result<Next, Error> {
        let upstream = self.fan_out.upstream();
        let (mut checkpoint, is_new) = match Checkpoint::read(upstream, db).await? {
            Some(checkpoint) => (checkpoint, false),
            None => (self.first(db).await?, true),
        };
        let before = (!is_new).then(|| checkpoint.clone());
        if is_thorough && !checkpoint.failed.is_empty() {
            self.try_again(db, &mut checkpoint).await?;
        }
        let page = match self.changes(db, &mut checkpoint).await {
            // It is of another database (transcripts, changes 171).
            Err(error) if error.is_status(StatusCode::BAD_REQUEST) && !is_new => {
                tracing::warn!(db, %error, "the database is followed from its beginning");
                checkpoint = self.first(db).await?;
                self.changes(db, &mut checkpoint).await?
            }
            page => page?,
        };
        let next = if page.is_full {
            Next::More(self.throttle.after(page.looked_at), page.pending)
        } else {
            match self.backfill(db, &mut checkpoint).await? {
                Some(made) if !made.is_done => Next::More(self.throttle.after(made.documents as usize), 0),
                _ => Next::Rest,
            }
        };
        checkpoint.within_bounds()?;
        if before.as_ref() != Some(&checkpoint) {
            checkpoint.write(upstream, db).await?;
        }
        Ok(next)
    }

    /// Of a database that was never seen: it is followed from now on, and what is there is to be made up for.
    async fn first(&self, db: &str) -> Result<Checkpoint, Error> {
        // One of the same name may have been here before, with the same revisions.
        self.fan_out.recent().forget();
        let database = Database::read(self.fan_out.upstream(), db).await?;
        Ok(Checkpoint {
            since: database.update_seq(),
            classes: BTreeMap::new(),
            backfill: None,
            failed: Default::default(),
        })
    }

    /// Reads a page of changes and brings in step what it tells of.
    async fn changes(&self, db: &str, checkpoint: &mut Checkpoint) -> Result<Read, Error> {
        let answer = Answer::read(self.fan_out.upstream(), db, &checkpoint.since).await?;
        let page = answer.page()?;
        if page.rows.is_empty() {
            return Ok(Read::default());
        }
        let mut keys: Vec<EntityKey> = page.rows.iter().filter_map(|row| self.concerned(db, row)).collect();
        let skipped = page.rows.len() - keys.len();
        metrics::counter!("chesterfield_follower_changes_total", "what" => "read").increment(page.rows.len() as u64);
        metrics::counter!("chesterfield_follower_changes_total", "what" => "skipped").increment(skipped as u64);
        keys.sort_unstable();
        keys.dedup();
        self.bring_in_step(db, &keys, true, checkpoint).await?;
        let Page {
            last_seq,
            pending,
            is_full,
            ..
        } = page;
        checkpoint.since = last_seq;
        Ok(Read {
            looked_at: keys.len(),
            pending,
            is_full,
        })
    }

    /// The entity to be looked at for a change. None for what no lens ties to another, and what this process has just brought in step.
    ///
    /// That a revision only mirrors an edit is no reason to pass over it: the batch that it was written in may have arrived in part, and a
    /// replication may have brought it alone. It costs next to nothing, as the edit itself stands in the same page, and the entity
    /// is looked at once.
    fn concerned(&self, db: &str, row: &Row<'_>) -> Option<EntityKey> {
        let key = self.fan_out.entity_of(&row.id)?;
        let recent = self.fan_out.recent();
        let is_news = row.changes.iter().any(|leaf| {
            let rev = leaf.rev.parse::<Rev>();
            rev.map_or(true, |rev| !recent.knows(db, &row.id, &rev))
        });
        is_news.then_some(key)
    }

    /// `is_news`: somebody has written to these entities, and those that embed them are to follow.
    async fn bring_in_step(
        &self,
        db: &str,
        keys: &[EntityKey],
        is_news: bool,
        checkpoint: &mut Checkpoint,
    ) -> Result<Report, Error> {
        if keys.is_empty() {
            return Ok(Report::default());
        }
        let failed = &mut checkpoint.failed;
        let note = |key: &EntityKey, error: &account::Error| {
            if failed.insert(self.fan_out.any_id(key)) {
                self.fan_out.tell_failed(db, key, error);
            }
        };
        let report = match is_news {
            true => self.fan_out.look_at(db, keys, note).await?,
            false => self.fan_out.look_through(db, keys, note).await?,
        };
        metrics::counter!("chesterfield_follower_entities_total").increment(keys.len() as u64);
        // Nobody but the feed knows of them.
        if report.lost > 0 {
            return Err(Error::Lost(report.lost));
        }
        Ok(report)
    }

    /// Looks again at what could not be read or written.
    async fn try_again(&self, db: &str, checkpoint: &mut Checkpoint) -> Result<(), Error> {
        let failed = std::mem::take(&mut checkpoint.failed);
        let keys: Vec<EntityKey> = failed.iter().filter_map(|id| self.fan_out.entity_of(id)).collect();
        let note = |key: &EntityKey, _: &account::Error| _ = checkpoint.failed.insert(self.fan_out.any_id(key));
        match self.fan_out.look_at(db, &keys, note).await?.lost {
            0 => Ok(()),
            lost => Err(Error::Lost(lost)),
        }
    }

    /// Makes up for a page, if there is something to make up for.
    async fn backfill(&self, db: &str, checkpoint: &mut Checkpoint) -> Result<Option<Progress>, Error> {
        let affected = self.plan.affected(checkpoint);
        if affected.is_empty() {
            // What was begun for other schemas.
            checkpoint.backfill = None;
            return Ok(None);
        }
        let mut walk = match checkpoint.backfill.take() {
            Some(walk) if walk.classes == affected => walk,
            _ => {
                let database = Database::read(self.fan_out.upstream(), db).await?;
                let walk = Backfill::over(affected, database.doc_count);
                if walk.of > 0 {
                    let classes = walk.classes.keys().cloned().collect::<Vec<_>>().join(", ");
                    tracing::info!(db, classes, documents = walk.of, "a backfill begins");
                }
                walk
            }
        };
        let page = self.plan.read(&self.fan_out, db, &walk).await?;
        let report = self.bring_in_step(db, &page.keys, false, checkpoint).await?;
        metrics::counter!("chesterfield_backfilled_documents_total").increment(page.documents);
        walk.done += page.documents;
        walk.next = page.next;
        let progress = Progress {
            documents: page.documents,
            done: walk.done,
            of: walk.of,
            is_done: page.is_last,
            report,
        };
        if page.is_last {
            if walk.of > 0 {
                tracing::info!(db, documents = walk.done, "a backfill is done");
            }
            checkpoint.classes = self.plan.all();
        } else {
            checkpoint.backfill = Some(walk);
        }
        Ok(Some(progress))
    }

    /// Brings a whole database in step, a page after the other as fast as it goes. What was interrupted goes on where it was, here or
    /// by whoever follows the database.
    pub async fn run(&self, db: &str, mut tell: impl FnMut(&Progress)) -> Result<(), Error> {
        let upstream = self.fan_out.upstream();
        let mut checkpoint = match Checkpoint::read(upstream, db).await? {
            Some(checkpoint) => checkpoint,
            None => self.first(db).await?,
        };
        let all = self.plan.all();
        if checkpoint.backfill.as_ref().is_none_or(|walk| walk.classes != all) {
            checkpoint.classes.clear();
        }
        // A follower may be at it, too: who comes later goes on from where the other one was.
        while let Some(progress) = self.backfill(db, &mut checkpoint).await? {
            // Most of what comes is what was just written, of which nobody else knows that it need not be looked at.
            while self.changes(db, &mut checkpoint).await?.is_full {}
            checkpoint.within_bounds()?;
            checkpoint.write(upstream, db).await?;
            tell(&progress);
            if progress.is_done {
                break;
            }
            if let Some(kept) = Checkpoint::read(upstream, db).await? {
                checkpoint = kept;
            }
        }
        Ok(())
    }
}

impl Checkpoint {
    /// With more failures than one entity or another can have, something else is wrong, and it is not moved on.
    fn within_bounds(&self) -> Result<(), Error> {
        match self.failed.len() {
            0..=FAILED => Ok(()),
            more => Err(Error::Failures(more)),
        }
    }
}
