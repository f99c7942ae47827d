//! The machine beside a model: a log with gaps and markers, and a ledger that fails, loses answers, commits late, is taken
//! over. Whatever happens, every record is stored once and in order, or the machine has stopped with a reason.

use std::collections::VecDeque;

use gaitway_proto::ledger::Source;
use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { max_rows: 5, max_bytes: 40, linger: Duration::from_millis(500), max_accepted: 3 };

/// Random choices; when they are used up nothing goes wrong any more.
struct Fate(VecDeque<u8>);

impl Fate {
    fn choose(&mut self, among: u8) -> u8 {
        self.0.pop_front().map_or(0, |byte| byte % among)
    }

    fn is_over(&self) -> bool {
        self.0.is_empty()
    }
}

/// The log and the warehouse as they are.
struct World {
    /// Whether there is a record at the offset; else a marker, or nothing.
    log: Vec<bool>,
    stored: Vec<i64>,
    token: Option<u64>,
    /// Accepted and not committed.
    accepted: VecDeque<(u64, Vec<i64>)>,
    group: Option<Hint>,
    /// Where the reader is.
    position: usize,
    ended: bool,
    fate: Fate,
}

fn unavailable() -> LedgerError {
    LedgerError::Unavailable("injected".to_owned())
}

impl World {
    fn records(&self) -> Vec<i64> {
        (0..).zip(&self.log).filter(|(_, is_record)| **is_record).map(|(offset, _)| offset).collect()
    }

    fn mark(&self) -> Option<u64> {
        self.accepted.back().map_or(self.token, |(to, _)| Some(*to))
    }

    fn commit_one(&mut self) {
        if let Some((to, rows)) = self.accepted.pop_front() {
            self.stored.extend(rows);
            self.token = Some(to);
        }
    }

    /// Another sink stores the next records.
    fn rival(&mut self) {
        self.accepted.clear();
        let next = self.token.map_or(0, |token| token as i64 + 1);
        let rows: Vec<i64> = self.records().into_iter().filter(|offset| *offset >= next).take(3).collect();
        if let Some(last) = rows.last() {
            self.token = Some(*last as u64);
            self.stored.extend(rows);
        }
    }

    fn submit(&mut self, batch: Batch<i64>) -> Result<(), LedgerError> {
        let fault = self.fate.choose(7);
        if fault == 1 {
            return Err(unavailable());
        }
        if fault == 2 {
            self.rival();
        }
        if batch.from != self.mark() {
            return Err(LedgerError::Conflict { source_name: Source::partition("t", 0), found: self.token });
        }
        self.accepted.push_back((batch.to, batch.records));
        if fault == 3 {
            return Ok(());
        }
        while !self.accepted.is_empty() {
            self.commit_one();
        }
        if fault == 4 { Err(unavailable()) } else { Ok(()) }
    }

    fn recover(&mut self) -> Result<(), LedgerError> {
        match self.fate.choose(4) {
            1 => return Err(unavailable()),
            2 => self.commit_one(),
            _ => {}
        }
        self.accepted.clear();
        Ok(())
    }

    fn committed(&mut self) -> Result<Option<u64>, LedgerError> {
        match self.fate.choose(6) {
            1 => return Err(unavailable()),
            2 => self.rival(),
            3 => {}
            _ => self.commit_one(),
        }
        Ok(self.token)
    }

    fn check_hint(&self, hint: Hint) {
        let token = hint.token.expect("hints name the token");
        assert!(Some(token) <= self.token, "the token of a hint is durable");
        let between = token as i64 + 1..hint.next;
        assert!(self.records().iter().all(|offset| !between.contains(offset)), "{hint:?} passes over records");
    }

    /// Runs until all is stored or the machine has stopped; gives the reason.
    fn run(&mut self, machine: &mut Machine<i64>) -> Option<Stop> {
        let mut now = Instant::now();
        for _ in 0..20_000 {
            match machine.poll_effect(now) {
                Some(Effect::Recover) => machine.handle_recovered(now, self.recover()),
                Some(Effect::Ask) => machine.handle_committed(now, self.committed()),
                Some(Effect::Survey) => {
                    let high = self.log.len() as i64;
                    let known = Ok(Survey { low: 0, high, group: self.group });
                    machine.handle_survey(now, if self.fate.choose(5) == 1 { Err("injected".into()) } else { known });
                }
                Some(Effect::Start(at)) => {
                    (self.position, self.ended) = (usize::try_from(at).unwrap(), false);
                    assert!(self.records().iter().all(|offset| *offset >= at || self.stored.contains(offset)));
                }
                Some(Effect::Submit(batch)) => {
                    assert!(!batch.records.is_empty() && batch.records.len() <= LIMITS.max_rows);
                    assert!(batch.records.len() == 1 || batch.records.len() * 9 <= LIMITS.max_bytes);
                    assert_eq!(batch.records.last().map(|last| *last as u64), Some(batch.to));
                    let outcome = self.submit(batch);
                    machine.handle_submitted(now, outcome);
                }
                Some(Effect::Commit(hint)) => {
                    self.check_hint(hint);
                    self.group = Some(hint);
                }
                Some(Effect::Stop(stop)) => return Some(stop),
                None if machine.wants_records() && self.position < self.log.len() => {
                    let offset = self.position as i64;
                    if self.log[self.position] {
                        machine.handle_record(now, offset, 9, offset);
                        // Told twice, and something old.
                        machine.handle_record(now, offset, 9, offset);
                        machine.handle_record(now, offset / 2, 9, offset / 2);
                    }
                    self.position += 1;
                    match self.fate.choose(30) {
                        1 => machine.handle_failed(now, unavailable()),
                        2 => machine.handle_unreadable(now, "injected".to_owned()),
                        3 => machine.press(),
                        _ => {}
                    }
                }
                None if machine.wants_records() && !self.ended => {
                    machine.handle_end(self.log.len() as i64);
                    self.ended = true;
                }
                None => {
                    if self.fate.is_over() && self.stored == self.records() && machine.trouble(now).is_none() {
                        return None;
                    }
                    self.fate.choose(1);
                    now = machine
                        .poll_timeout()
                        .unwrap_or(now + Duration::from_secs(1))
                        .max(now + Duration::from_millis(1));
                }
            }
        }
        panic!("no end: {:?} of {:?}, {machine:?}", self.stored, self.records());
    }
}

fn world(log: Vec<bool>, fate: Vec<u8>) -> World {
    World {
        log,
        stored: Vec::new(),
        token: None,
        accepted: VecDeque::new(),
        group: None,
        position: 0,
        ended: false,
        fate: Fate(fate.into()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn every_record_is_stored_once_in_order_whatever_fails(
        log in prop::collection::vec(prop::bool::weighted(0.7), 0..60),
        fate in prop::collection::vec(any::<u8>(), 0..300),
        lives in 1..4_usize,
        seed: u64,
    ) {
        let mut world = world(log, Vec::new());
        for life in 0..lives {
            world.fate = Fate(fate.iter().copied().skip(life).collect());
            if life + 1 == lives {
                let stop = world.run(&mut Machine::new(LIMITS, false, seed));
                prop_assert_eq!(stop, None);
            } else {
                // Revoked in the middle of it.
                let half = world.log.len() / 2;
                let rest = world.log.split_off(half);
                prop_assert_eq!(world.run(&mut Machine::new(LIMITS, false, seed)), None);
                world.log.extend(rest);
            }
        }
        prop_assert_eq!(&world.stored, &world.records());
    }
}

/// Lets it begin with this token in a log of 30 records; the first effect that is no question.
fn begun(machine: &mut Machine<i64>, token: u64) -> Effect<i64> {
    let mut now = Instant::now();
    loop {
        match machine.poll_effect(now) {
            Some(Effect::Recover) => machine.handle_recovered(now, Ok(())),
            Some(Effect::Ask) => machine.handle_committed(now, Ok(Some(token))),
            Some(Effect::Survey) => machine.handle_survey(now, Ok(Survey { low: 0, high: 30, group: None })),
            Some(Effect::Commit(_)) => {}
            Some(other) => return other,
            None => now = machine.poll_timeout().unwrap(),
        }
    }
}

#[test]
fn what_cannot_be_read_is_read_again_from_the_token_and_stops_when_it_stays_so() {
    let now = Instant::now();
    let mut machine = Machine::new(LIMITS, false, 1);
    let damaged = |machine: &mut Machine<i64>, token: u64, times: u32| {
        for _ in 0..times {
            assert_eq!(begun(machine, token), Effect::Start(token as i64 + 1), "nothing is passed over");
            machine.handle_damaged(now, "checksum".to_owned());
            assert!(!machine.handle_record(now, 25, 9, 25), "what comes behind it is not taken");
        }
    };
    damaged(&mut machine, 19, DAMAGED - 1);
    // It could be read after all: what comes later is counted anew.
    damaged(&mut machine, 20, DAMAGED);
    assert_eq!(begun(&mut machine, 20), Effect::Stop(Stop::Damaged("checksum".to_owned())));
}

#[test]
fn a_reading_that_failed_is_in_doubt_until_something_was_read() {
    let now = Instant::now();
    let proofs: [fn(&mut Machine<i64>); 2] =
        [|machine| assert!(machine.handle_record(Instant::now(), 20, 9, 20)), |machine| machine.handle_end(20)];
    for proof in proofs {
        let mut machine = Machine::new(LIMITS, false, 1);
        begun(&mut machine, 19);
        assert_eq!(machine.trouble(now), None);
        machine.handle_unreadable(now, "not allowed".to_owned());
        assert_eq!(begun(&mut machine, 19), Effect::Start(20));
        assert_eq!(machine.trouble(now).as_deref(), Some("not allowed"));
        proof(&mut machine);
        assert_eq!(machine.trouble(now), None);
    }
}

fn settled() -> (World, Machine<i64>) {
    let mut world = world(vec![true; 20], Vec::new());
    let mut machine = Machine::new(LIMITS, false, 1);
    assert_eq!(world.run(&mut machine), None);
    (world, machine)
}

#[test]
fn a_lost_token_stops_where_the_group_has_an_offset() {
    let (mut world, mut machine) = settled();
    (world.token, world.stored) = (None, Vec::new());
    machine.handle_failed(Instant::now(), unavailable());
    assert_eq!(world.run(&mut machine), Some(Stop::Lost { group: 20 }));
}

#[test]
fn a_token_that_went_back_under_the_reader_is_read_anew() {
    let (mut world, mut machine) = settled();
    world.log.extend([true; 3]);
    (world.token, world.stored) = (Some(9), (0..10).collect());
    assert_eq!(world.run(&mut machine), None);
    assert_eq!(world.stored, world.records());
}

#[test]
fn a_log_that_ends_before_the_token_gets_half_a_minute_to_know_its_end() {
    let start = Instant::now();
    let mut machine = Machine::<()>::new(LIMITS, false, 1);
    let mut look = |at: Instant, high: i64| {
        loop {
            match machine.poll_effect(at) {
                Some(Effect::Recover) => machine.handle_recovered(at, Ok(())),
                Some(Effect::Ask) => machine.handle_committed(at, Ok(Some(9))),
                Some(Effect::Survey) => machine.handle_survey(at, Ok(Survey { low: 0, high, group: None })),
                other => return other,
            }
        }
    };
    assert_eq!(look(start, 5), None);
    assert_eq!(look(start + BEYOND / 2, 5), None);
    assert_eq!(look(start + BEYOND, 5), Some(Effect::Stop(Stop::Beyond { token: 9, high: 5 })));

    let mut machine = Machine::<()>::new(LIMITS, false, 1);
    let mut highs = [5, 10].into_iter();
    let mut at = start;
    loop {
        match machine.poll_effect(at) {
            Some(Effect::Recover) => machine.handle_recovered(at, Ok(())),
            Some(Effect::Ask) => machine.handle_committed(at, Ok(Some(9))),
            Some(Effect::Survey) => {
                let high = highs.next().unwrap();
                machine.handle_survey(at, Ok(Survey { low: 0, high, group: None }));
            }
            Some(other) => break assert_eq!(other, Effect::Start(10)),
            None => at = machine.poll_timeout().unwrap(),
        }
    }
}

#[test]
fn a_rejected_submit_and_skipped_rows_stop_with_their_reason() {
    let skipped = LedgerError::Skipped { source_name: Source::partition("t", 0), reason: "offsets 3 to 4".to_owned() };
    for (error, says) in [(LedgerError::Rejected("too wide".to_owned()), "too wide"), (skipped, "offsets 3 to 4")] {
        let (mut world, mut machine) = settled();
        machine.handle_failed(Instant::now(), error);
        let stop = world.run(&mut machine).unwrap();
        assert!(stop.to_string().contains(says), "{stop}");
        assert_eq!(machine.poll_effect(Instant::now()), None);
    }
}

#[test]
fn an_owner_that_is_fenced_again_and_again_says_that_another_sink_runs() {
    let mut machine = Machine::<()>::new(LIMITS, false, 1);
    let mut at = Instant::now();
    for times in 1..=CONTESTED {
        assert_eq!(machine.poll_effect(at), Some(Effect::Recover));
        machine.handle_recovered(at, Err(LedgerError::Fenced("x".to_owned())));
        let said = machine.trouble(at).unwrap();
        assert_eq!(said.contains("another group on the same warehouse"), times == CONTESTED, "{said}");
        at = machine.poll_timeout().unwrap();
    }
}

#[test]
fn what_is_not_committed_for_long_is_said_and_then_asked_anew() {
    let mut world = world(vec![true], Vec::new());
    let mut machine = Machine::new(LIMITS, false, 1);
    world.run(&mut machine);
    let mut now = Instant::now() + Duration::from_secs(10);
    machine.handle_record(now, 1, 9, 1);
    now += LIMITS.linger;
    let accepted = now;
    assert!(matches!(machine.poll_effect(now), Some(Effect::Submit(_))));
    machine.handle_submitted(now, Ok(()));
    let mut questions = 0;
    loop {
        match machine.poll_effect(now) {
            Some(Effect::Ask) => {
                questions += 1;
                machine.handle_committed(now, Ok(Some(0)));
            }
            Some(other) => break assert_eq!(other, Effect::Recover),
            None => {}
        }
        let waited = now - accepted;
        assert_eq!(machine.trouble(now).is_some(), waited >= SLOW, "{waited:?}");
        now = machine.poll_timeout().unwrap();
    }
    assert!(now - accepted >= STUCK && questions < 320, "{questions} questions in {:?}", now - accepted);
}
