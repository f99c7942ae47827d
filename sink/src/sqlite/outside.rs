//! The file seen from outside the writer's memory. What the writer read once it does not read again, so that a file that
//! somebody else wrote over or cut looks whole to it.
//!
//! - At most once a minute the file is looked over by a connection that has read nothing yet.
//! - A file shorter than it was, and shorter than this process or a known write made it, was cut.
//! - An empty file is not opened: SQLite would delete its log.
//!
//! It sees what an opening sees: the edges of tables, and not the middle of large ones.

use rusqlite::{Connection, OpenFlags};

use super::ages::WallClock;
use super::damage;
use super::opening::{BUSY_TIMEOUT, leave_log};
use super::place::Place;

/// Seconds between two looks.
const EVERY: u64 = 60;

/// What was seen last.
#[derive(Debug, Default)]
pub(super) struct Outside {
    /// When, seconds of the wall clock.
    looked: Option<i64>,
    /// The file has no reason to be shorter, bytes.
    least: u64,
    /// SQLite's count of other programs' writes.
    foreign_writes: i64,
}

/// What is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ailment {
    /// A fresh reader meets damage, which it may have misread.
    Unreadable(String),
    /// It is shorter than it can be.
    Cut(String),
}

impl Outside {
    /// Notes what the file shrinks to when its log is copied next.
    pub(super) fn note_pages(&mut self, conn: &Connection) -> rusqlite::Result<()> {
        let number = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
        let bytes = number("page_count")?.saturating_mul(number("page_size")?);
        self.least = self.least.min(bytes as u64);
        Ok(())
    }

    /// Looks, if it is time to. `conn` is the writer.
    pub(super) fn look(
        &mut self,
        conn: &Connection,
        place: &Place,
        now: WallClock,
    ) -> rusqlite::Result<Option<Ailment>> {
        if self.looked.is_some_and(|looked| now.at.abs_diff(looked) < EVERY) {
            return Ok(None);
        }
        self.looked = Some(now.at);
        let foreign_writes = conn.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if std::mem::replace(&mut self.foreign_writes, foreign_writes) != foreign_writes {
            // Another program's VACUUM makes a file shorter, too.
            self.least = 0;
        }
        let (least, bytes) = (std::mem::take(&mut self.least), place.file_bytes());
        if bytes == 0 || bytes < least {
            return Ok(Some(Ailment::Cut(format!("it was cut short: {bytes} of {least} bytes are left"))));
        }
        let found = from_outside(place)?;
        self.least = bytes;
        Ok(found.map(Ailment::Unreadable))
    }
}

fn from_outside(place: &Place) -> rusqlite::Result<Option<String>> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = Connection::open_with_flags(place.path(), flags)?;
    reader.busy_timeout(BUSY_TIMEOUT)?;
    leave_log(&reader);
    damage::look_over(&reader)
}
