//! What can wait: deleting acknowledged rows, forgetting old sessions, giving space back.

use std::time::{Duration, Instant};

use rusqlite::Result;

use super::state::State;
use crate::spool::cap::Room;
use crate::spool::rows::Rows;

/// Acknowledged rows deleted in one transaction, so that a push never waits long for a drained backlog.
const DELETE_ROWS: usize = 256;

/// Sessions forgotten in one transaction.
const FORGET_SESSIONS: usize = 16;

/// How often the disk is asked for room.
const EVERY: Duration = Duration::from_secs(10);

/// How often old sessions are looked for.
const FORGET_EVERY: Duration = Duration::from_secs(3600);

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
