//! What tells a damaged warehouse from one that is merely out of reach, and from a file that never was one.
//!
//! - A file is called damaged only by what was read from it; a full disk or a missing right never looks like damage.
//! - Looking over a file takes no longer for a large one: header, tables' definitions, all marks, and the first and the
//!   last entry of every table and index.
//!
//! SQLite's pages carry no checksums. A flipped bit inside a row's text or number cannot be seen here or anywhere; one in
//! a page's structure is seen when that page is read.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use gaitway_proto::schema::TABLES;
use rusqlite::{Connection, Error, ErrorCode, ffi};

use super::marks;
use super::opening::INDEXES;
use super::place::Place;

/// How much of a file that SQLite cannot read is searched for signs of a warehouse, bytes.
const SEARCHED: u64 = 1024 * 1024;

/// Texts that every warehouse holds: in its tables' definitions, in the name of each row.
const SIGNS: [&[u8]; 3] = [b"gaitway_progress", b"ACTIVITY_RECORDS", br#"","ordinal":"#];

/// Whether `error` says that what was read cannot be what was written.
pub(super) fn is_damage(error: &Error) -> bool {
    match error {
        Error::SqliteFailure(failure, _) => {
            matches!(failure.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
                || failure.extended_code == ffi::SQLITE_IOERR_SHORT_READ
        }
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..) => true,
        _ => false,
    }
}

/// What is wrong with a warehouse that could be opened; none if nothing is seen.
pub(super) fn look_over(conn: &Connection) -> rusqlite::Result<Option<String>> {
    let looked = own_tables(conn).and_then(|found| match found {
        None => edges(conn).map(|()| None),
        found => Ok(found),
    });
    match looked {
        Err(error) if is_damage(&error) => Ok(Some(error.to_string())),
        looked => looked,
    }
}

/// What is wrong with a table from end to end, in one line.
pub(super) fn what_ails(conn: &Connection, table: &str) -> rusqlite::Result<Option<String>> {
    let sql = format!("PRAGMA integrity_check('{table}')");
    let said: String = conn.query_row(&sql, [], |row| row.get(0))?;
    Ok((said != "ok").then(|| telling_line(&said).to_owned()))
}

/// SQLite heads what it found with the database's name.
fn telling_line(said: &str) -> &str {
    said.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with("***")).unwrap_or(said.trim())
}

/// The definitions with the list of unused pages, and the small tables, each from end to end.
fn own_tables(conn: &Connection) -> rusqlite::Result<Option<String>> {
    for table in ["sqlite_schema", "gaitway_progress", "gaitway_ages"] {
        if let Some(what) = what_ails(conn, table)? {
            return Ok(Some(what));
        }
    }
    let mut wrong = None;
    marks::each(conn, false, |kept| wrong = wrong.take().or(kept.err()))?;
    wrong.map_or(Ok(None), Err)
}

/// Reads the first and the last entry of every table and index, which leads down both edges of their trees.
fn edges(conn: &Connection) -> rusqlite::Result<()> {
    let first = |sql: String| conn.prepare(&sql)?.query([])?.next().map(drop);
    for table in TABLES {
        for end in ["ASC", "DESC"] {
            first(format!("SELECT * FROM {} ORDER BY rowid {end} LIMIT 1", table.name))?;
        }
    }
    for (name, table, columns) in INDEXES {
        // Whoever dropped one has slower dashboards and nothing else.
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'index' AND name = ?1";
        if conn.query_row(sql, [name], |row| row.get::<_, i64>(0))? == 0 {
            continue;
        }
        for end in ["ASC", "DESC"] {
            let order = columns.join(&format!(" {end}, "));
            let columns = columns.join(", ");
            first(format!("SELECT {columns} FROM {table} INDEXED BY {name} ORDER BY {order} {end} LIMIT 1"))?;
        }
    }
    Ok(())
}

/// What is wrong with a file whose log is copied into it and that has fewer pages than it says.
pub(super) fn cut_short(conn: &Connection, place: &Place) -> rusqlite::Result<Option<String>> {
    let bytes = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map(|value| value as u64);
    let (says, has) = (bytes("page_count")? * bytes("page_size")?, place.file_bytes());
    Ok((has < says).then(|| format!("it was cut short: {has} of {says} bytes are left")))
}

/// Whether the file at `path`, which SQLite does not know, or its log at `log`, was a warehouse once: signs of one are
/// in it, or nothing but zeros.
pub(super) fn was_a_warehouse(path: &Path, log: &Path) -> io::Result<bool> {
    let start = beginning(path)?;
    if start.iter().all(|byte| *byte == 0) || has_sign(&start) {
        return Ok(true);
    }
    match beginning(log) {
        Ok(start) => Ok(has_sign(&start)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn beginning(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SEARCHED).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn has_sign(bytes: &[u8]) -> bool {
    SIGNS.iter().any(|sign| bytes.windows(sign.len()).any(|window| window == *sign))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_or_a_missing_right_never_looks_like_damage() {
        let failure = |code| Error::SqliteFailure(ffi::Error::new(code), None);
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_READONLY, ffi::SQLITE_BUSY, ffi::SQLITE_IOERR_READ, ffi::SQLITE_PERM]
        {
            assert!(!is_damage(&failure(code)), "{code}");
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_CORRUPT_INDEX, ffi::SQLITE_NOTADB, ffi::SQLITE_IOERR_SHORT_READ] {
            assert!(is_damage(&failure(code)), "{code}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_in_one_line() {
        let said = "*** in database main ***\nTree 5 page 5: btreeInitPage() returns error code 11\nPage 9: never used";
        assert_eq!(telling_line(said), "Tree 5 page 5: btreeInitPage() returns error code 11");
        assert_eq!(telling_line("row 3 missing from index"), "row 3 missing from index");
    }

    #[test]
    fn a_text_that_is_none_is_damage() {
        let conn = Connection::open_in_memory().unwrap();
        let read = conn.query_row("SELECT CAST(x'ff' AS TEXT)", [], |row| row.get::<_, String>(0));
        assert!(is_damage(&read.unwrap_err()));
    }

    #[test]
    fn signs_tell_a_warehouse_from_other_files() {
        let dir = tempfile::tempdir().unwrap();
        let [path, log] = ["warehouse.db", "warehouse.db-wal"].map(|name| dir.path().join(name));
        let is = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            was_a_warehouse(&path, &log).unwrap()
        };
        assert!(!is(b"notes about ducks"));
        assert!(is(&[0; 9000]));
        assert!(is(br#"....{"agent":"pi","epoch":"00","ordinal":1...."#));
        std::fs::write(&log, b"CREATE TABLE gaitway_progress").unwrap();
        assert!(is(b"notes about ducks"));
    }
}
