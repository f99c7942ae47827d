//! Which marks of a damaged warehouse go on in the one that takes its place.
//!
//! - Only a mark whose checksum holds is carried over.
//! - A mark is carried over only if every row of its last commit is there and readable, whatever table it is in, and the
//!   last one bears the mark's position. Rows that retention has deleted are older than all that are left in their table.
//! - Marks are read from one state of file and log together, as any reader sees it.
//! - Nothing is written to the damaged file or its log.
//!
//! Why a mark might be ahead of its rows: rows and marks lie on different pages. Where a log was damaged after part of it
//! had been copied into the file, or a disk lost a write that it had confirmed, one page is of a later state than another,
//! and each by itself looks whole. What is not carried over costs no reading: the relay notes a gap and goes on.
//!
//! Not shown: rows of earlier commits, which the relay had acknowledged before it committed again, and which their agent
//! has deleted by then unless the acknowledgement was lost on its way; and whether a value is the one that was written.
//! Marks without rows, and those from a version that did not note them, go on by their checksum alone. A damaged file of
//! version 1 has no checksums: none of its marks goes on.

use std::collections::BTreeMap;
use std::path::Path;

use gaitway_proto::schema::{TABLES, Table};
use rusqlite::{Connection, OpenFlags};

use super::marks::{self, Kept, Spans};
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
    let Some(rows) = &kept.rows else { return Ok(true) };
    let Ok(spans) = serde_json::from_str::<Spans>(rows) else { return Ok(false) };
    let (mut reached, mut some_deleted) = (None, false);
    for (name, (first, last)) in spans {
        let Some(table) = TABLES.into_iter().find(|table| table.name == name) else { return Ok(false) };
        let oldest: Option<i64> = conn.query_row(&format!("SELECT min(rowid) FROM {name}"), [], |row| row.get(0))?;
        let Some(oldest) = oldest else { return Ok(false) };
        let first = first.max(oldest);
        if first > last {
            some_deleted = true;
            continue;
        }
        let (found, position) = look_through(conn, table, kept, first, last)?;
        if found != last - first + 1 {
            return Ok(false);
        }
        reached = reached.max(position);
    }
    Ok(some_deleted || reached == Some(kept.position))
}

/// How many rows `first..=last` of a table are there, and the greatest position that those of the mark's source have.
/// Every column is read to its end.
fn look_through(
    conn: &Connection,
    table: &Table,
    kept: &Kept,
    first: i64,
    last: i64,
) -> rusqlite::Result<(i64, Option<i64>)> {
    let seq = if table.name == "GAPS" { "toSeq" } else { "json_extract(RECORD_METADATA, '$.seq')" };
    let lengths: Vec<_> = table.columns().map(|column| format!("max(length({column}))")).collect();
    let sql = format!(
        "SELECT count(*), max(iif(json_extract(RECORD_METADATA, '$.agent') || '/'
             || json_extract(RECORD_METADATA, '$.epoch') || '/' || json_extract(RECORD_METADATA, '$.stream') = ?3,
             {seq}, NULL)), {} FROM {} NOT INDEXED WHERE rowid BETWEEN ?1 AND ?2",
        lengths.join(", "),
        table.name
    );
    conn.query_row(&sql, (first, last, &kept.source), |row| Ok((row.get(0)?, row.get(1)?)))
}
