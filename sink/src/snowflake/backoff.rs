//! How long to wait before a call is made again. Pure: time is an argument, and so is chance.
//!
//! - The first wait is [`Pace::first`], each further one twice as long, at most [`Pace::most`]; a quarter of each is
//!   left to chance, so that many channels do not come back together.
//! - What the server asks for (`Retry-After`) is never undercut; where it is more than is left of [`Pace::patience`] the task ends, and
//!   the machine keeps the next one off until then.
//! - All waits of one task end with [`Pace::patience`].

use std::time::{Duration, Instant};

/// How a client paces itself; the default is for Snowflake, tests are faster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// The first wait before a call is made again.
    pub first: Duration,
    /// The longest such wait.
    pub most: Duration,
    /// How long one open or one submit goes on trying before the caller hears that it cannot be done now.
    pub patience: Duration,
    /// The least time between two status calls of a channel.
    pub status: Duration,
    /// The time between two status calls of a channel with which nothing happens.
    pub idle: Duration,
    /// The longest wait for an answer.
    pub answer: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            most: Duration::from_secs(16),
            patience: Duration::from_secs(60),
            status: Duration::from_millis(200),
            idle: Duration::from_secs(10),
            answer: Duration::from_secs(30),
        }
    }
}

/// The waits of one task.
#[derive(Debug, Clone)]
pub(super) struct Backoff {
    since: Instant,
    waits: u32,
}

impl Backoff {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, waits: 0 }
    }

    /// The next wait; none if patience would end before it is over. `chance` is any number.
    pub(super) fn next(&mut self, now: Instant, pace: &Pace, asked: Option<Duration>, chance: u64) -> Option<Duration> {
        let wait = wait(pace, self.waits, chance).max(asked.unwrap_or_default());
        self.waits += 1;
        (now.saturating_duration_since(self.since) + wait <= pace.patience).then_some(wait)
    }
}

/// The wait after `before` others.
pub(super) fn wait(pace: &Pace, before: u32, chance: u64) -> Duration {
    let full = pace.first.saturating_mul(1 << before.min(16)).min(pace.most);
    let share = 0.75 + 0.25 * (chance as f64 / u64::MAX as f64);
    full.mul_f64(share)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_and_end_with_patience() {
        let (now, pace) = (Instant::now(), Pace::default());
        let mut backoff = Backoff::new(now);
        let mut at = now;
        let mut waits = Vec::new();
        while let Some(wait) = backoff.next(at, &pace, None, u64::MAX) {
            waits.push(wait.as_secs());
            at += wait;
        }
        assert_eq!(waits, [1, 2, 4, 8, 16, 16]);
    }

    #[test]
    fn chance_takes_a_quarter_at_most() {
        let pace = Pace::default();
        assert_eq!(wait(&pace, 2, 0), Duration::from_secs(3));
        assert_eq!(wait(&pace, 2, u64::MAX), Duration::from_secs(4));
        assert_eq!(wait(&pace, u32::MAX, u64::MAX), pace.most);
    }

    #[test]
    fn retry_after_is_never_undercut_and_never_outwaits_patience() {
        let (now, pace) = (Instant::now(), Pace::default());
        let asked = |seconds| Backoff::new(now).next(now, &pace, Some(Duration::from_secs(seconds)), 0);
        assert_eq!(asked(30), Some(Duration::from_secs(30)));
        assert_eq!(asked(0), Some(Duration::from_millis(750)));
        assert_eq!(asked(61), None);
    }
}
