//! The spool's file: tables, settings, version.

use std::path::{Path, PathBuf};

use gaitway_service::empty_file;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::damage;
use super::presence::log_of;
use super::salvage::source::{self, Disk};
use super::salvage::wal::Log;

/// `application_id` of a spool: "gwsp".
const APPLICATION_ID: i64 = 0x6777_7370;

/// `user_version`, counts changes of the tables.
const VERSION: i64 = 2;

const TABLES: &str = "
-- copied: ordinal of the last start that found this data directory to be a copy; replaced: this file took the place of
-- another, which may have told windows of sessions that are new here
CREATE TABLE agent(id TEXT NOT NULL, copied INTEGER, replaced INTEGER NOT NULL DEFAULT 0);
-- tracked: the sent marks of this start are kept before frames are sent; welcomed: by a relay; salvaged: brought here
-- from another file; checksum: of ordinal and epoch, so that no frame is ever salvaged under a damaged name
CREATE TABLE start(
  ordinal INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, startedAt TEXT NOT NULL, tracked INTEGER NOT NULL,
  welcomed INTEGER NOT NULL DEFAULT 0, salvaged INTEGER NOT NULL DEFAULT 0, checksum INTEGER NOT NULL
);
CREATE TABLE stream(
  ordinal INTEGER NOT NULL, stream TEXT NOT NULL, acked INTEGER NOT NULL, sent INTEGER NOT NULL,
  PRIMARY KEY(ordinal, stream)
) WITHOUT ROWID;
-- id = ordinal << 40 | seq; a row without a frame is a gap
CREATE TABLE raw(
  id INTEGER PRIMARY KEY, span INTEGER NOT NULL, messages INTEGER NOT NULL, readings INTEGER NOT NULL,
  frame BLOB, reason TEXT, noticedAt INTEGER
);
CREATE TABLE activity(
  id INTEGER PRIMARY KEY, inherited INTEGER NOT NULL, frame BLOB, span INTEGER NOT NULL DEFAULT 1, reason TEXT,
  noticedAt INTEGER
);
-- heardAt: 0 if the clock was not synchronised; ids are never given twice
CREATE TABLE session(
  id INTEGER PRIMARY KEY AUTOINCREMENT, device TEXT NOT NULL, session TEXT NOT NULL,
  windows BLOB NOT NULL, open INTEGER NOT NULL, messages INTEGER NOT NULL, readings INTEGER NOT NULL,
  conflicts INTEGER NOT NULL, late INTEGER NOT NULL, wild INTEGER NOT NULL, heardAt INTEGER NOT NULL,
  UNIQUE(device, session)
);
CREATE INDEX session_open ON session(id) WHERE open;
CREATE TABLE seen_range(
  session INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, PRIMARY KEY(session, first)
) WITHOUT ROWID;
CREATE TABLE seen_body(
  session INTEGER NOT NULL, slot INTEGER NOT NULL, number INTEGER NOT NULL, hash BLOB NOT NULL, messageId INTEGER,
  PRIMARY KEY(session, slot)
) WITHOUT ROWID;
";

/// Bytes of a page. A push changes some fifteen of them a little: small ones spare the card.
pub(crate) const PAGE_SIZE: u64 = 1024;

const JOURNAL_SIZE_LIMIT: &str = "4194304";

/// Bytes that the log keeps when it is begun anew. As many pages as fit into it are what makes SQLite move it into the
/// file: no commit begins at or behind this mark, unless somebody reads.
pub(crate) const LOG_BYTES: u64 = match u64::from_str_radix(JOURNAL_SIZE_LIMIT, 10) {
    Ok(bytes) => bytes,
    Err(_) => panic!("no number"),
};

/// Settings that the law needs, as `PRAGMA` names and the values they must read back as; in this order, because the first
/// two hold only for a file that is still empty.
const SETTINGS: [(&str, &str, &str); 7] = [
    ("page_size", "1024", "1024"),
    ("auto_vacuum", "INCREMENTAL", "2"),
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", "2"),
    ("mmap_size", "0", "0"),
    ("journal_size_limit", JOURNAL_SIZE_LIMIT, JOURNAL_SIZE_LIMIT),
    // Pages: the log is moved into the file once it has grown to as much as it may keep.
    ("wal_autocheckpoint", "4000", "4000"),
];

/// Why a spool cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// SQLite says so.
    #[error("spool {} cannot be used", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// It is damaged.
    #[error("spool {} is damaged ({what})", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Its disk takes nothing more.
    #[error("the disk of spool {} is full, or takes no more files: free space on it", .path.display())]
    Full {
        /// The file.
        path: PathBuf,
    },
    /// It, or its directory, may not be written.
    #[error("spool {} cannot be written: give this user the right to write it and its directory", .path.display())]
    ReadOnly {
        /// The file.
        path: PathBuf,
    },
    /// Something else lies at its path, or at its log's.
    #[error("{} is {what}, no file: move it away or choose another data directory", .path.display())]
    NotAFile {
        /// What lies there.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Its directory.
    #[error("the directory of spool {} cannot be synced", .path.display())]
    Directory {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Made by a newer program.
    #[error("spool {} has version {found}, this program knows up to {VERSION}: install the newer gaitway again", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// Made by a program before the first release.
    #[error(
        "spool {} has version {found}, which only a gaitway from before the first release reads: let that one send what \
         waits, then move the file away",
        .path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// Not a spool.
    #[error("{} is a SQLite file, but no spool of gaitway: move it away or choose another data directory", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A setting did not take.
    #[error("spool {}: {setting} is {found} and cannot be set to {wanted}; the file system may not support it", .path.display())]
    Setting {
        /// The file.
        path: PathBuf,
        /// The `PRAGMA`.
        setting: &'static str,
        /// The value it must have.
        wanted: &'static str,
        /// The value it has.
        found: String,
    },
}

impl OpenError {
    /// What `source` says of the spool at `path`.
    pub(crate) fn of(path: &Path, source: rusqlite::Error) -> Self {
        let path = path.to_owned();
        match (damage::of(&source), source.sqlite_error_code()) {
            (Some(what), _) => Self::Damaged { path, what },
            (None, Some(ErrorCode::DiskFull)) => Self::Full { path },
            // A log or shared memory that cannot be made is not called a full disk by SQLite.
            (None, Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure)) if !has_room(&path) => Self::Full { path },
            (None, Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied)) => {
                Self::ReadOnly { path }
            }
            _ => Self::Sqlite { path, source },
        }
    }
}

/// Opens or makes the spool at `path` for its one writer. A file that is refused is left as it is.
pub fn open(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::of(path, source);
    let damaged = |what: &str| OpenError::Damaged { path: path.to_owned(), what: what.to_owned() };
    for path in [path, &log_of(path)] {
        if let Some(what) = source::no_file(path) {
            return Err(OpenError::NotAFile { path: path.to_owned(), what });
        }
    }
    if let Some(what) = flaw(path) {
        return Err(damaged(what));
    }
    sync_log(path)
        .and_then(|()| empty_file::settle(path))
        .map_err(|source| OpenError::Directory { path: path.to_owned(), source })?;
    let mut connection = Connection::open(path).map_err(sqlite)?;
    keep_log(&connection, true);
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(sqlite)?;
    if connection.is_readonly("main").map_err(sqlite)? {
        return Err(OpenError::ReadOnly { path: path.to_owned() });
    }
    let (application, version, tables) = identity(&connection).map_err(sqlite)?;
    let empty = tables.is_empty();
    match (application, version) {
        (0, 0) if empty => {}
        (APPLICATION_ID, VERSION) if !empty => {}
        (APPLICATION_ID, newer) if newer > VERSION => {
            return Err(OpenError::Newer { path: path.to_owned(), found: newer });
        }
        (APPLICATION_ID, older) if (1..VERSION).contains(&older) && !empty => {
            return Err(OpenError::Older { path: path.to_owned(), found: older });
        }
        _ if ["raw", "activity", "start", "stream", "seen_range"]
            .iter()
            .all(|t| tables.iter().any(|name| name == t)) =>
        {
            return Err(damaged("its tables are a spool's, its header is not"));
        }
        (APPLICATION_ID, _) => return Err(damaged("its header is a spool's, its tables are not")),
        _ => return Err(OpenError::Foreign { path: path.to_owned() }),
    }
    keep_log(&connection, false);
    for (setting, value, wanted) in SETTINGS {
        set(&connection, path, setting, value, wanted)?;
    }
    if empty {
        let transaction = connection.transaction().map_err(sqlite)?;
        transaction.execute_batch(TABLES).map_err(sqlite)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID).map_err(sqlite)?;
        transaction.pragma_update(None, "user_version", VERSION).map_err(sqlite)?;
        transaction.commit().map_err(sqlite)?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    sync_directories(path).map_err(|source| OpenError::Directory { path: path.to_owned(), source })?;
    Ok(connection)
}

/// Opens the spool at `path` beside its writer, for reading only.
pub fn open_to_read(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::of(path, source);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    keep_log(&connection, true);
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(sqlite)?;
    set(&connection, path, "mmap_size", "0", "0")?;
    Ok(connection)
}

/// Whether the last to close the file leaves its log alone, rather than move it into the file and delete it: by its
/// name, which may be another's by then.
pub(crate) fn keep_log(connection: &Connection, keep: bool) {
    if let Err(error) = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, keep) {
        tracing::debug!(%error, "SQLite does not say what it does with the log at the end");
    }
}

/// What is wrong with the files that SQLite would pass over in silence, deleting what the log holds.
fn flaw(path: &Path) -> Option<&'static str> {
    let length = |path: &Path| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
    let log = log_of(path);
    if length(path) == 0 {
        return (length(&log) > 0).then_some("there is nothing of it but its log");
    }
    let cut = Disk::open(&log).is_ok_and(|log| Log::read(&log).is_cut());
    cut.then_some("its log is damaged in the middle")
}

/// A process that was killed may have left a commit that is not on the disk; before another is added it is, so that a
/// power cut never tears two.
fn sync_log(path: &Path) -> std::io::Result<()> {
    match std::fs::File::open(log_of(path)) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        log => log?.sync_all(),
    }
}

/// Whether the disk of `path` takes another page and another file, where the system tells.
fn has_room(path: &Path) -> bool {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A file system without a table of files tells 0 of 0.
    let room = |free, all| free > 0 || all == 0;
    nix::sys::statvfs::statvfs(directory)
        .map_or(true, |disk| room(disk.blocks_available(), disk.blocks()) && room(disk.files_available(), disk.files()))
}

/// The application, its version, and the names of the tables.
fn identity(connection: &Connection) -> rusqlite::Result<(i64, i64, Vec<String>)> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let mut tables = connection.prepare("SELECT name FROM sqlite_schema")?;
    let tables = tables.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    Ok((number("PRAGMA application_id")?, number("PRAGMA user_version")?, tables))
}

fn set(
    connection: &Connection,
    path: &Path,
    setting: &'static str,
    value: &str,
    wanted: &'static str,
) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::of(path, source);
    // Some of these answer with a row, some do not.
    let mut statement = connection.prepare(&format!("PRAGMA {setting}={value}")).map_err(sqlite)?;
    statement.query([]).and_then(|mut rows| rows.next().map(drop)).map_err(sqlite)?;
    let found = connection.query_row(&format!("PRAGMA {setting}"), [], |row| row.get::<_, rusqlite::types::Value>(0));
    // A build of SQLite without memory mapping has no such setting.
    let found = match found {
        Err(rusqlite::Error::QueryReturnedNoRows) if setting == "mmap_size" => return Ok(()),
        found => found.map_err(sqlite)?,
    };
    let found = match found {
        rusqlite::types::Value::Integer(v) => v.to_string(),
        rusqlite::types::Value::Text(v) => v,
        other => format!("{other:?}"),
    };
    if found == wanted { Ok(()) } else { Err(OpenError::Setting { path: path.to_owned(), setting, wanted, found }) }
}

/// A new file is on the disk only once its directory is, and that directory's own entry.
fn sync_directories(path: &Path) -> std::io::Result<()> {
    for directory in path.ancestors().skip(1).take(2) {
        let directory = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        std::fs::File::open(directory)?.sync_all()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_spool_an_older_one_and_a_foreign_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        drop(open(&path).unwrap());
        drop(open(&path).unwrap());
        open(&path).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(open(&path), Err(OpenError::Newer { found, .. }) if found == VERSION + 1));
        let older = dir.path().join("older.db");
        open(&older).unwrap().pragma_update(None, "user_version", VERSION - 1).unwrap();
        assert!(matches!(open(&older), Err(OpenError::Older { found, .. }) if found == VERSION - 1));

        let foreign = dir.path().join("other.db");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
        assert!(matches!(open(&foreign), Err(OpenError::Foreign { .. })));
    }

    #[test]
    fn a_disk_that_is_full_to_a_few_pages_is_named_with_what_to_do() {
        let full = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_FULL), None);
        let said = OpenError::of(Path::new("/tmp/spool.db"), full).to_string();
        assert!(said.contains("/tmp/spool.db") && said.contains("free space on it"), "{said}");
    }

    #[test]
    fn what_is_no_file_is_said_and_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let paths = ["fifo", "log", "directory", "link"].map(|name| dir.path().join(name));
        let [fifo, log, directory, link] = &paths;
        nix::unistd::mkfifo(fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        nix::unistd::mkfifo(&log_of(log), nix::sys::stat::Mode::S_IRWXU).unwrap();
        std::fs::create_dir(directory).unwrap();
        std::os::unix::fs::symlink(dir.path().join("nowhere"), link).unwrap();
        for (path, what) in paths.iter().zip(["a pipe", "a pipe", "a directory", "a link that leads nowhere"]) {
            let said = open(path).unwrap_err().to_string();
            assert!(said.contains(what) && said.contains(path.to_str().unwrap()), "{said}");
            assert!(path == log || crate::spool::salvage::source::Files::open(path).is_err());
        }
    }

    #[test]
    fn the_log_is_moved_into_the_file_before_it_outgrows_what_it_keeps() {
        let pages = SETTINGS.iter().find(|(name, ..)| *name == "wal_autocheckpoint").unwrap().1;
        let longest = 32 + pages.parse::<u64>().unwrap() * (PAGE_SIZE + 24);
        assert!((LOG_BYTES - 64 * 1024..=LOG_BYTES).contains(&longest));
    }

    #[test]
    fn settings_read_back_as_the_law_needs_them() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open(&dir.path().join("spool.db")).unwrap();
        for (setting, _, wanted) in SETTINGS {
            let found: rusqlite::types::Value =
                connection.query_row(&format!("PRAGMA {setting}"), [], |row| row.get(0)).unwrap();
            let found = match found {
                rusqlite::types::Value::Integer(v) => v.to_string(),
                rusqlite::types::Value::Text(v) => v,
                other => panic!("{other:?}"),
            };
            assert_eq!(found, wanted, "{setting}");
        }
    }
}
