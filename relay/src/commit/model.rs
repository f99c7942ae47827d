//! Agents, network and ledger around the machine, for random schedules.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use gaitway_proto::activity::{Activity, ActivityFrame, Window};
use gaitway_proto::envelope::{Down, Gap, Item};
use gaitway_proto::ledger::{Epoch, Source, Stream};
use gaitway_proto::topic::AgentId;

use super::{Effect, Limits, Machine};
use crate::ledger::{Desk, Outcome, Request};
use crate::link::{LinkId, LinkIds};
use crate::memory::{Fault, MemoryLedger};

mod agent;
mod law;
use agent::{Agent, Log, Talk, Up, Wire};

const LIMITS: Limits = Limits { max_bytes: 400, linger: Duration::from_millis(20), budget: 3_000 };

/// One thing that may happen at any moment. Numbers choose modulo what there is.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Push {
        agent: usize,
        stream: Stream,
        gap: bool,
    },
    Connect(usize),
    /// As a connection that the listener gives the seat of whoever has it.
    TakeOver(usize),
    Disconnect(usize),
    RestartAgent(usize),
    /// An agent keeps that it was welcomed; until then a kill makes it forget.
    Note(usize),
    Clone(usize),
    /// Another relay acknowledges what waits.
    Elsewhere(usize),
    Batch {
        agent: usize,
        stream: Stream,
    },
    /// A message arrives at the relay.
    Up {
        agent: usize,
        lane: usize,
    },
    Lose {
        agent: usize,
        lane: usize,
    },
    Double {
        agent: usize,
        lane: usize,
    },
    Down(usize),
    /// A message of a broken connection arrives, or the relay hears that it broke.
    Ghost(usize),
    /// Everything moves on a little for one agent.
    Round(usize),
    Ledger,
    Outcome,
    Inject(Fault),
    Wait(u64),
    RestartRelay,
}

pub(super) struct World {
    now: Instant,
    machine: Machine,
    ledger: MemoryLedger,
    desk: Desk,
    requests: VecDeque<Request>,
    outcomes: VecDeque<Outcome>,
    agents: Vec<Agent>,
    ghosts: VecDeque<Wire>,
    links: LinkIds,
    numbers: u64,
    /// Frames named by every agent, by source.
    names: BTreeMap<Source, u64>,
    /// Sources of which another relay acknowledged something: their last frames may never be offered here.
    elsewhere: BTreeSet<Source>,
    /// The start that said hello last on a link.
    greeted: BTreeMap<LinkId, Epoch>,
    /// The start that was alive when a link took its place.
    displaced: BTreeMap<LinkId, Epoch>,
    /// Which starts were welcomed as those that continue a start.
    heirs: BTreeMap<(AgentId, Epoch), BTreeSet<Epoch>>,
    /// Every start and those before it.
    lines: BTreeMap<Epoch, Vec<Epoch>>,
}

impl World {
    pub(super) fn new(agents: usize) -> Self {
        let ledger = MemoryLedger::default();
        let mut world = Self {
            now: Instant::now(),
            machine: Machine::new(LIMITS, 1),
            desk: Desk::new(Box::new(ledger.clone())),
            ledger,
            requests: VecDeque::new(),
            outcomes: VecDeque::new(),
            agents: Vec::new(),
            ghosts: VecDeque::new(),
            links: LinkIds::default(),
            numbers: 0,
            names: BTreeMap::new(),
            elsewhere: BTreeSet::new(),
            greeted: BTreeMap::new(),
            displaced: BTreeMap::new(),
            heirs: BTreeMap::new(),
            lines: BTreeMap::new(),
        };
        for agent in 0..agents {
            let epoch = world.new_epoch();
            world.lines.insert(epoch, Vec::new());
            world.agents.push(Agent {
                id: format!("agent-{agent}").parse().unwrap(),
                epoch,
                ordinal: 1,
                line: Vec::new(),
                named: 0,
                welcomed: false,
                noted: false,
                logs: Stream::ALL.into_iter().map(|s| ((epoch, s), Log::new(1))).collect(),
                talk: None,
            });
        }
        world
    }

    fn new_epoch(&mut self) -> Epoch {
        self.numbers += 1;
        Epoch::from_random(self.numbers)
    }

    pub(super) fn step(&mut self, step: &Step) {
        let count = self.agents.len();
        match *step {
            Step::Push { agent, stream, gap } => self.push(agent % count, stream, gap),
            Step::Connect(agent) => self.connect(agent % count),
            Step::TakeOver(agent) => self.take_over(agent % count),
            Step::Disconnect(agent) => self.disconnect(agent % count),
            Step::RestartAgent(agent) => self.restart_agent(agent % count),
            Step::Note(agent) => {
                let agent = &mut self.agents[agent % count];
                agent.noted = agent.welcomed;
            }
            Step::Clone(agent) if count < 5 => self.clone_agent(agent % count),
            Step::Clone(_) => {}
            Step::Elsewhere(agent) => {
                let agent = &mut self.agents[agent % count];
                if agent.talk.is_none() {
                    for (&(epoch, stream), log) in &mut agent.logs {
                        log.acked = log.next - 1;
                        self.elsewhere.insert(Source::stream(&agent.id, epoch, stream));
                    }
                }
            }
            Step::Batch { agent, stream } => self.agents[agent % count].send(stream),
            Step::Up { agent, lane } => {
                let Some(talk) = &mut self.agents[agent % count].talk else { return };
                if let Some(up) = talk.wire.up[lane % 3].pop_front() {
                    let (link, id) = (talk.wire.link, talk.wire.agent.clone());
                    self.arrive(link, &id, up);
                }
            }
            Step::Lose { agent, lane } => {
                if let Some(talk) = &mut self.agents[agent % count].talk {
                    talk.wire.up[lane % 3].pop_front();
                }
            }
            Step::Double { agent, lane } => {
                if let Some(talk) = &mut self.agents[agent % count].talk
                    && let Some(up) = talk.wire.up[lane % 3].front().cloned()
                {
                    talk.wire.up[lane % 3].push_front(up);
                }
            }
            Step::Down(agent) => self.hear(agent % count),
            Step::Ghost(lane) => self.ghost(lane),
            Step::Round(agent) => self.round(agent % count),
            Step::Ledger => {
                if let Some(request) = self.requests.pop_front() {
                    let outcome = self.desk.answer(request, 0);
                    self.outcomes.push_back(outcome);
                }
            }
            Step::Outcome => self.outcome(),
            Step::Inject(fault) => self.ledger.inject(fault),
            Step::Wait(ms) => {
                self.now += Duration::from_millis(ms);
                self.machine.handle_timeout(self.now);
            }
            Step::RestartRelay => {
                self.desk = Desk::new(Box::new(self.ledger.clone()));
                self.requests.clear();
                self.outcomes.clear();
                self.ghosts.clear();
                self.greeted.clear();
                self.displaced.clear();
                self.agents.iter_mut().for_each(|agent| agent.talk = None);
                self.machine = Machine::new(LIMITS, self.numbers);
            }
        }
        self.drain();
        self.check();
    }

    fn push(&mut self, agent: usize, stream: Stream, gap: bool) {
        let agent = &mut self.agents[agent];
        let log = agent.logs.get_mut(&(agent.epoch, stream)).unwrap();
        let seq = log.next;
        let item = if gap {
            Item::Gap(Gap { span: 3, messages: 3, readings: 30, reason: "full".to_owned(), noticed_at: 1 })
        } else {
            let window = Window {
                start: 0,
                end: 10,
                count: 1,
                mean: 1.0,
                activity: Activity::Walking,
                confidence: 0.5,
                revision: 0,
            };
            let session = format!("{}-{seq}", agent.epoch);
            let frame = ActivityFrame { device: "d".into(), session, classifier: "c".into(), windows: vec![window] };
            Item::Frame(frame.encode().into())
        };
        log.next += item.span();
        log.items.push((seq, item));
        self.names.insert(Source::stream(&agent.id, agent.epoch, stream), log.next);
    }

    fn connect(&mut self, agent: usize) {
        self.disconnect(agent);
        self.numbers += 1;
        let (link, session) = (self.links.next(), self.numbers);
        let agent = &mut self.agents[agent];
        let wire = Wire { agent: agent.id.clone(), link, up: Default::default() };
        let talk = Talk { wire, down: VecDeque::new(), session, welcomed: false, sent: BTreeMap::new() };
        agent.talk = Some(talk);
        agent.hello();
    }

    /// The holder of the seat goes first: a running one that is connected was alive, a link that broke was not.
    fn take_over(&mut self, agent: usize) {
        self.disconnect(agent);
        let id = self.agents[agent].id.clone();
        let broken = self.ghosts.iter().filter(|wire| wire.agent == id).map(|wire| wire.link).max();
        let running = (self.agents.iter_mut().filter(|other| other.id == id))
            .filter(|other| other.talk.as_ref().is_some_and(|talk| broken.is_none_or(|link| link < talk.wire.link)))
            .max_by_key(|other| other.talk.as_ref().map(|talk| talk.wire.link));
        let alive = running.and_then(|other| other.talk.take()).map(|talk| talk.wire.link);
        self.connect(agent);
        let newer = self.agents[agent].talk.as_ref().map(|talk| talk.wire.link);
        if let Some(holder) = alive.or(broken) {
            self.ghosts.retain(|wire| wire.link != holder);
            self.gone(holder, &id, newer.filter(|_| alive.is_some()));
        }
    }

    fn gone(&mut self, link: LinkId, agent: &AgentId, newer: Option<LinkId>) {
        self.displaced.remove(&link);
        if let (Some(start), Some(newer)) = (self.greeted.remove(&link), newer) {
            self.displaced.insert(newer, start);
        }
        self.machine.handle_gone(link, agent, newer);
    }

    fn disconnect(&mut self, agent: usize) {
        if let Some(talk) = self.agents[agent].talk.take() {
            self.ghosts.push_back(talk.wire);
        }
    }

    fn restart_agent(&mut self, agent: usize) {
        self.disconnect(agent);
        let epoch = self.new_epoch();
        let agent = &mut self.agents[agent];
        let parent = std::mem::replace(&mut agent.epoch, epoch);
        agent.line.insert(0, parent);
        agent.named = if std::mem::take(&mut agent.noted) { 1 } else { agent.named + 1 };
        agent.welcomed = false;
        agent.ordinal += 1;
        let named = &agent.line[..agent.named];
        agent.logs.retain(|(epoch, _), log| named.contains(epoch) || log.acked + 1 < log.next);
        self.lines.insert(epoch, agent.line.clone());
        for stream in Stream::ALL {
            agent.logs.insert((epoch, stream), Log::new(agent.ordinal));
        }
    }

    /// A copy of the data directory starts on another machine.
    fn clone_agent(&mut self, agent: usize) {
        let original = &self.agents[agent];
        let copy = Agent {
            id: original.id.clone(),
            epoch: original.epoch,
            ordinal: original.ordinal,
            line: original.line.clone(),
            named: original.named,
            welcomed: original.welcomed,
            noted: original.noted,
            logs: original.logs.clone(),
            talk: None,
        };
        self.agents.push(copy);
        self.restart_agent(self.agents.len() - 1);
    }

    fn ghost(&mut self, lane: usize) {
        let Some(wire) = self.ghosts.front_mut() else { return };
        let (link, id) = (wire.link, wire.agent.clone());
        if let Some(up) = wire.up[lane % 3].pop_front() {
            self.arrive(link, &id, up);
        } else {
            self.ghosts.pop_front();
            self.gone(link, &id, None);
        }
    }

    fn arrive(&mut self, link: LinkId, agent: &AgentId, up: Up) {
        match up {
            Up::Hello(hello) => {
                let start = hello.epoch;
                self.machine.handle_hello(self.now, link, agent, hello);
                let seat = self.machine.agents.get(agent).and_then(|known| known.seat.as_ref());
                if seat.is_some_and(|seat| seat.link == link) {
                    self.greeted.insert(link, start);
                }
            }
            Up::Batch(batch) => self.machine.handle_batch(self.now, link, agent, batch),
        }
    }

    fn outcome(&mut self) {
        match self.outcomes.pop_front() {
            Some(Outcome::Recovered(outcome)) => self.machine.handle_recovered(self.now, outcome),
            Some(Outcome::Known { id, found }) => self.machine.handle_known(self.now, id, &found),
            Some(Outcome::Committed { id, durable, .. }) => self.machine.handle_committed(self.now, id, &durable),
            Some(Outcome::Failed(error)) => self.machine.handle_failed(self.now, &error),
            None => {}
        }
    }

    fn drain(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Send { link, down } => self.deliver(link, down),
                Effect::LookUp(look_up) => self.requests.push_back(Request::LookUp(look_up)),
                Effect::Commit(commit) => {
                    self.check_claims(&commit);
                    self.requests.push_back(Request::Commit(commit));
                }
                Effect::Recover => self.requests.push_back(Request::Recover),
                Effect::Notice(_) => {}
                Effect::Fenced(reason) => panic!("{reason}"),
            }
        }
    }

    fn hear(&mut self, index: usize) {
        self.numbers += 1;
        let fresh = self.numbers;
        let agent = &mut self.agents[index];
        let Some(talk) = &mut agent.talk else { return };
        let Some(down) = talk.down.pop_front() else { return };
        if down.session() != talk.session {
            return;
        }
        match down {
            Down::Welcome(welcome) => {
                talk.welcomed = true;
                agent.welcomed = true;
                // A copy notes it as it lets go of windows, before it sends anything.
                agent.noted |= welcome.forked.is_some();
                for granted in welcome.streams {
                    let log = agent.logs.get_mut(&(granted.epoch, granted.stream)).unwrap();
                    log.acked = log.acked.max(granted.committed.min(log.next - 1));
                    talk.sent.insert((granted.epoch, granted.stream), (log.acked + 1, granted.grant));
                }
            }
            Down::Ack(ack) => {
                let log = agent.logs.get_mut(&(ack.epoch, ack.stream)).unwrap();
                let sent = talk.sent.get_mut(&(ack.epoch, ack.stream)).unwrap();
                log.acked = log.acked.max(ack.up_to.min(log.next - 1));
                *sent = (sent.0.max(log.acked + 1), ack.grant);
            }
            Down::Rewind { epoch, stream, next, .. } => {
                let log = &agent.logs[&(epoch, stream)];
                talk.sent.get_mut(&(epoch, stream)).unwrap().0 = next.max(log.acked + 1);
            }
            Down::HelloAgain { .. } => {
                talk.session = fresh;
                talk.welcomed = false;
                agent.hello();
            }
            Down::Refused { .. } => self.disconnect(index),
            Down::Renew => panic!("the listener's word, not the machine's"),
        }
    }

    fn round(&mut self, agent: usize) {
        for lane in 0..3 {
            self.step(&Step::Up { agent, lane });
        }
        for stream in Stream::ALL {
            self.step(&Step::Batch { agent, stream });
        }
        for step in [Step::Ledger, Step::Outcome, Step::Down(agent), Step::Wait(20)] {
            self.step(&step);
        }
    }

    /// Everybody is heard and answered, one agent after the other, until nothing waits.
    pub(super) fn settle(&mut self) {
        for agent in 0..self.agents.len() {
            for round in 0.. {
                assert!(round < 3_000, "agent {agent} does not drain: {:?}", self.agents[agent]);
                if self.agents[agent].is_drained() {
                    break;
                }
                if round % 300 == 0 {
                    self.step(&Step::Connect(agent));
                }
                while !self.ghosts.is_empty() {
                    self.step(&Step::Ghost(round));
                }
                self.round(agent);
            }
            self.step(&Step::Disconnect(agent));
        }
        for round in 0.. {
            assert!(round < 3_000, "does not come to rest: {:?}", self.machine);
            if self.machine.held() == 0 && self.machine.is_settled() && self.ghosts.is_empty() {
                break;
            }
            for step in [Step::Ghost(round), Step::Ledger, Step::Outcome, Step::Wait(20)] {
                self.step(&step);
            }
        }
    }
}
