//! The spool's statements. None begins or ends a transaction: the writer does.

use std::collections::VecDeque;
use std::time::Duration;

use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::message::MAX_MESSAGE_ID;
use gaitway_proto::topic::AgentId;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::queue::{MAX_ORDINAL, MAX_SEQ, Moved, Positions, Queue, checksum, row_id, seq_of};
use crate::seen::{Body, Change, Seen};

type Result<T> = rusqlite::Result<T>;

/// One (device, session) as stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct SessionRow {
    pub id: i64,
    pub device: String,
    pub session: String,
    pub windows: Vec<u8>,
    pub open: bool,
    pub messages: u64,
    pub readings: u64,
    pub conflicts: u64,
    pub late: u64,
    pub wild: u64,
    /// Microseconds since the Unix epoch; 0 if the agent's wall clock was not synchronised then.
    pub heard_at: i64,
}

/// What [`Rows::drop_raw`] dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Bytes of frames.
    pub bytes: u64,
    /// Pushes.
    pub messages: u64,
    /// Readings in them.
    pub readings: u64,
}

struct Gap {
    span: u64,
    messages: u64,
    readings: u64,
}

/// Pages of the file, bytes.
#[derive(Debug, Clone, Copy)]
pub struct Pages {
    /// All, also those that are still in the log.
    pub all: u64,
    /// Those free inside it.
    pub free: u64,
}

/// The rows of a [`Connection`].
#[derive(Debug)]
pub struct Rows<'c>(pub &'c Connection);

impl Rows<'_> {
    /// The agent id kept here; `fresh` is kept if there is none.
    pub fn agent(&self, fresh: impl FnOnce() -> AgentId) -> Result<AgentId> {
        let kept: Option<String> = self.0.query_row("SELECT id FROM agent", [], |row| row.get(0)).optional()?;
        if let Some(id) = kept.and_then(|id| id.parse().ok()) {
            return Ok(id);
        }
        let id = fresh();
        self.set_agent(&id)?;
        Ok(id)
    }

    /// Whether an agent's id is kept here: a new file has none.
    pub fn has_agent(&self) -> Result<bool> {
        self.0.query_row("SELECT EXISTS(SELECT 1 FROM agent)", [], |row| row.get(0))
    }

    /// Keeps `id` as the agent's.
    pub fn set_agent(&self, id: &AgentId) -> Result<()> {
        match self.0.execute("UPDATE agent SET id = ?1", [id.as_str()])? {
            0 => self.0.execute("INSERT INTO agent(id) VALUES(?1)", [id.as_str()]).map(drop),
            _ => Ok(()),
        }
    }

    /// The last start that found this data directory to be a copy.
    pub fn copied(&self) -> Result<Option<u64>> {
        let copied = self.0.query_row("SELECT copied FROM agent", [], |row| row.get::<_, Option<i64>>(0));
        Ok(copied.optional()?.flatten().map(|ordinal| ordinal as u64))
    }

    /// Whether this file took the place of another.
    pub fn replaced(&self) -> Result<bool> {
        let replaced = self.0.query_row("SELECT replaced FROM agent", [], |row| row.get(0));
        Ok(replaced.optional()?.unwrap_or(false))
    }

    /// Keeps that this file took the place of another.
    pub fn set_replaced(&self) -> Result<()> {
        self.0.execute("UPDATE agent SET replaced = 1", []).map(drop)
    }

    /// Keeps the start that found this data directory to be a copy.
    pub fn set_copied(&self, ordinal: u64) -> Result<()> {
        self.0.execute("UPDATE agent SET copied = ?1", [ordinal as i64]).map(drop)
    }

    /// Names a new start and gives its queue. `tracked`: this start keeps its sent marks; what an untracked one left may
    /// all have been sent.
    pub fn begin_start(&self, epoch: Epoch, started_at: &str, tracked: bool) -> Result<Queue> {
        self.begin_start_after(0, epoch, started_at, tracked)
    }

    /// [`begin_start`](Self::begin_start) with an ordinal above `least`, which another file's starts had.
    pub fn begin_start_after(&self, least: u64, epoch: Epoch, started_at: &str, tracked: bool) -> Result<Queue> {
        let last: i64 = self.0.query_row("SELECT ifnull(max(ordinal), 0) FROM start", [], |row| row.get(0))?;
        let ordinal = last.max(least as i64).saturating_add(1);
        if ordinal as u64 > MAX_ORDINAL {
            return Err(rusqlite::Error::IntegralValueOutOfRange(0, ordinal));
        }
        self.0.execute(
            "INSERT INTO start(ordinal, epoch, startedAt, tracked, checksum) VALUES(?1, ?2, ?3, ?4, ?5)",
            params![ordinal, epoch.get() as i64, started_at, tracked, checksum(ordinal as u64, epoch)],
        )?;
        let mut queue = Queue::new(ordinal as u64, epoch);
        let mut starts =
            self.0.prepare("SELECT ordinal, epoch, tracked, welcomed, salvaged FROM start WHERE ordinal < ?1")?;
        let mut rows = starts.query([ordinal])?;
        while let Some(row) = rows.next()? {
            let (ordinal, epoch) = (row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64);
            for stream in Stream::ALL {
                let mut positions = self.positions(ordinal, stream)?;
                if !row.get::<_, bool>(2)? {
                    positions.sent = positions.next - 1;
                }
                queue.restore(ordinal, Epoch::from_random(epoch), stream, positions);
            }
            if row.get(3)? {
                queue.note_welcomed(ordinal);
            }
            if row.get(4)? {
                queue.note_salvaged(ordinal);
            }
        }
        Ok(queue)
    }

    /// Where a stream of an earlier start stands.
    pub fn standing(&self, ordinal: u64, stream: Stream) -> Result<Moved> {
        self.positions(ordinal, stream).map(|positions| Moved { ordinal, stream, positions })
    }

    fn positions(&self, ordinal: u64, stream: Stream) -> Result<Positions> {
        let marks = self.0.query_row(
            "SELECT acked, sent FROM stream WHERE ordinal = ?1 AND stream = ?2",
            params![ordinal as i64, stream.as_str()],
            |row| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, i64>(1)? as u64)),
        );
        let (acked, sent) = marks.optional()?.unwrap_or((0, 0));
        let last: Option<(i64, i64)> = self
            .0
            .query_row(
                &format!("SELECT id, span FROM {stream} WHERE id BETWEEN ?1 AND ?2 ORDER BY id DESC LIMIT 1"),
                [row_id(ordinal, 0), row_id(ordinal + 1, 0) - 1],
                |row| Ok((row.get(0)?, row.get(1)?)),
            )
            .optional()?;
        let next = last.map_or(1, |(id, span)| seq_of(id).saturating_add(span as u64));
        let positions = Positions { acked, sent: sent.max(acked), next: next.max(acked.saturating_add(1)) };
        // Beyond the seqs that a row id can hold there is only damage.
        if positions.sent.max(positions.next) > MAX_SEQ {
            return Err(rusqlite::Error::IntegralValueOutOfRange(0, positions.next as i64));
        }
        Ok(positions)
    }

    /// Keeps the marks of a stream.
    pub fn set_positions(&self, moved: Moved) -> Result<()> {
        let Moved { ordinal, stream, positions } = moved;
        self.0
            .prepare_cached("INSERT OR REPLACE INTO stream VALUES(?1, ?2, ?3, ?4)")?
            .execute(params![ordinal as i64, stream.as_str(), positions.acked as i64, positions.sent as i64])
            .map(drop)
    }

    /// Keeps that a relay welcomed a start.
    pub fn set_welcomed(&self, ordinal: u64) -> Result<()> {
        self.0.execute("UPDATE start SET welcomed = 1 WHERE ordinal = ?1", [ordinal as i64]).map(drop)
    }

    /// Forgets a drained start.
    pub fn forget_start(&self, ordinal: u64) -> Result<()> {
        self.0.execute("DELETE FROM stream WHERE ordinal = ?1", [ordinal as i64])?;
        self.0.execute("DELETE FROM start WHERE ordinal = ?1", [ordinal as i64]).map(drop)
    }

    /// Stores a raw frame.
    pub fn insert_raw(&self, id: i64, readings: u32, frame: &[u8]) -> Result<()> {
        self.0
            .prepare_cached("INSERT INTO raw(id, span, messages, readings, frame) VALUES(?1, 1, 1, ?2, ?3)")?
            .execute(params![id, readings, frame])
            .map(drop)
    }

    /// When the first push was accepted that a start still has from `seq` on, microseconds since the Unix epoch; none if
    /// the wall clock was not synchronised then, or the frame is damaged.
    pub fn received_at(&self, ordinal: u64, seq: u64) -> Result<Option<i64>> {
        let sql = "SELECT frame FROM raw WHERE id BETWEEN ?1 AND ?2 AND frame IS NOT NULL ORDER BY id LIMIT 1";
        let ids = [row_id(ordinal, seq), row_id(ordinal + 1, 0) - 1];
        let frame: Option<Vec<u8>> = self.0.prepare_cached(sql)?.query_row(ids, |row| row.get(0)).optional()?;
        let header = frame.and_then(|frame| Frame::header_in(&frame).ok());
        Ok(header.filter(|header| header.clock_synced).map(|header| header.received_at))
    }

    /// Stores an activity frame; `inherited` if its windows may have been opened before this start.
    pub fn insert_activity(&self, id: i64, inherited: bool, frame: &[u8]) -> Result<()> {
        self.0
            .prepare_cached("INSERT INTO activity(id, inherited, frame) VALUES(?1, ?2, ?3)")?
            .execute(params![id, inherited, frame])
            .map(drop)
    }

    /// The inherited activity frames of the start `first` and those after it.
    pub fn inherited(&self, first: u64) -> Result<Vec<(i64, Vec<u8>)>> {
        let mut statement = self.0.prepare("SELECT id, frame FROM activity WHERE inherited AND id >= ?1")?;
        let rows = statement.query_map([row_id(first, 0)], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    }

    /// Puts another frame under the name of an activity frame; it counts as this start's own from now on.
    pub fn replace_activity(&self, id: i64, frame: &[u8]) -> Result<()> {
        self.0.execute("UPDATE activity SET inherited = 0, frame = ?2 WHERE id = ?1", params![id, frame]).map(drop)
    }

    /// Deletes at most `limit` acknowledged rows of a stream; true if there may be more. A gap goes once all of it is.
    pub fn delete_acknowledged(&self, moved: Moved, limit: usize) -> Result<bool> {
        let Moved { ordinal, stream, positions } = moved;
        let deleted = self
            .0
            .prepare_cached(&format!(
                "DELETE FROM {stream} WHERE id IN
                 (SELECT id FROM {stream} WHERE id BETWEEN ?1 AND ?2 AND id + span - 1 <= ?2 ORDER BY id LIMIT ?3)"
            ))?
            .execute(params![row_id(ordinal, 0), row_id(ordinal, positions.acked), limit as i64])?;
        Ok(deleted == limit)
    }

    /// Drops the oldest raw rows between two seqs of a start until `need` bytes are freed, and leaves one gap in their
    /// place; what was a gap before becomes part of it.
    pub fn drop_raw(&self, ordinal: u64, seqs: (u64, u64), need: u64, now: i64, reason: &str) -> Result<Dropped> {
        let (from, to) = (row_id(ordinal, seqs.0), row_id(ordinal, seqs.1));
        let mut dropped = Dropped::default();
        let (mut gap, mut last) = (Gap { span: 0, messages: 0, readings: 0 }, from);
        let mut statement = self.0.prepare_cached(
            "SELECT id, span, messages, readings, length(frame) FROM raw WHERE id BETWEEN ?1 AND ?2 ORDER BY id",
        )?;
        let mut rows = statement.query([from, to])?;
        while let Some(row) = rows.next()?
            && dropped.bytes < need
        {
            let number = |column| row.get::<_, i64>(column).map(|v| v as u64);
            last = row.get(0)?;
            let (span, messages, readings) = (number(1)?, number(2)?, number(3)?);
            gap = Gap { span: gap.span + span, messages: gap.messages + messages, readings: gap.readings + readings };
            if let Some(bytes) = row.get::<_, Option<i64>>(4)? {
                dropped.bytes += bytes as u64;
                dropped.messages += messages;
                dropped.readings += readings;
            }
        }
        drop(rows);
        if dropped.messages > 0 {
            self.0.prepare_cached("DELETE FROM raw WHERE id BETWEEN ?1 AND ?2")?.execute([from, last])?;
            let sql = "INSERT INTO raw(id, span, messages, readings, reason, noticedAt) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
            let Gap { span, messages, readings } = gap;
            self.0.prepare_cached(sql)?.execute(params![
                from,
                span as i64,
                messages as i64,
                readings as i64,
                reason,
                now
            ])?;
        }
        Ok(dropped)
    }

    /// Begins what [`end_savepoint`](Self::end_savepoint) keeps or undoes.
    pub fn savepoint(&self) -> Result<()> {
        self.0.prepare_cached("SAVEPOINT part")?.execute([]).map(drop)
    }

    /// Ends what [`savepoint`](Self::savepoint) began.
    pub fn end_savepoint(&self, keep: bool) -> Result<()> {
        if !keep {
            self.0.prepare_cached("ROLLBACK TO part")?.execute([])?;
        }
        self.0.prepare_cached("RELEASE part")?.execute([]).map(drop)
    }

    /// The session with these ids.
    pub fn session(&self, device: &str, session: &str) -> Result<Option<SessionRow>> {
        self.0
            .prepare_cached("SELECT * FROM session WHERE device = ?1 AND session = ?2")?
            .query_row([device, session], read_session)
            .optional()
    }

    /// The session of this row.
    pub fn session_by_id(&self, id: i64) -> Result<Option<SessionRow>> {
        self.0.prepare_cached("SELECT * FROM session WHERE id = ?1")?.query_row([id], read_session).optional()
    }

    /// The sessions with open windows.
    pub fn open_sessions(&self) -> Result<Vec<i64>> {
        self.0.prepare("SELECT id FROM session WHERE open")?.query_map([], |row| row.get(0))?.collect()
    }

    /// Makes a session without messages; gives its row id.
    pub fn insert_session(&self, device: &str, session: &str) -> Result<i64> {
        self.0
            .prepare_cached(
                "INSERT INTO session(device, session, windows, open, messages, readings, conflicts, late, wild, heardAt)
                 VALUES(?1, ?2, x'', 0, 0, 0, 0, 0, 0, 0)",
            )?
            .execute([device, session])?;
        Ok(self.0.last_insert_rowid())
    }

    /// Keeps what changed of a session.
    pub fn update_session(&self, row: &SessionRow) -> Result<()> {
        let changed = self
            .0
            .prepare_cached(
                "UPDATE session SET windows = ?2, open = ?3, messages = ?4, readings = ?5, conflicts = ?6, late = ?7,
                 wild = ?8, heardAt = ?9 WHERE id = ?1",
            )?
            .execute(params![
                row.id,
                row.windows,
                row.open,
                row.messages as i64,
                row.readings as i64,
                row.conflicts as i64,
                row.late as i64,
                row.wild as i64,
                row.heard_at
            ])?;
        // Without its row a session would be told to nobody.
        if changed == 1 { Ok(()) } else { Err(rusqlite::Error::StatementChangedRows(changed)) }
    }

    /// What a session has seen.
    pub fn seen(&self, session: i64) -> Result<Seen> {
        let number = |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(|v| v as u64);
        let ranges: Vec<(u64, u64)> = self
            .0
            .prepare_cached("SELECT first, last FROM seen_range WHERE session = ?1")?
            .query_map([session], |row| match (number(row, 0)?, number(row, 1)?) {
                range if range.0 <= range.1 && range.1 <= MAX_MESSAGE_ID => Ok(range),
                (_, last) => Err(rusqlite::Error::IntegralValueOutOfRange(1, last as i64)),
            })?
            .collect::<Result<_>>()?;
        let bodies: Vec<(u64, Body)> = self
            .0
            .prepare_cached("SELECT number, hash, messageId FROM seen_body WHERE session = ?1 ORDER BY number")?
            .query_map([session], |row| {
                let hash = u128::from_be_bytes(row.get(1)?);
                Ok((number(row, 0)?, Body { hash, id: row.get::<_, Option<i64>>(2)?.map(|id| id as u64) }))
            })?
            .collect::<Result<_>>()?;
        let count = bodies.last().map_or(0, |(number, _)| number.saturating_add(1));
        Ok(Seen::from_rows(ranges, bodies.into_iter().map(|(_, body)| body).collect::<VecDeque<_>>(), count))
    }

    /// Keeps what a message changed in what a session has seen.
    pub fn keep_seen(&self, session: i64, change: &Change) -> Result<()> {
        for first in &change.removed {
            self.0
                .prepare_cached("DELETE FROM seen_range WHERE session = ?1 AND first = ?2")?
                .execute([session, *first as i64])?;
        }
        if let Some((first, last)) = change.range {
            self.0.prepare_cached("INSERT OR REPLACE INTO seen_range VALUES(?1, ?2, ?3)")?.execute([
                session,
                first as i64,
                last as i64,
            ])?;
        }
        self.0
            .prepare_cached("INSERT OR REPLACE INTO seen_body VALUES(?1, ?2, ?3, ?4, ?5)")?
            .execute(params![
                session,
                change.slot as i64,
                change.number as i64,
                change.body.hash.to_be_bytes(),
                change.body.id.map(|id| id as i64)
            ])
            .map(drop)
    }

    /// Dates sessions that were heard under a clock that was not synchronised.
    pub fn date_sessions(&self, now: i64) -> Result<()> {
        self.0.execute("UPDATE session SET heardAt = ?1 WHERE heardAt = 0", [now]).map(drop)
    }

    /// At most `limit` sessions without open windows last heard before `before`, microseconds since the Unix epoch.
    pub fn sessions_before(&self, before: i64, limit: usize) -> Result<Vec<i64>> {
        let sql = "SELECT id FROM session WHERE heardAt BETWEEN 1 AND ?1 AND NOT open LIMIT ?2";
        self.0.prepare(sql)?.query_map(params![before, limit as i64], |row| row.get(0))?.collect()
    }

    /// Forgets a session and what it has seen.
    pub fn forget_session(&self, id: i64) -> Result<()> {
        self.0.execute("DELETE FROM seen_range WHERE session = ?1", [id])?;
        self.0.execute("DELETE FROM seen_body WHERE session = ?1", [id])?;
        self.forget_withheld(id)?;
        self.0.execute("DELETE FROM session WHERE id = ?1", [id]).map(drop)
    }

    /// How large the file is with what its log holds.
    pub fn pages(&self) -> Result<Pages> {
        let number =
            |sql: &str| self.0.prepare_cached(sql)?.query_row([], |row| row.get::<_, i64>(0)).map(|v| v as u64);
        let (pages, free, size) =
            (number("PRAGMA page_count")?, number("PRAGMA freelist_count")?, number("PRAGMA page_size")?);
        Ok(Pages { all: pages * size, free: free * size })
    }

    /// Moves the log into the file as far as no reader is in the way, whether to its end; waits for nobody.
    pub fn checkpoint(&self) -> Result<bool> {
        let pages = |row: &rusqlite::Row<'_>| Ok(row.get::<_, i64>(1)? == row.get::<_, i64>(2)?);
        self.0.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], pages)
    }

    /// Moves the log into the file and cuts it to nothing; false if somebody who reads is in the way. Waits for nobody.
    pub fn cut_log(&self) -> Result<bool> {
        let patience: u64 = self.0.pragma_query_value(None, "busy_timeout", |row| row.get::<_, i64>(0))? as u64;
        self.0.busy_timeout(Duration::ZERO)?;
        let cut = self.0.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get::<_, bool>(0));
        self.0.busy_timeout(Duration::from_millis(patience))?;
        cut.map(|busy| !busy)
    }

    /// Gives up to `pages` free pages back to the file system.
    pub fn shrink(&self, pages: u32) -> Result<()> {
        let mut statement = self.0.prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }
}

fn read_session(row: &rusqlite::Row<'_>) -> Result<SessionRow> {
    let number = |column: &str| row.get::<_, i64>(column).map(|v| v as u64);
    Ok(SessionRow {
        id: row.get("id")?,
        device: row.get("device")?,
        session: row.get("session")?,
        windows: row.get("windows")?,
        open: row.get("open")?,
        messages: number("messages")?,
        readings: number("readings")?,
        conflicts: number("conflicts")?,
        late: number("late")?,
        wild: number("wild")?,
        heard_at: row.get("heardAt")?,
    })
}
