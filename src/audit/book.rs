//! What is known of each place: counts a session, and the names of frames a stream.
//!
//! - Memory grows with sessions, streams and holes, not with records: of the frames of a stream the seqs are kept as
//!   ranges, and only of the last [`OPEN`] frames how many records they have.
//! - A record whose name was there before counts as there again, and nowhere else. Of a frame that is not among the last
//!   ones, every record was there before.

use std::collections::{BTreeMap, VecDeque};

use gaitway_kafka::headers::OwnedName;
use gaitway_proto::ledger::{Epoch, Stream};

use super::ranges::Ranges;

/// Frames of a place whose records are counted. A commit holds fewer, and what a sink mixes are a few commits.
const OPEN: usize = 8_192;

/// One recording of one phone.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) device: String,
    pub(super) session: String,
}

/// A stream of an agent's start.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StreamName {
    pub(super) agent: String,
    pub(super) epoch: Epoch,
    pub(super) stream: Stream,
}

impl StreamName {
    /// That of a record's name.
    pub(super) fn of(name: &OwnedName) -> Self {
        Self { agent: name.agent.to_string(), epoch: name.epoch, stream: name.stream }
    }
}

impl std::fmt::Display for StreamName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.agent, self.epoch, self.stream)
    }
}

/// What the agent's spool tells.
#[derive(Debug, Clone, Default)]
pub(super) struct Agent {
    pub(super) id: String,
    pub(super) sessions: BTreeMap<Key, Accepted>,
    /// Readings kept of each session after all else was asked.
    pub(super) later: BTreeMap<Key, u64>,
    pub(super) spooled: Vec<Spooled>,
    /// Readings in gaps and damaged frames that wait.
    pub(super) lost: u64,
    /// It may have accepted more than it remembers.
    pub(super) is_patchwork: bool,
}

/// What was accepted of a session.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Accepted {
    pub(super) messages: u64,
    /// Readings that are kept.
    pub(super) readings: u64,
    /// Those that are not because the phone's owner wants it so.
    pub(super) withheld: u64,
    pub(super) holes: u64,
}

/// A frame in the spool that is not acknowledged.
#[derive(Debug, Clone)]
pub(super) struct Spooled {
    pub(super) name: StreamName,
    pub(super) seq: u64,
    pub(super) key: Key,
    pub(super) readings: u64,
}

/// What Kafka or a warehouse has.
#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) sessions: BTreeMap<Key, Tally>,
    /// Seqs of frames and gaps.
    pub(super) streams: BTreeMap<StreamName, Ranges>,
    /// The last seq of each stream that was there before the reading began; none of a place that is read at one moment.
    pub(super) settled: Option<BTreeMap<StreamName, u64>>,
    /// By their first seq.
    pub(super) gaps: BTreeMap<(StreamName, u64), Gap>,
    pub(super) gaps_again: u64,
    /// What was deleted on request, by the runs that deleted it.
    pub(super) forgotten: BTreeMap<StreamName, Vec<Forgotten>>,
    /// Readings that are not kept any more.
    pub(super) retired: u64,
    /// The oldest records are not kept any more, nobody knows how many.
    pub(super) is_shortened: bool,
    /// Records that no agent told.
    pub(super) nameless: u64,
    open: BTreeMap<(StreamName, u64), u32>,
    order: VecDeque<(StreamName, u64)>,
}

/// What is there of a session.
#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) messages: u64,
    pub(super) readings: u64,
    pub(super) windows: u64,
    /// Of these, those that the warehouse says that it has.
    pub(super) due_readings: u64,
    pub(super) due_windows: u64,
    /// Readings by the agent that told them.
    pub(super) by_agent: BTreeMap<String, u64>,
    /// The lowest seq of each stream.
    pub(super) first: BTreeMap<StreamName, u64>,
    pub(super) readings_again: u64,
    pub(super) windows_again: u64,
    /// A name that was there before.
    pub(super) again: Option<String>,
    /// Records missing inside frames.
    pub(super) torn: u64,
    pub(super) ids: Ranges,
}

/// Frames that will not come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) to: u64,
    pub(super) readings: Option<u64>,
    pub(super) reason: Option<String>,
}

/// Rows of a stream that were deleted on request, of frames within a range that holds others too.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Forgotten {
    pub(super) from: u64,
    pub(super) to: u64,
    pub(super) frames: u64,
    pub(super) rows: u64,
}

/// A reading or window as a store has it.
#[derive(Debug, Clone)]
pub(super) struct Record {
    pub(super) name: StreamName,
    pub(super) seq: u64,
    pub(super) index: u32,
    pub(super) key: Key,
    pub(super) message_id: Option<u64>,
    /// The warehouse says that it has it.
    pub(super) is_due: bool,
}

impl Tally {
    /// Notes that a record of this frame is there.
    pub(super) fn meet(&mut self, name: &StreamName, seq: u64) {
        match self.first.get_mut(name) {
            Some(first) => *first = seq.min(*first),
            None => drop(self.first.insert(name.clone(), seq)),
        }
    }
}

enum New {
    Frame { torn: u32 },
    InFrame { torn: u32 },
    No,
}

impl Store {
    /// Counts a reading or window.
    pub(super) fn take(&mut self, record: Record) {
        let news = self.name(&record);
        let Record { name, seq, index, key, message_id, is_due } = record;
        let tally = self.sessions.entry(key).or_default();
        tally.meet(&name, seq);
        let is_raw = name.stream == Stream::Raw;
        let (torn, is_first) = match news {
            New::No => {
                *(if is_raw { &mut tally.readings_again } else { &mut tally.windows_again }) += 1;
                tally.again.get_or_insert_with(|| format!("{name} seq {seq} index {index}"));
                return;
            }
            New::Frame { torn } => (torn, true),
            New::InFrame { torn } => (torn, false),
        };
        tally.torn += u64::from(torn);
        if is_raw {
            tally.messages += u64::from(is_first);
            tally.readings += 1;
            tally.due_readings += u64::from(is_due);
            if let Some(id) = message_id.filter(|_| is_first) {
                tally.ids.insert(id, id);
            }
            *tally.by_agent.entry(name.agent).or_default() += 1;
        } else {
            tally.windows += 1;
            tally.due_windows += u64::from(is_due);
        }
    }

    /// Counts frames that will not come.
    pub(super) fn take_gap(&mut self, name: StreamName, from: u64, gap: Gap) {
        self.streams.entry(name.clone()).or_default().insert(from, gap.to);
        if self.gaps.insert((name, from), gap).is_some() {
            self.gaps_again += 1;
        }
    }

    /// Counts rows that were deleted on request.
    pub(super) fn forget(&mut self, name: StreamName, told: Forgotten) {
        self.forgotten.entry(name).or_default().push(told);
    }

    /// All that was deleted of a stream on request.
    pub(super) fn forgotten_of(&self, name: &StreamName) -> Forgotten {
        let all = self.forgotten.get(name).into_iter().flatten().copied();
        all.reduce(|sum, told| {
            let (from, to) = (sum.from.min(told.from), sum.to.max(told.to));
            Forgotten { from, to, frames: sum.frames + told.frames, rows: sum.rows + told.rows }
        })
        .unwrap_or_default()
    }

    fn name(&mut self, record: &Record) -> New {
        let frame = (record.name.clone(), record.seq);
        if let Some(next) = self.open.get_mut(&frame) {
            let Some(torn) = record.index.checked_sub(*next) else { return New::No };
            *next = record.index.saturating_add(1);
            return New::InFrame { torn };
        }
        let seqs = self.streams.entry(record.name.clone()).or_default();
        if seqs.contains(record.seq) {
            return New::No;
        }
        seqs.insert(record.seq, record.seq);
        self.open.insert(frame.clone(), record.index.saturating_add(1));
        self.order.push_back(frame);
        if self.order.len() > OPEN
            && let Some(oldest) = self.order.pop_front()
        {
            self.open.remove(&oldest);
        }
        New::Frame { torn: record.index }
    }

    /// A frame was there before the reading began.
    pub(super) fn settle(&mut self, name: StreamName, seq: u64) {
        if let Some(settled) = &mut self.settled {
            let last = settled.entry(name).or_default();
            *last = seq.max(*last);
        }
    }

    /// Whether a frame of this seq must have been met, if there are later ones.
    pub(super) fn is_settled(&self, name: &StreamName, seq: u64) -> bool {
        self.settled.as_ref().is_none_or(|settled| settled.get(name).is_some_and(|last| seq < *last))
    }

    /// Whether a frame, or a gap in its place, is there.
    pub(super) fn has(&self, name: &StreamName, seq: u64) -> bool {
        self.streams.get(name).is_some_and(|seqs| seqs.contains(seq))
    }
}
