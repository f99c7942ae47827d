//! How long is waited before something that others wait for is tried again.

use std::time::{Duration, Instant};

/// After the first failure; each that follows doubles it, up to the longest.
const FIRST: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(3600);

/// When something that failed is tried again.
#[derive(Debug, Default)]
pub(in crate::postgres) struct Pause {
    failures: u32,
    until: Option<Instant>,
}

impl Pause {
    pub(in crate::postgres) fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| now >= until)
    }

    /// Whether it failed last, and may be tried again.
    pub(super) fn is_due_again(&self, now: Instant) -> bool {
        self.failures > 0 && self.is_over(now)
    }

    /// Its end, where that is to come.
    pub(super) fn ends_after(&self, now: Instant) -> Option<Instant> {
        self.until.filter(|until| *until > now)
    }

    pub(in crate::postgres) fn failed(&mut self, now: Instant) {
        let wait = FIRST.saturating_mul(1 << self.failures.min(8)).min(LONGEST);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(now + wait);
    }

    pub(in crate::postgres) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// It may be tried at once; what failed before still counts.
    pub(in crate::postgres) fn cut_short(&mut self) {
        self.until = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_an_hour_and_begins_anew_after_a_success() {
        let (mut pause, mut now) = (Pause::default(), Instant::now());
        assert!(pause.is_over(now) && !pause.is_due_again(now));
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60, 60, 60, 60] {
            pause.failed(now);
            now += Duration::from_secs(minutes * 60 - 1);
            assert!(!pause.is_over(now) && !pause.is_due_again(now), "{minutes}");
            now += Duration::from_secs(1);
            assert!(pause.is_over(now) && pause.is_due_again(now), "{minutes}");
        }
        pause.succeeded();
        pause.failed(now);
        assert!(pause.is_over(now + FIRST));
        pause.cut_short();
        assert!(pause.is_over(now));
        pause.failed(now);
        assert!(!pause.is_over(now + FIRST) && pause.is_over(now + 2 * FIRST));
    }
}
