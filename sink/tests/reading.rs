//! What people see, while the warehouse is written and after.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};

use gaitway_proto::ledger::{Ledger as _, LedgerError, Mark, Source, Stream};
use gaitway_proto::record::{Body, GapNotice, Record};
use gaitway_sink::sqlite::{Options, Warehouse};
use support::{BASE, Home, SESSION, Walk, window};

#[test]
fn a_reader_sees_whole_submits_while_they_are_written() {
    let mut home = Home::new();
    let path = home.path();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let reader = rusqlite::Connection::open(&path).unwrap();
            let mut most = 0;
            while !done.load(Ordering::Relaxed) || most < 1000 {
                let (rows, position): (i64, Option<i64>) = reader
                    .query_row(
                        "SELECT (SELECT count(*) FROM raw_readings), (SELECT position FROM gaitway_progress)",
                        [],
                        |row| row.try_into(),
                    )
                    .unwrap();
                assert_eq!(rows, position.unwrap_or(0) * 20);
                assert!(rows >= most);
                most = rows;
            }
        });
        let mut walk = Walk::new();
        for _ in 0..50 {
            walk.step(&mut home.warehouse, 20);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().unwrap();
    });
}

#[test]
fn a_long_reader_never_holds_up_a_commit_and_the_log_shrinks_after_it() {
    let mut home = Home::with(&Options { min_free_percent: 0, ..Options::default() });
    let mut walk = Walk::padded(100_000);
    walk.step(&mut home.warehouse, 1);
    let reader = home.reader();
    reader.execute_batch("BEGIN").unwrap();
    let count = || reader.query_row("SELECT count(*) FROM ACTIVITY_RECORDS", [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(count(), 1);
    for _ in 0..8 {
        walk.step(&mut home.warehouse, 100);
    }
    home.warehouse.tend().unwrap();
    assert_eq!(count(), 1, "the reader stays in its snapshot");
    let counters = home.warehouse.counters();
    assert!(counters.wal_bytes() > 64 << 20, "{}", counters.wal_bytes());
    reader.execute_batch("COMMIT").unwrap();
    assert_eq!(count(), 801);
    home.warehouse.tend().unwrap();
    assert!(counters.wal_bytes() < 1 << 20, "{}", counters.wal_bytes());
}

#[test]
fn another_writer_is_named_as_the_reason() {
    let mut home = Home::new();
    let walk = Walk::new();
    let writer = home.reader();
    writer.execute_batch("BEGIN IMMEDIATE").unwrap();
    let mark = Mark { source: walk.source(), from: None, to: 1 };
    let refused = home.warehouse.submit(&walk.records(1), std::slice::from_ref(&mark));
    assert!(matches!(&refused, Err(LedgerError::Unavailable(said)) if said.contains("another program")), "{refused:?}");
    writer.execute_batch("ROLLBACK").unwrap();
    home.warehouse.recover().unwrap();
    home.warehouse.submit(&walk.records(1), &[mark]).unwrap();
}

fn told() -> Home {
    let mut home = Home::new();
    let mut walk = Walk::new();
    walk.step(&mut home.warehouse, 2);
    let origin = walk.origin(Stream::Activity);
    let gap =
        GapNotice { to_seq: 4, messages: Some(2), readings: None, reason: "spool".into(), noticed_at: BASE / 1000 };
    let records = [
        window(origin, 0, "walking", 0),
        window(origin, 2, "walking", 0),
        window(origin, 4, "running", 0),
        window(origin, 6, "sprinting", 0),
        window(origin, 6, "running", 2),
        window(origin, 6, "stationary", 1),
        window(origin, 8, "walking", 0),
        Record { metadata: origin.metadata(0, None), body: Body::Gap(gap) },
    ];
    let mark = Mark { source: Source::partition("processed_activity", 0), from: None, to: 1 };
    home.warehouse.submit(&records, &[mark]).unwrap();
    home
}

fn lines(home: &Home, sql: &str) -> Vec<String> {
    let reader = home.reader();
    let mut statement = reader.prepare(sql).unwrap();
    let columns = statement.column_count();
    let read = |row: &rusqlite::Row<'_>| {
        let texts: Result<Vec<_>, _> = (0..columns)
            .map(|place| {
                row.get::<_, rusqlite::types::Value>(place).map(|value| match value {
                    rusqlite::types::Value::Null => "-".to_owned(),
                    rusqlite::types::Value::Integer(v) => v.to_string(),
                    rusqlite::types::Value::Real(v) => v.to_string(),
                    rusqlite::types::Value::Text(v) => v,
                    rusqlite::types::Value::Blob(v) => format!("{v:?}"),
                })
            })
            .collect();
        texts.map(|texts| texts.join(" | "))
    };
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

#[test]
fn raw_readings_have_times_that_people_read() {
    let found = lines(
        &told(),
        "SELECT time, time_ns, sensor, x, accuracy, agent_id, received_at, clock_synced FROM raw_readings",
    );
    assert_eq!(
        found,
        [
            "2023-11-14T22:13:21.000Z | 1700000001000000000 | accelerometer | 0.1 | - | pi | 2023-11-14T22:13:20.000Z | 1",
            "2023-11-14T22:13:21.001Z | 1700000001001000000 | accelerometer | 0.1 | - | pi | 2023-11-14T22:13:20.000Z | 1",
        ]
    );
}

#[test]
fn activity_windows_tell_the_last_revision_only() {
    let found = lines(
        &told(),
        "SELECT window_start, window_end, activity, revision FROM activity_windows ORDER BY window_start",
    );
    assert_eq!(
        found,
        [
            "2023-11-14T22:13:20.000Z | 2023-11-14T22:13:30.000Z | walking | 0",
            "2023-11-14T22:13:22.000Z | 2023-11-14T22:13:32.000Z | walking | 0",
            "2023-11-14T22:13:24.000Z | 2023-11-14T22:13:34.000Z | running | 0",
            "2023-11-14T22:13:26.000Z | 2023-11-14T22:13:36.000Z | running | 2",
            "2023-11-14T22:13:28.000Z | 2023-11-14T22:13:38.000Z | walking | 0",
        ]
    );
}

#[test]
fn sessions_tell_from_when_to_when_and_what_mostly() {
    let expected =
        format!("phone | {SESSION} | 2023-11-14T22:13:20.000Z | 2023-11-14T22:13:38.000Z | 5 | walking | 0.6");
    assert_eq!(lines(&told(), "SELECT * FROM sessions"), [expected]);
}

#[test]
fn stream_gaps_tell_what_is_missing() {
    let found = lines(&told(), "SELECT * FROM stream_gaps");
    assert_eq!(found, ["pi | 0000000000000007 | activity | 1 | 4 | 4 | 2 | - | spool | 2023-11-14T22:13:20.000Z"]);
}

#[test]
fn views_follow_the_program() {
    let home = told();
    let reader = home.reader();
    reader.execute_batch("DROP VIEW sessions; DROP VIEW stream_gaps; CREATE VIEW sessions AS SELECT 1 AS old").unwrap();
    let path = home.path();
    let _again = Warehouse::open(&path, &Options::default()).unwrap();
    assert_eq!(lines(&home, "SELECT windows FROM sessions"), ["5"]);
    assert_eq!(lines(&home, "SELECT frames FROM stream_gaps"), ["4"]);
}

#[test]
fn views_of_a_record_know_its_name_and_tell_no_more_than_the_file_does() {
    let home = told();
    let sources = "SELECT table_name, agent_id, epoch, seq, record_index, kafka_offset, stored_at FROM record_sources
                    WHERE table_name <> 'USER_ACTIVITY_PROCESSED' ORDER BY table_name, record_index";
    assert_eq!(
        lines(&home, sources),
        [
            "ACTIVITY_RECORDS | pi | 0000000000000007 | 1 | 0 | - | -",
            "ACTIVITY_RECORDS | pi | 0000000000000007 | 1 | 1 | - | -",
            "GAPS | pi | 0000000000000007 | 1 | 0 | - | -",
        ]
    );
    let latency = "SELECT readings, phone_to_agent_ms, oldest_reading_ms, kafka_to_row_ms, push_to_row_ms FROM latency";
    assert_eq!(lines(&home, latency), ["2 | -1001 | -1000 | - | -"]);
}

#[test]
fn a_table_with_the_name_of_a_view_is_left_alone() {
    let home = told();
    home.reader().execute_batch("DROP VIEW locations; CREATE TABLE locations (mine); DROP VIEW latency").unwrap();
    let _again = Warehouse::open(home.path(), &Options::default()).unwrap();
    assert_eq!(lines(&home, "SELECT count(*) FROM locations"), ["0"]);
    assert_eq!(lines(&home, "SELECT count(*) FROM latency"), ["1"]);
}

#[test]
fn looking_at_a_span_of_time_uses_an_index() {
    let home = Home::new();
    let plan = |sql: &str| lines(&home, &format!("EXPLAIN QUERY PLAN {sql}")).join("\n");
    let raw = plan("SELECT * FROM raw_readings WHERE time_ns BETWEEN 1 AND 2");
    assert!(raw.contains("raw_by_time"), "{raw}");
    let places = plan("SELECT * FROM locations WHERE time_ns BETWEEN 1 AND 2");
    assert!(places.contains("raw_by_time"), "{places}");
    let windows = plan("SELECT * FROM activity_windows WHERE device_id = 'a' AND session_id = 'b'");
    assert!(windows.matches("activity_by_window").count() == 2, "{windows}");
    let day = plan("SELECT * FROM activity_windows WHERE time >= '2023-11-14' AND time < '2023-11-15'");
    assert!(day.contains("activity_by_time") && day.contains("activity_by_window"), "{day}");
}
