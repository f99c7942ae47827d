//! Opening the file: it is ours, of a version this program knows, and every setting took hold.
//!
//! - A file that is not a warehouse, or one of a newer program, is left as it is.
//! - A damaged warehouse is told from a file that never was one, as far as [`damage`] can see.
//! - Every PRAGMA that safety rests on is read back; one that did not take hold refuses the file.
//! - A new file is created in one transaction, and one of an older version brought up to this one in one.
//!
//! Besides the contract's tables there are `gaitway_progress` (the watermark) and `gaitway_ages` (see the ages of
//! rows). Three indexes, each of which a commit only appends to, or nearly, as times rise: `ACTIVITY_RECORDS
//! (timestamp)` and `USER_ACTIVITY_PROCESSED (timestamp)` for dashboards that look at a span of time, and
//! `USER_ACTIVITY_PROCESSED (deviceId, sessionId, windowStart, revision)`, by which the view finds the last revision and
//! whoever looks at one session finds its windows. Raw readings have no more: an index by device and session would take
//! two thirds of a row again for a question that sessions' times and the first index answer.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gaitway_proto::schema::{Dialect, TABLES};
use gaitway_service::empty_file;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use super::place::{Place, log_of, sync_directory};
use super::{damage, marks, trouble, views};

/// "gait" in ASCII.
pub(super) const APPLICATION_ID: i64 = 0x6761_6974;

/// Version of the file's tables.
pub(super) const VERSION: i64 = 2;

/// How long a commit waits for another program's write to end.
pub(super) const BUSY_TIMEOUT: Duration = Duration::from_secs(2);

/// Pages in the write-ahead log from which on a commit copies them into the file: 16 MiB, so that a large commit does
/// not pay for it each time.
const CHECKPOINT_PAGES: i64 = 4096;

/// To this many bytes the log is cut once it has been copied: 64 MiB.
pub(super) const WAL_LIMIT: i64 = 64 * 1024 * 1024;

/// Set at creation, fixed from then on.
const LAYOUT: [(&str, Setting); 2] = [("page_size", Setting::Int(4096)), ("auto_vacuum", Setting::Int(2))];

/// Set on each connection. `synchronous` 2 is FULL: the log is synced at each commit. No mmap: an I/O error would
/// become a signal.
const SETTINGS: [(&str, Setting); 6] = [
    ("journal_mode", Setting::Text("wal")),
    ("synchronous", Setting::Int(2)),
    ("mmap_size", Setting::Int(0)),
    ("wal_autocheckpoint", Setting::Int(CHECKPOINT_PAGES)),
    ("journal_size_limit", Setting::Int(WAL_LIMIT)),
    ("cache_size", Setting::Int(-16 * 1024)),
];

const AGES: &str = "
CREATE TABLE gaitway_ages (id INTEGER PRIMARY KEY, lastRow INTEGER NOT NULL, at INTEGER NOT NULL);
";

/// Name, table and columns of each index.
pub(super) const INDEXES: [(&str, &str, &[&str]); 3] = [
    ("raw_by_time", "ACTIVITY_RECORDS", &["timestamp"]),
    ("activity_by_time", "USER_ACTIVITY_PROCESSED", &["timestamp"]),
    ("activity_by_window", "USER_ACTIVITY_PROCESSED", &["deviceId", "sessionId", "windowStart", "revision"]),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    Int(i64),
    Text(&'static str),
}

/// Why a warehouse cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A value of the options makes no sense.
    #[error("{0}")]
    Options(String),
    /// The file belongs to a newer gaitway.
    #[error(
        "{} was written by a newer gaitway (its tables have version {found}, this program knows {VERSION}): use that gaitway, or another data directory",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The file is something else.
    #[error("{} is not a gaitway warehouse ({reason}): move it away, or choose another data directory", path.display())]
    NotAWarehouse {
        /// The file.
        path: PathBuf,
        /// What it is or lacks.
        reason: String,
    },
    /// The file is a warehouse that cannot be read any more.
    #[error("{} is damaged ({what})", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// File after file at this place was damaged.
    #[error(
        "{} was damaged again ({what}), after several others within the hour: its disk is failing; replace the disk, or choose a data directory on another",
        path.display()
    )]
    Failing {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A setting that safety rests on did not take hold.
    #[error(
        "{} cannot be used safely: {name} is {found}; is it on a network or read-only file system? A warehouse needs a local disk",
        path.display()
    )]
    Setting {
        /// The file.
        path: PathBuf,
        /// The PRAGMA.
        name: &'static str,
        /// Its value.
        found: String,
    },
    /// The file cannot be opened, read or written.
    #[error("{}", trouble::sentence(path, reason))]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: rusqlite::Error,
    },
    /// The file system refuses.
    #[error("{} cannot be opened: {reason}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: io::Error,
    },
}

/// Whether a file may be made. Where none may, one that was a warehouse when this process came to it is opened again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Create,
    Refuse,
}

/// What a file that is there may be.
enum Found {
    Empty,
    Warehouse,
    /// A warehouse of version 1.
    Older,
}

/// Opens the warehouse at `path`.
pub(super) fn open(path: &Path, missing: Missing) -> Result<(Connection, Place), OpenError> {
    let opening = Opening { path, missing };
    let is_new = match std::fs::metadata(path) {
        // SQLite would delete the log of an empty file.
        Ok(metadata) if metadata.len() == 0 && log_of(path).metadata().is_ok_and(|log| log.len() > 0) => {
            return Err(opening.damaged("it was cut to nothing"));
        }
        Ok(metadata) if metadata.is_file() => metadata.len() == 0,
        Ok(_) => return Err(opening.foreign("it is not a file")),
        Err(error) if error.kind() == io::ErrorKind::NotFound && missing == Missing::Create => true,
        Err(error) => return Err(opening.io(error)),
    };
    empty_file::settle(path).map_err(|error| opening.io(error))?;
    let mut flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    flags.set(OpenFlags::SQLITE_OPEN_CREATE, missing == Missing::Create);
    let mut conn = Connection::open_with_flags(path, flags).map_err(|error| opening.sqlite(error))?;
    let mut place = Place::of(path).map_err(|error| opening.io(error))?;
    if let Err(error) = opening.prepare(&mut conn).and_then(|()| opening.look_over(&conn)) {
        if matches!(error, OpenError::Damaged { .. }) {
            leave_log(&conn);
        }
        return Err(error);
    }
    if is_new {
        sync_directory(path).map_err(|error| opening.io(error))?;
    }
    place.note_log();
    Ok((conn, place))
}

/// A reader of the warehouse at `path`, which is looked over and not changed; others may begin to use it meanwhile.
pub(super) fn inspect(path: &Path) -> Result<Connection, OpenError> {
    let opening = Opening { path, missing: Missing::Refuse };
    opening.inspect(|| Connection::open_with_flags(path, READER))
}

/// As [`inspect`], and nothing is left beside the file: where nobody uses it SQLite would make a log and shared memory of whoever looks, which
/// a sink of another user could not use.
pub(super) fn inspect_untouched(path: &Path) -> Result<Connection, OpenError> {
    let opening = Opening { path, missing: Missing::Refuse };
    // The log lies beside the file itself.
    let real = path.canonicalize().map_err(|error| opening.io(error))?;
    let log = log_of(&real).metadata().map(|log| log.len()).ok();
    if log > Some(0) && real.metadata().is_ok_and(|file| file.len() == 0) {
        // SQLite would delete the log.
        return Err(opening.damaged("it was cut to nothing"));
    }
    let is_used = log.is_some_and(|log| {
        let mut shared = real.clone().into_os_string();
        shared.push("-shm");
        log > 0 || Path::new(&shared).exists()
    });
    let name = real.to_str().filter(|_| !is_used);
    opening.inspect(|| match name {
        Some(name) => {
            let name = name.replace('%', "%25").replace('?', "%3F").replace('#', "%23");
            Connection::open_with_flags(format!("file:{name}?immutable=1"), READER.union(OpenFlags::SQLITE_OPEN_URI))
        }
        None => Connection::open_with_flags(&real, READER).inspect(leave_log),
    })
}

const READER: OpenFlags = OpenFlags::SQLITE_OPEN_READ_ONLY.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

struct Opening<'a> {
    path: &'a Path,
    missing: Missing,
}

impl Opening<'_> {
    fn inspect(&self, open: impl FnOnce() -> rusqlite::Result<Connection>) -> Result<Connection, OpenError> {
        let conn = open().map_err(|error| self.sqlite(error))?;
        conn.busy_timeout(BUSY_TIMEOUT).map_err(|error| self.sqlite(error))?;
        if let Found::Warehouse = self.look(&conn)? {
            self.check_tables(&conn)?;
            self.look_over(&conn)?;
        }
        Ok(conn)
    }

    fn prepare(&self, conn: &mut Connection) -> Result<(), OpenError> {
        conn.busy_timeout(BUSY_TIMEOUT).map_err(|error| self.sqlite(error))?;
        if conn.is_readonly("main").map_err(|error| self.sqlite(error))? {
            return Err(self.io(io::ErrorKind::PermissionDenied.into()));
        }
        if let Found::Empty = self.look(conn)? {
            for (name, value) in LAYOUT {
                self.set(conn, name, value)?;
            }
        }
        for (name, value) in SETTINGS {
            self.set(conn, name, value)?;
        }
        let transaction = Transaction::new(conn, TransactionBehavior::Immediate).map_err(|error| self.sqlite(error))?;
        match self.look(&transaction)? {
            Found::Empty => create(&transaction).map_err(|error| self.sqlite(error))?,
            Found::Warehouse => {}
            Found::Older => self.migrate(&transaction)?,
        }
        self.check_tables(&transaction)?;
        views::refresh(&transaction).and_then(|()| transaction.commit()).map_err(|error| self.sqlite(error))?;
        for (name, value) in LAYOUT.into_iter().chain(SETTINGS) {
            self.check(conn, name, value)?;
        }
        Ok(())
    }

    /// What the file is, before anything is changed.
    fn look(&self, conn: &Connection) -> Result<Found, OpenError> {
        let number =
            |sql: &str| conn.query_row(sql, [], |row| row.get::<_, i64>(0)).map_err(|error| self.sqlite(error));
        let (id, version) = (number("PRAGMA application_id")?, number("PRAGMA user_version")?);
        match (id, version) {
            (APPLICATION_ID, VERSION) => Ok(Found::Warehouse),
            (APPLICATION_ID, 1) => Ok(Found::Older),
            (APPLICATION_ID, found) if found > VERSION => Err(OpenError::Newer { path: self.path.to_owned(), found }),
            (APPLICATION_ID, found) => Err(self.damaged(&format!("its version is {found}"))),
            (0, 0) if number("SELECT count(*) FROM sqlite_schema")? == 0 => Ok(Found::Empty),
            _ if number("SELECT count(*) FROM sqlite_schema WHERE name = 'gaitway_progress'")? > 0 => {
                Err(self.damaged("its header is another program's"))
            }
            _ => Err(self.foreign("another program's database")),
        }
    }

    fn set(&self, conn: &Connection, name: &'static str, value: Setting) -> Result<(), OpenError> {
        let value: &dyn rusqlite::ToSql = match &value {
            Setting::Int(number) => number,
            Setting::Text(text) => text,
        };
        // Some answer with the value, some with nothing; `check` asks them all.
        conn.pragma_update(None, name, value).map_err(|error| self.sqlite(error))
    }

    fn check(&self, conn: &Connection, name: &'static str, expected: Setting) -> Result<(), OpenError> {
        let read = |row: &rusqlite::Row<'_>| match expected {
            Setting::Int(number) => row.get(0).map(|found: i64| (found == number, found.to_string())),
            Setting::Text(text) => row.get(0).map(|found: String| (found == text, found)),
        };
        match conn.pragma_query_value(None, name, read).map_err(|error| self.sqlite(error))? {
            (true, _) => Ok(()),
            (false, found) => Err(OpenError::Setting { path: self.path.to_owned(), name, found }),
        }
    }

    fn migrate(&self, transaction: &Transaction<'_>) -> Result<(), OpenError> {
        // Its marks have no checksums: what is copied is at least a whole table.
        let ails = damage::what_ails(transaction, "gaitway_progress").map_err(|error| self.sqlite(error))?;
        if let Some(what) = ails {
            return Err(self.damaged(&what));
        }
        marks::migrate(transaction)
            .and_then(|()| transaction.pragma_update(None, "user_version", VERSION))
            .map_err(|error| self.sqlite(error))
    }

    fn check_tables(&self, conn: &Connection) -> Result<(), OpenError> {
        let progress = ("gaitway_progress", marks::COLUMNS.to_vec());
        for (name, expected) in
            TABLES.map(|table| (table.name, table.columns().collect())).into_iter().chain([progress])
        {
            let found: Vec<String> = conn
                .prepare("SELECT name FROM pragma_table_info(?1) ORDER BY cid")
                .and_then(|mut columns| columns.query_map([name], |row| row.get(0))?.collect())
                .map_err(|error| self.sqlite(error))?;
            if found != expected {
                return Err(self.foreign(&format!("its table {name} has other columns")));
            }
        }
        Ok(())
    }

    fn look_over(&self, conn: &Connection) -> Result<(), OpenError> {
        match damage::look_over(conn).map_err(|error| self.sqlite(error))? {
            Some(what) => Err(self.damaged(&what)),
            None => Ok(()),
        }
    }

    fn foreign(&self, reason: &str) -> OpenError {
        OpenError::NotAWarehouse { path: self.path.to_owned(), reason: reason.to_owned() }
    }

    fn damaged(&self, what: &str) -> OpenError {
        OpenError::Damaged { path: self.path.to_owned(), what: what.to_owned() }
    }

    fn sqlite(&self, reason: rusqlite::Error) -> OpenError {
        if reason.sqlite_error_code() == Some(ErrorCode::NotADatabase) {
            if self.missing == Missing::Refuse {
                return self.damaged(&reason.to_string());
            }
            return match damage::was_a_warehouse(self.path, &log_of(self.path)) {
                Ok(true) => self.damaged(&reason.to_string()),
                Ok(false) => self.foreign("not an SQLite database"),
                Err(error) => self.io(error),
            };
        }
        if damage::is_damage(&reason) {
            return self.damaged(&reason.to_string());
        }
        OpenError::Sqlite { path: self.path.to_owned(), reason }
    }

    fn io(&self, reason: io::Error) -> OpenError {
        OpenError::Io { path: self.path.to_owned(), reason }
    }
}

/// The log stays beside the file when `conn` is closed: what is damaged is not written to.
pub(super) fn leave_log(conn: &Connection) {
    // Where SQLite does not know the setting, it moves the log into the file, as it may do at any time.
    let _ = conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
}

fn create(transaction: &Transaction<'_>) -> rusqlite::Result<()> {
    for table in TABLES {
        transaction.execute_batch(&table.ddl(Dialect::Sqlite))?;
    }
    transaction.execute_batch(marks::TABLE)?;
    transaction.execute_batch(AGES)?;
    for (name, table, columns) in INDEXES {
        transaction.execute(&format!("CREATE INDEX {name} ON {table} ({})", columns.join(", ")), [])?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", VERSION)
}
