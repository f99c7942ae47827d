//! How often codes may be tried. Pure: time is an argument.
//!
//! - An address has [`AT_ONCE`] tries and one more every [`ONE_EVERY`]; all together have [`ALL_AT_ONCE`] and one more
//!   every [`ALL_ONE_EVERY`]. So nobody tries out a code's five tries by guessing which codes there are: a hundred
//!   thousand tries take a day, a code lasts fifteen minutes.
//! - A try that succeeds is given back.
//! - Addresses that are remembered are bounded; one that is not is held to the common bound.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use gaitway_service::rate::{Bucket, Rate};

use crate::listener::neighbourhood;

const AT_ONCE: u32 = 10;
const ONE_EVERY: Duration = Duration::from_secs(6);
const EACH: Rate = Rate::new(ONE_EVERY, ONE_EVERY.saturating_mul(AT_ONCE));
const ALL_AT_ONCE: u32 = 60;
const ALL_ONE_EVERY: Duration = Duration::from_secs(1);
const ALL: Rate = Rate::new(ALL_ONE_EVERY, ALL_ONE_EVERY.saturating_mul(ALL_AT_ONCE));

/// Addresses that are remembered.
const MOST: usize = 4096;

/// See the module.
#[derive(Debug)]
pub(crate) struct Attempts {
    all: Bucket,
    each: HashMap<IpAddr, Bucket>,
}

impl Attempts {
    pub(crate) fn new(now: Instant) -> Self {
        Self { all: Bucket::full(now), each: HashMap::new() }
    }

    /// Somebody at `address` is about to try a code; or how long they have to wait.
    pub(crate) fn take(&mut self, now: Instant, address: IpAddr) -> Result<(), Duration> {
        let address = neighbourhood(address);
        if self.each.len() >= MOST {
            self.each.retain(|_, bucket| !bucket.is_full(now));
        }
        if self.each.len() < MOST || self.each.contains_key(&address) {
            self.each.entry(address).or_insert(Bucket::full(now)).take(EACH, now)?;
        }
        self.all.take(ALL, now)
    }

    /// The try succeeded.
    pub(crate) fn give_back(&mut self, now: Instant, address: IpAddr) {
        if let Some(bucket) = self.each.get_mut(&neighbourhood(address)) {
            bucket.give_back(EACH, now);
        }
        self.all.give_back(ALL, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from_bits(0x0a00_0000 + n).into()
    }

    #[test]
    fn a_code_guessed_a_hundred_thousand_times_is_refused_all_but_a_few_times() {
        let start = Instant::now();
        for spread in [1, 7, 50_000] {
            let mut attempts = Attempts::new(start);
            // All within one code's life.
            let life = gaitway_proto::enrolment::CODE_LIFE;
            let let_through = (0..100_000_u32).filter(|n| {
                let now = start + life * *n / 100_000;
                attempts.take(now, address(n % spread)).is_ok()
            });
            let let_through = let_through.count();
            let most = (ALL_AT_ONCE as usize + life.as_secs() as usize).min(spread as usize * (10 + 150));
            assert!(let_through <= most, "{let_through} of {spread}");
            assert!(attempts.each.len() <= MOST);
        }
    }

    #[test]
    fn an_address_waits_as_long_as_it_is_told() {
        let start = Instant::now();
        let mut attempts = Attempts::new(start);
        for _ in 0..AT_ONCE {
            attempts.take(start, address(1)).unwrap();
        }
        let wait = attempts.take(start, address(1)).unwrap_err();
        assert_eq!(wait, ONE_EVERY);
        attempts.take(start, address(2)).unwrap();
        attempts.take(start + wait, address(1)).unwrap();
        attempts.take(start + wait, address(1)).unwrap_err();
    }

    #[test]
    fn tries_that_succeed_do_not_count() {
        let start = Instant::now();
        let mut attempts = Attempts::new(start);
        for _ in 0..1_000 {
            attempts.take(start, address(1)).unwrap();
            attempts.give_back(start, address(1));
        }
    }
}
