//! How much one phone may push, or one address while there is no list of phones: pushes, bytes and new sessions.
//!
//! - Each is a bucket that fills at its rate and holds a burst.
//! - What a body comes to is known once it was read: its bytes may put a bucket into debt, and nothing is taken before that
//!   is paid.
//! - Whoever is on this machine is not held to it.
//! - So many are remembered; where there are more, those whose buckets are full are forgotten, and then the others share one.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use gaitway_service::rate::{Bucket, Rate};
use xxhash_rust::xxh3::xxh3_64;

use super::access::Pusher;
use crate::config::LimitsConfig;
use crate::ingest::Refusal;

/// Bursts: so long at the rate.
const PUSHES_FOR: Duration = Duration::from_secs(60);
const BYTES_FOR: Duration = Duration::from_secs(60);
const SESSIONS_FOR: Duration = Duration::from_secs(3600);

/// Sessions of one phone that are known again: an app has one, and replays some at a time.
const SESSIONS: usize = 32;

/// Most phones and addresses that are remembered.
const MOST: usize = 4_096;

/// Who is held to it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Who {
    /// A phone on the list, by its name.
    Phone(String),
    /// Whoever pushes from there.
    Address(IpAddr),
    /// All for whom there is no place.
    Others,
}

/// Of one phone or address.
#[derive(Debug)]
struct Buckets {
    pushes: Bucket,
    bytes: Bucket,
    sessions: Bucket,
    /// The sessions that were pushed to last.
    recent: Vec<u64>,
}

impl Buckets {
    fn full(now: Instant) -> Self {
        let full = Bucket::full(now);
        Self { pushes: full, bytes: full, sessions: full, recent: Vec::new() }
    }

    fn is_full(&self, now: Instant) -> bool {
        [self.pushes, self.bytes, self.sessions].iter().all(|bucket| bucket.is_full(now))
    }
}

/// All of them.
#[derive(Debug)]
pub struct Quotas {
    pushes: Rate,
    bytes: Rate,
    sessions: Rate,
    /// Whether this machine's own pushes are free.
    spares_loopback: bool,
    buckets: Mutex<HashMap<Who, Buckets>>,
}

impl Quotas {
    /// As configured.
    pub fn new(limits: &LimitsConfig) -> Self {
        let rate = |per_second: f64, burst| Rate::new(Duration::from_secs_f64(1.0 / per_second), burst);
        Self {
            pushes: rate(limits.pushes_per_second, PUSHES_FOR),
            bytes: rate(limits.bytes_per_second as f64, BYTES_FOR),
            sessions: rate(limits.sessions_per_hour / 3600.0, SESSIONS_FOR),
            spares_loopback: true,
            buckets: Mutex::default(),
        }
    }

    /// The same for pushes of this machine.
    #[must_use]
    pub fn for_all(self) -> Self {
        Self { spares_loopback: false, ..self }
    }

    /// Whom a push from `address` counts for, if it counts. `is_here`: it is of this machine itself.
    pub(super) fn who(&self, pusher: &Pusher, address: Option<IpAddr>, is_here: bool) -> Option<Who> {
        let address = address.filter(|_| !(self.spares_loopback && is_here))?;
        Some(match pusher {
            Pusher::Phone(phone) => Who::Phone(phone.name.clone()),
            Pusher::Anybody => Who::Address(address),
        })
    }

    /// A push is at the door: whether its body is to be read.
    pub(super) fn admit(&self, who: &Who, now: Instant) -> Result<(), Refusal> {
        self.with(who, now, |buckets| {
            buckets.bytes.check(self.bytes, now).map_err(|wait| Refusal::TooMany { what: "bytes", wait })?;
            buckets.pushes.take(self.pushes, now).map_err(|wait| Refusal::TooMany { what: "pushes", wait })
        })
    }

    /// It has so many `bytes`, and is of `session`: whether it is to be kept.
    pub(super) fn charge(&self, who: &Who, bytes: usize, session: &str, now: Instant) -> Result<(), Refusal> {
        let session = xxh3_64(session.as_bytes());
        self.with(who, now, |buckets| {
            buckets.bytes.charge(self.bytes, now, bytes as f64);
            if let Some(at) = buckets.recent.iter().position(|recent| *recent == session) {
                buckets.recent.remove(at);
            } else {
                let taken = buckets.sessions.take(self.sessions, now);
                taken.map_err(|wait| Refusal::TooMany { what: "new sessions", wait })?;
                if buckets.recent.len() == SESSIONS {
                    buckets.recent.remove(0);
                }
            }
            buckets.recent.push(session);
            Ok(())
        })
    }

    fn with<T>(&self, who: &Who, now: Instant, act: impl FnOnce(&mut Buckets) -> T) -> T {
        let mut all = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST && !all.contains_key(who) {
            all.retain(|_, buckets| !buckets.is_full(now));
        }
        let who = if all.len() < MOST || all.contains_key(who) { who } else { &Who::Others };
        if !all.contains_key(who) {
            all.insert(who.clone(), Buckets::full(now));
        }
        act(all.get_mut(who).expect("it was inserted where it was not there"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn quotas() -> Quotas {
        Quotas::new(&LimitsConfig { pushes_per_second: 2.0, bytes_per_second: 1_000, sessions_per_hour: 6.0 })
    }

    fn who(number: u32) -> Who {
        Who::Address(Ipv4Addr::from_bits(number).into())
    }

    fn wait_of(refused: Refusal) -> (&'static str, Duration) {
        match refused {
            Refusal::TooMany { what, wait } => (what, wait),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_burst_is_taken_and_then_the_rate_and_nobody_else_feels_it() {
        let (quotas, now) = (quotas(), Instant::now());
        for _ in 0..120 {
            quotas.admit(&who(1), now).unwrap();
        }
        let (what, wait) = wait_of(quotas.admit(&who(1), now).unwrap_err());
        assert_eq!((what, wait), ("pushes", Duration::from_millis(500)));
        quotas.admit(&who(2), now).unwrap();
        quotas.admit(&Who::Phone("anna".to_owned()), now).unwrap();
        quotas.admit(&who(1), now + wait).unwrap();
        assert!(quotas.admit(&who(1), now + wait).is_err());
        let later = now + Duration::from_secs(61);
        let taken = (0..1_000).take_while(|_| quotas.admit(&who(1), later).is_ok()).count();
        assert_eq!(taken, 120, "a bucket holds no more than a burst");
    }

    #[test]
    fn bytes_are_paid_once_they_are_known_and_before_the_next_body_is_read() {
        let (quotas, now) = (quotas(), Instant::now());
        quotas.admit(&who(1), now).unwrap();
        quotas.charge(&who(1), 100_000, "s", now).unwrap();
        let (what, wait) = wait_of(quotas.admit(&who(1), now).unwrap_err());
        assert_eq!(what, "bytes");
        assert!(wait.abs_diff(Duration::from_secs(40)) < Duration::from_millis(10), "{wait:?}");
        assert!(quotas.admit(&who(1), now + Duration::from_secs(39)).is_err());
        quotas.admit(&who(1), now + wait).unwrap();
    }

    #[test]
    fn new_sessions_are_counted_and_those_that_go_on_are_not() {
        let (quotas, now) = (quotas(), Instant::now());
        for session in 0..6 {
            quotas.charge(&who(1), 1, &session.to_string(), now).unwrap();
        }
        let (what, wait) = wait_of(quotas.charge(&who(1), 1, "6", now).unwrap_err());
        assert_eq!((what, wait), ("new sessions", Duration::from_secs(600)));
        for session in 0..6 {
            quotas.charge(&who(1), 1, &session.to_string(), now).unwrap();
        }
        quotas.charge(&who(1), 1, "6", now + wait).unwrap();
    }

    #[test]
    fn strangers_without_number_take_no_memory_without_bound_and_share_what_is_left() {
        let (quotas, now) = (quotas(), Instant::now());
        for number in 0..(MOST as u32 + 200) {
            quotas.admit(&who(number), now).unwrap_or_else(|refused| assert!(number >= MOST as u32 + 120, "{refused}"));
        }
        assert!(quotas.buckets.lock().unwrap().len() <= MOST + 1);
        assert!(quotas.admit(&who(u32::MAX), now).is_err(), "the others' bucket is empty");
        quotas.admit(&who(7), now).unwrap();
        quotas.admit(&who(u32::MAX), now + Duration::from_secs(120)).unwrap();
        assert_eq!(quotas.buckets.lock().unwrap().len(), 1, "those whose buckets were full are forgotten");
    }

    #[test]
    fn this_machine_is_free_and_the_others_count_by_token_or_address() {
        let (quotas, anybody) = (quotas(), Pusher::Anybody);
        let local: IpAddr = Ipv4Addr::LOCALHOST.into();
        assert_eq!(quotas.who(&anybody, Some(local), true), None);
        for address in [local, "192.0.2.7".parse().unwrap()] {
            assert_eq!(quotas.who(&anybody, Some(address), false), Some(Who::Address(address)), "through a proxy too");
        }
        assert_eq!(quotas.who(&anybody, None, false), None);
        assert_eq!(quotas.for_all().who(&anybody, Some(local), true), Some(Who::Address(local)));
    }
}
