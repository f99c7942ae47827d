//! How many may follow the events at a time.
//!
//! - Never are there more than [`ALL`], nor more than [`OF_ONE`] from one address: a place of the listener that is held for
//!   hours is one that no phone has.
//! - Whoever finds no place is told, and asks for the status now and then instead.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Viewers at a time.
pub(super) const ALL: usize = 32;

/// Of these, from one address.
pub(super) const OF_ONE: usize = 8;

/// The viewers. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Viewers(Arc<Mutex<HashMap<Option<IpAddr>, usize>>>);

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPlace {
    /// This address has as many as it may.
    OfOne,
    /// All are taken.
    AtAll,
}

/// A viewer's place, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    viewers: Viewers,
    address: Option<IpAddr>,
}

impl Viewers {
    /// A place for a viewer from `address`.
    pub(super) fn admit(&self, address: Option<IpAddr>) -> Result<Place, NoPlace> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.get(&address).is_some_and(|count| *count >= OF_ONE) {
            return Err(NoPlace::OfOne);
        }
        if counts.values().sum::<usize>() >= ALL {
            return Err(NoPlace::AtAll);
        }
        *counts.entry(address).or_default() += 1;
        Ok(Place { viewers: self.clone(), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.viewers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn from(viewers: &Viewers, number: u8) -> Result<Place, NoPlace> {
        viewers.admit(Some(IpAddr::from([192, 0, 2, number])))
    }

    #[test]
    fn no_address_takes_all_places_and_a_place_that_is_left_is_free() {
        let viewers = Viewers::default();
        let mut own: Vec<_> = (0..OF_ONE).map(|_| from(&viewers, 1).unwrap()).collect();
        assert_eq!(from(&viewers, 1).unwrap_err(), NoPlace::OfOne);
        let others: Vec<_> = (0..ALL - OF_ONE).map(|n| from(&viewers, 2 + (n / OF_ONE) as u8).unwrap()).collect();
        assert_eq!(from(&viewers, 99).unwrap_err(), NoPlace::AtAll);
        own.pop();
        let newcomer = from(&viewers, 99).unwrap();
        assert_eq!(from(&viewers, 1).unwrap_err(), NoPlace::AtAll);
        drop((own, others, newcomer));
        assert!(viewers.0.lock().unwrap().is_empty(), "nothing is kept of who has left");
    }
}
