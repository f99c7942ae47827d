//! What recordings would push, for who computes with it here and sends nothing.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::source::{self, Recording};

/// The app's batch period that is usual.
const BATCH: Duration = Duration::from_secs(1);

/// One recording.
pub(crate) struct Recorded(Recording);

/// The recordings that `files` hold; folders are searched through.
pub(crate) fn recordings(files: &[PathBuf]) -> anyhow::Result<Vec<Recorded>> {
    Ok(source::gather(files)?.into_iter().map(Recorded).collect())
}

/// Those files among `files` in which each reading has a label.
pub(crate) fn labelled(files: &[PathBuf]) -> anyhow::Result<Vec<PathBuf>> {
    source::labelled(files)
}

/// The bytes of a file, unpacked if its name ends in `.gz`.
pub(crate) fn open(path: &Path) -> anyhow::Result<Box<dyn Read + Send>> {
    source::open(path)
}

impl Recorded {
    /// The bodies of its pushes, in the order in which a phone sends them; after an error there is nothing to be had.
    pub(crate) fn bodies(self) -> anyhow::Result<impl Iterator<Item = anyhow::Result<Bytes>>> {
        let identity = self.0.identity.clone();
        Ok(self.0.pushes(BATCH)?.map(move |push| push.map(|push| push.body.of(&identity))))
    }
}
