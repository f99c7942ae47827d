//! Which sources are forgotten: those that nobody has moved for 400 days. Pure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gaitway_kafka::progress::Kept;

/// As long as an agent remembers its phones' messages.
const KEPT: i64 = 400 * 24 * 3600 * 1000;

/// How often it is looked.
const EVERY: Duration = Duration::from_secs(3600);

/// Sources forgotten in one transaction.
pub(super) const AT_ONCE: usize = 1_000;

/// Whether it is time to look; if so, it was looked at `now`.
pub(super) fn is_due(looked: &mut Option<Instant>, now: Instant) -> bool {
    let due = looked.is_none_or(|at| now.saturating_duration_since(at) >= EVERY);
    if due {
        *looked = Some(now);
    }
    due
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
    fn it_is_looked_once_an_hour() {
        let (mut looked, now) = (None, Instant::now());
        assert!(is_due(&mut looked, now));
        assert!(!is_due(&mut looked, now + EVERY / 2));
        assert!(is_due(&mut looked, now + EVERY));
    }
}
