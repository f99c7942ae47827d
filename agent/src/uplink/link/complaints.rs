//! Which reasons are logged: a new one at once, the same one once a minute. Pure: time is an argument.
//!
//! - However reasons change, no more than [`MOST`] are logged in a minute.

use std::time::{Duration, Instant};

/// How long a reason that was logged is not logged again.
const EVERY: Duration = Duration::from_secs(60);

/// Most reasons that are logged within that time.
const MOST: usize = 4;

/// What was logged lately.
#[derive(Debug, Default)]
pub(super) struct Complaints(Vec<(Instant, String)>);

impl Complaints {
    /// Whether to log `reason` now.
    pub(super) fn is_due(&mut self, now: Instant, reason: &str) -> bool {
        self.0.retain(|(at, _)| now.duration_since(*at) < EVERY);
        if self.0.len() >= MOST || self.0.iter().any(|(_, logged)| logged == reason) {
            return false;
        }
        self.0.push((now, reason.to_owned()));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn another_reason_is_logged_at_once_and_the_same_one_once_a_minute() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
        assert!(complaints.is_due(start, "closed"));
        assert!(!complaints.is_due(start + SECOND, "closed"));
        assert!(complaints.is_due(start + 2 * SECOND, "revoked"));
        assert!(!complaints.is_due(start + 3 * SECOND, "closed"), "they may take turns");
        assert!(!complaints.is_due(start + 59 * SECOND, "revoked"));
        assert!(complaints.is_due(start + 60 * SECOND, "closed"));
        assert!(!complaints.is_due(start + 61 * SECOND, "revoked"));
        assert!(complaints.is_due(start + 62 * SECOND, "revoked"));
    }

    #[test]
    fn reasons_that_change_all_the_time_do_not_fill_the_log() {
        let (mut complaints, start) = (Complaints::default(), Instant::now());
        let logged = |n: &u32| complaints.is_due(start + *n * SECOND, &n.to_string());
        assert_eq!((0..600).filter(logged).count(), 10 * MOST);
    }
}
