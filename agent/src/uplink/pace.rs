//! When to try again: pure, random numbers are drawn from a seed.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(30);
const REFUSED: Duration = Duration::from_secs(20);

/// Numbers that look random, the same for the same seed: `SplitMix64` (Steele, Lea, Flood 2014).
#[derive(Debug)]
pub(super) struct Numbers(u64);

impl Numbers {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A share of `span`, evenly.
    fn share(&mut self, span: Duration) -> Duration {
        span.mul_f64(self.draw() as f64 / u64::MAX as f64)
    }
}

/// How long to wait before the next connection.
///
/// - The wait doubles from 0.5 s to 30 s, each with jitter between its half and its whole.
/// - After a refusal it is 20 to 40 s, so that two copies of one agent take turns.
/// - Only a link that held makes it start anew.
#[derive(Debug)]
pub(super) struct Pace {
    numbers: Numbers,
    next: Duration,
}

impl Pace {
    pub(super) fn new(seed: u64) -> Self {
        Self { numbers: Numbers::new(seed), next: FIRST }
    }

    /// The wait after a connection that failed.
    pub(super) fn failed(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        whole / 2 + self.numbers.share(whole / 2)
    }

    /// The wait after the relay turned the agent away.
    pub(super) fn refused(&mut self) -> Duration {
        REFUSED + self.numbers.share(REFUSED)
    }

    /// The link carried frames or stayed up.
    pub(super) fn held(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_from_half_a_second_to_thirty() {
        let mut pace = Pace::new(7);
        for whole in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let wait = pace.failed().as_secs_f64();
            assert!((whole / 2.0..=whole).contains(&wait), "{wait} of {whole}");
        }
    }

    #[test]
    fn after_a_refusal_it_is_twenty_to_forty_seconds() {
        let mut pace = Pace::new(7);
        let waits: Vec<f64> = (0..100).map(|_| pace.refused().as_secs_f64()).collect();
        assert!(waits.iter().all(|wait| (20.0..=40.0).contains(wait)));
        assert!(waits.iter().any(|wait| *wait < 25.0) && waits.iter().any(|wait| *wait > 35.0));
    }

    #[test]
    fn only_a_link_that_held_makes_it_start_anew() {
        let mut pace = Pace::new(7);
        for _ in 0..5 {
            pace.failed();
        }
        pace.refused();
        assert!(pace.failed() > Duration::from_secs(5));
        pace.held();
        assert!(pace.failed() <= FIRST);
    }
}
