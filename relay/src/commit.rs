//! The commit machine: what is taken from agents, what goes into the ledger next, what may be acknowledged.
//!
//! Pure: no clock, socket, file or thread. `handle_*` take what happened, [`Machine::poll_effect`] gives what to do,
//! [`Machine::poll_timeout`] when to call [`Machine::handle_timeout`].
//!
//! - An acknowledgement tells only a position that the ledger itself reported as durable.
//! - Frames enter the ledger in the order of their seqs, each once: what lies below the position taken is dropped, a
//!   hole is asked for once and nothing behind it is taken.
//! - A welcome is sent only after the ledger's positions of all offered streams are known and the agent start is
//!   registered as the heir of its ancestors, or found to be a copy's.
//! - Of the starts that continue a start on different lines, one at most is welcomed without hearing of the fork;
//!   none that displaced it alive before it had an heir.
//! - One commit and one look-up are under way at a time, in the order of their effects.
//! - After a ledger error everything taken and not committed is forgotten, every session ends, and nothing is
//!   submitted before the ledger has recovered and its positions were read again.
//! - A ledger that rejected a commit is asked for the next one after a long pause, and is not called ready before it has
//!   taken one. Meanwhile no agent's frames are acknowledged; but no agent can cause it: sources are made of names that were
//!   checked, one mark each, and positions of numbers that end at `i64::MAX` where hellos and batches are decoded.
//! - The bytes granted to all sessions together stay within the budget.
//! - A commit stays within a bound by what its frames claim to become in memory; a heavier frame goes alone.
//! - One agent brings only so many new sources into the ledger at a time; then it is asked to wait.
//! - A stream is remembered only while a session offers it or entries of it are uncommitted.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use gaitway_proto::envelope::{Batch, Down, Hello, Session};
use gaitway_proto::ledger::{Epoch, LedgerError, Mark, Stream};
use gaitway_proto::topic::AgentId;

use crate::link::LinkId;

mod backoff;
mod credit;
mod durable;
mod effect;
mod flow;
mod grants;
mod lineage;
#[cfg(test)]
mod model;
mod presence;
mod progress;
mod sessions;
#[cfg(test)]
mod tests;
mod turns;

pub(crate) use backoff::Backoff;
use credit::Credit;
pub(crate) use durable::{Durable, Position};
pub(crate) use effect::{Commit, Effect, Entry, Failure, Hole, LookUp, Missing, Notice, Part, Said};
use grants::Shares;
use presence::Presence;
use progress::{Progress, Taking};
pub(crate) use turns::Name;
use turns::Turns;

/// Most sources asked for in one look-up, beyond those of a single hello.
const LOOK_UP_SOURCES: usize = 1024;

/// An agent is told at most this often to say hello again.
const REMIND_EVERY: Duration = Duration::from_secs(1);

/// Reason of the gap record for seqs that this ledger has not and nobody will send again.
pub(crate) const ELSEWHERE: &str = "not in this ledger though acknowledged before: by another relay, or into a warehouse that was lost, damaged or replaced";

/// Sizes and times of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Greatest commit, bytes of frames; a larger frame goes alone.
    pub max_bytes: usize,
    /// How long a commit may wait to grow.
    pub linger: Duration,
    /// Bytes that all agents together may have under way within their grants.
    pub budget: usize,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Machine {
    limits: Limits,
    phase: Phase,
    closing: bool,
    agents: BTreeMap<AgentId, Agent>,
    shares: Shares,
    turns: Turns,
    /// Hellos whose positions are not asked for yet, the oldest connection first.
    hellos: BTreeMap<LinkId, AgentId>,
    lookup: Option<(u64, Vec<AgentId>)>,
    /// Heirs to be set by the next commit.
    heirs: BTreeMap<AgentId, Vec<Mark>>,
    flight: Option<Flight>,
    /// Memory of what was taken and not committed, bytes.
    held: usize,
    reminded: BTreeMap<LinkId, Instant>,
    presence: Presence,
    credit: Credit,
    /// The ledger rejected a commit, and has taken none since.
    rejected: bool,
    backoff: Backoff,
    last_id: u64,
    effects: VecDeque<Effect>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The ledger takes requests.
    Running,
    /// The ledger failed; it is asked to recover at this time.
    Broken { retry_at: Instant },
    /// The ledger was asked to recover.
    Recovering,
    /// Another owner took over for good.
    Fenced,
}

#[derive(Debug, Default)]
struct Agent {
    seat: Option<Seat>,
    streams: BTreeMap<(Epoch, Stream), Progress>,
}

/// The agent's current connection.
#[derive(Debug)]
struct Seat {
    link: LinkId,
    session: Session,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Its hello waits for a look-up.
    Waiting(Hello),
    /// The ledger is asked for its positions.
    Asked { hello: Hello, lookup: u64 },
    /// Registered as its ancestors' heir by the next commit.
    Registering(Hello),
    /// Welcomed, with this many streams.
    Active { streams: usize },
}

/// What is on its way into the ledger.
#[derive(Debug)]
struct Flight {
    id: u64,
    parts: Vec<(Name, u64)>,
    heirs: Vec<AgentId>,
    /// Sources that the ledger did not have, by the agent that brought them.
    new: BTreeMap<AgentId, u32>,
}

impl Machine {
    /// A machine that first asks the ledger to recover. `seed`: any number, for the jitter of retries.
    pub(crate) fn new(limits: Limits, seed: u64) -> Self {
        Self {
            limits,
            phase: Phase::Recovering,
            closing: false,
            agents: BTreeMap::new(),
            shares: Shares::new(limits.budget),
            turns: Turns::default(),
            hellos: BTreeMap::new(),
            lookup: None,
            heirs: BTreeMap::new(),
            flight: None,
            held: 0,
            reminded: BTreeMap::new(),
            presence: Presence::default(),
            credit: Credit::default(),
            rejected: false,
            backoff: Backoff::new(seed),
            last_id: 0,
            effects: VecDeque::from([Effect::Recover]),
        }
    }

    /// The next thing to do.
    pub(crate) fn poll_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self.phase {
            Phase::Broken { retry_at } if !self.closing => Some(retry_at),
            Phase::Running if self.flight.is_none() && !self.closing => {
                self.turns.since().map(|since| since + self.limits.linger)
            }
            _ => None,
        }
    }

    /// Memory of what was taken from agents and not committed, bytes.
    pub(crate) fn held(&self) -> usize {
        self.held
    }

    /// Of that, what is `agent`'s.
    pub(crate) fn held_by(&self, agent: &AgentId) -> usize {
        self.agents.get(agent).map_or(0, |known| known.streams.values().map(Progress::held).sum())
    }

    /// Agents with a session.
    pub(crate) fn sessions(&self) -> usize {
        self.shares.sessions()
    }

    /// Whether the ledger has nothing of this machine under way.
    pub(crate) fn is_settled(&self) -> bool {
        self.flight.is_none()
    }

    /// Begins nothing new from now on; results of what is under way are still handled.
    pub(crate) fn close(&mut self) {
        self.closing = true;
    }

    /// An agent said hello.
    pub(crate) fn handle_hello(&mut self, now: Instant, link: LinkId, agent: &AgentId, hello: Hello) {
        if let Some(reason) = unusable(&hello) {
            self.refuse(link, agent, hello.session, reason.to_owned());
            return;
        }
        if self.agents.get(agent).and_then(|a| a.seat.as_ref()).is_some_and(|seat| seat.link > link) {
            self.refuse(link, agent, hello.session, "a newer connection of this agent is open".to_owned());
            return;
        }
        self.unseat(agent);
        self.presence.seat(link, hello.epoch);
        let seat = Seat { link, session: hello.session, stage: Stage::Waiting(hello) };
        self.agents.entry(agent.clone()).or_default().seat = Some(seat);
        self.hellos.insert(link, agent.clone());
        self.pump(now);
    }

    /// An agent sent a batch.
    pub(crate) fn handle_batch(&mut self, now: Instant, link: LinkId, agent: &AgentId, batch: Batch) {
        let Batch { session, epoch, stream, first, items } = batch;
        let Some(known) = self.agents.get_mut(agent).filter(|a| a.is_active(link, session)) else {
            self.remind(now, link, session);
            return;
        };
        let Some(progress) = known.streams.get_mut(&(epoch, stream)).filter(|p| p.is_offered()) else {
            self.unseat(agent);
            self.refuse(link, agent, session, format!("the hello did not offer stream {stream} of start {epoch}"));
            return;
        };
        if progress.is_new()
            && let Err(pause) = self.credit.ask(now, agent)
        {
            self.put_off(link, agent, session, pause);
            return;
        }
        let stands = progress.waits();
        match progress.take(first, items) {
            Taking::Took { size, duplicates } => {
                self.held += size.held;
                if size.wire > 0 {
                    self.turns.add(now, Name { agent: agent.clone(), epoch, stream }, stands, size.wire);
                }
                if duplicates > 0 {
                    self.notice(Notice::Duplicates(duplicates));
                }
                if size.wire == 0 {
                    self.repeat_ack(agent, epoch, stream);
                }
                self.pump(now);
            }
            Taking::Hole { ask: Some(next) } => {
                self.notice(Notice::Rewound { agent: agent.clone(), epoch, stream, next, got: first });
                self.send(link, Down::Rewind { session, epoch, stream, next });
            }
            Taking::Hole { ask: None } => {}
            Taking::TooMuch => {
                self.unseat(agent);
                self.refuse(link, agent, session, format!("more of stream {stream} sent than granted"));
            }
        }
    }

    /// A connection ended. `newer`: the one that took its place while the agent at its other end was alive.
    pub(crate) fn handle_gone(&mut self, link: LinkId, agent: &AgentId, newer: Option<LinkId>) {
        self.reminded.remove(&link);
        self.presence.leave(link, newer);
        if self.agents.get(agent).and_then(|a| a.seat.as_ref()).is_some_and(|seat| seat.link == link) {
            self.unseat(agent);
        }
    }

    /// The ledger answered a look-up.
    pub(crate) fn handle_known(&mut self, now: Instant, id: u64, found: &Durable) {
        let Some((_, asked)) = self.lookup.take_if(|(lookup, _)| *lookup == id) else { return };
        for agent in asked {
            if let Err(moved) = self.learn(now, &agent, id, found) {
                let error =
                    LedgerError::Conflict { found: found.position(&moved).map(Position::get), source_name: moved };
                self.fail(now, &error);
                return;
            }
        }
        self.pump(now);
    }

    /// The ledger has a commit, and reported the positions of all its sources afterwards.
    pub(crate) fn handle_committed(&mut self, now: Instant, id: u64, durable: &Durable) {
        let Some(flight) = self.flight.take_if(|flight| flight.id == id) else { return };
        self.backoff.reset();
        if std::mem::take(&mut self.rejected) {
            self.notice(Notice::LedgerReady);
        }
        for (name, to) in flight.parts {
            let Some(up_to) = durable.reached(&name.source(), to) else {
                let reason = format!("{} was committed up to {to} but the ledger does not tell so", name.source());
                self.fail(now, &LedgerError::Unavailable(reason));
                return;
            };
            self.acknowledge(&name, up_to);
        }
        for (agent, sources) in flight.new {
            self.credit.owe(now, &agent, sources);
        }
        for agent in flight.heirs {
            let Some(seat) = self.agents.get_mut(&agent).and_then(|a| a.seat.as_mut()) else { continue };
            if let Stage::Registering(hello) = &seat.stage {
                let hello = hello.clone();
                self.welcome(now, &agent, &hello, None);
            }
        }
        self.pump(now);
    }

    /// The ledger failed at whatever it was asked, or by itself.
    pub(crate) fn handle_failed(&mut self, now: Instant, error: &LedgerError) {
        if self.phase == Phase::Running {
            self.fail(now, error);
        }
    }

    /// The ledger recovered, or did not.
    pub(crate) fn handle_recovered(&mut self, now: Instant, outcome: Result<(), LedgerError>) {
        if self.phase != Phase::Recovering {
            return;
        }
        match outcome {
            Ok(()) => {
                self.phase = Phase::Running;
                if !self.rejected {
                    self.notice(Notice::LedgerReady);
                }
                self.pump(now);
            }
            Err(error) => self.fail(now, &error),
        }
    }

    /// Time has come as far as [`poll_timeout`](Self::poll_timeout) said.
    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if let Phase::Broken { retry_at } = self.phase
            && now >= retry_at
            && !self.closing
        {
            self.phase = Phase::Recovering;
            self.effects.push_back(Effect::Recover);
        }
        self.pump(now);
    }

    /// Starts a look-up and a commit where there is reason for one and none under way.
    fn pump(&mut self, now: Instant) {
        if self.phase != Phase::Running || self.closing {
            return;
        }
        if self.lookup.is_none() && !self.hellos.is_empty() {
            self.look_up();
        }
        let due = || self.turns.is_due(now, self.limits.linger, self.limits.max_bytes);
        if self.flight.is_none() && (!self.heirs.is_empty() || due()) {
            self.commit(now);
        }
    }

    fn next_id(&mut self) -> u64 {
        self.last_id += 1;
        self.last_id
    }

    fn notice(&mut self, notice: Notice) {
        self.effects.push_back(Effect::Notice(notice));
    }

    fn send(&mut self, link: LinkId, down: Down) {
        self.effects.push_back(Effect::Send { link, down });
    }
}

impl Agent {
    fn stream(&self, name: &Name) -> Option<&Progress> {
        self.streams.get(&(name.epoch, name.stream))
    }

    fn stream_mut(&mut self, name: &Name) -> Option<&mut Progress> {
        self.streams.get_mut(&(name.epoch, name.stream))
    }

    /// Whether `session` on `link` is the agent's current one, and welcomed.
    fn is_active(&self, link: LinkId, session: Session) -> bool {
        self.seat.as_ref().is_some_and(|seat| {
            seat.link == link && seat.session == session && matches!(seat.stage, Stage::Active { .. })
        })
    }

    /// Forgets streams that nobody offers and of which nothing is uncommitted.
    fn tidy(&mut self) {
        self.streams.retain(|_, progress| progress.is_offered() || progress.held() > 0);
    }

    fn is_empty(&self) -> bool {
        self.seat.is_none() && self.streams.is_empty()
    }
}

/// Why no session can be made of `hello`.
fn unusable(hello: &Hello) -> Option<&'static str> {
    let mut seen = BTreeSet::new();
    if !hello.streams.iter().all(|offer| seen.insert((offer.epoch, offer.stream))) {
        return Some("the hello offers a stream twice");
    }
    let mut line = BTreeSet::from([hello.epoch]);
    let repeats = !hello.ancestors.iter().all(|ancestor| line.insert(*ancestor));
    repeats.then_some("the hello names a start twice in its line")
}
