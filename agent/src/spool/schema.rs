//! The spool's file: tables, settings, version.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

/// `application_id` of a spool: "gwsp".
const APPLICATION_ID: i64 = 0x6777_7370;

/// `user_version`, counts changes of the tables.
const VERSION: i64 = 1;

const TABLES: &str = "
-- copied: ordinal of the last start that found this data directory to be a copy
CREATE TABLE agent(id TEXT NOT NULL, copied INTEGER);
-- tracked: the sent marks of this start are kept before frames are sent; welcomed: by a relay
CREATE TABLE start(
  ordinal INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, startedAt TEXT NOT NULL, tracked INTEGER NOT NULL,
  welcomed INTEGER NOT NULL DEFAULT 0
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
CREATE TABLE activity(id INTEGER PRIMARY KEY, inherited INTEGER NOT NULL, frame BLOB NOT NULL);
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

/// Settings that the law needs, as `PRAGMA` names and the values they must read back as.
const SETTINGS: [(&str, &str, &str); 5] = [
    ("journal_mode", "WAL", "wal"),
    ("synchronous", "FULL", "2"),
    ("auto_vacuum", "INCREMENTAL", "2"),
    ("mmap_size", "0", "0"),
    ("journal_size_limit", "4194304", "4194304"),
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

/// Opens or makes the spool at `path` for its one writer.
pub fn open(path: &Path) -> Result<Connection, OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let mut connection = Connection::open(path).map_err(sqlite)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(sqlite)?;
    let (application, version, empty) = identity(&connection).map_err(sqlite)?;
    match (application, version) {
        (0, 0) if empty => {}
        (APPLICATION_ID, VERSION) => {}
        (APPLICATION_ID, newer) if newer > VERSION => {
            return Err(OpenError::Newer { path: path.to_owned(), found: newer });
        }
        _ => return Err(OpenError::Foreign { path: path.to_owned() }),
    }
    for (setting, value, wanted) in [SETTINGS[2], SETTINGS[0], SETTINGS[1], SETTINGS[3], SETTINGS[4]] {
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
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite)?;
    connection.busy_timeout(std::time::Duration::from_secs(5)).map_err(sqlite)?;
    set(&connection, path, "mmap_size", "0", "0")?;
    Ok(connection)
}

fn identity(connection: &Connection) -> rusqlite::Result<(i64, i64, bool)> {
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
    let tables = number("SELECT count(*) FROM sqlite_schema")?;
    Ok((number("PRAGMA application_id")?, number("PRAGMA user_version")?, tables == 0))
}

fn set(
    connection: &Connection,
    path: &Path,
    setting: &'static str,
    value: &str,
    wanted: &'static str,
) -> Result<(), OpenError> {
    let sqlite = |source| OpenError::Sqlite { path: path.to_owned(), source };
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
    fn a_newer_spool_and_a_foreign_file_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        drop(open(&path).unwrap());
        drop(open(&path).unwrap());
        open(&path).unwrap().pragma_update(None, "user_version", VERSION + 1).unwrap();
        assert!(matches!(open(&path), Err(OpenError::Newer { found, .. }) if found == VERSION + 1));

        let foreign = dir.path().join("other.db");
        Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t(a)").unwrap();
        assert!(matches!(open(&foreign), Err(OpenError::Foreign { .. })));
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
