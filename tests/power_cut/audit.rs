//! What must hold of a spool and a warehouse, whatever was done to their disks.
//!
//! - Every answered message is in the warehouse or waits in the spool, with all its readings.
//! - No message, reading, window or name is there twice.
//! - What the agent takes for seen is what is there, so that a message that is pushed again is stored if it is not and
//!   dropped if it is.
//! - The agent lets go only of what the warehouse has: its marks are behind the warehouse's, and no frame between is
//!   missing.
//!
//! Both files are opened by the code that opens them in the service, so that recovery is the real one.

use std::borrow::Cow;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use anyhow::Context as _;
use gaitway_agent::spool::schema;
use gaitway_proto::activity::ActivityFrame;
use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Epoch, Source, Stream};
use gaitway_proto::record::{Body, Origin, Record};
use gaitway_proto::schema::rfc3339;
use gaitway_proto::topic::AgentId;
use gaitway_sink::sqlite::{Options, Warehouse};
use rusqlite::Connection;

use super::phones::{Message, Messages, Name};

/// What does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// A file cannot be opened or is damaged.
    Damaged(String),
    /// An answered message is not there, or not whole.
    Lost(String),
    /// Something is there twice, or will be when it is pushed again.
    Doubled(String),
    /// Something that nobody pushed.
    Strange(String),
    /// The agent let go of what the warehouse does not have.
    Released(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

/// A reading in the warehouse or on its way there.
#[derive(Debug, Clone)]
struct Row {
    index: i64,
    session: String,
    sensor: Option<String>,
    time: Option<i64>,
    xyz: [Option<f64>; 3],
    spare: Option<String>,
}

/// What frames say, by their bytes: of thousands of images most hold the same ones.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    raw: BTreeMap<Vec<u8>, Vec<(Name, Row)>>,
}

/// Everything that is in the warehouse or on its way there.
#[derive(Debug)]
struct Found<'d> {
    decoded: &'d mut Decoded,
    messages: BTreeMap<Name, Vec<Row>>,
    /// Device and start of each window.
    windows: BTreeSet<(String, String)>,
    faults: Vec<Fault>,
}

/// Reads the data directory `dir`, which this changes as a start would, and tells what does not hold.
pub(crate) fn audit<'a>(
    dir: &Path,
    messages: &Messages,
    answered: impl Iterator<Item = &'a Name>,
    decoded: &mut Decoded,
) -> Vec<Fault> {
    let mut found = Found { decoded, messages: BTreeMap::new(), windows: BTreeSet::new(), faults: Vec::new() };
    let seen = match found.read(dir) {
        Ok(seen) => seen,
        Err(error) => {
            found.faults.push(Fault::Damaged(format!("{error:#}")));
            return found.faults;
        }
    };
    for name in answered {
        if !found.messages.contains_key(name) {
            found.faults.push(Fault::Lost(format!("{name:?} was answered")));
        }
    }
    let Found { messages: stored, mut faults, .. } = found;
    for (name, rows) in &stored {
        match messages.get(name) {
            Some(message) => faults.extend(compare(name, message, rows)),
            None => faults.push(Fault::Strange(format!("{name:?}"))),
        }
        if !seen.contains(name) {
            faults.push(Fault::Doubled(format!("{name:?} is stored and not known as seen: pushed again it is twice")));
        }
    }
    for name in seen.iter().filter(|name| !stored.contains_key(*name)) {
        faults.push(Fault::Lost(format!("{name:?} is known as seen and not there: pushed again it is dropped")));
    }
    faults
}

/// Holds the rows of one message against what was pushed.
fn compare(name: &Name, message: &Message, rows: &[Row]) -> Option<Fault> {
    let expected = message.readings.len();
    if rows.len() > expected {
        return Some(Fault::Doubled(format!("{name:?} has {} rows for {expected} readings", rows.len())));
    }
    if rows.len() < expected {
        return Some(Fault::Lost(format!("{name:?} has {} rows for {expected} readings", rows.len())));
    }
    let session = name.0.replace("phone", "session");
    let same = message.readings.iter().zip(rows).enumerate().all(|(index, (reading, row))| {
        let spare = message.note.as_ref().filter(|_| index == 0);
        row.index == index as i64
            && row.session == session
            && row.sensor.as_deref() == Some(reading.sensor)
            && row.time == Some(reading.time)
            && row.xyz == reading.xyz.map(Some)
            && row.spare == spare.map(|note| format!("{{\"message\":{{\"note\":\"{note}\"}}}}"))
    });
    (!same).then(|| Fault::Strange(format!("{name:?} has other readings than were pushed")))
}

impl Found<'_> {
    /// Reads everything; gives what the agent takes for seen.
    fn read(&mut self, dir: &Path) -> anyhow::Result<BTreeSet<Name>> {
        let (spool, warehouse) = (dir.join("agent/spool.db"), dir.join("warehouse.db"));
        let marks = if warehouse.exists() { self.read_warehouse(&warehouse)? } else { BTreeMap::new() };
        if spool.exists() { self.read_spool(&spool, &marks) } else { Ok(BTreeSet::new()) }
    }

    fn read_warehouse(&mut self, path: &Path) -> anyhow::Result<BTreeMap<String, u64>> {
        // Opened as at a start, then read as anybody may.
        drop(Warehouse::open(path, &Options::default())?);
        let connection = Connection::open(path)?;
        check_integrity(&connection)?;
        let mut rows = connection.prepare(
            "SELECT deviceId, messageId, readingIndex, sessionId, sensorType, timestamp, x, y, z, reading
             FROM ACTIVITY_RECORDS ORDER BY rowid",
        )?;
        let mut rows = rows.query([])?;
        while let Some(row) = rows.next()? {
            let name = (row.get(0)?, row.get::<_, i64>(1)? as u64);
            let xyz = [row.get(6)?, row.get(7)?, row.get(8)?];
            let (session, sensor, time) = (row.get(3)?, row.get(4)?, row.get(5)?);
            let row = Row { index: row.get(2)?, session, sensor, time, xyz, spare: row.get(9)? };
            self.messages.entry(name).or_default().push(row);
        }
        let mut windows = connection.prepare("SELECT deviceId, windowStart FROM USER_ACTIVITY_PROCESSED")?;
        let mut windows = windows.query([])?;
        while let Some(row) = windows.next()? {
            self.window(row.get(0)?, row.get(1)?);
        }
        for table in ["ACTIVITY_RECORDS", "USER_ACTIVITY_PROCESSED"] {
            let sql = format!("SELECT count(*) - count(DISTINCT RECORD_METADATA) FROM {table}");
            if connection.query_row(&sql, [], |row| row.get::<_, i64>(0))? != 0 {
                self.faults.push(Fault::Doubled(format!("a name in {table}")));
            }
        }
        let gaps = connection.query_row("SELECT count(*) FROM GAPS", [], |row| row.get::<_, i64>(0))?;
        if gaps != 0 {
            self.faults.push(Fault::Strange("a gap".to_owned()));
        }
        let mut marks = connection.prepare("SELECT source, position FROM gaitway_progress")?;
        let marks = marks.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
        Ok(marks.collect::<Result<_, _>>()?)
    }

    fn read_spool(&mut self, path: &Path, marks: &BTreeMap<String, u64>) -> anyhow::Result<BTreeSet<Name>> {
        let connection = schema::open(path)?;
        check_integrity(&connection)?;
        let agent: Option<String> = connection.query_row("SELECT max(id) FROM agent", [], |row| row.get(0))?;
        if let Some(agent) = agent {
            let agent: AgentId = agent.parse()?;
            let mut starts = connection.prepare("SELECT ordinal, epoch FROM start")?;
            let starts = starts.query_map([], |row| Ok((row.get(0)?, row.get::<_, i64>(1)? as u64)))?;
            for start in starts {
                let (ordinal, epoch) = start?;
                for stream in Stream::ALL {
                    let mark = marks.get(Source::stream(&agent, Epoch::from_random(epoch), stream).as_str());
                    let start = Start { agent: &agent, ordinal, epoch: Epoch::from_random(epoch), stream };
                    self.read_stream(&connection, start, mark.copied().unwrap_or(0))?;
                }
            }
        }
        let mut seen = connection
            .prepare("SELECT device, first, last FROM seen_range JOIN session ON session.id = seen_range.session")?;
        let seen = seen
            .query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, i64>(1)?..=row.get::<_, i64>(2)?)))?
            .collect::<Result<Vec<_>, _>>()?;
        Ok(seen.into_iter().flat_map(|(device, ids)| ids.map(move |id| (device.clone(), id as u64))).collect())
    }

    /// Reads what waits of a stream of one start, of which the warehouse has what is up to `mark`.
    fn read_stream(&mut self, connection: &Connection, start: Start<'_>, mark: u64) -> anyhow::Result<()> {
        let Start { agent, ordinal, epoch, stream } = start;
        let acked = connection.query_row(
            "SELECT ifnull(max(acked), 0) FROM stream WHERE ordinal = ?1 AND stream = ?2",
            (ordinal, stream.as_str()),
            |row| row.get::<_, i64>(0),
        )? as u64;
        if acked > mark {
            self.faults.push(Fault::Released(format!("{stream} of {epoch} up to {acked}, the warehouse is at {mark}")));
        }
        let mut rows =
            connection.prepare(&format!("SELECT id, frame FROM {stream} WHERE id >> 40 = ?1 ORDER BY id"))?;
        let mut rows = rows.query([ordinal])?;
        let mut expected = None;
        while let Some(row) = rows.next()? {
            let seq = (row.get::<_, i64>(0)? & ((1 << 40) - 1)) as u64;
            // What is acknowledged may be gone already, from the front.
            if *expected.get_or_insert(seq.min(mark + 1)) != seq {
                self.faults.push(Fault::Released(format!("{stream} of {epoch} has a hole before {seq}")));
            }
            expected = Some(seq + 1);
            if seq > mark {
                let origin = Origin { agent, epoch, ordinal: ordinal as u64, stream, seq };
                self.frame(origin, row.get(1)?)?;
            }
        }
        if mark >= expected.unwrap_or(0).max(acked + 1) {
            self.faults
                .push(Fault::Doubled(format!("the warehouse is at {mark} in {stream} of {epoch}, the agent is not")));
        }
        Ok(())
    }

    fn frame(&mut self, origin: Origin<'_>, bytes: Vec<u8>) -> anyhow::Result<()> {
        let mut records = Vec::new();
        match origin.stream {
            Stream::Raw => {
                let rows = match self.decoded.raw.entry(bytes) {
                    Entry::Occupied(known) => known.into_mut(),
                    Entry::Vacant(new) => {
                        let frame = Frame::decode(new.key())?;
                        frame.records(origin, &mut records);
                        let rows = records.into_iter().map(row).collect::<anyhow::Result<_>>()?;
                        new.insert(rows)
                    }
                };
                for (name, row) in rows.iter().cloned() {
                    self.messages.entry(name).or_default().push(row);
                }
            }
            Stream::Activity => {
                let frame = ActivityFrame::decode(&bytes)?;
                for window in &frame.windows {
                    self.window(frame.device.clone(), rfc3339(window.start));
                }
            }
        }
        Ok(())
    }

    fn window(&mut self, device: String, start: String) {
        let name = (device, start);
        if self.windows.contains(&name) {
            self.faults.push(Fault::Doubled(format!("window {name:?}")));
        }
        self.windows.insert(name);
    }
}

fn row(record: Record<'_>) -> anyhow::Result<(Name, Row)> {
    let Body::Raw(raw) = record.body else { anyhow::bail!("a raw frame holds something else") };
    let id = raw.message_id.context("a message without an id")?;
    let row = Row {
        index: raw.reading_index.into(),
        session: raw.session.to_owned(),
        sensor: raw.sensor.map(str::to_owned),
        time: raw.timestamp,
        xyz: raw.xyz,
        spare: raw.reading.map(Cow::into_owned),
    };
    Ok(((raw.device.to_owned(), id), row))
}

/// A stream of a start of the agent.
#[derive(Debug, Clone, Copy)]
struct Start<'a> {
    agent: &'a AgentId,
    ordinal: i64,
    epoch: Epoch,
    stream: Stream,
}

fn check_integrity(connection: &Connection) -> anyhow::Result<()> {
    let said: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    anyhow::ensure!(said == "ok", "integrity check: {said}");
    Ok(())
}
