//! How long it takes until nothing waits. Pure.
//!
//! - Where the relay keeps pace, what is told is how long a frame waits: little, and steady though frames come and go.
//! - A backlog is told by the speed at which it shrinks; one that does not shrink drains never.
//! - Nothing is told while nothing waits, nor once nothing moved for [`SPAN`].

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Speeds are means over so long.
const SPAN: Duration = Duration::from_secs(20);

/// Times between two points: a few of them fit into the span.
const STEP: Duration = Duration::from_secs(1);

/// A relay that takes as much as waits within so long keeps pace: acknowledgements wait two seconds for a transaction.
const PACE: f64 = 10.0;

/// What is told where it keeps pace is a multiple of this, seconds.
const LITTLE: f64 = 5.0;

/// A speed of less than this part of what is acknowledged is noise.
const NOISE: f64 = 0.02;

/// What was accepted and acknowledged lately.
#[derive(Debug, Default)]
pub(super) struct Drain {
    points: VecDeque<Point>,
    last: Option<Point>,
}

#[derive(Debug, Clone, Copy)]
struct Point {
    at: Instant,
    /// Frames accepted since the start.
    accepted: u64,
    waiting: u64,
}

impl Drain {
    /// Notes how much was accepted since the start and how much waits.
    pub(super) fn note(&mut self, at: Instant, accepted: u64, waiting: u64) {
        let point = Point { at, accepted, waiting };
        // Another spool counts anew.
        if self.last.is_some_and(|last| last.accepted > accepted) {
            self.points.clear();
        }
        self.last = Some(point);
        if self.points.back().is_none_or(|back| at.saturating_duration_since(back.at) >= STEP) {
            self.points.push_back(point);
        }
        while self.points.get(1).is_some_and(|second| at.saturating_duration_since(second.at) >= SPAN) {
            self.points.pop_front();
        }
    }

    /// Until nothing waits, as far as it is known at `now`.
    pub(super) fn left(&self, now: Instant) -> Option<Duration> {
        let last = self.last.filter(|last| last.waiting > 0)?;
        // The last point before the span began stands for its beginning.
        let old = self.points.iter().take_while(|point| now.saturating_duration_since(point.at) >= SPAN).count();
        let within: Vec<&Point> = self.points.iter().skip(old.saturating_sub(1)).collect();
        let first = within.first()?;
        let seconds = now.saturating_duration_since(first.at).min(SPAN).as_secs_f64();
        if seconds < STEP.as_secs_f64() {
            return None;
        }
        let accepted = (last.accepted - first.accepted) as f64 / seconds;
        let shrinks = (first.waiting as f64 - last.waiting as f64) / seconds;
        let acknowledged = accepted + shrinks;
        if acknowledged <= 0.0 {
            return None;
        }
        let mean = within.iter().map(|point| point.waiting).sum::<u64>() as f64 / within.len() as f64;
        let (mean, waiting) = (mean.max(last.waiting as f64), last.waiting as f64);
        let left = if mean <= acknowledged * PACE {
            // The course of a single frame is no news.
            (mean / acknowledged / LITTLE).ceil() * LITTLE
        } else if shrinks > acknowledged * NOISE {
            waiting / shrinks
        } else {
            return None;
        };
        Duration::try_from_secs_f64(left.ceil()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of a course with accepted and acknowledged frames a second; what is told in each.
    fn course(start: u64, seconds: u64, accepts: impl Fn(u64) -> u64, takes: impl Fn(u64) -> u64) -> Vec<Option<u64>> {
        let began = Instant::now();
        let (mut drain, mut accepted, mut waiting) = (Drain::default(), 0, start);
        (0..seconds)
            .map(|second| {
                let now = began + Duration::from_secs(second);
                drain.note(now, accepted, waiting);
                let told = drain.left(now + Duration::from_millis(300)).map(|left| left.as_secs());
                accepted += accepts(second);
                waiting = (waiting + accepts(second)).saturating_sub(takes(second));
                told
            })
            .collect()
    }

    #[test]
    fn a_backlog_drains_at_the_speed_at_which_it_shrinks() {
        let told = course(10_000, 60, |_| 1, |_| 51);
        assert!((138..=145).contains(&told[58].unwrap()), "{told:?}");
        assert!(told[30..].iter().flatten().is_sorted_by(|before, after| before >= after), "{told:?}");
    }

    #[test]
    fn a_phone_that_pushes_once_a_second_is_little_and_steady() {
        // Acknowledgements come every two seconds, for two frames.
        let told = course(1, 120, |_| 1, |second| if second % 2 == 1 { 2 } else { 0 });
        assert!(told[10..].iter().all(|left| *left == Some(5)), "{told:?}");
        // Where it begins with none, every other time nothing waits.
        let told = course(0, 120, |_| 1, |second| if second % 2 == 1 { 2 } else { 0 });
        assert!(told[10..].chunks(2).all(|pair| pair == [None, Some(5)]), "{told:?}");
    }

    #[test]
    fn what_does_not_shrink_drains_never_and_what_stands_is_soon_not_told() {
        assert!(course(500, 60, |_| 2, |_| 1)[5..].iter().all(Option::is_none));
        assert!(course(500, 60, |_| 1, |_| 1)[5..].iter().all(Option::is_none), "it stays as it is");
        let stands = course(10_000, 60, |_| 1, |second| if second < 20 { 51 } else { 0 });
        assert!(stands[19].is_some() && stands[42..].iter().all(Option::is_none), "{stands:?}");
        assert!(course(0, 60, |_| 0, |_| 0).iter().all(Option::is_none), "nothing waits");
    }

    #[test]
    fn another_spool_begins_anew() {
        let now = Instant::now();
        let mut drain = Drain::default();
        for second in 0..30 {
            drain.note(now + Duration::from_secs(second), 1000 + second, 100);
        }
        drain.note(now + Duration::from_secs(30), 3, 1);
        assert_eq!(drain.left(now + Duration::from_secs(30)), None);
    }
}
