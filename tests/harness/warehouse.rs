//! What is in a local warehouse, held against what phones were answered for and what windows must be.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use gaitway_agent::windows::reference::Reference;
use gaitway_agent::windows::{Batch, Params, Sample, lower_median};
use rusqlite::{Connection, OpenFlags};

use super::phone::{Phone, Pushed, Reading};

/// Opens it as anybody may while it is written.
pub(crate) fn open(path: &Path) -> Connection {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
    connection.busy_timeout(super::PATIENCE).unwrap();
    connection
}

pub(crate) fn count(path: &Path, sql: &str) -> i64 {
    open(path).query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Readings stored by now: none before the relay or sink has made the file and, a moment later, its tables.
pub(crate) fn readings(path: &Path) -> i64 {
    let made = "SELECT count(*) FROM sqlite_schema WHERE name = 'ACTIVITY_RECORDS'";
    if !path.exists() || count(path, made) == 0 {
        return 0;
    }
    count(path, "SELECT count(*) FROM ACTIVITY_RECORDS")
}

/// A raw row: commit order, name and values.
#[derive(Debug, Clone, PartialEq)]
struct Row {
    message: u64,
    index: u64,
    reading: (String, i64, [f64; 3]),
    spare: Option<String>,
}

/// Asserts that the rows of `phone` are exactly what it was answered for, and its windows exactly those of the plain
/// reference over the messages in the order in which they were committed, with a silence at the end.
pub(crate) fn assert_exact(path: &Path, phone: &Phone, pushed: &Pushed) {
    let rows = raw_rows(path, phone);
    let mut messages: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
    let mut order = Vec::new();
    for row in &rows {
        let readings = messages.entry(row.message).or_default();
        if readings.is_empty() {
            order.push(row.message);
        }
        readings.push(row);
    }
    let ids: Vec<_> = messages.keys().collect();
    assert_eq!(ids, pushed.keys().collect::<Vec<_>>(), "messages of {}", phone.device);
    for (id, readings) in &messages {
        let stored: Vec<_> = readings.iter().map(|row| (row.index, row.reading.clone(), row.spare.clone())).collect();
        let sent: Vec<_> = pushed[id]
            .iter()
            .enumerate()
            .map(|(index, r)| (index as u64, (r.sensor.to_owned(), r.time, r.xyz), None))
            .collect();
        assert_eq!(stored, sent, "message {id} of {}", phone.device);
    }
    assert_windows(path, phone, order.iter().map(|id| pushed[id].as_slice()));
}

fn raw_rows(path: &Path, phone: &Phone) -> Vec<Row> {
    let sql = "SELECT messageId, readingIndex, sensorType, timestamp, x, y, z, reading FROM ACTIVITY_RECORDS
               WHERE deviceId = ?1 AND sessionId = ?2
               ORDER BY RECORD_METADATA ->> 'ordinal', RECORD_METADATA ->> 'seq', RECORD_METADATA ->> 'index'";
    let connection = open(path);
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([&phone.device, &phone.session], |row| {
        Ok(Row {
            message: row.get::<_, i64>(0)? as u64,
            index: row.get::<_, i64>(1)? as u64,
            reading: (row.get(2)?, row.get(3)?, [row.get(4)?, row.get(5)?, row.get(6)?]),
            spare: row.get(7)?,
        })
    });
    rows.unwrap().collect::<Result<_, _>>().unwrap()
}

/// Windows by start: sample count, mean, label, confidence.
type Windows = Vec<(String, i64, f64, String, f64)>;

/// Asserts that the windows of `phone` are those of the plain reference over these messages, with a silence at the end.
pub(crate) fn assert_windows<'a>(path: &Path, phone: &Phone, messages: impl Iterator<Item = &'a [Reading]>) {
    let mut reference = Reference::new();
    for readings in messages {
        let mut times: Vec<i64> = readings.iter().map(|r| r.time).collect();
        let samples: Vec<Sample> = readings
            .iter()
            .filter(|r| r.sensor == "accelerometer")
            .filter_map(|r| Sample::from_axes(r.time, r.xyz))
            .collect();
        let batch = Batch { median_time: lower_median(&mut times), samples: &samples };
        reference.observe(&Params::default(), &batch);
    }
    reference.flush();
    let mut expected: Windows = reference
        .told()
        .iter()
        .map(|told| {
            let w = &told.window;
            let start = gaitway_proto::schema::rfc3339(w.start);
            (start, w.count as i64, w.mean, w.activity.as_str().to_owned(), w.confidence)
        })
        .collect();
    expected.sort_by(|a, b| a.0.cmp(&b.0));

    let sql = "SELECT windowStart, sampleCount, avg_magnitude, activity, confidence FROM USER_ACTIVITY_PROCESSED
               WHERE deviceId = ?1 AND sessionId = ?2 ORDER BY windowStart";
    let connection = open(path);
    let mut statement = connection.prepare(sql).unwrap();
    let rows = statement.query_map([&phone.device, &phone.session], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
    });
    let stored: Windows = rows.unwrap().collect::<Result<_, _>>().unwrap();
    let key = |w: &(String, i64, f64, String, f64)| (w.0.clone(), w.1, w.3.clone());
    assert_eq!(
        stored.iter().map(key).collect::<Vec<_>>(),
        expected.iter().map(key).collect::<Vec<_>>(),
        "windows of {}",
        phone.device
    );
    for (stored, expected) in stored.iter().zip(&expected) {
        for (a, b) in [(stored.2, expected.2), (stored.4, expected.4)] {
            assert!((a - b).abs() <= 1e-9 * b.abs().max(1e-9), "{stored:?} is not {expected:?}");
        }
    }
}

/// Asserts that nothing has a name that something else has.
pub(crate) fn assert_no_duplicates(warehouse: &Path) {
    for (table, name) in [
        ("ACTIVITY_RECORDS", "deviceId, sessionId, messageId, readingIndex"),
        ("USER_ACTIVITY_PROCESSED", "deviceId, sessionId, windowStart"),
    ] {
        let sql = format!("SELECT count(*) FROM (SELECT 1 FROM {table} GROUP BY {name} HAVING count(*) > 1)");
        assert_eq!(count(warehouse, &sql), 0, "doubled in {table}");
    }
}

/// The messages of `phone` that have a row.
pub(crate) fn message_ids(warehouse: &Path, phone: &Phone) -> BTreeSet<u64> {
    let connection = open(warehouse);
    let mut statement =
        connection.prepare("SELECT DISTINCT messageId FROM ACTIVITY_RECORDS WHERE deviceId = ?1").unwrap();
    let ids = statement.query_map([&phone.device], |row| row.get::<_, i64>(0)).unwrap();
    ids.map(|id| id.unwrap() as u64).collect()
}

/// Waits until the windows of every session are closed and the spool is empty.
pub(crate) fn await_drained(spool: &Path) {
    super::await_that("all windows are closed", || count(spool, "SELECT count(*) FROM session WHERE open") == 0);
    super::await_that("the spool is drained", || {
        count(spool, "SELECT (SELECT count(*) FROM raw) + (SELECT count(*) FROM activity)") == 0
    });
}
