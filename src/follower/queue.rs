//! Which databases are to be looked at, and when: each at most once at a time, with a pause after it.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{Instant, sleep_until},
};

/// Names that may wait at once. Who has more of them waits until there is room, so that what is held does not grow with the number of
/// databases.
const ROOM: usize = 1000;

/// Databases that wait, rest, or are being looked at.
#[derive(Default)]
pub struct Queue {
    state: Mutex<State>,
    /// Something may be due earlier than it was.
    woken: Notify,
    /// A look has begun or ended.
    taken: Notify,
}

#[derive(Default)]
struct State {
    entries: HashMap<Arc<str>, Entry>,
    /// Those that are not being looked at, by when their time comes; the number keeps them in turn.
    order: BTreeSet<(Instant, u64, Arc<str>)>,
    number: u64,
    /// Entries that somebody wants a look at.
    wanted: usize,
}

/// A database somebody has asked for lately.
#[derive(Default)]
struct Entry {
    /// Its place in the order; none while it is being looked at.
    place: Option<(Instant, u64)>,
    /// Somebody wants a look at it, and since when.
    wanted: Option<Instant>,
    is_thorough: bool,
    failures: u32,
    pending: u64,
}

/// A look to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// The database.
    pub db: Arc<str>,
    /// What could not be brought in step is to be tried again, too.
    pub is_thorough: bool,
}

/// What comes after a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// There is nothing to be seen now.
    Rest,
    /// There is more, after this time; and how many changes, as far as CouchDB says.
    More(Duration, u64),
    /// It failed, and is tried again.
    Failed,
    /// The database is not there, or not ours.
    Gone,
}

/// How long one database is left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pauses {
    /// After every look.
    pub rest: Duration,
    /// After the first of several failures; each further one doubles it.
    pub retry: Duration,
    /// The longest pause after a failure.
    pub longest: Duration,
}

/// How far reading is behind writing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Databases that wait for a look, or are being looked at.
    pub databases: usize,
    /// Changes that CouchDB has told of and nobody has read, in all of these.
    pub pending: u64,
    /// The same, in the one that has most.
    pub pending_most: u64,
    /// How long the one that has waited longest has.
    pub oldest: Duration,
}

impl Pauses {
    /// After so many failures in a row: doubled by each, and then up to a quarter more or less, so that what failed together is not
    /// tried again together.
    pub fn after(&self, failures: u32) -> Duration {
        let doubled = self.retry.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest).mul_f64(0.75 + fastrand::f64() / 2.0)
    }
}

impl State {
    fn place(&mut self, db: &Arc<str>, at: Instant) {
        self.number += 1;
        if let Some(entry) = self.entries.get_mut(db) {
            entry.place = Some((at, self.number));
            self.order.insert((at, self.number, db.clone()));
        }
    }

    fn want(&mut self, db: &Arc<str>, is_thorough: bool) {
        let Some(entry) = self.entries.get_mut(db) else { return };
        entry.is_thorough |= is_thorough;
        if entry.wanted.is_none() {
            entry.wanted = Some(Instant::now());
            self.wanted += 1;
        }
    }

    fn remove(&mut self, db: &Arc<str>) {
        if let Some(entry) = self.entries.remove(db) {
            self.wanted -= usize::from(entry.wanted.is_some());
            if let Some((at, number)) = entry.place {
                self.order.remove(&(at, number, db.clone()));
            }
        }
    }

    /// What is due, or when something is.
    fn take(&mut self) -> Result<Task, Option<Instant>> {
        loop {
            let Some((at, number, db)) = self.order.pop_first() else {
                return Err(None);
            };
            if at > Instant::now() {
                self.order.insert((at, number, db));
                return Err(Some(at));
            }
            let Some(entry) = self.entries.get_mut(&db) else {
                continue;
            };
            if entry.wanted.take().is_none() {
                // It has rested, and nobody has asked for it.
                self.entries.remove(&db);
                continue;
            }
            entry.place = None;
            self.wanted -= 1;
            let is_thorough = std::mem::take(&mut entry.is_thorough);
            return Ok(Task { db, is_thorough });
        }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for a look at a database: at once, or when it has rested.
    pub fn wake(&self, db: &str, is_thorough: bool) {
        let mut state = self.state();
        let known = state.entries.get_key_value(db).map(|(db, _)| db.clone());
        let name = known.clone().unwrap_or_else(|| db.into());
        if known.is_none() {
            state.entries.insert(name.clone(), Entry::default());
            state.place(&name, Instant::now());
        }
        state.want(&name, is_thorough);
        drop(state);
        self.woken.notify_one();
    }

    /// Waits until there is room for more names. For those who have many.
    pub async fn room(&self) {
        loop {
            let taken = self.taken.notified();
            if self.state().wanted < ROOM {
                return;
            }
            taken.await;
        }
    }

    /// The next look, when there is one. For one who asks; [`Queue::done`] has to follow.
    pub async fn next(&self) -> Task {
        loop {
            let due = self.state().take();
            match due {
                Ok(task) => {
                    self.taken.notify_waiters();
                    return task;
                }
                Err(Some(at)) => tokio::select! {
                    () = self.woken.notified() => {}
                    () = sleep_until(at) => {}
                },
                Err(None) => self.woken.notified().await,
            }
        }
    }

    /// A look has ended.
    pub fn done(&self, task: &Task, next: Next, pauses: Pauses) {
        let mut state = self.state();
        let Some(entry) = state.entries.get_mut(&task.db) else {
            return;
        };
        entry.failures = if next == Next::Failed { entry.failures + 1 } else { 0 };
        let (pause, is_wanted) = match next {
            Next::Rest => (pauses.rest, false),
            Next::More(pause, _) => (pause, true),
            Next::Failed => (pauses.after(entry.failures), true),
            Next::Gone => {
                state.remove(&task.db);
                drop(state);
                self.taken.notify_waiters();
                return;
            }
        };
        match next {
            Next::Rest => entry.pending = 0,
            Next::More(_, pending) => entry.pending = pending,
            Next::Failed | Next::Gone => {}
        }
        if is_wanted {
            state.want(&task.db, task.is_thorough && next == Next::Failed);
        }
        state.place(&task.db, Instant::now() + pause);
        drop(state);
        self.woken.notify_one();
        self.taken.notify_waiters();
    }

    /// Waits until no database waits for a look, and none is being looked at.
    pub async fn rested(&self) {
        loop {
            let taken = self.taken.notified();
            if self.lag().databases == 0 {
                return;
            }
            taken.await;
        }
    }

    /// How far behind.
    pub fn lag(&self) -> Lag {
        let state = self.state();
        let mut lag = Lag::default();
        for entry in state.entries.values() {
            lag.databases += usize::from(entry.wanted.is_some() || entry.place.is_none());
            lag.pending += entry.pending;
            lag.pending_most = lag.pending_most.max(entry.pending);
            let waited = entry.wanted.map(|since| since.elapsed());
            lag.oldest = lag.oldest.max(waited.unwrap_or_default());
        }
        lag
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSES: Pauses = Pauses {
        rest: Duration::from_secs(2),
        retry: Duration::from_secs(1),
        longest: Duration::from_secs(60),
    };

    fn task(db: &str, is_thorough: bool) -> Task {
        let db = db.into();
        Task { db, is_thorough }
    }

    #[tokio::test(start_paused = true)]
    async fn a_database_is_looked_at_once_however_often_it_is_named() {
        let queue = Queue::default();
        queue.wake("a", false);
        queue.wake("b", false);
        queue.wake("a", true);
        let a = queue.next().await;
        assert_eq!(a, task("a", true));
        assert_eq!(queue.next().await, task("b", false));
        queue.wake("a", false);
        assert_eq!(queue.lag().databases, 2);
        let begun = Instant::now();
        queue.done(&a, Next::Rest, PAUSES);
        assert_eq!(queue.next().await, task("a", false), "named while it was looked at");
        assert_eq!(begun.elapsed(), PAUSES.rest);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_rested_is_forgotten() {
        let queue = Queue::default();
        queue.wake("a", false);
        let a = queue.next().await;
        queue.done(&a, Next::Rest, PAUSES);
        assert_eq!(queue.lag(), Lag::default());
        queue.wake("b", false);
        let b = queue.next().await;
        queue.done(&b, Next::Gone, PAUSES);
        tokio::time::advance(PAUSES.rest * 2).await;
        queue.wake("c", false);
        assert_eq!(queue.next().await, task("c", false));
        assert_eq!(queue.state().entries.len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn failures_make_pauses_longer_and_nobody_shortens_them() {
        let queue = Queue::default();
        queue.wake("a", true);
        let mut a = queue.next().await;
        for failures in 1..12 {
            let begun = Instant::now();
            queue.done(&a, Next::Failed, PAUSES);
            queue.wake("a", false);
            a = queue.next().await;
            assert_eq!(a, task("a", true));
            let expected = Duration::from_secs(1 << (failures - 1)).min(PAUSES.longest);
            let waited = begun.elapsed();
            assert!(
                waited >= expected.mul_f64(0.74) && waited <= expected.mul_f64(1.26),
                "{waited:?}"
            );
        }
        queue.done(&a, Next::More(Duration::ZERO, 7), PAUSES);
        assert_eq!(queue.lag().pending, 7);
        a = queue.next().await;
        let begun = Instant::now();
        queue.done(&a, Next::Failed, PAUSES);
        queue.next().await;
        assert!(begun.elapsed() < Duration::from_secs(2), "they are counted anew");
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_many_names_waits_for_room() {
        let queue = Arc::new(Queue::default());
        for n in 0..ROOM {
            queue.room().await;
            queue.wake(&n.to_string(), false);
        }
        let (other, begun) = (queue.clone(), Instant::now());
        let waiting = tokio::spawn(async move { other.room().await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!waiting.is_finished());
        queue.next().await;
        waiting.await.unwrap();
        assert!(begun.elapsed() >= Duration::from_secs(1));
    }
}
