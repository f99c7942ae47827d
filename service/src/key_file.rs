//! Files that hold private keys.
//!
//! - From its first moment on such a file is its owner's alone, who is its folder's; it is there whole or not at all, after a power cut too.
//! - One process writes in a folder at a time. What one that was killed left behind is removed by [`sweep`] and by the next.
//! - One that others may read or change is refused: its key may be known already.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Greatest file that is read, bytes.
const MOST: u64 = 256 * 1024;

/// Why a file with a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// It cannot be read or written.
    #[error("{} cannot be used", .path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Others may read or change it.
    #[error(
        "{} holds a private key and others may read or change it (mode {mode:03o}): make a new key if they may have, else \
         chmod 600 it",
        .path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
}

/// What the file at `path` holds, to be erased with its last owner; none if there is no such file.
pub fn read(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if let Some(mode) = exposed(&file).map_err(failed)? {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    // Of this size from the beginning, so that no part of it stays behind where it grew.
    let mut content = Zeroizing::new(Vec::with_capacity(MOST as usize));
    file.take(MOST).read_to_end(&mut content).map_err(failed)?;
    Ok(Some(content))
}

/// Puts `content` into the file at `path`, in the place of what was there.
pub fn write(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    let new = beside(path);
    let written = hold_folder(path).and_then(|folder| {
        // One that was left behind may have other permissions.
        remove(&new)?;
        let mut file = owners_own(OpenOptions::new().write(true).create_new(true)).open(&new)?;
        give_to_owner_of(&folder, &file);
        let put = file.write_all(content).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&new, path));
        if put.is_err() {
            // The first error is what counts.
            let _ = fs::remove_file(&new);
        }
        put.and_then(|()| folder.sync_all())
    });
    written.map_err(|source| KeyFileError::Io { path: path.to_owned(), source })
}

/// Removes what a writer of the file at `path` left behind, if one was killed at it.
pub fn sweep(path: &Path) -> Result<(), KeyFileError> {
    let new = beside(path);
    let swept = match new.try_exists() {
        Ok(true) => hold_folder(path).and_then(|_folder| remove(&new)),
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    swept.map_err(|source| KeyFileError::Io { path: new.clone(), source })
}

/// Where the content of the file at `path` is written before it takes its place.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The folder of the file at `path`, in which nobody else writes while it is held; waits for its turn.
fn hold_folder(path: &Path) -> io::Result<File> {
    let folder = path.parent().filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder)?;
    folder.lock()?;
    Ok(folder)
}

/// Gives a new `file` to whose `folder` it lies in, so that what root makes there is its owner's. Who may not give files away keeps
/// it.
pub fn give_to_owner_of(folder: &File, file: &File) {
    let differs = |(folder, own): (fs::Metadata, fs::Metadata)| {
        let differ = (folder.uid(), folder.gid()) != (own.uid(), own.gid());
        differ.then(|| (folder.uid(), folder.gid()))
    };
    let both = folder.metadata().and_then(|folder| Ok((folder, file.metadata()?)));
    if let Some((user, group)) = both.ok().and_then(differs) {
        let _ = fchown(file, Some(user), Some(group));
    }
}

/// Opens files for their owner alone where it makes them.
pub fn owners_own(options: &mut OpenOptions) -> &mut OpenOptions {
    options.mode(0o600)
}

/// Whether others than its owner may read or change `file`: then its permissions.
fn exposed(file: &File) -> io::Result<Option<u32>> {
    let mode = file.metadata()?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn a_key_file_is_its_owners_alone_and_read_back_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        assert!(read(&path).unwrap().is_none());
        for content in [b"first".as_slice(), b"second and longer"] {
            write(&path, content).unwrap();
            assert_eq!((mode(&path), read(&path).unwrap()), (0o600, Some(Zeroizing::new(content.to_vec()))));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn what_root_makes_in_a_folder_is_its_owner_s() {
        let dir = tempfile::tempdir().unwrap();
        let (path, folder) = (dir.path().join("key"), File::open(dir.path()).unwrap());
        // Only root gives a folder away.
        let user =
            if fchown(&folder, Some(65_534), Some(65_534)).is_ok() { 65_534 } else { folder.metadata().unwrap().uid() };
        write(&path, b"k").unwrap();
        assert_eq!((fs::metadata(&path).unwrap().uid(), mode(&path)), (user, 0o600));
    }

    #[test]
    fn a_key_file_that_others_may_read_or_change_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write(&path, b"k").unwrap();
        for bad in [0o640, 0o604, 0o620, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(bad)).unwrap();
            let said = read(&path).unwrap_err().to_string();
            assert!(said.contains(&format!("{bad:03o}")) && said.contains("chmod 600"), "{said}");
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read(&path).unwrap().is_some());
    }

    #[test]
    fn a_file_left_behind_does_not_lend_its_permissions() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        let left = beside(&path);
        fs::write(&left, "old").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
        write(&path, b"k").unwrap();
        assert_eq!((mode(&path), left.exists()), (0o600, false));
    }

    #[test]
    fn what_a_kill_left_behind_is_swept_away_and_the_file_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        sweep(&path).unwrap();
        write(&path, b"k").unwrap();
        fs::write(beside(&path), "half of ano").unwrap();
        sweep(&path).unwrap();
        assert!(!beside(&path).exists());
        assert_eq!(read(&path).unwrap().unwrap().as_slice(), b"k");
    }

    #[test]
    fn many_writers_at_a_time_leave_one_of_their_contents_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        std::thread::scope(|scope| {
            for byte in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..8 {
                        write(path, &vec![byte; 10_000]).unwrap();
                        sweep(path).unwrap();
                    }
                });
            }
        });
        let content = read(&path).unwrap().unwrap();
        assert!(content.len() == 10_000 && content.iter().all(|byte| *byte == content[0]));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
