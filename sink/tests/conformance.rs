//! The SQLite warehouse keeps the law.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use gaitway_proto::ledger::conformance::Fixture as _;
use gaitway_proto::ledger::conformance::{self, laws, walk};
use gaitway_proto::ledger::{Ledger as _, Mark, Source};
use gaitway_sink::sqlite::{Options, Warehouse};
use proptest::prelude::*;
use support::{Home, Walk, stored};

macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        $(#[test]
        fn $law() {
            laws::$law(&mut Home::new());
        })*

        #[test]
        fn every_law_has_its_test() {
            assert_eq!([$(stringify!($law)),*].len(), laws::ALL.len());
        }
    };
}

laws! {
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
}

#[test]
fn the_whole_suite() {
    conformance::run(|| Box::new(Home::new()));
}

#[test]
fn a_mark_tells_when_it_was_moved_and_a_source_can_be_begun_anywhere() {
    let mut home = Home::new();
    let ledger = home.ledger();
    ledger.recover().unwrap();
    let [one, other] = [0, 1].map(|partition| Source::partition("t", partition));
    assert_eq!(ledger.marked_at(&one).unwrap(), None);
    ledger.submit(&[], &[Mark { source: one.clone(), from: None, to: 3 }]).unwrap();
    let passed = gaitway_service::clock::now_micros() - ledger.marked_at(&one).unwrap().unwrap();
    assert!(passed.abs() < 60_000_000, "{passed}");
    ledger.begin_at(&other, 41).unwrap();
    assert_eq!(ledger.committed(std::slice::from_ref(&other)).unwrap()[&other], 41);
    assert_eq!(ledger.kept(&other, Some(41)), Some(41));
    assert!(ledger.begin_at(&one, 5).is_err(), "it has a mark");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn random_histories(seed: u64) {
        walk(&mut Home::new(), seed, 30);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A power cut may leave any beginning of the log: records and marks in it belong together.
    #[test]
    fn a_torn_log_never_parts_records_from_marks(share in 0.0..1.0_f64, rows in 1_u32..40) {
        let mut home = Home::new();
        let mut steps = Walk::new();
        for _ in 0..6 {
            steps.step(&mut home.warehouse, rows);
        }
        let dir = home.copy();
        let wal = std::fs::OpenOptions::new().write(true).open(dir.path().join("warehouse.db-wal")).unwrap();
        let length = wal.metadata().unwrap().len();
        wal.set_len((length as f64 * share) as u64).unwrap();
        drop(wal);
        let path = dir.path().join("warehouse.db");
        let mut warehouse = Warehouse::open(&path, &Options::default()).unwrap();
        let committed = warehouse.committed(&[steps.source()]).unwrap();
        let position = committed.get(&steps.source()).copied().unwrap_or(0);
        prop_assert_eq!(stored(&path).len() as u64, position * u64::from(rows));
    }
}
