//! SQLite's write-ahead log, read without SQLite. Format: <https://www.sqlite.org/fileformat2.html#walformat>
//!
//! - Committed is what stands before the last commit frame of the unbroken chain of checksums, as SQLite sees it.
//! - Frames behind a break are strays: their salts say that they are of this log, nothing says that they are whole.
//! - Every commit is synced before the next begins: behind a break that a power cut made stands at most one whole
//!   commit, whatever the cut made of its sectors and whatever an earlier cut has left there.

use std::collections::HashMap;

use super::source::Source;

const HEADER: u64 = 32;
const FRAME_HEADER: u64 = 24;
const MAGIC: u32 = 0x377f_0682;
const PAGE_SIZES: [u32; 8] = [4096, 1024, 512, 2048, 8192, 16384, 32768, 65536];

/// Where pages stand in a log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Log {
    /// Bytes of a page; 0 if the log says nothing that can be used.
    pub page_size: u32,
    /// The offset of the newest committed image of each page.
    pub committed: HashMap<u32, u64>,
    /// Pages of the file after the last commit; 0 if there is none.
    pub pages: u32,
    /// Page and offset of images behind a break, the newest last.
    pub strays: Vec<(u32, u64)>,
    /// The most commits behind a break in frames that follow from one another.
    stray_commits: u32,
}

impl Log {
    /// Reads a log; an empty one for anything that is none.
    pub fn read(source: &(impl Source + ?Sized)) -> Self {
        let Some(Head { page_size, salts, big_endian, sum }) = Head::read(source) else { return Self::default() };
        let (mut whole, mut sum) = (sum.is_some(), sum.unwrap_or_default());
        let mut log = Self { page_size, ..Self::default() };
        let (mut pending, mut at, mut following) = (Vec::new(), HEADER, 0);
        let mut frame = vec![0; FRAME_HEADER as usize + page_size as usize];
        while source.fill(at, &mut frame) {
            let image = at + FRAME_HEADER;
            at += frame.len() as u64;
            let (page, commit, stored) = (be(&frame, 0), be(&frame, 4), (be(&frame, 16), be(&frame, 20)));
            // After the log began anew older frames stand behind the newer ones, with other salts.
            if (be(&frame, 8), be(&frame, 12)) != salts || page == 0 {
                (whole, following, sum) = (false, 0, stored);
                continue;
            }
            let before = checksum(&frame[..8], big_endian, sum);
            let follows = checksum(&frame[FRAME_HEADER as usize..], big_endian, before) == stored;
            sum = stored;
            whole &= follows;
            if !whole {
                log.strays.push((page, image));
                following = if follows { following + u32::from(commit != 0) } else { 0 };
                log.stray_commits = log.stray_commits.max(following);
                continue;
            }
            pending.push((page, image));
            if commit != 0 {
                log.committed.extend(pending.drain(..));
                log.pages = commit;
            }
        }
        log
    }

    /// Whether commits that were synced stand behind a break: SQLite would pass over them in silence.
    pub fn is_cut(&self) -> bool {
        self.stray_commits >= 2
    }
}

/// What a log's header says, or what must have stood there.
struct Head {
    page_size: u32,
    salts: (u32, u32),
    big_endian: bool,
    /// With which the checksums of the frames begin; none if the header is damaged.
    sum: Option<(u32, u32)>,
}

impl Head {
    fn read(source: &(impl Source + ?Sized)) -> Option<Self> {
        let mut header = [0; HEADER as usize];
        if !source.fill(0, &mut header) {
            return None;
        }
        let word = |at: usize| be(&header, at);
        let (magic, page_size, big_endian) = (word(0), word(8), word(0) & 1 == 1);
        let sum = checksum(&header[..24], big_endian, (0, 0));
        let holds = magic & !1 == MAGIC && PAGE_SIZES.contains(&page_size) && sum == (word(24), word(28));
        if holds {
            return Some(Self { page_size, salts: (word(16), word(20)), big_endian, sum: Some(sum) });
        }
        // Where two frames in a row have the same salts, page size and salts are theirs.
        let salts = |at: u64| {
            let mut salts = [0; 8];
            source.fill(at + 8, &mut salts).then(|| (be(&salts, 0), be(&salts, 4)))
        };
        let first = salts(HEADER)?;
        let page_size = PAGE_SIZES
            .into_iter()
            .find(|size| salts(HEADER + FRAME_HEADER + u64::from(*size)) == Some(first) && first != (0, 0))?;
        Some(Self { page_size, salts: first, big_endian, sum: None })
    }
}

fn be(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

/// Continues the checksum `from` over `bytes`, whose length is a multiple of 8.
fn checksum(bytes: &[u8], big_endian: bool, from: (u32, u32)) -> (u32, u32) {
    bytes.chunks_exact(8).fold(from, |(first, second), pair| {
        let word = |at: usize| {
            let word = [pair[at], pair[at + 1], pair[at + 2], pair[at + 3]];
            if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
        };
        let first = first.wrapping_add(word(0)).wrapping_add(second);
        let second = second.wrapping_add(word(4)).wrapping_add(first);
        (first, second)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rusqlite::Connection;

    use super::*;

    /// A log of some commits, and where the last of them begins.
    fn log(page_size: u32) -> (Vec<u8>, usize) {
        let dir = tempfile::tempdir().unwrap();
        let connection = Connection::open(dir.path().join("a.db")).unwrap();
        let wal = dir.path().join("a.db-wal");
        let set =
            format!("PRAGMA page_size={page_size}; PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; CREATE TABLE t(a)");
        connection.execute_batch(&set).unwrap();
        let mut last = 0;
        for commit in 0..6_u8 {
            last = std::fs::metadata(&wal).unwrap().len() as usize;
            connection.execute("INSERT INTO t VALUES(?1)", [vec![commit; 10_000]]).unwrap();
        }
        (std::fs::read(wal).unwrap(), last)
    }

    #[test]
    fn a_break_with_synced_commits_behind_it_is_a_cut() {
        let (mut bytes, last) = log(1024);
        assert!(!Log::read(&bytes).is_cut());
        bytes[last / 3] ^= 1;
        let read = Log::read(&bytes);
        assert!(read.is_cut() && !read.committed.is_empty());
    }

    proptest! {
        /// Sectors from the last commit on hold what was there before, what was written, or garbage.
        #[test]
        fn what_a_power_cut_leaves_of_the_last_commit_is_no_cut(
            small: bool,
            fates in prop::collection::vec((0_u8..3, any::<[u8; 8]>()), 64),
            remnant in 1_usize..30,
        ) {
            let page_size = if small { 1024 } else { 4096 };
            let (mut bytes, last) = log(page_size);
            // An earlier cut has left frames there, of the same log.
            let mut before = bytes.clone();
            let from = last.saturating_sub(remnant * (24 + page_size as usize)).max(HEADER as usize);
            before.copy_within(from..from + bytes.len() - last, last);
            let whole_commits = Log::read(&bytes).committed.len();
            for (sector, (fate, garbage)) in (last.div_ceil(512)..bytes.len() / 512).zip(fates.iter().cycle()) {
                let range = sector * 512..(sector + 1) * 512;
                match fate {
                    0 => bytes[range.clone()].copy_from_slice(&before[range]),
                    1 => bytes[range].copy_from_slice(&garbage.repeat(64)),
                    _ => {}
                }
            }
            let read = Log::read(&bytes);
            prop_assert!(!read.is_cut());
            prop_assert!(read.committed.len() <= whole_commits);
        }
    }
}
