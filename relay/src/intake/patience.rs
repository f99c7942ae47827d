//! Whether the ledger answers in time. Pure.
//!
//! - What it was asked for and has not answered within [`SLOW`] is told once, and once that it answers again.
//! - Where the ledger is known not to work, nothing is told: there is a reason already.

use std::time::{Duration, Instant};

/// How long an answer may take before somebody should know.
pub(super) const SLOW: Duration = Duration::from_secs(5);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Patience {
    /// Since when it was asked for what it answers next.
    since: Option<Instant>,
    under_way: usize,
    works: bool,
    told: bool,
}

impl Patience {
    /// The ledger was asked.
    pub(super) fn handle_asked(&mut self, now: Instant) {
        self.under_way += 1;
        self.since.get_or_insert(now);
    }

    /// It answered; whether that ends a silence that was told.
    pub(super) fn handle_answer(&mut self, now: Instant) -> bool {
        self.under_way = self.under_way.saturating_sub(1);
        self.since = (self.under_way > 0).then_some(now);
        std::mem::take(&mut self.told)
    }

    /// It is known to work, or not to.
    pub(super) fn handle_state(&mut self, works: bool) {
        self.works = works;
        self.told = false;
    }

    /// When it is time to look again.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.since.filter(|_| self.works && !self.told).map(|since| since + SLOW)
    }

    /// For how long it has not answered, where that is to be told now.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> Option<Duration> {
        let waited = now.saturating_duration_since(self.since?);
        let is_due = self.poll_timeout().is_some_and(|due| due <= now);
        self.told |= is_due;
        is_due.then_some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_silence_is_told_once_and_its_end_too() {
        let (mut patience, now) = (Patience::default(), Instant::now());
        patience.handle_asked(now);
        assert_eq!(patience.poll_timeout(), None, "nobody knows yet whether it works");
        patience.handle_state(true);
        assert_eq!(patience.poll_timeout(), Some(now + SLOW));
        patience.handle_asked(now + SLOW / 2);
        assert_eq!(patience.handle_timeout(now + SLOW / 2), None);
        assert_eq!(patience.handle_timeout(now + SLOW), Some(SLOW));
        assert_eq!((patience.handle_timeout(now + 2 * SLOW), patience.poll_timeout()), (None, None));
        assert!(patience.handle_answer(now + 2 * SLOW));
        assert_eq!(patience.poll_timeout(), Some(now + 3 * SLOW), "the other question");
        assert!(!patience.handle_answer(now + 2 * SLOW));
        assert_eq!(patience.poll_timeout(), None);
    }
}
