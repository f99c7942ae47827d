//! The file on its disk: whether it is still the one that was opened, how much it takes, how much is left.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use super::retention::Disk;

/// Where a warehouse lies, and which file was found there.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    wal: PathBuf,
    identity: Option<Identity>,
    /// None before it is noted.
    log: Option<Identity>,
}

/// What tells one file from another at the same path.
type Identity = (u64, u64);

/// What became of a file that is in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Presence {
    Same,
    Vanished,
    Replaced,
    /// The file is there, its log is not.
    LogVanished,
    /// The file is there, and another log.
    LogReplaced,
}

impl Place {
    /// The place of the file at `path`, which exists.
    pub(super) fn of(path: &Path) -> io::Result<Self> {
        let identity = identity(path)?;
        Ok(Self { path: path.to_owned(), wal: log_of(path), identity, log: None })
    }

    /// Notes which log belongs to the file. It stays while the file is open.
    pub(super) fn note_log(&mut self) {
        self.log = identity(&self.wal).ok().flatten();
    }

    /// Its path.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the path still leads to the file that was opened. The file itself is not opened for it: closing it
    /// would drop the locks of this process.
    pub(super) fn presence(&self) -> Presence {
        match identity(&self.path) {
            Ok(found) if found == self.identity => self.log_presence(),
            Ok(_) => Presence::Replaced,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Presence::Vanished,
            // It cannot be asked now; whatever is wrong will show itself in SQLite's own calls.
            Err(_) => Presence::Same,
        }
    }

    fn log_presence(&self) -> Presence {
        match identity(&self.wal) {
            _ if self.log.is_none() => Presence::Same,
            Ok(found) if found == self.log => Presence::Same,
            // A reader that comes after the log went makes an empty one.
            Ok(_) if self.wal_bytes() == 0 => Presence::LogVanished,
            Ok(_) => Presence::LogReplaced,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Presence::LogVanished,
            Err(_) => Presence::Same,
        }
    }

    /// Bytes of the write-ahead log, 0 without one.
    pub(super) fn wal_bytes(&self) -> u64 {
        length(&self.wal)
    }

    /// Bytes of the file.
    pub(super) fn file_bytes(&self) -> u64 {
        length(&self.path)
    }

    /// Bytes of the file and its log.
    pub(super) fn held(&self) -> u64 {
        self.file_bytes() + self.wal_bytes()
    }

    /// The disk on which the file lies, where the system tells.
    pub(super) fn disk(&self) -> Option<Disk> {
        disk(&self.path)
    }
}

fn length(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// The write-ahead log of the file at `path`.
pub(super) fn log_of(path: &Path) -> PathBuf {
    let mut wal = OsString::from(path);
    wal.push("-wal");
    wal.into()
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

#[cfg(unix)]
pub(super) fn disk(path: &Path) -> Option<Disk> {
    let told = nix::sys::statvfs::statvfs(path).ok()?;
    let fragment = told.fragment_size();
    // The fields are of other widths on other systems.
    #[allow(clippy::unnecessary_cast)]
    let bytes = |fragments| (fragments as u64).saturating_mul(fragment as u64);
    Some(Disk { size: bytes(told.blocks()), free: bytes(told.blocks_available()) })
}

/// Whether the disk of `path` takes another page and another file, where the system tells.
#[cfg(unix)]
pub(super) fn has_room(path: &Path) -> bool {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // A file system without a table of files tells 0 of 0.
    let room = |free: u64, all: u64| free > 0 || all == 0;
    #[allow(clippy::unnecessary_cast, clippy::useless_conversion)]
    nix::sys::statvfs::statvfs(directory).map_or(true, |disk| {
        room(disk.blocks_available() as u64, disk.blocks() as u64)
            && room(disk.files_available() as u64, disk.files() as u64)
    })
}

#[cfg(not(unix))]
pub(super) fn has_room(_: &Path) -> bool {
    true
}

#[cfg(not(unix))]
pub(super) fn disk(_: &Path) -> Option<Disk> {
    None
}

/// Makes the entry of a new file in its directory durable.
#[cfg(unix)]
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory)?.sync_all()
}

/// Directories are not synchronised here.
#[cfg(not(unix))]
pub(super) fn sync_directory(_: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_vanished_or_was_replaced_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("warehouse.db");
        std::fs::write(&path, "12345").unwrap();
        std::fs::write(log_of(&path), "123").unwrap();
        let mut place = Place::of(&path).unwrap();
        place.note_log();
        assert_eq!((place.presence(), place.held(), place.wal_bytes()), (Presence::Same, 8, 3));
        std::fs::rename(&path, dir.path().join("elsewhere.db")).unwrap();
        assert_eq!(place.presence(), Presence::Vanished);
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(place.presence(), Presence::Replaced);
        std::fs::rename(dir.path().join("elsewhere.db"), &path).unwrap();
        assert_eq!(place.presence(), Presence::Same);
        std::fs::rename(log_of(&path), dir.path().join("elsewhere.db-wal")).unwrap();
        assert_eq!(place.presence(), Presence::LogVanished);
        std::fs::write(log_of(&path), "123").unwrap();
        assert_eq!(place.presence(), Presence::LogReplaced);
        let Disk { size, free } = place.disk().unwrap();
        assert!(size >= free);
    }
}
