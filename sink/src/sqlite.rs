//! The local warehouse: one SQLite file that anybody may read while it is written.
//!
//! - Rows and marks are one transaction; `submit` returns `Ok` after the fsync, and what it returned `Ok` for is in the
//!   file at the path it was opened with.
//! - A mark that is not where its owner left it undoes the whole submit.
//! - What a failed write left in doubt is written anew, and synced, before `recover` says that the warehouse is ready.
//! - Readers never hold up a commit.
//! - Retention works under load as well: while there is something to delete, it gets as much time as the commits.
//!
//! Tables and columns are the contract's ([`schema`]); people read the views. `RECORD_METADATA`
//! and `reading` are JSON as text, instants text as in the record's JSON. A −0.0 comes back as 0.0.

mod ages;
mod commit;
mod counters;
mod opening;
mod options;
mod place;
mod retention;
mod rows;
mod tending;
mod trouble;
mod views;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{Ledger, LedgerError, Mark, Source, Watermark};
use gaitway_proto::record::Record;
use gaitway_proto::schema;
use gaitway_service::clock;
use rusqlite::Connection;

pub use ages::WallClock;
pub use counters::Counters;
pub use opening::OpenError;
pub use options::Options;
pub use retention::Reason;

use commit::Refused;
use opening::{BUSY_TIMEOUT, Missing};
use place::Place;
use retention::Policy;
use tending::{CHECKPOINT_WAIT, Keeper};

/// What housekeeping may take between two commits.
const BUDGET: Duration = Duration::from_millis(20);

/// Under load housekeeping comes this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// A ledger in one SQLite file. One process owns it; lock the data directory.
#[derive(Debug)]
pub struct Warehouse {
    place: Place,
    /// None after a recovery that failed.
    conn: Option<Connection>,
    keeper: Keeper,
    counters: Arc<Counters>,
    /// A write failed, so that what lies in the log may not be on the disk.
    in_doubt: bool,
    tended: Instant,
    /// What commits took since housekeeping.
    committing: Duration,
    /// Housekeeping failed, and that was said.
    told: bool,
}

impl Warehouse {
    /// Opens the warehouse at `path`, which is created if nothing is there.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        options.check().map_err(OpenError::Options)?;
        let path = path.as_ref();
        let (conn, place) = opening::open(path, Missing::Create)?;
        let Options { keep_raw, max_bytes, min_free_percent } = *options;
        let policy = Policy { max_bytes, min_free_percent };
        // The process before this one may have ended after a failed write.
        let keeper = rewrite_log(&conn)
            .and_then(|_| Keeper::load(&conn, policy, keep_raw.as_secs() as i64))
            .map_err(|source| OpenError::Sqlite { path: path.to_owned(), source })?;
        Ok(Self {
            place,
            conn: Some(conn),
            keeper,
            counters: Arc::default(),
            in_doubt: false,
            tended: Instant::now(),
            committing: Duration::ZERO,
            told: false,
        })
    }

    /// Its numbers, for other threads.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// [`tend`](Ledger::tend) at a given time.
    pub fn tend_at(&mut self, now: WallClock) -> Result<(), LedgerError> {
        self.still_there()?;
        self.keep_house(now, BUDGET).or_else(|error| {
            if trouble::can_wait(&error) {
                self.say_once(&error);
                return Ok(());
            }
            Err(self.failed(&error))
        })
    }

    fn keep_house(&mut self, now: WallClock, budget: Duration) -> rusqlite::Result<()> {
        let Self { place, conn, keeper, counters, .. } = self;
        let Some(conn) = conn else { return Ok(()) };
        let outcome = keeper.tend(conn, place, counters, now, budget);
        self.tended = Instant::now();
        self.committing = Duration::ZERO;
        self.told &= outcome.is_err();
        outcome
    }

    /// Housekeeping in the middle of load. The commit before it stands whatever happens here.
    fn keep_house_under_load(&mut self) {
        if self.tended.elapsed() < INTERVAL {
            return;
        }
        let budget = self.committing.max(BUDGET);
        if let Err(error) = self.keep_house(wall_clock(), budget) {
            self.in_doubt |= trouble::leaves_doubt(&error);
            self.say_once(&error);
        }
    }

    fn say_once(&mut self, error: &rusqlite::Error) {
        if !std::mem::replace(&mut self.told, true) {
            tracing::warn!(reason = %trouble::sentence(self.place.path(), error), "housekeeping of the warehouse waits");
        }
    }

    fn still_there(&self) -> Result<(), LedgerError> {
        trouble::absence(self.place.path(), self.place.presence())
            .map_or(Ok(()), |said| Err(LedgerError::Unavailable(said)))
    }

    fn failed(&mut self, error: &rusqlite::Error) -> LedgerError {
        self.in_doubt |= trouble::leaves_doubt(error);
        LedgerError::Unavailable(trouble::sentence(self.place.path(), error))
    }

    fn conn(&mut self) -> Result<&mut Connection, LedgerError> {
        let Self { conn, place, .. } = self;
        conn.as_mut().ok_or_else(|| LedgerError::Unavailable(format!("{} is not open", place.path().display())))
    }
}

impl Ledger for Warehouse {
    /// Opens the file again. It is never created here: an empty one would look like nothing was ever stored.
    fn recover(&mut self) -> Result<(), LedgerError> {
        self.still_there()?;
        self.conn = None;
        let (conn, _) = opening::open(self.place.path(), Missing::Refuse)
            .map_err(|error| LedgerError::Unavailable(error.to_string()))?;
        self.still_there()?;
        if self.in_doubt {
            rewrite_log(&conn).map_err(|error| self.failed(&error)).and_then(|complete| {
                let file = self.place.path().display();
                complete.then_some(()).ok_or_else(|| {
                    LedgerError::Unavailable(format!(
                        "after a failed write {file} must be written anew, and a program that reads it is in the way: close it"
                    ))
                })
            })?;
            self.in_doubt = false;
        }
        self.conn = Some(conn);
        // A full disk is a reason to come here, and nobody tends a ledger that does not recover.
        if let Err(error) = self.keep_house(wall_clock(), BUDGET) {
            self.say_once(&error);
        }
        Ok(())
    }

    fn submit(&mut self, records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError> {
        commit::check(records, marks)?;
        if marks.is_empty() {
            return Ok(());
        }
        let started = Instant::now();
        let now = schema::rfc3339(clock::now_micros().saturating_mul(1000));
        match commit::commit(self.conn()?, records, marks, &now) {
            Ok(()) => {}
            Err(Refused::Ledger(error)) => return Err(error),
            Err(Refused::Sqlite(error)) => return Err(self.failed(&error)),
        }
        // After the commit: only now does it say that the rows are where they belong.
        self.still_there()?;
        self.committing += started.elapsed();
        self.keep_house_under_load();
        Ok(())
    }

    fn committed(&mut self, sources: &[Source]) -> Result<Watermark, LedgerError> {
        self.still_there()?;
        commit::positions(self.conn()?, sources).map_err(|error| self.failed(&error))
    }

    fn tend(&mut self) -> Result<(), LedgerError> {
        self.tend_at(wall_clock())
    }
}

/// After a failed fsync the system may take pages for written that are not: what was read back from the log is
/// written into the file and synced there. False if a reader is in the way.
fn rewrite_log(conn: &Connection) -> rusqlite::Result<bool> {
    conn.busy_timeout(CHECKPOINT_WAIT)?;
    let complete = conn.query_row("PRAGMA wal_checkpoint(FULL)", [], |row| {
        let (busy, log, copied): (bool, i64, i64) = row.try_into()?;
        Ok(!busy && log == copied)
    })?;
    conn.busy_timeout(BUSY_TIMEOUT)?;
    Ok(complete)
}

fn wall_clock() -> WallClock {
    WallClock { at: clock::now_micros().div_euclid(1_000_000), synchronised: clock::synchronised() }
}

#[cfg(test)]
mod tests;
