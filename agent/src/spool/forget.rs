//! Deletes what one device sent, and what is known of it, for good. The agent must not run.
//!
//! - One transaction: all of it, or nothing.
//! - Every seq that waits keeps its place: where frames go, a gap without counts stands.
//! - What is gone is gone from the file, not only from its tables: the file is written anew, its log cut to nothing.
//! - What other devices sent stays as it is.
//!
//! A frame is one device's, whichever stream it is in: none has to be taken apart.

use std::io;
use std::path::{Path, PathBuf};

use gaitway_proto::activity::ActivityFrame;
use gaitway_proto::forgotten;
use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::Stream;
use gaitway_service::file_bytes;
use memchr::memmem;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Result, TransactionBehavior, params};

use super::check::reading;
use super::mend::Hole;
use super::presence::log_of;
use super::quarantine::{aside_in, spool_of};
use super::queue::{ordinal_of, row_id, seq_of};
use super::rows::Rows;
use super::schema;

/// Frames read at a time.
const FRAMES: i64 = 64;

/// What a spool has of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Pushes that wait for the relay, or were acknowledged and are not gone yet.
    pub pushes: u64,
    /// Readings in them.
    pub readings: u64,
    /// Closed windows that wait for the relay, or are not gone yet.
    pub windows: u64,
    /// Sessions.
    pub sessions: u64,
    /// Of these, those with open windows.
    pub open: u64,
    /// Pushes that are remembered, so that they are not taken twice.
    pub seen: u64,
}

impl Held {
    /// Whether there is nothing of the device.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }
}

/// Files that were set aside after damage and in which the device's id stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SetAside {
    /// Single frames: each is this device's alone.
    pub frames: Vec<PathBuf>,
    /// Whole spools, and their logs: they hold what others sent, too.
    pub spools: Vec<PathBuf>,
}

/// What there is of `device` in the spool at `path`; an agent may be using it. The error is a sentence.
pub fn look(path: &Path, device: &str) -> Result<Held, String> {
    let cannot = |why: &dyn std::fmt::Display| format!("the spool {} cannot be read: {why}", path.display());
    let connection = reading(path).map_err(|why| cannot(&why))?;
    let found = connection.unchecked_transaction().and_then(|snapshot| Found::of(&snapshot, device));
    found.map(|found| found.held).map_err(|error| cannot(&error))
}

/// Deletes everything of `device` from the spool at `path`, whose directory the caller has locked; gives what there was.
/// `now`: microseconds since the Unix epoch. The error is a sentence.
pub fn forget(path: &Path, device: &str, now: i64) -> Result<Held, String> {
    let mut connection = schema::open(path).map_err(|error| format!("{:#}", anyhow::Error::from(error)))?;
    let cannot = |error: rusqlite::Error| format!("nothing was deleted from spool {}: {error}", path.display());
    connection.pragma_update(None, "secure_delete", true).map_err(cannot)?;
    let held = delete(&mut connection, device, now).map_err(cannot)?;
    let left = |why: &dyn std::fmt::Display| {
        format!(
            "the rows are deleted, but their bytes may still be in the free parts of {}: {why}; then run this again",
            path.display()
        )
    };
    // Also where no row was found: of rows that went after their acknowledgement, bytes may be left.
    connection.execute_batch("VACUUM").map_err(|error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => {
            left(&"free as much space on its disk, and on that of temporary files, as the file has")
        }
        _ => left(&error),
    })?;
    match Rows(&connection).cut_log() {
        Ok(true) => {}
        Ok(false) => return Err(left(&"another program reads it: close that")),
        Err(error) => return Err(left(&error)),
    }
    connection.close().map_err(|(_, error)| left(&error))?;
    Ok(held)
}

/// The files that were set aside in the data directory `dir` and hold the id of `device`.
pub fn set_aside(dir: &Path, device: &str) -> io::Result<SetAside> {
    let holds = |path: &PathBuf| file_bytes::hold(path, device.as_bytes(), |_| {});
    let id = as_in_frame(device);
    let mut found = SetAside::default();
    for path in aside_in(dir) {
        // Where only the log is left, that is what is named.
        let file = spool_of(&path).unwrap_or(path);
        for path in [log_of(&file), file] {
            if holds(&path)? {
                found.spools.push(path);
            }
        }
    }
    let entries = match std::fs::read_dir(dir.join("damaged")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "frame") && file_bytes::hold(&path, &id, |_| {})? {
            found.frames.push(path);
        }
    }
    found.frames.sort();
    Ok(found)
}

fn delete(connection: &mut Connection, device: &str, now: i64) -> Result<Held> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let found = Found::of(&transaction, device)?;
    let rows = Rows(&transaction);
    for (stream, ids) in &found.frames {
        let mut delete = transaction.prepare_cached(&format!("DELETE FROM {stream} WHERE id BETWEEN ?1 AND ?2"))?;
        for run in ids.chunk_by(|one, next| one + 1 == *next) {
            let (first, last) = (run[0], run[run.len() - 1]);
            delete.execute([first, last])?;
            let acked = rows.standing(ordinal_of(first), *stream)?.positions.acked;
            let first = first.max(row_id(ordinal_of(first), acked + 1));
            if first <= last {
                let hole = Hole { span: seq_of(last) - seq_of(first) + 1, ..Hole::default() };
                rows.insert_gap(first, *stream, hole, forgotten::FRAMES, now)?;
            }
        }
    }
    for session in found.sessions {
        rows.forget_session(session)?;
    }
    transaction.commit()?;
    Ok(found.held)
}

/// Where what a device sent stands.
struct Found {
    held: Held,
    frames: Vec<(Stream, Vec<i64>)>,
    sessions: Vec<i64>,
}

impl Found {
    fn of(connection: &Connection, device: &str) -> Result<Self> {
        let mut found = Self { held: Held::default(), frames: Vec::new(), sessions: Vec::new() };
        for stream in Stream::ALL {
            let ids = found.held.add_frames(connection, stream, device)?;
            found.frames.push((stream, ids));
        }
        let mut sessions = connection.prepare(
            "SELECT id, open, ifnull((SELECT sum(last - first + 1) FROM seen_range WHERE session = id), 0)
                            + (SELECT count(*) FROM seen_body WHERE session = id AND messageId IS NULL)
             FROM session WHERE device = ?1 ORDER BY id",
        )?;
        let mut rows = sessions.query([device])?;
        while let Some(row) = rows.next()? {
            found.sessions.push(row.get(0)?);
            found.held.sessions += 1;
            found.held.open += u64::from(row.get::<_, bool>(1)?);
            found.held.seen += row.get::<_, i64>(2)?.max(0).cast_unsigned();
        }
        Ok(found)
    }
}

impl Held {
    /// Counts the frames of `device` in `stream`; gives their row ids.
    fn add_frames(&mut self, connection: &Connection, stream: Stream, device: &str) -> Result<Vec<i64>> {
        let readings = if stream == Stream::Raw { "readings" } else { "0" };
        let sql = format!(
            "SELECT id, frame, {readings} FROM {stream} WHERE id > ?1 AND frame IS NOT NULL ORDER BY id LIMIT {FRAMES}"
        );
        let mut statement = connection.prepare(&sql)?;
        let (mut ids, mut last, mut more) = (Vec::new(), i64::MIN, true);
        while std::mem::take(&mut more) {
            let mut rows = statement.query(params![last])?;
            while let Some(row) = rows.next()? {
                (last, more) = (row.get(0)?, true);
                let (ValueRef::Blob(frame) | ValueRef::Text(frame)) = row.get_ref(1)? else { continue };
                let Some(windows) = windows_of(device, stream, frame) else { continue };
                ids.push(last);
                self.windows += windows;
                if stream == Stream::Raw {
                    self.pushes += 1;
                    self.readings += row.get::<_, i64>(2)?.max(0).cast_unsigned();
                }
            }
        }
        Ok(ids)
    }
}

/// The id as a frame has it: with its length before it, so that no longer one is taken for it.
fn as_in_frame(device: &str) -> Vec<u8> {
    postcard::to_stdvec(device).expect("postcard writes any text")
}

/// The windows in a frame of `device`; none if it is not its own. A damaged one is, if the id stands in it.
fn windows_of(device: &str, stream: Stream, frame: &[u8]) -> Option<u64> {
    let (whose, windows) = match stream {
        Stream::Raw => (Frame::header_in(frame).ok().map(|header| header.device), 0),
        Stream::Activity => match ActivityFrame::decode(frame) {
            Ok(frame) => (Some(frame.device), frame.windows.len() as u64),
            Err(_) => (None, 0),
        },
    };
    let names_it = || memmem::find(frame, &as_in_frame(device)).is_some();
    let is_its_own = whose.map_or_else(names_it, |whose| whose == device);
    is_its_own.then_some(windows)
}
