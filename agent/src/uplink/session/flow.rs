//! One stream's way through one session: what was sent, what came back.
//!
//! - The cursor never falls below the seq after the last one acknowledged.
//! - Bytes in flight stay within the grant, except that one batch may always be under way.
//! - An acknowledgement beyond what was sent in this session is none.
//! - One missing seq rewinds the cursor once.

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gaitway_proto::envelope::{Ack, Batch, Granted, Item, Offer, Session};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::limits::{BATCH_TARGET, MAX_BATCH_ITEMS, MAX_FRAME};

use super::BatchId;

/// Written frames that stay unacknowledged this long mean that the session is lost.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// While something is in flight, a read waits for at least this much room: small batches cost commits.
const LEAST_READ: usize = 16 * 1024;

/// Greatest item that still fits a payload.
const MAX_ITEM: usize = MAX_FRAME + 64;

/// The order in which streams are sent: oldest start first, `activity` before `raw`.
pub(super) type Turn = (u64, Epoch, Reverse<Stream>);

/// Where a stream stands in the present session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// Not part of the hello.
    Unknown,
    /// In the hello, not welcomed yet.
    Offered,
    /// Welcomed, with so many bytes.
    Granted(u32),
}

/// What the relay's position at a welcome means for a stream.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// Nothing new.
    Known,
    /// Frames up to here are acknowledged.
    UpTo(u64),
    /// The relay has frames that were never named here.
    Ahead,
}

/// What became of items that were read.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Loaded {
    /// They left as this batch.
    Sent(Batch),
    /// They have to wait for room.
    NoRoom,
    /// There were none.
    Nothing,
    /// The first is so large (bytes) that no packet can carry it.
    TooLarge(usize),
}

#[derive(Debug)]
struct Flight {
    id: BatchId,
    first: u64,
    last: u64,
    bytes: usize,
    written: bool,
}

#[derive(Debug)]
pub(super) struct Flow {
    pub(super) epoch: Epoch,
    pub(super) stream: Stream,
    ordinal: u64,
    /// Greatest seq acknowledged, 0 if none.
    acked: u64,
    /// Seq of the frame that comes after the spool's newest.
    next: u64,
    pub(super) standing: Standing,
    /// The seq to send next.
    cursor: u64,
    /// Greatest seq sent in this session.
    reach: u64,
    flights: VecDeque<Flight>,
    /// The seq of the last rewind.
    rewound: Option<u64>,
    /// Size of an item that found no room.
    needs: usize,
    /// When something last came back or left.
    moved: Option<Instant>,
}

impl Flow {
    pub(super) fn new(offer: &Offer) -> Self {
        let acked = offer.first.saturating_sub(1);
        Self {
            epoch: offer.epoch,
            stream: offer.stream,
            ordinal: offer.ordinal,
            acked,
            next: offer.next,
            standing: Standing::Unknown,
            cursor: acked + 1,
            reach: acked,
            flights: VecDeque::new(),
            rewound: None,
            needs: 0,
            moved: None,
        }
    }

    pub(super) fn turn(&self) -> Turn {
        (self.ordinal, self.epoch, Reverse(self.stream))
    }

    /// Counts starts.
    pub(super) fn ordinal(&self) -> u64 {
        self.ordinal
    }

    pub(super) fn is(&self, epoch: Epoch, stream: Stream) -> bool {
        self.epoch == epoch && self.stream == stream
    }

    /// Takes over the spool's view, which may be older than what this session knows.
    pub(super) fn follow(&mut self, offer: &Offer) {
        self.next = self.next.max(offer.next);
        self.acknowledge(offer.first.saturating_sub(1));
    }

    pub(super) fn offer(&self) -> Offer {
        let first = self.acked + 1;
        Offer { epoch: self.epoch, ordinal: self.ordinal, stream: self.stream, first, next: self.next.max(first) }
    }

    pub(super) fn cursor(&self) -> u64 {
        self.cursor
    }

    pub(super) fn next(&self) -> u64 {
        self.next
    }

    pub(super) fn acked(&self) -> u64 {
        self.acked
    }

    /// Whether frames are unacknowledged.
    pub(super) fn undrained(&self) -> bool {
        self.acked + 1 < self.next
    }

    /// Whether frames wait to be sent.
    pub(super) fn waiting(&self) -> bool {
        self.cursor < self.next
    }

    pub(super) fn in_flight(&self) -> usize {
        self.flights.iter().map(|f| f.bytes).sum()
    }

    /// Forgets the session: everything unacknowledged has to be sent again.
    pub(super) fn reset(&mut self) {
        self.standing = Standing::Unknown;
        self.cursor = self.acked + 1;
        self.reach = self.acked;
        self.flights.clear();
        self.rewound = None;
        self.needs = 0;
        self.moved = None;
    }

    pub(super) fn welcome(&mut self, granted: &Granted) -> Committed {
        self.standing = Standing::Granted(granted.grant);
        if granted.committed >= self.next {
            Committed::Ahead
        } else if self.acknowledge(granted.committed) {
            Committed::UpTo(granted.committed)
        } else {
            Committed::Known
        }
    }

    /// Takes every frame that has a name for acknowledged; the last of them, if that is news.
    pub(super) fn acknowledge_all(&mut self) -> Option<u64> {
        let last = self.next.saturating_sub(1);
        self.acknowledge(last).then_some(last)
    }

    /// `None` if the acknowledgement is not one of this session; else whether it was news.
    pub(super) fn ack(&mut self, now: Instant, ack: &Ack) -> Option<bool> {
        if !matches!(self.standing, Standing::Granted(_)) || ack.up_to > self.reach {
            return None;
        }
        self.standing = Standing::Granted(ack.grant);
        let news = self.acknowledge(ack.up_to);
        if news {
            self.moved = Some(now);
        }
        Some(news)
    }

    fn acknowledge(&mut self, up_to: u64) -> bool {
        if up_to <= self.acked {
            return false;
        }
        self.acked = up_to;
        self.next = self.next.max(up_to + 1);
        self.cursor = self.cursor.max(up_to + 1);
        self.reach = self.reach.max(up_to);
        while self.flights.front().is_some_and(|f| f.last <= up_to) {
            self.flights.pop_front();
        }
        true
    }

    /// Goes back to `next`; whether there was reason to.
    pub(super) fn rewind(&mut self, next: u64) -> bool {
        let granted = matches!(self.standing, Standing::Granted(_));
        if !granted || next <= self.acked || next >= self.cursor || self.rewound == Some(next) {
            return false;
        }
        self.rewound = Some(next);
        self.cursor = next;
        while self.flights.back().is_some_and(|f| f.first >= next) {
            self.flights.pop_back();
        }
        if let Some(cut) = self.flights.back_mut() {
            cut.last = cut.last.min(next - 1);
        }
        while self.flights.back().is_some_and(|f| f.last <= self.acked) {
            self.flights.pop_back();
        }
        true
    }

    /// How many bytes the next read may bring; none if it has to wait.
    pub(super) fn room(&self) -> Option<usize> {
        let Standing::Granted(grant) = self.standing else { return None };
        if self.flights.is_empty() {
            return Some(BATCH_TARGET);
        }
        let room = (grant as usize).saturating_sub(self.in_flight());
        (room >= self.needs.max(LEAST_READ)).then(|| room.min(BATCH_TARGET).max(self.needs))
    }

    /// Sends as many of `items`, read from the cursor on, as there is room for.
    pub(super) fn load(&mut self, now: Instant, session: Session, id: BatchId, mut items: Vec<Item>) -> Loaded {
        let Some(first_size) = items.first().map(Item::size) else { return Loaded::Nothing };
        if first_size > MAX_ITEM {
            return Loaded::TooLarge(first_size);
        }
        let grant = if let Standing::Granted(grant) = self.standing { grant as usize } else { 0 };
        let room = grant.saturating_sub(self.in_flight());
        if !self.flights.is_empty() && first_size > room {
            self.needs = first_size;
            return Loaded::NoRoom;
        }
        let limit = if self.flights.is_empty() { BATCH_TARGET } else { BATCH_TARGET.min(room) };
        let mut bytes = first_size;
        let fitting = items.iter().skip(1).take(MAX_BATCH_ITEMS - 1).take_while(|item| {
            bytes += item.size();
            bytes <= limit
        });
        let count = 1 + fitting.count();
        items.truncate(count);

        let first = self.cursor;
        let last = items.iter().fold(first - 1, |at, item| at.saturating_add(item.span()));
        let bytes = items.iter().map(Item::size).sum();
        self.flights.push_back(Flight { id, first, last, bytes, written: false });
        self.cursor = last + 1;
        self.next = self.next.max(self.cursor);
        self.reach = self.reach.max(last);
        self.needs = 0;
        self.moved = Some(now);
        Loaded::Sent(Batch { session, epoch: self.epoch, stream: self.stream, first, items })
    }

    /// The batch has left this machine's hands.
    pub(super) fn written(&mut self, now: Instant, id: BatchId) {
        if let Some(flight) = self.flights.iter_mut().find(|f| f.id == id) {
            flight.written = true;
            self.moved = Some(now);
        }
    }

    /// When the session is lost unless something is acknowledged; none while a batch still leaves.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        let all_written = !self.flights.is_empty() && self.flights.iter().all(|f| f.written);
        if all_written { self.moved.map(|at| at + PATIENCE) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    const SESSION: Session = 7;

    fn flow(next: u64, grant: u32) -> Flow {
        let epoch = Epoch::from_random(1);
        let mut flow = Flow::new(&Offer { epoch, ordinal: 1, stream: Stream::Raw, first: 1, next });
        flow.welcome(&Granted { epoch, stream: Stream::Raw, committed: 0, grant });
        flow
    }

    fn items(sizes: &[usize]) -> Vec<Item> {
        sizes.iter().map(|size| Item::Frame(Bytes::from(vec![0; *size]))).collect()
    }

    fn ack(up_to: u64, grant: u32) -> Ack {
        Ack { session: SESSION, epoch: Epoch::from_random(1), stream: Stream::Raw, up_to, grant }
    }

    fn sent(loaded: Loaded) -> Batch {
        if let Loaded::Sent(batch) = loaded { batch } else { panic!("{loaded:?}") }
    }

    #[derive(Debug, Clone)]
    enum Step {
        Load(Vec<usize>),
        Ack(u64, u32),
        Rewind(u64),
        Push(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let size = prop_oneof![8 => 0..20_000usize, 1 => Just(300_000usize)];
        let grant = prop_oneof![Just(0), 0..400_000u32];
        prop_oneof![
            6 => prop::collection::vec(size, 1..20).prop_map(Step::Load),
            4 => (0..60u64, grant).prop_map(|(up_to, grant)| Step::Ack(up_to, grant)),
            1 => (0..60u64).prop_map(Step::Rewind),
            2 => (1..9u64).prop_map(Step::Push),
        ]
    }

    proptest! {
        #[test]
        fn bytes_in_flight_stay_within_the_grant_except_that_one_batch_may_always_be_under_way(
            steps in prop::collection::vec(step(), 0..100)
        ) {
            let now = Instant::now();
            let mut flow = flow(20, 100_000);
            let mut grant = 100_000;
            let mut reach = 0;
            for (id, step) in steps.into_iter().enumerate() {
                let acked = flow.acked();
                match step {
                    Step::Load(sizes) => {
                        let Some(room) = flow.room() else { continue };
                        prop_assert!(room >= LEAST_READ);
                        let (alone, cursor) = (flow.flights.is_empty(), flow.cursor());
                        match flow.load(now, SESSION, id as BatchId, items(&sizes)) {
                            Loaded::Sent(batch) => {
                                let bytes: usize = batch.items.iter().map(Item::size).sum();
                                prop_assert_eq!(batch.first, cursor);
                                prop_assert!(alone || flow.in_flight() <= grant as usize);
                                prop_assert!(batch.items.len() == 1 || bytes <= BATCH_TARGET);
                                reach = reach.max(flow.cursor() - 1);
                            }
                            loaded => {
                                prop_assert_eq!(loaded, Loaded::NoRoom);
                                prop_assert!(!alone && flow.cursor() == cursor);
                            }
                        }
                    }
                    Step::Ack(up_to, new) => {
                        let known = flow.ack(now, &ack(up_to, new));
                        prop_assert_eq!(known.is_some(), up_to <= reach.max(acked));
                        grant = if known.is_some() { new } else { grant };
                        prop_assert_eq!(flow.acked(), if known.is_some() { acked.max(up_to) } else { acked });
                    }
                    Step::Rewind(next) => {
                        flow.rewind(next);
                    }
                    Step::Push(count) => {
                        let pushed = Offer { next: flow.next() + count, ..flow.offer() };
                        flow.follow(&pushed);
                    }
                }
                prop_assert!(flow.cursor() > flow.acked() && flow.cursor() <= flow.next());
                prop_assert!(flow.flights.iter().all(|f| f.last > flow.acked() && f.last < flow.cursor()));
                prop_assert!(!flow.flights.is_empty() || flow.room() == Some(BATCH_TARGET));
            }
        }
    }

    #[test]
    fn the_cursor_never_falls_below_the_seq_after_the_last_one_acknowledged() {
        let now = Instant::now();
        let mut flow = flow(10, 1 << 20);
        sent(flow.load(now, SESSION, 1, items(&[1; 6])));
        flow.ack(now, &ack(4, 1 << 20));
        assert!(!flow.rewind(4) && !flow.rewind(0));
        assert!(flow.rewind(6));
        assert_eq!((flow.cursor(), flow.in_flight()), (6, 30), "what is left of the batch is still under way");
        flow.ack(now, &ack(6, 1 << 20));
        assert_eq!((flow.cursor(), flow.in_flight()), (7, 0));
    }

    #[test]
    fn a_batch_cut_down_to_what_is_acknowledged_is_no_longer_under_way() {
        let now = Instant::now();
        let mut flow = flow(10, 1 << 20);
        sent(flow.load(now, SESSION, 1, items(&[1; 2])));
        flow.ack(now, &ack(1, 1 << 20));
        assert!(flow.rewind(2));
        assert_eq!((flow.in_flight(), flow.patience_ends()), (0, None));
    }

    #[test]
    fn one_missing_seq_rewinds_the_cursor_once() {
        let now = Instant::now();
        let mut flow = flow(10, 1 << 20);
        sent(flow.load(now, SESSION, 1, items(&[1; 3])));
        sent(flow.load(now, SESSION, 2, items(&[1; 3])));
        assert!(flow.rewind(4));
        assert_eq!(sent(flow.load(now, SESSION, 3, items(&[1; 3]))).first, 4);
        assert!(!flow.rewind(4));
        assert!(flow.rewind(5), "another seq");
        assert!(!flow.rewind(5) && !flow.rewind(9), "nothing sent from there on");
    }

    #[test]
    fn an_acknowledgement_beyond_what_was_sent_in_this_session_is_none() {
        let now = Instant::now();
        let mut flow = flow(10, 1 << 20);
        sent(flow.load(now, SESSION, 1, items(&[1; 3])));
        assert_eq!(flow.ack(now, &ack(4, 0)), None);
        assert_eq!(flow.ack(now, &ack(3, 0)), Some(true));
        assert_eq!(flow.ack(now, &ack(3, 0)), Some(false));
        sent(flow.load(now, SESSION, 2, items(&[1; 3])));
        flow.reset();
        assert_eq!(flow.ack(now, &ack(4, 0)), None, "not welcomed");
    }

    #[test]
    fn a_large_frame_goes_alone_and_waits_until_there_is_room() {
        let now = Instant::now();
        let mut flow = flow(10, 200_000);
        sent(flow.load(now, SESSION, 1, items(&[1_000])));
        assert_eq!(flow.load(now, SESSION, 2, items(&[300_000, 10])), Loaded::NoRoom);
        assert_eq!(flow.room(), None);
        flow.ack(now, &ack(1, 200_000));
        assert_eq!(sent(flow.load(now, SESSION, 2, items(&[300_000, 10]))).items.len(), 1);
        assert_eq!(flow.room(), None);
    }

    #[test]
    fn what_no_packet_can_carry_is_told_apart() {
        let mut flow = flow(10, 0);
        let largest = items(&[MAX_FRAME]);
        assert!(matches!(flow.load(Instant::now(), SESSION, 1, items(&[MAX_FRAME + 100])), Loaded::TooLarge(_)));
        let payload = sent(flow.load(Instant::now(), SESSION, 1, largest)).encode();
        assert!(payload.len() <= gaitway_proto::limits::MAX_PAYLOAD);
    }
}
