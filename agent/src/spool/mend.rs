//! Frames that are damaged, or missing where there must be one, become gaps: the stream goes on and the loss is told.
//!
//! - What is whole is left as it is.
//! - After mending every seq up to the next row has one, a frame or a gap.

use gaitway_proto::envelope::is_whole;
use gaitway_proto::ledger::Stream;
use rusqlite::types::ValueRef;
use rusqlite::{OptionalExtension as _, Result, params};

use super::queue::{row_id, seq_of};
use super::rows::Rows;

/// Reason of the gap in place of a damaged frame.
pub const DAMAGED_FRAME: &str = "damaged frame";

/// Reason of the gap in place of frames whose rows are gone.
pub const MISSING_FRAMES: &str = "frames missing from the spool";

/// How many seqs a gap takes and what was in them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Hole {
    /// Seqs.
    pub span: u64,
    /// Pushes, as far as they are known.
    pub messages: u64,
    /// Readings, as far as they are known.
    pub readings: u64,
}

/// What a row says in place of a frame, or that it says nothing that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stored {
    /// A whole frame.
    Frame(Vec<u8>),
    /// No frame, but a gap.
    Gap,
    /// Bytes that are no frame any more.
    Damaged(Vec<u8>),
}

impl Stored {
    /// Of a `frame` column.
    pub fn read(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Gap,
            ValueRef::Blob(bytes) if is_whole(bytes) => Self::Frame(bytes.to_vec()),
            ValueRef::Blob(bytes) | ValueRef::Text(bytes) => Self::Damaged(bytes.to_vec()),
            ValueRef::Integer(_) | ValueRef::Real(_) => Self::Damaged(Vec::new()),
        }
    }
}

impl Rows<'_> {
    /// Puts a gap where the stream cannot go on at `seq`: in place of a damaged frame, or of the rows that are missing
    /// below `next`. None if there is nothing to mend.
    pub fn mend(&self, ordinal: u64, stream: Stream, seq: u64, next: u64, now: i64) -> Result<Option<Hole>> {
        let id = row_id(ordinal, seq);
        let found = self
            .0
            .query_row(&format!("SELECT frame FROM {stream} WHERE id = ?1"), [id], |row| {
                Ok(Stored::read(row.get_ref(0)?))
            })
            .optional()?;
        match found {
            Some(Stored::Frame(_) | Stored::Gap) => Ok(None),
            Some(Stored::Damaged(_)) => {
                let hole = match stream {
                    Stream::Raw => Hole { span: 1, messages: 1, readings: self.readings(id)? },
                    Stream::Activity => Hole { span: 1, ..Hole::default() },
                };
                self.0.execute(&format!("DELETE FROM {stream} WHERE id = ?1"), [id])?;
                self.insert_gap(id, stream, hole, DAMAGED_FRAME, now)?;
                Ok(Some(hole))
            }
            None => {
                let following: Option<i64> = self.0.query_row(
                    &format!("SELECT min(id) FROM {stream} WHERE id > ?1 AND id < ?2"),
                    [id, row_id(ordinal, next)],
                    |row| row.get(0),
                )?;
                let span = following.map_or(next, seq_of).saturating_sub(seq);
                if span == 0 {
                    return Ok(None);
                }
                let messages = if stream == Stream::Raw { span } else { 0 };
                let hole = Hole { span, messages, readings: 0 };
                self.insert_gap(id, stream, hole, MISSING_FRAMES, now)?;
                Ok(Some(hole))
            }
        }
    }

    /// Stores a gap under the name of its first seq.
    pub fn insert_gap(&self, id: i64, stream: Stream, hole: Hole, reason: &str, now: i64) -> Result<()> {
        let [span, messages, readings] = [hole.span, hole.messages, hole.readings].map(|count| count as i64);
        match stream {
            Stream::Raw => {
                let sql =
                    "INSERT INTO raw(id, span, messages, readings, reason, noticedAt) VALUES(?1, ?2, ?3, ?4, ?5, ?6)";
                self.0.prepare_cached(sql)?.execute(params![id, span, messages, readings, reason, now])?;
            }
            Stream::Activity => {
                let sql = "INSERT INTO activity(id, inherited, span, reason, noticedAt) VALUES(?1, 0, ?2, ?3, ?4)";
                self.0.prepare_cached(sql)?.execute(params![id, span, reason, now])?;
            }
        }
        Ok(())
    }

    /// The readings that the row of a damaged frame tells of, 0 if it tells nothing that can be.
    fn readings(&self, id: i64) -> Result<u64> {
        self.0.query_row("SELECT readings FROM raw WHERE id = ?1", [id], |row| {
            Ok(match row.get_ref(0)? {
                ValueRef::Integer(readings) => u32::try_from(readings).map_or(0, u64::from),
                _ => 0,
            })
        })
    }
}
