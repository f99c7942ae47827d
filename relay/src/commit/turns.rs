//! Which streams have entries waiting, and whose turn it is.
//!
//! - Agents take turns, however many streams each has.
//! - Activity goes before raw, but a commit without room for raw is followed by one in which raw goes first.

use std::collections::{BTreeMap, VecDeque};
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

/// See the module. A name stands in its ring once, while entries of it wait.
#[derive(Debug, Default)]
pub(super) struct Turns {
    activity: Ring,
    raw: Ring,
    bytes: usize,
    since: Option<Instant>,
    /// Raw waited and the last commit took nothing of it.
    raw_first: bool,
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

    /// Whose turns come first in the next commit.
    pub(super) fn order(&self) -> [Stream; 2] {
        if self.raw_first { [Stream::Raw, Stream::Activity] } else { [Stream::Activity, Stream::Raw] }
    }

    /// The stream whose turn it is.
    pub(super) fn pop(&mut self, stream: Stream) -> Option<Name> {
        self.ring(stream).pop()
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

    /// A commit was put together, with something of raw in it or without: what still waits does so from `now` on.
    pub(super) fn restart(&mut self, now: Instant, with_raw: bool) {
        self.raw_first = !with_raw && !self.raw.agents.is_empty();
        let waits = !(self.activity.agents.is_empty() && self.raw.agents.is_empty());
        self.since = waits.then_some(now);
    }

    /// Nothing waits any more.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn ring(&mut self, stream: Stream) -> &mut Ring {
        match stream {
            Stream::Activity => &mut self.activity,
            Stream::Raw => &mut self.raw,
        }
    }
}

/// Agents with entries waiting, and the streams of each in their order.
#[derive(Debug, Default)]
struct Ring {
    agents: VecDeque<AgentId>,
    streams: BTreeMap<AgentId, VecDeque<Name>>,
}

impl Ring {
    /// The first stream of the first agent, which then stands last.
    fn pop(&mut self) -> Option<Name> {
        let agent = self.agents.pop_front()?;
        let streams = self.streams.get_mut(&agent)?;
        let name = streams.pop_front();
        if streams.is_empty() {
            self.streams.remove(&agent);
        } else {
            self.agents.push_back(agent);
        }
        name
    }

    fn push_front(&mut self, name: Name) {
        self.agents.retain(|agent| *agent != name.agent);
        self.agents.push_front(name.agent.clone());
        self.streams.entry(name.agent.clone()).or_default().push_front(name);
    }

    fn push_back(&mut self, name: Name) {
        let streams = self.streams.entry(name.agent.clone()).or_default();
        if streams.is_empty() {
            self.agents.push_back(name.agent.clone());
        }
        streams.push_back(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(agent: &str, epoch: u64) -> Name {
        Name { agent: agent.parse().unwrap(), epoch: Epoch::from_random(epoch), stream: Stream::Raw }
    }

    fn popped(ring: &mut Ring, count: usize) -> Vec<(String, u64)> {
        (0..count).filter_map(|_| ring.pop()).map(|name| (name.agent.to_string(), name.epoch.get())).collect()
    }

    #[test]
    fn an_agent_with_many_streams_has_no_more_turns_than_one_with_a_single_one() {
        let mut ring = Ring::default();
        (1..=4).for_each(|epoch| ring.push_back(name("many", epoch)));
        ring.push_back(name("one", 9));
        let turn = |agent: &str, epoch| (agent.to_owned(), epoch);
        assert_eq!(popped(&mut ring, 2), [turn("many", 1), turn("one", 9)]);
        ring.push_back(name("one", 9));
        assert_eq!(popped(&mut ring, 9), [turn("many", 2), turn("one", 9), turn("many", 3), turn("many", 4)]);
        assert_eq!((ring.agents.len(), ring.streams.len()), (0, 0));
    }

    #[test]
    fn a_turn_given_back_comes_first() {
        let mut ring = Ring::default();
        (1..=2).for_each(|epoch| ring.push_back(name("a", epoch)));
        ring.push_back(name("b", 3));
        let first = ring.pop().unwrap();
        ring.push_front(first);
        let turn = |agent: &str, epoch| (agent.to_owned(), epoch);
        assert_eq!(popped(&mut ring, 3), [turn("a", 1), turn("b", 3), turn("a", 2)]);
    }

    #[test]
    fn raw_goes_first_after_a_commit_that_had_no_room_for_it() {
        let (now, mut turns) = (Instant::now(), Turns::default());
        assert_eq!(turns.order()[0], Stream::Activity);
        turns.add(now, name("a", 1), false, 10);
        turns.restart(now, false);
        assert_eq!(turns.order()[0], Stream::Raw);
        turns.restart(now, true);
        assert_eq!(turns.order()[0], Stream::Activity);
    }
}
