//! What went wrong, to which file, and what its operator can do.

use std::path::Path;

use rusqlite::ErrorCode::{
    CannotOpen, DatabaseBusy, DatabaseLocked, DiskFull, PermissionDenied, ReadOnly, SystemIoFailure,
};

use super::damage;
use super::place::{self, Presence};

/// A sentence about `error` of the warehouse at `file`.
pub(super) fn sentence(file: &Path, error: &rusqlite::Error) -> String {
    let no_room = !place::has_room(file);
    let path = file.display();
    match error.sqlite_error_code() {
        // A log or shared memory that cannot be made is not called a full disk by SQLite.
        Some(CannotOpen | SystemIoFailure) if no_room => {
            format!("the disk of {path} is full, or takes no more files: free space on it")
        }
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
        _ if damage::is_damage(error) => seems_damaged(file, &error.to_string()),
        _ => format!("{path} cannot be read or written: check its disk ({error})"),
    }
}

/// A sentence about damage that was met in the warehouse at `path`.
pub(super) fn seems_damaged(path: &Path, what: &str) -> String {
    format!("{} seems to be damaged ({what}): it is read again, and set aside if it is", path.display())
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
        Presence::LogVanished => Some(format!(
            "{path}-wal was removed while in use, by hand or by a program that takes it for litter: what it held is \
             written into {path}"
        )),
        Presence::LogReplaced => {
            Some(format!("{path}-wal was replaced by another file while in use: remove that file"))
        }
    }
}

/// Whether the write may have failed half way, so that what lies in the log is in doubt until it is written anew.
pub(super) fn leaves_doubt(error: &rusqlite::Error) -> bool {
    !matches!(error.sqlite_error_code(), Some(DatabaseBusy | DatabaseLocked | ReadOnly)) && !damage::is_damage(error)
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
