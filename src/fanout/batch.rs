//! Many entities, as many at a time as their size allows, and one that cannot be read or written keeping no other from it.

use http::StatusCode;

use super::{AT_ONCE, Done, Echo, EntityKey, Error, FanOut, Report, entities};
use crate::upstream;

/// Failed requests after which it is the upstream that fails and not some entity. One that fails each request it is part of is
/// found, among as many as are read at once, after nine.
const FAILURES: usize = 32;

impl FanOut {
    /// Reads entities and writes whatever is missing, as many at a time as their size allows: what is held does not grow with
    /// their number.
    ///
    /// Requests that fail are made again with half of the entities. What is left in the end is told to `failed`, one at a time, and
    /// counted; the upstream itself failing is an error, of which nobody knows how far it came.
    pub async fn reconcile_each(
        &self,
        db: &str,
        keys: &[EntityKey],
        mut failed: impl FnMut(&EntityKey, &Error),
    ) -> Result<Done, Error> {
        let mut all = Done::default();
        let mut at_once = AT_ONCE;
        let mut rest = keys;
        let mut failures = 0;
        // The first of the rest among which one is that fails.
        let mut suspects: usize = 0;
        while !rest.is_empty() {
            let (now, later) = rest.split_at(at_once.min(rest.len()));
            let done = match self.read_measured(db, now, entities::BUDGET).await {
                Ok((entities, length)) => self.bring_in_step(db, entities).await.map(|done| (done, length)),
                Err(error) => Err(error),
            };
            match done {
                Ok((done, length)) => {
                    all += done;
                    suspects = suspects.saturating_sub(now.len());
                    // What comes next is likely to be as large.
                    let fitting = (now.len() * entities::BUDGET / length.max(1)).clamp(1, AT_ONCE);
                    at_once = if suspects > 0 { suspects.div_ceil(2) } else { fitting };
                    rest = later;
                }
                // It is read in parts, and nothing has failed.
                Err(Error::TooLong { .. }) if now.len() > 1 => at_once = now.len() / 2,
                Err(error) => {
                    failures += 1;
                    if !may_be_of_one(&error) || failures > FAILURES {
                        return Err(error);
                    }
                    if now.len() > 1 {
                        suspects = now.len();
                        at_once = suspects / 2;
                    } else {
                        failed(&now[0], &error);
                        all.report.failed += 1;
                        (suspects, at_once) = (0, AT_ONCE);
                        rest = later;
                    }
                }
            }
        }
        Ok(all)
    }

    /// The same; what fails is told in the log.
    pub async fn reconcile(&self, db: &str, keys: &[EntityKey]) -> Result<Done, Error> {
        self.reconcile_each(db, keys, |key, error| self.tell_failed(db, key, error))
            .await
    }

    /// As [`FanOut::reconcile_each`], among all who work on the same entities in this process: of several at once, the last looks
    /// again.
    pub(super) async fn pass(
        &self,
        db: &str,
        keys: &[EntityKey],
        mut failed: impl FnMut(&EntityKey, &Error),
    ) -> Result<Done, Error> {
        let mut stay = self.in_flight.enter(db, keys);
        let mut done = self.reconcile_each(db, keys, &mut failed).await?;
        loop {
            let again = stay.leave();
            if again.is_empty() {
                return Ok(done);
            }
            done += self.reconcile_each(db, &again, &mut failed).await?;
        }
    }

    /// Brings entities in step in which clients have written something, and all that embed what was written.
    pub async fn look_at(
        &self,
        db: &str,
        keys: &[EntityKey],
        failed: impl FnMut(&EntityKey, &Error),
    ) -> Result<Report, Error> {
        self.look(db, keys, Echo::of(self, keys), failed).await
    }

    /// Brings entities in step, as part of all those of a database: whoever embeds what was written before has its own turn, and what is there in
    /// several versions that nobody carried is taken for copies.
    pub async fn look_through(
        &self,
        db: &str,
        keys: &[EntityKey],
        failed: impl FnMut(&EntityKey, &Error),
    ) -> Result<Report, Error> {
        let adopting = Self {
            adopts: true,
            ..self.clone()
        };
        adopting.look(db, keys, Echo::default(), failed).await
    }

    /// Brings entities in step, and then whoever has to follow: those of `echo`, and of what is written on the way.
    async fn look(
        &self,
        db: &str,
        keys: &[EntityKey],
        echo: Echo,
        mut failed: impl FnMut(&EntityKey, &Error),
    ) -> Result<Report, Error> {
        let mut done = self.pass(db, keys, &mut failed).await?;
        done.echo += echo;
        done.report += self.follow(db, done.echo, failed).await?;
        Ok(done.report)
    }

    /// Tells and counts an entity that cannot be read or written.
    pub fn tell_failed(&self, db: &str, key: &EntityKey, error: &Error) {
        metrics::counter!("chesterfield_failed_entities_total").increment(1);
        tracing::error!(db, document = self.any_id(key), %error, "an entity cannot be brought in step");
    }
}

/// Whether some document can be the reason. An upstream that is not there, that does not let us in, or that has too much to do, is not.
fn may_be_of_one(error: &Error) -> bool {
    match error {
        Error::Upstream(upstream::Error::Broken { .. }) | Error::TooLong { .. } | Error::Unreadable { .. } => true,
        Error::Upstream(_) => false,
        Error::Refused { status, .. } => !matches!(
            *status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        ),
    }
}
