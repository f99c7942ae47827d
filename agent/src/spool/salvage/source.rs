//! Bytes that can be read from anywhere, as far as they can be read at all.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use super::image::Image;
use crate::spool::presence::log_of;

/// A file, or what stands for one.
pub trait Source {
    /// Its length, bytes.
    fn length(&self) -> u64;

    /// Fills `into` with the bytes from `at` on; false if they end before or cannot be read.
    fn fill(&self, at: u64, into: &mut [u8]) -> bool;
}

impl Source for Vec<u8> {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn fill(&self, at: u64, into: &mut [u8]) -> bool {
        let Some(bytes) = usize::try_from(at).ok().and_then(|at| self.get(at..at.checked_add(into.len())?)) else {
            return false;
        };
        into.copy_from_slice(bytes);
        true
    }
}

/// A file on the disk, only read.
#[derive(Debug)]
pub struct Disk {
    file: File,
    length: u64,
}

impl Disk {
    /// Opens `path`.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Asked first: opening a pipe waits for somebody who writes into it.
        if let Some(what) = no_file(path) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("it is {what}, no file")));
        }
        let file = File::open(path)?;
        Ok(Self { length: file.metadata()?.len(), file })
    }
}

/// What lies at `path`, if something does that is no file.
pub fn no_file(path: &Path) -> Option<&'static str> {
    let Ok(metadata) = std::fs::metadata(path) else {
        return path.is_symlink().then_some("a link that leads nowhere");
    };
    let kind = metadata.file_type();
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt as _;
        if kind.is_fifo() {
            return Some("a pipe");
        }
    }
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => None,
        (_, true) => Some("a directory"),
        _ => Some("a device or a socket"),
    }
}

impl Source for Disk {
    fn length(&self) -> u64 {
        self.length
    }

    fn fill(&self, at: u64, into: &mut [u8]) -> bool {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(at)).and_then(|_| file.read_exact(into)).is_ok()
    }
}

/// A spool's file and its log.
pub struct Files {
    file: Box<dyn Source>,
    log: Box<dyn Source>,
}

impl Files {
    /// Opens `path` and the log beside it; one of the two may be missing.
    pub fn open(path: &Path) -> io::Result<Self> {
        let (file, log) = (Disk::open(path), Disk::open(&log_of(path)));
        match (file, log) {
            (Ok(file), Ok(log)) => Ok(Self { file: Box::new(file), log: Box::new(log) }),
            (Ok(file), Err(_)) => Ok(Self { file: Box::new(file), log: Box::new(Vec::new()) }),
            (Err(error), Ok(log)) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Self { file: Box::new(Vec::new()), log: Box::new(log) })
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Their pages.
    pub fn image(&self) -> Image<'_> {
        Image::new(&*self.file, &*self.log)
    }
}
