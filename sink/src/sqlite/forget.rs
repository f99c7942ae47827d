//! Deletes one device's rows from a warehouse that nobody writes to, for good.
//!
//! - Rows go in bounded steps, each one transaction; what was begun and interrupted is finished by the next run.
//! - A step that deletes rows tells in `GAPS`, in the same transaction, how many of which stream: never whose. A run has a
//!   row of its own for each stream: up to its last seq, what another run deletes may still be there.
//! - By how many rowids the first reading moved is noted there too (`front` of its name): those were not deleted by age.
//! - No mark names a row that is deleted: it goes on by its checksum alone, as a mark without rows.
//! - The highest rowid may be given again: the marks of ages are cut to what is left, so that no fresh row looks old.
//! - What is deleted is overwritten, and the file written anew (`rewriting.rs`): what SQLite moved about inside it
//!   before goes too.

use std::path::Path;

use gaitway_proto::forgotten;
use gaitway_proto::schema::{self, GAPS, RAW, RECORD_METADATA, Table};
use gaitway_service::{clock, file_bytes};
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, Transaction, TransactionBehavior, params};
use serde_json::json;

use super::marks::{self, Kept, Spans};
use super::opening::{self, Missing};
use super::rewriting::Rewriting;
use super::{aside, trouble};
use crate::forgetting::{Held, TABLES};

/// Rowids of a step.
const STEP: i64 = 20_000;

/// How far a look or a deletion is: rows passed, rows in all, for people who wait.
pub type Progress<'a> = &'a mut dyn FnMut(u64, u64);

/// What there is of `device` in the warehouse at `path`; others may be using it. The error is a sentence.
pub fn look(path: &Path, device: &str, progress: Progress<'_>) -> Result<Held, String> {
    roll_back(path);
    let conn = opening::inspect(path).map_err(|error| error.to_string())?;
    let mut held = Held::default();
    let counted = each_step(&conn, progress, |table, first, last| {
        let sql =
            format!("SELECT count(*) FROM {} NOT INDEXED WHERE rowid BETWEEN ?1 AND ?2 AND deviceId = ?3", table.name);
        let count: i64 = conn.prepare_cached(&sql)?.query_row(params![first, last, device], |row| row.get(0))?;
        *held.of(table) += count.cast_unsigned();
        Ok(())
    });
    counted.map_err(|error| trouble::sentence(path, &error))?;
    Ok(held)
}

/// Undoes what a run before was killed at while it took the log away: in the middle of that a file cannot be read by who does not write.
/// A warehouse in use has no such journal.
fn roll_back(path: &Path) {
    let Ok(path) = path.canonicalize() else { return };
    let mut journal = path.clone().into_os_string();
    journal.push("-journal");
    if Path::new(&journal).exists() {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let read =
            |conn: Connection| conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get::<_, i64>(0));
        // What is wrong then is told by who looks.
        let _ = Connection::open_with_flags(&path, flags).and_then(read);
    }
}

/// Whether a deletion from the warehouse at `path` did not come to its end: rows may be gone and their bytes still there.
pub fn is_unfinished(path: &Path) -> bool {
    path.canonicalize().is_ok_and(|path| Rewriting::of(&path).is_due())
}

/// Deletes everything of `device` from the warehouse at `path`, whose directory the caller has locked; gives what there
/// was. The error is a sentence.
pub fn forget(path: &Path, device: &str, progress: Progress<'_>) -> Result<Held, String> {
    // The log lies beside the file itself.
    let path = &path.canonicalize().map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
    aside::finish(path).map_err(|error| error.to_string())?;
    let (conn, _) = opening::open(path, Missing::Refuse).map_err(|error| error.to_string())?;
    let mut rewriting = Rewriting::of(path);
    let held = delete(&conn, device, &mut rewriting, progress)?;
    let failed = |error: rusqlite::Error| trouble::sentence(path, &error);
    if !super::log::empty_log(&conn).map_err(failed)? {
        return Err(rewriting.later("a program that reads it is in the way: close it"));
    }
    let mut is_due = rewriting.is_due();
    if !is_due {
        // Somebody else may have deleted rows before.
        is_due = file_bytes::hold(path, device.as_bytes(), |_| {})
            .map_err(|error| format!("{} cannot be read: {error}", path.display()))?;
    }
    if is_due {
        rewriting.run(conn)?;
    }
    Ok(held)
}

fn delete(conn: &Connection, device: &str, rewriting: &mut Rewriting, progress: Progress<'_>) -> Result<Held, String> {
    let path = rewriting.path().to_owned();
    let failed = |error: rusqlite::Error| trouble::sentence(&path, &error);
    conn.pragma_update(None, "secure_delete", true).map_err(failed)?;
    unname_rows(conn, device).map_err(failed)?;
    let now = schema::rfc3339(clock::now_micros().saturating_mul(1000));
    let (mut held, mut unmarked) = (Held::default(), None);
    let deleted = each_step(conn, progress, |table, first, last| {
        let step = Step { table, first, last, device };
        if !step.has_rows(conn)? {
            return Ok(());
        }
        // Before the first row goes: who comes after a crash knows that the file must be written anew.
        if unmarked.is_none() {
            unmarked = Some(rewriting.mark());
        }
        if let Some(Err(_)) = unmarked {
            return Ok(());
        }
        let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        step.tell(&transaction, &now)?;
        let before = first_reading(&transaction)?;
        let rows = step.delete(&transaction)?;
        tell_front(&transaction, before, &now)?;
        transaction.execute(
            "UPDATE gaitway_ages SET lastRow = (SELECT ifnull(max(rowid), 0) FROM ACTIVITY_RECORDS)
             WHERE lastRow > (SELECT ifnull(max(rowid), 0) FROM ACTIVITY_RECORDS)",
            [],
        )?;
        transaction.commit()?;
        *held.of(table) += rows;
        Ok(())
    });
    deleted.map_err(failed)?;
    unmarked.unwrap_or(Ok(())).map(|()| held)
}

fn first_reading(conn: &Connection) -> rusqlite::Result<Option<i64>> {
    conn.query_row(&format!("SELECT min(rowid) FROM {}", RAW.name), [], |row| row.get(0))
}

/// Notes by how much the first reading, which was at `before`, was moved.
fn tell_front(conn: &Connection, before: Option<i64>, now: &str) -> rusqlite::Result<()> {
    let (gaps, name) = (GAPS.name, RECORD_METADATA);
    match (before, first_reading(conn)?) {
        (Some(before), Some(after)) if after > before => {
            let sql = format!(
                "UPDATE {gaps} SET {name} = json_set({name}, '$.front', ifnull(json_extract({name}, '$.front'), 0) + ?1)
                 WHERE rowid = (SELECT max(rowid) FROM {gaps} WHERE reason = ?2 AND noticedAt = ?3 AND stream = 'raw')"
            );
            conn.execute(&sql, params![after - before, forgotten::ROWS, now]).map(drop)
        }
        // Rowids begin anew.
        (Some(_), None) => {
            let sql = format!("UPDATE {gaps} SET {name} = json_remove({name}, '$.front') WHERE reason = ?1");
            conn.execute(&sql, [forgotten::ROWS]).map(drop)
        }
        _ => Ok(()),
    }
}

/// Calls `visit` with the first and last rowid of every step through the tables.
fn each_step(
    conn: &Connection,
    progress: Progress<'_>,
    mut visit: impl FnMut(&'static Table, i64, i64) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut spans = Vec::new();
    for table in TABLES {
        let edge = |of| {
            let sql = format!("SELECT {of}(rowid) FROM {}", table.name);
            conn.query_row(&sql, [], |row| row.get::<_, Option<i64>>(0))
        };
        spans.extend(edge("min")?.zip(edge("max")?).map(|(first, last)| (table, first, last)));
    }
    let all = spans.iter().map(|(_, first, last)| last.abs_diff(*first) + 1).sum();
    let mut passed = 0;
    for (table, mut first, end) in spans {
        while first <= end {
            let last = first.saturating_add(STEP - 1).min(end);
            visit(table, first, last)?;
            passed += last.abs_diff(first) + 1;
            progress(passed, all);
            let Some(next) = last.checked_add(1) else { break };
            first = next;
        }
    }
    Ok(())
}

/// Makes every mark whose last commit has a row of `device` one without rows.
fn unname_rows(conn: &Connection, device: &str) -> rusqlite::Result<()> {
    let mut named = Vec::new();
    marks::each(conn, false, |kept| named.extend(kept.ok().filter(|kept| kept.rows.is_some())))?;
    let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
    for kept in named {
        let spans = kept.rows.as_deref().and_then(|rows| serde_json::from_str::<Spans>(rows).ok()).unwrap_or_default();
        let mut is_of_device = false;
        for (name, (first, last)) in spans {
            let Some(table) = TABLES.into_iter().find(|table| table.name == name) else { continue };
            is_of_device |= Step { table, first, last, device }.has_rows(conn)?;
        }
        if is_of_device {
            let position = kept.position;
            Kept { rows: None, ..kept }.replace(conn, position)?;
        }
    }
    transaction.commit()
}

/// Some rowids of a table.
struct Step<'a> {
    table: &'static Table,
    first: i64,
    last: i64,
    device: &'a str,
}

/// What a step deletes of one stream.
struct Part {
    agent: String,
    epoch: String,
    stream: String,
    from: i64,
    to: i64,
    frames: i64,
    rows: i64,
}

impl Step<'_> {
    /// No index: one by device would lead past the step.
    fn which(&self) -> String {
        format!("FROM {} NOT INDEXED WHERE rowid BETWEEN ?1 AND ?2 AND deviceId = ?3", self.table.name)
    }

    fn has_rows(&self, conn: &Connection) -> rusqlite::Result<bool> {
        let sql = format!("SELECT EXISTS(SELECT 1 {})", self.which());
        conn.prepare_cached(&sql)?.query_row(params![self.first, self.last, self.device], |row| row.get(0))
    }

    fn delete(&self, conn: &Connection) -> rusqlite::Result<u64> {
        let sql = format!("DELETE {}", self.which());
        conn.prepare_cached(&sql)?.execute(params![self.first, self.last, self.device]).map(|rows| rows as u64)
    }

    /// Notes what goes, stream by stream, beside what this run deleted before.
    fn tell(&self, conn: &Connection, now: &str) -> rusqlite::Result<()> {
        let part = |key: &str| format!("json_extract({RECORD_METADATA}, '$.{key}')");
        let [agent, epoch, stream, seq, index] = ["agent", "epoch", "stream", "seq", "index"].map(part);
        let sql = format!(
            "SELECT {agent}, {epoch}, {stream}, min({seq}), max({seq}), sum({index} = 0), count(*) {}
             AND {agent} IS NOT NULL AND {epoch} IS NOT NULL AND {stream} IS NOT NULL AND {seq} IS NOT NULL
             GROUP BY 1, 2, 3",
            self.which()
        );
        let mut statement = conn.prepare_cached(&sql)?;
        let mut parts = statement.query_map(params![self.first, self.last, self.device], |row| {
            Ok(Part {
                agent: row.get(0)?,
                epoch: row.get(1)?,
                stream: row.get(2)?,
                from: row.get(3)?,
                to: row.get(4)?,
                frames: row.get::<_, Option<i64>>(5)?.unwrap_or(0),
                rows: row.get(6)?,
            })
        })?;
        parts.try_for_each(|part| part.and_then(|part| part.tell(conn, now)))
    }
}

impl Part {
    fn tell(&self, conn: &Connection, now: &str) -> rusqlite::Result<()> {
        let Self { agent, epoch, stream, from, to, frames, rows } = self;
        let told = format!(
            "SELECT rowid, fromSeq FROM {} WHERE reason = ?1 AND agentId = ?2 AND epoch = ?3 AND stream = ?4
             AND noticedAt = ?5",
            GAPS.name
        );
        let known = conn
            .prepare_cached(&told)?
            .query_row(params![forgotten::ROWS, agent, epoch, stream, now], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let first = known.map_or(*from, |(_, first): (i64, i64)| first.min(*from));
        if let Some((row, _)) = known {
            let sql = format!(
                "UPDATE {} SET {RECORD_METADATA} = json_set({RECORD_METADATA}, '$.seq', ?2), fromSeq = ?2,
                        toSeq = max(toSeq, ?3), messages = messages + ?4, readings = readings + ?5 WHERE rowid = ?1",
                GAPS.name
            );
            return conn.prepare_cached(&sql)?.execute(params![row, first, to, frames, rows]).map(drop);
        }
        let columns = GAPS.columns().collect::<Vec<_>>().join(", ");
        let name = json!({"agent": agent, "epoch": epoch, "stream": stream, "seq": first, "index": 0}).to_string();
        let sql = format!("INSERT INTO {} ({columns}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)", GAPS.name);
        conn.prepare_cached(&sql)?
            .execute(params![name, agent, epoch, stream, first, to, frames, rows, forgotten::ROWS, now])
            .map(drop)
    }
}
