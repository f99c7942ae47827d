//! Random schedules over the model, and the machine's promises one by one.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gaitway_proto::envelope::{Batch, Down, Gap, Hello, Item, Offer};
use gaitway_proto::ledger::{Epoch, LedgerError, Source, Stream};
use gaitway_proto::limits::MAX_ANCESTORS;
use gaitway_proto::topic::AgentId;
use proptest::prelude::*;

use super::model::{Step, World};
use super::{Commit, Effect, Hole, Limits, Machine, Notice};
use crate::ledger::{Desk, Outcome, Request};
use crate::link::{LinkId, LinkIds};
use crate::memory::{Fault, MemoryLedger};

mod credit;
mod lineage;

fn stream() -> impl Strategy<Value = Stream> {
    prop_oneof![Just(Stream::Raw), Just(Stream::Activity)]
}

fn step() -> impl Strategy<Value = Step> {
    let agent = || 0..4_usize;
    let lane = || 0..3_usize;
    let fault = prop_oneof![Just(Fault::Unavailable), Just(Fault::StoredButUnavailable), Just(Fault::Conflict)];
    prop_oneof![
        8 => (agent(), stream(), prop::bool::weighted(0.1))
            .prop_map(|(agent, stream, gap)| Step::Push { agent, stream, gap }),
        3 => agent().prop_map(Step::Connect),
        3 => agent().prop_map(Step::TakeOver),
        1 => agent().prop_map(Step::Disconnect),
        1 => agent().prop_map(Step::RestartAgent),
        2 => agent().prop_map(Step::Note),
        1 => agent().prop_map(Step::Clone),
        1 => agent().prop_map(Step::Elsewhere),
        12 => (agent(), stream()).prop_map(|(agent, stream)| Step::Batch { agent, stream }),
        16 => (agent(), lane()).prop_map(|(agent, lane)| Step::Up { agent, lane }),
        2 => (agent(), lane()).prop_map(|(agent, lane)| Step::Lose { agent, lane }),
        2 => (agent(), lane()).prop_map(|(agent, lane)| Step::Double { agent, lane }),
        12 => agent().prop_map(Step::Down),
        3 => lane().prop_map(Step::Ghost),
        10 => Just(Step::Ledger),
        10 => Just(Step::Outcome),
        1 => fault.prop_map(Step::Inject),
        16 => agent().prop_map(Step::Round),
        4 => (0..200_u64).prop_map(Step::Wait),
        1 => Just(Step::RestartRelay),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    /// Whatever happens, everything offered ends up in the ledger exactly once and in order, and no acknowledgement
    /// was ahead of the ledger.
    #[test]
    fn everything_offered_is_stored_once_in_order(
        agents in 1..4_usize,
        steps in prop::collection::vec(step(), 0..400),
    ) {
        let mut world = World::new(agents);
        for step in &steps {
            world.step(step);
        }
        world.settle();
        world.verify();
    }
}

/// A machine with a ledger at its side, run to rest by hand.
struct Bench {
    now: Instant,
    machine: Machine,
    ledger: MemoryLedger,
    desk: Desk,
    links: LinkIds,
    agent: AgentId,
    sent: Vec<(LinkId, Down)>,
    commits: Vec<usize>,
    recoveries: usize,
    /// What the operator was told last.
    ready: bool,
    /// Gaps that the operator was told of, together.
    holes: Vec<Vec<Hole>>,
}

const WIDE: Limits = Limits { max_bytes: 512 * 1024, linger: Duration::ZERO, budget: 1 << 20 };

impl Bench {
    fn new(limits: Limits) -> Self {
        let ledger = MemoryLedger::default();
        let mut bench = Self {
            now: Instant::now(),
            machine: Machine::new(limits, 1),
            desk: Desk::new(Box::new(ledger.clone())),
            ledger,
            links: LinkIds::default(),
            agent: "pi".parse().unwrap(),
            sent: Vec::new(),
            commits: Vec::new(),
            recoveries: 0,
            ready: false,
            holes: Vec::new(),
        };
        bench.rest();
        bench
    }

    /// Carries out effects until there are none.
    fn rest(&mut self) {
        while let Some(effect) = self.machine.poll_effect() {
            let request = match effect {
                Effect::Send { link, down } => {
                    self.sent.push((link, down));
                    continue;
                }
                Effect::Notice(notice) => {
                    match notice {
                        Notice::LedgerReady => self.ready = true,
                        Notice::LedgerFailed { .. } => self.ready = false,
                        Notice::Elsewhere { gaps, .. } => self.holes.push(gaps),
                        _ => {}
                    }
                    continue;
                }
                Effect::Fenced(reason) => panic!("{reason}"),
                Effect::LookUp(look_up) => Request::LookUp(look_up),
                Effect::Commit(commit) => {
                    assert_takeable(&commit);
                    self.commits.push(commit.parts.iter().map(|part| part.entries.len()).sum());
                    Request::Commit(commit)
                }
                Effect::Recover => {
                    self.recoveries += 1;
                    Request::Recover
                }
            };
            match self.desk.answer(request, 0) {
                Outcome::Recovered(outcome) => self.machine.handle_recovered(self.now, outcome),
                Outcome::Known { id, found } => self.machine.handle_known(self.now, id, &found),
                Outcome::Committed { id, durable, .. } => self.machine.handle_committed(self.now, id, &durable),
                Outcome::Failed(error) => self.machine.handle_failed(self.now, &error),
            }
        }
    }

    fn told(&mut self) -> Vec<Down> {
        self.sent.drain(..).map(|(_, down)| down).collect()
    }

    fn hello(&mut self, link: LinkId, hello: Hello) -> Vec<Down> {
        self.machine.handle_hello(self.now, link, &self.agent.clone(), hello);
        self.rest();
        self.told()
    }

    fn batch(&mut self, link: LinkId, session: u64, first: u64, frames: usize) -> Vec<Down> {
        self.hand_in(link, session, first, frames);
        self.rest();
        self.told()
    }

    fn hand_in(&mut self, link: LinkId, session: u64, first: u64, frames: usize) {
        let items = vec![Item::Frame(Bytes::from_static(&[0; 96])); frames];
        let batch = Batch { session, epoch: epoch(1), stream: Stream::Raw, first, items };
        self.machine.handle_batch(self.now, link, &self.agent.clone(), batch);
    }
}

/// What any ledger must find in a commit, or reject it.
fn assert_takeable(commit: &Commit) {
    let marks: Vec<_> = commit.parts.iter().map(|part| &part.mark).chain(&commit.heirs).collect();
    let sources: BTreeSet<_> = marks.iter().map(|mark| &mark.source).collect();
    assert!(!marks.is_empty() && sources.len() == marks.len(), "{commit:?}");
    for mark in marks {
        assert!(i64::try_from(mark.to).is_ok() && mark.from.is_none_or(|from| from < mark.to), "{mark:?}");
    }
    for part in &commit.parts {
        assert!(!part.entries.is_empty() && part.mark.source == part.name.source(), "{part:?}");
    }
}

proptest! {
    /// A rejected commit would stop every agent: whatever one says that decodes, its marks are in order.
    #[test]
    fn no_agent_can_make_a_commit_that_a_ledger_rejects(
        words in prop::collection::vec((0..3_usize, extreme(), extreme(), extreme(), stream(), any::<bool>()), 1..30),
    ) {
        let mut bench = Bench::new(WIDE);
        let mut link = bench.links.next();
        for (kind, a, b, c, stream, newer) in words {
            let start = Epoch::from_random(a);
            if kind == 0 {
                let streams = vec![Offer { epoch: start, ordinal: c, stream, first: b, next: b.max(c) }];
                let ancestors = vec![Epoch::from_random(b), Epoch::from_random(c)];
                let hello = Hello { session: 1, software: String::new(), epoch: start, ancestors, streams };
                let Ok(hello) = Hello::decode(&hello.encode()) else { continue };
                if newer {
                    link = bench.links.next();
                }
                bench.hello(link, hello);
            } else {
                let gap = Gap { span: c, messages: c, readings: c, reason: String::new(), noticed_at: i64::MIN };
                let items = if kind == 1 { vec![Item::Gap(gap)] } else { vec![Item::Frame(Bytes::new()), Item::Gap(gap)] };
                let batch = Batch { session: 1, epoch: start, stream, first: b, items };
                let Ok(batch) = Batch::decode(&batch.encode()) else { continue };
                bench.machine.handle_batch(bench.now, link, &bench.agent.clone(), batch);
                bench.rest();
            }
            prop_assert!(bench.ready);
        }
    }
}

/// Numbers at the ends.
fn extreme() -> impl Strategy<Value = u64> {
    const MOST: u64 = i64::MAX as u64;
    prop::sample::select(vec![0, 1, 2, 3, MOST - 2, MOST - 1, MOST, MOST + 1, u64::MAX])
}

fn epoch(n: u64) -> Epoch {
    Epoch::from_random(n)
}

fn hello(session: u64, start: u64, ancestors: &[u64], first: u64) -> Hello {
    let streams = vec![Offer { epoch: epoch(start), ordinal: start, stream: Stream::Raw, first, next: first }];
    let ancestors = ancestors.iter().copied().map(epoch).collect();
    Hello { session, software: "test".to_owned(), epoch: epoch(start), ancestors, streams }
}

/// The last start in common with the other line, if the welcome tells of one.
fn forked(told: &[Down]) -> Option<u64> {
    let [Down::Welcome(welcome)] = told else { panic!("not one welcome: {told:?}") };
    welcome.forked.map(Epoch::get)
}

fn acks(told: &[Down]) -> Vec<u64> {
    told.iter().filter_map(|down| if let Down::Ack(ack) = down { Some(ack.up_to) } else { None }).collect()
}

/// Start `start`, with these before it, says hello on a new link.
fn greet(bench: &mut Bench, start: u64, ancestors: &[u64]) -> Option<u64> {
    let link = bench.links.next();
    forked(&bench.hello(link, hello(start, start, ancestors, 1)))
}

#[test]
fn a_start_is_named_once_in_its_line() {
    let mut bench = Bench::new(WIDE);
    for ancestors in [&[2, 1, 2][..], &[1, 7], &[7]] {
        let link = bench.links.next();
        let told = bench.hello(link, hello(1, 7, ancestors, 1));
        assert!(matches!(&told[..], [Down::Refused { session: 1, reason }] if reason.contains("twice")), "{told:?}");
    }
    assert_eq!(bench.commits.len(), 0);
}

#[test]
fn a_welcome_waits_until_every_ancestor_without_an_heir_has_one_in_one_commit() {
    let mut bench = Bench::new(WIDE);
    let most: Vec<u64> = (100..100 + MAX_ANCESTORS as u64).collect();
    assert_eq!(greet(&mut bench, 1, &most), None);
    assert_eq!(bench.commits.len(), 1);
    for ancestor in most {
        let heir = Source::heir(&bench.agent, epoch(ancestor));
        assert_eq!(bench.ledger.position(&heir), Some(1));
    }
    assert_eq!(greet(&mut bench, 1, &[105, 103]), None);
    assert_eq!(bench.commits.len(), 1, "nothing was left to register");
}

#[test]
fn what_another_relay_acknowledged_becomes_a_gap_record() {
    let mut bench = Bench::new(WIDE);
    let link = bench.links.next();
    let told = bench.hello(link, hello(7, 1, &[], 11));
    let [Down::Welcome(welcome), Down::Ack(ack)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((welcome.streams[0].committed, ack.up_to), (0, 10));
    let rows = bench.ledger.rows();
    assert_eq!((rows.len(), rows[0].seq, rows[0].to_seq), (1, 1, 10));
    assert!(rows[0].json.contains("not in this ledger though acknowledged before"), "{}", rows[0].json);
    assert_eq!(acks(&bench.batch(link, 7, 11, 2)), [12]);
}

#[test]
fn all_gaps_of_a_welcome_are_told_together() {
    let mut bench = Bench::new(WIDE);
    let link = bench.links.next();
    let mut offers = hello(7, 1, &[], 11);
    offers.streams.push(Offer { stream: Stream::Activity, first: 3, next: 4, ..offers.streams[0] });
    bench.hello(link, offers);
    let hole = |stream, to| Hole { epoch: epoch(1), stream, from: 1, to };
    assert_eq!(bench.holes, [[hole(Stream::Raw, 10), hole(Stream::Activity, 2)]]);
    assert_eq!(bench.holes[0][0].to_string(), "0000000000000001/raw seq 1 to 10");
}

#[test]
fn after_a_ledger_error_sessions_end_and_hellos_wait_for_the_recovery() {
    let mut bench = Bench::new(WIDE);
    let link = bench.links.next();
    bench.hello(link, hello(7, 1, &[], 1));
    bench.ledger.inject(Fault::StoredButUnavailable);
    let told = bench.batch(link, 7, 1, 2);
    assert_eq!(told, [Down::HelloAgain { session: 7 }]);
    assert_eq!((bench.machine.held(), bench.machine.sessions()), (0, 0));

    assert_eq!(bench.hello(link, hello(8, 1, &[], 1)), []);
    assert_eq!(bench.hello(link, hello(9, 1, &[], 1)), []);
    let wake = bench.machine.poll_timeout().unwrap();
    bench.machine.handle_timeout(bench.now);
    assert_eq!(bench.machine.poll_timeout(), Some(wake), "not yet");
    assert!(wake - bench.now <= Duration::from_millis(100));
    bench.now = wake;
    bench.machine.handle_timeout(bench.now);
    bench.rest();
    let told = bench.told();
    let [Down::Welcome(welcome)] = &told[..] else { panic!("{told:?}") };
    assert_eq!((welcome.session, welcome.streams[0].committed), (9, 2), "the latest hello, what was stored after all");
    assert_eq!(bench.recoveries, 2);
    assert_eq!(acks(&bench.batch(link, 9, 1, 3)), [3]);
    assert_eq!(bench.ledger.rows().len(), 3);
}

#[test]
fn a_ledger_that_rejects_is_asked_rarely_and_not_called_ready_before_it_takes_a_commit() {
    let mut bench = Bench::new(WIDE);
    let link = bench.links.next();
    assert!(bench.ready);
    bench.hello(link, hello(1, 1, &[], 1));
    for session in 2..5 {
        bench.ledger.inject(Fault::Rejected);
        bench.batch(link, session - 1, 1, 2);
        assert!(!bench.ready);
        let wait = bench.machine.poll_timeout().unwrap() - bench.now;
        assert_eq!(wait, Duration::from_secs(10));
        bench.now += wait;
        bench.machine.handle_timeout(bench.now);
        bench.rest();
        assert!(!bench.ready, "recovered, and has taken nothing");
        assert!(bench.ledger.rows().is_empty());
        bench.hello(link, hello(session, 1, &[], 1));
    }
    assert_eq!(acks(&bench.batch(link, 4, 1, 2)), [2]);
    assert!(bench.ready);
}

#[test]
fn a_hello_that_the_ledger_failed_to_answer_is_answered_after_the_recovery() {
    let mut bench = Bench::new(WIDE);
    for stage in 0..2_u64 {
        // First the look-up fails, then the commit of the heir.
        let link = bench.links.next();
        bench.machine.handle_hello(bench.now, link, &bench.agent.clone(), hello(stage, stage + 2, &[stage + 1], 1));
        if stage == 1 {
            bench.ledger.inject(Fault::StoredButUnavailable);
            bench.rest();
        } else {
            bench.machine.handle_failed(bench.now, &LedgerError::Unavailable("housekeeping".to_owned()));
            bench.rest();
        }
        assert_eq!(bench.told(), []);
        bench.now = bench.machine.poll_timeout().unwrap();
        bench.machine.handle_timeout(bench.now);
        bench.rest();
        assert_eq!(forked(&bench.told()), None, "{stage}");
    }
}

#[test]
fn an_unknown_session_is_told_to_say_hello_once_a_second() {
    let mut bench = Bench::new(WIDE);
    let [link, other] = [(); 2].map(|()| bench.links.next());
    assert_eq!(bench.batch(link, 7, 1, 1), [Down::HelloAgain { session: 7 }]);
    assert_eq!(bench.batch(link, 7, 2, 1), []);
    assert_eq!(bench.batch(other, 7, 2, 1), [Down::HelloAgain { session: 7 }]);
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.batch(link, 7, 3, 1), [Down::HelloAgain { session: 7 }]);
    bench.hello(other, hello(8, 1, &[], 1));
    bench.now += Duration::from_secs(1);
    assert_eq!(bench.batch(link, 8, 1, 1), [Down::HelloAgain { session: 8 }], "the session is another link's");
}

#[test]
fn the_newest_link_of_an_agent_wins() {
    let mut bench = Bench::new(WIDE);
    let [older, newer] = [(); 2].map(|()| bench.links.next());
    bench.hello(older, hello(1, 1, &[], 1));
    bench.hello(newer, hello(2, 1, &[], 1));
    assert!(matches!(bench.hello(older, hello(3, 1, &[], 1))[..], [Down::Refused { session: 3, .. }]));
    bench.machine.handle_gone(older, &bench.agent.clone(), None);
    assert_eq!(acks(&bench.batch(newer, 2, 1, 1)), [1]);
}

#[test]
fn what_was_taken_from_a_link_that_is_gone_is_committed_all_the_same() {
    let mut bench = Bench::new(Limits { linger: Duration::from_millis(50), ..WIDE });
    let link = bench.links.next();
    bench.hello(link, hello(1, 1, &[], 1));
    bench.hand_in(link, 1, 1, 2);
    bench.machine.handle_gone(link, &bench.agent.clone(), None);
    bench.rest();
    assert_eq!(bench.ledger.rows().len(), 0, "it lingers");
    bench.now = bench.machine.poll_timeout().unwrap();
    bench.machine.handle_timeout(bench.now);
    bench.rest();
    assert_eq!(bench.ledger.rows().len(), 2);
    assert_eq!(bench.told(), [], "nobody is there to be told");
    assert!(bench.machine.agents.is_empty());
}

#[test]
fn a_commit_stays_within_its_size() {
    let mut bench = Bench::new(Limits { max_bytes: 1_000, linger: Duration::from_millis(50), ..WIDE });
    let link = bench.links.next();
    bench.hello(link, hello(1, 1, &[], 1));
    bench.hand_in(link, 1, 1, 25);
    bench.rest();
    assert_eq!(bench.commits, [10, 10], "full ones go at once");
    bench.now = bench.machine.poll_timeout().unwrap();
    bench.machine.handle_timeout(bench.now);
    bench.rest();
    assert_eq!(bench.commits, [10, 10, 5]);
    assert_eq!(acks(&bench.told()), [10, 20, 25]);
}

#[test]
fn agents_take_turns_and_activity_goes_before_raw() {
    let mut bench = Bench::new(Limits { max_bytes: 100_000, linger: Duration::from_millis(50), ..WIDE });
    let agents = [("a", Stream::Raw, 9), ("b", Stream::Raw, 1), ("c", Stream::Activity, 1)];
    let links = agents.map(|(agent, stream, _)| {
        let link = bench.links.next();
        bench.agent = agent.parse().unwrap();
        let mut hello = hello(1, 1, &[], 1);
        hello.streams[0].stream = stream;
        bench.hello(link, hello);
        link
    });
    for ((agent, stream, frames), link) in agents.into_iter().zip(links) {
        let items = vec![Item::Frame(Bytes::from(vec![0; 30_000])); frames];
        let batch = Batch { session: 1, epoch: epoch(1), stream, first: 1, items };
        bench.machine.handle_batch(bench.now, link, &agent.parse().unwrap(), batch);
    }
    let names = |effect| match effect {
        Effect::Commit(commit) => commit.parts.iter().map(|p| (p.name.agent.to_string(), p.entries.len())).collect(),
        _ => vec![],
    };
    let parts = |counts: &[(&str, usize)]| -> Vec<(String, usize)> {
        counts.iter().map(|(agent, frames)| ((*agent).to_owned(), *frames)).collect()
    };
    let first = std::iter::from_fn(|| bench.machine.poll_effect()).map(names).find(|parts| !parts.is_empty());
    assert_eq!(first, Some(parts(&[("a", 3)])), "the others had not come");
    bench.machine.flight = None;
    bench.machine.handle_timeout(bench.now + Duration::from_millis(50));
    let second = std::iter::from_fn(|| bench.machine.poll_effect()).map(names).find(|parts| !parts.is_empty());
    assert_eq!(second, Some(parts(&[("a", 1), ("b", 1), ("c", 1)])));
}

#[test]
fn after_closing_the_commit_under_way_is_acknowledged_and_nothing_else_begins() {
    let mut bench = Bench::new(Limits { max_bytes: 100, ..WIDE });
    let link = bench.links.next();
    bench.hello(link, hello(1, 1, &[], 1));
    bench.hand_in(link, 1, 1, 5);
    bench.machine.close();
    assert!(!bench.machine.is_settled());
    bench.rest();
    assert!(bench.machine.is_settled());
    assert_eq!(acks(&bench.told()), [1]);
    assert_eq!(bench.commits.len(), 1);
}

#[test]
fn another_owner_for_good_ends_the_process() {
    let mut bench = Bench::new(WIDE);
    bench.machine.handle_failed(bench.now, &LedgerError::Fenced("gone".to_owned()));
    let effect = bench.machine.poll_effect();
    assert!(matches!(&effect, Some(Effect::Fenced(reason)) if reason == "gone"), "{effect:?}");
    assert_eq!(bench.machine.poll_timeout(), None);
}

#[test]
fn a_stream_that_the_hello_did_not_offer_is_refused() {
    let mut bench = Bench::new(WIDE);
    let link = bench.links.next();
    bench.hello(link, hello(1, 2, &[], 1));
    let told = bench.batch(link, 1, 1, 1);
    assert!(
        matches!(&told[..], [Down::Refused { session: 1, reason }] if reason.contains("did not offer")),
        "{told:?}"
    );
    let mut twice = hello(2, 2, &[], 1);
    twice.streams.extend(twice.streams.clone());
    assert!(matches!(bench.hello(link, twice)[..], [Down::Refused { session: 2, .. }]));
}

#[test]
fn grants_shrink_for_everybody_before_a_newcomer_gets_its_own() {
    let mut bench = Bench::new(WIDE);
    let mut links = Vec::new();
    for n in 0..3 {
        bench.agent = format!("agent-{n}").parse().unwrap();
        links.push(bench.links.next());
        bench.machine.handle_hello(bench.now, links[n as usize], &bench.agent.clone(), hello(n, 1, &[], 1));
        bench.rest();
    }
    let grants: Vec<(LinkId, u32)> = (bench.sent.iter())
        .map(|(link, down)| match down {
            Down::Welcome(welcome) => (*link, welcome.streams[0].grant),
            Down::Ack(ack) => (*link, ack.grant),
            other => panic!("{other:?}"),
        })
        .collect();
    let budget = WIDE.budget as u32;
    let [a, b, c] = links[..] else { panic!() };
    let (half, quarter) = (budget / 2, budget / 4);
    assert_eq!(grants, [(a, budget), (a, half), (b, half), (a, quarter), (b, quarter), (c, quarter)]);
}
