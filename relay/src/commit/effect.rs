//! What the machine wants done.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use gaitway_proto::envelope::Down;
use gaitway_proto::ledger::{Epoch, Mark, Source, Stream};
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
    Missing(Missing),
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

impl Entry {
    /// Greatest seq that it takes.
    pub(crate) fn last_seq(&self) -> u64 {
        match &self.said {
            Said::Frame(_) => self.seq,
            Said::Missing(missing) => self.seq + (missing.span - 1),
        }
    }

    /// What it counts for in grants, budgets and commits, bytes. Never 0.
    pub(crate) fn size(&self) -> usize {
        match &self.said {
            Said::Frame(bytes) => bytes.len() + 4,
            Said::Missing(missing) => missing.reason.len() + 24,
        }
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
    /// Seqs that another ledger must have: they become a gap record.
    Elsewhere { name: Name, from: u64, to: u64 },
    /// The ledger takes requests (again).
    LedgerReady,
    /// The ledger failed and is asked to recover after `pause`.
    LedgerFailed { error: String, conflict: bool, pause: Duration },
}
