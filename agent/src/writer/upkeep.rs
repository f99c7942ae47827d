//! What can wait: deleting acknowledged rows, forgetting old sessions, giving space back.
//!
//! - A log that somebody keeps from being used anew counts towards the cap, and is said once.

use std::ffi::OsString;
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::Result;

use super::state::State;
use crate::spool::cap::{Room, SMALL_DISK, log_excess};
use crate::spool::rows::Rows;
use crate::spool::schema::PAGE_SIZE;

/// Acknowledged rows deleted in one transaction, so that a push never waits long for a drained backlog.
const DELETE_ROWS: usize = 256;

/// Streams looked at in one transaction: those of this start and of the one before.
const DELETE_STREAMS: usize = 4;

/// Sessions forgotten in one transaction.
const FORGET_SESSIONS: usize = 16;

/// How often drained starts are looked for, and room where nobody pushes.
const EVERY: Duration = Duration::from_secs(10);

/// How often old sessions are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

/// Free pages that the file keeps for what comes next, bytes, and how many pages are given back at a time.
const KEEP_FREE: u64 = 1024 * 1024;
const SHRINK_PAGES: u32 = 1024;

/// How often a log that has grown beyond its ordinary size is tried.
const CUT_EVERY: Duration = Duration::from_secs(1);

impl State {
    pub(super) fn upkeep(&mut self, rows: &Rows<'_>, now: Instant) -> Result<()> {
        for _ in 0..DELETE_STREAMS {
            let Some(moved) = self.deletions.pop() else { break };
            if rows.delete_acknowledged(moved, DELETE_ROWS)? {
                self.deletions.push(moved);
                break;
            }
        }
        if !self.deletions.is_empty() {
            self.due = Some(now);
        }
        if now < self.upkeep_at {
            return Ok(());
        }

        self.upkeep_at = now + EVERY;
        self.look_at_oldest(rows)?;
        if self.deletions.is_empty() {
            for ordinal in self.queue.forget_drained() {
                rows.forget_start(ordinal)?;
            }
        }
        if now >= self.forget_at
            && let Some(wall) = (self.settings.wall_clock)()
        {
            self.forget_sessions(rows, now, wall)?;
        }
        Ok(())
    }

    fn forget_sessions(&mut self, rows: &Rows<'_>, now: Instant, wall: i64) -> Result<()> {
        rows.date_sessions(wall)?;
        let remember = i64::try_from(self.settings.spool.remember.as_micros()).unwrap_or(i64::MAX);
        let old = rows.sessions_before(wall.saturating_sub(remember), FORGET_SESSIONS)?;
        for id in old.iter().filter(|id| !self.sessions.holds(**id)) {
            rows.forget_session(*id)?;
        }
        self.forget_at = if old.len() == FORGET_SESSIONS { now } else { now + FORGET_EVERY };
        Ok(())
    }

    /// A log beyond its ordinary size is cut, unless somebody reads what is in it.
    fn cut_log(&mut self, rows: &Rows<'_>, now: Instant) -> Result<bool> {
        let log_bytes = log_bytes(&self.settings.path);
        if log_excess(log_bytes) == 0 {
            self.log_told = false;
            return Ok(false);
        }
        if now < self.log_at {
            return Ok(false);
        }
        self.log_at = now + CUT_EVERY;
        if !rows.cut_log()? && !std::mem::replace(&mut self.log_told, true) {
            tracing::warn!(
                file = %self.settings.path.display(), log_bytes,
                "another program reads the spool and keeps its log growing, which takes from spool.max_bytes; close \
                 what has spool.db open"
            );
        }
        self.look_for_room(rows)?;
        Ok(true)
    }

    /// Outside a transaction, before one: where the disk has little room left, what is in the log is moved into the file,
    /// so that the log is used from its beginning again and need not grow.
    pub(super) fn settle(&mut self, rows: &Rows<'_>) -> Result<()> {
        // What the start before has left in the log is not known.
        let first = self.room == Room::default();
        self.settled = false;
        if first || self.wanting.is_some() || self.room.is_tight() {
            self.settled = rows.checkpoint()?;
        }
        if first {
            self.look_for_room(rows)?;
            let disk_bytes = self.room.disk_total;
            if (1..SMALL_DISK).contains(&disk_bytes) {
                tracing::warn!(
                    disk_bytes,
                    needs = SMALL_DISK,
                    "the disk of the spool is small: pushes of some size will be refused; choose a data directory on a \
                     larger one"
                );
            }
        }
        Ok(())
    }

    /// Outside a transaction: gives free pages back, a few at a time, and at last moves them out of the log, which is
    /// when the file itself becomes smaller. Whether the file, or its log, may be shorter now.
    pub(super) fn shrink(&mut self, rows: &Rows<'_>, now: Instant) -> Result<bool> {
        let cut = self.cut_log(rows, now)?;
        if !self.deletions.is_empty() {
            return Ok(cut);
        }
        if rows.pages()?.free >= KEEP_FREE + u64::from(SHRINK_PAGES) * PAGE_SIZE {
            rows.shrink(SHRINK_PAGES)?;
            self.shrinking = true;
            self.due = Some(now);
        } else if std::mem::take(&mut self.shrinking) {
            rows.checkpoint()?;
        } else {
            return Ok(cut);
        }
        Ok(true)
    }
}

/// Bytes of the log of the spool at `path`.
pub(super) fn log_bytes(path: &Path) -> u64 {
    let mut log = OsString::from(path);
    log.push("-wal");
    // Where it cannot be asked there is none, or SQLite will say what is wrong.
    std::fs::metadata(log).map_or(0, |log| log.len())
}

/// Bytes of the file of the spool at `path`.
pub(super) fn file_bytes(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |file| file.len())
}

/// Free and total bytes of the disk that holds `path`; unlimited where it does not say.
pub(crate) fn disk(path: &Path) -> (u64, u64) {
    match nix::sys::statvfs::statvfs(path) {
        Ok(disk) => {
            // On 32-bit machines both have 32 bits, and their product has more.
            #[allow(clippy::unnecessary_cast, reason = "needed elsewhere")]
            let bytes = |blocks| (blocks as u64).saturating_mul(disk.fragment_size() as u64);
            (bytes(disk.blocks_available()), bytes(disk.blocks()))
        }
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "the disk does not say how full it is");
            (u64::MAX, 0)
        }
    }
}
