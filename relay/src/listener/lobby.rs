//! Connections that have not proven yet whose they are.
//!
//! - They have places of their own, so that however many idle or slow ones there are, an agent with a password finds
//!   one.
//! - Who lost a place keeps its connection until its task has noticed; no more than [`LEAVING`] may be about to leave before
//!   another is accepted. So however fast they come, they hold no more descriptors than that.
//! - When there are more than places, the address that has the most of them loses its oldest: whoever keeps many idle
//!   pushes out their own. A fixed bound for each address would lock out agents that share one behind a router.
//! - Of an address at which an agent has proven itself a few lose their places to nobody, however many addresses strangers
//!   have: an agent that comes again is not pushed out before it is done. See [`Known`].

use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gaitway_service::known::Known;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// Places. An agent needs one for a round trip or two.
pub(super) const PLACES: usize = 256;

/// Addresses of agents that are known.
const KNOWN: usize = 1_024;

/// Connections that may have lost their place and not be gone yet.
const LEAVING: usize = 128;

/// See the module.
#[derive(Debug)]
struct Waiting {
    places: usize,
    taken: usize,
    last_id: u64,
    /// The oldest of each address first.
    guests: BTreeMap<IpAddr, VecDeque<Guest>>,
    known: Known,
}

#[derive(Debug)]
struct Guest {
    id: u64,
    pushed_out: CancellationToken,
}

impl Waiting {
    fn new(places: usize) -> Self {
        Self { places, taken: 0, last_id: 0, guests: BTreeMap::new(), known: Known::new(KNOWN) }
    }

    /// One more from `address`. Gives its name, and pushes another out if there is no place left.
    fn enter(&mut self, address: IpAddr, pushed_out: CancellationToken) -> u64 {
        self.last_id += 1;
        let id = self.last_id;
        self.guests.entry(address).or_default().push_back(Guest { id, pushed_out });
        self.taken += 1;
        if self.taken > self.places {
            let oldest = |guests: &VecDeque<Guest>| guests.front().map(|guest| guest.id);
            let crowded = self
                .guests
                .iter()
                .max_by_key(|(address, guests)| {
                    let is_strange = !self.known.keeps(**address, guests.len());
                    (is_strange, guests.len(), Reverse(oldest(guests)))
                })
                .and_then(|(address, guests)| Some((*address, oldest(guests)?)));
            if let Some((address, id)) = crowded
                && let Some(guest) = self.leave(address, id)
            {
                guest.pushed_out.cancel();
            }
        }
        id
    }

    fn leave(&mut self, address: IpAddr, id: u64) -> Option<Guest> {
        let guests = self.guests.get_mut(&address)?;
        let place = guests.iter().position(|guest| guest.id == id)?;
        let guest = guests.remove(place);
        if guests.is_empty() {
            self.guests.remove(&address);
        }
        self.taken -= 1;
        guest
    }
}

/// See the module. Clones are the same lobby.
#[derive(Debug, Clone)]
pub(super) struct Lobby {
    waiting: Arc<Mutex<Waiting>>,
    room: Arc<Semaphore>,
}

/// Room for one connection more.
#[derive(Debug)]
pub(super) struct Room(#[expect(dead_code, reason = "held until it is dropped")] OwnedSemaphorePermit);

impl Lobby {
    pub(super) fn new(places: usize) -> Self {
        let room = Arc::new(Semaphore::new(places + LEAVING));
        Self { waiting: Arc::new(Mutex::new(Waiting::new(places))), room }
    }

    /// Waits until another connection may be accepted: those without a place leave at once.
    pub(super) async fn room(&self) -> Room {
        Room(self.room.clone().acquire_owned().await.expect("the lobby is never closed"))
    }

    /// A place for a connection from `address`.
    pub(super) fn enter(&self, address: IpAddr, room: Room) -> Place {
        let address = neighbourhood(address);
        let pushed_out = CancellationToken::new();
        let id = self.waiting().enter(address, pushed_out.clone());
        Place { lobby: self.clone(), address, id, pushed_out, _room: room }
    }

    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A place in the lobby; left when dropped.
#[derive(Debug)]
pub(super) struct Place {
    lobby: Lobby,
    address: IpAddr,
    id: u64,
    pushed_out: CancellationToken,
    _room: Room,
}

impl Place {
    /// Whoever has it has proven to be an agent, and needs it no more.
    pub(super) fn leave_as_agent(self) {
        self.lobby.waiting().known.prove(self.address);
    }

    /// Resolves when the place is needed for another.
    pub(super) async fn lost(&self) {
        self.pushed_out.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.lobby.waiting().leave(self.address, self.id);
    }
}

/// Whom to count together with `address`: of IPv6 a subscriber has a /64 at least.
pub(crate) fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use gaitway_service::known::EACH;
    use proptest::prelude::*;

    use super::*;

    fn address(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    /// Enters from each of `addresses` in turn; which of them are still there.
    fn left(places: usize, addresses: &[u8]) -> Vec<bool> {
        let mut waiting = Waiting::new(places);
        let tokens = addresses.iter().map(|&n| {
            let token = CancellationToken::new();
            waiting.enter(address(n), token.clone());
            token
        });
        tokens.collect::<Vec<_>>().iter().map(|token| !token.is_cancelled()).collect()
    }

    #[test]
    fn the_address_that_has_the_most_loses_its_oldest() {
        assert_eq!(left(3, &[1, 1, 1, 2]), [false, true, true, true]);
        assert_eq!(left(3, &[2, 1, 1, 1]), [true, false, true, true]);
        assert_eq!(left(3, &[1, 2, 3, 4]), [false, true, true, true], "nobody has more: the oldest of all");
        assert_eq!(left(1, &[1, 1]), [false, true]);
    }

    #[test]
    fn who_is_known_keeps_its_place_however_many_addresses_strangers_have() {
        let mut waiting = Waiting::new(EACH + 4);
        waiting.known.prove(address(1));
        let mut enter = |n| {
            let token = CancellationToken::new();
            waiting.enter(address(n), token.clone());
            token
        };
        let agent = enter(1);
        let strangers: Vec<_> = (2..60).map(&mut enter).collect();
        assert!(!agent.is_cancelled());
        assert_eq!(strangers.iter().filter(|token| !token.is_cancelled()).count(), EACH + 3);
        // They take the places of strangers, until they are too many to be known.
        let like_it: Vec<_> = (1..EACH).map(|_| enter(1)).collect();
        assert!(!agent.is_cancelled());
        enter(1);
        assert!(agent.is_cancelled() && !like_it[0].is_cancelled());
    }

    #[test]
    fn a_subscriber_of_ipv6_is_one_address() {
        let of = |text: &str| neighbourhood(text.parse().unwrap());
        assert_eq!(of("2001:db8:0:1::1"), of("2001:db8:0:1:ffff::2"));
        assert_ne!(of("2001:db8:0:1::1"), of("2001:db8:0:2::1"));
        assert_eq!(of("::ffff:10.0.0.1"), address(1));
        assert_ne!(of("10.0.0.1"), of("10.0.0.2"));
    }

    #[tokio::test]
    async fn a_place_is_free_again_when_it_is_left() {
        let lobby = Lobby::new(1);
        let enter = async |n| lobby.enter(address(n), lobby.room().await);
        drop(enter(1).await);
        let [first, second] = [enter(1).await, enter(2).await];
        first.lost().await;
        assert!(!second.pushed_out.is_cancelled());
        drop(first);
        assert_eq!(lobby.waiting().taken, 1);
        drop(second);
        let waiting = lobby.waiting();
        assert_eq!((waiting.taken, waiting.guests.len()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_accepted_while_too_many_who_lost_their_place_have_not_left() {
        let lobby = Lobby::new(1);
        let mut all = Vec::new();
        for n in 0..=LEAVING {
            all.push(lobby.enter(address(n as u8), lobby.room().await));
        }
        let mut room = Box::pin(lobby.room());
        assert!(tokio::time::timeout(Duration::from_secs(1), &mut room).await.is_err());
        drop(all.swap_remove(0));
        room.await;
    }

    proptest! {
        /// However many come from elsewhere, whoever has fewer than the others keeps the place.
        #[test]
        fn there_are_never_more_than_places_and_the_newest_stays(
            places in 1..8_usize, addresses in prop::collection::vec(1..5_u8, 1..40)
        ) {
            let left = left(places, &addresses);
            prop_assert_eq!(left.iter().filter(|there| **there).count(), places.min(addresses.len()));
            let count = |address: u8| {
                left.iter().zip(&addresses).filter(|(there, of)| **there && **of == address).count()
            };
            let most = (1..5).map(count).max().unwrap();
            for (there, address) in left.iter().zip(&addresses) {
                prop_assert!(*there || count(*address) + 1 >= most, "{} was pushed out of {:?}", address, left);
            }
        }
    }
}
