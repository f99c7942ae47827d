//! Whether the spool's files are still those that were opened.
//!
//! - The files themselves are not opened for it: closing them would drop the locks that SQLite holds for this process.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::damage::Loss;

/// What tells one file from another at the same path.
type Identity = (u64, u64);

/// The files of a spool that is in use.
#[derive(Debug)]
pub struct Presence {
    path: PathBuf,
    log: PathBuf,
    file: Option<Identity>,
    /// None until SQLite has made one.
    log_file: Option<Identity>,
}

impl Presence {
    /// Of the spool at `path`, which is open.
    pub fn of(path: &Path) -> io::Result<Self> {
        let log = log_of(path);
        let log_file = identity(&log).ok().flatten();
        Ok(Self { file: identity(path)?, log_file, path: path.to_owned(), log })
    }

    /// What became of the files, if they are not where they were.
    pub fn loss(&mut self) -> Option<Loss> {
        match identity(&self.path) {
            Ok(found) if found == self.file => {}
            Ok(_) => return Some(Loss::Replaced),
            Err(error) if is_absence(&error) => return Some(Loss::Vanished),
            // It cannot be asked now; whatever is wrong will show itself in SQLite's own calls.
            Err(_) => return None,
        }
        match identity(&self.log) {
            Ok(found) if self.log_file.is_none() => {
                self.log_file = found;
                None
            }
            Ok(found) => (found != self.log_file).then_some(Loss::LogVanished),
            Err(error) => (is_absence(&error) && self.log_file.is_some()).then_some(Loss::LogVanished),
        }
    }

    /// Whether what lies at the log's path is this spool's log.
    pub fn owns_log(&self) -> bool {
        self.log_file.is_some() && identity(&self.log).is_ok_and(|found| found == self.log_file)
    }
}

/// The log beside a SQLite file.
pub fn log_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

/// `path` with `suffix` behind its name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

/// A directory that was replaced by a file is gone too.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(unix)]
fn identity(path: &Path) -> io::Result<Option<Identity>> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map(|metadata| Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
fn identity(path: &Path) -> io::Result<Option<Identity>> {
    std::fs::metadata(path).map(|_| None)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_vanished_or_was_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("spool.db"), dir.path().join("aside"));
        std::fs::write(&path, "1").unwrap();
        let mut presence = Presence::of(&path).unwrap();
        assert_eq!((presence.loss(), presence.owns_log()), (None, false));
        std::fs::write(log_of(&path), "2").unwrap();
        assert_eq!((presence.loss(), presence.owns_log()), (None, true));
        std::fs::rename(&path, &aside).unwrap();
        assert_eq!(presence.loss(), Some(Loss::Vanished));
        std::fs::write(&path, "3").unwrap();
        assert_eq!(presence.loss(), Some(Loss::Replaced));
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(presence.loss(), None);
        std::fs::rename(log_of(&path), &aside).unwrap();
        assert_eq!((presence.loss(), presence.owns_log()), (Some(Loss::LogVanished), false));
        std::fs::remove_dir_all(dir.path()).unwrap();
        assert_eq!(presence.loss(), Some(Loss::Vanished));
    }
}
