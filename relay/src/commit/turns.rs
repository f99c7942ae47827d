//! Which streams have entries waiting, and whose turn it is.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{Epoch, Source, Stream};
use gaitway_proto::topic::AgentId;

/// The name of one stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Name {
    pub agent: AgentId,
    pub epoch: Epoch,
    pub stream: Stream,
}

impl Name {
    /// As the ledger knows it.
    pub(crate) fn source(&self) -> Source {
        Source::stream(&self.agent, self.epoch, self.stream)
    }
}

/// A ring for each kind of stream. A name stands in its ring once, while entries of it wait.
#[derive(Debug, Default)]
pub(super) struct Turns {
    activity: VecDeque<Name>,
    raw: VecDeque<Name>,
    bytes: usize,
    since: Option<Instant>,
}

impl Turns {
    /// `bytes` more wait; `name` joins its ring unless it `stands` there.
    pub(super) fn add(&mut self, now: Instant, name: Name, stands: bool, bytes: usize) {
        self.bytes += bytes;
        self.since.get_or_insert(now);
        if !stands {
            self.push_back(name);
        }
    }

    /// Since when something waits.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether it is time for a commit.
    pub(super) fn is_due(&self, now: Instant, linger: Duration, max_bytes: usize) -> bool {
        self.since.is_some_and(|since| self.bytes >= max_bytes || now >= since + linger)
    }

    /// The stream whose turn it is.
    pub(super) fn pop(&mut self, stream: Stream) -> Option<Name> {
        self.ring(stream).pop_front()
    }

    /// Its turn comes first next time.
    pub(super) fn push_front(&mut self, name: Name) {
        self.ring(name.stream).push_front(name);
    }

    /// Its turn comes after the others'.
    pub(super) fn push_back(&mut self, name: Name) {
        self.ring(name.stream).push_back(name);
    }

    /// `bytes` do not wait any more.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// A commit was put together: what still waits does so from `now` on.
    pub(super) fn restart(&mut self, now: Instant) {
        let waits = !(self.activity.is_empty() && self.raw.is_empty());
        self.since = waits.then_some(now);
    }

    /// Nothing waits any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn ring(&mut self, stream: Stream) -> &mut VecDeque<Name> {
        match stream {
            Stream::Activity => &mut self.activity,
            Stream::Raw => &mut self.raw,
        }
    }
}
