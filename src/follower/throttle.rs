//! How fast what lies behind is made up for, all databases together, so that clients do not suffer.

use std::{
    num::NonZeroU32,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// So many documents a second.
pub struct Throttle {
    rate: Option<NonZeroU32>,
    /// When what was let through will have taken its time.
    paid: Mutex<Option<Instant>>,
}

impl Throttle {
    /// Lets so many documents through in a second; without a rate any number.
    pub fn new(rate: Option<NonZeroU32>) -> Self {
        let paid = Mutex::default();
        Self { rate, paid }
    }

    /// How long to wait after so many documents.
    pub fn after(&self, documents: usize) -> Duration {
        let Some(rate) = self.rate else {
            return Duration::ZERO;
        };
        let takes = Duration::from_secs_f64(documents as f64 / f64::from(rate.get()));
        let now = Instant::now();
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let until = paid.unwrap_or(now).max(now) + takes;
        *paid = Some(until);
        until - now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn all_who_ask_share_the_rate() {
        let throttle = Throttle::new(NonZeroU32::new(100));
        assert_eq!(throttle.after(50), Duration::from_millis(500));
        assert_eq!(throttle.after(50), Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(5)).await;
        assert_eq!(throttle.after(10), Duration::from_millis(100), "nobody saves up");
        assert_eq!(Throttle::new(None).after(1 << 20), Duration::ZERO);
    }
}
