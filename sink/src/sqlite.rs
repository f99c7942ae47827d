//! The local warehouse: one SQLite file that anybody may read while it is written.
//!
//! - Rows and marks are one transaction; `submit` returns `Ok` after the fsync, and what it returned `Ok` for is in the
//!   file at the path it was opened with.
//! - A mark that is not where its owner left it undoes the whole submit.
//! - What a failed write left in doubt is written anew, and synced, before `recover` says that the warehouse is ready.
//! - Readers never hold up a commit.
//! - A damaged file is set aside, whole and untouched, and a new one goes on with the marks whose rows it holds: nothing
//!   that was stored is stored again, and no restart is needed.
//! - A file that is written over or cut while it is in use is noticed within about a minute.
//! - Retention works under load as well: while there is something to delete, it gets as much time as the commits.
//!
//! Tables and columns are the contract's ([`schema`]); people read the views. `RECORD_METADATA`
//! and `reading` are JSON as text, instants text as in the record's JSON. A −0.0 comes back as 0.0.

mod ages;
mod aside;
mod carry;
mod checkup;
mod coming;
mod commit;
mod counters;
mod damage;
pub mod forget;
mod log;
mod marks;
mod opening;
mod options;
mod outside;
mod place;
mod retention;
mod revise;
mod rewriting;
mod rows;
mod suspicion;
mod tending;
mod trouble;
mod views;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{self, Ledger, LedgerError, Mark, Source, Watermark};
use gaitway_proto::record::Record;
use gaitway_proto::schema;
use gaitway_service::clock;
use rusqlite::Connection;

pub use ages::WallClock;
pub use aside::set_aside_with;
pub use checkup::examine;
pub use counters::{Counters, describe};
pub use opening::OpenError;
pub use options::Options;
pub use retention::Reason;
pub use revise::Revise;

use coming::{open_first, set_aside};
use commit::Refused;
use log::{empty_log, rewrite_log};
use opening::Missing;
use outside::{Ailment, Outside};
use place::{Place, Presence};
use suspicion::Suspicion;
use tending::Keeper;

/// What housekeeping may take between two commits.
const BUDGET: Duration = Duration::from_millis(20);

/// Under load housekeeping comes this often.
const INTERVAL: Duration = Duration::from_secs(1);

/// A ledger in one SQLite file. One process owns it; lock the data directory.
#[derive(Debug)]
pub struct Warehouse {
    options: Options,
    place: Place,
    /// None after a recovery that failed.
    conn: Option<Connection>,
    keeper: Keeper,
    outside: Outside,
    counters: Arc<Counters>,
    /// A write failed, so that what lies in the log may not be on the disk.
    in_doubt: bool,
    suspicion: Suspicion,
    /// A replacement of the file was begun and not finished.
    replacing: bool,
    tended: Instant,
    /// What commits took since housekeeping.
    committing: Duration,
    /// Housekeeping failed, and that was said.
    told: bool,
}

impl Warehouse {
    /// Opens the warehouse at `path`, which is created if nothing is there. A damaged one is set aside.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self, OpenError> {
        options.check().map_err(|wrong| OpenError::Options(wrong.to_string()))?;
        let (mut path, counters) = (path.as_ref().to_owned(), Arc::<Counters>::default());
        if path.is_symlink() {
            // The log lies beside the file itself.
            path = path.canonicalize().map_err(|reason| OpenError::Io { path, reason })?;
        }
        let path = &path;
        aside::finish(path)?;
        let mut suspicion = Suspicion::default();
        let (conn, place, keeper) = match open_first(path, options) {
            Err(OpenError::Damaged { what, .. }) => {
                set_aside(path, &what, &mut suspicion, &counters)?;
                open_first(path, options)?
            }
            opened => opened?,
        };
        if forget::is_unfinished(path) {
            tracing::warn!(
                file = %path.display(),
                "a deletion by `gaitway forget` did not come to its end: rows are gone and their bytes may still be in the \
                 file; stop this and run the same command again"
            );
        }
        Ok(Self {
            options: options.clone(),
            place,
            conn: Some(conn),
            keeper,
            outside: Outside::default(),
            counters,
            in_doubt: false,
            suspicion,
            replacing: false,
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
        self.look_from_outside(now)?;
        self.keep_house(now, BUDGET).or_else(|error| {
            if trouble::can_wait(&error) {
                self.say_once(&error);
                return Ok(());
            }
            Err(self.failed(&error))
        })
    }

    fn look_from_outside(&mut self, now: WallClock) -> Result<(), LedgerError> {
        let Self { place, conn, outside, suspicion, .. } = self;
        let Some(conn) = conn else { return Ok(()) };
        let what = match outside.look(conn, place, now) {
            Ok(None) => return Ok(()),
            Ok(Some(Ailment::Unreadable(what))) => {
                suspicion.handle_met(Instant::now(), what.clone());
                what
            }
            Ok(Some(Ailment::Cut(what))) => {
                suspicion.handle_unreadable(what.clone());
                what
            }
            Err(error) if damage::is_damage(&error) => return Err(self.failed(&error)),
            // Out of file handles, or in somebody's way: nothing is known about the file.
            Err(error) => {
                self.say_once(&error);
                return Ok(());
            }
        };
        Err(LedgerError::Unavailable(trouble::seems_damaged(place.path(), &what)))
    }

    fn keep_house(&mut self, now: WallClock, budget: Duration) -> rusqlite::Result<()> {
        let Self { place, conn, keeper, outside, counters, .. } = self;
        let Some(conn) = conn else { return Ok(()) };
        let tended = keeper.tend(conn, place, counters, now, budget);
        let outcome = tended.and(outside.note_pages(conn));
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
            self.suspect(&error);
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
        self.suspect(error);
        LedgerError::Unavailable(trouble::sentence(self.place.path(), error))
    }

    fn suspect(&mut self, error: &rusqlite::Error) {
        self.in_doubt |= trouble::leaves_doubt(error);
        if damage::is_damage(error) {
            self.suspicion.handle_met(Instant::now(), error.to_string());
        }
    }

    /// What a log holds that has no name any more is written into the file while it is still open. Any other absence
    /// is an error.
    fn save_log(&mut self) -> Result<(), LedgerError> {
        let presence = self.place.presence();
        if !matches!(presence, Presence::LogVanished | Presence::LogReplaced) {
            return self.still_there();
        }
        let Some(conn) = &self.conn else {
            return if presence == Presence::LogVanished { Ok(()) } else { self.still_there() };
        };
        // Whoever opens the file now must find that its log holds nothing.
        let saved =
            empty_log(conn).map_err(|error| LedgerError::Unavailable(trouble::sentence(self.place.path(), &error)))?;
        if !saved {
            return Err(in_the_way(self.place.path()));
        }
        // Closing must not delete what has its name now.
        opening::leave_log(conn);
        if presence == Presence::LogVanished { Ok(()) } else { self.still_there() }
    }

    /// Opens the file again, or the one that takes its place.
    fn reopen(&mut self) -> Result<Connection, OpenError> {
        if self.replacing {
            aside::finish(self.place.path())?;
            self.place = Place::of(self.place.path())
                .map_err(|reason| OpenError::Io { path: self.place.path().to_owned(), reason })?;
            self.replacing = false;
        }
        if self.suspicion.certain().is_none() {
            match opening::open(self.place.path(), Missing::Refuse) {
                Err(OpenError::Damaged { what, .. }) => self.suspicion.handle_unreadable(what),
                opened => {
                    self.suspicion.handle_reopened();
                    self.place.note_log();
                    return opened.map(|(conn, _)| conn);
                }
            }
        }
        self.replacing = true;
        let path = self.place.path().to_owned();
        let what = self.suspicion.certain().unwrap_or_default().to_owned();
        set_aside(&path, &what, &mut self.suspicion, &self.counters)?;
        let (conn, place, keeper) = open_first(&path, &self.options)?;
        (self.place, self.keeper, self.in_doubt, self.replacing) = (place, keeper, false, false);
        Ok(conn)
    }

    fn conn(&mut self) -> Result<&mut Connection, LedgerError> {
        let Self { conn, place, .. } = self;
        conn.as_mut().ok_or_else(|| LedgerError::Unavailable(format!("{} is not open", place.path().display())))
    }
}

impl Ledger for Warehouse {
    /// Opens the file again. Where nothing is, none is created: it would look like nothing was ever stored. A damaged one
    /// is replaced.
    fn recover(&mut self) -> Result<(), LedgerError> {
        if !self.replacing {
            self.save_log()?;
        }
        if let Some(conn) = self.conn.take() {
            // What may be damaged is not written to; who opens the file reads the log.
            opening::leave_log(&conn);
        }
        self.outside = Outside::default();
        let conn = self.reopen().map_err(|error| LedgerError::Unavailable(error.to_string()))?;
        self.still_there()?;
        if self.in_doubt {
            let complete = rewrite_log(&conn).map_err(|error| self.failed(&error))?;
            if !complete {
                return Err(in_the_way(self.place.path()));
            }
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
        ledger::check(records, marks)?;
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

    fn marked_at(&mut self, source: &Source) -> Result<Option<i64>, LedgerError> {
        let found = marks::Find::new(self.conn()?).and_then(|mut find| find.moved_at(source));
        found.map_err(|error| self.failed(&error))
    }

    fn tend(&mut self) -> Result<(), LedgerError> {
        self.tend_at(wall_clock())
    }
}

fn in_the_way(path: &Path) -> LedgerError {
    LedgerError::Unavailable(format!(
        "{} must be written anew, and a program that reads it is in the way: close it",
        path.display()
    ))
}

fn wall_clock() -> WallClock {
    WallClock { at: clock::now_micros().div_euclid(1_000_000), synchronised: clock::synchronised() }
}

#[cfg(test)]
mod tests;
