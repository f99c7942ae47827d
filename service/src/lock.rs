//! One process owns a data directory.
//!
//! - Two processes, or two services of one process, never hold the same directory.
//! - A directory that was locked is there after a power cut: its entry in the one above is on the disk, and so on up.
//! - The lock goes with its holder, however that ends: it is the operating system's, the file's content only says who.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

#[cfg(unix)]
use crate::key_file;

/// Name of the lock file in a data directory.
pub(crate) const LOCK_FILE: &str = ".lock";

/// Longest note of a holder that is read back, bytes.
const MAX_NOTE: u64 = 256;

/// A directory that one process may use at a time.
#[derive(Debug)]
pub struct DataDir;

/// The directory is this process's until this is dropped.
#[derive(Debug)]
pub struct Locked {
    path: PathBuf,
    _file: File,
}

/// Why a data directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error(
        "data directory {} is in use by {holder}: stop that process, or give this one a directory of its own",
        .path.display()
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// As it noted itself: name and process id.
        holder: String,
    },
    /// It cannot be created.
    #[error("data directory {} cannot be created", .path.display())]
    Create {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Its lock file cannot be opened, locked or written.
    #[error("{} cannot be locked; the directory must be on a local file system and writable", .path.display())]
    File {
        /// The lock file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DataDir {
    /// Creates the directory and those above it where they are missing, for their owner only, without taking its lock.
    pub fn create(path: impl AsRef<Path>) -> Result<(), LockError> {
        let path = path.as_ref();
        create(path).map_err(|source| LockError::Create { path: path.to_owned(), source })
    }

    /// The process that has its lock, if one has, as far as Linux tells (`/proc/locks`); the lock itself is not touched. Fails where nobody tells
    /// this user.
    pub fn holder(path: impl AsRef<Path>) -> io::Result<Option<u32>> {
        let path = path.as_ref().join(LOCK_FILE);
        let file = match fs::metadata(&path) {
            Ok(file) => FileId::of(&path, &file),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        match holding(&fs::read_to_string("/proc/locks")?, &file) {
            // In another namespace of processes it has no number here.
            Some(pid) => u32::try_from(pid).ok().filter(|pid| *pid > 0).map(Some).ok_or(io::ErrorKind::Other.into()),
            None => Ok(None),
        }
    }

    /// Creates the directory where it is missing (for its owner only) and takes its lock.
    pub fn lock(path: impl AsRef<Path>) -> Result<Locked, LockError> {
        let path = path.as_ref();
        Self::create(path)?;
        let lock_file = path.join(LOCK_FILE);
        let failed = |source| LockError::File { path: lock_file.clone(), source };
        let mut file = file(&lock_file).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { path: path.to_owned(), holder: holder(&mut file) });
            }
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        note_holder(&mut file).map_err(failed)?;
        Ok(Locked { path: path.to_owned(), _file: file })
    }
}

impl Locked {
    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// A directory is made only once the entry of the one above is on the disk; its own entry is before this returns. A
/// process before this one may have ended between the two.
fn create(path: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = path.ancestors().take_while(|path| !is_here(path) && !path.is_dir()).collect();
    let there = missing.last().map_or(Some(path), |path| path.parent());
    match there.map_or(Ok(()), sync_entry) {
        // Another user's directory, made by somebody else.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
        synced => synced?,
    }
    for path in missing.into_iter().rev() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(path)?;
        sync_entry(path)?;
    }
    Ok(())
}

/// Whether it is where a relative path begins.
fn is_here(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[cfg(unix)]
fn sync_entry(path: &Path) -> io::Result<()> {
    let Some(above) = path.parent() else { return Ok(()) };
    File::open(if is_here(above) { Path::new(".") } else { above })?.sync_all()
}

/// Directories are not synchronised here.
#[cfg(not(unix))]
fn sync_entry(_: &Path) -> io::Result<()> {
    Ok(())
}

/// The file at `path` to lock, made if it is not there: then it is its folder's owner's alone. A link is not followed, which would let
/// whoever owns the folder have root write elsewhere.
#[cfg(unix)]
pub fn file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600).custom_flags(nix::libc::O_NOFOLLOW);
    match options.clone().create_new(true).open(path) {
        Ok(file) => {
            let folder = path.parent().filter(|above| !is_here(above)).unwrap_or(Path::new("."));
            key_file::give_to_owner_of(&File::open(folder)?, &file);
            Ok(file)
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => options.open(path),
        Err(error) => Err(error),
    }
}

/// The file at `path` to lock, made if it is not there.
#[cfg(not(unix))]
pub fn file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn note_holder(file: &mut File) -> io::Result<()> {
    let name = std::env::current_exe().ok().and_then(|exe| Some(exe.file_stem()?.to_string_lossy().into_owned()));
    file.set_len(0)?;
    write!(file, "{} (process {})", name.as_deref().unwrap_or("gaitway"), std::process::id())
}

/// A file as the kernel names it.
#[derive(Debug, PartialEq, Eq)]
struct FileId {
    /// Numbers of its device, major and minor, as `stat` tells and as mounts do.
    devices: [(u64, u64); 2],
    inode: u64,
}

impl FileId {
    #[cfg(target_os = "linux")]
    fn of(path: &Path, file: &fs::Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let stat = (nix::sys::stat::major(file.dev()), nix::sys::stat::minor(file.dev()));
        let mounted = crate::checkup::mount::Mount::of(path).map_or(stat, |mount| mount.device);
        Self { devices: [stat, mounted], inode: file.ino() }
    }

    /// Nobody tells of locks here.
    #[cfg(not(target_os = "linux"))]
    fn of(_: &Path, _: &fs::Metadata) -> Self {
        Self { devices: [(0, 0); 2], inode: 0 }
    }
}

/// Whoever has a lock as these are, by `flock`, on this file: `1: FLOCK  ADVISORY  WRITE 4711 08:02:123 0 EOF`.
fn holding(locks: &str, wanted: &FileId) -> Option<i64> {
    locks.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let (kind, pid, file) = (fields.get(1)?, fields.get(4)?, fields.get(5)?);
        let mut parts = file.split(':');
        let mut hex = || u64::from_str_radix(parts.next()?, 16).ok();
        let device = (hex()?, hex()?);
        let is_it = *kind == "FLOCK" && wanted.devices.contains(&device) && parts.next()?.parse() == Ok(wanted.inode);
        is_it.then(|| pid.parse().ok())?
    })
}

/// Who wrote the file; a lock may be seen before its holder's note is.
fn holder(file: &mut File) -> String {
    let mut note = String::new();
    match file.take(MAX_NOTE).read_to_string(&mut note) {
        Ok(_) if !note.trim().is_empty() => note.trim().to_owned(),
        _ => "another process, probably a gaitway service".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_services_never_hold_the_same_directory() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        let first = DataDir::lock(&path).unwrap();
        assert_eq!(first.path(), path);
        let error = DataDir::lock(&path).unwrap_err();
        assert!(matches!(&error, LockError::Held { path: held, .. } if *held == path));
        let text = error.to_string();
        assert!(text.contains(&format!("process {}", std::process::id())), "{text}");
        assert!(text.contains("stop that process"), "{text}");
    }

    #[test]
    fn the_lock_goes_with_its_holder() {
        let temp = tempfile::tempdir().unwrap();
        drop(DataDir::lock(temp.path()).unwrap());
        DataDir::lock(temp.path()).unwrap();
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn who_holds_a_lock_is_told_without_touching_it() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(DataDir::holder(temp.path()).unwrap(), None);
        let locked = DataDir::lock(temp.path()).unwrap();
        assert_eq!(DataDir::holder(temp.path()).unwrap(), Some(std::process::id()));
        drop(locked);
        assert_eq!(DataDir::holder(temp.path()).unwrap(), None, "its note is still there");
        let locks = "1: POSIX  ADVISORY  WRITE 12 08:02:99 0 EOF\n2: FLOCK  ADVISORY  WRITE 13 08:02:99 0 EOF\n\
                     3: FLOCK  ADVISORY  WRITE 0 08:02:7 0 EOF\n4: FLOCK  ADVISORY  WRITE 14 00:1f:99 0 EOF\n";
        let of = |device, inode| holding(locks, &FileId { devices: [(200, 1), device], inode });
        assert_eq!([99, 7, 8].map(|inode| of((8, 2), inode)), [Some(13), Some(0), None]);
        assert_eq!(of((0, 31), 99), Some(14), "the same number on another disk is another file");
        assert_eq!(of((8, 1), 99), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn whether_a_lock_is_held_that_cannot_be_looked_at_is_not_known() {
        let temp = tempfile::tempdir().unwrap();
        fs::write(temp.path().join("file"), "").unwrap();
        DataDir::holder(temp.path().join("file")).unwrap_err();
    }

    #[cfg(unix)]
    #[test]
    fn a_new_directory_is_for_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        let _locked = DataDir::lock(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path.join(LOCK_FILE)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_directory_that_cannot_be_created_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        let text = DataDir::lock(file.join("data")).unwrap_err().to_string();
        assert!(text.contains("file/data"), "{text}");
    }
}
