//! A file that SQLite will find empty.

use std::fs::File;
use std::io;
use std::path::Path;

/// Puts on the disk that the file at `path` is empty, if it is.
///
/// SQLite deletes the journal of an empty database and does not ask whether the disk knows that it is empty. Where a process was killed after it
/// had taken its first pages back and before that was synced, a power cut would bring these pages back, without the journal that says they are not to be.
pub fn settle(path: &Path) -> io::Result<()> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
        Ok(file) if file.metadata()?.len() == 0 => file.sync_all(),
        Ok(_) => Ok(()),
    }
}
