//! What is in a spool's file and whether it is whole. The file is only read; an agent may be using it.

use std::io;
use std::path::{Path, PathBuf};

use gaitway_proto::ledger::Stream;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use serde::Serialize;

use super::presence::log_of;
use super::queue::{ordinal_of, row_id, seq_of};
use super::salvage::found::{Found, Kind};
use super::salvage::image::Standing;
use super::salvage::plan::{self, Step};
use super::salvage::source::Files;
use super::schema::{self, OpenError};

/// Findings of SQLite's own check that are told at most.
const MAX_PROBLEMS: u32 = 20;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The file.
    pub file: PathBuf,
    /// Its size, bytes.
    pub bytes: u64,
    /// Size of its log, bytes.
    pub log_bytes: u64,
    /// Version of its tables, where it can be read.
    pub version: Option<i64>,
    /// The agent's id, where it can be read.
    pub agent: Option<String>,
    /// Sessions.
    pub sessions: u64,
    /// By start and stream, in the order in which they are sent.
    pub streams: Vec<StreamReport>,
    /// Whole frames that have no name, because their start's row or their own is damaged.
    pub unnamed: u64,
    /// Why SQLite did not look at it, though nothing says that it is damaged.
    pub unchecked: Option<String>,
    /// What is wrong, one line each; empty for a whole file.
    pub problems: Vec<String>,
}

/// One stream of one start.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StreamReport {
    /// Counts starts.
    pub ordinal: u64,
    /// The start, where its row can be read.
    pub epoch: Option<String>,
    /// `raw` or `activity`.
    pub stream: &'static str,
    /// Whole frames.
    pub frames: u64,
    /// Pushes in them.
    pub messages: u64,
    /// Readings in them.
    pub readings: u64,
    /// Their size.
    pub bytes: u64,
    /// Seqs that wait for the relay.
    pub waiting: u64,
    /// Frames whose checksum does not hold.
    pub damaged: u64,
    /// Seqs without a row.
    pub missing: u64,
    /// Seqs that gaps take.
    pub gaps: u64,
}

/// Keeps SQLite from moving the log into the file while it is read without SQLite.
#[derive(Debug)]
pub struct Hold {
    connection: Result<Connection, WhyNot>,
}

/// Why SQLite cannot open a file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WhyNot {
    #[error("it is damaged: {0}")]
    Damaged(String),
    /// It is not the file's fault.
    #[error("{0}")]
    Hindered(String),
}

impl From<rusqlite::Error> for WhyNot {
    fn from(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => {
                Self::Hindered("with a log it needs the right to write the file and its directory".to_owned())
            }
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
                Self::Hindered("another program holds it".to_owned())
            }
            _ => Self::Damaged(error.to_string()),
        }
    }
}

impl Hold {
    /// Of the file at `path`, as far as SQLite can open it.
    pub fn of(path: &Path) -> Self {
        Self { connection: Self::open(path) }
    }

    fn open(path: &Path) -> Result<Connection, WhyNot> {
        let connection = reading(path)?;
        connection.execute_batch("BEGIN")?;
        connection.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        Ok(connection)
    }
}

/// Opens the file at `path` so that nothing of it changes, whether an agent uses it or none does.
pub(crate) fn reading(path: &Path) -> Result<Connection, WhyNot> {
    let damaged = |what: &str| Err(WhyNot::Damaged(what.to_owned()));
    // Of an empty file, even one that is only read, SQLite deletes the log: which holds all there is.
    match std::fs::metadata(path) {
        Ok(file) if !file.is_file() => return damaged("not a file"),
        Ok(file) if file.len() == 0 => return damaged("it is empty"),
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return damaged("there is nothing of it but its log");
        }
        Err(error) => return Err(WhyNot::Hindered(error.to_string())),
    }
    // With a log SQLite needs its locks; without one it need not leave a trace.
    let connection = if has_log(path) {
        schema::open_to_read(path).map_err(|error| match error {
            OpenError::Sqlite { source, .. } => source.into(),
            OpenError::Damaged { what, .. } => WhyNot::Damaged(what),
            error => WhyNot::Hindered(error.to_string()),
        })?
    } else {
        let name: String = path.display().to_string().chars().map(escaped).collect();
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
        Connection::open_with_flags(format!("file:{name}?immutable=1"), flags)?
    };
    Ok(connection)
}

/// Whether commits wait in a log beside the file: as long as its agent runs, and after it was killed.
pub(super) fn has_log(path: &Path) -> bool {
    std::fs::metadata(log_of(path)).is_ok_and(|log| log.len() > 0)
}

fn escaped(letter: char) -> String {
    if matches!(letter, '%' | '?' | '#') { format!("%{:02X}", u32::from(letter)) } else { letter.to_string() }
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_whole(&self) -> bool {
        self.problems.is_empty()
    }
}

/// Looks at the spool at `path`.
pub fn check(path: &Path) -> io::Result<Report> {
    let hold = Hold::of(path);
    let files = Files::open(path)?;
    let image = files.image();
    let found = Found::gather(&image);
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let mut report = Report {
        file: path.to_owned(),
        bytes: size(path),
        log_bytes: size(&log_of(path)),
        version: None,
        agent: found.agent.clone(),
        sessions: found.sessions.len() as u64,
        streams: streams(&found),
        unnamed: found.nameless.len() as u64,
        unchecked: None,
        problems: Vec::new(),
    };
    match hold.connection {
        Ok(ref connection) => {
            let version = connection.query_row("PRAGMA user_version", [], |row| row.get(0));
            report.version = version.ok();
            report.problems.extend(integrity(connection));
        }
        Err(WhyNot::Damaged(ref what)) => report.problems.push(format!("SQLite cannot open it: {what}")),
        Err(WhyNot::Hindered(ref why)) => report.unchecked = Some(format!("SQLite cannot open it: {why}")),
    }
    if image.log_is_cut() {
        report.problems.push("its log is damaged in the middle: what stands behind was committed".to_owned());
    }
    for stream in &report.streams {
        let name = format!("{} of start {}", stream.stream, stream.ordinal);
        if stream.epoch.is_none() {
            report.unnamed += stream.frames;
            report
                .problems
                .push(format!("{name}: the start's row cannot be read, {} frames have no name", stream.frames));
        }
        if stream.damaged > 0 {
            report.problems.push(format!("{name}: {} frames are damaged", stream.damaged));
        }
        if stream.missing > 0 {
            report.problems.push(format!("{name}: {} frames are missing", stream.missing));
        }
    }
    if !found.nameless.is_empty() {
        report.problems.push(format!("{} frames are out of order", found.nameless.len()));
    }
    Ok(report)
}

fn integrity(connection: &Connection) -> Vec<String> {
    let mut problems = Vec::new();
    let told = connection.prepare(&format!("PRAGMA integrity_check({MAX_PROBLEMS})")).and_then(|mut statement| {
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            problems.extend(row.get::<_, String>(0)?.lines().map(str::to_owned));
        }
        Ok(())
    });
    problems.extend(told.err().map(|error| error.to_string()));
    problems.retain(|problem| problem != "ok");
    problems.truncate(MAX_PROBLEMS as usize);
    problems
}

fn streams(found: &Found) -> Vec<StreamReport> {
    let mut ordinals: Vec<u64> = found.starts.keys().copied().collect();
    ordinals.extend(Stream::ALL.iter().flat_map(|stream| found.frames(*stream).keys().map(|id| ordinal_of(*id))));
    ordinals.sort_unstable();
    ordinals.dedup();
    let of = |ordinal| Stream::ALL.map(|stream| stream_report(found, ordinal, stream));
    ordinals.into_iter().flat_map(of).collect()
}

fn stream_report(found: &Found, ordinal: u64, stream: Stream) -> StreamReport {
    let mut report = StreamReport {
        ordinal,
        epoch: found.starts.get(&ordinal).map(|start| start.epoch.to_string()),
        stream: stream.as_str(),
        ..StreamReport::default()
    };
    let acked = found.acked.get(&(ordinal, stream)).copied().unwrap_or(0);
    for (id, frame) in found.frames(stream).range(row_id(ordinal, 0)..row_id(ordinal + 1, 0)) {
        if frame.standing() == Standing::Free {
            continue;
        }
        report.waiting += if seq_of(*id) > acked { frame.span } else { 0 };
        match frame.kind {
            Kind::Whole(_) => {
                report.frames += 1;
                report.messages += frame.messages;
                report.readings += frame.readings;
                report.bytes += frame.length;
            }
            Kind::Damaged => report.damaged += 1,
            Kind::Gap { .. } => report.gaps += frame.span,
        }
    }
    let (_, steps) = plan::steps(found, ordinal, stream);
    let lost: u64 = steps.values().map(|step| if let Step::Lost(hole) = step { hole.span } else { 0 }).sum();
    report.missing = lost.saturating_sub(report.damaged);
    report
}
