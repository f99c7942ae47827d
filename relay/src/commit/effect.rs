//! What the machine wants done.

use std::borrow::Cow;
use std::fmt;
use std::ops::{AddAssign, SubAssign};
use std::time::Duration;

use bytes::Bytes;
use gaitway_proto::envelope::Down;
use gaitway_proto::frame::Claims;
use gaitway_proto::ledger::{Epoch, LedgerError, Mark, Source, Stream};
use gaitway_proto::topic::AgentId;

use super::turns::Name;
use crate::link::LinkId;

/// One thing to do, in the order given.
#[derive(Debug)]
pub(crate) enum Effect {
    /// Tell the agent on `link`.
    Send { link: LinkId, down: Down },
    /// Read positions from the ledger; answer with `handle_known`.
    LookUp(LookUp),
    /// Store in the ledger; answer with `handle_committed`.
    Commit(Commit),
    /// Have the ledger recover; answer with `handle_recovered`.
    Recover,
    /// Tell the operator.
    Notice(Notice),
    /// End the process: another owner took over for good.
    Fenced(String),
}

/// Positions to be read.
#[derive(Debug)]
pub(crate) struct LookUp {
    pub id: u64,
    pub sources: Vec<Source>,
}

/// What goes into the ledger in one atomic step.
#[derive(Debug)]
pub(crate) struct Commit {
    pub id: u64,
    pub parts: Vec<Part>,
    pub heirs: Vec<Mark>,
}

/// Entries of one stream, in the order of their seqs and without a hole.
#[derive(Debug)]
pub(crate) struct Part {
    pub name: Name,
    pub ordinal: u64,
    pub mark: Mark,
    pub entries: Vec<Entry>,
}

/// One item of a stream under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub seq: u64,
    pub said: Said,
}

/// What an entry says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Said {
    /// An encoded frame.
    Frame(Bytes),
    /// Frames that will not come.
    Missing(Box<Missing>),
}

/// Frames that will not come, from the entry's seq on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Missing {
    pub span: u64,
    pub messages: Option<u64>,
    pub readings: Option<u64>,
    pub reason: Cow<'static, str>,
    /// Microseconds since the Unix epoch; none: when it is stored.
    pub noticed_at: Option<i64>,
}

/// What entries take, bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// In grants and commits, as agents count it. Never 0 for an entry.
    pub wire: usize,
    /// In memory until they are committed.
    pub held: usize,
    /// In memory while they are committed, about: the records made of them too.
    pub weight: usize,
}

/// An entry in a queue that is half full, and the smallest allocation.
const ENTRY: usize = 2 * size_of::<Entry>() + 32;

/// A record and the row of columns that it is made of.
const RECORD: usize = 384;

/// Columns decompressed, beside the values read from them.
const COPIES: usize = 3;

/// A window takes no less than 21 bytes in a frame, and 200 as a window and a record.
const WINDOW_GROWTH: usize = 10;

impl Entry {
    /// Greatest seq that it takes.
    pub(crate) fn last_seq(&self) -> u64 {
        match &self.said {
            Said::Frame(_) => self.seq,
            Said::Missing(missing) => self.seq + (missing.span - 1),
        }
    }

    /// Its size on the wire, as agents count it, bytes.
    pub(crate) fn wire(&self) -> usize {
        match &self.said {
            Said::Missing(missing) => missing.reason.len() + 24,
            Said::Frame(frame) => frame.len() + 4,
        }
    }

    /// What it takes as an entry of `stream`. What a frame claims is believed: one that claims falsely is refused
    /// before it takes more, and so is one whose claims cannot be read.
    pub(crate) fn size(&self, stream: Stream) -> Size {
        let (bytes, made) = match &self.said {
            Said::Missing(missing) => (missing.reason.len() + size_of::<Missing>(), 0),
            Said::Frame(frame) => {
                let made = match stream {
                    Stream::Activity => frame.len() * WINDOW_GROWTH,
                    Stream::Raw => {
                        Claims::read(frame).map_or(0, |claims| claims.decoded * COPIES + claims.readings * RECORD)
                    }
                };
                (frame.len(), made)
            }
        };
        Size { wire: self.wire(), held: bytes + ENTRY, weight: bytes + ENTRY + RECORD + made }
    }
}

impl AddAssign for Size {
    fn add_assign(&mut self, other: Self) {
        self.wire += other.wire;
        self.held += other.held;
        self.weight += other.weight;
    }
}

impl SubAssign for Size {
    fn sub_assign(&mut self, other: Self) {
        self.wire -= other.wire;
        self.held -= other.held;
        self.weight -= other.weight;
    }
}

/// For the log and the counters.
#[derive(Debug)]
pub(crate) enum Notice {
    /// A session began.
    Welcomed { agent: AgentId, software: String, streams: usize, forked: Option<Epoch> },
    /// An agent was told that what it sent cannot be taken.
    Refused { agent: AgentId, reason: String },
    /// This many items had been taken before.
    Duplicates(u64),
    /// A hole: `got` came where `next` was due.
    Rewound { agent: AgentId, epoch: Epoch, stream: Stream, next: u64, got: u64 },
    /// Seqs that another ledger must have, or this one had: they become gap records. All those of one welcome.
    Elsewhere { agent: AgentId, gaps: Vec<Hole> },
    /// The ledger takes requests (again).
    LedgerReady,
    /// The ledger failed and is asked to recover after `pause`.
    LedgerFailed { error: String, failure: Failure, pause: Duration },
}

/// Seqs of a stream, both included.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    pub epoch: Epoch,
    pub stream: Stream,
    pub from: u64,
    pub to: u64,
}

impl fmt::Display for Hole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{} seq {} to {}", self.epoch, self.stream, self.from, self.to)
    }
}

/// How a ledger failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Worth trying again.
    Unavailable,
    /// Another owner writes to it.
    Conflict,
    /// It never takes what it was given.
    Rejected,
}

impl From<&LedgerError> for Failure {
    fn from(error: &LedgerError) -> Self {
        match error {
            LedgerError::Rejected(_) => Self::Rejected,
            LedgerError::Conflict { .. } => Self::Conflict,
            LedgerError::Unavailable(_) | LedgerError::Skipped { .. } | LedgerError::Fenced(_) => Self::Unavailable,
        }
    }
}
