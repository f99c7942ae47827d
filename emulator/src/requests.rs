//! Which calls there are, and how often each was answered with what.

use std::collections::{BTreeMap, VecDeque};

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// `GET /v2/streaming/hostname`
    Hostname,
    /// `POST /oauth/token`
    Token,
    /// `POST …/pipes/{pipe}:pipe-info`
    PipeInfo,
    /// `PUT …/channels/{channel}`
    Open,
    /// `POST …/channels/{channel}/rows`
    Append,
    /// `POST …/pipes/{pipe}:bulk-channel-status`
    Status,
    /// `DELETE …/channels/{channel}`
    Drop,
    /// `POST /telemetry/send/sessionless`
    Telemetry,
    /// `POST /api/v2/statements` and its polls
    Statement,
    /// Anything else
    Other,
}

/// Counts of calls by kind and HTTP status; status 0 is a call whose connection was closed without an answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Requests {
    counts: BTreeMap<(Call, u16), u64>,
    appends: VecDeque<Append>,
}

/// How an append was named and answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// `requestId`
    pub id: String,
    /// `retryCount`, if it was a number.
    pub retries: Option<u32>,
    /// The answer's status, as in [`Requests`].
    pub status: u16,
}

/// Appends whose names are kept.
const APPENDS: usize = 64;

impl Requests {
    pub(crate) fn count(&mut self, call: Call, status: u16) {
        *self.counts.entry((call, status)).or_default() += 1;
    }

    pub(crate) fn note(&mut self, id: String, retries: Option<u32>, status: u16) {
        if self.appends.len() == APPENDS {
            self.appends.pop_front();
        }
        self.appends.push_back(Append { id, retries, status });
    }

    /// The last 64 appends that were answered, the oldest first.
    pub fn appends(&self) -> impl Iterator<Item = &Append> {
        self.appends.iter()
    }

    /// Calls of a kind, whatever they were answered.
    pub fn of(&self, call: Call) -> u64 {
        self.iter().filter(|(kind, _, _)| *kind == call).map(|(_, _, count)| count).sum()
    }

    /// Calls of a kind that were answered with `status`.
    pub fn with(&self, call: Call, status: u16) -> u64 {
        self.counts.get(&(call, status)).copied().unwrap_or(0)
    }

    /// All counts, in the order of kinds and statuses.
    pub fn iter(&self) -> impl Iterator<Item = (Call, u16, u64)> {
        self.counts.iter().map(|((call, status), count)| (*call, *status, *count))
    }
}
