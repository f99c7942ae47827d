//! Whether the spool's files are still those that were opened.
//!
//! - The file itself is not opened for it: closing it would drop the locks that SQLite holds for this process.
//! - Only the writer makes the files shorter: one that is shorter than the writer left it is a loss.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use super::damage::Loss;
use super::schema::LOG_BYTES;

const LOG_CUT: &str = "its log was emptied or cut short while in use";

/// What tells one file from another at the same path.
pub(crate) type Identity = (u64, u64);

/// The files of a spool that is in use.
#[derive(Debug)]
pub struct Presence {
    path: PathBuf,
    log: PathBuf,
    file: Option<Identity>,
    /// None until SQLite has made one.
    log_file: Option<Identity>,
    lengths: Lengths,
}

/// Bytes of the file and of its log; 0 where they cannot be asked.
#[derive(Debug, Clone, Copy)]
struct Lengths {
    file: u64,
    log: u64,
}

impl Presence {
    /// Of the spool at `path`, which is open.
    pub fn of(path: &Path) -> io::Result<Self> {
        let log = log_of(path);
        let log_file = identity(&log).ok().flatten();
        let lengths = Lengths { file: length(path), log: length(&log) };
        Ok(Self { file: identity(path)?, log_file, path: path.to_owned(), log, lengths })
    }

    /// Notes how long the files are, once all is done that changes them.
    pub fn measure(&mut self) {
        self.lengths = Lengths { file: length(&self.path), log: length(&self.log) };
    }

    /// What became of the files since they were measured, before anything else is done with them.
    pub fn loss_meanwhile(&mut self) -> Option<Loss> {
        let Lengths { file, log } = self.lengths;
        self.loss().or_else(|| self.cut(file, log))
    }

    /// What became of the files while something was committed to them.
    pub fn loss_in_commit(&mut self) -> Option<Loss> {
        // A commit that moves the log into the file may cut the file, one that begins the log anew cuts that.
        let Lengths { file, log } = self.lengths;
        let cut = self.loss().or_else(|| self.cut(file.min(1), log.min(LOG_BYTES)));
        cut.or_else(|| (!self.log_begins()).then(|| Loss::Damaged(LOG_CUT.to_owned())))
    }

    fn cut(&self, file: u64, log: u64) -> Option<Loss> {
        let what = match () {
            () if length(&self.path) < file => "it was cut short while in use",
            () if length(&self.log) < log => LOG_CUT,
            () => return None,
        };
        Some(Loss::Damaged(what.to_owned()))
    }

    /// Whether the log has its beginning, which SQLite writes once: one that was emptied and written on has none. No
    /// lock hangs on the log, so that it may be opened.
    fn log_begins(&self) -> bool {
        let mut magic = [0; 4];
        let read = File::open(&self.log).and_then(|mut log| log.read_exact(&mut magic));
        read.is_err() || magic != [0; 4]
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
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// A directory that was replaced by a file is gone too.
fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(unix)]
pub(crate) fn identity(path: &Path) -> io::Result<Option<Identity>> {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata(path).map(|metadata| Some((metadata.dev(), metadata.ino())))
}

#[cfg(not(unix))]
pub(crate) fn identity(path: &Path) -> io::Result<Option<Identity>> {
    std::fs::metadata(path).map(|_| None)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_or_log_shorter_than_the_writer_left_it_is_a_loss() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        let log = log_of(&path);
        let lay = |file: u64, bytes: u64| {
            std::fs::write(&path, vec![1; file as usize]).unwrap();
            std::fs::write(&log, vec![1; bytes as usize]).unwrap();
        };
        lay(4096, LOG_BYTES + 5);
        let mut presence = Presence::of(&path).unwrap();
        assert_eq!((presence.loss_meanwhile(), presence.loss_in_commit()), (None, None));
        lay(1024, LOG_BYTES);
        assert!(presence.loss_meanwhile().is_some());
        assert_eq!(presence.loss_in_commit(), None, "the writer does so");
        presence.measure();
        assert_eq!(presence.loss_meanwhile(), None);
        for (file, bytes) in [(0, LOG_BYTES), (1024, LOG_BYTES - 1), (1024, 0)] {
            lay(file, bytes);
            assert!(presence.loss_meanwhile().is_some() && presence.loss_in_commit().is_some(), "{file} {bytes}");
        }
        lay(1024, 0);
        File::options().write(true).open(&log).unwrap().set_len(2 * LOG_BYTES).unwrap();
        assert!(presence.loss_in_commit().is_some(), "it was emptied and written on");
    }

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
