//! A local warehouse, read beside its writer.
//!
//! - The table of readings has no index by session. It is read once to see which rowids are whose, then each session's
//!   rowids from the first to the last: as often again as phones sent at the same time.
//! - Rowids are the order in which frames were committed, which is that of their names. Where they are not, a session is
//!   sorted by names, on the disk where it is large.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gaitway_proto::schema::{ACTIVITY, RAW, RECORD_METADATA};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};
use serde::Deserialize;

use super::super::compare::Row;
use super::super::recompute::{Frame, Reading};
use super::{ANNOTATION, CLASSIFIED, Key, Session, Wanted, Words};
use crate::sqlite;

/// Rows read at a time: between two reads the warehouse's log can go back into the file.
const ROWS: i64 = 50_000;

/// Where the readings of a session lie.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rows {
    first: i64,
    last: i64,
    /// Whether rowids follow names.
    in_order: bool,
}

pub(crate) struct File {
    path: PathBuf,
    connection: Connection,
}

/// What of a row's name says when the agent took it.
#[derive(Debug, Default, Deserialize)]
struct Name<'a> {
    #[serde(borrow)]
    epoch: Option<&'a str>,
    ordinal: Option<u64>,
    seq: Option<u64>,
    index: Option<u64>,
}

type Order = (Option<u64>, Option<u64>, Option<u64>, Option<u64>);

impl Name<'_> {
    fn read(json: &str) -> Name<'_> {
        serde_json::from_str(json).unwrap_or_default()
    }

    fn epoch(&self) -> Option<u64> {
        u64::from_str_radix(self.epoch?, 16).ok()
    }

    fn order(&self) -> Order {
        (self.ordinal, self.epoch(), self.seq, self.index)
    }
}

/// A session while the table is looked through.
struct Seen {
    session: Session,
    rows: Rows,
    last: Order,
}

impl File {
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let connection = sqlite::open(path).map_err(|error| cannot(path, &error))?;
        Ok(Self { path: path.to_owned(), connection })
    }

    pub(super) fn sessions(&mut self, wanted: &Wanted) -> Result<Vec<Session>, String> {
        self.find(wanted).map_err(|error| cannot(&self.path, &error))
    }

    pub(super) fn readings(&mut self, session: &Session, visit: &mut dyn FnMut(&Reading<'_>)) -> Result<(), String> {
        let Some(rows) = &session.rows else { return Ok(()) };
        let read =
            if rows.in_order { self.in_order(&session.key, rows, visit) } else { self.sorted(&session.key, visit) };
        read.map_err(|error| cannot(&self.path, &error))
    }

    pub(super) fn windows(&mut self, key: &Key) -> Result<(Vec<Row>, u64), String> {
        self.told(key).map_err(|error| cannot(&self.path, &error))
    }

    fn find(&self, wanted: &Wanted) -> rusqlite::Result<Vec<Session>> {
        let mut seen: BTreeMap<Key, Seen> = BTreeMap::new();
        let sql = format!(
            "SELECT rowid, deviceId, sessionId, agentId, timestamp, sensorType = '{ANNOTATION}', {RECORD_METADATA}
             FROM {} WHERE rowid > ?1 ORDER BY rowid LIMIT {ROWS}",
            RAW.name
        );
        let mut statement = self.connection.prepare(&sql)?;
        let (mut after, mut words) = (i64::MIN, Words::default());
        loop {
            let (mut rows, before) = (statement.query([after])?, after);
            while let Some(row) = rows.next()? {
                after = row.get(0)?;
                let [device, session, agent] = [1, 2, 3].map(|column| text(row.get_ref_unwrap(column)));
                if !wanted.has(device, session) {
                    continue;
                }
                let [device, session, agent] = [device, session, agent].map(|word| words.of(word));
                let name = Name::read(text(row.get_ref(6)?).unwrap_or_default()).order();
                let time: Option<i64> = row.get::<_, Option<i64>>(4).unwrap_or_default();
                let key = Key { device, session, agent };
                let found = seen.entry(key).or_insert_with_key(|key| Seen {
                    session: Session::without_readings(key.clone()),
                    rows: Rows { first: after, last: after, in_order: true },
                    last: (None, None, None, None),
                });
                found.rows.in_order &= name >= found.last;
                (found.rows.last, found.last) = (after, name);
                found.session.is_annotated |= row.get::<_, Option<bool>>(5)?.unwrap_or(false);
                if let Some(time) = time {
                    let (least, greatest) = found.session.times.unwrap_or((time, time));
                    found.session.times = Some((least.min(time), greatest.max(time)));
                }
            }
            if after == before {
                break;
            }
        }
        let mut sessions: BTreeMap<Key, Session> = BTreeMap::new();
        sessions.extend(seen.into_iter().map(|(key, seen)| (key, Session { rows: Some(seen.rows), ..seen.session })));
        let sql = format!("SELECT DISTINCT deviceId, sessionId, agentId FROM {}", ACTIVITY.name);
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let [device, session, agent] = [0, 1, 2].map(|column| text(row.get_ref_unwrap(column)));
            if wanted.has(device, session) {
                let [device, session, agent] = [device, session, agent].map(|word| words.of(word));
                let key = Key { device, session, agent };
                sessions.entry(key).or_insert_with_key(|key| Session::without_readings(key.clone()));
            }
        }
        Ok(sessions.into_values().collect())
    }

    fn in_order(&self, key: &Key, rows: &Rows, visit: &mut dyn FnMut(&Reading<'_>)) -> rusqlite::Result<()> {
        let sql =
            format!("{} NOT INDEXED WHERE {WHOSE} AND rowid BETWEEN ?4 AND ?5 ORDER BY rowid LIMIT {ROWS}", readings());
        let mut statement = self.connection.prepare(&sql)?;
        let (mut first, mut reader) = (rows.first, Reader::default());
        loop {
            let Key { device, session, agent } = key;
            let values = params![device.as_deref(), session.as_deref(), agent.as_deref(), first, rows.last];
            let (mut found, mut last) = (statement.query(values)?, None);
            while let Some(row) = found.next()? {
                last = Some(row.get::<_, i64>(0)?);
                reader.row(row, visit)?;
            }
            match last {
                Some(last) if last < rows.last => first = last + 1,
                _ => return Ok(()),
            }
        }
    }

    fn sorted(&self, key: &Key, visit: &mut dyn FnMut(&Reading<'_>)) -> rusqlite::Result<()> {
        // What has no name goes last, as in PostgreSQL.
        let part = |key: &str| format!("json_extract({RECORD_METADATA}, '$.{key}') NULLS LAST");
        let order = ["ordinal", "epoch", "seq", "index"].map(part).join(", ");
        let sql = format!("{} NOT INDEXED WHERE {WHOSE} ORDER BY {order}, receivedAt, messageId", readings());
        let mut statement = self.connection.prepare(&sql)?;
        let Key { device, session, agent } = key;
        let values = params![device.as_deref(), session.as_deref(), agent.as_deref()];
        let (mut found, mut reader) = (statement.query(values)?, Reader::default());
        while let Some(row) = found.next()? {
            reader.row(row, visit)?;
        }
        Ok(())
    }

    fn told(&self, key: &Key) -> rusqlite::Result<(Vec<Row>, u64)> {
        let sql = format!(
            "SELECT agentId, windowStart, windowEnd, sampleCount, avg_magnitude, confidence, activity, classifier, revision
             FROM {} WHERE deviceId IS ?1 AND sessionId IS ?2 ORDER BY windowStart, revision DESC, rowid",
            ACTIVITY.name
        );
        let mut statement = self.connection.prepare(&sql)?;
        let mut found = statement.query([key.device.as_deref(), key.session.as_deref()])?;
        let (mut rows, mut other, mut words) = (Vec::new(), 0, Words::default());
        while let Some(row) = found.next()? {
            let [start, end] = [1, 2].map(|column| text(row.get_ref_unwrap(column)).and_then(instant));
            let (Some(start), Some(end)) = (start, end) else {
                other += 1;
                continue;
            };
            let float = |column| row.get::<_, Option<f64>>(column).unwrap_or_default();
            let mut word = |column| words.of(text(row.get_ref_unwrap(column)));
            rows.push(Row {
                agent: word(0),
                start,
                end,
                count: row.get::<_, Option<i64>>(3).unwrap_or_default().and_then(|count| count.try_into().ok()),
                mean: float(4),
                confidence: float(5),
                activity: word(6),
                classifier: word(7),
                revision: row.get::<_, Option<u32>>(8).unwrap_or_default().unwrap_or(0),
            });
        }
        // Text is in order of time as long as fractions of a second are equally long.
        rows.sort_by_key(|row| row.start);
        Ok((rows, other))
    }
}

const WHOSE: &str = "deviceId IS ?1 AND sessionId IS ?2 AND agentId IS ?3";

fn readings() -> String {
    format!(
        "SELECT rowid, {RECORD_METADATA}, messageId, receivedAt, timestamp, sensorType, x, y, z, reading FROM {}",
        RAW.name
    )
}

/// Reads rows of [`readings`]; what is the same from row to row is read once.
#[derive(Default)]
struct Reader {
    received: String,
    received_at: Option<i64>,
}

impl Reader {
    fn row(&mut self, row: &rusqlite::Row<'_>, visit: &mut dyn FnMut(&Reading<'_>)) -> rusqlite::Result<()> {
        let name = Name::read(text(row.get_ref(1)?).unwrap_or_default());
        let received = text(row.get_ref(3)?).unwrap_or_default();
        if received != self.received {
            received.clone_into(&mut self.received);
            self.received_at = instant(received).map(|at| at / 1000);
        }
        let message = row.get::<_, Option<i64>>(2).unwrap_or_default();
        let sensor = text(row.get_ref(5)?);
        let axis = |column| row.get::<_, Option<f64>>(column).unwrap_or_default();
        let axes = || Some([axis(6)?, axis(7)?, axis(8)?]);
        let annotation = if sensor == Some(ANNOTATION) { text(row.get_ref(9)?) } else { None };
        visit(&Reading {
            frame: Frame { epoch: name.epoch(), seq: name.seq, message, received: self.received_at },
            time: row.get::<_, Option<i64>>(4).unwrap_or_default(),
            axes: if sensor == Some(CLASSIFIED) { axes() } else { None },
            annotation,
        });
        Ok(())
    }
}

/// The text in a cell; what is no text is none.
fn text(cell: ValueRef<'_>) -> Option<&str> {
    match cell {
        ValueRef::Text(bytes) => std::str::from_utf8(bytes).ok(),
        _ => None,
    }
}

/// Nanoseconds since the Unix epoch of an RFC 3339 text.
fn instant(text: &str) -> Option<i64> {
    i64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

fn cannot(path: &Path, error: &rusqlite::Error) -> String {
    format!("the warehouse {} cannot be read: {error}", path.display())
}
