//! The file of today's windows: tables, settings, version.

use std::io;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use crate::spool::presence::beside;

/// `application_id`: "gwrc".
const APPLICATION_ID: i64 = 0x6777_7263;

/// `user_version`, counts changes of the tables.
const VERSION: i64 = 2;

const TABLES: &str = "
-- windows: rows in closed; told: the end of the last window that was told
CREATE TABLE phone(
  id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL UNIQUE, windows INTEGER NOT NULL DEFAULT 0,
  told INTEGER NOT NULL DEFAULT 0
);
-- from activity on: what the phone did last in this recording
CREATE TABLE session(
  id INTEGER PRIMARY KEY AUTOINCREMENT, phone INTEGER NOT NULL, name TEXT NOT NULL, activity INTEGER, since INTEGER,
  until INTEGER, confidence REAL, UNIQUE(phone, name)
);
-- covered: how much of the last slide readings go through
CREATE TABLE closed(
  phone INTEGER NOT NULL, ends INTEGER NOT NULL, session INTEGER NOT NULL, length INTEGER NOT NULL,
  slide INTEGER NOT NULL, covered INTEGER NOT NULL, count INTEGER NOT NULL, mean REAL NOT NULL, activity INTEGER NOT NULL,
  confidence REAL NOT NULL, revision INTEGER NOT NULL, PRIMARY KEY(phone, ends, session)
) WITHOUT ROWID;
";

/// A batch changes two or three pages a little.
const PAGE_SIZE: u64 = 1024;

/// The file takes no more, bytes: half as much again as the most that is kept needs.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// Memory for pages.
const CACHE_KIB: i64 = 256;

/// Opens the file at `path`, made if it is not there; none if it is not one of this version.
pub(super) fn open(path: &Path) -> rusqlite::Result<Option<Connection>> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let is_empty = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0))? == 0;
    let is_fresh = is_empty && identity(&connection)? == (0, 0);
    if !is_fresh && (is_empty || identity(&connection)? != (APPLICATION_ID, VERSION)) {
        return Ok(None);
    }
    connection.pragma_update(None, "page_size", PAGE_SIZE.cast_signed())?;
    // With a log and NORMAL a batch costs no sync: only when the log is moved into the file, after some hundred batches, is
    // there one. A kill loses no batch, a power cut those since then, and the file stays whole. OFF would spare these few
    // syncs too, and lose the day with every power cut.
    set(&connection, "PRAGMA journal_mode = WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "journal_size_limit", 1 << 20)?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    connection.pragma_update(None, "mmap_size", 0)?;
    set(&connection, &format!("PRAGMA max_page_count = {}", MAX_BYTES / PAGE_SIZE))?;
    if is_fresh {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(TABLES)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        transaction.commit()?;
    }
    Ok(Some(connection))
}

/// Opens the file at `path` for reading only; none if it is not there, or not one of this version.
pub(super) fn open_to_read(path: &Path) -> rusqlite::Result<Option<Connection>> {
    if !path.exists() {
        return Ok(None);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(2))?;
    connection.pragma_update(None, "cache_size", -CACHE_KIB)?;
    let is_ours = identity(&connection)? == (APPLICATION_ID, VERSION);
    Ok(Some(connection).filter(|_| is_ours))
}

/// Removes the file and its log.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    for file in [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")] {
        match std::fs::remove_file(file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn identity(connection: &Connection) -> rusqlite::Result<(i64, i64)> {
    let number = |sql| connection.query_row(sql, [], |row| row.get(0));
    Ok((number("PRAGMA application_id")?, number("PRAGMA user_version")?))
}

/// For what answers with a row.
fn set(connection: &Connection, sql: &str) -> rusqlite::Result<()> {
    connection.prepare(sql)?.query([])?.next().map(drop)
}
