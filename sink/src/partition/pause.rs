//! Pauses between attempts.

use std::time::Duration;

const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(30);

/// 0.2 s, doubled with each attempt up to 30 s, each shortened by up to a half at random.
#[derive(Debug)]
pub(super) struct Pause {
    attempts: u32,
    random: u64,
}

impl Pause {
    /// `seed`: any number.
    pub(super) fn new(seed: u64) -> Self {
        Self { attempts: 0, random: seed }
    }

    /// The next pause is the first again.
    pub(super) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// How long to wait now.
    pub(super) fn next(&mut self) -> Duration {
        let full = FIRST.saturating_mul(1 << self.attempts.min(10)).min(LONGEST);
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
    fn pauses_double_up_to_thirty_seconds_and_start_over() {
        let mut pause = Pause::new(7);
        for attempt in 0..20 {
            let full = FIRST.saturating_mul(1 << attempt.min(10)).min(LONGEST);
            let next = pause.next();
            assert!(next >= full / 2 && next <= full, "attempt {attempt}: {next:?}");
        }
        pause.reset();
        assert!(pause.next() <= FIRST);
    }
}
