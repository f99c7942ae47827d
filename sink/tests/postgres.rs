//! The PostgreSQL warehouse keeps the law.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../tests/harness/authority.rs"]
mod authority;
#[path = "postgres/faults.rs"]
mod faults;
#[path = "postgres/locked.rs"]
mod locked;
#[path = "postgres/partitions.rs"]
mod partitions;
#[path = "postgres/partitions_told.rs"]
mod partitions_told;
mod postgres_server;
#[path = "postgres/refusals.rs"]
mod refusals;
#[path = "postgres/roles.rs"]
mod roles;
#[path = "postgres/setting_up.rs"]
mod setting_up;
#[path = "postgres/stored.rs"]
mod stored;
mod support;

use gaitway_proto::ledger::conformance::{self, Fixture as _, laws, walk};
use gaitway_proto::ledger::{Mark, Source};
use proptest::prelude::*;
use stored::Home;

macro_rules! laws {
    ($($law:ident),* $(,)?) => {
        $(#[test]
        #[ignore = "needs postgres"]
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
#[ignore = "needs postgres"]
fn the_whole_suite() {
    conformance::run(|| Box::new(Home::new()));
}

#[test]
#[ignore = "needs postgres"]
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
    #[ignore = "needs postgres"]
    fn random_histories(seed: u64) {
        walk(&mut Home::new(), seed, 30);
    }
}
