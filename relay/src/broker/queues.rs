//! What came from the broker and waits for the intake, agent by agent. Pure: time is an argument.
//!
//! - All that waits together stays within a bound, however many agents send and whatever one sends.
//! - When there is no room, the agent of which most waits is cut off: whoever has less than the others keeps its place.
//! - Of an agent that is cut off nothing waits any more, and nothing of it is taken before it is unlinked.
//! - No more agents than the cap are linked. When all places are taken, the one unheard for longest makes room, once it was
//!   silent for a while.
//! - An agent that was not heard for long is unlinked.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gaitway_proto::topic::{AgentId, Up};
use tokio::sync::{Notify, SetOnce};

use crate::link::LinkId;

/// An agent unheard for so long is unlinked. Whoever comes again is asked for its hello.
pub(super) const SILENT: Duration = Duration::from_secs(300);

/// For so long an agent keeps its place though others want it.
const SETTLED: Duration = Duration::from_secs(30);

/// What a publish costs beside its payload, bytes: at least what its entry takes up.
const EACH: usize = 256;

/// See the module.
#[derive(Debug)]
pub(crate) struct Queues {
    most_agents: usize,
    most_bytes: usize,
    bytes: usize,
    agents: HashMap<AgentId, Queue>,
    /// Those that are not cut off, the one unheard for longest first.
    heard: BTreeSet<(Instant, AgentId)>,
}

#[derive(Debug)]
struct Queue {
    link: LinkId,
    heard: Instant,
    waiting: VecDeque<(Up, Bytes)>,
    bytes: usize,
    more: Arc<Notify>,
    end: Arc<SetOnce<Cut>>,
}

/// A link of an agent, for whoever serves it.
#[derive(Debug, Clone)]
pub(super) struct Guest {
    pub agent: AgentId,
    pub link: LinkId,
    /// Something waits.
    pub more: Arc<Notify>,
    /// Set once it is cut off.
    pub end: Arc<SetOnce<Cut>>,
}

/// Why an agent is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// More of it waited than of the others, and there was no room.
    Beyond,
    /// It was not heard for long.
    Silent,
    /// It was not heard for a while, and others wanted its place.
    Replaced,
    /// The broker is away.
    BrokerAway,
    /// It is unlinked already.
    Left,
}

impl Cut {
    /// The label of the counter.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Beyond => "beyond",
            Self::Silent | Self::Replaced => "idle",
            Self::BrokerAway => "broker_away",
            Self::Left => "unlinked",
        }
    }
}

/// What became of a publish.
#[derive(Debug)]
pub(super) enum Offered {
    /// It waits.
    Queued,
    /// It waits on a new link, which is to be served.
    Linked(Guest),
    /// It was dropped.
    Dropped(Why),
}

/// Why a publish was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// More of this agent waits than may, or than of any other.
    Beyond,
    /// Its link is about to end.
    Ending,
    /// As many agents as may be are linked.
    Full,
}

impl Why {
    /// The label of the counter.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Beyond => "beyond",
            Self::Ending => "ending",
            Self::Full => "capacity",
        }
    }
}

impl Queues {
    /// Of at most `most_agents` agents, at most `most_bytes` together.
    pub(crate) fn new(most_agents: usize, most_bytes: usize) -> Self {
        Self { most_agents, most_bytes, bytes: 0, agents: HashMap::new(), heard: BTreeSet::new() }
    }

    /// Agents that are linked, or about to be unlinked.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.agents.len()
    }

    /// `agent` published `payload`; `link` names its link if it needs one.
    pub(super) fn offer(
        &mut self,
        now: Instant,
        agent: &AgentId,
        up: Up,
        payload: &[u8],
        link: impl FnOnce() -> LinkId,
    ) -> Offered {
        if self.agents.get(agent).is_some_and(Queue::is_cut_off) {
            return Offered::Dropped(Why::Ending);
        }
        let size = payload.len() + EACH;
        if let Err(why) = self.make_room(now, agent, size) {
            return Offered::Dropped(why);
        }
        let is_new = !self.agents.contains_key(agent);
        let queue = self.agents.entry(agent.clone()).or_insert_with(|| Queue {
            link: link(),
            heard: now,
            waiting: VecDeque::new(),
            bytes: 0,
            more: Arc::default(),
            end: Arc::default(),
        });
        self.heard.remove(&(queue.heard, agent.clone()));
        self.heard.insert((now, agent.clone()));
        queue.heard = now;
        // A copy: a small payload must not hold on to the client's buffer.
        queue.waiting.push_back((up, Bytes::copy_from_slice(payload)));
        queue.bytes += size;
        self.bytes += size;
        queue.more.notify_one();
        if !is_new {
            return Offered::Queued;
        }
        let (link, more, end) = (queue.link, Arc::clone(&queue.more), Arc::clone(&queue.end));
        Offered::Linked(Guest { agent: agent.clone(), link, more, end })
    }

    /// What waits longest of `guest`. It counts until it was [`handed`](Self::handed) over.
    pub(super) fn next(&mut self, guest: &Guest) -> Option<(Up, Bytes)> {
        self.of(guest)?.waiting.pop_front()
    }

    /// A payload of so many bytes of `guest` is the intake's now.
    pub(super) fn handed(&mut self, guest: &Guest, bytes: usize) {
        let size = bytes + EACH;
        if let Some(queue) = self.of(guest).filter(|queue| !queue.is_cut_off()) {
            queue.bytes -= size;
            self.bytes -= size;
        }
    }

    /// `guest` is unlinked.
    pub(super) fn leave(&mut self, guest: &Guest) {
        if self.of(guest).is_some() {
            self.cut_off(&guest.agent, Cut::Left);
            self.agents.remove(&guest.agent);
        }
    }

    /// Cuts off whoever was not heard for long; how many that were.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> usize {
        let mut silent = 0;
        while let Some((heard, agent)) = self.heard.first().cloned()
            && now.saturating_duration_since(heard) >= SILENT
        {
            self.cut_off(&agent, Cut::Silent);
            silent += 1;
        }
        silent
    }

    /// Cuts everybody off: the broker is away.
    pub(super) fn clear(&mut self) {
        while let Some((_, agent)) = self.heard.first().cloned() {
            self.cut_off(&agent, Cut::BrokerAway);
        }
    }

    fn make_room(&mut self, now: Instant, agent: &AgentId, size: usize) -> Result<(), Why> {
        if self.agents.len() >= self.most_agents && !self.agents.contains_key(agent) {
            let longest = self.heard.first().cloned();
            if let Some((_, silent)) = longest.filter(|(heard, _)| now.saturating_duration_since(*heard) >= SETTLED) {
                self.cut_off(&silent, Cut::Replaced);
            }
            // Its place is free once it is unlinked.
            return Err(Why::Full);
        }
        while self.bytes + size > self.most_bytes {
            let own = self.agents.get(agent).map_or(0, |queue| queue.bytes) + size;
            let most = self.agents.iter().filter(|(_, queue)| !queue.is_cut_off()).max_by_key(|(_, queue)| queue.bytes);
            let greediest = most.filter(|(_, queue)| queue.bytes > own).map(|(agent, _)| agent.clone());
            self.cut_off(greediest.as_ref().unwrap_or(agent), Cut::Beyond);
            if greediest.is_none() {
                return Err(Why::Beyond);
            }
        }
        Ok(())
    }

    fn cut_off(&mut self, agent: &AgentId, why: Cut) {
        let Some(queue) = self.agents.get_mut(agent) else { return };
        self.heard.remove(&(queue.heard, agent.clone()));
        self.bytes -= std::mem::take(&mut queue.bytes);
        queue.waiting = VecDeque::new();
        // The first reason is told.
        let _ = queue.end.set(why);
    }

    fn of(&mut self, guest: &Guest) -> Option<&mut Queue> {
        self.agents.get_mut(&guest.agent).filter(|queue| queue.link == guest.link)
    }
}

impl Queue {
    fn is_cut_off(&self) -> bool {
        self.end.initialized()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::link::LinkIds;

    /// Queues, the links that are served, and a clock.
    struct World {
        queues: Queues,
        links: LinkIds,
        guests: HashMap<AgentId, Guest>,
        now: Instant,
    }

    impl World {
        fn new(most_agents: usize, most_bytes: usize) -> Self {
            let (queues, links) = (Queues::new(most_agents, most_bytes), LinkIds::default());
            Self { queues, links, guests: HashMap::new(), now: Instant::now() }
        }

        fn offer(&mut self, name: &str, bytes: usize) -> Result<(), Why> {
            let agent: AgentId = name.parse().unwrap();
            let offered = self.queues.offer(self.now, &agent, Up::Raw, &vec![7; bytes], || self.links.next());
            match offered {
                Offered::Dropped(why) => return Err(why),
                Offered::Linked(guest) => {
                    self.guests.insert(agent, guest);
                }
                Offered::Queued => {}
            }
            Ok(())
        }

        fn is_cut_off(&self, name: &str) -> bool {
            self.guests[&name.parse().unwrap()].end.initialized()
        }

        fn leave(&mut self, name: &str) {
            let guest = self.guests.remove(&name.parse().unwrap()).unwrap();
            self.queues.leave(&guest);
        }
    }

    #[test]
    fn whoever_has_most_is_cut_off_and_the_others_keep_their_place() {
        let mut world = World::new(9, 10 * (1_000 + EACH));
        for _ in 0..8 {
            world.offer("greedy", 1_000).unwrap();
        }
        world.offer("a", 1_000).unwrap();
        world.offer("b", 1_000).unwrap();
        world.offer("b", 1_000).unwrap();
        assert!(world.is_cut_off("greedy") && !world.is_cut_off("a") && !world.is_cut_off("b"));
        assert_eq!(world.offer("greedy", 1), Err(Why::Ending));
        world.leave("greedy");
        world.offer("greedy", 1).unwrap();
        assert!(!world.is_cut_off("greedy"));
    }

    #[test]
    fn an_agent_alone_is_bounded_too_and_nothing_of_it_is_kept() {
        let mut world = World::new(9, 3 * (1_000 + EACH));
        for _ in 0..3 {
            world.offer("greedy", 1_000).unwrap();
        }
        assert_eq!(world.offer("greedy", 1_000), Err(Why::Beyond));
        assert!(world.is_cut_off("greedy"));
        assert_eq!(world.queues.bytes, 0);
        let guest = world.guests.values().next().unwrap().clone();
        assert_eq!(world.queues.next(&guest), None);
        world.queues.handed(&guest, 1_000);
        assert_eq!(world.queues.bytes, 0, "what was under way when it was cut off does not count twice");
    }

    #[test]
    fn what_is_handed_over_makes_room_in_the_order_in_which_it_came() {
        let mut world = World::new(9, 3 * (1_000 + EACH));
        for bytes in [1_000, 999, 998] {
            world.offer("pi", bytes).unwrap();
        }
        let guest = world.guests[&"pi".parse().unwrap()].clone();
        assert_eq!(world.queues.next(&guest).unwrap().1.len(), 1_000);
        assert_eq!(world.queues.bytes, 3 * EACH + 2_997, "it counts until it is handed over");
        world.queues.handed(&guest, 1_000);
        world.offer("pi", 1_000).unwrap();
        let left = std::iter::from_fn(|| world.queues.next(&guest)).map(|(_, payload)| payload.len());
        assert_eq!(left.collect::<Vec<_>>(), [999, 998, 1_000]);
    }

    #[test]
    fn an_agent_that_was_not_heard_for_long_is_unlinked() {
        let mut world = World::new(9, 1 << 20);
        world.offer("gone", 1).unwrap();
        world.now += SILENT / 2;
        world.offer("here", 1).unwrap();
        world.now += SILENT / 2;
        assert_eq!(world.queues.handle_timeout(world.now), 1);
        assert!(world.is_cut_off("gone") && !world.is_cut_off("here"));
        world.leave("gone");
        assert_eq!(world.queues.len(), 1);
    }

    #[test]
    fn at_the_cap_the_one_unheard_for_longest_makes_room_once_it_was_silent_for_a_while() {
        let mut world = World::new(2, 1 << 20);
        world.offer("a", 1).unwrap();
        world.offer("b", 1).unwrap();
        assert_eq!(world.offer("c", 1), Err(Why::Full));
        assert!(!world.is_cut_off("a"));
        world.now += SETTLED;
        world.offer("a", 1).unwrap();
        assert_eq!(world.offer("c", 1), Err(Why::Full), "not before the place is free");
        assert!(world.is_cut_off("b") && !world.is_cut_off("a"));
        world.leave("b");
        world.offer("c", 1).unwrap();
        assert_eq!(world.queues.len(), 2);
    }

    #[test]
    fn a_link_that_has_ended_says_nothing_about_the_next_one() {
        let mut world = World::new(9, 1 << 20);
        world.offer("pi", 10).unwrap();
        let former = world.guests[&"pi".parse().unwrap()].clone();
        world.queues.clear();
        world.leave("pi");
        world.offer("pi", 20).unwrap();
        world.queues.handed(&former, 10);
        world.queues.leave(&former);
        assert_eq!((world.queues.next(&former), world.queues.len(), world.queues.bytes), (None, 1, 20 + EACH));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Offer(u8, usize),
        Hand(u8),
        Leave(u8),
        Wait(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            6 => (0..6_u8, 0..4_000_usize).prop_map(|(agent, bytes)| Step::Offer(agent, bytes)),
            3 => (0..6_u8).prop_map(Step::Hand),
            1 => (0..6_u8).prop_map(Step::Leave),
            1 => (0..400_u64).prop_map(Step::Wait),
        ]
    }

    proptest! {
        /// Whatever agents send: the bounds hold, what is counted is what is there, and whoever had least is not cut off for
        /// others.
        #[test]
        fn the_bounds_hold_and_whoever_has_least_is_not_cut_off(steps in prop::collection::vec(step(), 1..120)) {
            let (most_agents, most_bytes) = (4, 16_000);
            let mut world = World::new(most_agents, most_bytes);
            for step in steps {
                let name = |agent: u8| format!("a{agent}");
                match step {
                    Step::Offer(agent, bytes) => {
                        let before: HashMap<_, _> = world
                            .queues
                            .agents
                            .iter()
                            .filter(|(_, queue)| !queue.is_cut_off())
                            .map(|(agent, queue)| (agent.clone(), queue.bytes))
                            .collect();
                        let room = world.queues.agents.len() < most_agents
                            || before.contains_key(&name(agent).parse::<AgentId>().unwrap());
                        let _ = world.offer(&name(agent), bytes);
                        let most = before.values().max().copied().unwrap_or_default();
                        for (other, bytes) in before {
                            let may_lose = other.as_str() == name(agent) || bytes == most || !room;
                            prop_assert!(may_lose || !world.guests[&other].end.initialized());
                        }
                    }
                    Step::Hand(agent) => {
                        if let Some(guest) = world.guests.get(&name(agent).parse::<AgentId>().unwrap())
                            && let Some((_, payload)) = world.queues.next(guest)
                        {
                            world.queues.handed(guest, payload.len());
                        }
                    }
                    Step::Leave(agent) => {
                        if world.guests.contains_key(&name(agent).parse::<AgentId>().unwrap()) {
                            world.leave(&name(agent));
                        }
                    }
                    Step::Wait(seconds) => {
                        world.now += Duration::from_secs(seconds);
                        world.queues.handle_timeout(world.now);
                    }
                }
                let queues = &world.queues;
                let there = |queue: &Queue| queue.waiting.iter().map(|(_, payload)| payload.len() + EACH).sum::<usize>();
                prop_assert!(queues.bytes <= most_bytes && queues.len() <= most_agents);
                prop_assert_eq!(queues.agents.values().map(there).sum::<usize>(), queues.bytes);
                prop_assert!(queues.agents.values().all(|queue| there(queue) == queue.bytes));
                let linked = queues.agents.values().filter(|queue| !queue.is_cut_off()).count();
                prop_assert_eq!(linked, queues.heard.len());
                prop_assert_eq!(queues.len(), world.guests.len());
            }
        }
    }
}
