//! Today's windows, for people who look: a store of the agent's own, `recent.db` in its data directory.
//!
//! - It is a view, not a record: what is accepted is in the spool, whatever happens here. Damaged, or of another version, it is
//!   thrown away and begun anew; where there is no room for it, it goes without.
//! - The writer never waits for it: closed windows are handed over once they are on the disk ([`Feed`]), and what does not
//!   find room on the way is dropped, counted, and said once.
//! - A thread of its own ([`Keeper`]) writes them in batches, every [`BATCH`] at most, and what is left at the end at once: a
//!   kill loses one batch, a power cut what came since the file was synced last.
//! - It holds [`KEPT`] of each phone's own time around its last window, [`MAX_PHONES`] phones and [`MAX_WINDOWS`] windows at
//!   most; beyond it the oldest of the phone with most go, or the phone with fewest.
//! - Windows that were let go of before they closed never come here.
//!
//! Times in nanoseconds since the Unix epoch, phone's clock.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use gaitway_proto::activity::{Activity, Window};
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use crate::spool::damage;
use crate::status::Doing;
use crate::stretches::{Slice, Stretch, Stretches};
use crate::windows::LONGEST;

pub mod forget;
mod keeper;
mod schema;
mod store;
#[cfg(test)]
mod tests;

pub use keeper::{BATCH, Feed, Keeper};
pub(crate) use store::Told;
pub use store::{MAX_PHONES, MAX_SESSIONS, MAX_WINDOWS};

/// The file's name.
pub const FILE: &str = "recent.db";

/// How far from a phone's last window others of it are kept.
pub const KEPT: Duration = Duration::from_secs(48 * 3600);

/// Today's windows. Cheap to clone. What reads blocks its thread.
#[derive(Debug, Clone)]
pub struct Recent {
    path: Arc<Path>,
    /// Who read found it damaged: it is to be begun anew.
    is_hurt: Arc<AtomicBool>,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read", .path.display())]
pub struct RecentError {
    path: PathBuf,
    source: rusqlite::Error,
}

impl Recent {
    /// The one in the data directory `dir`.
    pub fn of(dir: &Path) -> Self {
        Self { path: dir.join(FILE).into(), is_hurt: Arc::default() }
    }

    /// The windows of `device` that end from `from` to `to`, both inclusive, with their sessions; ascending by end, then by
    /// session. At most `limit`, but never one without the others of the same end: the next page begins behind the last end.
    /// None of a device that is not known.
    pub fn windows(
        &self,
        device: &str,
        from: i64,
        to: i64,
        limit: usize,
    ) -> Result<Vec<(String, Window)>, RecentError> {
        self.read(Vec::new(), |connection| {
            let sql = "SELECT name, ends, length, count, mean, closed.activity, closed.confidence, revision
                       FROM closed JOIN session ON session.id = closed.session
                       WHERE closed.phone = (SELECT id FROM phone WHERE device = ?1) AND ends BETWEEN ?2 AND ?3
                       ORDER BY ends, closed.session";
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query(params![device, from, to])?;
            let mut found: Vec<(String, Window)> = Vec::new();
            while let Some(row) = rows.next()? {
                let window = window(row)?;
                if found.len() >= limit && found.last().is_none_or(|(_, last)| last.end != window.end) {
                    break;
                }
                found.push((row.get("name")?, window));
            }
            Ok(found)
        })
    }

    /// What `device` did between `from` and `to`, in order: each window stands for the last slide of its span, as far as
    /// readings go through it; neighbours of the same activity are one. Of several recordings at one moment the window with most readings counts.
    pub fn activities(&self, device: &str, from: i64, to: i64) -> Result<Vec<Stretch>, RecentError> {
        self.read(Vec::new(), |connection| {
            let sql = "SELECT ends, slide, activity, confidence, covered FROM closed
                       WHERE phone = (SELECT id FROM phone WHERE device = ?1) AND ends > ?2 AND ends < ?4 AND ends - slide < ?3
                         AND ends - slide + covered > ?2
                       ORDER BY ends, count DESC, session";
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query(params![device, from, to, to.saturating_add(LONGEST)])?;
            let (mut run, mut told) = (Stretches::default(), Vec::new());
            while let Some(row) = rows.next()? {
                let start = row.get::<_, i64>(0)?.saturating_sub(row.get(1)?);
                let end = start.saturating_add(row.get(4)?);
                let (activity, confidence) = (activity(row.get(2)?)?, row.get(3)?);
                told.extend(run.push(Slice { activity, start: start.max(from), end: end.min(to), confidence }));
            }
            told.extend(run.finish());
            Ok(told)
        })
    }

    /// The greatest end of a window of `device`; none if there is none.
    pub fn newest(&self, device: &str) -> Result<Option<i64>, RecentError> {
        self.read(None, |connection| {
            let sql = "SELECT max(ends) FROM closed WHERE phone = (SELECT id FROM phone WHERE device = ?1)";
            connection.query_row(sql, [device], |row| row.get(0))
        })
    }

    /// What each phone did last, by `deviceId`: in the recording that ended last by its clock.
    pub fn doings(&self) -> Result<Vec<(String, Doing)>, RecentError> {
        self.read(Vec::new(), |connection| {
            // Of a group SQLite gives the row that has the greatest.
            let sql = "SELECT device, name, activity, since, max(until) AS until, confidence
                       FROM session JOIN phone ON phone.id = session.phone WHERE activity IS NOT NULL GROUP BY phone.id";
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                found.push((row.get("device")?, Doing { session: row.get("name")?, stretch: as_stretch(row)? }));
            }
            Ok(found)
        })
    }

    /// Reads in one snapshot; `nothing` where there is no file, or one that will be begun anew.
    fn read<T>(&self, nothing: T, ask: impl FnOnce(&Connection) -> rusqlite::Result<T>) -> Result<T, RecentError> {
        if self.is_hurt.load(Ordering::Relaxed) {
            return Ok(nothing);
        }
        let answer =
            schema::open_to_read(&self.path).and_then(|opened| opened.map(|connection| ask(&connection)).transpose());
        match answer {
            Ok(answer) => Ok(answer.unwrap_or(nothing)),
            Err(error) if damage::of(&error).is_some() => {
                tracing::debug!(%error, path = %self.path.display(), "today's windows cannot be read");
                self.is_hurt.store(true, Ordering::Relaxed);
                Ok(nothing)
            }
            Err(source) => Err(RecentError { path: self.path.to_path_buf(), source }),
        }
    }
}

fn window(row: &Row<'_>) -> rusqlite::Result<Window> {
    let end: i64 = row.get("ends")?;
    Ok(Window {
        start: end.saturating_sub(row.get("length")?),
        end,
        count: row.get::<_, i64>("count")?.cast_unsigned(),
        mean: row.get("mean")?,
        activity: activity(row.get("activity")?)?,
        confidence: row.get("confidence")?,
        revision: row.get("revision")?,
    })
}

/// As `number` says it.
fn activity(number: i64) -> rusqlite::Result<Activity> {
    let all = [Activity::Stationary, Activity::Walking, Activity::Running, Activity::Sprinting];
    let found = usize::try_from(number).ok().and_then(|number| all.get(number));
    found.copied().ok_or(rusqlite::Error::IntegralValueOutOfRange(0, number))
}

/// As it is stored.
fn number(activity: Activity) -> i64 {
    match activity {
        Activity::Stationary => 0,
        Activity::Walking => 1,
        Activity::Running => 2,
        Activity::Sprinting => 3,
    }
}

/// What was done last in the recording with this row id.
fn stretch(connection: &Connection, recording: i64) -> rusqlite::Result<Option<Stretch>> {
    let sql = "SELECT activity, since, until, confidence FROM session WHERE id = ?1 AND activity IS NOT NULL";
    connection.prepare_cached(sql)?.query_row([recording], as_stretch).optional()
}

fn as_stretch(row: &Row<'_>) -> rusqlite::Result<Stretch> {
    let activity = activity(row.get("activity")?)?;
    Ok(Stretch { activity, start: row.get("since")?, end: row.get("until")?, confidence: row.get("confidence")? })
}
