//! A set of numbers as ranges that neither touch nor overlap: small while numbers come nearly in order.

use std::collections::BTreeMap;

/// First → last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    pub(super) fn contains(&self, number: u64) -> bool {
        self.0.range(..=number).next_back().is_some_and(|(_, last)| *last >= number)
    }

    /// Adds all from `first` to `last`.
    pub(super) fn insert(&mut self, first: u64, last: u64) {
        let (mut first, mut last) = (first, last.max(first));
        while let Some((&from, &to)) = self.0.range(..=last.saturating_add(1)).next_back()
            && to.saturating_add(1) >= first
        {
            self.0.remove(&from);
            (first, last) = (first.min(from), last.max(to));
        }
        self.0.insert(first, last);
    }

    /// What is missing from `least` up to the greatest.
    pub(super) fn holes(&self, least: u64) -> Vec<(u64, u64)> {
        let mut due = least;
        let mut holes = Vec::new();
        for (&first, &last) in &self.0 {
            if first > due {
                holes.push((due, first - 1));
            }
            due = due.max(last.saturating_add(1));
        }
        holes
    }

    /// How many are missing from 0 up to the greatest.
    pub(super) fn missing(&self) -> u64 {
        self.holes(0).into_iter().map(|(first, last)| last - first + 1).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_are_the_set(inserts in prop::collection::vec((0_u64..60, 0_u64..5), 0..40)) {
            let (mut ranges, mut set) = (Ranges::default(), BTreeSet::new());
            for (first, more) in inserts {
                ranges.insert(first, first + more);
                set.extend(first..=first + more);
                for (first, last) in &ranges.0 {
                    prop_assert!(first <= last && !ranges.0.contains_key(&(last + 1)));
                }
            }
            for number in 0..70 {
                prop_assert_eq!(ranges.contains(number), set.contains(&number));
            }
            let greatest = set.last().copied().unwrap_or(0);
            let missing = (0..greatest).filter(|number| !set.contains(number)).count();
            prop_assert_eq!(ranges.missing(), missing as u64);
        }
    }
}
