//! The promises of [`Ledger`](crate::ledger::Ledger), one function each; every one wants a store of its own, empty.

use super::samples::Feed;
use super::{Expected, Fixture, assert_lost, committed, recover};
use crate::ledger::{LedgerError, Mark, Source, Stream};

/// All laws in the order of this module.
pub const ALL: &[fn(&mut dyn Fixture)] = &[
    records_and_marks_are_stored_together,
    an_unknown_source_is_left_out,
    marks_go_without_records,
    a_source_registers_once,
    many_sources_move_in_one_step,
    one_stale_mark_refuses_the_whole_submit,
    a_repeated_submit_stores_nothing,
    of_two_owners_one_wins,
    a_mark_never_goes_back,
    a_source_has_one_mark_in_a_submit,
    records_need_a_mark,
    positions_reach_the_end_of_i64,
    a_submit_that_can_never_be_taken_is_rejected,
    a_failure_is_recovered_from,
    a_crash_after_submit_stores_all_or_nothing,
    a_crash_keeps_what_was_committed,
    order_is_kept_per_source,
    values_come_back_exactly,
    committed_never_runs_ahead_of_what_is_stored,
];

/// Those that a ledger of one source is held to, see [`Fixture::partition`]; each then has that one source wherever it
/// speaks of several.
pub const ONE_SOURCE: &[fn(&mut dyn Fixture)] = &[
    records_and_marks_are_stored_together,
    an_unknown_source_is_left_out,
    marks_go_without_records,
    one_stale_mark_refuses_the_whole_submit,
    a_repeated_submit_stores_nothing,
    of_two_owners_one_wins,
    a_mark_never_goes_back,
    a_source_has_one_mark_in_a_submit,
    records_need_a_mark,
    positions_reach_the_end_of_i64,
    a_submit_that_can_never_be_taken_is_rejected,
    a_failure_is_recovered_from,
    a_crash_after_submit_stores_all_or_nothing,
    a_crash_keeps_what_was_committed,
    order_is_kept_per_source,
    values_come_back_exactly,
    committed_never_runs_ahead_of_what_is_stored,
];

/// Those that it is not held to, and why.
pub const NOT_OF_ONE_SOURCE: &[(&str, &str)] = &[
    ("a_source_registers_once", "heirs are registered with the relay's ledger; no Kafka partition has one"),
    ("many_sources_move_in_one_step", "there are not many"),
];

/// What feeds the fixture's ledger, or its first source.
fn raw(fixture: &dyn Fixture) -> Feed {
    match fixture.partition() {
        Some((topic, partition)) => Feed::of_partition(topic, partition),
        None => Feed::new("pi", 0x11, Stream::Raw),
    }
}

/// These feeds, or the one that the fixture's ledger has.
fn feeds(fixture: &dyn Fixture, many: impl IntoIterator<Item = Feed>) -> Vec<Feed> {
    if fixture.partition().is_some() { vec![raw(fixture)] } else { many.into_iter().collect() }
}

/// What one submit carries is there together with its mark.
pub fn records_and_marks_are_stored_together(fixture: &mut dyn Fixture) {
    recover(fixture);
    let raw = raw(fixture);
    let all = feeds(fixture, [raw.clone(), Feed::new("pi", 0x11, Stream::Activity)]);
    let mut expected = Expected::default();
    expected.check(fixture, "an empty store");
    let first = all.iter().map(|feed| (feed, 1));
    for (feed, seq) in first.chain([(&raw, 2), (&raw, 3)]) {
        let (records, marks) = (feed.frame(seq, 4), [expected.mark(&feed.source(), seq)]);
        fixture.ledger().submit(&records, &marks).expect("a first submit is taken");
        expected.add(&records, &marks);
        expected.check(fixture, "records and their mark");
    }
    if !raw.has_gaps() {
        return;
    }
    let (gap, marks) = ([raw.gap(4, 9)], [expected.mark(&raw.source(), 9)]);
    fixture.ledger().submit(&gap, &marks).expect("a gap is taken");
    expected.add(&gap, &marks);
    expected.check(fixture, "a gap and its mark");
}

/// A source that the ledger never heard of has no position, not 0.
pub fn an_unknown_source_is_left_out(fixture: &mut dyn Fixture) {
    recover(fixture);
    let (known, unknown) = (raw(fixture), Feed::new("other", 0x11, Stream::Raw));
    assert!(committed(fixture, &[]).is_empty());
    assert!(committed(fixture, &[known.source(), unknown.source()]).is_empty());
    let mut expected = Expected::default();
    let marks = [expected.mark(&known.source(), 1)];
    fixture.ledger().submit(&known.frame(1, 1), &marks).expect("a first submit is taken");
    expected.add(&known.frame(1, 1), &marks);
    expected.settle(fixture.ledger(), "the known source");
    assert_eq!(committed(fixture, &[unknown.source(), known.source()]), expected.positions);
    assert!(committed(fixture, &[unknown.source()]).is_empty());
}

/// A mark may move although nothing is stored with it.
pub fn marks_go_without_records(fixture: &mut dyn Fixture) {
    recover(fixture);
    let mut expected = Expected::default();
    for to in [3, 4] {
        let marks = [expected.mark(&raw(fixture).source(), to)];
        fixture.ledger().submit(&[], &marks).expect("a mark alone is taken");
        expected.add(&[], &marks);
        expected.check(fixture, "a mark alone");
    }
    fixture.ledger().submit(&[], &[]).expect("nothing is always taken");
    expected.check(fixture, "nothing at all");
}

/// Of those who register the same source for the first time, the first stays.
pub fn a_source_registers_once(fixture: &mut dyn Fixture) {
    recover(fixture);
    let heir = raw(fixture).heir();
    let mut expected = Expected::default();
    let first = [Mark { source: heir.clone(), from: None, to: 0x2222_3333_4444_5555 }];
    fixture.ledger().submit(&[], &first).expect("a first registration is taken");
    expected.add(&[], &first);
    expected.settle(fixture.ledger(), "the first heir");
    let second = fixture.ledger().submit(&[], &[Mark { source: heir, from: None, to: i64::MAX as u64 }]);
    assert_lost(&second, "a second heir");
    recover(fixture);
    expected.check(fixture, "after a second heir");
}

/// One submit may move many sources.
pub fn many_sources_move_in_one_step(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feeds: Vec<_> = (0..200).map(|n| Feed::new(&format!("pi-{n}"), n, Stream::ALL[(n % 2) as usize])).collect();
    let mut expected = Expected::default();
    for seq in 1..=2 {
        let records: Vec<_> = feeds.iter().flat_map(|feed| feed.frame(seq, 2)).collect();
        let marks: Vec<_> = feeds.iter().map(|feed| expected.mark(&feed.source(), seq)).collect();
        fixture.ledger().submit(&records, &marks).expect("many sources are taken");
        expected.add(&records, &marks);
        expected.check(fixture, "many sources");
    }
}

/// One mark out of place, wherever it stands in the submit, and nothing of it is stored.
pub fn one_stale_mark_refuses_the_whole_submit(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feeds = feeds(fixture, (0..3).map(|n| Feed::new("pi", n, Stream::Raw)));
    let mut expected = Expected::default();
    let records: Vec<_> = feeds.iter().flat_map(|feed| feed.frame(1, 2)).collect();
    let marks: Vec<_> = feeds.iter().map(|feed| expected.mark(&feed.source(), 5)).collect();
    fixture.ledger().submit(&records, &marks).expect("first positions are taken");
    expected.add(&records, &marks);
    let later: Vec<_> = feeds.iter().flat_map(|feed| feed.frame(6, 2)).collect();
    for stale in 0..feeds.len() {
        for from in [None, Some(4), Some(6)] {
            let mut marks: Vec<_> = feeds.iter().map(|feed| expected.mark(&feed.source(), 7)).collect();
            marks[stale].from = from;
            assert_lost(&fixture.ledger().submit(&later, &marks), "a stale mark");
            recover(fixture);
            expected.check(fixture, "after a stale mark");
        }
    }
    if fixture.partition().is_some() {
        return;
    }
    let unknown = Mark { source: Source::partition("raw_sensor_data", 0), from: Some(1), to: 2 };
    assert_lost(&fixture.ledger().submit(&later, &[unknown]), "a position of a source that is not known");
    recover(fixture);
    expected.check(fixture, "after a position of a source that is not known");
}

/// What was submitted once is recognised by its mark.
pub fn a_repeated_submit_stores_nothing(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feed = raw(fixture);
    let mut expected = Expected::default();
    for seq in 1..=3 {
        let (records, marks) = (feed.frame(seq, 3), [expected.mark(&feed.source(), seq)]);
        fixture.ledger().submit(&records, &marks).expect("the first time is taken");
        expected.add(&records, &marks);
        assert_lost(&fixture.ledger().submit(&records, &marks), "the second time");
        recover(fixture);
        expected.check(fixture, "after a repeated submit");
    }
}

/// Two owners that read the same position: one moves it, the other stores nothing.
pub fn of_two_owners_one_wins(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feed = raw(fixture);
    let mut expected = Expected::default();
    let marks = [expected.mark(&feed.source(), 1)];
    fixture.ledger().submit(&feed.frame(1, 1), &marks).expect("a first submit is taken");
    expected.add(&feed.frame(1, 1), &marks);
    expected.settle(fixture.ledger(), "before the race");

    let mut rival = fixture.rival();
    rival.recover().expect("a second owner becomes ready");
    assert_eq!(rival.committed(&[feed.source()]).expect("a second owner reads"), expected.positions);
    let (mine, theirs) = (feed.frame(2, 3), feed.frame(2, 5));
    let mark = [expected.mark(&feed.source(), 2)];
    let first = fixture.ledger().submit(&mine, &mark);
    let second = rival.submit(&theirs, &mark);
    assert!(first.is_ok() != second.is_ok(), "exactly one owner wins: {first:?}, {second:?}");
    let (winner, loser) = if first.is_ok() { (&mine, &second) } else { (&theirs, &first) };
    assert_lost(loser, "the other owner");
    expected.add(winner, &mark);
    expected.settle(if first.is_ok() { fixture.ledger() } else { &mut *rival }, "the winner's position");
    drop(rival);
    fixture.crash();
    recover(fixture);
    expected.check(fixture, "after the race");
}

/// A position below or at the present one is a mistake of the caller and is refused.
pub fn a_mark_never_goes_back(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feed = raw(fixture);
    let mut expected = Expected::default();
    let marks = [expected.mark(&feed.source(), 5)];
    fixture.ledger().submit(&feed.frame(1, 1), &marks).expect("a first submit is taken");
    expected.add(&feed.frame(1, 1), &marks);
    for to in [0, 4, 5] {
        let back = fixture.ledger().submit(&feed.frame(2, 1), &[expected.mark(&feed.source(), to)]);
        assert!(back.is_err(), "from 5 to {to} was taken");
        recover(fixture);
        expected.check(fixture, "after a mark that goes back");
    }
}

/// Two marks of one source in one submit are a mistake of the caller and are refused.
pub fn a_source_has_one_mark_in_a_submit(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feed = raw(fixture);
    let mark = |from, to| Mark { source: feed.source(), from, to };
    for marks in [[mark(None, 1), mark(Some(1), 2)], [mark(None, 1), mark(None, 1)]] {
        assert!(fixture.ledger().submit(&feed.frame(1, 1), &marks).is_err(), "two marks of one source were taken");
        recover(fixture);
        Expected::default().check(fixture, "after two marks of one source");
    }
}

/// Records without a mark could never be recognised again and are refused.
pub fn records_need_a_mark(fixture: &mut dyn Fixture) {
    recover(fixture);
    let frame = raw(fixture);
    assert!(fixture.ledger().submit(&frame.frame(1, 1), &[]).is_err(), "records without a mark were taken");
    recover(fixture);
    Expected::default().check(fixture, "after records without a mark");
}

/// Positions use all of `i64`, and nothing beyond it is taken.
pub fn positions_reach_the_end_of_i64(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feed = raw(fixture);
    let mut expected = Expected::default();
    let most = i64::MAX as u64;
    for seq in [most - 1, most] {
        let (records, marks) = (feed.frame(seq, 2), [expected.mark(&feed.source(), seq)]);
        fixture.ledger().submit(&records, &marks).expect("great positions are taken");
        expected.add(&records, &marks);
        expected.check(fixture, "great positions");
    }
    let from = expected.positions.get(&feed.source()).copied();
    let beyond = [Mark { source: feed.source(), from, to: most + 1 }];
    assert!(fixture.ledger().submit(&[], &beyond).is_err(), "a position beyond i64 was taken");
    recover(fixture);
    expected.check(fixture, "after a position beyond i64");
}

/// Mistakes of the caller are told from troubles of the ledger: as often as they come, and nothing of them is stored.
pub fn a_submit_that_can_never_be_taken_is_rejected(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feed = raw(fixture);
    let mut expected = Expected::default();
    let marks = [expected.mark(&feed.source(), 5)];
    fixture.ledger().submit(&feed.frame(1, 1), &marks).expect("a first submit is taken");
    expected.add(&feed.frame(1, 1), &marks);
    let mark = |from, to| Mark { source: feed.source(), from, to };
    let wrong = [
        vec![],
        vec![mark(Some(5), 5)],
        vec![mark(Some(5), 6), mark(Some(6), 7)],
        vec![mark(Some(5), i64::MAX as u64 + 1)],
    ];
    for marks in wrong.iter().chain(&wrong) {
        let outcome = fixture.ledger().submit(&feed.frame(6, 1), marks);
        assert!(matches!(outcome, Err(LedgerError::Rejected(_))), "{outcome:?} for {marks:?}");
        recover(fixture);
        expected.check(fixture, "after a wrong submit");
    }
    let marks = [expected.mark(&feed.source(), 6)];
    fixture.ledger().submit(&feed.frame(6, 1), &marks).expect("a right submit after wrong ones is taken");
}

/// After an error and `recover` the ledger goes on where it was; `recover` on a ready ledger changes nothing.
pub fn a_failure_is_recovered_from(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feed = raw(fixture);
    let mut expected = Expected::default();
    for seq in 1..=5 {
        let stale = [Mark { source: feed.source(), from: Some(seq + 100), to: seq + 200 }];
        assert_lost(&fixture.ledger().submit(&feed.frame(seq, 2), &stale), "a stale mark");
        recover(fixture);
        recover(fixture);
        let (records, marks) = (feed.frame(seq, 2), [expected.mark(&feed.source(), seq)]);
        fixture.ledger().submit(&records, &marks).expect("a recovered ledger takes records");
        expected.add(&records, &marks);
        expected.settle(fixture.ledger(), "after recovery");
        fixture.ledger().tend().expect("housekeeping of a ready ledger works");
        expected.check(fixture, "after recovery");
    }
}

/// Killed right after a submit, before anybody asked whether it is committed: all of it is there or none.
pub fn a_crash_after_submit_stores_all_or_nothing(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feeds = feeds(fixture, [raw(fixture), Feed::new("pi", 0x11, Stream::Activity)]);
    let sources: Vec<_> = feeds.iter().map(Feed::source).collect();
    let mut expected = Expected::default();
    for seq in 1..=5 {
        let records: Vec<_> = feeds.iter().flat_map(|feed| feed.frame(seq, 50)).collect();
        let marks: Vec<_> = sources.iter().map(|source| expected.mark(source, seq)).collect();
        fixture.ledger().submit(&records, &marks).expect("a submit is taken");
        fixture.crash();
        recover(fixture);
        if committed(fixture, &sources) != expected.positions {
            expected.add(&records, &marks);
        }
        expected.check(fixture, "after a crash");
    }
}

/// What `committed` told once, no crash takes back.
pub fn a_crash_keeps_what_was_committed(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feed = raw(fixture);
    let mut expected = Expected::default();
    for seq in 1..=5 {
        let (records, marks) = (feed.frame(seq, 50), [expected.mark(&feed.source(), seq)]);
        fixture.ledger().submit(&records, &marks).expect("a submit is taken");
        expected.add(&records, &marks);
        expected.settle(fixture.ledger(), "before the crash");
        fixture.crash();
        recover(fixture);
        expected.check(fixture, "after the crash");
    }
}

/// The records of a source are stored in the order in which they were submitted.
pub fn order_is_kept_per_source(fixture: &mut dyn Fixture) {
    recover(fixture);
    let many = [raw(fixture), Feed::new("zero", 0x9, Stream::Raw), Feed::new("pi", 0x11, Stream::Activity)];
    let feeds = feeds(fixture, many);
    let mut expected = Expected::default();
    for round in 0..10 {
        let seqs: Vec<_> = (round * 3 + 1..=round * 3 + 3).collect();
        let records: Vec<_> = seqs.iter().flat_map(|seq| feeds.iter().flat_map(|feed| feed.frame(*seq, 7))).collect();
        let marks: Vec<_> = feeds.iter().map(|feed| expected.mark(&feed.source(), round * 3 + 3)).collect();
        fixture.ledger().submit(&records, &marks).expect("a submit is taken");
        expected.add(&records, &marks);
    }
    expected.check(fixture, "order");
}

/// Floats to the bit, great integers, any text, nulls, nested objects. The sign of zero is not promised: SQLite, for
/// one, stores −0.0 as 0.0, the same number.
pub fn values_come_back_exactly(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feed = raw(fixture);
    let mut expected = Expected::default();
    let (records, marks) = (feed.odd(1), [expected.mark(&feed.source(), 1)]);
    fixture.ledger().submit(&records, &marks).expect("odd values are taken");
    expected.add(&records, &marks);
    expected.check(fixture, "odd values");
    fixture.crash();
    recover(fixture);
    expected.check(fixture, "odd values after a crash");
}

/// Whenever a position is told, the records up to it can be read.
pub fn committed_never_runs_ahead_of_what_is_stored(fixture: &mut dyn Fixture) {
    recover(fixture);
    let feed = raw(fixture);
    let mut expected = Expected::default();
    for seq in 1..=20 {
        let (records, marks) = (feed.frame(seq, 1), [expected.mark(&feed.source(), seq)]);
        fixture.ledger().submit(&records, &marks).expect("a submit is taken");
        expected.add(&records, &marks);
        let told = committed(fixture, &[feed.source()]).get(&feed.source()).copied().unwrap_or(0);
        let stored = fixture.stored().len() as u64;
        assert!(told <= stored, "position {told} was told with {stored} records stored");
    }
    expected.check(fixture, "in the end");
}
