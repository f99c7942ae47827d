//! Which sources are forgotten: those that nobody has moved for 400 days. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gaitway_kafka::progress::Kept;

/// As long as an agent remembers its phones' messages.
const KEPT: i64 = 400 * 24 * 3600 * 1000;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(3600);

/// Sources forgotten in one transaction.
const AT_ONCE: usize = 1_000;

/// Whether it is time to look, if it was `looked` last then.
pub(super) fn is_due(looked: Option<Instant>, now: Instant) -> bool {
    looked.is_none_or(|at| now.saturating_duration_since(at) >= EVERY)
}

/// When it was looked last, if that was `now` and so many were found: where there may be more, it is due again.
pub(super) fn looked(found: usize, now: Instant) -> Option<Instant> {
    (found < AT_ONCE).then_some(now)
}

/// Sources last moved long before `now`, milliseconds since the Unix epoch; some of them if there are many.
pub(super) fn expired(positions: &HashMap<Box<str>, Kept>, now: i64) -> Vec<Box<str>> {
    positions
        .iter()
        .filter(|(_, kept)| kept.at > 0 && now.saturating_sub(kept.at) > KEPT)
        .map(|(source, _)| source.clone())
        .take(AT_ONCE)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_moved_within_400_days_is_kept() {
        let now = KEPT + 1_000;
        let at = |at| Kept { position: 1, at };
        let positions =
            HashMap::from([("a/1/raw".into(), at(999)), ("a/2/raw".into(), at(1_000)), ("a/3/raw".into(), at(0))]);
        assert_eq!(expired(&positions, now), [Box::from("a/1/raw")]);
    }

    #[test]
    fn it_is_looked_once_an_hour_and_again_at_once_while_there_may_be_more() {
        let now = Instant::now();
        assert!(is_due(None, now));
        let positions =
            |count| (0..count).map(|at| (format!("a/{at}/raw").into(), Kept { position: 1, at: 1 })).collect();
        let last = looked(expired(&positions(AT_ONCE - 1), KEPT + 9).len(), now);
        assert!(!is_due(last, now + EVERY / 2) && is_due(last, now + EVERY));
        let more = looked(expired(&positions(AT_ONCE + 1), KEPT + 9).len(), now);
        assert!(is_due(more, now));
    }
}
