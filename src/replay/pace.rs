//! When each message is due, in phone time since the recording began.
//!
//! - The first message is due at once; due times never go back.
//! - A session's message is due when its greatest time is as far from the session's first as the clock is.
//! - A message without a time, and one that is late, is due with the message before it.
//! - A step of more than an hour, forward or back, is a clock set anew and not a pause: pacing goes on from there.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

/// Steps beyond this are not waited for: a wild time of day must not stop a replay for a year.
const LONGEST_STEP: u64 = 3_600_000_000_000;

/// How fast phone time passes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// This many seconds of phone time in a second.
    Factor(f64),
    /// As fast as messages are answered.
    Max,
}

impl Speed {
    /// How long after the start a message due at `due` is sent.
    pub(super) fn after(self, due: Duration) -> Duration {
        match self {
            Self::Max => Duration::ZERO,
            Self::Factor(factor) => Duration::try_from_secs_f64(due.as_secs_f64() / factor).unwrap_or(Duration::MAX),
        }
    }
}

impl FromStr for Speed {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "max" {
            return Ok(Self::Max);
        }
        match text.parse::<f64>() {
            Ok(factor) if factor > 0.0 && factor.is_finite() => Ok(Self::Factor(factor)),
            _ => Err("expected a factor above 0, such as 1 (real time) or 60, or `max`".to_owned()),
        }
    }
}

/// Gives each message of one recording its due time.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    sessions: HashMap<String, Clock>,
    due: Duration,
}

#[derive(Debug)]
struct Clock {
    base: Duration,
    origin: i64,
    greatest: i64,
}

impl Pacer {
    /// When the next message is due; `time` is the greatest of its readings, nanoseconds since the Unix epoch.
    pub(super) fn due(&mut self, session: &str, time: Option<i64>) -> Duration {
        let Some(time) = time else { return self.due };
        let anew = Clock { base: self.due, origin: time, greatest: time };
        match self.sessions.get_mut(session) {
            None => {
                self.sessions.insert(session.to_owned(), anew);
            }
            Some(clock) if time.abs_diff(clock.greatest) > LONGEST_STEP => *clock = anew,
            Some(clock) => {
                clock.greatest = clock.greatest.max(time);
                let since = Duration::from_nanos(clock.greatest.abs_diff(clock.origin));
                self.due = self.due.max(clock.base + since);
            }
        }
        self.due
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn dues(times: &[Option<i64>]) -> Vec<u64> {
        let mut pacer = Pacer::default();
        times.iter().map(|t| pacer.due("s", t.map(|t| t * SECOND)).as_secs()).collect()
    }

    #[test]
    fn a_message_is_due_by_its_greatest_time() {
        assert_eq!(dues(&[Some(100), Some(101), Some(131), Some(132)]), [0, 1, 31, 32]);
    }

    #[test]
    fn late_and_timeless_messages_are_due_with_the_one_before() {
        assert_eq!(dues(&[None, Some(100), Some(110), Some(95), None, Some(111)]), [0, 0, 10, 10, 10, 11]);
    }

    #[test]
    fn a_step_of_more_than_an_hour_is_not_waited_for() {
        let wild = i64::MAX / SECOND;
        assert_eq!(dues(&[Some(0), Some(10), Some(wild), Some(11), Some(12)]), [0, 10, 10, 10, 11]);
        assert_eq!(dues(&[Some(0), Some(3_600), Some(0), Some(-3_700)]), [0, 3_600, 3_600, 3_600]);
    }

    #[test]
    fn sessions_of_one_recording_have_clocks_of_their_own() {
        let mut pacer = Pacer::default();
        let mut due = |session, second| pacer.due(session, Some(second * SECOND)).as_secs();
        assert_eq!([due("a", 0), due("b", 5_000), due("a", 1), due("b", 5_002), due("a", 2)], [0, 0, 1, 2, 2]);
    }

    #[test]
    fn speed_divides_and_never_overflows() {
        assert_eq!(Speed::Factor(10.0).after(Duration::from_secs(5)), Duration::from_millis(500));
        assert_eq!(Speed::Factor(1e-300).after(Duration::MAX), Duration::MAX);
        assert_eq!(Speed::Max.after(Duration::MAX), Duration::ZERO);
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Factor(2.5)));
        for bad in ["0", "-1", "nan", "inf", "fast", ""] {
            assert!(bad.parse::<Speed>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn due_times_never_go_back(times in prop::collection::vec((any::<bool>(), any::<Option<i64>>()), 0..100)) {
            let mut pacer = Pacer::default();
            let mut before = Duration::ZERO;
            for (a, time) in times {
                let due = pacer.due(if a { "a" } else { "b" }, time);
                prop_assert!(due >= before);
                before = due;
            }
        }
    }
}
