//! The names in the spool: which seqs of which start wait, were sent, are acknowledged. Pure; every field can be
//! computed again from rows.
//!
//! - `acked ≤ sent < next` holds for every stream.
//! - Only the present start gets new names; an ordinal's seqs are contiguous from 1.

use std::collections::BTreeMap;

use gaitway_proto::envelope::Offer;
use gaitway_proto::ledger::{Epoch, Stream};

/// Bits of a row id that hold the seq; the ordinal stands above.
const SEQ_BITS: u32 = 40;

/// Greatest ordinal that a row id can hold.
pub const MAX_ORDINAL: u64 = (1 << (63 - SEQ_BITS)) - 1;

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
        let start = self.starts.entry(ordinal).or_insert_with(|| Start { epoch, streams: BTreeMap::new() });
        start.streams.insert(stream, positions);
    }

    /// The present start.
    pub fn present(&self) -> (u64, Epoch) {
        let (ordinal, start) = self.starts.last_key_value().expect("a queue holds the present start");
        (*ordinal, start.epoch)
    }

    /// The start before the present one in this data directory.
    pub fn parent(&self) -> Option<Epoch> {
        self.starts.values().rev().nth(1).map(|start| start.epoch)
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

    /// Every stream of every start, as it stands.
    pub fn all(&self) -> Vec<Moved> {
        let streams = |(&ordinal, start): (&u64, &Start)| {
            let moved = |(&stream, &positions): (&Stream, &Positions)| Moved { ordinal, stream, positions };
            start.streams.iter().map(moved).collect::<Vec<_>>()
        };
        self.starts.iter().flat_map(streams).collect()
    }

    /// Greatest seq that may have been sent, for every stream.
    pub fn sent(&self) -> Vec<(Epoch, Stream, u64)> {
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

    /// What to tell the relay: the present start and its parent, and every other with frames waiting.
    pub fn offers(&self) -> Vec<Offer> {
        let kept = self.starts.len().saturating_sub(2);
        let mut offers = Vec::new();
        for (index, (&ordinal, start)) in self.starts.iter().enumerate() {
            for (&stream, positions) in &start.streams {
                if index >= kept || positions.waits() {
                    let (first, next) = (positions.acked + 1, positions.next);
                    offers.push(Offer { epoch: start.epoch, ordinal, stream, first, next });
                }
            }
        }
        offers
    }

    /// Forgets starts before the parent that have nothing waiting; gives their ordinals.
    pub fn forget_drained(&mut self) -> Vec<u64> {
        let kept = self.starts.len().saturating_sub(2);
        let drained: Vec<u64> = self
            .starts
            .iter()
            .take(kept)
            .filter(|(_, start)| !start.streams.values().any(Positions::waits))
            .map(|(ordinal, _)| *ordinal)
            .collect();
        for ordinal in &drained {
            self.starts.remove(ordinal);
        }
        drained
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
    fn the_parent_is_offered_though_drained() {
        let mut queue = Queue::new(3, epoch(3));
        queue.restore(1, epoch(1), Stream::Raw, Positions { acked: 4, sent: 4, next: 5 });
        queue.restore(2, epoch(2), Stream::Raw, Positions { acked: 2, sent: 2, next: 3 });
        assert_eq!(queue.parent(), Some(epoch(2)));
        assert_eq!(queue.forget_drained(), vec![1]);
        let offered: Vec<u64> = queue.offers().iter().map(|offer| offer.ordinal).collect();
        assert_eq!(offered, [2, 3, 3]);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Assign(Stream),
        Ack(u64, Stream, u64),
        Sent,
        Restart,
        Forget,
    }

    fn step() -> impl Strategy<Value = Step> {
        let stream = || prop_oneof![Just(Stream::Raw), Just(Stream::Activity)];
        prop_oneof![
            4 => stream().prop_map(Step::Assign),
            3 => (0_u64..6, stream(), 0_u64..30).prop_map(|(e, s, n)| Step::Ack(e, s, n)),
            1 => Just(Step::Sent),
            1 => Just(Step::Restart),
            1 => Just(Step::Forget),
        ]
    }

    proptest! {
        #[test]
        fn names_are_contiguous_and_never_given_twice(steps in prop::collection::vec(step(), 1..200)) {
            let mut queue = Queue::new(0, epoch(0));
            let mut given = std::collections::HashSet::new();
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
                    Step::Forget => {
                        let waiting = Stream::ALL.map(|stream| queue.waiting(stream));
                        queue.forget_drained();
                        prop_assert_eq!(waiting, Stream::ALL.map(|stream| queue.waiting(stream)));
                    }
                }
                for start in queue.starts.values() {
                    for p in start.streams.values() {
                        prop_assert!(p.acked <= p.sent && p.sent < p.next, "{:?}", p);
                    }
                }
            }
        }
    }
}
