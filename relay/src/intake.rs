//! Between connections and the commit machine: payloads in, words for agents out.
//!
//! Knows links and agents, not sockets, so that any front end that carries MQTT can stand before it.
//!
//! - A payload that cannot be read is answered with a refusal and a reason.
//! - A link that does not take its words is dropped; the others are not held up.
//! - A link whose connection has ended is kept until it is told how it ended.
//! - While more is held of one agent than its part nothing more is read from it, and the others go on.
//! - While more is held than allowed nothing more is read from agents.
//! - What one agent does over and over is in the log once a minute, and so is a ledger that fails over and over.
//! - At shutdown the commit under way is waited for and acknowledged.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use gaitway_proto::envelope::{Batch, Down, Hello};
use gaitway_proto::ledger::Stream;
use gaitway_proto::topic::{AgentId, Up};
use gaitway_service::clock;
use gaitway_service::health::Part;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use crate::Fenced;
use crate::agents::Agents;
use crate::commit::{ELSEWHERE, Effect, Failure, Hole, Machine, Notice};
use crate::ledger::{Outcome, Request, Tally};
use crate::link::LinkId;
use crate::metrics::RelayMetrics;
use crate::status::RelayStatus;
use crate::throttle::{Before, Throttle, Trouble};

mod inlet;
mod patience;
pub(crate) use inlet::{Closed, Event, Inlet, inlet};
pub(crate) use patience::Patience;

/// How long the commit under way is waited for at shutdown.
pub(crate) const FINISH_WITHIN: Duration = Duration::from_secs(7);

/// Part of what may be held that one agent may take up, and one payload more.
const PARTS: usize = 4;

/// Words that may wait for one agent: a commit may acknowledge each stream of a hello.
pub(crate) const OUTBOX: usize = 2 * gaitway_proto::limits::MAX_HELLO_STREAMS;

/// Gaps of one welcome that are told one by one.
const GAPS_TOLD: usize = 8;

/// See the module.
pub(crate) struct Intake {
    pub machine: Machine,
    pub requests: SyncSender<Request>,
    pub most_held: usize,
    pub metrics: RelayMetrics,
    pub status: Arc<RelayStatus>,
    pub agents: Arc<Agents>,
    pub health: Part,
    pub links: HashMap<LinkId, Linked>,
    pub throttle: Throttle,
    pub trouble: Trouble,
    pub patience: Patience,
}

/// A connection as the intake sees it.
pub(crate) struct Linked {
    agent: AgentId,
    outbox: mpsc::Sender<Down>,
    /// Kept while too much of the agent is held.
    turn: Option<OwnedSemaphorePermit>,
}

impl Intake {
    /// Works until shutdown, or until the ledger is another's.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut outcomes: mpsc::Receiver<Outcome>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        let mut closing = None;
        loop {
            self.carry_out()?;
            if closing.is_some_and(|deadline| self.machine.is_settled() || Instant::now() >= deadline) {
                return Ok(());
            }
            let wake = self.machine.poll_timeout().into_iter().chain(closing).chain(self.patience.poll_timeout()).min();
            let has_room = closing.is_none() && self.machine.held() < self.most_held;
            tokio::select! {
                biased;
                () = shutdown.cancelled(), if closing.is_none() => {
                    self.machine.close();
                    closing = Some(Instant::now() + FINISH_WITHIN);
                }
                outcome = outcomes.recv() => self.conclude(outcome.context("the ledger's thread ended")?),
                () = sleep_until(wake) => {
                    let now = Instant::now();
                    self.machine.handle_timeout(now);
                    if let Some(waited) = self.patience.handle_timeout(now) {
                        self.health.not_ready(format!("the ledger has not answered for {} s: agents keep what comes", waited.as_secs()));
                    }
                }
                event = events.recv(), if has_room => self.handle(event.context("the listener ended")?),
            }
        }
    }

    pub(crate) fn handle(&mut self, event: Event) {
        match event {
            Event::Linked { link, agent, outbox } => {
                self.agents.linked(clock::now_micros(), &agent, link);
                self.links.insert(link, Linked { agent, outbox, turn: None });
            }
            Event::Publish { link, up, payload, room: _room, turn } => {
                if let Some(agent) = self.links.get(&link).map(|linked| linked.agent.clone()) {
                    self.read(link, &agent, up, &payload);
                    if let Some(linked) = self.links.get_mut(&link)
                        && has_its_part(&self.machine, self.most_held, &agent)
                    {
                        linked.turn = Some(turn);
                    }
                }
            }
            Event::Gone { link, newer } => self.drop_link(link, newer),
        }
    }

    fn read(&mut self, link: LinkId, agent: &AgentId, up: Up, payload: &Bytes) {
        let now = Instant::now();
        let stream = match up {
            Up::Hello => {
                match Hello::decode(payload) {
                    Ok(hello) => {
                        self.agents.hello(clock::now_micros(), agent, link, &hello);
                        self.machine.handle_hello(now, link, agent, hello);
                    }
                    Err(error) => self.refuse(link, agent, 0, format!("hello: {error}")),
                }
                return;
            }
            Up::Raw => Stream::Raw,
            Up::Activity => Stream::Activity,
        };
        self.metrics.batches.inc();
        match Batch::decode(payload) {
            Ok(batch) if batch.stream == stream => {
                self.agents.batch(clock::now_micros(), agent, &batch);
                self.machine.handle_batch(now, link, agent, batch);
            }
            Ok(batch) => {
                let reason = format!("batch of stream {} on the topic of {stream}", batch.stream);
                self.refuse(link, agent, batch.session, reason);
            }
            Err(error) => self.refuse(link, agent, 0, format!("batch of stream {stream}: {error}")),
        }
    }

    fn refuse(&mut self, link: LinkId, agent: &AgentId, session: u64, reason: String) {
        self.note(Notice::Refused { agent: agent.clone(), reason: reason.clone() });
        self.tell(link, Down::Refused { session, reason });
    }

    pub(crate) fn conclude(&mut self, outcome: Outcome) {
        let now = Instant::now();
        if self.patience.handle_answer(now) {
            self.health.ready();
        }
        match outcome {
            Outcome::Recovered(outcome) => self.machine.handle_recovered(now, outcome),
            Outcome::Known { id, found } => self.machine.handle_known(now, id, &found),
            Outcome::Committed { id, durable, tally, took } => {
                self.count(&tally, took);
                self.machine.handle_committed(now, id, &durable);
            }
            Outcome::Failed(error) => self.machine.handle_failed(now, &error),
        }
        for linked in self.links.values_mut().filter(|linked| linked.turn.is_some()) {
            if !has_its_part(&self.machine, self.most_held, &linked.agent) {
                linked.turn = None;
            }
        }
    }

    pub(crate) fn carry_out(&mut self) -> anyhow::Result<()> {
        while let Some(effect) = self.machine.poll_effect() {
            match effect {
                Effect::Send { link, down } => self.tell(link, down),
                Effect::LookUp(look_up) => self.ask(Request::LookUp(look_up))?,
                Effect::Commit(commit) => self.ask(Request::Commit(commit))?,
                Effect::Recover => self.ask(Request::Recover)?,
                Effect::Notice(notice) => self.note(notice),
                Effect::Fenced(reason) => return Err(Fenced(reason).into()),
            }
        }
        let (sessions, held) = (self.machine.sessions(), self.machine.held());
        self.status.set_present(sessions, held);
        self.metrics.sessions.set(sessions as i64);
        self.metrics.held.set(held as i64);
        Ok(())
    }

    fn ask(&mut self, request: Request) -> anyhow::Result<()> {
        // One look-up, one commit and one recovery at most are under way: the channel holds them.
        self.patience.handle_asked(Instant::now());
        self.requests.try_send(request).map_err(|error| anyhow!("the ledger's thread takes no request: {error}"))
    }

    fn tell(&mut self, link: LinkId, down: Down) {
        let Some(linked) = self.links.get(&link) else { return };
        if let Down::Welcome(welcome) = &down {
            self.agents.welcomed(&linked.agent, welcome);
        }
        // If the connection has ended, `Gone` is on its way, which tells more.
        if let Err(mpsc::error::TrySendError::Full(_)) = linked.outbox.try_send(down) {
            if let Some(before) = self.throttle.tell(Instant::now(), Some(&linked.agent), "slow_reader") {
                let (agent, like_it_before) = (&linked.agent, before.count());
                tracing::warn!(%agent, like_it_before, "agent does not read what it is told, closing its connection");
            }
            self.metrics.count_closed("slow_reader");
            self.drop_link(link, None);
        }
    }

    /// Forgets `link`; its connection ends once its outbox is empty.
    fn drop_link(&mut self, link: LinkId, newer: Option<LinkId>) {
        if let Some(linked) = self.links.remove(&link) {
            self.agents.gone(clock::now_micros(), &linked.agent, link);
            self.machine.handle_gone(link, &linked.agent, newer);
        }
    }

    fn count(&mut self, tally: &Tally, took: Duration) {
        let metrics = &self.metrics;
        metrics.commits.inc();
        metrics.committed_at.set(clock::now_micros() / 1_000_000);
        metrics.commit_seconds.observe(took.as_secs_f64());
        metrics.frames.inc_by(tally.frames);
        metrics.readings.inc_by(tally.readings);
        metrics.windows.inc_by(tally.windows);
        metrics.gaps.inc_by(tally.gaps);
        metrics.bytes.inc_by(tally.bytes);
        metrics.unreadable.inc_by(tally.unreadable);
        self.status.committed(tally.frames, tally.readings, tally.windows);
        self.agents.landed(&tally.landed);
        if let Some(first) = &tally.first_unreadable
            && let Some(before) = self.throttle.tell(Instant::now(), None, "unreadable")
        {
            let (frames, like_it_before) = (tally.unreadable, before.count());
            tracing::error!(frames, first, like_it_before, "frames could not be read, gaps are noted for them");
        }
    }

    fn note(&mut self, notice: Notice) {
        let Self { metrics, throttle, .. } = self;
        let mut tell = |agent, kind| throttle.tell(Instant::now(), Some(agent), kind).map(Before::count);
        match notice {
            Notice::Welcomed { agent, software, streams, forked: None } => {
                if let Some(like_it_before) = tell(&agent, "welcomed") {
                    tracing::info!(%agent, software, streams, like_it_before, "agent welcomed");
                }
            }
            Notice::Welcomed { agent, software, streams, forked: Some(common) } => {
                if let Some(like_it_before) = tell(&agent, "forked") {
                    tracing::warn!(%agent, software, streams, %common, like_it_before, "agent welcomed as a copy: the start in common goes on elsewhere");
                }
            }
            Notice::Refused { agent, reason } => {
                metrics.refused.inc();
                if let Some(like_it_before) = tell(&agent, "refused") {
                    tracing::warn!(%agent, reason, like_it_before, "refused what an agent sent");
                }
            }
            Notice::Duplicates(items) => {
                metrics.duplicates.inc_by(items);
            }
            Notice::Rewound { agent, epoch, stream, next, got } => {
                metrics.rewinds.inc();
                if let Some(like_it_before) = tell(&agent, "rewound") {
                    tracing::info!(%agent, %epoch, %stream, next, got, like_it_before, "a seq is missing, asking for it");
                }
            }
            Notice::Elsewhere { agent, gaps } => {
                if let Some(like_it_before) = tell(&agent, "elsewhere") {
                    let gaps = told_of(&gaps);
                    tracing::error!(%agent, gaps, like_it_before, "{ELSEWHERE}; noting gaps");
                }
            }
            Notice::LedgerReady => {
                self.patience.handle_state(true);
                self.health.ready();
                self.status.set_error(None);
                if self.trouble.ends() {
                    tracing::info!("ledger ready");
                }
            }
            Notice::LedgerFailed { error, failure, pause } => {
                self.metrics.ledger_errors.inc();
                self.patience.handle_state(false);
                self.health.not_ready(error.clone());
                self.status.set_error(Some(error.clone()));
                let Some(before) = self.trouble.tell(Instant::now(), &error) else { return };
                let (retry_in, like_it_before) = (format!("{} ms", pause.as_millis()), before.count());
                match failure {
                    Failure::Conflict => tracing::error!(
                        error,
                        retry_in,
                        like_it_before,
                        "another owner writes to this ledger, starting over from its marks"
                    ),
                    Failure::Rejected => tracing::error!(
                        error,
                        retry_in,
                        like_it_before,
                        "the ledger can never take what it was given: a mistake of this program, please report it"
                    ),
                    Failure::Unavailable => {
                        tracing::warn!(
                            error,
                            retry_in,
                            like_it_before,
                            "ledger failed, agents send again what it has not"
                        );
                    }
                }
            }
        }
    }
}

/// The first of `gaps` and how many more there are.
fn told_of(gaps: &[Hole]) -> String {
    let mut told: Vec<_> = gaps.iter().take(GAPS_TOLD).map(ToString::to_string).collect();
    if let Some(more) = gaps.len().checked_sub(GAPS_TOLD).filter(|more| *more > 0) {
        told.push(format!("{more} more"));
    }
    told.join(", ")
}

/// Whether so much of `agent` is held that nothing more is read from it.
fn has_its_part(machine: &Machine, most_held: usize, agent: &AgentId) -> bool {
    machine.held_by(agent) >= (most_held / PARTS).max(1)
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, sync_channel};

    use gaitway_proto::envelope::{Item, Offer};
    use gaitway_proto::ledger::Epoch;
    use gaitway_service::health::Health;
    use gaitway_service::metrics::Metrics;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::commit::Limits;
    use crate::ledger::Desk;
    use crate::link::LinkIds;
    use crate::memory::MemoryLedger;

    fn intake() -> (Intake, Receiver<Request>) {
        let (requests, asked) = sync_channel(4);
        let limits = Limits { max_bytes: 1_000, linger: Duration::ZERO, budget: 1_000 };
        let intake = Intake {
            machine: Machine::new(limits, 1),
            requests,
            most_held: 4_000,
            metrics: RelayMetrics::register(&Metrics::new()),
            status: Arc::default(),
            agents: Arc::default(),
            health: Health::new().part("relay ledger"),
            links: HashMap::new(),
            throttle: Throttle::default(),
            trouble: Trouble::default(),
            patience: Patience::default(),
        };
        (intake, asked)
    }

    fn unknown_batch() -> Bytes {
        let items = vec![gaitway_proto::envelope::Item::Frame(Bytes::new())];
        Batch { session: 1, epoch: Epoch::from_random(1), stream: Stream::Raw, first: 1, items }.encode().into()
    }

    #[test]
    fn of_many_gaps_the_first_are_told_and_how_many_there_are_more() {
        let hole = |to| Hole { epoch: Epoch::from_random(1), stream: Stream::Raw, from: 1, to };
        let holes: Vec<_> = (1..=GAPS_TOLD as u64 + 2).map(hole).collect();
        assert_eq!(told_of(&holes[..2]), "0000000000000001/raw seq 1 to 1, 0000000000000001/raw seq 1 to 2");
        assert!(told_of(&holes).ends_with("seq 1 to 8, 2 more"));
        assert!(!told_of(&holes[..GAPS_TOLD]).contains("more"));
    }

    #[tokio::test]
    async fn a_link_that_does_not_take_its_words_is_dropped_and_the_others_are_not() {
        let (mut intake, _asked) = intake();
        let (links, agent) = (LinkIds::default(), "pi".parse::<AgentId>().unwrap());
        let [slow, other] = [(); 2].map(|()| links.next());
        let (full, mut words) = mpsc::channel(1);
        let (outbox, mut others_words) = mpsc::channel(1);
        intake.handle(Event::Linked { link: slow, agent: agent.clone(), outbox: full });
        intake.handle(Event::Linked { link: other, agent: agent.clone(), outbox });
        for _ in 0..3 {
            intake.read(slow, &agent, Up::Raw, &Bytes::from_static(b"\x01"));
        }
        intake.read(other, &agent, Up::Raw, &unknown_batch());
        intake.carry_out().unwrap();
        assert!(matches!(words.recv().await, Some(Down::Refused { .. })));
        assert_eq!(words.recv().await, None);
        assert_eq!(others_words.recv().await, Some(Down::HelloAgain { session: 1 }));
        intake.handle(Event::Gone { link: slow, newer: None });
        assert_eq!(intake.links.len(), 1);
    }

    #[tokio::test]
    async fn a_link_whose_connection_has_ended_is_kept_until_it_is_told_how_it_ended() {
        let (mut intake, asked) = intake();
        let (links, agent) = (LinkIds::default(), "pi".parse::<AgentId>().unwrap());
        let [older, newer] = [(); 2].map(|()| links.next());
        let link = |intake: &mut Intake, link| {
            let (outbox, words) = mpsc::channel(4);
            intake.handle(Event::Linked { link, agent: agent.clone(), outbox });
            words
        };
        let hello = |start, ancestors: &[u64]| {
            let ancestors = ancestors.iter().copied().map(Epoch::from_random).collect();
            let epoch = Epoch::from_random(start);
            Hello { session: start, software: String::new(), epoch, ancestors, streams: vec![] }.encode().into()
        };
        let mut desk = Desk::new(Box::new(MemoryLedger::default()));
        let mut answer = |intake: &mut Intake| {
            intake.carry_out().unwrap();
            intake.conclude(desk.answer(asked.try_recv().unwrap(), 0));
            intake.carry_out().unwrap();
        };
        answer(&mut intake);

        let words = link(&mut intake, older);
        intake.read(older, &agent, Up::Hello, &hello(1, &[]));
        answer(&mut intake);
        drop(words);
        intake.tell(older, Down::HelloAgain { session: 1 });
        assert!(intake.links.contains_key(&older));
        intake.handle(Event::Gone { link: older, newer: Some(newer) });
        assert!(intake.links.is_empty());

        let mut words = link(&mut intake, newer);
        intake.read(newer, &agent, Up::Hello, &hello(2, &[1]));
        answer(&mut intake);
        let Ok(Down::Welcome(welcome)) = words.try_recv() else { panic!("not welcomed") };
        assert_eq!(welcome.forked, Some(Epoch::from_random(1)));
    }

    #[tokio::test]
    async fn of_an_agent_of_which_too_much_is_held_nothing_more_is_read_and_the_others_go_on() {
        let (mut intake, asked) = intake();
        let (links, mut desk) = (LinkIds::default(), Desk::new(Box::new(MemoryLedger::default())));
        let [greedy, other] = ["greedy", "other"].map(|id| {
            let (link, turn) = (links.next(), Arc::new(Semaphore::new(1)));
            let (outbox, words) = mpsc::channel(8);
            intake.handle(Event::Linked { link, agent: id.parse().unwrap(), outbox });
            (link, turn, words)
        });
        let mut answer = |intake: &mut Intake| {
            intake.carry_out().unwrap();
            while let Ok(request) = asked.try_recv() {
                intake.conclude(desk.answer(request, 0));
                intake.carry_out().unwrap();
            }
        };
        answer(&mut intake);
        let publish = |intake: &mut Intake, of: &(LinkId, Arc<Semaphore>, _), up, payload: Vec<u8>| {
            let turn = Arc::clone(&of.1).try_acquire_owned().unwrap();
            let room = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
            intake.handle(Event::Publish { link: of.0, up, payload: payload.into(), room, turn });
        };
        let (epoch, stream) = (Epoch::from_random(1), Stream::Raw);
        for of in [&greedy, &other] {
            let streams = vec![Offer { epoch, ordinal: 1, stream, first: 1, next: 1 }];
            let hello = Hello { session: 1, software: String::new(), epoch, ancestors: vec![], streams };
            publish(&mut intake, of, Up::Hello, hello.encode());
            answer(&mut intake);
        }
        let batch = |bytes| {
            let items = vec![Item::Frame(vec![0; bytes].into())];
            Batch { session: 1, epoch, stream, first: 1, items }.encode()
        };
        publish(&mut intake, &greedy, Up::Raw, batch(1_000));
        publish(&mut intake, &other, Up::Raw, batch(1));
        assert_eq!((greedy.1.available_permits(), other.1.available_permits()), (0, 1));
        answer(&mut intake);
        assert_eq!((intake.machine.held(), greedy.1.available_permits()), (0, 1), "committed: it may go on");
    }

    #[tokio::test]
    async fn while_more_is_held_than_allowed_nothing_more_is_read() {
        let (mut intake, _asked) = intake();
        intake.most_held = 0;
        let (way_in, events) = inlet();
        let (_tells, outcomes) = mpsc::channel(1);
        let shutdown = CancellationToken::new();
        let working = tokio::spawn(intake.run(events, outcomes, shutdown.clone()));
        let link = LinkIds::default().next();
        let mut taken = 0;
        while tokio::time::timeout(Duration::from_millis(20), way_in.gone(link, None)).await.is_ok() {
            taken += 1;
            assert!(taken <= 1_024, "the queue is bounded and nobody empties it");
        }
        shutdown.cancel();
        working.await.unwrap().unwrap();
    }
}
