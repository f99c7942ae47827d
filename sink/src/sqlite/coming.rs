//! Coming to a file, and putting another in the place of a damaged one.
//!
//! - What the process before left in the log is written into the file, and synced, before anything is built on it.

use std::path::Path;
use std::time::Instant;

use gaitway_service::clock;
use rusqlite::Connection;

use super::counters::Counters;
use super::log::rewrite_log;
use super::opening::{self, Missing, OpenError};
use super::options::Options;
use super::place::Place;
use super::suspicion::Suspicion;
use super::tending::Keeper;
use super::{aside, carry, damage};

/// Opens the warehouse at `path` for a process that has just come to it.
pub(super) fn open_first(path: &Path, options: &Options) -> Result<(Connection, Place, Keeper), OpenError> {
    let (conn, place) = opening::open(path, Missing::Create)?;
    let settled = settle(&conn, &place, options).map_err(|error| unusable(path, error));
    match settled.and_then(|keeper| keeper.map_err(|what| OpenError::Damaged { path: path.to_owned(), what })) {
        Ok(keeper) => Ok((conn, place, keeper)),
        Err(error) => {
            if matches!(error, OpenError::Damaged { .. }) {
                opening::leave_log(&conn);
            }
            Err(error)
        }
    }
}

/// What keeps it within its limits, or what is wrong with it.
fn settle(conn: &Connection, place: &Place, options: &Options) -> rusqlite::Result<Result<Keeper, String>> {
    // The process before this one may have ended after a failed write.
    if rewrite_log(conn)?
        && let Some(what) = damage::cut_short(conn, place)?
    {
        return Ok(Err(what));
    }
    Keeper::load(conn, options.policy(), options.keep_raw.as_secs() as i64).map(Ok)
}

/// Puts a new file with the marks of the damaged one in its place. What is to be done about it is said here.
pub(super) fn set_aside(
    path: &Path,
    what: &str,
    suspicion: &mut Suspicion,
    counters: &Counters,
) -> Result<(), OpenError> {
    let now = Instant::now();
    let wall_clock = clock::now_micros();
    if !suspicion.may_replace(now, aside::within_the_hour(path, wall_clock)?) {
        return Err(OpenError::Failing { path: path.to_owned(), what: what.to_owned() });
    }
    let carried = carry::read(path);
    let damaged = aside::replace(path, &carried, wall_clock)?;
    suspicion.handle_replaced(now);
    counters.add_set_aside();
    let (marks, marks_left, marks_unread) = (carried.marks.len(), carried.left, carried.incomplete);
    tracing::error!(
        file = %path.display(), damage = what, kept_as = %damaged.display(), marks, marks_left, marks_unread,
        "the warehouse was damaged: it is kept under another name and a new one goes on in its place; \
         to save what can be read of it, work on a copy, with a sqlite3 that knows .recover (Debian's does not): \
         `mkdir saved && cp {file}* saved/ && sqlite3 saved/{name} .recover | sqlite3 saved/saved.db`",
        file = damaged.display(), name = damaged.file_name().unwrap_or_default().display()
    );
    Ok(())
}

fn unusable(path: &Path, reason: rusqlite::Error) -> OpenError {
    if damage::is_damage(&reason) {
        return OpenError::Damaged { path: path.to_owned(), what: reason.to_string() };
    }
    OpenError::Sqlite { path: path.to_owned(), reason }
}
