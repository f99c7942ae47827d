//! What the figures were measured on.

use std::path::{Path, PathBuf};

/// Where measurements keep their files: on a disk, not in memory.
pub(crate) fn scratch() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
}

/// A folder of its own for a measurement, removed afterwards.
pub(crate) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(scratch()).unwrap()
}

/// Processor, cores, file system.
pub(crate) fn line() -> String {
    let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let model = model.map_or("a processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let system = file_system(&scratch());
    format!("{model}, {cores} cores; files on {system}")
}

/// Type and device of the file system that holds `path`.
fn file_system(path: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let holding = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let (device, place, kind) = (words.next()?, words.next()?, words.next()?);
        path.starts_with(place).then(|| (place.len(), format!("{kind} ({device})")))
    });
    holding.max_by_key(|(length, _)| *length).map_or_else(|| "an unknown file system".to_owned(), |(_, name)| name)
}
