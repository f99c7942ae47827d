//! Which errors mean that the file itself is damaged, or no longer where it was.
//!
//! - A full disk, a lock, a missing right are not damage: the file is left where it is.

use std::path::Path;

use rusqlite::{Error, ErrorCode, ffi};

/// Why the spool in use can be used no longer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The file is damaged; what SQLite, or this program, says of it.
    Damaged(String),
    /// Its path leads nowhere any more.
    Vanished,
    /// Its path leads to another file.
    Replaced,
    /// Its log's path leads nowhere any more, or to another file. The spool itself is whole.
    LogVanished,
}

/// What is wrong with the file, if `error` says that it is damaged.
pub fn of(error: &Error) -> Option<String> {
    let damaged = match error {
        Error::SqliteFailure(failure, said) => {
            let said = said.as_deref().unwrap_or_default();
            match failure.code {
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::ConstraintViolation => true,
                ErrorCode::SystemIoFailure => {
                    matches!(failure.extended_code, ffi::SQLITE_IOERR_SHORT_READ | ffi::SQLITE_IOERR_CORRUPTFS)
                }
                // The statements are fixed: a table that is not there was there.
                _ => said.starts_with("no such") || said.contains("malformed"),
            }
        }
        Error::SqlInputError { msg, .. } => msg.starts_with("no such") || msg.contains("malformed"),
        // What was written in one type is read in another, out of bounds, or not at all.
        Error::FromSqlConversionFailure(..)
        | Error::IntegralValueOutOfRange(..)
        | Error::InvalidColumnType(..)
        | Error::Utf8Error(..)
        | Error::StatementChangedRows(_)
        | Error::QueryReturnedNoRows => true,
        _ => false,
    };
    damaged.then(|| error.to_string())
}

/// What happened to the spool at `path`, in the middle of a sentence.
pub fn sentence(path: &Path, loss: &Loss) -> String {
    let path = path.display();
    match loss {
        Loss::Damaged(what) => format!("spool {path} is damaged ({what})"),
        Loss::Vanished => format!("spool {path} was removed or moved while in use"),
        Loss::Replaced => format!("spool {path} was replaced by another file while in use"),
        Loss::LogVanished => format!("the log of spool {path} was removed or replaced while in use"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_a_lock_a_missing_right_are_not_damage() {
        let failure = |code| Error::SqliteFailure(ffi::Error::new(code), None);
        for code in [ffi::SQLITE_FULL, ffi::SQLITE_BUSY, ffi::SQLITE_READONLY, ffi::SQLITE_IOERR_FSYNC] {
            assert_eq!(of(&failure(code)), None, "{code}");
        }
        for code in [ffi::SQLITE_CORRUPT, ffi::SQLITE_NOTADB, ffi::SQLITE_IOERR_SHORT_READ] {
            assert!(of(&failure(code)).is_some(), "{code}");
        }
        assert!(of(&Error::QueryReturnedNoRows).is_some());
        let memory = rusqlite::Connection::open_in_memory().unwrap();
        assert!(of(&memory.prepare("SELECT * FROM raw").unwrap_err()).is_some(), "a table is gone");
    }
}
