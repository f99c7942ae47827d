//! The names in the spool: which seqs of which start wait, were sent, are acknowledged. Pure; every field can be
//! computed again from rows.
//!
//! - `acked ≤ sent < next` holds for every stream.
//! - Only the present start gets new names; an ordinal's seqs are contiguous from 1.
//! - No start is forgotten that has frames waiting or that the next hello has to name.

use std::collections::{BTreeMap, BTreeSet};

use gaitway_proto::envelope::Offer;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::limits::MAX_ANCESTORS;

/// How far frames are marked as sent.
pub type SentMarks = Vec<(Epoch, Stream, u64)>;

/// Bits of a row id that hold the seq; the ordinal stands above.
const SEQ_BITS: u32 = 40;

/// Greatest ordinal that a row id can hold.
pub const MAX_ORDINAL: u64 = (1 << (63 - SEQ_BITS)) - 1;

/// Greatest seq that a row id can hold.
pub const MAX_SEQ: u64 = (1 << SEQ_BITS) - 1;

/// The row id of a frame: rows of a stream are in the order in which they are to be sent.
pub fn row_id(ordinal: u64, seq: u64) -> i64 {
    ((ordinal << SEQ_BITS) | seq) as i64
}

/// The seq in a row id.
pub fn seq_of(row_id: i64) -> u64 {
    row_id as u64 & ((1 << SEQ_BITS) - 1)
}

/// The ordinal in a row id.
pub fn ordinal_of(row_id: i64) -> u64 {
    row_id as u64 >> SEQ_BITS
}

/// What a start's row keeps to prove that its ordinal names its epoch.
pub fn checksum(ordinal: u64, epoch: Epoch) -> u32 {
    let [ordinal, epoch] = [ordinal, epoch.get()].map(u64::to_le_bytes);
    crc32c::crc32c_append(crc32c::crc32c(&ordinal), &epoch)
}

/// One stream of one start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Positions {
    /// Greatest acknowledged seq, 0 if none.
    pub acked: u64,
    /// Greatest seq that may have been sent.
    pub sent: u64,
    /// The seq of the next frame.
    pub next: u64,
}

impl Positions {
    /// A stream without frames.
    pub const EMPTY: Self = Self { acked: 0, sent: 0, next: 1 };

    fn waits(&self) -> bool {
        self.acked + 1 < self.next
    }
}

/// All streams of all starts that the spool still knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    starts: BTreeMap<u64, Start>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Start {
    epoch: Epoch,
    /// Whether a relay is known to have welcomed it.
    welcomed: bool,
    /// Brought here from another file: it has frames, but is none of this file's line.
    salvaged: bool,
    streams: BTreeMap<Stream, Positions>,
}

/// A stream of a start, found by its epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moved {
    /// Counts starts.
    pub ordinal: u64,
    /// The stream.
    pub stream: Stream,
    /// Where it stands now.
    pub positions: Positions,
}

impl Queue {
    /// The queue of the start `ordinal` with nothing else known.
    pub fn new(ordinal: u64, epoch: Epoch) -> Self {
        let mut queue = Self { starts: BTreeMap::new() };
        for stream in Stream::ALL {
            queue.restore(ordinal, epoch, stream, Positions::EMPTY);
        }
        queue
    }

    /// Adds a stream of an earlier start as its rows tell it.
    pub fn restore(&mut self, ordinal: u64, epoch: Epoch, stream: Stream, positions: Positions) {
        let new = || Start { epoch, welcomed: false, salvaged: false, streams: BTreeMap::new() };
        self.starts.entry(ordinal).or_insert_with(new).streams.insert(stream, positions);
    }

    /// Notes that a start was brought here from another file.
    pub fn note_salvaged(&mut self, ordinal: u64) {
        if let Some(start) = self.starts.get_mut(&ordinal) {
            start.salvaged = true;
        }
    }

    /// The present start.
    pub fn present(&self) -> (u64, Epoch) {
        let (ordinal, start) = self.starts.last_key_value().expect("a queue holds the present start");
        (*ordinal, start.epoch)
    }

    /// Notes that a relay welcomed a start; whether that is news.
    pub fn note_welcomed(&mut self, ordinal: u64) -> bool {
        self.starts.get_mut(&ordinal).is_some_and(|start| !std::mem::replace(&mut start.welcomed, true))
    }

    /// The last start before the present one that is known to have been welcomed, 0 if none is.
    pub fn last_welcomed(&self) -> u64 {
        self.earlier().find(|(_, start)| start.welcomed).map_or(0, |(ordinal, _)| ordinal)
    }

    /// The starts that a hello names before the present one, newest first.
    pub fn ancestors(&self) -> Vec<Epoch> {
        self.line().map(|(_, start)| start.epoch).collect()
    }

    /// Back to the last start welcomed, or else to the first, which is always among them; beyond the limit the middle
    /// ones are left out.
    fn line(&self) -> impl Iterator<Item = (u64, &Start)> {
        let last = self.earlier().find(|(_, start)| start.welcomed).or_else(|| self.earlier().last());
        let since = last.map_or(0, |(ordinal, _)| ordinal);
        self.earlier().take_while(move |(ordinal, _)| *ordinal > since).take(MAX_ANCESTORS - 1).chain(last)
    }

    /// The starts of this line before the present one.
    fn earlier(&self) -> impl Iterator<Item = (u64, &Start)> {
        self.starts.iter().rev().skip(1).filter(|(_, start)| !start.salvaged).map(|(ordinal, start)| (*ordinal, start))
    }

    /// Ordinals of the present start and those that its hello names before it.
    fn named(&self) -> BTreeSet<u64> {
        self.line().map(|(ordinal, _)| ordinal).chain([self.present().0]).collect()
    }

    /// The seq that the next frame of the present start will have.
    pub fn next(&self, stream: Stream) -> u64 {
        let (_, start) = self.starts.last_key_value().expect("a queue holds the present start");
        start.streams.get(&stream).map_or(Positions::EMPTY.next, |positions| positions.next)
    }

    /// The name of a new frame of the present start: its row id.
    pub fn assign(&mut self, stream: Stream) -> i64 {
        let mut present = self.starts.last_entry().expect("a queue holds the present start");
        let ordinal = *present.key();
        let positions = present.get_mut().streams.entry(stream).or_insert(Positions::EMPTY);
        let seq = positions.next;
        positions.next += 1;
        row_id(ordinal, seq)
    }

    /// Takes an acknowledgement; none if it tells nothing new or names a stream unknown here.
    pub fn acknowledge(&mut self, epoch: Epoch, stream: Stream, up_to: u64) -> Option<Moved> {
        let (ordinal, start) = self.starts.iter_mut().find(|(_, start)| start.epoch == epoch)?;
        let positions = start.streams.get_mut(&stream)?;
        let up_to = up_to.min(positions.next - 1);
        if up_to <= positions.acked {
            return None;
        }
        positions.acked = up_to;
        positions.sent = positions.sent.max(up_to);
        Some(Moved { ordinal: *ordinal, stream, positions: *positions })
    }

    /// Notes that everything here may be sent from now on; gives the streams whose mark moved.
    pub fn mark_sent(&mut self) -> Vec<Moved> {
        let mut moved = Vec::new();
        for (&ordinal, start) in &mut self.starts {
            for (&stream, positions) in &mut start.streams {
                if positions.sent + 1 < positions.next {
                    positions.sent = positions.next - 1;
                    moved.push(Moved { ordinal, stream, positions: *positions });
                }
            }
        }
        moved
    }

    /// A stream of a start, as it stands.
    pub fn find(&self, epoch: Epoch, stream: Stream) -> Option<Moved> {
        let (&ordinal, start) = self.starts.iter().find(|(_, start)| start.epoch == epoch)?;
        start.streams.get(&stream).map(|&positions| Moved { ordinal, stream, positions })
    }

    /// Every stream of every start, as it stands.
    pub fn all(&self) -> Vec<Moved> {
        let streams = |(&ordinal, start): (&u64, &Start)| {
            let moved = |(&stream, &positions): (&Stream, &Positions)| Moved { ordinal, stream, positions };
            start.streams.iter().map(moved).collect::<Vec<_>>()
        };
        self.starts.iter().flat_map(streams).collect()
    }

    /// Greatest seq that may have been sent, for every stream.
    pub fn sent(&self) -> SentMarks {
        let streams = |start: &Start| {
            let epoch = start.epoch;
            start.streams.iter().map(move |(stream, p)| (epoch, *stream, p.sent)).collect::<Vec<_>>()
        };
        self.starts.values().flat_map(streams).collect()
    }

    /// The starts, oldest first, and what of `stream` was never sent there: first and last seq.
    pub fn never_sent(&self, stream: Stream) -> Vec<(u64, u64, u64)> {
        let unsent = |(ordinal, start): (&u64, &Start)| {
            let positions = start.streams.get(&stream)?;
            (positions.sent + 1 < positions.next).then_some((*ordinal, positions.sent + 1, positions.next - 1))
        };
        self.starts.iter().filter_map(unsent).collect()
    }

    /// What to tell the relay: the present start and its ancestors, of which it may know more than is known here, and
    /// every other with frames waiting.
    pub fn offers(&self) -> Vec<Offer> {
        let named = self.named();
        let mut offers = Vec::new();
        for (&ordinal, start) in &self.starts {
            for (&stream, positions) in &start.streams {
                if named.contains(&ordinal) || positions.waits() {
                    let (first, next) = (positions.acked + 1, positions.next);
                    offers.push(Offer { epoch: start.epoch, ordinal, stream, first, next });
                }
            }
        }
        offers
    }

    /// Forgets starts that have nothing waiting and that no hello names any more; gives their ordinals.
    pub fn forget_drained(&mut self) -> Vec<u64> {
        let named = self.named();
        let drained: Vec<u64> = self
            .starts
            .iter()
            .filter(|(ordinal, start)| !named.contains(ordinal) && !start.streams.values().any(Positions::waits))
            .map(|(ordinal, _)| *ordinal)
            .collect();
        for ordinal in &drained {
            self.starts.remove(ordinal);
        }
        drained
    }

    /// Forgets all starts but the present one; gives their ordinals.
    pub fn forget_earlier(&mut self) -> Vec<u64> {
        let (present, _) = self.present();
        let later = self.starts.split_off(&present);
        std::mem::replace(&mut self.starts, later).into_keys().collect()
    }

    /// The first start with frames that wait, and of each of its streams that has some the first of them.
    pub fn oldest_waiting(&self) -> Option<(u64, Vec<(Stream, u64)>)> {
        self.starts.iter().find_map(|(&ordinal, start)| {
            let waiting = start.streams.iter().filter(|(_, positions)| positions.waits());
            let firsts: Vec<_> = waiting.map(|(&stream, positions)| (stream, positions.acked + 1)).collect();
            (!firsts.is_empty()).then_some((ordinal, firsts))
        })
    }

    /// How many frames wait for an acknowledgement.
    pub fn waiting(&self, stream: Stream) -> u64 {
        let streams = self.starts.values().filter_map(|start| start.streams.get(&stream));
        streams.map(|positions| positions.next - 1 - positions.acked).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn epoch(n: u64) -> Epoch {
        Epoch::from_random(n)
    }

    #[test]
    fn rows_are_in_the_order_of_sending() {
        assert!(row_id(1, 9_000_000) < row_id(2, 1));
        let id = row_id(MAX_ORDINAL, 77);
        assert!(id > 0);
        assert_eq!((ordinal_of(id), seq_of(id)), (MAX_ORDINAL, 77));
    }

    #[test]
    fn an_acknowledgement_beyond_the_last_frame_takes_only_what_is_there() {
        let mut queue = Queue::new(1, epoch(1));
        queue.assign(Stream::Raw);
        let moved = queue.acknowledge(epoch(1), Stream::Raw, 50).unwrap();
        assert_eq!(moved.positions, Positions { acked: 1, sent: 1, next: 2 });
        assert_eq!(queue.acknowledge(epoch(1), Stream::Raw, 1), None);
        assert_eq!(queue.acknowledge(epoch(9), Stream::Raw, 1), None);
    }

    #[test]
    fn no_start_is_forgotten_that_has_frames_waiting_or_that_the_next_hello_has_to_name() {
        let mut queue = Queue::new(5, epoch(5));
        for ordinal in 1..=4 {
            let acked = if ordinal == 2 { 3 } else { 4 };
            queue.restore(ordinal, epoch(ordinal), Stream::Raw, Positions { acked, sent: 4, next: 5 });
        }
        assert_eq!(queue.ancestors(), [4, 3, 2, 1].map(epoch), "all, as long as none is known to have been welcomed");
        assert_eq!((queue.last_welcomed(), queue.forget_drained()), (0, vec![]));
        assert!(queue.note_welcomed(3));
        assert!(!queue.note_welcomed(3));
        assert!(queue.note_welcomed(5), "which counts only for the starts after it");
        assert_eq!((queue.last_welcomed(), queue.ancestors()), (3, vec![epoch(4), epoch(3)]));
        assert_eq!(queue.forget_drained(), [1]);
        let offered: Vec<u64> = queue.offers().iter().map(|offer| offer.ordinal).collect();
        assert_eq!(offered, [2, 3, 4, 5, 5]);
    }

    #[test]
    fn a_salvaged_start_is_offered_while_frames_wait_and_is_nobodys_ancestor() {
        let mut queue = Queue::new(5, epoch(5));
        queue.restore(4, epoch(4), Stream::Raw, Positions { acked: 0, sent: 3, next: 4 });
        queue.restore(3, epoch(3), Stream::Raw, Positions::EMPTY);
        queue.note_salvaged(4);
        assert_eq!(queue.ancestors(), [epoch(3)]);
        assert!(queue.offers().iter().any(|offer| offer.ordinal == 4));
        assert!(queue.forget_drained().is_empty());
        queue.acknowledge(epoch(4), Stream::Raw, 3);
        assert_eq!(queue.forget_drained(), [4]);
    }

    #[test]
    fn of_more_ancestors_than_fit_the_newest_are_named_and_the_last_one_welcomed() {
        let most = MAX_ANCESTORS as u64;
        let mut queue = Queue::new(200, epoch(200));
        for ordinal in 1..200 {
            queue.restore(ordinal, epoch(ordinal), Stream::Raw, Positions::EMPTY);
        }
        let line = |oldest: u64| -> Vec<Epoch> { (201 - most..200).rev().chain([oldest]).map(epoch).collect() };
        assert_eq!(queue.ancestors(), line(1), "the first, if none was welcomed");
        queue.note_welcomed(40);
        assert_eq!(queue.ancestors(), line(40));
        assert_eq!(queue.forget_drained(), (1..40).chain(41..201 - most).collect::<Vec<_>>());
        assert_eq!(queue.ancestors(), line(40));
        queue.note_welcomed(200 - most);
        queue.note_welcomed(201 - most);
        assert_eq!(queue.ancestors().len() as u64, most - 1);
        assert_eq!(queue.forget_drained(), [40]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Assign(Stream),
        Ack(u64, Stream, u64),
        Sent,
        Welcomed,
        Restart,
        Forget,
    }

    fn step() -> impl Strategy<Value = Step> {
        let stream = || prop_oneof![Just(Stream::Raw), Just(Stream::Activity)];
        prop_oneof![
            4 => stream().prop_map(Step::Assign),
            3 => (0_u64..6, stream(), 0_u64..30).prop_map(|(e, s, n)| Step::Ack(e, s, n)),
            1 => Just(Step::Sent),
            1 => Just(Step::Welcomed),
            1 => Just(Step::Restart),
            1 => Just(Step::Forget),
        ]
    }

    proptest! {
        #[test]
        fn names_are_contiguous_and_never_given_twice(steps in prop::collection::vec(step(), 1..200)) {
            let mut queue = Queue::new(0, epoch(0));
            let mut given = std::collections::HashSet::new();
            let mut welcomed = BTreeSet::new();
            for step in steps {
                match step {
                    Step::Assign(stream) => {
                        let id = queue.assign(stream);
                        prop_assert!(given.insert((stream, id)));
                        let (ordinal, seq) = (ordinal_of(id), seq_of(id));
                        prop_assert_eq!(ordinal, queue.present().0);
                        prop_assert!(seq == 1 || given.contains(&(stream, row_id(ordinal, seq - 1))));
                    }
                    Step::Ack(of, stream, up_to) => {
                        let before = queue.waiting(stream);
                        queue.acknowledge(epoch(of), stream, up_to);
                        prop_assert!(queue.waiting(stream) <= before);
                    }
                    Step::Sent => {
                        queue.mark_sent();
                        prop_assert!(queue.never_sent(Stream::Raw).is_empty());
                    }
                    Step::Restart => {
                        let ordinal = queue.present().0 + 1;
                        for stream in Stream::ALL {
                            queue.restore(ordinal, epoch(ordinal), stream, Positions::EMPTY);
                        }
                    }
                    Step::Welcomed => {
                        let (ordinal, _) = queue.present();
                        prop_assert_eq!(queue.note_welcomed(ordinal), welcomed.insert(ordinal));
                    }
                    Step::Forget => {
                        let told = |queue: &Queue| (queue.ancestors(), queue.offers());
                        let before = told(&queue);
                        queue.forget_drained();
                        prop_assert_eq!(before, told(&queue));
                    }
                }
                let (present, _) = queue.present();
                let last = welcomed.range(..present).last().copied().unwrap_or(0);
                prop_assert_eq!(queue.last_welcomed(), last);
                prop_assert_eq!(queue.ancestors(), (last..present).rev().map(epoch).collect::<Vec<_>>());
                for start in queue.starts.values() {
                    for p in start.streams.values() {
                        prop_assert!(p.acked <= p.sent && p.sent < p.next, "{:?}", p);
                    }
                }
            }
        }
    }
}
