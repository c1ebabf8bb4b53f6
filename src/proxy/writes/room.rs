//! How much of what clients write may be held at once.
//!
//! Nobody waits for room: a client that sends slowly would keep others waiting. A write that finds none passes as it comes, and is
//! looked at afterwards; holding one saves a round trip, and no more.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// As much of a write as the server holds of any connection anyway.
pub const FREE: usize = 64 << 10;

/// Room is counted in these.
const UNIT: usize = 1 << 10;

/// Bytes that may be held.
pub struct Room(Arc<Semaphore>);

/// Some of them, until it is dropped.
#[derive(Default)]
pub struct Place {
    /// How many.
    pub size: usize,
    taken: Option<OwnedSemaphorePermit>,
}

impl Room {
    /// For so many bytes; the little that is free does not count.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// Room for `bytes`, or if there is not so much, for the little that is free.
    pub fn take(&self, bytes: usize) -> Place {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok().filter(|_| bytes > FREE);
        let taken = units.and_then(|units| self.0.clone().try_acquire_many_owned(units).ok());
        Place {
            size: if taken.is_some() { bytes } else { bytes.min(FREE) },
            taken,
        }
    }
}

impl Place {
    /// Gives back all but `bytes`.
    pub fn keep(&mut self, bytes: usize) {
        self.size = self.size.min(bytes);
        self.taken = self
            .taken
            .take()
            .and_then(|mut all| all.split(self.size.div_ceil(UNIT)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_no_room_has_the_little_that_is_free() {
        let room = Room::new(1 << 20);
        let mut first = room.take(700 << 10);
        assert_eq!(first.size, 700 << 10);
        assert_eq!(room.take(700 << 10).size, FREE);
        assert_eq!(room.take(100).size, 100);
        first.keep(100 << 10);
        assert_eq!(room.take(700 << 10).size, 700 << 10);
        drop(first);
        assert_eq!(room.take(1 << 20).size, 1 << 20);
        assert_eq!(room.take((1 << 20) + 1).size, FREE);
        assert_eq!(Room::new(0).take(FREE + 1).size, FREE);
    }
}
