//! How much somebody may do in a time: a bucket that fills at a rate and holds a burst. Pure: time is an argument.
//!
//! Generic cell rate algorithm (ITU-T I.371): all that is kept of a bucket is when it is full again.

use std::time::{Duration, Instant};

/// A rate and its burst.
#[derive(Debug, Clone, Copy)]
pub struct Rate {
    each: Duration,
    burst: Duration,
}

/// One that does something at a [`Rate`].
#[derive(Debug, Clone, Copy)]
pub struct Bucket {
    full_at: Instant,
}

impl Rate {
    /// One every `each`; what comes back in `burst` may be taken at once.
    pub const fn new(each: Duration, burst: Duration) -> Self {
        Self { each, burst }
    }
}

impl Bucket {
    /// A full one.
    pub fn full(now: Instant) -> Self {
        Self { full_at: now }
    }

    /// Whether it is full.
    pub fn is_full(&self, now: Instant) -> bool {
        self.full_at <= now
    }

    /// Whether one may be taken; or how long until then.
    pub fn check(&self, rate: Rate, now: Instant) -> Result<(), Duration> {
        let owed = self.full_at.saturating_duration_since(now) + rate.each;
        owed.checked_sub(rate.burst).filter(|wait| !wait.is_zero()).map_or(Ok(()), Err)
    }

    /// Takes `amount`, whether it is there or not: a debt is paid before [`check`](Self::check) lets anything be taken.
    pub fn charge(&mut self, rate: Rate, now: Instant, amount: f64) {
        self.full_at = self.full_at.max(now) + rate.each.mul_f64(amount);
    }

    /// Takes one, if it is there; or how long until then.
    pub fn take(&mut self, rate: Rate, now: Instant) -> Result<(), Duration> {
        self.check(rate, now)?;
        self.full_at = self.full_at.max(now) + rate.each;
        Ok(())
    }

    /// Gives one back.
    pub fn give_back(&mut self, rate: Rate, now: Instant) {
        self.full_at = self.full_at.checked_sub(rate.each).map_or(now, |full_at| full_at.max(now));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: Rate = Rate::new(Duration::from_millis(500), Duration::from_secs(60));

    #[test]
    fn a_burst_is_taken_and_then_one_at_a_time() {
        let now = Instant::now();
        let mut bucket = Bucket::full(now);
        assert_eq!((0..1_000).take_while(|_| bucket.take(RATE, now).is_ok()).count(), 120);
        let wait = bucket.take(RATE, now).unwrap_err();
        assert_eq!(wait, Duration::from_millis(500));
        bucket.take(RATE, now + wait).unwrap();
        assert!(bucket.take(RATE, now + wait).is_err() && !bucket.is_full(now + wait));
        let later = now + Duration::from_secs(61);
        assert!(bucket.is_full(later));
        assert_eq!((0..1_000).take_while(|_| bucket.take(RATE, later).is_ok()).count(), 120);
    }

    #[test]
    fn a_debt_is_paid_first_and_what_is_given_back_fills_no_more_than_the_bucket() {
        let now = Instant::now();
        let mut bucket = Bucket::full(now);
        bucket.charge(RATE, now, 200.0);
        assert_eq!(bucket.check(RATE, now), Err(Duration::from_millis(40_500)));
        for _ in 0..1_000 {
            bucket.give_back(RATE, now);
        }
        assert!(bucket.is_full(now));
        assert_eq!((0..1_000).take_while(|_| bucket.take(RATE, now).is_ok()).count(), 120);
    }

    proptest! {
        #[test]
        fn nobody_takes_more_than_a_burst_and_the_rate(steps in prop::collection::vec(0_u64..2_000, 1..600)) {
            let begun = Instant::now();
            let (mut now, mut taken, mut bucket) = (begun, 0_u32, Bucket::full(begun));
            for step in steps {
                now += Duration::from_millis(step);
                taken += u32::from(bucket.take(RATE, now).is_ok());
            }
            prop_assert!(f64::from(taken) <= 120.0 + 2.0 * (now - begun).as_secs_f64(), "{taken}");
        }
    }
}
