//! How long a disk takes to have something for good: small appends, each synced, in a file of its own.
//!
//! - The file has no name while it is written: it goes with this process, however that ends.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant};

/// Appends at most, and for how long at most.
const MOST: usize = 100;
const LONGEST: Duration = Duration::from_secs(2);

/// Bytes of each: a page of a file system.
const APPEND: [u8; 4096] = [0x67; 4096];

/// How long syncs took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pace {
    /// Half of them took no longer.
    pub(super) median: Duration,
    /// All but one in a hundred took no longer.
    pub(super) p99: Duration,
    /// How many there were.
    pub(super) count: usize,
}

/// Measures in `dir`, which is as it was when this returns.
pub(super) fn measure(dir: &Path) -> io::Result<Pace> {
    let file = nameless(dir)?;
    let mut took = Vec::with_capacity(MOST);
    let begun = Instant::now();
    while took.len() < MOST && (took.is_empty() || begun.elapsed() < LONGEST) {
        took.push(append(&file)?);
    }
    Ok(Pace::of(took))
}

fn nameless(dir: &Path) -> io::Result<File> {
    let path = dir.join(format!(".doctor-{}", std::process::id()));
    let file = OpenOptions::new().append(true).create_new(true).mode(0o600).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn append(mut file: &File) -> io::Result<Duration> {
    let begun = Instant::now();
    file.write_all(&APPEND)?;
    file.sync_data()?;
    Ok(begun.elapsed())
}

impl Pace {
    /// Of one sync at least.
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort_unstable();
        // The nearest rank.
        let rank = |percent: usize| took[(took.len() * percent).div_ceil(100).max(1) - 1];
        Self { median: rank(50), p99: rank(99), count: took.len() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left_behind() {
        let dir = tempfile::tempdir().unwrap();
        let pace = measure(dir.path()).unwrap();
        assert!(pace.count > 0 && pace.median <= pace.p99, "{pace:?}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(measure(&dir.path().join("none")).is_err());
    }

    #[test]
    fn whoever_is_killed_while_it_measures_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let file = nameless(dir.path()).unwrap();
        append(&file).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert_eq!(file.metadata().unwrap().len(), APPEND.len() as u64);
    }

    #[test]
    fn ranks_are_the_nearest_ones() {
        let of = |count: u64| Pace::of((1..=count).rev().map(Duration::from_millis).collect());
        assert_eq!(of(100), Pace { median: Duration::from_millis(50), p99: Duration::from_millis(99), count: 100 });
        assert_eq!(of(1), Pace { median: Duration::from_millis(1), p99: Duration::from_millis(1), count: 1 });
        assert_eq!(of(40).p99, Duration::from_millis(40));
    }
}
