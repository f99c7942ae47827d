//! Whether a file is the one that was read.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    inode: (u64, u64),
    length: u64,
    changed: (i64, i64),
}

impl Stamp {
    /// The stamp of a file as it is now.
    pub fn of(file: &Metadata) -> Self {
        Self { inode: (file.dev(), file.ino()), length: file.len(), changed: (file.ctime(), file.ctime_nsec()) }
    }
}
