//! The memory that records of all partitions may take while they wait for their submits.
//!
//! - One record of each partition may always be held, however great.
//! - A partition may hold as much as is free beside it: one alone has one half, each of `n` that want more one part of `n + 1`.
//!   (Dynamic thresholds: Choudhury and Hahne, 1998.) So none takes all, and what is behind it does not wait for its submit.
//! - What was claimed is given back when the claim is dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A claim that is smaller is not worth a submit of its own while it may grow.
const LEAST_HALF: usize = 1024 * 1024;

/// What all partitions together may hold. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Budget {
    held: Arc<AtomicUsize>,
    most: usize,
}

/// What one partition holds.
#[derive(Debug)]
pub(super) struct Claim {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    pub(super) fn new(most: usize) -> Self {
        Self { held: Arc::default(), most }
    }

    /// Bytes held now.
    pub(super) fn held(&self) -> usize {
        self.held.load(Relaxed)
    }

    /// A claim of nothing.
    pub(super) fn claim(&self) -> Claim {
        Claim { budget: self.clone(), bytes: 0 }
    }
}

impl Claim {
    /// Whether another record may be taken.
    pub(super) fn has_room(&self) -> bool {
        self.bytes == 0 || self.bytes < self.budget.most.saturating_sub(self.budget.held())
    }

    /// Whether it is great, and half of what it may come to: the rest is for what is read while this is submitted.
    pub(super) fn is_half(&self) -> bool {
        self.bytes >= LEAST_HALF && self.bytes * 3 >= self.budget.most.saturating_sub(self.budget.held())
    }

    /// A record was taken.
    pub(super) fn add(&mut self, bytes: usize) {
        self.bytes += bytes;
        self.budget.held.fetch_add(bytes, Relaxed);
    }

    /// So much is not held any more.
    pub(super) fn give_back(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        self.budget.held.fetch_sub(bytes, Relaxed);
    }

    /// Nothing is held any more.
    pub(super) fn clear(&mut self) {
        self.give_back(self.bytes);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_record_of_each_partition_may_always_be_held() {
        let budget = Budget::new(10);
        let (mut one, mut other) = (budget.claim(), budget.claim());
        assert!(one.has_room());
        one.add(25);
        assert!(!one.has_room() && other.has_room());
        other.add(3);
        assert!(!other.has_room());
        one.give_back(20);
        assert_eq!(budget.held(), 8);
        assert!(!one.has_room(), "the other may have as much");
        drop(one);
        other.clear();
        other.give_back(9);
        assert_eq!(budget.held(), 0);
    }

    #[test]
    fn a_great_claim_is_submitted_at_half_so_that_there_is_room_to_read_meanwhile() {
        let budget = Budget::new(16 * LEAST_HALF);
        let mut claim = budget.claim();
        while !claim.is_half() {
            assert!(claim.has_room());
            claim.add(1024);
        }
        assert!(claim.bytes.abs_diff(4 * LEAST_HALF) <= 1024 && claim.has_room(), "{claim:?}");
        let small = Budget::new(2 * LEAST_HALF - 1024);
        let mut claim = small.claim();
        while claim.has_room() {
            assert!(!claim.is_half());
            claim.add(1024);
        }
    }

    #[test]
    fn what_there_is_is_shared_by_those_who_want_it() {
        for wanting in [1, 2, 17] {
            let budget = Budget::new(18 * 1000);
            let mut claims: Vec<_> = (0..wanting).map(|_| budget.claim()).collect();
            for _ in 0..20 * 1000 {
                claims.iter_mut().filter(|claim| claim.has_room()).for_each(|claim| claim.add(1));
            }
            let part = 18 * 1000 / (wanting + 1);
            assert!(claims.iter().all(|claim| claim.bytes.abs_diff(part) <= wanting), "{claims:?}");
        }
    }
}
