//! The seam of the law: records and the mark of how far was read are committed in one atomic step.
//!
//! - What [`Ledger::submit`] was given is stored whole or not at all, together with its marks.
//! - A mark moves only by compare-and-set from the value this owner read; a loser stores nothing.
//! - [`Ledger::committed`] tells only what survives a power cut.
//!
//! [`conformance`] holds every ledger to these.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::record::Record;
use crate::topic::AgentId;

pub mod conformance;

/// The random name of one agent start. Positive as `i64`, so that it fits a column of any warehouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64")]
pub struct Epoch(u64);

/// A number beyond 2⁶³, which is no epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:016x} is not the name of an agent start")]
pub struct BadEpoch(pub u64);

impl TryFrom<u64> for Epoch {
    type Error = BadEpoch;
    fn try_from(bits: u64) -> Result<Self, BadEpoch> {
        if i64::try_from(bits).is_ok() { Ok(Self(bits)) } else { Err(BadEpoch(bits)) }
    }
}

impl Epoch {
    /// An epoch from 64 random bits.
    pub fn from_random(bits: u64) -> Self {
        Self(bits & (i64::MAX as u64))
    }

    /// The epoch as a number below 2⁶³.
    pub fn get(self) -> u64 {
        self.0
    }

    /// Appends it as it is shown: 16 hexadecimal digits.
    pub fn write(self, out: &mut String) {
        for place in (0..16).rev() {
            let digit = (self.0 >> (4 * place)) & 0xf;
            out.push(char::from(b"0123456789abcdef"[digit as usize]));
        }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(16);
        self.write(&mut text);
        f.write_str(&text)
    }
}

/// The two streams of an agent, each contiguous in seq.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Messages as received.
    Raw,
    /// Classified windows.
    Activity,
}

impl Stream {
    /// Both, the one that is forwarded first at the front.
    pub const ALL: [Self; 2] = [Self::Activity, Self::Raw];

    /// `raw` or `activity`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Activity => "activity",
        }
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where records come from, in an order of their own: an agent's stream, or a Kafka partition.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(String);

impl Source {
    /// `agent/epoch/stream`; positions are seqs, from 1.
    pub fn stream(agent: &AgentId, epoch: Epoch, stream: Stream) -> Self {
        Self(format!("{agent}/{epoch}/{stream}"))
    }

    /// `agent/epoch/heir`: its position is the epoch that continues `epoch`, set once.
    pub fn heir(agent: &AgentId, epoch: Epoch) -> Self {
        Self(format!("{agent}/{epoch}/heir"))
    }

    /// `topic/partition`; positions are offsets.
    pub fn partition(topic: &str, partition: i32) -> Self {
        Self(format!("{topic}/{partition}"))
    }

    /// The source as text, as it stands in `gaitway_progress`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How far a source was read: its greatest committed position. Positions are at most `i64::MAX`.
pub type Watermark = BTreeMap<Source, u64>;

/// One move of a watermark.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mark {
    /// Whose.
    pub source: Source,
    /// The position this owner read; none if the ledger did not know the source.
    pub from: Option<u64>,
    /// The position after these records.
    pub to: u64,
}

/// Whether `records` and `marks` are what a caller may submit: a position never goes back, a source moves once in a
/// submit, and records never come without a mark.
pub fn check(records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError> {
    let wrong = |what: String| Err(LedgerError::Rejected(what));
    if marks.is_empty() && !records.is_empty() {
        return wrong(format!("{} records have no mark", records.len()));
    }
    let mut sources = BTreeSet::new();
    for Mark { source, from, to } in marks {
        if !sources.insert(source) {
            return wrong(format!("{source} has two marks"));
        }
        if i64::try_from(*to).is_err() {
            return wrong(format!("position {to} of {source} is beyond {}", i64::MAX));
        }
        if from.is_some_and(|from| from >= *to) {
            return wrong(format!("{source} goes back to {to}"));
        }
    }
    Ok(())
}

/// Why a ledger did not commit. After any of these nothing of the submit may be taken for stored: call
/// [`Ledger::recover`], then read [`Ledger::committed`] again.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// It cannot be reached or written now; worth trying again.
    #[error("{0}")]
    Unavailable(String),
    /// Somebody else moved the mark of `source`; its position is `found` now.
    #[error("another owner moved {source_name} to {found:?}")]
    Conflict {
        /// The source whose mark was not where this owner left it.
        source_name: Source,
        /// Where it is.
        found: Option<u64>,
    },
    /// The submit is one that this ledger can never take: a bug of the caller's, or a limit. The same submit again fails
    /// again.
    #[error("nothing was stored, the submit cannot be taken: {0}")]
    Rejected(String),
    /// The store passed over records of `source_name` that it had accepted, and will not take them again: somebody must look.
    #[error("{reason}")]
    Skipped {
        /// The source whose records are missing.
        source_name: Source,
        /// Which, why, and what to do.
        reason: String,
    },
    /// This owner was replaced for good: end the process, do not restart it.
    #[error("replaced by another owner: {0}")]
    Fenced(String),
}

/// A store of records that keeps its own watermark. Calls block; a ledger lives on a thread of its own.
pub trait Ledger: Send {
    /// Forgets what was not committed and makes the ledger ready (again).
    fn recover(&mut self) -> Result<(), LedgerError>;

    /// Stores `records` and moves `marks` in one atomic step. `Ok` means accepted, which some ledgers commit later:
    /// only [`committed`](Self::committed) tells.
    fn submit(&mut self, records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError>;

    /// The durable positions of `sources`; one that the ledger does not know is left out.
    fn committed(&mut self, sources: &[Source]) -> Result<Watermark, LedgerError>;

    /// Why this store can never hold `record`, if it cannot; such a record makes its submit [`Rejected`](LedgerError::Rejected).
    fn refuses(&self, _record: &Record<'_>) -> Option<String> {
        None
    }

    /// How much of the position `committed` that [`committed`](Self::committed) has just told of `source` the store itself
    /// holds. Less is held by a store that has no marks apart from rows: it keeps a mark without rows in memory, and
    /// forgets it with this process.
    fn kept(&self, _source: &Source, committed: Option<u64>) -> Option<u64> {
        committed
    }

    /// When the mark of `source` was last moved, microseconds since the Unix epoch, by the clock of whoever moved it; none if
    /// there is no mark, or the store does not know.
    fn marked_at(&mut self, _source: &Source) -> Result<Option<i64>, LedgerError> {
        Ok(None)
    }

    /// Gives `source`, of which nothing is known here, a position that the store itself holds: somebody vouches that
    /// everything up to it is stored and nothing beyond.
    fn begin_at(&mut self, source: &Source, position: u64) -> Result<(), LedgerError> {
        self.submit(&[], &[Mark { source: source.clone(), from: None, to: position }])
    }

    /// Housekeeping between commits, such as retention. Called at least once a second while idle; short.
    fn tend(&mut self) -> Result<(), LedgerError> {
        Ok(())
    }
}
