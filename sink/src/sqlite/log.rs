//! The write-ahead log, moved into the file on purpose.

use std::time::Duration;

use rusqlite::Connection;

use super::opening::BUSY_TIMEOUT;

/// How long a checkpoint waits for readers.
const CHECKPOINT_WAIT: Duration = Duration::from_millis(10);

/// After a failed fsync the system may take pages for written that are not: what was read back from the log is
/// written into the file and synced there. False if a reader is in the way.
pub(super) fn rewrite_log(conn: &Connection) -> rusqlite::Result<bool> {
    conn.busy_timeout(CHECKPOINT_WAIT)?;
    let complete = conn.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
        let (busy, log, copied): (bool, i64, i64) = row.try_into()?;
        Ok(!busy && log == copied)
    })?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(complete)
}

/// Copies all of the log into the file and cuts it to nothing. False if a reader is in the way.
pub(super) fn empty_log(conn: &Connection) -> rusqlite::Result<bool> {
    conn.busy_timeout(CHECKPOINT_WAIT)?;
    let busy = conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
    conn.busy_timeout(BUSY_TIMEOUT)?;
    busy.map(|busy| !busy)
}
