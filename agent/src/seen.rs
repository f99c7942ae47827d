//! Which messages of a session were accepted before.
//!
//! - A message is known by its `messageId`; order does not matter.
//! - Without a usable id it is known by its body's hash, among the last [`BODIES`] of the session.
//! - A known id with another body is no duplicate: it is accepted once under its body's hash, and counted as a conflict.
//!   That is told apart for the last [`BODIES`] bodies; further back the id alone decides.
//!
//! Pure: [`Seen::judge`] decides, [`Seen::admit`] says which rows change.

use std::collections::{BTreeMap, VecDeque};

/// How many bodies of a session are remembered.
pub const BODIES: usize = 1000;

/// What is known of one (device, session).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    ranges: Ranges,
    /// How many ids are in them.
    held: u64,
    /// The last bodies, oldest first.
    bodies: VecDeque<Body>,
    /// How many bodies were ever remembered.
    count: u64,
}

/// A body that was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Body {
    /// XXH3-128.
    pub hash: u128,
    /// The `messageId` it was accepted under; none if under its hash.
    pub id: Option<u64>,
}

/// What to do with a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// New: accept it under this id, or under its hash.
    New(Option<u64>),
    /// Its id belongs to another body: accept it under its hash and count a conflict.
    Conflict,
    /// Accepted before: answer and store nothing.
    Duplicate,
}

/// The rows that change when a message is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Ranges (by their first id) that are no more.
    pub removed: Vec<u64>,
    /// The range that holds the id now.
    pub range: Option<(u64, u64)>,
    /// The place of the body in the ring of the last [`BODIES`].
    pub slot: u64,
    /// How many bodies were remembered before this one.
    pub number: u64,
    /// The body.
    pub body: Body,
}

impl Seen {
    /// From stored rows: ranges (first, last) in any order, bodies oldest first, and how many there ever were.
    pub fn from_rows(ranges: impl IntoIterator<Item = (u64, u64)>, bodies: VecDeque<Body>, count: u64) -> Self {
        let ranges = Ranges(ranges.into_iter().collect());
        let held = ranges.0.iter().fold(0_u64, |held, (first, last)| held.saturating_add(last - first + 1));
        Self { ranges, held, bodies, count }
    }

    /// Whether a message with this id and body hash is new.
    pub fn judge(&self, id: Option<u64>, hash: u128) -> Verdict {
        let Some(id) = id else {
            return if self.has_body(hash) { Verdict::Duplicate } else { Verdict::New(None) };
        };
        if !self.ranges.contains(id) {
            return Verdict::New(Some(id));
        }
        let first = self.bodies.iter().find(|body| body.id == Some(id));
        match first {
            Some(first) if first.hash != hash && !self.has_body(hash) => Verdict::Conflict,
            _ => Verdict::Duplicate,
        }
    }

    /// Remembers a message under `id`, or under its hash.
    pub fn admit(&mut self, id: Option<u64>, hash: u128) -> Change {
        let (removed, range) = match id {
            Some(id) => {
                let (removed, range) = self.ranges.insert(id);
                self.held = self.held.saturating_add(1);
                (removed, Some(range))
            }
            None => (Vec::new(), None),
        };
        let body = Body { hash, id };
        if self.bodies.len() == BODIES {
            self.bodies.pop_front();
        }
        self.bodies.push_back(body);
        let number = self.count;
        self.count += 1;
        Change { removed, range, slot: number % BODIES as u64, number, body }
    }

    /// The ids that were accepted: first and last of each range, rising.
    pub fn ranges(&self) -> Vec<(u64, u64)> {
        self.ranges.0.iter().map(|(first, last)| (*first, *last)).collect()
    }

    /// How many ids below the greatest are missing: pushes lost between phone and agent, or still on their way.
    pub fn holes(&self) -> u64 {
        let Some((_, greatest)) = self.ranges.0.last_key_value() else { return 0 };
        (greatest + 1).saturating_sub(self.held)
    }

    /// The last bodies, oldest first.
    pub fn bodies(&self) -> impl Iterator<Item = Body> {
        self.bodies.iter().copied()
    }

    /// Whether an id was accepted, with whatever body.
    pub fn has_id(&self, id: u64) -> bool {
        self.ranges.contains(id)
    }

    /// Whether a body is among the last ones.
    pub fn has_body(&self, hash: u128) -> bool {
        self.bodies.iter().any(|body| body.hash == hash)
    }
}

/// A set of ids as ranges, first → last, that neither touch nor overlap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn contains(&self, id: u64) -> bool {
        self.0.range(..=id).next_back().is_some_and(|(_, last)| *last >= id)
    }

    /// Adds an id that is not contained; gives the ranges that are no more and the one that holds it now.
    fn insert(&mut self, id: u64) -> (Vec<u64>, (u64, u64)) {
        let below = self.0.range(..id).next_back().filter(|(_, last)| **last + 1 == id).map(|(first, _)| *first);
        let above = self.0.remove(&(id + 1));
        let first = below.unwrap_or(id);
        let last = above.unwrap_or(id);
        self.0.insert(first, last);
        (above.map(|_| id + 1).into_iter().collect(), (first, last))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    fn push(seen: &mut Seen, id: Option<u64>, hash: u128) -> Verdict {
        let verdict = seen.judge(id, hash);
        match verdict {
            Verdict::New(id) => drop(seen.admit(id, hash)),
            Verdict::Conflict => drop(seen.admit(None, hash)),
            Verdict::Duplicate => {}
        }
        verdict
    }

    #[test]
    fn order_does_not_matter() {
        let mut seen = Seen::default();
        for id in (0..100).rev() {
            assert_eq!(push(&mut seen, Some(id), u128::from(id)), Verdict::New(Some(id)));
        }
        assert_eq!(seen.ranges.0, BTreeMap::from([(0, 99)]));
        assert_eq!(seen.holes(), 0);
        for id in 0..100 {
            assert_eq!(push(&mut seen, Some(id), u128::from(id)), Verdict::Duplicate);
        }
    }

    #[test]
    fn an_id_reused_with_another_body_is_accepted_once_under_its_hash() {
        let mut seen = Seen::default();
        push(&mut seen, Some(5), 1);
        assert_eq!(push(&mut seen, Some(5), 2), Verdict::Conflict);
        assert_eq!(push(&mut seen, Some(5), 2), Verdict::Duplicate);
        assert_eq!(push(&mut seen, Some(5), 1), Verdict::Duplicate);
        assert_eq!(push(&mut seen, Some(5), 3), Verdict::Conflict);
    }

    #[test]
    fn a_body_without_an_id_is_known_by_its_hash() {
        let mut seen = Seen::default();
        assert_eq!(push(&mut seen, None, 9), Verdict::New(None));
        assert_eq!(push(&mut seen, None, 9), Verdict::Duplicate);
        assert_eq!(push(&mut seen, Some(0), 9), Verdict::New(Some(0)));
    }

    #[test]
    fn beyond_the_last_bodies_the_id_alone_decides() {
        let mut seen = Seen::default();
        for id in 0..=BODIES as u64 {
            push(&mut seen, Some(id), u128::from(id));
        }
        assert_eq!(push(&mut seen, Some(0), 77), Verdict::Duplicate);
        assert_eq!(seen.bodies.len(), BODIES);
    }

    proptest! {
        #[test]
        fn every_message_is_accepted_exactly_once(
            pushes in prop::collection::vec((prop::option::of(0_u64..40), 0_u128..4), 1..300),
        ) {
            let mut seen = Seen::default();
            let (mut by_id, mut hashes) = (HashMap::new(), HashSet::new());
            // Rows as the spool keeps them.
            let (mut ranges, mut ring) = (BTreeMap::new(), BTreeMap::new());
            for (id, hash) in pushes {
                let hash = hash + 10 * u128::from(id.unwrap_or(1000));
                let expected = match id {
                    None if hashes.contains(&hash) => Verdict::Duplicate,
                    None => Verdict::New(None),
                    Some(id) => match by_id.get(&id) {
                        None => Verdict::New(Some(id)),
                        Some(first) if *first == hash || hashes.contains(&hash) => Verdict::Duplicate,
                        Some(_) => Verdict::Conflict,
                    },
                };
                prop_assert_eq!(seen.judge(id, hash), expected);
                let under = match expected {
                    Verdict::Duplicate => continue,
                    Verdict::New(id) => id,
                    Verdict::Conflict => None,
                };
                if let Some(id) = under {
                    by_id.insert(id, hash);
                }
                hashes.insert(hash);
                let change = seen.admit(under, hash);
                for first in change.removed {
                    ranges.remove(&first);
                }
                ranges.extend(change.range);
                ring.insert(change.slot, change.body);
                let bodies = ring.values().copied().collect();
                let loaded = Seen::from_rows(ranges.clone(), bodies, change.number + 1);
                prop_assert_eq!(&loaded, &seen);
                let expected_holes = by_id.keys().max().map_or(0, |max| max + 1 - by_id.len() as u64);
                prop_assert_eq!(seen.holes(), expected_holes);
            }
        }
    }
}
