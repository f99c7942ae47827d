//! Writes a warehouse anew, into a file that takes its place: what its free parts still held is gone.
//!
//! - The new file is complete, and on the disk, before it takes the name; at every instant one whole file has it.
//! - Rowids stay: marks and ages name rows by them.
//! - That it must be done is on the disk before the first row is deleted: an empty file with the new one's name.
//! - Nobody has the old file open when the new one takes its place.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use gaitway_proto::schema::TABLES;
use gaitway_service::config::bytes;
use rusqlite::{Connection, OpenFlags};

use super::place::{disk, sync_directory};
use super::trouble;

/// What else must be free beside the new file, bytes.
const SPARE: u64 = 64 << 20;

/// Pages given back by one statement.
const PAGES: u32 = 4096;

/// Size of a page, bytes.
const PAGE: u64 = 4096;

/// The rewriting of one file.
#[derive(Debug)]
pub(super) struct Rewriting {
    path: PathBuf,
    beside: PathBuf,
}

/// Rows of every table, with the lowest and the highest rowid.
type Shape = Vec<(i64, Option<i64>, Option<i64>)>;

impl Rewriting {
    /// Of the warehouse at `path`, which leads to the file itself.
    pub(super) fn of(path: &Path) -> Self {
        let mut beside = OsString::from(path);
        beside.push(".forgetting");
        Self { path: path.to_owned(), beside: beside.into() }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it was begun, now or by a run that did not come to its end.
    pub(super) fn is_due(&self) -> bool {
        self.beside.exists()
    }

    /// Notes, durably, that it must be done. The error is a sentence.
    pub(super) fn mark(&self) -> Result<(), String> {
        self.empty().map(drop).map_err(|error| self.failed(&error))
    }

    /// What must happen before it can be done.
    pub(super) fn later(&self, first: &str) -> String {
        let path = self.path.display();
        format!(
            "the rows are deleted, but their bytes may still be in the free parts of {path}: {first}; then run this again"
        )
    }

    /// Does it. `conn` is the only connection of this process, and the log is empty.
    pub(super) fn run(&self, conn: Connection) -> Result<(), String> {
        let failed = |error: &rusqlite::Error| trouble::sentence(&self.path, error);
        self.make_room(&conn)?;
        self.empty().map_err(|error| self.failed(&error))?;
        let shape = shape(&conn).map_err(|error| failed(&error))?;
        let Some(beside) = self.beside.to_str() else {
            return Err(format!("{} must have a name in UTF-8", self.path.display()));
        };
        conn.execute("VACUUM INTO ?1", [beside]).map_err(|error| failed(&error))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let written = Connection::open_with_flags(&self.beside, flags).and_then(|copy| self::shape(&copy));
        if written.map_err(|error| failed(&error))? != shape {
            return Err(self.later("the new file does not have the same rows, which is a mistake of this program"));
        }
        File::open(&self.beside).and_then(|file| file.sync_all()).map_err(|error| self.failed(&error))?;
        // It succeeds only where nobody else has the file open, and leaves neither log nor shared memory.
        let mode: String = conn
            .query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0))
            .unwrap_or_else(|error| error.to_string());
        if mode != "delete" || conn.execute_batch("BEGIN EXCLUSIVE").is_err() {
            return Err(self.later("a program that reads it is in the way: close it"));
        }
        fs::rename(&self.beside, &self.path)
            .and_then(|()| sync_directory(&self.path))
            .map_err(|error| self.failed(&error))?;
        drop(conn);
        Ok(())
    }

    /// Gives free pages back where there is no room for the new file beside the old one.
    fn make_room(&self, conn: &Connection) -> Result<(), String> {
        let failed = |error: rusqlite::Error| trouble::sentence(&self.path, &error);
        let number = |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned);
        loop {
            let (pages, free) = (number("PRAGMA page_count"), number("PRAGMA freelist_count"));
            let (pages, free) = (pages.map_err(failed)?, free.map_err(failed)?);
            let needed = pages.saturating_sub(free) * PAGE + SPARE;
            let Some(there) = disk(&self.path).map(|disk| disk.free).filter(|there| *there < needed) else {
                return Ok(());
            };
            if free == 0 {
                let [needed, there] = [needed, there].map(|size| bytes::shown(size >> 20 << 20));
                return Err(self.later(&format!("{needed} must be free on its disk, {there} are")));
            }
            let mut statement = conn.prepare(&format!("PRAGMA incremental_vacuum({PAGES})")).map_err(failed)?;
            let mut steps = statement.raw_query();
            while steps.next().map_err(failed)?.is_some() {}
            drop(steps);
            drop(statement);
            super::log::empty_log(conn).map_err(failed)?;
        }
    }

    /// The new file, empty, as readable and as much somebody's as the old one.
    fn empty(&self) -> io::Result<File> {
        let like = fs::metadata(&self.path)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&self.beside)?;
        #[cfg(unix)]
        {
            use std::os::unix::fs::{MetadataExt as _, fchown};
            let own = file.metadata()?;
            if (own.uid(), own.gid()) != (like.uid(), like.gid()) {
                fchown(&file, Some(like.uid()), Some(like.gid()))?;
            }
        }
        file.set_permissions(like.permissions())?;
        file.sync_all()?;
        sync_directory(&self.beside)?;
        Ok(file)
    }

    fn failed(&self, error: &io::Error) -> String {
        format!("{} cannot be written anew: {error}", self.path.display())
    }
}

fn shape(conn: &Connection) -> rusqlite::Result<Shape> {
    let tables = TABLES.map(|table| table.name).into_iter().chain(["gaitway_ages"]);
    let of = |name| {
        let edge = |of: &str| conn.query_row(&format!("SELECT {of}(rowid) FROM {name}"), [], |row| row.get(0));
        let count = conn.query_row(&format!("SELECT count(*) FROM {name}"), [], |row| row.get(0))?;
        Ok((count, edge("min")?, edge("max")?))
    };
    let mut shape: Shape = tables.map(of).collect::<rusqlite::Result<_>>()?;
    let marks = conn.query_row("SELECT count(*), NULL, total(checksum) FROM gaitway_progress", [], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get::<_, f64>(2).map(|sum| Some(sum as i64))?))
    })?;
    shape.push(marks);
    Ok(shape)
}
