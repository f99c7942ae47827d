//! Addresses at which somebody has proven who they are. Pure.
//!
//! - So many are remembered; who proved it longest ago is forgotten first.
//! - Each may keep [`EACH`] connections, whatever strangers do. Whoever has more is a stranger like others, so that nobody
//!   who shares an address with one that is known takes all places from it.

use std::collections::HashMap;
use std::net::IpAddr;

/// Connections of one known address that make room for no stranger.
pub const EACH: usize = 8;

/// See the module.
#[derive(Debug)]
pub struct Known {
    most: usize,
    /// Counts proofs.
    last: u64,
    /// The number of each address's last proof.
    proven: HashMap<IpAddr, u64>,
}

impl Known {
    /// Nobody yet, of `most` addresses at most.
    pub fn new(most: usize) -> Self {
        Self { most, last: 0, proven: HashMap::new() }
    }

    /// Somebody at `address` proved who they are.
    pub fn prove(&mut self, address: IpAddr) {
        self.last += 1;
        if self.proven.len() >= self.most
            && !self.proven.contains_key(&address)
            && let Some(longest_ago) = self.proven.iter().min_by_key(|(_, last)| **last).map(|(address, _)| *address)
        {
            self.proven.remove(&longest_ago);
        }
        self.proven.insert(address, self.last);
    }

    /// Whether `address` keeps its connections if it has so many.
    pub fn keeps(&self, address: IpAddr, connections: usize) -> bool {
        connections <= EACH && self.proven.contains_key(&address)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn who_proved_it_longest_ago_is_forgotten_first() {
        let mut known = Known::new(2);
        for n in [1, 2, 1, 3] {
            known.prove(address(n));
        }
        assert_eq!([1, 2, 3].map(|n| known.keeps(address(n), 1)), [true, false, true]);
        assert_eq!(known.proven.len(), 2);
    }

    #[test]
    fn who_has_many_connections_is_a_stranger() {
        let mut known = Known::new(2);
        known.prove(address(1));
        assert!(known.keeps(address(1), EACH) && !known.keeps(address(1), EACH + 1) && !known.keeps(address(2), 1));
    }
}
