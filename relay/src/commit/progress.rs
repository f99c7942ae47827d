//! How far one stream is: committed, taken, and what lies between.
//!
//! - The position taken never lies below the committed one, and moves without a hole.
//! - What lies at or below the position taken is dropped.
//! - A missing seq is asked for once in a session.

use std::collections::VecDeque;

use gaitway_proto::envelope::Item;
use gaitway_proto::ledger::Stream;
use gaitway_proto::limits;

use super::durable::Position;
use super::effect::{Entry, Missing, Said, Size};

/// One stream.
#[derive(Debug)]
pub(super) struct Progress {
    stream: Stream,
    ordinal: u64,
    committed: Option<Position>,
    taken: u64,
    waiting: VecDeque<(Entry, Size)>,
    /// Of what waits and of what flies.
    held: Size,
    flying: Size,
    offered: Option<Offered>,
}

/// The stream's part in the agent's session.
#[derive(Debug)]
struct Offered {
    grant: u32,
    /// The greatest grant told: batches may be under way that a smaller one has not reached.
    most: u32,
    /// The seq that was asked for.
    asked: Option<u64>,
}

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taking {
    /// So much was taken, `duplicates` items dropped.
    Took { size: Size, duplicates: u64 },
    /// Nothing was taken: a seq is missing. `ask`: the seq, unless it was asked for before.
    Hole { ask: Option<u64> },
    /// Nothing was taken: the agent has sent more than its grant and a batch.
    TooMuch,
}

impl Progress {
    /// A stream that stands where the ledger has it.
    pub(super) fn new(stream: Stream, ordinal: u64, committed: Option<Position>) -> Self {
        Self {
            stream,
            ordinal,
            committed,
            taken: committed.map_or(0, Position::get),
            waiting: VecDeque::new(),
            held: Size::default(),
            flying: Size::default(),
            offered: None,
        }
    }

    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    pub(super) fn committed(&self) -> Option<Position> {
        self.committed
    }

    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    /// Whether the ledger has nothing of it, and will have nothing of what was taken.
    pub(super) fn is_new(&self) -> bool {
        self.committed.is_none() && self.taken == 0
    }

    /// Memory of what was taken and not committed, bytes.
    pub(super) fn held(&self) -> usize {
        self.held.held
    }

    /// Whether entries wait for a commit.
    pub(super) fn waits(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// A session offers the stream and was granted so many bytes.
    pub(super) fn offer(&mut self, grant: u32) {
        self.offered = Some(Offered { grant, most: grant, asked: None });
    }

    /// The session is over.
    pub(super) fn withdraw(&mut self) {
        self.offered = None;
    }

    pub(super) fn is_offered(&self) -> bool {
        self.offered.is_some()
    }

    /// The session is told this grant from now on.
    pub(super) fn grant(&mut self, grant: u32) {
        if let Some(offered) = &mut self.offered {
            offered.grant = grant;
            offered.most = offered.most.max(grant);
        }
    }

    /// Lowers the grant to `grant`; whether it was higher.
    pub(super) fn narrow(&mut self, grant: u32) -> bool {
        let higher = self.offered.as_ref().is_some_and(|offered| offered.grant > grant);
        if higher {
            self.grant(grant);
        }
        higher
    }

    /// The grant told last, bytes.
    pub(super) fn granted(&self) -> u32 {
        self.offered.as_ref().map_or(0, |offered| offered.grant)
    }

    /// Takes the items of a batch whose first has seq `first`.
    pub(super) fn take(&mut self, first: u64, items: Vec<Item>) -> Taking {
        let due = self.taken + 1;
        if first > due {
            let asked = self.offered.as_mut().and_then(|offered| offered.asked.replace(due));
            return Taking::Hole { ask: (asked != Some(due)).then_some(due) };
        }
        let end = items.iter().fold(first, |seq, item| seq + item.span());
        if end > due && self.is_beyond_grant() {
            return Taking::TooMuch;
        }
        let (mut seq, mut size, mut duplicates) = (first, Size::default(), 0);
        for item in items {
            let next = seq + item.span();
            if next <= self.taken + 1 {
                duplicates += 1;
            } else {
                let from = seq.max(self.taken + 1);
                let said = match item {
                    Item::Frame(frame) => Said::Frame(frame),
                    Item::Gap(gap) => Said::Missing(Box::new(Missing {
                        span: next - from,
                        messages: Some(gap.messages),
                        readings: Some(gap.readings),
                        reason: gap.reason.into(),
                        noticed_at: Some(gap.noticed_at),
                    })),
                };
                size += self.push(Entry { seq: from, said });
            }
            seq = next;
        }
        Taking::Took { size, duplicates }
    }

    /// Takes `missing` in place of the seqs that come next; its size.
    pub(super) fn take_missing(&mut self, missing: Missing) -> Size {
        self.push(Entry { seq: self.taken + 1, said: Said::Missing(Box::new(missing)) })
    }

    /// Whether so much is held that no batch more can be under way within the grants told in this session.
    fn is_beyond_grant(&self) -> bool {
        let most = self.offered.as_ref().map_or(0, |offered| offered.most as usize);
        self.held.wire > most + limits::BATCH_TARGET
    }

    fn push(&mut self, entry: Entry) -> Size {
        let size = entry.size(self.stream);
        self.taken = entry.last_seq();
        self.held += size;
        self.waiting.push_back((entry, size));
        size
    }

    /// Entries for the next commit and their size: the first if there is `room` for it or `force`, more while they stay
    /// within `turn` as well.
    pub(super) fn load(&mut self, turn: Room, room: Room, force: bool) -> (Vec<Entry>, Size) {
        let (mut entries, mut loaded) = (Vec::new(), Size::default());
        while let Some(&(_, size)) = self.waiting.front() {
            let mut together = loaded;
            together += size;
            let fits = if entries.is_empty() {
                force || room.takes(size)
            } else {
                turn.takes(together) && room.takes(together)
            };
            if !fits {
                break;
            }
            loaded = together;
            entries.extend(self.waiting.pop_front().map(|(entry, _)| entry));
        }
        self.flying += loaded;
        (entries, loaded)
    }

    /// What flew is committed up to `up_to`; the memory that it held, bytes.
    pub(super) fn land(&mut self, up_to: Position) -> usize {
        self.committed = Some(up_to);
        let landed = std::mem::take(&mut self.flying);
        self.held -= landed;
        landed.held
    }
}

/// What may still go into a commit.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Of wire size, bytes.
    pub bytes: usize,
    /// Of weight, bytes.
    pub weight: usize,
}

impl Room {
    fn takes(self, size: Size) -> bool {
        size.wire <= self.bytes && size.weight <= self.weight
    }

    /// What is left after `size`.
    pub(super) fn less(self, size: Size) -> Self {
        let (bytes, weight) = (self.bytes.saturating_sub(size.wire), self.weight.saturating_sub(size.weight));
        Self { bytes, weight }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use gaitway_proto::envelope::Gap;
    use gaitway_proto::ledger::{Ledger as _, Mark, Source};

    use super::super::durable::Durable;
    use super::*;
    use crate::memory::MemoryLedger;

    fn frames(n: usize) -> Vec<Item> {
        vec![Item::Frame(Bytes::from_static(b"frame")); n]
    }

    const ALL: Room = Room { bytes: usize::MAX, weight: usize::MAX };

    fn bytes(bytes: usize) -> Room {
        Room { bytes, ..ALL }
    }

    /// What was taken, on the wire, and how many duplicates were dropped.
    fn took(taking: &Taking) -> (usize, u64) {
        let Taking::Took { size, duplicates } = taking else { panic!("{taking:?}") };
        (size.wire, *duplicates)
    }

    fn seqs(progress: &mut Progress) -> Vec<(u64, u64)> {
        progress.load(ALL, ALL, true).0.iter().map(|entry| (entry.seq, entry.last_seq())).collect()
    }

    fn offered() -> Progress {
        let mut progress = Progress::new(Stream::Raw, 1, None);
        progress.offer(100);
        progress
    }

    #[test]
    fn what_lies_at_or_below_the_position_taken_is_dropped() {
        let mut progress = offered();
        assert_eq!(took(&progress.take(1, frames(3))), (27, 0));
        assert_eq!(took(&progress.take(2, frames(3))), (9, 2));
        assert_eq!(took(&progress.take(1, frames(4))), (0, 4));
        assert_eq!(seqs(&mut progress), [(1, 1), (2, 2), (3, 3), (4, 4)]);
    }

    #[test]
    fn a_missing_seq_is_asked_for_once_in_a_session() {
        let mut progress = offered();
        assert_eq!(progress.take(2, frames(1)), Taking::Hole { ask: Some(1) });
        assert_eq!(progress.take(3, frames(1)), Taking::Hole { ask: None });
        progress.take(1, frames(1));
        assert_eq!(progress.take(4, frames(1)), Taking::Hole { ask: Some(2) });
        progress.offer(100);
        assert_eq!(progress.take(4, frames(1)), Taking::Hole { ask: Some(2) });
        assert!(!progress.waits() || progress.taken() == 1);
    }

    #[test]
    fn a_gap_takes_its_seqs_and_only_those_not_taken() {
        let mut progress = offered();
        progress.take(1, frames(2));
        let gap = Gap { span: 5, messages: 5, readings: 50, reason: "full".into(), noticed_at: 7 };
        progress.take(1, vec![Item::Gap(gap), Item::Frame(Bytes::new())]);
        assert_eq!(seqs(&mut progress), [(1, 1), (2, 2), (3, 5), (6, 6)]);
    }

    #[test]
    fn one_batch_may_be_under_way_beyond_the_grant() {
        let large = |seq| (seq, vec![Item::Frame(Bytes::from(vec![0; limits::BATCH_TARGET]))]);
        let mut progress = offered();
        progress.offer(0);
        let (first, items) = large(1);
        assert!(matches!(progress.take(first, items), Taking::Took { .. }));
        let (first, items) = large(2);
        assert_eq!(progress.take(first, items), Taking::TooMuch);
        let (first, items) = large(1);
        assert_eq!(took(&progress.take(first, items)), (0, 1), "told before: no harm");
        progress.grant(limits::BATCH_TARGET as u32);
        assert!(progress.narrow(0));
        let (first, items) = large(2);
        assert!(matches!(progress.take(first, items), Taking::Took { .. }), "sent under the wider grant");
    }

    #[test]
    fn a_frame_larger_than_a_turn_goes_if_it_fits_and_one_larger_than_a_commit_goes_alone() {
        let mut progress = offered();
        progress.take(1, vec![Item::Frame(Bytes::from(vec![0; 96]))]);
        assert!(progress.load(bytes(10), bytes(99), false).0.is_empty());
        assert_eq!(progress.load(bytes(10), bytes(100), false).1.wire, 100);
        progress.take(2, vec![Item::Frame(Bytes::from(vec![0; 96]))]);
        assert_eq!(progress.load(bytes(10), bytes(50), true).1.wire, 100);
    }

    #[test]
    fn a_commit_is_cut_by_what_its_frames_claim_to_become() {
        let mut builder = gaitway_proto::frame::Builder::new();
        (0..10_000).for_each(|_| builder.push_odd(&gaitway_proto::value::Value::Null));
        let header = gaitway_proto::message::Header {
            device: "d".to_owned(),
            session: "s".to_owned(),
            user: None,
            message_id: None,
            received_at: 0,
            clock_synced: false,
        };
        let dense = Bytes::from(builder.finish().seal(&header));
        assert!(dense.len() < 200, "{}", dense.len());
        let mut progress = offered();
        progress.take(1, vec![Item::Frame(dense); 5]);
        let room = Room { bytes: usize::MAX, weight: 10_000_000 };
        assert_eq!(progress.load(ALL, room, false).0.len(), 2);
        let least = Room { bytes: usize::MAX, weight: 0 };
        assert!(progress.load(ALL, least, false).0.is_empty());
        assert_eq!(progress.load(ALL, least, true).0.len(), 1, "the greatest goes alone");
    }

    #[test]
    fn what_is_held_counts_the_smallest_entries_too() {
        let mut progress = offered();
        progress.take(1, vec![Item::Frame(Bytes::new()); 1_000]);
        assert!(progress.held() >= 1_000 * size_of::<(Entry, Size)>());
        progress.load(ALL, ALL, true);
        assert!(progress.held() > 0, "it flies");
        let mut ledger = MemoryLedger::default();
        ledger.recover().unwrap();
        let source = Source::partition("t", 0);
        ledger.submit(&[], &[Mark { source: source.clone(), from: None, to: 1_000 }]).unwrap();
        let durable = Durable::read(&mut ledger, std::slice::from_ref(&source)).unwrap();
        progress.land(durable.position(&source).unwrap());
        assert_eq!((progress.held, progress.flying), (Size::default(), Size::default()));
    }
}
