//! What a batch of closed windows changes in the file, and what goes so that it stays small.
//!
//! - One batch, one transaction.
//! - A window that is told again, or of a higher revision, takes the place of the former.
//! - However many devices and recordings a stranger makes up, phones, recordings and windows are bounded: the phone with fewest
//!   windows makes room for a new one, the phone with most for more windows, a phone's oldest recording for its next.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use gaitway_proto::activity::Window;
use rusqlite::{Connection, OptionalExtension as _, Result, Transaction, TransactionBehavior, params};

use super::{KEPT, number, stretch};
use crate::status::KILLED;
use crate::stretches::{Slice, Stretches};
use crate::writer::news::Closing;

/// Phones kept at most.
pub const MAX_PHONES: usize = 256;

/// Recordings kept of one phone at most.
pub const MAX_SESSIONS: usize = 64;

/// Windows kept at most: of four phones that never pause, all of two days.
pub const MAX_WINDOWS: u64 = 360_000;

/// So many more go at once where there are too many.
const SLACK: u64 = 2_000;

/// Recordings known to have been told of since this start.
const RECORDINGS: usize = 4 * MAX_PHONES;

/// How often windows are looked for that are no longer of these days.
const TIDY: Duration = Duration::from_secs(600);

/// Windows of one recording that one message, or silence, closed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Told {
    pub(crate) device: String,
    pub(crate) session: String,
    pub(crate) closed: Vec<Closing>,
}

/// The file while it is written.
#[derive(Debug)]
pub(super) struct Store {
    connection: Connection,
    /// Recordings told of since this start.
    present: BTreeSet<i64>,
    /// Phones to look at when it is tidied next.
    touched: BTreeSet<i64>,
    tidy_at: Option<Instant>,
    most: u64,
}

impl Store {
    /// Of an open file that keeps `most` windows.
    pub(super) fn new(connection: Connection, most: u64) -> Self {
        connection.set_prepared_statement_cache_capacity(16);
        Self { connection, present: BTreeSet::new(), touched: BTreeSet::new(), tidy_at: None, most }
    }

    /// Keeps a batch; all of it or nothing.
    pub(super) fn keep(&mut self, batch: &[Told], now: Instant) -> Result<()> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let (mut told, mut recordings) = (BTreeSet::new(), BTreeSet::new());
        for Told { device, session, closed } in batch {
            let Some(last) = closed.last() else { continue };
            let phone = phone(&transaction, device)?;
            let recording = recording(&transaction, phone, session)?;
            let mut fresh = 0;
            for closing in closed {
                fresh += u64::from(insert(&transaction, phone, recording, closing)?);
            }
            transaction
                .prepare_cached("UPDATE phone SET windows = windows + ?2, told = ?3 WHERE id = ?1")?
                .execute(params![phone, fresh.cast_signed(), last.window.end])?;
            let is_present = self.present.contains(&recording) || !recordings.insert(recording);
            go_on(&transaction, recording, closed, if is_present { 0 } else { KILLED })?;
            told.insert(phone);
        }
        let is_due = self.tidy_at.is_none_or(|at| now >= at);
        let touched: BTreeSet<i64> = self.touched.union(&told).copied().collect();
        if is_due {
            touched.iter().try_for_each(|phone| tidy(&transaction, *phone))?;
        }
        make_room(&transaction, self.most)?;
        transaction.commit()?;
        if is_due {
            self.tidy_at = Some(now + TIDY);
        }
        self.touched = if is_due { BTreeSet::new() } else { touched };
        self.present.append(&mut recordings);
        // Those that made room for others are known no longer.
        while self.present.len() > RECORDINGS {
            self.present.pop_first();
        }
        Ok(())
    }
}

/// The row of a device, made if it is new.
fn phone(rows: &Transaction<'_>, device: &str) -> Result<i64> {
    let found = rows.prepare_cached("SELECT id FROM phone WHERE device = ?1")?.query_row([device], |row| row.get(0));
    if let Some(id) = found.optional()? {
        return Ok(id);
    }
    let phones: i64 = rows.query_row("SELECT count(*) FROM phone", [], |row| row.get(0))?;
    if phones >= MAX_PHONES as i64 {
        let fewest: i64 = rows.query_row("SELECT id FROM phone ORDER BY windows, id LIMIT 1", [], |row| row.get(0))?;
        forget(rows, fewest)?;
    }
    rows.execute("INSERT INTO phone(device) VALUES(?1)", [device])?;
    Ok(rows.last_insert_rowid())
}

/// Deletes a phone and all that is kept of it.
pub(super) fn forget(rows: &Transaction<'_>, phone: i64) -> Result<()> {
    rows.execute("DELETE FROM closed WHERE phone = ?1", [phone])?;
    rows.execute("DELETE FROM session WHERE phone = ?1", [phone])?;
    rows.execute("DELETE FROM phone WHERE id = ?1", [phone]).map(drop)
}

/// The row of a phone's recording, made if it is new.
fn recording(rows: &Transaction<'_>, phone: i64, session: &str) -> Result<i64> {
    let found = rows
        .prepare_cached("SELECT id FROM session WHERE phone = ?1 AND name = ?2")?
        .query_row(params![phone, session], |row| row.get(0));
    if let Some(id) = found.optional()? {
        return Ok(id);
    }
    let (recordings, oldest): (i64, Option<i64>) =
        rows.query_row("SELECT count(*), min(id) FROM session WHERE phone = ?1", [phone], |row| {
            Ok((row.get(0)?, row.get(1)?))
        })?;
    if recordings >= MAX_SESSIONS as i64 {
        let gone = rows.execute("DELETE FROM closed WHERE phone = ?1 AND session = ?2", params![phone, oldest])?;
        rows.execute("DELETE FROM session WHERE id = ?1", params![oldest])?;
        rows.execute("UPDATE phone SET windows = windows - ?2 WHERE id = ?1", params![phone, gone as i64])?;
    }
    rows.execute("INSERT INTO session(phone, name) VALUES(?1, ?2)", params![phone, session])?;
    Ok(rows.last_insert_rowid())
}

/// Whether the window is new here.
fn insert(rows: &Transaction<'_>, phone: i64, recording: i64, closing: &Closing) -> Result<bool> {
    let Closing { window, slide, covered } = closing;
    let Window { start, end, count, mean, activity, confidence, revision } = *window;
    let what = params![
        phone,
        end,
        recording,
        end - start,
        slide,
        count.cast_signed(),
        mean,
        number(activity),
        confidence,
        revision,
        covered
    ];
    let sql = "INSERT OR IGNORE INTO
               closed(phone, ends, session, length, slide, count, mean, activity, confidence, revision, covered)
               VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    if rows.prepare_cached(sql)?.execute(what)? > 0 {
        return Ok(true);
    }
    let sql = "UPDATE closed SET length = ?4, slide = ?5, count = ?6, mean = ?7, activity = ?8, confidence = ?9,
               revision = ?10, covered = ?11 WHERE phone = ?1 AND ends = ?2 AND session = ?3 AND revision <= ?10";
    rows.prepare_cached(sql)?.execute(what)?;
    Ok(false)
}

/// Notes what a phone does in a recording; across `gap` ns that a kill may have cost. Another recording's pushes, which may
/// come between, change nothing of it.
fn go_on(rows: &Transaction<'_>, recording: i64, closed: &[Closing], gap: i64) -> Result<()> {
    let mut run = stretch(rows, recording)?.map_or_else(Stretches::default, Stretches::from);
    let mut gap = gap;
    for Closing { window, slide, .. } in closed {
        run.push_across(Slice::of(window, *slide), std::mem::take(&mut gap));
    }
    let Some(now) = run.finish() else { return Ok(()) };
    rows.prepare_cached("UPDATE session SET activity = ?2, since = ?3, until = ?4, confidence = ?5 WHERE id = ?1")?
        .execute(params![recording, number(now.activity), now.start, now.end, now.confidence])
        .map(drop)
}

/// Deletes what is too far from the last window of a phone, and its recordings without windows.
fn tidy(rows: &Transaction<'_>, phone: i64) -> Result<()> {
    let told = rows.query_row("SELECT told FROM phone WHERE id = ?1", [phone], |row| row.get::<_, i64>(0));
    let Some(told) = told.optional()? else { return Ok(()) };
    let kept = i64::try_from(KEPT.as_nanos()).unwrap_or(i64::MAX);
    let (from, to) = (told.saturating_sub(kept), told.saturating_add(kept));
    rows.execute("DELETE FROM closed WHERE phone = ?1 AND ends < ?2", params![phone, from])?;
    rows.execute("DELETE FROM closed WHERE phone = ?1 AND ends > ?2", params![phone, to])?;
    let sql = "DELETE FROM session WHERE phone = ?1 AND id NOT IN (SELECT session FROM closed WHERE phone = ?1)";
    rows.execute(sql, [phone])?;
    let sql = "UPDATE phone SET windows = (SELECT count(*) FROM closed WHERE phone = ?1) WHERE id = ?1";
    rows.execute(sql, [phone]).map(drop)
}

/// Deletes the oldest windows of whoever has most, until there are no more than `most`.
fn make_room(rows: &Transaction<'_>, most: u64) -> Result<()> {
    loop {
        let all: i64 = rows.query_row("SELECT ifnull(sum(windows), 0) FROM phone", [], |row| row.get(0))?;
        let surplus = all.cast_unsigned().saturating_sub(most);
        if surplus == 0 {
            return Ok(());
        }
        let sql = "SELECT id FROM phone ORDER BY windows DESC, id LIMIT 1";
        let greatest: i64 = rows.query_row(sql, [], |row| row.get(0))?;
        let surplus = (surplus.min(SLACK) + SLACK.min(most / 16)).cast_signed();
        let sql = "DELETE FROM closed WHERE phone = ?1 AND (ends, session) IN
                   (SELECT ends, session FROM closed WHERE phone = ?1 ORDER BY ends LIMIT ?2)";
        let gone = rows.execute(sql, params![greatest, surplus])?;
        if gone == 0 {
            // The count is not what is there.
            tidy(rows, greatest)?;
        }
        rows.execute("UPDATE phone SET windows = windows - ?2 WHERE id = ?1", params![greatest, gone as i64])?;
    }
}
