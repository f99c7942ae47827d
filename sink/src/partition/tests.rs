//! The machine beside a model: a log with gaps and markers, and a ledger that fails, loses answers, commits late, is taken
//! over, and may keep no mark of records without rows. Whatever happens, every record is stored once and in order, or the
//! machine has stopped with a reason.

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
    /// Every so many records one has no row.
    dead: Option<i64>,
    /// Which log this is.
    generation: u32,
    stored: Vec<i64>,
    token: Option<u64>,
    /// The ledger keeps marks without rows in memory only: this one.
    floating: Option<Option<u64>>,
    /// The time of the mark.
    marked_at: Option<i64>,
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

    fn has_row(&self, offset: i64) -> bool {
        self.dead.is_none_or(|every| offset % every != 0)
    }

    /// Those that are to be stored.
    fn rows(&self) -> Vec<i64> {
        self.records().into_iter().filter(|offset| self.has_row(*offset)).collect()
    }

    fn print(&self, offset: i64) -> Print {
        Print { timestamp: Some(offset), crc: self.generation ^ offset as u32 }
    }

    fn position(&self) -> Option<u64> {
        self.floating.flatten().max(self.token)
    }

    fn found(&self) -> Found {
        Found { position: self.position(), kept: self.token, marked_at: self.marked_at }
    }

    fn mark(&self) -> Option<u64> {
        self.accepted.back().map_or(self.position(), |(to, _)| Some(*to))
    }

    fn commit_one(&mut self) {
        let Some((to, rows)) = self.accepted.pop_front() else { return };
        match &mut self.floating {
            Some(mark) if rows.is_empty() => *mark = Some(to),
            _ => self.token = Some(to),
        }
        self.stored.extend(rows);
    }

    /// Another sink stores the next records.
    fn rival(&mut self) {
        self.forget();
        let next = self.token.map_or(0, |token| token as i64 + 1);
        let rows: Vec<i64> = self.rows().into_iter().filter(|offset| *offset >= next).take(3).collect();
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
        let rows = batch.records.into_iter().filter(|offset| self.has_row(*offset)).collect();
        self.accepted.push_back((batch.to, rows));
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
        self.forget();
        Ok(())
    }

    /// What a crash of this process does, and an open.
    fn forget(&mut self) {
        self.accepted.clear();
        if let Some(mark) = &mut self.floating {
            *mark = None;
        }
    }

    fn committed(&mut self) -> Result<Found, LedgerError> {
        match self.fate.choose(6) {
            1 => return Err(unavailable()),
            2 => self.rival(),
            3 => {}
            _ => self.commit_one(),
        }
        Ok(self.found())
    }

    fn check_hint(&self, hint: Hint) {
        let Told { token, print } = hint.told.expect("hints tell what the warehouse holds");
        assert!(token <= self.token, "the token of a hint is durable");
        let between = token.map_or(0, |token| token as i64 + 1)..hint.next;
        assert!(self.rows().iter().all(|offset| !between.contains(offset)), "{hint:?} passes over records");
        // The one that was stored, whatever is there now.
        let of = |generation: u32| {
            token.map(|token| Print { crc: generation ^ token as u32, timestamp: Some(token as i64) })
        };
        assert!(print.is_none() || (0..=self.generation).any(|generation| print == of(generation)), "{hint:?}");
    }

    fn is_done(&self, machine: &Machine<i64>) -> bool {
        let last = self.records().last().map(|last| *last as u64);
        self.stored == self.rows() && machine.is_reading() && machine.token() >= last
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
                Some(Effect::Adopt(token)) => {
                    let outcome = if self.fate.choose(3) == 1 { Err(unavailable()) } else { Ok(()) };
                    if outcome.is_ok() {
                        self.token = Some(token);
                    }
                    machine.handle_adopted(now, outcome);
                }
                Some(Effect::Start(at)) => {
                    (self.position, self.ended) = (usize::try_from(at).unwrap(), false);
                    assert!(self.rows().iter().all(|offset| *offset >= at || self.stored.contains(offset)));
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
                        machine.handle_record(now, offset, 9, self.print(offset), offset);
                        // Told twice, and something old.
                        machine.handle_record(now, offset, 9, self.print(offset), offset);
                        machine.handle_record(now, offset / 2, 9, self.print(offset / 2), offset / 2);
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
                    if self.fate.is_over() && self.is_done(machine) && machine.trouble(now).is_none() {
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
        panic!("no end: {:?} of {:?}, {machine:?}", self.stored, self.rows());
    }
}

fn world(log: Vec<bool>, fate: Vec<u8>) -> World {
    World {
        log,
        dead: None,
        generation: 0,
        stored: Vec::new(),
        token: None,
        floating: None,
        marked_at: None,
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
        dead in prop::option::of(1..4_i64),
        floats: bool,
        seed: u64,
    ) {
        let mut world = world(log, Vec::new());
        (world.dead, world.floating) = (dead, floats.then_some(None));
        for life in 0..lives {
            world.fate = Fate(fate.iter().copied().skip(life).collect());
            if life + 1 == lives {
                let stop = world.run(&mut Machine::new(LIMITS, false, seed, None));
                prop_assert_eq!(stop, None);
            } else {
                // Revoked in the middle of it.
                let half = world.log.len() / 2;
                let rest = world.log.split_off(half);
                prop_assert_eq!(world.run(&mut Machine::new(LIMITS, false, seed, None)), None);
                world.log.extend(rest);
                world.forget();
            }
        }
        prop_assert_eq!(&world.stored, &world.rows());
    }
}

const PRINT: Print = Print { timestamp: None, crc: 0 };

fn at_token(token: u64) -> Found {
    Found { position: Some(token), kept: Some(token), marked_at: None }
}

/// Lets it begin with this token in a log of 30 records; the first effect that is no question.
fn begun(machine: &mut Machine<i64>, token: u64) -> Effect<i64> {
    let mut now = Instant::now();
    loop {
        match machine.poll_effect(now) {
            Some(Effect::Recover) => machine.handle_recovered(now, Ok(())),
            Some(Effect::Ask) => machine.handle_committed(now, Ok(at_token(token))),
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
    let mut machine = Machine::new(LIMITS, false, 1, None);
    let damaged = |machine: &mut Machine<i64>, token: u64, times: u32| {
        for _ in 0..times {
            assert_eq!(begun(machine, token), Effect::Start(token as i64), "nothing is passed over");
            machine.handle_damaged(now, "checksum".to_owned());
            assert!(!machine.handle_record(now, 25, 9, PRINT, 25), "what comes behind it is not taken");
        }
    };
    damaged(&mut machine, 19, 1);
    // It was the record at the token, which proves nothing then and is not read again.
    let damaged = |machine: &mut Machine<i64>, token: u64, times: u32| {
        for _ in 0..times {
            assert_eq!(begun(machine, token), Effect::Start(token as i64 + 1), "nothing is passed over");
            machine.handle_damaged(now, "checksum".to_owned());
        }
    };
    damaged(&mut machine, 19, DAMAGED - 1);
    // It could be read after all: what comes later is counted anew.
    assert_eq!(begun(&mut machine, 20), Effect::Start(20));
    machine.handle_damaged(now, "checksum".to_owned());
    damaged(&mut machine, 20, DAMAGED);
    assert_eq!(begun(&mut machine, 20), Effect::Stop(Stop::Damaged("checksum".to_owned())));
}

#[test]
fn a_reading_that_failed_is_in_doubt_until_something_was_read() {
    let now = Instant::now();
    let proofs: [fn(&mut Machine<i64>); 2] =
        [|machine| assert!(machine.handle_record(Instant::now(), 20, 9, PRINT, 20)), |machine| machine.handle_end(20)];
    for proof in proofs {
        let mut machine = Machine::new(LIMITS, false, 1, None);
        begun(&mut machine, 19);
        assert_eq!(machine.trouble(now), None);
        machine.handle_unreadable(now, "not allowed".to_owned());
        assert_eq!(begun(&mut machine, 19), Effect::Start(19));
        assert_eq!(machine.trouble(now), Some("not allowed"));
        proof(&mut machine);
        assert_eq!(machine.trouble(now), None);
    }
}

fn settled() -> (World, Machine<i64>) {
    let mut world = world(vec![true; 20], Vec::new());
    let mut machine = Machine::new(LIMITS, false, 1, None);
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
    let mut machine = Machine::<i64>::new(LIMITS, false, 1, None);
    let mut look = |at: Instant, high: i64| {
        loop {
            match machine.poll_effect(at) {
                Some(Effect::Recover) => machine.handle_recovered(at, Ok(())),
                Some(Effect::Ask) => machine.handle_committed(at, Ok(at_token(9))),
                Some(Effect::Survey) => machine.handle_survey(at, Ok(Survey { low: 0, high, group: None })),
                other => return other,
            }
        }
    };
    assert_eq!(look(start, 5), None);
    assert_eq!(look(start + BEYOND / 2, 5), None);
    assert_eq!(look(start + BEYOND, 5), Some(Effect::Stop(Stop::Beyond { token: 9, high: 5 })));

    let mut machine = Machine::<i64>::new(LIMITS, false, 1, None);
    let mut highs = [5, 10].into_iter();
    let mut at = start;
    loop {
        match machine.poll_effect(at) {
            Some(Effect::Recover) => machine.handle_recovered(at, Ok(())),
            Some(Effect::Ask) => machine.handle_committed(at, Ok(at_token(9))),
            Some(Effect::Survey) => {
                let high = highs.next().unwrap();
                machine.handle_survey(at, Ok(Survey { low: 0, high, group: None }));
            }
            Some(other) => break assert_eq!(other, Effect::Start(9)),
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
fn a_partition_whose_rows_were_passed_over_goes_on_once_they_are_dealt_with() {
    let skipped =
        |reason: &str| LedgerError::Skipped { source_name: Source::partition("t", 0), reason: reason.to_owned() };
    let (mut world, mut machine) = settled();
    let mut now = Instant::now();
    machine.handle_failed(now, skipped("offsets 3 to 4"));
    assert!(matches!(machine.poll_effect(now), Some(Effect::Stop(_))));
    for outcome in [skipped("offsets 3 to 4"), unavailable(), skipped("offsets 3 to 4")] {
        now = machine.poll_timeout().unwrap();
        assert_eq!(machine.poll_effect(now), Some(Effect::Recover));
        machine.handle_recovered(now, Err(outcome));
        assert_eq!(machine.poll_effect(now), None, "it is told once");
    }
    now = machine.poll_timeout().unwrap();
    assert_eq!(machine.poll_effect(now), Some(Effect::Recover));
    machine.handle_recovered(now, Err(skipped("offsets 3 to 6")));
    assert!(matches!(machine.poll_effect(now), Some(Effect::Stop(_))), "more is told");
    world.log.extend([true; 3]);
    while machine.poll_effect(now).is_none() {
        now = machine.poll_timeout().unwrap();
    }
    machine.handle_recovered(now, Ok(()));
    assert_eq!(world.run(&mut machine), None);
    assert_eq!(world.stored, world.records());
}

#[test]
fn a_partition_that_was_rejected_is_not_looked_at_again() {
    let mut machine = Machine::<()>::new(LIMITS, false, 1, None);
    machine.handle_failed(Instant::now(), LedgerError::Rejected("too wide".to_owned()));
    assert!(matches!(machine.poll_effect(Instant::now()), Some(Effect::Stop(Stop::Rejected(_)))));
    assert_eq!(machine.poll_timeout(), None);
}

#[test]
fn an_owner_that_is_fenced_again_and_again_says_that_another_sink_runs() {
    let mut machine = Machine::<i64>::new(LIMITS, false, 1, None);
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
    let mut machine = Machine::new(LIMITS, false, 1, None);
    world.run(&mut machine);
    let mut now = Instant::now() + Duration::from_secs(10);
    machine.handle_record(now, 1, 9, PRINT, 1);
    now += LIMITS.linger;
    let accepted = now;
    assert!(matches!(machine.poll_effect(now), Some(Effect::Submit(_))));
    machine.handle_submitted(now, Ok(()));
    let mut questions = 0;
    loop {
        match machine.poll_effect(now) {
            Some(Effect::Ask) => {
                questions += 1;
                machine.handle_committed(now, Ok(at_token(0)));
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

/// Another life of the sink: whether `memory` is known is the test's.
fn next_life(world: &mut World, memory: Option<(u64, Print)>) -> Option<Stop> {
    world.forget();
    world.run(&mut Machine::new(LIMITS, false, 1, memory))
}

#[test]
fn a_topic_made_anew_stops_the_partition_also_where_it_has_outgrown_the_token() {
    for known in ["by the group", "by the one before", "while it runs"] {
        let (mut world, mut machine) = settled();
        world.generation = 1;
        world.log = vec![true; 40];
        if known != "by the group" {
            world.group = None;
        }
        let stop = if known == "while it runs" {
            machine.handle_unreadable(Instant::now(), "the topic is gone".to_owned());
            world.run(&mut machine)
        } else {
            next_life(&mut world, machine.memory().filter(|_| known == "by the one before"))
        };
        assert!(matches!(stop, Some(Stop::Anew { token: 19, .. })), "{known}: {stop:?}");
        assert_eq!(world.stored.len(), 20, "{known}");
    }
}

#[test]
fn where_nobody_knows_the_record_at_the_token_it_must_not_be_younger_than_the_mark() {
    for (marked_at, stops) in [(Some(18), false), (Some(18 - CLOCKS), true), (None, false)] {
        let (mut world, _) = settled();
        (world.generation, world.log, world.group, world.marked_at) = (1, vec![true; 40], None, marked_at);
        let stop = next_life(&mut world, None);
        assert_eq!(matches!(stop, Some(Stop::Anew { token: 19, .. })), stops, "{marked_at:?}: {stop:?}");
        assert_eq!(world.stored.len(), if stops { 20 } else { 40 });
    }
}

#[test]
fn a_record_that_is_no_longer_there_proves_nothing() {
    let (mut world, _) = settled();
    world.generation = 1;
    world.log = vec![true; 40];
    world.log[19] = false;
    world.stored.remove(19);
    assert_eq!(next_life(&mut world, None), None);
    assert_eq!(world.stored, world.rows());
}

#[test]
fn a_mark_without_rows_that_no_warehouse_keeps_is_not_missed_after_a_crash() {
    let mut world = world(vec![true; 12], Vec::new());
    (world.dead, world.floating) = (Some(1), Some(None));
    assert_eq!(world.run(&mut Machine::new(LIMITS, false, 1, None)), None);
    assert_eq!(world.group, Some(Hint { next: 12, told: Some(Told { token: None, print: None }) }));
    world.log.extend([true; 3]);
    assert_eq!(next_life(&mut world, None), None);
    assert_eq!((world.token, world.stored.len()), (None, 0));
}

#[test]
fn what_is_adopted_is_marked_before_anything_is_read() {
    for fate in [Vec::new(), vec![0, 0, 0, 0, 1]] {
        let mut world = world(vec![true; 20], fate);
        world.group = Some(Hint { next: 12, told: None });
        world.stored = (0..12).collect();
        world.log.truncate(12);
        assert_eq!(world.run(&mut Machine::new(LIMITS, true, 1, None)), None);
        assert_eq!(world.token, Some(11));
        world.log.extend([true; 8]);
        world.group = Some(Hint { next: 12, told: None });
        assert_eq!(next_life(&mut world, None), None);
        assert_eq!(world.stored, world.records());
    }
}
