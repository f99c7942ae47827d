//! How long a phone keeps trying to send one message.
//!
//! - Waits double from 100 ms up to 5 s, with jitter of half; a success starts them anew.
//! - A phone gives up when nothing has succeeded for the whole of its patience, and tries once more at its very end.

use std::time::Duration;

const FIRST_WAIT: Duration = Duration::from_millis(100);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Decides between another try and giving up.
#[derive(Debug)]
pub(super) struct Patience {
    limit: Duration,
    failing_since: Option<Duration>,
    wait: Duration,
}

impl Patience {
    /// Patience that lasts `limit`.
    pub(super) fn new(limit: Duration) -> Self {
        Self { limit, failing_since: None, wait: FIRST_WAIT }
    }

    /// A message was answered.
    pub(super) fn succeeded(&mut self) {
        *self = Self::new(self.limit);
    }

    /// A try that began at `began` failed, `now` (both since any fixed instant): how long to wait before the next, none
    /// to give up. `jitter` is random in 0…1.
    pub(super) fn failed(&mut self, began: Duration, now: Duration, jitter: f64) -> Option<Duration> {
        let since = *self.failing_since.get_or_insert(began);
        let left = self.limit.saturating_sub(now.saturating_sub(since));
        if left.is_zero() {
            return None;
        }
        let wait = self.wait.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0).min(left);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_five_seconds() {
        let mut patience = Patience::new(Duration::from_secs(3_600));
        let mut next = || patience.failed(Duration::ZERO, Duration::ZERO, 1.0).unwrap().as_millis();
        assert_eq!([next(), next(), next(), next(), next()], [100, 200, 400, 800, 1_600]);
        assert_eq!([next(), next(), next()], [3_200, 5_000, 5_000]);
        patience.succeeded();
        assert_eq!(patience.failed(Duration::ZERO, Duration::ZERO, 0.0), Some(Duration::from_millis(50)));
    }

    #[test]
    fn without_patience_the_first_failure_is_the_last() {
        assert_eq!(Patience::new(Duration::ZERO).failed(Duration::ZERO, Duration::ZERO, 0.5), None);
    }

    proptest! {
        #[test]
        fn gives_up_exactly_when_patience_ends(
            limit in 1u64..120_000,
            tries in prop::collection::vec((0u64..1_000, 0.0f64..1.0), 1..5_000),
        ) {
            let limit = Duration::from_millis(limit);
            let mut patience = Patience::new(limit);
            let mut now = Duration::ZERO;
            for (took, jitter) in tries {
                let began = now;
                now += Duration::from_millis(took);
                let Some(wait) = patience.failed(began, now, jitter) else {
                    prop_assert!(now >= limit);
                    break;
                };
                prop_assert!(!wait.is_zero() && wait <= LONGEST_WAIT && now + wait <= limit);
                now += wait;
            }
        }
    }
}
