//! Deleting one device's rows from the local warehouse: all of them, for good, and nothing else.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use std::path::{Path, PathBuf};

use gaitway_proto::forgotten;
use gaitway_proto::ledger::{Epoch, Ledger as _, Mark, Source, Stream};
use gaitway_proto::record::{Activity, Body, Origin, Raw, Record};
use gaitway_proto::topic::AgentId;
use gaitway_sink::forgetting::Held;
use gaitway_sink::sqlite::{Options, Warehouse, forget, set_aside_with};
use support::Home;

const GONE: &str = "device-gone-0001";
const KEPT: &str = "device-kept-0002";
const START: i64 = 1_700_000_000_000_000_000;

/// Frames of two devices in one stream of each kind.
struct Agent {
    id: AgentId,
    seq: u64,
}

impl Agent {
    fn new() -> Self {
        Self { id: "pi".parse().unwrap(), seq: 0 }
    }

    /// A frame of `rows` readings, and one of as many windows, of each of `devices` in turns, in one submit.
    fn step(&mut self, warehouse: &mut Warehouse, devices: &[&str], rows: u32) {
        let Self { id, seq } = self;
        let from = (*seq > 0).then_some(*seq);
        let (epoch, mut records) = (Epoch::from_random(7), Vec::new());
        for device in devices {
            *seq += 1;
            for index in 0..rows {
                let origin = |stream| Origin { agent: id, epoch, ordinal: 1, stream, seq: *seq };
                let at = START + *seq as i64 * 1_000_000_000 + i64::from(index);
                let raw = Raw {
                    message_id: Some(*seq),
                    session: "walk",
                    device,
                    sensor: Some("accelerometer"),
                    xyz: [Some(1.0), Some(2.0), Some(3.0)],
                    accuracy: None,
                    timestamp: Some(at),
                    reading: None,
                    reading_index: index,
                    user: None,
                    received_at: at / 1000,
                };
                let activity = Activity {
                    session: "walk",
                    device,
                    activity: "walking",
                    confidence: 0.9,
                    avg_magnitude: 3.7,
                    window_start: at,
                    window_end: at + 10_000_000_000,
                    sample_count: 3,
                    classifier: "threshold",
                    revision: 0,
                };
                let metadata = |stream| origin(stream).metadata(index, None);
                records.push(Record { metadata: metadata(Stream::Raw), body: Body::Raw(raw) });
                records.push(Record { metadata: metadata(Stream::Activity), body: Body::Activity(activity) });
            }
        }
        let mark = |stream| Mark { source: Source::stream(id, epoch, stream), from, to: *seq };
        warehouse.submit(&records, &Stream::ALL.map(mark)).unwrap();
    }

    fn source(&self, stream: Stream) -> Source {
        Source::stream(&self.id, Epoch::from_random(7), stream)
    }
}

fn options() -> Options {
    Options { min_free_percent: 0, ..Options::default() }
}

fn files_with(dir: &Path, text: &str) -> Vec<PathBuf> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| gaitway_service::file_bytes::hold(path, text.as_bytes(), |_| {}).unwrap()).collect()
}

/// Rowids and values of a device, of both tables.
fn rows(path: &Path, device: &str) -> Vec<(i64, String)> {
    let reader = rusqlite::Connection::open(path).unwrap();
    let mut rows = Vec::new();
    for table in ["ACTIVITY_RECORDS", "USER_ACTIVITY_PROCESSED"] {
        let sql = format!("SELECT rowid, RECORD_METADATA || timestamp FROM {table} WHERE deviceId = ?1 ORDER BY rowid");
        let mut statement = reader.prepare(&sql).unwrap();
        let found = statement.query_map([device], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        rows.extend(found.map(Result::unwrap));
    }
    rows
}

fn told(path: &Path) -> Vec<(String, i64, i64, i64, i64)> {
    let reader = rusqlite::Connection::open(path).unwrap();
    let sql = "SELECT stream, fromSeq, toSeq, messages, readings FROM GAPS WHERE reason = ?1 ORDER BY stream, fromSeq";
    let mut statement = reader.prepare(sql).unwrap();
    let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    statement.query_map([forgotten::ROWS], read).unwrap().map(Result::unwrap).collect()
}

fn forget(path: &Path) -> Result<Held, String> {
    forget::forget(path, GONE, &mut |_, _| {})
}

/// Closes the warehouse and gives its folder.
fn closed(home: Home) -> tempfile::TempDir {
    let Home { warehouse, dir } = home;
    drop(warehouse);
    dir
}

#[test]
fn nothing_of_a_forgotten_device_is_left_in_any_file_and_everything_of_the_others_is() {
    let (mut home, mut agent) = (Home::with(&options()), Agent::new());
    for _ in 0..300 {
        agent.step(&mut home.warehouse, &[GONE, KEPT, GONE], 3);
    }
    agent.step(&mut home.warehouse, &[KEPT, GONE], 3);
    let dir = closed(home);
    let path = dir.path().join("warehouse.db");
    let kept = rows(&path, KEPT);
    assert!(!files_with(dir.path(), GONE).is_empty());
    let held = forget::look(&path, GONE, &mut |_, _| {}).unwrap();
    assert_eq!(held, Held { readings: 601 * 3, windows: 601 * 3 });

    let mut seen = Vec::new();
    assert_eq!(forget::forget(&path, GONE, &mut |passed, all| seen.push((passed, all))).unwrap(), held);
    assert_eq!(seen.last(), Some(&(902 * 6, 902 * 6)));
    assert_eq!(files_with(dir.path(), GONE), Vec::<PathBuf>::new());
    assert_eq!(rows(&path, KEPT), kept);
    let note = |stream: &str| (stream.to_owned(), 1, 902, 601, 601 * 3);
    assert_eq!(told(&path), ["activity", "raw"].map(note));
    assert_eq!(forget(&path), Ok(Held::default()));
    assert_eq!(told(&path).len(), 2);
    let names: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["warehouse.db"]);

    // It goes on where it was, and what was stored is known.
    let mut warehouse = Warehouse::open(&path, &options()).unwrap();
    let sources = Stream::ALL.map(|stream| agent.source(stream));
    assert!(warehouse.committed(&sources).unwrap().values().all(|position| *position == 902));
    agent.step(&mut warehouse, &[KEPT], 3);
    warehouse.tend().unwrap();
    assert_eq!(rows(&path, KEPT).len(), kept.len() + 6);
    // What arrives later is found by the next run, and told on its own: up to there others may have rows.
    agent.step(&mut warehouse, &[GONE], 2);
    drop(warehouse);
    assert_eq!(forget(&path), Ok(Held { readings: 2, windows: 2 }));
    let both = |stream: &str| [note(stream), (stream.to_owned(), 904, 904, 1, 2)];
    assert_eq!(told(&path), ["activity", "raw"].map(both).concat());
}

#[test]
fn no_mark_names_a_row_that_was_deleted_and_ages_end_at_what_is_left() {
    let (mut home, mut agent) = (Home::with(&options()), Agent::new());
    agent.step(&mut home.warehouse, &[KEPT, GONE], 2);
    home.warehouse.tend().unwrap();
    let dir = closed(home);
    let path = dir.path().join("warehouse.db");
    let number = |sql: &str| -> Option<i64> {
        rusqlite::Connection::open(&path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(number("SELECT count(lastRows) FROM gaitway_progress"), Some(2));
    assert_eq!(number("SELECT max(lastRow) FROM gaitway_ages"), Some(4));
    forget(&path).unwrap();
    assert_eq!(number("SELECT count(lastRows) FROM gaitway_progress"), Some(0));
    assert_eq!(number("SELECT max(lastRow) FROM gaitway_ages"), Some(2));
    drop(Warehouse::open(&path, &options()).unwrap());
    assert_eq!(forget::look(&path, KEPT, &mut |_, _| {}).unwrap(), Held { readings: 2, windows: 2 });
}

#[test]
fn a_run_that_was_interrupted_after_the_rows_went_is_finished_by_the_next() {
    let (mut home, mut agent) = (Home::with(&options()), Agent::new());
    agent.step(&mut home.warehouse, &[KEPT, GONE], 200);
    let dir = closed(home);
    let path = dir.path().join("warehouse.db");
    // A reader is in the way of the last step, which must not happen under it.
    let reader = rusqlite::Connection::open(&path).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM GAPS").unwrap();
    let said = forget(&path).unwrap_err();
    assert!(said.contains("the rows are deleted") && said.contains("close it; then run this again"), "{said}");
    assert!(dir.path().join("warehouse.db.forgetting").exists());
    assert!(forget::is_unfinished(&path));
    drop(reader);
    // What a kill in the middle of writing leaves.
    std::fs::write(dir.path().join("warehouse.db.forgetting"), "half a file").unwrap();
    assert_eq!(forget(&path), Ok(Held::default()));
    assert!(!dir.path().join("warehouse.db.forgetting").exists() && !forget::is_unfinished(&path));
    assert_eq!(files_with(dir.path(), GONE), Vec::<PathBuf>::new());
    assert_eq!(rows(&path, KEPT).len(), 400);
}

#[test]
fn files_that_were_set_aside_are_named_if_the_device_stands_in_them() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
    file("warehouse.db.damaged-20260101T120000Z", GONE);
    file("warehouse.db.damaged-20260101T120000Z-wal", GONE);
    file("warehouse.db.damaged-20260102T120000Z", KEPT);
    let found = set_aside_with(&dir.path().join("warehouse.db"), GONE.as_bytes()).unwrap();
    let names = ["warehouse.db.damaged-20260101T120000Z", "warehouse.db.damaged-20260101T120000Z-wal"];
    assert_eq!(found, names.map(|name| dir.path().join(name)));
}

#[test]
fn a_journal_that_a_killed_run_left_is_rolled_back_before_it_is_looked() {
    let (mut home, mut agent) = (Home::with(&options()), Agent::new());
    agent.step(&mut home.warehouse, &[GONE, KEPT], 500);
    let dir = closed(home);
    let path = dir.path().join("warehouse.db");
    let held = forget::look(&path, GONE, &mut |_, _| {}).unwrap();
    let writer = rusqlite::Connection::open(&path).unwrap();
    let mode: String = writer.query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0)).unwrap();
    assert_eq!(mode, "delete");
    writer.execute_batch("PRAGMA cache_size = 1; BEGIN; DELETE FROM ACTIVITY_RECORDS").unwrap();
    // As the disk is when the writer is killed: pages are overwritten, and the journal tells what they were.
    let killed = tempfile::tempdir().unwrap();
    let journal = |path: &Path| PathBuf::from(format!("{}-journal", path.display()));
    let copy = killed.path().join("warehouse.db");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(journal(&path), journal(&copy)).unwrap();
    let conn = rusqlite::Connection::open_with_flags(&copy, rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    let refused = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0)).unwrap_err();
    assert!(refused.to_string().contains("readonly"), "{refused}");
    drop(conn);
    assert_eq!(forget::look(&copy, GONE, &mut |_, _| {}).unwrap(), held);
    assert_eq!(forget::forget(&copy, GONE, &mut |_, _| {}).unwrap(), held);
    assert_eq!(forget::look(&copy, GONE, &mut |_, _| {}).unwrap(), Held::default());
}
