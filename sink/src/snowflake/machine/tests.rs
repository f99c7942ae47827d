//! The machine beside a model of the server.

use gaitway_proto::ledger::Source;
use gaitway_proto::record::{Body, Cells, Metadata, Place, Record};
use gaitway_proto::schema::{Cell, RAW};
use proptest::prelude::*;

use super::*;
use crate::snowflake::rows::{Partition, Rows};

mod model;

use model::Server;

const OF: Partition = Partition { table: &RAW, topic: String::new(), number: 0 };

fn machine() -> Machine {
    let source = Source::partition("", 0);
    let identity = Identity { source, channel: "c".into(), redrive: "r".into(), table: "D.S.T".into() };
    Machine::new(identity, Pace::default(), || 0)
}

/// A transaction marker stands at every fifth offset.
fn rows_of(first: u64, last: u64) -> Vec<u64> {
    (first..=last).filter(|offset| offset % 5 != 4).collect()
}

struct Owner {
    machine: Machine,
    rows: Rows,
}

impl Owner {
    fn new() -> Self {
        Self { machine: machine(), rows: Rows::default() }
    }

    fn recover(&mut self, server: &mut Server) -> Result<(), LedgerError> {
        let next = self.machine.recover(server.now);
        server.run(&mut self.machine, &self.rows, next)
    }

    /// Submits what Kafka has behind the position, up to `to`.
    fn submit(&mut self, server: &mut Server, to: u64) -> Result<(), LedgerError> {
        let from = self.machine.reached();
        let mark = Mark { source: Source::partition("", 0), from, to };
        let offsets = rows_of(from.map_or(0, |from| from + 1), to);
        let place = |offset: &u64| Place {
            topic: "",
            partition: 0,
            offset: *offset as i64,
            key: None,
            written: None,
            unknown: None,
        };
        let places: Vec<_> = offsets.iter().map(place).collect();
        let record = |place| Record {
            metadata: Metadata { name: None, place: Some(place) },
            body: Body::Cells(Cells {
                table: &RAW,
                cells: vec![Cell::Null; RAW.fields.len()],
                json: Some("{\"x\":1}"),
                plain: false,
            }),
        };
        let records: Vec<_> = places.iter().map(record).collect();
        self.rows.encode(&OF, &records, &mark).unwrap();
        let next = self.machine.submit(server.now, &mark, self.rows.pieces(to, 300));
        server.run(&mut self.machine, &self.rows, next)
    }

    fn ask(&mut self, server: &mut Server) -> Result<(), LedgerError> {
        server.now += self.machine.pace.status;
        let next = self.machine.ask(server.now);
        server.run(&mut self.machine, &self.rows, next)
    }

    /// Opened, with rows `0..=to` accepted.
    fn with(server: &mut Server, to: u64) -> Self {
        let mut owner = Self::new();
        owner.recover(server).unwrap();
        owner.submit(server, to).unwrap();
        owner
    }
}

/// Every row that is told as committed is stored; nothing is stored twice or out of order.
fn check(server: &Server, owner: &Owner) {
    assert!(server.stored.windows(2).all(|pair| pair[0] < pair[1]), "twice or out of order: {:?}", server.stored);
    if let Some(position) = owner.machine.position() {
        let told = rows_of(0, position);
        assert!(server.stored.starts_with(&told), "position {position} was told with {:?} stored", server.stored);
    }
}

fn history(seed: u64, steps: u32) {
    const END: u64 = 60;
    let mut server = Server::new(seed);
    let mut owner = Owner::new();
    server.trouble = 3 + server.random.below(6);
    for step in 0..steps {
        if step + 20 == steps {
            server.trouble = 0;
        }
        let calm = server.trouble == 0;
        let outcome = match server.random.below(10) {
            _ if !owner.machine.is_open() => owner.recover(&mut server),
            0 => owner.ask(&mut server),
            1 => owner.recover(&mut server),
            2 if !calm && server.accepted() < Some(END) => {
                // It reads from the token on, as whoever opens a channel does.
                while server.pass_until_committed() {}
                let first = server.committed.map_or(0, |token| token + 1);
                let end = (first + server.random.below(4)).min(END);
                server.rival(rows_of(first, end), end);
                Ok(())
            }
            _ if owner.machine.reached() < Some(END) => {
                let first = owner.machine.reached().map_or(0, |reached| reached + 1);
                let to = if calm { END } else { (first + server.random.below(9)).min(END) };
                owner.submit(&mut server, to)
            }
            _ => owner.ask(&mut server),
        };
        if let Err(LedgerError::Skipped { reason, .. } | LedgerError::Rejected(reason)) = outcome {
            panic!("step {step}: stopped without a cause: {reason}");
        }
        server.pass();
        check(&server, &owner);
    }
    assert_eq!(server.stored, rows_of(0, END));
    owner.ask(&mut server).unwrap();
    assert_eq!(owner.machine.position(), Some(END));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn whatever_happens_every_row_is_stored_once_and_in_order(seed: u64) {
        history(seed, 80);
    }
}

#[test]
fn an_append_that_may_have_been_taken_is_never_cut_anew() {
    let mut server = Server::new(1);
    let mut owner = Owner::with(&mut server, 3);
    let mark = Mark { source: Source::partition("", 0), from: Some(3), to: 9 };
    let pieces = owner.rows.pieces(9, 10_000);
    let halves = owner.rows.split(&pieces[0]);
    let Next::Do(Effect::Append { .. }) = owner.machine.submit(server.now, &mark, pieces) else { panic!("no append") };
    let lost = Answer::Failed(Failure::Again { why: "reset".into(), after: None });
    assert!(matches!(owner.machine.handle(server.now, lost), Next::Do(Effect::Wait(_))));
    assert!(matches!(owner.machine.handle(server.now, Answer::Done), Next::Do(Effect::Append { .. })));
    let outcome = owner.machine.handle(server.now, Answer::TooLarge("413".into(), halves));
    assert!(matches!(outcome, Next::Done(Err(LedgerError::Unavailable(_)))), "{outcome:?}");
    assert!(!owner.machine.is_open());
    server.pass();
}

#[test]
fn a_mark_without_rows_is_held_until_rows_come_and_told_once_all_before_it_is_committed() {
    let mut server = Server::new(1);
    let mut owner = Owner::with(&mut server, 3);
    owner.submit(&mut server, 4).unwrap();
    owner.ask(&mut server).unwrap();
    assert_eq!(owner.machine.position(), None, "rows before it are not committed");
    server.pass();
    owner.ask(&mut server).unwrap();
    assert_eq!((owner.machine.position(), server.committed), (Some(4), Some(3)));
    owner.submit(&mut server, 6).unwrap();
    server.pass();
    owner.ask(&mut server).unwrap();
    assert_eq!((owner.machine.position(), server.committed), (Some(6), Some(6)));
}

/// What a channel that was deleted comes to, in the end.
fn noticed(owner: &mut Owner, server: &mut Server, notice: Notice) -> Result<(), LedgerError> {
    let mut outcome = notice(owner, server);
    for _ in 0..2 {
        if matches!(outcome, Err(LedgerError::Unavailable(_) | LedgerError::Conflict { .. })) {
            outcome = owner.recover(server);
        }
    }
    outcome
}

type Notice = fn(&mut Owner, &mut Server) -> Result<(), LedgerError>;

const NOTICES: [Notice; 3] = [Owner::ask, |owner, server| owner.submit(server, 9), Owner::recover];

#[test]
fn a_channel_that_is_deleted_while_idle_is_made_anew_with_its_token_whoever_notices() {
    for notice in NOTICES {
        let mut server = Server::new(1);
        let mut owner = Owner::with(&mut server, 3);
        server.pass();
        owner.ask(&mut server).unwrap();
        // Marks without rows are nothing in flight.
        owner.submit(&mut server, 4).unwrap();
        server.wipe();
        noticed(&mut owner, &mut server, notice).unwrap();
        assert_eq!((owner.machine.position(), server.committed), (Some(3), Some(3)));
        owner.submit(&mut server, 9).unwrap();
        server.pass();
        owner.ask(&mut server).unwrap();
        assert_eq!(server.stored, rows_of(0, 9));
    }
}

#[test]
fn a_channel_that_is_deleted_with_rows_in_flight_stops_whoever_notices() {
    for notice in NOTICES {
        let mut server = Server::new(1);
        let mut owner = Owner::with(&mut server, 3);
        server.pass();
        owner.ask(&mut server).unwrap();
        owner.submit(&mut server, 6).unwrap();
        server.pass();
        server.wipe();
        let outcome = noticed(&mut owner, &mut server, notice);
        let Err(LedgerError::Skipped { reason, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("channel c has no offset any more, it was 3"), "{reason}");
        assert!(reason.contains("--adopt-from-group") && reason.contains("greatest offset of /0 in D.S.T"), "{reason}");
        assert_eq!(server.stored, rows_of(0, 6));
        // Somebody looked.
        let next = owner.machine.adopt(server.now, 6);
        server.run(&mut owner.machine, &owner.rows, next).unwrap();
        owner.submit(&mut server, 9).unwrap();
        server.pass();
        assert_eq!(server.stored, rows_of(0, 9));
    }
}

#[test]
fn a_channel_that_is_gone_after_an_append_whose_answer_was_lost_stops() {
    let mut server = Server::new(1);
    let mut owner = Owner::with(&mut server, 3);
    server.pass();
    owner.ask(&mut server).unwrap();
    let mark = Mark { source: Source::partition("", 0), from: Some(3), to: 3 + 1 };
    let Next::Do(Effect::Append { .. }) = owner.machine.submit(server.now, &mark, owner.rows.pieces(4, 10_000)) else {
        panic!("no append")
    };
    let lost = Answer::Failed(Failure::Again { why: "reset".into(), after: None });
    assert!(matches!(owner.machine.handle(server.now, lost), Next::Do(Effect::Wait(_))));
    assert!(matches!(owner.machine.handle(server.now, Answer::Done), Next::Do(Effect::Append { .. })));
    let gone = owner.machine.handle(server.now, Answer::Failed(Failure::Missing("404".into())));
    assert!(matches!(gone, Next::Done(Err(LedgerError::Unavailable(_)))), "{gone:?}");
    server.wipe();
    let outcome = owner.recover(&mut server);
    assert!(matches!(outcome, Err(LedgerError::Skipped { .. })), "{outcome:?}");
}

#[test]
fn a_channel_that_another_owner_took_before_it_was_deleted_stops() {
    let mut server = Server::new(1);
    let mut owner = Owner::with(&mut server, 3);
    server.pass();
    owner.ask(&mut server).unwrap();
    server.rival(rows_of(4, 6), 6);
    server.pass();
    assert!(matches!(owner.submit(&mut server, 9), Err(LedgerError::Conflict { .. })));
    server.wipe();
    let outcome = owner.recover(&mut server);
    assert!(matches!(outcome, Err(LedgerError::Skipped { .. })), "{outcome:?}");
}

#[test]
fn a_channel_that_is_made_anew_before_its_first_token_was_told_stops() {
    let mut server = Server::new(1);
    let mut owner = Owner::with(&mut server, 3);
    server.pass();
    server.wipe();
    let outcome = owner.recover(&mut server);
    assert!(matches!(outcome, Err(LedgerError::Skipped { .. })), "{outcome:?}");
}

#[test]
fn rows_passed_over_stop_the_channel_until_they_are_redriven_also_after_a_restart() {
    let mut server = Server::new(1);
    let mut owner = Owner::with(&mut server, 3);
    server.pass();
    owner.ask(&mut server).unwrap();
    owner.submit(&mut server, 8).unwrap();
    server.pass();
    server.errors = 2;
    for outcome in [owner.ask(&mut server), owner.recover(&mut server)] {
        let Err(LedgerError::Skipped { reason, .. }) = outcome else { panic!("{outcome:?}") };
        assert!(reason.contains("2 rows of /0") && reason.contains("offsets 4 to 8"), "{reason}");
        assert!(reason.contains("`gaitway sink redrive --topic  --partition 0 --offsets 4-8`"), "{reason}");
    }
    let outcome = Owner::new().recover(&mut server);
    let Err(LedgerError::Skipped { reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("--offsets 0-8`"), "{reason}");
    server.redriven = Some((7, 0));
    assert!(owner.recover(&mut server).is_err());
    let outcome = Owner::new().recover(&mut server);
    let Err(LedgerError::Skipped { reason, .. }) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("--offsets 8-8`"), "what an earlier redrive dealt with is left out: {reason}");
    server.redriven = Some((8, 1));
    assert!(owner.recover(&mut server).is_err(), "the redrive's own rows were passed over");
    server.redriven = Some((8, 0));
    owner.recover(&mut server).unwrap();
    owner.ask(&mut server).unwrap();
    Owner::new().recover(&mut server).unwrap();
}

#[test]
fn where_no_bound_is_told_only_a_redrive_up_to_the_token_settles() {
    let mut server = Server::new(1);
    Owner::with(&mut server, 8);
    server.pass();
    (server.errors, server.bounds, server.redriven) = (2, false, Some((7, 0)));
    let outcome = Owner::new().recover(&mut server);
    assert!(matches!(outcome, Err(LedgerError::Skipped { .. })), "an earlier redrive settled it: {outcome:?}");
    server.redriven = Some((8, 0));
    Owner::new().recover(&mut server).unwrap();
}

#[test]
fn a_status_that_does_not_come_is_borne_for_a_while() {
    let mut server = Server::new(1);
    let mut owner = Owner::with(&mut server, 3);
    let started = server.now;
    loop {
        server.now += Duration::from_secs(17);
        let Next::Do(Effect::Status) = owner.machine.ask(server.now) else { panic!("not asked") };
        let failed = Answer::Failed(Failure::Again { why: "status answered 503".into(), after: None });
        match owner.machine.handle(server.now, failed) {
            Next::Done(Ok(())) => {}
            Next::Done(Err(LedgerError::Unavailable(why))) => {
                assert!(why.contains("503"), "{why}");
                break;
            }
            next => panic!("{next:?}"),
        }
    }
    assert!(server.now - started > Pace::default().patience);
}

#[test]
fn no_call_is_made_before_the_server_wants_one_however_often_somebody_recovers() {
    let mut server = Server::new(1);
    let mut owner = Owner::with(&mut server, 3);
    let begun = server.now;
    let mark = Mark { source: Source::partition("", 0), from: Some(3), to: 4 };
    assert!(matches!(
        owner.machine.submit(begun, &mark, owner.rows.pieces(4, 10_000)),
        Next::Do(Effect::Append { .. })
    ));
    let later = Failure::Again { why: "429".into(), after: Some(Duration::from_secs(300)) };
    let given_up = owner.machine.handle(begun, Answer::Failed(later));
    assert!(matches!(given_up, Next::Done(Err(LedgerError::Unavailable(_)))), "{given_up:?}");
    for seconds in [0, 1, 60, 239] {
        let Next::Done(Err(LedgerError::Unavailable(why))) =
            owner.machine.recover(begun + Duration::from_secs(seconds))
        else {
            panic!("a call after {seconds} s")
        };
        assert!(why.contains(&format!("{} s more: 429", 300 - seconds)), "{why}");
    }
    let at = begun + Duration::from_secs(250);
    let Next::Do(Effect::Wait(wait)) = owner.machine.recover(at) else { panic!("no wait") };
    assert_eq!(wait, Duration::from_secs(50));
    assert!(matches!(owner.machine.handle(at + wait, Answer::Done), Next::Do(Effect::Open { token: None })));
}

#[test]
fn an_owner_that_loses_its_channel_again_and_again_says_that_there_is_another() {
    let mut server = Server::new(1);
    let mut owner = Owner::new();
    let mut said = None;
    for _ in 0..PATIENT_TAKEOVERS {
        owner.recover(&mut server).unwrap();
        server.open(None);
        said = owner.submit(&mut server, 3).err();
    }
    let Some(LedgerError::Unavailable(why)) = said else { panic!("{said:?}") };
    assert!(why.contains("another sink writes to it") && why.contains("`deployment`"), "{why}");
    assert!(matches!(owner.machine.recover(server.now), Next::Do(Effect::Wait(_))));
}

#[test]
fn an_append_that_is_refused_is_sent_anew_from_an_open_and_the_rows_are_blamed_only_in_the_end() {
    let refuse = |owner: &mut Owner, server: &mut Server| {
        owner.recover(server).unwrap();
        server.refuse = 1;
        owner.submit(server, owner.machine.reached().map_or(3, |reached| reached + 4)).unwrap_err()
    };
    let mut server = Server::new(1);
    let mut owner = Owner::new();
    for _ in 1..PATIENT_REFUSALS {
        let error = refuse(&mut owner, &mut server);
        assert!(matches!(&error, LedgerError::Unavailable(why) if why.contains("400")), "{error}");
    }
    // Something is committed: what was refused before says nothing about the next rows.
    owner.recover(&mut server).unwrap();
    owner.submit(&mut server, 3).unwrap();
    server.pass();
    owner.ask(&mut server).unwrap();
    for _ in 1..PATIENT_REFUSALS {
        assert!(matches!(refuse(&mut owner, &mut server), LedgerError::Unavailable(_)));
    }
    let started = server.now;
    let error = refuse(&mut owner, &mut server);
    assert!(
        matches!(&error, LedgerError::Rejected(why) if why.contains("channel c") && why.contains("400")),
        "{error}"
    );
    assert!(server.now - started > Duration::from_secs(10), "it does not hurry to the end");
    assert_eq!(server.stored, rows_of(0, 3));
}

#[test]
fn a_token_that_is_no_offset_is_another_programs() {
    let mut owner = Owner::new();
    let status = ChannelStatus { last_committed_offset_token: Some("abc".into()), ..ChannelStatus::sample(None, 0) };
    let Next::Do(Effect::Open { token: None }) = owner.machine.recover(Instant::now()) else { panic!("not opened") };
    let opened = Opened { next_continuation_token: "0_0".into(), channel_status: status };
    let outcome = owner.machine.handle(Instant::now(), Answer::Opened(opened));
    let Next::Done(Err(LedgerError::Rejected(reason))) = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("\"abc\""), "{reason}");
}
