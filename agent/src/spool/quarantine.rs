//! Damaged files and frames are moved aside: never overwritten, never deleted.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use gaitway_proto::ledger::{Epoch, Stream};

use super::presence::{beside, log_of};

/// Moves the spool at `path` and its log aside, to the same name with `.damaged-` and `at` behind it; gives that name,
/// none if there was nothing, the log's if that is all there was. `at`: text for a file name. With `log` unset the log
/// is another's and stays.
pub fn set_aside(path: &Path, at: &str, file: bool, log: bool) -> io::Result<Option<PathBuf>> {
    let aside = free_name(path, at);
    // The file first: a log without its file is noticed at the next start, a file without its log would not be.
    let moved_file = file && rename(path, &aside)?;
    let moved_log = log && rename(&log_of(path), &log_of(&aside))?;
    // Made anew from the log by whoever opens it.
    match std::fs::remove_file(beside(path, "-shm")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    sync_directory(path)?;
    let moved = if moved_file { Some(aside) } else { moved_log.then(|| log_of(&aside)) };
    Ok(moved)
}

/// Keeps a damaged frame as `damaged/<epoch>-<stream>-<seq>.frame` below `dir`; gives that path.
pub fn set_frame_aside(dir: &Path, epoch: Epoch, stream: Stream, seq: u64, frame: &[u8]) -> io::Result<PathBuf> {
    let folder = dir.join("damaged");
    std::fs::create_dir_all(&folder)?;
    let path = folder.join(format!("{epoch}-{stream}-{seq}.frame"));
    // What may lie there is this frame, of a try that did not come to its end: a name is never given twice.
    let mut file = File::create(&path)?;
    file.write_all(frame)?;
    file.sync_all()?;
    sync_directory(&path)?;
    sync_directory(&folder)?;
    Ok(path)
}

/// Spool files that were set aside in `dir` and are still there, by name; the log where that is all there is.
pub fn aside_in(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut found: Vec<PathBuf> = names
        .filter(|name| name.starts_with("spool.db.damaged-") && !name.ends_with("-shm"))
        .map(|name| dir.join(name))
        .filter(|path| !matches!(spool_of(path), Some(spool) if spool.symlink_metadata().is_ok()))
        .collect();
    found.sort();
    found
}

/// The spool of which `path` is the log, by its name.
pub fn spool_of(path: &Path) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?.strip_suffix("-wal")?;
    Some(path.with_file_name(name))
}

fn free_name(path: &Path, at: &str) -> PathBuf {
    let taken = |name: &PathBuf| [name, &log_of(name)].into_iter().any(|name| name.symlink_metadata().is_ok());
    let names = std::iter::once(String::new()).chain((2_u32..).map(|n| format!("-{n}")));
    let mut names = names.map(|suffix| beside(path, &format!(".damaged-{at}{suffix}")));
    names.find(|name| !taken(name)).expect("there are more names than files")
}

fn rename(from: &Path, to: &Path) -> io::Result<bool> {
    match std::fs::rename(from, to) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Makes what changed in the directory of `path` durable; one that is gone has nothing to keep.
fn sync_directory(path: &Path) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match File::open(directory) {
        Ok(directory) => directory.sync_all(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_was_set_aside_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        for (round, suffix) in ["", "-2", "-3"].into_iter().enumerate() {
            std::fs::write(&path, round.to_string()).unwrap();
            std::fs::write(log_of(&path), round.to_string()).unwrap();
            std::fs::write(beside(&path, "-shm"), "").unwrap();
            let aside = set_aside(&path, "20261122T220103Z", true, true).unwrap().unwrap();
            assert_eq!(aside, beside(&path, &format!(".damaged-20261122T220103Z{suffix}")));
            assert_eq!(std::fs::read_to_string(log_of(&aside)).unwrap(), round.to_string());
            assert!(!path.exists() && !log_of(&path).exists() && !beside(&path, "-shm").exists());
        }
        assert_eq!(aside_in(dir.path()).len(), 3);
        assert_eq!(set_aside(&path, "later", true, true).unwrap(), None);
    }

    #[test]
    fn a_log_that_is_anothers_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        std::fs::write(&path, "file").unwrap();
        std::fs::write(log_of(&path), "log").unwrap();
        assert_eq!(set_aside(&path, "now", false, false).unwrap(), None);
        assert_eq!(set_aside(&path, "now", false, true).unwrap(), Some(beside(&path, ".damaged-now-wal")));
        assert!(path.exists() && !log_of(&path).exists());
    }

    #[test]
    fn a_log_that_was_set_aside_alone_is_named_and_not_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("spool.db");
        std::fs::write(log_of(&path), "log").unwrap();
        let aside = set_aside(&path, "now", true, true).unwrap().unwrap();
        assert!(aside.exists());
        assert_eq!(aside_in(dir.path()), [aside.as_path()]);
        assert_eq!(spool_of(&aside), Some(beside(&path, ".damaged-now")));
    }
}
