//! Pauses between attempts to reach what is away: the ledger, a schema registry.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);

/// 0.1 s, doubled with each attempt up to 10 s, each shortened by up to a half at random.
#[derive(Debug)]
pub(crate) struct Backoff {
    attempts: u32,
    random: u64,
}

impl Backoff {
    /// No pause is longer.
    pub(crate) const LONGEST: Duration = Duration::from_secs(10);

    /// `seed`: any number.
    pub(crate) fn new(seed: u64) -> Self {
        Self { attempts: 0, random: seed }
    }

    /// The next pause is the first again.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How long to wait now.
    pub(crate) fn next_pause(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.attempts.min(10)).min(Self::LONGEST);
        self.attempts = self.attempts.saturating_add(1);
        // SplitMix64's step and the first half of its mix: plenty for spreading retries.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 32;
        full / 2 + (full / 2).mul_f64(mixed as f64 / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_ten_seconds_and_start_over() {
        let mut backoff = Backoff::new(7);
        for attempt in 0..20 {
            let full = FIRST.saturating_mul(1 << attempt.min(10)).min(Backoff::LONGEST);
            let pause = backoff.next_pause();
            assert!(pause >= full / 2 && pause <= full, "attempt {attempt}: {pause:?}");
        }
        backoff.reset();
        assert!(backoff.next_pause() <= FIRST);
    }
}
