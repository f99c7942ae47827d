//! What goes, what stays, and that it is counted.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::time::Duration;

use gaitway_proto::ledger::{Ledger as _, Mark, Source, Stream};
use gaitway_sink::sqlite::{Options, Reason, WallClock};
use support::{Home, Walk, window};

const DAY: i64 = 86_400;
const MIB: u64 = 1024 * 1024;

fn at(days: i64) -> WallClock {
    WallClock { at: 1_700_000_000 + days * DAY, synchronised: true }
}

fn count(home: &Home, table: &str) -> u64 {
    let sql = format!("SELECT count(*) FROM {table}");
    home.reader().query_row(&sql, [], |row| row.get::<_, i64>(0)).unwrap() as u64
}

fn file_bytes(home: &Home) -> u64 {
    home.reader().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    std::fs::metadata(home.path()).unwrap().len()
}

/// No disk of any test machine decides.
fn options() -> Options {
    Options { min_free_percent: 0, ..Options::default() }
}

/// Calls until a call deletes nothing more.
fn tend(home: &mut Home, now: WallClock) {
    let deleted = |home: &Home| Reason::ALL.map(|reason| home.warehouse.counters().deleted(reason));
    let mut before = None;
    while before != Some(deleted(home)) {
        before = Some(deleted(home));
        home.warehouse.tend_at(now).unwrap();
    }
}

#[test]
fn raw_readings_older_than_keep_raw_go() {
    let mut home = Home::with(&options());
    let mut walk = Walk::new();
    for day in 0..60 {
        walk.step(&mut home.warehouse, 100);
        tend(&mut home, at(day));
    }
    let left = count(&home, "ACTIVITY_RECORDS");
    assert!((2900..=3100).contains(&left), "{left}");
    let counters = home.warehouse.counters();
    assert_eq!(counters.deleted(Reason::Age) + left, 6000);
    assert_eq!(counters.deleted(Reason::Size) + counters.deleted(Reason::Disk), 0);
    let first: i64 = home.reader().query_row("SELECT min(messageId) FROM ACTIVITY_RECORDS", [], |r| r.get(0)).unwrap();
    assert_eq!((first as u64 - 1) * 100, counters.deleted(Reason::Age), "the oldest went");
}

#[test]
fn ages_survive_a_restart() {
    let mut home = Home::with(&options());
    let mut walk = Walk::new();
    for day in 0..29 {
        walk.step(&mut home.warehouse, 10);
        tend(&mut home, at(day));
        home.warehouse = gaitway_sink::sqlite::Warehouse::open(home.path(), &options()).unwrap();
    }
    assert_eq!(count(&home, "ACTIVITY_RECORDS"), 290);
    walk.step(&mut home.warehouse, 10);
    tend(&mut home, at(31));
    assert!(count(&home, "ACTIVITY_RECORDS") < 290);
}

#[test]
fn a_clock_that_jumps_does_not_empty_the_table() {
    let mut home = Home::with(&options());
    let mut walk = Walk::new();
    for day in 0..20 {
        walk.step(&mut home.warehouse, 10);
        tend(&mut home, at(day));
    }
    for days in [10_000, 20, -20_000, 21] {
        tend(&mut home, at(days));
    }
    assert_eq!(count(&home, "ACTIVITY_RECORDS"), 200);
}

#[test]
fn a_table_emptied_by_hand_does_not_age_its_new_rows() {
    let mut home = Home::with(&options());
    let mut walk = Walk::new();
    for day in 0..29 {
        walk.step(&mut home.warehouse, 100);
        tend(&mut home, at(day));
    }
    home.reader().execute("DELETE FROM ACTIVITY_RECORDS", []).unwrap();
    tend(&mut home, at(29));
    walk.step(&mut home.warehouse, 50);
    for day in [32, 35, 38] {
        tend(&mut home, at(day));
    }
    assert_eq!(count(&home, "ACTIVITY_RECORDS"), 50);
}

#[test]
fn above_max_bytes_the_oldest_raw_readings_go_and_space_is_given_back() {
    let mut home = Home::with(&options());
    let mut walk = Walk::padded(2000);
    let others = Source::partition("processed_activity", 0);
    let marks = [Mark { source: others.clone(), from: None, to: 1 }];
    home.warehouse.submit(&[window(walk.origin(Stream::Activity), 0, "walking", 0)], &marks).unwrap();
    for _ in 0..40 {
        walk.step(&mut home.warehouse, 100);
    }
    assert!(file_bytes(&home) > 8 * MIB);
    let limited = Options { max_bytes: 2 * MIB, ..options() };
    home.warehouse = gaitway_sink::sqlite::Warehouse::open(home.path(), &limited).unwrap();
    tend(&mut home, at(0));
    for _ in 0..10 {
        home.warehouse.tend_at(at(0)).unwrap();
    }
    let counters = home.warehouse.counters();
    assert!(counters.used_bytes() <= 2 * MIB, "{}", counters.used_bytes());
    assert!(counters.used_bytes() > MIB, "no more than needed");
    assert!(file_bytes(&home) <= 2 * MIB);
    let left = count(&home, "ACTIVITY_RECORDS");
    assert_eq!(counters.deleted(Reason::Size) + left, 4000);
    assert_eq!(count(&home, "USER_ACTIVITY_PROCESSED"), 1);
    let committed = home.warehouse.committed(&[walk.source(), others.clone()]).unwrap();
    assert_eq!(committed.get(&walk.source()), Some(&walk.position()));
    assert_eq!(committed.get(&others), Some(&1));
    let integrity: String = home.reader().query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(integrity, "ok");
}

#[test]
fn the_size_holds_under_load_without_anybody_tending() {
    let limited = Options { max_bytes: 2 * MIB, ..options() };
    let mut home = Home::with(&limited);
    let mut walk = Walk::padded(2000);
    let mut deleted = 0;
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while deleted == 0 && std::time::Instant::now() < deadline {
        walk.step(&mut home.warehouse, 50);
        deleted = home.warehouse.counters().deleted(Reason::Size);
    }
    assert!(deleted > 0);
}

#[test]
fn what_is_kept_has_no_reason_to_go() {
    let mut home = Home::with(&options());
    let mut walk = Walk::new();
    for _ in 0..10 {
        walk.step(&mut home.warehouse, 10);
        home.warehouse.tend().unwrap();
    }
    assert_eq!(count(&home, "ACTIVITY_RECORDS"), 100);
    assert_eq!(Reason::ALL.map(|reason| home.warehouse.counters().deleted(reason)), [0; 3]);
}
