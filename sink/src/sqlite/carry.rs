//! Which marks of a damaged warehouse go on in the one that takes its place.
//!
//! - Only a mark whose checksum holds is carried over.
//! - A mark is never carried over for rows that the damaged file does not hold: the last row stored with it is there and
//!   bears its name, or retention has deleted it, which a later row in the table shows.
//! - Marks are read from one state of file and log together, as any reader sees it.
//! - Nothing is written to the damaged file or its log.
//!
//! Why a mark might be ahead of its rows: rows and marks lie on different pages. Where a log was damaged after part of it
//! had been copied into the file, or a disk lost a write that it had confirmed, one page is of a later state than another,
//! and each by itself looks whole. What is not carried over costs no reading: the relay notes a gap and goes on.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _};

use super::marks::{self, Kept};
use super::opening::leave_log;

/// What is known of the marks of a damaged warehouse.
#[derive(Debug, Default)]
pub(super) struct Carried {
    /// Those that go on.
    pub(super) marks: Vec<Kept>,
    /// How many were found that do not.
    pub(super) left: u64,
    /// Whether there may be more that could not be read.
    pub(super) incomplete: bool,
}

/// Reads the marks of the damaged warehouse at `path` as far as they can be read.
pub(super) fn read(path: &Path) -> Carried {
    let nothing = Carried { incomplete: true, ..Carried::default() };
    // SQLite deletes the log of an empty file.
    if !path.metadata().is_ok_and(|file| file.len() > 0) {
        return nothing;
    }
    let Ok(conn) = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY) else { return nothing };
    leave_log(&conn);
    // SQLite then reads files that are shorter than they say, too.
    match conn.pragma_update(None, "writable_schema", true).and_then(|()| conn.execute_batch("BEGIN")) {
        Ok(()) => from_snapshot(&conn),
        Err(_) => nothing,
    }
}

fn from_snapshot(conn: &Connection) -> Carried {
    let mut found = BTreeMap::new();
    let mut left = 0;
    let mut visit = |kept: rusqlite::Result<Kept>| match kept {
        Ok(kept) => drop(found.insert(kept.source.clone(), kept)),
        Err(_) => left += 1,
    };
    let incomplete = marks::each(conn, false, &mut visit).is_err();
    if incomplete {
        left = 0;
        let mut visit = |kept: rusqlite::Result<Kept>| match kept {
            Ok(kept) => drop(found.insert(kept.source.clone(), kept)),
            Err(_) => left += 1,
        };
        // From the other end up to the damage; that it ends with an error is known.
        let _ = marks::each(conn, true, &mut visit);
    }
    let known = found.len();
    let marks: Vec<Kept> = found.into_values().filter(|kept| has_its_rows(conn, kept).unwrap_or(false)).collect();
    Carried { left: left + (known - marks.len()) as u64, marks, incomplete }
}

/// Whether the rows that were stored with a mark are in the file.
fn has_its_rows(conn: &Connection, kept: &Kept) -> rusqlite::Result<bool> {
    let Some((table, row)) = &kept.last else { return Ok(true) };
    let seq = if table == "GAPS" { "toSeq" } else { "json_extract(RECORD_METADATA, '$.seq')" };
    let sql = format!(
        "SELECT json_extract(RECORD_METADATA, '$.agent') || '/' || json_extract(RECORD_METADATA, '$.epoch') || '/'
             || json_extract(RECORD_METADATA, '$.stream'), {seq} FROM {table} WHERE rowid = ?1"
    );
    let named: Option<(String, i64)> = conn.query_row(&sql, [row], |row| row.try_into()).optional()?;
    if let Some((source, position)) = named {
        return Ok(source == kept.source && position == kept.position);
    }
    let last: Option<i64> = conn.query_row(&format!("SELECT max(rowid) FROM {table}"), [], |row| row.get(0))?;
    Ok(last.is_some_and(|last| last > *row))
}
