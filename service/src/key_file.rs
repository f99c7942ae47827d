//! Files that hold private keys.
//!
//! - From its first moment on such a file is its owner's alone; it is there whole or not at all, after a power cut too.
//! - One that others may read or change is refused: its key may be known already.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

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

/// What the file at `path` holds; none if there is no such file.
pub fn read(path: &Path) -> Result<Option<Vec<u8>>, KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if let Some(mode) = exposed(&file).map_err(failed)? {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    let mut content = Vec::new();
    file.take(MOST).read_to_end(&mut content).map_err(failed)?;
    Ok(Some(content))
}

/// Puts `content` into the file at `path`, in the place of what was there.
pub fn write(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    let failed = |source| KeyFileError::Io { path: path.to_owned(), source };
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let written = (|| {
        // One that a process of this number left behind may have other permissions.
        match fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = owners_own(OpenOptions::new().write(true).create_new(true)).open(&new)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_directory(path)
    })();
    if written.is_err() {
        // The first error is what counts.
        let _ = fs::remove_file(&new);
    }
    written.map_err(failed)
}

/// Opens files for their owner alone where it makes them.
pub fn owners_own(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn sync_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(above) if cfg!(unix) && !above.as_os_str().is_empty() => File::open(above)?.sync_all(),
        _ => Ok(()),
    }
}

/// Whether others than its owner may read or change `file`: then its permissions.
#[cfg(unix)]
fn exposed(file: &File) -> io::Result<Option<u32>> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    Ok((mode & 0o077 != 0).then_some(mode))
}

/// Permissions are of another kind here.
#[cfg(not(unix))]
fn exposed(_file: &File) -> io::Result<Option<u32>> {
    Ok(None)
}

#[cfg(all(test, unix))]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

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
            assert_eq!((mode(&path), read(&path).unwrap().as_deref()), (0o600, Some(content)));
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
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
        let left = dir.path().join(format!("key.{}.new", std::process::id()));
        fs::write(&left, "old").unwrap();
        fs::set_permissions(&left, fs::Permissions::from_mode(0o666)).unwrap();
        write(&path, b"k").unwrap();
        assert_eq!(mode(&path), 0o600);
    }
}
