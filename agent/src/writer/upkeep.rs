//! What can wait: deleting acknowledged rows, forgetting old sessions, giving space back.

use std::time::{Duration, Instant};

use gaitway_service::clock;
use rusqlite::Result;

use super::state::State;
use crate::spool::cap::Room;
use crate::spool::rows::Rows;

/// Acknowledged rows deleted in one transaction, so that a push never waits long for a drained backlog.
const DELETE_ROWS: usize = 256;

/// Sessions forgotten in one transaction.
const FORGET_SESSIONS: usize = 16;

/// How often the disk is asked for room and old sessions are looked for.
const EVERY: Duration = Duration::from_secs(10);

/// Free pages that the file keeps for what comes next, bytes, and how many pages are given back at a time.
const KEEP_FREE: u64 = 1024 * 1024;
const SHRINK_PAGES: u32 = 256;

impl State {
    pub(super) fn upkeep(&mut self, rows: &Rows<'_>, now: Instant) -> Result<()> {
        if let Some(moved) = self.deletions.pop()
            && rows.delete_acknowledged(moved, DELETE_ROWS)?
        {
            self.deletions.push(moved);
        }
        if !self.deletions.is_empty() {
            self.due = Some(now);
        }
        if now < self.upkeep_at {
            return Ok(());
        }

        self.upkeep_at = now + EVERY;
        let (disk_free, disk_total) = disk(&self.settings.path);
        self.room = Room { disk_free, disk_total, ..self.room };
        if self.deletions.is_empty() {
            for ordinal in self.queue.forget_drained() {
                rows.forget_start(ordinal)?;
            }
        }
        // A clock that was never set must not make a year of sessions look old.
        if clock::synchronised() {
            let remember = i64::try_from(self.settings.spool.remember.as_micros()).unwrap_or(i64::MAX);
            let forgotten = rows.forget_sessions(clock::now_micros().saturating_sub(remember), FORGET_SESSIONS)?;
            if forgotten == FORGET_SESSIONS {
                self.upkeep_at = now;
            }
        }
        Ok(())
    }

    /// Outside a transaction: gives free pages back, a few at a time, and at last moves them out of the log, which is
    /// when the file itself becomes smaller.
    pub(super) fn shrink(&mut self, rows: &Rows<'_>, now: Instant) -> Result<()> {
        if !self.deletions.is_empty() {
            return Ok(());
        }
        if rows.room()?.reusable >= KEEP_FREE + u64::from(SHRINK_PAGES) * 4096 {
            rows.shrink(SHRINK_PAGES)?;
            self.shrinking = true;
            self.due = Some(now);
        } else if std::mem::take(&mut self.shrinking) {
            rows.checkpoint()?;
        }
        Ok(())
    }
}

/// Free and total bytes of the disk that holds `path`; unlimited where it does not say.
fn disk(path: &std::path::Path) -> (u64, u64) {
    match nix::sys::statvfs::statvfs(path) {
        Ok(disk) => {
            let size = disk.fragment_size();
            (disk.blocks_available() * size, disk.blocks() * size)
        }
        Err(error) => {
            tracing::debug!(%error, path = %path.display(), "the disk does not say how full it is");
            (u64::MAX, 0)
        }
    }
}
