//! Who may stay connected. Pure: times are milliseconds on the server's clock.
//!
//! - Never are more than `most` connections seated.
//! - A newcomer from an address with fewer connections than the greatest crowd is seated, as long as one of that crowd
//!   is not waiting for an answer.
//! - Nobody who waits for an answer is sent away.
//! - An address at which a caller was vouched for keeps a few connections, and gets them, before strangers: however many
//!   addresses these have. See [`Known`].
//! - Nobody makes room for an address that has more connections than its own.
//! - Who says nothing for long, or a head too slowly, must leave; bodies have a time limit of their own.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::known::Known;

/// How long a connection may be kept without a request. Longer than any phone's batch period: a phone loses the push
/// that meets a connection which closes.
pub(super) const WAITING_WITHIN: u64 = 75_000;

/// How long the head of a request may take.
pub(super) const HEAD_WITHIN: u64 = 10_000;

/// Addresses that are known.
const KNOWN: usize = 1_024;

/// How long one of the newcomer's own crowd must have held a place before it makes room.
const SETTLED: u64 = 1_000;

/// What a connection does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Doing {
    /// Nothing is asked.
    Waiting,
    /// The head of a request arrives.
    Head,
    /// The rest of a request arrives.
    Body,
    /// A request is being answered.
    Working,
}

impl Doing {
    const ALL: [Self; 4] = [Self::Waiting, Self::Head, Self::Body, Self::Working];
}

/// What a connection does and since when, for whoever holds it and whoever looks: no lock between them.
#[derive(Debug)]
pub(super) struct Pulse(AtomicU64);

impl Pulse {
    /// Waiting since `now`.
    pub(super) fn new(now: u64) -> Self {
        Self(AtomicU64::new(Self::packed(Doing::Waiting, now)))
    }

    /// From `now` on it does this.
    pub(super) fn mark(&self, doing: Doing, now: u64) {
        self.0.store(Self::packed(doing, now), Ordering::Relaxed);
    }

    /// What it does, and since when.
    pub(super) fn read(&self) -> (Doing, u64) {
        let packed = self.0.load(Ordering::Relaxed);
        (Doing::ALL[(packed & 3) as usize], packed >> 2)
    }

    fn packed(doing: Doing, now: u64) -> u64 {
        now << 2 | doing as u64
    }
}

/// What becomes of a newcomer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission<K> {
    /// There is a place.
    Free,
    /// This connection makes room.
    InsteadOf(K),
    /// Nobody can make room.
    Full,
}

/// The connections of one address; their seats share it, so that looking for a place needs no table.
#[derive(Debug)]
struct Crowd {
    neighbour: IpAddr,
    size: AtomicUsize,
}

impl Crowd {
    fn size(&self) -> usize {
        self.size.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Seat {
    crowd: Arc<Crowd>,
    pulse: Arc<Pulse>,
}

/// See the module. `K` names connections.
#[derive(Debug)]
pub(super) struct Places<K> {
    most: usize,
    seats: HashMap<K, Seat>,
    crowds: HashMap<IpAddr, Arc<Crowd>>,
    known: Arc<Mutex<Known>>,
}

impl<K: Copy + Eq + Hash> Places<K> {
    /// Room for `most`.
    pub(super) fn new(most: usize) -> Self {
        let known = Arc::new(Mutex::new(Known::new(KNOWN)));
        Self { most, seats: HashMap::new(), crowds: HashMap::new(), known }
    }

    /// Where callers are vouched for.
    pub(super) fn known(&self) -> &Arc<Mutex<Known>> {
        &self.known
    }

    /// What becomes of a newcomer from `neighbour`; whoever makes room is to be vacated before the newcomer is seated.
    pub(super) fn admit(&self, now: u64, neighbour: IpAddr) -> Admission<K> {
        if self.seats.len() < self.most {
            return Admission::Free;
        }
        let own = self.of(neighbour);
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (expected, keeps) =
            (known.keeps(neighbour, own + 1), |crowd: &Crowd| known.keeps(crowd.neighbour, crowd.size()));
        let strange = self.crowds.values().filter(|crowd| !keeps(crowd)).map(|crowd| crowd.size()).max();
        let greatest = strange.unwrap_or_else(|| self.crowds.values().map(|crowd| crowd.size()).max().unwrap_or(0));
        let unfair = greatest > own + 1;
        let may_leave = |seat: &Seat, since: u64| {
            let crowd = seat.crowd.size();
            let is_its_turn =
                if unfair { crowd == greatest } else { crowd >= own && now.saturating_sub(since) >= SETTLED };
            (strange.is_none() || !keeps(&seat.crowd)) && (is_its_turn || expected)
        };
        let victim = self
            .seats
            .iter()
            .map(|(name, seat)| (name, seat, seat.pulse.read()))
            .filter(|(_, seat, (doing, since))| *doing != Doing::Working && may_leave(seat, *since))
            .max_by_key(|(_, _, (doing, since))| (*doing == Doing::Waiting, Reverse(*since)));
        victim.map_or(Admission::Full, |(name, ..)| Admission::InsteadOf(*name))
    }

    /// Seats a connection that was admitted, and was not seated before.
    pub(super) fn seat(&mut self, name: K, neighbour: IpAddr, pulse: Arc<Pulse>) {
        let empty = || Arc::new(Crowd { neighbour, size: AtomicUsize::new(0) });
        let crowd = Arc::clone(self.crowds.entry(neighbour).or_insert_with(empty));
        crowd.size.fetch_add(1, Ordering::Relaxed);
        self.seats.insert(name, Seat { crowd, pulse });
    }

    /// Frees a connection's place; whose it was.
    pub(super) fn vacate(&mut self, name: K) -> Option<IpAddr> {
        let Seat { crowd, .. } = self.seats.remove(&name)?;
        if crowd.size.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.crowds.remove(&crowd.neighbour);
        }
        Some(crowd.neighbour)
    }

    /// Connections of `neighbour`.
    pub(super) fn of(&self, neighbour: IpAddr) -> usize {
        self.crowds.get(&neighbour).map_or(0, |crowd| crowd.size())
    }

    /// Who must leave.
    pub(super) fn overdue(&self, now: u64) -> Vec<K> {
        let overdue = |seat: &Seat| {
            let (doing, since) = seat.pulse.read();
            let within = match doing {
                Doing::Waiting => WAITING_WITHIN,
                Doing::Head => HEAD_WITHIN,
                Doing::Body | Doing::Working => return false,
            };
            now.saturating_sub(since) > within
        };
        self.seats.iter().filter(|(_, seat)| overdue(seat)).map(|(name, _)| *name).collect()
    }
}

/// The address that counts: a machine has one of IPv4, and of IPv6 as many as it likes below 64 bits.
pub(super) fn neighbour(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests;
