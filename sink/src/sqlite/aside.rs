//! Setting a damaged warehouse aside, and putting a new one with its marks in its place.
//!
//! - A damaged file and its log are renamed, never written to, overwritten or deleted.
//! - The new warehouse is whole and on the disk, marks and all, before the damaged one is moved: a kill or a power cut at
//!   any instant leaves the damaged file in its place, or a new one that knows the marks.
//! - What an interrupted replacement left is finished, or undone where the damaged file has not been moved.
//!
//! | name | is |
//! |---|---|
//! | `warehouse.db.damaged-20260101T120000Z` | a damaged file; its log has `-wal` behind that |
//! | `warehouse.db.replacement-20260101T120000Z` | the file that takes its place, while that is under way |

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use gaitway_proto::schema;
use gaitway_service::file_bytes;

use super::carry::Carried;
use super::opening::{self, Missing, OpenError};
use super::place::{log_of, sync_directory};

const DAMAGED: &str = ".damaged-";
const REPLACEMENT: &str = ".replacement-";

/// Microseconds.
const HOUR: i64 = 3_600_000_000;

/// Moves the damaged warehouse at `path` aside and puts a new one with these marks there. Gives the damaged file's new
/// name. `now`: microseconds since the Unix epoch.
pub(super) fn replace(path: &Path, carried: &Carried, now: i64) -> Result<PathBuf, OpenError> {
    finish(path)?;
    let stamp = free_stamp(path, now);
    let replacement = with(path, REPLACEMENT, &stamp);
    build(&replacement, carried)?;
    let io = |reason| OpenError::Io { path: path.to_owned(), reason };
    for file in [path.to_owned(), log_of(path)] {
        sync(&file).map_err(io)?;
    }
    sync_directory(path).map_err(io)?;
    let damaged = with(path, DAMAGED, &stamp);
    std::fs::rename(path, &damaged).map_err(io)?;
    sync_directory(path).map_err(io)?;
    finish(path)?;
    Ok(damaged)
}

/// Finishes or undoes a replacement that was interrupted.
pub(super) fn finish(path: &Path) -> Result<(), OpenError> {
    finish_renames(path).map_err(|reason| OpenError::Io { path: path.to_owned(), reason })
}

fn finish_renames(path: &Path) -> io::Result<()> {
    for (replacement, stamp) in replacements(path)? {
        if path.try_exists()? {
            // The damaged file was not moved yet, and will be met again.
            remove(&replacement)?;
            continue;
        }
        let log = log_of(path);
        if log.try_exists()? {
            std::fs::rename(&log, log_of(&with(path, DAMAGED, &stamp)))?;
        }
        remove_if_there(&with(path, "-shm", ""))?;
        sync_directory(path)?;
        std::fs::rename(&replacement, path)?;
        sync_directory(path)?;
    }
    Ok(())
}

/// A new warehouse, closed, so that all of it is in its file.
fn build(path: &Path, carried: &Carried) -> Result<(), OpenError> {
    let (mut conn, _) = opening::open(path, Missing::Create)?;
    let sqlite = |reason| OpenError::Sqlite { path: path.to_owned(), reason };
    let transaction = conn.transaction().map_err(sqlite)?;
    for mark in &carried.marks {
        // The rows are in the other file.
        super::marks::Kept { rows: None, ..mark.clone() }.insert(&transaction).map_err(sqlite)?;
    }
    transaction.commit().map_err(sqlite)?;
    conn.close().map_err(|(_, error)| sqlite(error))?;
    let io = |reason| OpenError::Io { path: path.to_owned(), reason };
    if log_of(path).try_exists().map_err(io)? {
        return Err(io(io::Error::other("its log could not be copied into it")));
    }
    sync(path).map_err(io)
}

/// Replacements under way, one at most if nobody else made files here, with their stamps.
fn replacements(path: &Path) -> io::Result<Vec<(PathBuf, String)>> {
    stamped(path, REPLACEMENT)
}

/// How many damaged files beside `path` were set aside within an hour of `now`, microseconds since the Unix epoch, by
/// their names: whichever process did it.
pub(super) fn within_the_hour(path: &Path, now: i64) -> Result<usize, OpenError> {
    let found = stamped(path, DAMAGED).map_err(|reason| OpenError::Io { path: path.to_owned(), reason })?;
    // A clock that was set back meanwhile must not hide them.
    let [earliest, latest] = [-HOUR, HOUR].map(|offset| stamp(now.saturating_add(offset)));
    Ok(found.iter().filter(|(_, stamp)| (&earliest..=&latest).contains(&stamp)).count())
}

/// The damaged files beside `path` that were set aside, and their logs, in which `wanted` stands. They may hold anybody's
/// rows.
pub fn set_aside_with(path: &Path, wanted: &[u8]) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for file in stamped(path, DAMAGED)?.into_iter().flat_map(|(file, _)| [log_of(&file), file]) {
        if file_bytes::hold(&file, wanted, |_| {})? {
            found.push(file);
        }
    }
    found.sort();
    Ok(found)
}

/// The files of a kind beside `path`, with their stamps.
fn stamped(path: &Path, kind: &str) -> io::Result<Vec<(PathBuf, String)>> {
    let begins = with(path, kind, "");
    let Some(begins) = begins.file_name().and_then(|name| name.to_str()) else { return Ok(Vec::new()) };
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        // Nothing is there; whoever opens the file says so.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let Some(stamp) = name.to_str().and_then(|name| name.strip_prefix(begins)) else { continue };
        if stamp.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'.') {
            found.push((entry.path(), stamp.to_owned()));
        }
    }
    Ok(found)
}

/// A time as a part of a name; later ones sort behind.
fn stamp(now: i64) -> String {
    let time = schema::rfc3339(now.div_euclid(1_000_000).saturating_mul(1_000_000_000));
    time.chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

/// The time as a part of a name that nothing here has.
fn free_stamp(path: &Path, now: i64) -> String {
    let time = stamp(now);
    let is_free = |stamp: &String| {
        let damaged = with(path, DAMAGED, stamp);
        ![log_of(&damaged), damaged].iter().any(|file| file.symlink_metadata().is_ok())
    };
    let more = (2..).map(|number: u32| format!("{time}.{number}"));
    std::iter::once(time.clone()).chain(more).find(is_free).unwrap_or(time)
}

fn with(path: &Path, kind: &str, stamp: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(kind);
    name.push(stamp);
    name.into()
}

fn remove(database: &Path) -> io::Result<()> {
    for end in ["-wal", "-shm", "-journal", ""] {
        remove_if_there(&with(database, end, ""))?;
    }
    Ok(())
}

fn remove_if_there(file: &Path) -> io::Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Makes what a file holds durable, if it is there.
fn sync(file: &Path) -> io::Result<()> {
    match std::fs::OpenOptions::new().write(true).open(file) {
        Ok(file) => file.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}
