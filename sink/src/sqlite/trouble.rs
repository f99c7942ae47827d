//! What went wrong, to which file, and what its operator can do.

use std::path::Path;

use rusqlite::ErrorCode::{
    CannotOpen, DatabaseBusy, DatabaseCorrupt, DatabaseLocked, DiskFull, NotADatabase, PermissionDenied, ReadOnly,
};

use super::place::Presence;

/// A sentence about `error` of the warehouse at `path`.
pub(super) fn sentence(path: &Path, error: &rusqlite::Error) -> String {
    let path = path.display();
    match error.sqlite_error_code() {
        Some(DiskFull) => format!("the disk of {path} is full: free space on it, or lower max_bytes"),
        Some(DatabaseBusy | DatabaseLocked) => {
            format!("another program keeps {path} from being written: end its transaction; reading never disturbs")
        }
        Some(ReadOnly | PermissionDenied) => {
            format!("{path} cannot be written: give this user the right to write it and its directory ({error})")
        }
        Some(CannotOpen) => {
            format!("{path} cannot be opened: check that its directory exists and is writable ({error})")
        }
        Some(DatabaseCorrupt | NotADatabase) => format!(
            "{path} is damaged: stop gaitway, move it away together with its -wal file (the command .recover of sqlite3 \
             saves what can be read), and start again ({error})"
        ),
        _ => format!("{path} cannot be read or written: check its disk ({error})"),
    }
}

/// A sentence about a file that is not where it was opened; none if it is.
pub(super) fn absence(path: &Path, presence: Presence) -> Option<String> {
    let path = path.display();
    match presence {
        Presence::Same => None,
        Presence::Vanished => Some(format!(
            "{path} was removed or moved while in use: put the same file back, or restart to begin an empty one"
        )),
        Presence::Replaced => Some(format!(
            "{path} was replaced by another file while in use: stop gaitway, remove {path}-wal and {path}-shm, which \
             belong to the former file, and start again"
        )),
    }
}

/// Whether the write may have failed half way, so that what lies in the log is in doubt until it is written anew.
pub(super) fn leaves_doubt(error: &rusqlite::Error) -> bool {
    !matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked | ReadOnly))
}

/// Whether housekeeping may wait for better times: nothing is wrong with the store itself.
pub(super) fn can_wait(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked | DiskFull))
}

#[cfg(test)]
mod tests {
    use rusqlite::ffi;

    use super::*;

    #[test]
    fn sentences_name_the_file_and_what_to_do() {
        let path = Path::new("/data/warehouse.db");
        let say = |code| sentence(path, &rusqlite::Error::SqliteFailure(ffi::Error::new(code), None));
        let cases = [
            (ffi::SQLITE_FULL, "free space"),
            (ffi::SQLITE_BUSY, "another program"),
            (ffi::SQLITE_READONLY, "right to write"),
            (ffi::SQLITE_CORRUPT, "damaged"),
            (ffi::SQLITE_IOERR_FSYNC, "check its disk"),
        ];
        for (code, expected) in cases {
            let said = say(code);
            assert!(said.contains("/data/warehouse.db") && said.contains(expected), "{said}");
        }
    }
}
