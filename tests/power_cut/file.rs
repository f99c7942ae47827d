//! One file on a disk that may lose power.
//!
//! - What was there when a sync began is durable once it has ended.
//! - Of what came later a cut leaves every sector as it was after some of the writes to it, each sector for itself:
//!   forgotten, whole, torn and in any order.
//! - The length is one that the file had since its last sync; what no write has reached holds zeros or garbage.

use std::collections::HashMap;
use std::sync::Arc;

use super::weather::{Damage, Weather};

/// A change that is not durable yet.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    Write { offset: usize, bytes: Arc<[u8]> },
    Truncate { length: usize },
}

/// What is on the platter and what is on its way there.
#[derive(Debug, Default, Clone)]
pub(crate) struct File {
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// How many changes are durable.
    settled: u64,
}

impl File {
    pub(crate) fn change(&mut self, change: Change) {
        self.pending.push(change);
    }

    /// How many changes there were: what a sync that begins now makes durable.
    pub(crate) fn changes(&self) -> u64 {
        self.settled + self.pending.len() as u64
    }

    /// A sync that began after `changes` has ended.
    pub(crate) fn synced(&mut self, changes: u64) {
        let settled = changes.saturating_sub(self.settled) as usize;
        for change in self.pending.drain(..settled) {
            change.apply(&mut self.durable);
        }
        self.settled += settled as u64;
    }

    /// As every program sees it while the power is on.
    pub(crate) fn live(&self) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        for change in &self.pending {
            change.apply(&mut bytes);
        }
        bytes
    }

    /// What a cut in this weather leaves of it.
    pub(crate) fn cut(&self, weather: &mut Weather) -> Vec<u8> {
        let damage = weather.damage(self.pending.len());
        let sector = weather.sector();
        let bounds = self.bounds(&damage, sector, weather);
        let length = self.length_after(damage.length_after);

        let mut bytes = self.durable.clone();
        for (index, change) in self.pending.iter().enumerate() {
            match change {
                Change::Truncate { length } if index < damage.length_after => bytes.resize(*length, 0),
                Change::Truncate { .. } => {}
                Change::Write { offset, bytes: written } => {
                    for (number, part) in sectors(*offset, written.len(), sector) {
                        if index < bounds[&number] {
                            if bytes.len() < part.end {
                                weather.fill(&mut bytes, part.end);
                            }
                            bytes[part.clone()].copy_from_slice(&written[part.start - offset..part.end - offset]);
                        }
                    }
                }
            }
        }
        for number in weather.destroyed(bounds.keys().copied().filter(|n| self.is_hit(*n, &damage, sector))) {
            let end = ((number + 1) * sector).min(bytes.len());
            if let Some(lost) = bytes.get_mut(number * sector..end) {
                weather.garbage(lost);
            }
        }
        bytes.truncate(length);
        weather.fill(&mut bytes, length);
        bytes
    }

    /// For each sector that a change touches: only changes before this one have reached it.
    fn bounds(&self, damage: &Damage, sector: usize, weather: &mut Weather) -> HashMap<usize, usize> {
        let mut touching: Vec<(usize, usize)> = Vec::new();
        for (index, change) in self.pending.iter().enumerate() {
            if let Change::Write { offset, bytes } = change {
                touching.extend(sectors(*offset, bytes.len(), sector).map(|(number, _)| (number, index)));
            }
        }
        touching.sort_unstable();
        let chunks = touching.chunk_by(|a, b| a.0 == b.0);
        chunks.map(|chunk| (chunk[0].0, weather.bound(damage, chunk.iter().map(|(_, index)| *index)))).collect()
    }

    /// Whether the change that was under way touches the sector.
    fn is_hit(&self, sector_number: usize, damage: &Damage, sector: usize) -> bool {
        match self.pending.get(damage.under_way) {
            Some(Change::Write { offset, bytes }) => {
                sectors(*offset, bytes.len(), sector).any(|(number, _)| number == sector_number)
            }
            _ => false,
        }
    }

    fn length_after(&self, changes: usize) -> usize {
        self.pending[..changes].iter().fold(self.durable.len(), |length, change| match change {
            Change::Write { offset, bytes } => length.max(offset + bytes.len()),
            Change::Truncate { length } => *length,
        })
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Write { offset, bytes } => {
                let end = offset + bytes.len();
                if file.len() < end {
                    file.resize(end, 0);
                }
                file[*offset..end].copy_from_slice(bytes);
            }
            Self::Truncate { length } => file.resize(*length, 0),
        }
    }
}

/// The sectors of a range of bytes and the part of the range in each.
fn sectors(offset: usize, length: usize, sector: usize) -> impl Iterator<Item = (usize, std::ops::Range<usize>)> {
    let end = offset + length;
    (offset / sector..end.div_ceil(sector))
        .map(move |number| (number, offset.max(number * sector)..end.min((number + 1) * sector)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SPAN: usize = 6 * 512;

    fn change() -> impl Strategy<Value = Change> {
        prop_oneof![
            4 => (0..SPAN, prop::collection::vec(1_u8.., 1..1200))
                .prop_map(|(offset, bytes)| Change::Write { offset, bytes: bytes.into() }),
            1 => (0..SPAN).prop_map(|length| Change::Truncate { length }),
        ]
    }

    /// The file after each number of changes.
    fn states(changes: &[Change]) -> Vec<Vec<u8>> {
        let mut states = vec![Vec::new()];
        for change in changes {
            let mut next = states.last().unwrap().clone();
            change.apply(&mut next);
            states.push(next);
        }
        states
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_was_synced_survives_every_cut(
            changes in prop::collection::vec(change(), 0..12), synced in 0_usize..12, seed: u64,
        ) {
            let synced = synced.min(changes.len());
            let mut file = File::default();
            for (index, change) in changes.iter().enumerate() {
                if index == synced {
                    file.synced(file.changes());
                }
                file.change(change.clone());
            }
            if synced == changes.len() {
                file.synced(file.changes());
            }
            let states = states(&changes);
            prop_assert_eq!(&file.live(), states.last().unwrap());

            let image = file.cut(&mut Weather::new(seed));
            prop_assert!(states[synced..].iter().any(|state| state.len() == image.len()), "a length it never had");
            for (at, byte) in states[synced].iter().enumerate() {
                let touched = changes[synced..].iter().any(|change| match change {
                    Change::Write { offset, bytes } => (*offset..offset + bytes.len()).contains(&at),
                    Change::Truncate { length } => *length <= at,
                });
                prop_assert!(touched || image.get(at) == Some(byte), "byte {} changed", at);
            }
        }

        #[test]
        fn a_sector_is_as_it_was_after_some_write(
            changes in prop::collection::vec(change(), 1..8), seed: u64,
        ) {
            // Truncation aside, which may leave garbage behind the end.
            let changes: Vec<_> = changes.into_iter().filter(|c| matches!(c, Change::Write { .. })).collect();
            let mut file = File::default();
            file.change(Change::Truncate { length: 2 * SPAN });
            file.synced(file.changes());
            for change in &changes {
                file.change(change.clone());
            }
            let mut states = states(&changes);
            for state in &mut states {
                state.resize(2 * SPAN, 0);
            }

            let image = file.cut(&mut Weather::new(seed));
            prop_assert_eq!(image.len(), 2 * SPAN);
            for (number, sector) in image.chunks(512).enumerate() {
                let was = states.iter().any(|state| &state[number * 512..number * 512 + sector.len()] == sector);
                prop_assert!(was, "sector {} was never so", number);
            }
        }
    }

    #[test]
    fn a_sync_covers_what_was_there_when_it_began() {
        let mut file = File::default();
        file.change(Change::Write { offset: 0, bytes: [1; 512].into() });
        let began = file.changes();
        file.change(Change::Write { offset: 512, bytes: [2; 512].into() });
        file.synced(began);
        assert_eq!(file.pending.len(), 1);
        assert_eq!(file.durable, [1; 512]);
        file.synced(began);
        assert_eq!(file.pending.len(), 1, "a later end of an earlier sync");
    }

    #[test]
    fn cuts_forget_tear_and_reorder() {
        let mut file = File::default();
        file.change(Change::Truncate { length: 4096 });
        file.synced(file.changes());
        file.change(Change::Write { offset: 0, bytes: [1; 2048].into() });
        file.change(Change::Write { offset: 2048, bytes: [2; 2048].into() });
        let images: Vec<_> = (0..200).map(|seed| file.cut(&mut Weather::new(seed))).collect();
        let found =
            |wanted: &dyn Fn(&[u8], &[u8]) -> bool| images.iter().any(|image| wanted(&image[..2048], &image[2048..]));
        let (all, none) = (|bytes: &[u8], value| bytes.iter().all(|b| *b == value), 0);
        assert!(found(&|first, second| all(first, none) && all(second, none)), "forgotten");
        assert!(found(&|first, second| all(first, 1) && all(second, 2)), "kept");
        assert!(found(&|first, second| all(first, none) && all(second, 2)), "reordered");
        assert!(found(&|first, _| !all(first, none) && !all(first, 1)), "torn");
    }
}
