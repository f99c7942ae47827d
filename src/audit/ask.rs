//! Asks each place. Blocks; errors are sentences.
//!
//! - The spool is asked first, and its counts once more at the end: what moves meanwhile is found further on.
//! - Windows that were classified anew are left out: no agent told them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gaitway_agent::spool::look::{Held, Look, Session};
use gaitway_kafka::KafkaConfig;
use gaitway_kafka::records::{self, Reader, Seen, Start};
use gaitway_proto::activity::{ActivityFrame, RECLASSIFIED};
use gaitway_proto::forgotten;
use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::schema::{self, RECORD_METADATA, Table};
use rusqlite::{Connection, OptionalExtension as _, params};
use serde::Deserialize;

use super::book::{Accepted, Agent, Forgotten, Gap, Key, Record, Spooled, Store, StreamName};
use super::sql;
use crate::sqlite;
use crate::warehouse::{self, Sql};

const CLIENT: &str = "gaitway-audit";

/// Rows read at a time: between two reads the warehouse's log can go back into the file.
const ROWS: i64 = 20_000;

/// How far a sink's warehouse has read, by `topic/partition`.
pub(super) type Marks = BTreeMap<String, i64>;

/// What the agent accepted, and what of it waits.
pub(super) fn agent(path: &Path) -> Result<Agent, String> {
    let look = Look::open(path)?;
    let accepted = look.accepted()?;
    let id = look.agent().to_string();
    let mut agent = Agent { id: id.clone(), is_patchwork: accepted.is_patchwork, ..Agent::default() };
    for session in accepted.sessions {
        let Session { device, session, messages, readings, withheld, holes } = session;
        agent.sessions.insert(Key { device, session }, Accepted { messages, readings, withheld, holes });
    }
    for (stream, last) in accepted.last {
        let mut after = 0;
        loop {
            let frames = look.waiting(stream, after, last)?;
            let Some(newest) = frames.last() else { break };
            after = newest.id;
            for frame in frames {
                let epoch = frame.epoch.unwrap_or(Epoch::from_random(0));
                let name = StreamName { agent: id.clone(), epoch, stream };
                match &frame.held {
                    Held::Frame(bytes) => match held(stream, bytes) {
                        Some((key, readings)) => agent.spooled.push(Spooled { name, seq: frame.seq, key, readings }),
                        None => agent.lost += frame.readings,
                    },
                    Held::Gap { .. } | Held::Damaged => agent.lost += frame.readings,
                }
            }
        }
    }
    Ok(agent)
}

/// Whose a frame is, and its readings.
fn held(stream: Stream, bytes: &[u8]) -> Option<(Key, u64)> {
    match stream {
        Stream::Raw => {
            let frame = Frame::decode(bytes).ok()?;
            let readings = frame.readings() as u64;
            Some((Key { device: frame.header.device, session: frame.header.session }, readings))
        }
        Stream::Activity => {
            let frame = ActivityFrame::decode(bytes).ok()?;
            Some((Key { device: frame.device, session: frame.session }, 0))
        }
    }
}

/// Readings kept of each session by now.
pub(super) fn agent_again(path: &Path) -> Result<BTreeMap<Key, u64>, String> {
    let accepted = Look::open(path)?.accepted()?;
    let by_key = |s: Session| (Key { device: s.device, session: s.session }, s.readings);
    Ok(accepted.sessions.into_iter().map(by_key).collect())
}

/// What of a value says whose it is.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Value {
    device_id: Option<String>,
    session_id: Option<String>,
    message_id: Option<u64>,
    to_seq: Option<u64>,
    readings: Option<u64>,
    reason: Option<String>,
}

/// What is committed in Kafka. `marks`: how far the warehouse has read of it.
///
/// Partitions are not read at one moment. A stream is committed in the order of its seqs: what stood before a frame that was
/// there before the reading began must be met by the reading.
pub(super) fn kafka(config: &KafkaConfig, marks: &Marks) -> Result<Store, String> {
    let mut store = Store::default();
    store.settled = Some(BTreeMap::new());
    let ends = schema::TABLES.map(|table| records::ends(config, CLIENT, config.topics.of(table)));
    for (table, ends) in schema::TABLES.into_iter().zip(ends) {
        let (topic, ends) = (config.topics.of(table), ends?);
        let mut reader = Reader::open(config, CLIENT, topic, Start::Beginning)?;
        store.is_shortened |= reader.is_shortened();
        let due: BTreeMap<i32, i64> = marks
            .iter()
            .filter_map(|(source, offset)| {
                let (of, partition) = source.rsplit_once('/')?;
                Some((partition.parse().ok().filter(|_| of == topic)?, *offset))
            })
            .collect();
        while !reader.is_caught_up() {
            reader.next(Duration::from_millis(200), |seen| {
                let is_due = due.get(&seen.partition).is_some_and(|offset| seen.offset <= *offset);
                let is_settled = ends.get(&seen.partition).is_some_and(|end| seen.offset < *end);
                take(&mut store, table, &seen, is_due);
                if let Some(name) = seen.name.as_ref().filter(|_| is_settled) {
                    store.settle(StreamName::of(name), name.seq);
                }
            })?;
        }
    }
    Ok(store)
}

fn take(store: &mut Store, table: &Table, seen: &Seen<'_>, is_due: bool) {
    let (Some(name), Ok(value)) = (&seen.name, serde_json::from_slice::<Value>(seen.value)) else {
        store.nameless += 1;
        return;
    };
    let stream = StreamName::of(name);
    if is_reclassified(table, &stream) {
        return;
    }
    if table.name == schema::GAPS.name {
        let gap = Gap { to: value.to_seq.unwrap_or(name.seq), readings: value.readings, reason: value.reason };
        store.take_gap(stream, name.seq, gap);
        return;
    }
    let key = Key { device: value.device_id.unwrap_or_default(), session: value.session_id.unwrap_or_default() };
    let (seq, index, message_id) = (name.seq, name.index, value.message_id);
    store.take(Record { name: stream, seq, index, key, message_id, is_due });
}

/// A warehouse that can be asked.
pub(super) enum Warehouse {
    File(PathBuf),
    Sql {
        sql: Sql,
        /// Its oldest readings may have been deleted, nobody knows how many.
        is_shortened: bool,
    },
}

impl Warehouse {
    pub(super) fn open(warehouse: &warehouse::Warehouse) -> Result<Self, String> {
        Ok(match warehouse {
            warehouse::Warehouse::File(path) => Self::File(path.clone()),
            warehouse::Warehouse::Postgres(options) => {
                Self::Sql { sql: Sql::postgres(options)?, is_shortened: options.keep_raw.is_some() }
            }
            warehouse::Warehouse::Snowflake(options) => {
                Self::Sql { sql: Sql::snowflake(options)?, is_shortened: false }
            }
        })
    }

    /// How far it has read of Kafka's partitions; nothing if it is not filled from there.
    pub(super) fn marks(&mut self) -> Result<Marks, String> {
        match self {
            Self::File(path) => marks(path),
            Self::Sql { sql, .. } => sql::marks(sql),
        }
    }

    /// What is stored.
    pub(super) fn store(&mut self) -> Result<Store, String> {
        match self {
            Self::File(path) => rows(path).map_err(|error| cannot(path, &error)),
            Self::Sql { sql, is_shortened } => sql::store(sql, *is_shortened),
        }
    }
}

/// How far the warehouse at `path` has read of Kafka's partitions; nothing if it is not filled from there.
fn marks(path: &Path) -> Result<Marks, String> {
    let read = || {
        let connection = sqlite::open(path)?;
        let mut statement = connection.prepare("SELECT source, position FROM gaitway_progress")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get(1)?)))?;
        rows.collect::<rusqlite::Result<Vec<_>>>()
    };
    let marks = read().map_err(|error| cannot(path, &error))?;
    // An agent's sources have three parts.
    let is_partition = |source: &str| source.rsplit_once('/').is_some_and(|(topic, _)| !topic.contains('/'));
    Ok(marks.into_iter().filter(|(source, _)| is_partition(source)).collect())
}

/// A row's name.
#[derive(Debug, Deserialize)]
struct Name {
    agent: Option<String>,
    epoch: Option<String>,
    stream: Option<String>,
    seq: Option<u64>,
    index: Option<u32>,
    /// By how many rowids a deletion on request moved the first reading.
    front: Option<u64>,
}

impl Name {
    fn stream(&self) -> Option<StreamName> {
        let epoch = Epoch::try_from(u64::from_str_radix(self.epoch.as_deref()?, 16).ok()?).ok()?;
        let stream = Stream::ALL.into_iter().find(|known| Some(known.as_str()) == self.stream.as_deref())?;
        Some(StreamName { agent: self.agent.clone()?, epoch, stream })
    }
}

/// What is stored in the warehouse at `path`.
fn rows(path: &Path) -> rusqlite::Result<Store> {
    let connection = sqlite::open(path)?;
    let mut store = Store::default();
    let raw = schema::RAW.name;
    let first: Option<i64> =
        connection.query_row(&format!("SELECT min(rowid) FROM {raw}"), [], |row| row.get(0)).optional()?.flatten();
    // Retention deletes from the front, and rows are numbered from 1.
    store.retired = first.map_or(0, |first| (first - 1).max(0).cast_unsigned());
    for table in schema::TABLES {
        let columns = match table.name {
            name if name == raw => "deviceId, sessionId, messageId, NULL",
            name if name == schema::ACTIVITY.name => "deviceId, sessionId, NULL, NULL",
            _ => "reason, messages, toSeq, readings",
        };
        let mut last = 0;
        while let Some(next) = some_rows(&connection, table, columns, last, &mut store)? {
            last = next;
        }
    }
    Ok(store)
}

/// Takes the rows after `after`; the last of them, if there is one.
fn some_rows(
    connection: &Connection,
    table: &Table,
    columns: &str,
    after: i64,
    store: &mut Store,
) -> rusqlite::Result<Option<i64>> {
    let name = table.name;
    let sql =
        format!("SELECT rowid, {RECORD_METADATA}, {columns} FROM {name} WHERE rowid > ?1 ORDER BY rowid LIMIT ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params![after, ROWS])?;
    let mut last = None;
    while let Some(row) = rows.next()? {
        last = Some(row.get(0)?);
        let metadata: Option<String> = row.get(1)?;
        let name: Option<Name> = metadata.and_then(|json| serde_json::from_str(&json).ok());
        let stream = name.as_ref().and_then(Name::stream);
        let (Some(stream), Some(Name { seq: Some(seq), index: Some(index), front, .. })) = (stream, name) else {
            store.nameless += 1;
            continue;
        };
        if is_reclassified(table, &stream) {
            continue;
        }
        let number = |column| row.get::<_, Option<i64>>(column).map(|n| n.and_then(|n| u64::try_from(n).ok()));
        if table.name == schema::GAPS.name {
            let (to, readings) = (number(4)?.unwrap_or(seq), number(5)?);
            let reason: Option<String> = row.get(2)?;
            if reason.as_deref() == Some(forgotten::ROWS) {
                let (frames, rows) = (number(3)?.unwrap_or(0), readings.unwrap_or(0));
                store.retired = store.retired.saturating_sub(front.unwrap_or(0));
                store.forget(stream, Forgotten { from: seq, to, frames, rows });
            } else {
                store.take_gap(stream, seq, Gap { to, readings, reason });
            }
            continue;
        }
        let text = |column| row.get::<_, Option<String>>(column).map(Option::unwrap_or_default);
        let key = Key { device: text(2)?, session: text(3)? };
        store.take(Record { name: stream, seq, index, key, message_id: number(4)?, is_due: false });
    }
    Ok(last)
}

/// Whether rows of `table` in a stream are windows that were classified anew.
fn is_reclassified(table: &Table, stream: &StreamName) -> bool {
    table.name == schema::ACTIVITY.name && stream.agent == RECLASSIFIED
}

fn cannot(path: &Path, error: &rusqlite::Error) -> String {
    format!("the warehouse {} cannot be read: {error}", path.display())
}
