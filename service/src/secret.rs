//! Secrets from files and from systemd's credentials.
//!
//! - A file that others than its owner may read is refused: what it holds may be known already.
//! - `$CREDENTIALS_DIRECTORY/NAME` is the credential of that name which systemd gave to this service. Its folder is the service's
//!   alone; of its permissions the group's are the mask of an access list, and do not count.
//! - What was read is wiped from memory when it is dropped, and is in no error.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// A text that is not shown, and wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "String")]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// The secret made of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Without the text.
impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}

/// Greatest file that is read, bytes: no password or key is longer.
const LONGEST: u64 = 256 << 10;

/// What a path begins with that means a credential, and the variable in which systemd names their folder.
const CREDENTIALS: &str = "$CREDENTIALS_DIRECTORY";

/// Why a secret cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file cannot be read.
    #[error("{} cannot be read: {why}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why. It is in the sentence, so it is no source beside it.
        why: io::Error,
    },
    /// Others may read it.
    #[error("{} holds a secret that other users may read (mode {mode:03o}): chmod 600 it", .path.display())]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// There is nothing in it.
    #[error("{} holds no secret, it is empty", .0.display())]
    Empty(PathBuf),
    /// It is no text.
    #[error("{} holds no secret: it is no text in UTF-8, or longer than 256 KiB", .0.display())]
    NoText(PathBuf),
    /// systemd gave this service no credentials.
    #[error("{} names a credential, and systemd gave this service none: set LoadCredential= in its unit", .0.display())]
    NoCredentials(PathBuf),
}

/// What the file at `path` holds, without the white space around it.
pub fn read(path: &Path) -> Result<Secret, SecretError> {
    read_among(path, std::env::var_os(&CREDENTIALS[1..]).as_deref())
}

/// The file that `path` means.
pub fn place(path: &Path) -> Result<PathBuf, SecretError> {
    place_among(path, std::env::var_os(&CREDENTIALS[1..]).as_deref())
}

fn place_among(path: &Path, credentials: Option<&OsStr>) -> Result<PathBuf, SecretError> {
    match (path.strip_prefix(CREDENTIALS), credentials.filter(|folder| !folder.is_empty())) {
        (Err(_), _) => Ok(path.to_owned()),
        (Ok(name), Some(folder)) => Ok(Path::new(folder).join(name)),
        (Ok(_), None) => Err(SecretError::NoCredentials(path.to_owned())),
    }
}

fn read_among(path: &Path, credentials: Option<&OsStr>) -> Result<Secret, SecretError> {
    let place = place_among(path, credentials)?;
    let credentials = credentials.filter(|folder| !folder.is_empty()).map(Path::new);
    let unreadable = |why| SecretError::Unreadable { path: place.clone(), why };
    let file = File::open(&place).map_err(unreadable)?;
    let found = file.metadata().map_err(unreadable)?;
    let mode = found.mode();
    let is_credential = credentials.is_some_and(|folder| place.parent() == Some(folder));
    // A device holds nothing that could be known.
    let others = if is_credential { 0o007 } else { 0o077 };
    if found.is_file() && mode & others != 0 {
        return Err(SecretError::Exposed { path: place, mode: mode & 0o777 });
    }
    // Of this size from the beginning, so that no part of it stays behind where it grew.
    let mut bytes = Zeroizing::new(Vec::with_capacity(LONGEST as usize + 1));
    file.take(LONGEST + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() as u64 <= LONGEST);
    match text.map(str::trim) {
        None => Err(SecretError::NoText(place)),
        Some("") => Err(SecretError::Empty(place)),
        Some(secret) => Ok(Secret::new(secret)),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(dir: &Path, name: &str, content: impl AsRef<[u8]>, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn a_secret_is_what_stands_in_the_file_without_white_space_around() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o600, 0o400] {
            let path = file(dir.path(), &format!("{mode}"), "hush hush \n", mode);
            assert_eq!(read_among(&path, None).unwrap().reveal(), "hush hush");
        }
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_without_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        for mode in [0o640, 0o604, 0o644, 0o660] {
            let said = read_among(&file(dir.path(), &format!("{mode}"), "hush", mode), None).unwrap_err().to_string();
            assert!(said.contains(&format!("mode {mode:03o}")) && said.contains("chmod 600"), "{said}");
            assert!(!said.contains("hush"), "{said}");
        }
    }

    #[test]
    fn a_secret_is_shown_nowhere() {
        let secret: Secret = serde_json::from_str("\"hush\"").unwrap();
        assert_eq!(secret.reveal(), "hush");
        assert!(!format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()).contains("hush"));
    }

    #[test]
    fn what_is_no_secret_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let said = |path: &Path| read_among(path, None).unwrap_err().to_string();
        assert!(said(&dir.path().join("none")).contains("none cannot be read: No such file"));
        assert!(said(dir.path()).contains("cannot be read"));
        assert!(said(&file(dir.path(), "empty", " \n", 0o600)).contains("it is empty"));
        assert!(said(Path::new("/dev/null")).contains("it is empty"));
        assert!(said(&file(dir.path(), "bytes", b"\xff", 0o600)).contains("no text"));
        assert!(said(Path::new("/dev/zero")).contains("longer than 256 KiB"));
    }

    #[test]
    fn a_credential_of_systemd_is_read_from_the_folder_that_it_names() {
        let dir = tempfile::tempdir().unwrap();
        // As systemd makes it for a service with a user of its own: an access list shows as the group's permission.
        let path = file(dir.path(), "kafka", "hush", 0o440);
        let credentials = Some(dir.path().as_os_str());
        for named in [Path::new("$CREDENTIALS_DIRECTORY/kafka"), &path] {
            assert_eq!(read_among(named, credentials).unwrap().reveal(), "hush");
        }
        file(dir.path(), "open", "hush", 0o444);
        let open = read_among(Path::new("$CREDENTIALS_DIRECTORY/open"), credentials);
        assert!(matches!(open, Err(SecretError::Exposed { mode: 0o444, .. })), "{open:?}");
        for none in [None, Some(OsStr::new(""))] {
            let said = read_among(Path::new("$CREDENTIALS_DIRECTORY/kafka"), none).unwrap_err().to_string();
            assert!(said.contains("LoadCredential="), "{said}");
        }
        assert!(matches!(read_among(&path, None), Err(SecretError::Exposed { .. })), "elsewhere it is a file like any");
    }
}
