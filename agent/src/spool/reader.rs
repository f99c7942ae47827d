//! The uplink's view of the spool: a connection that only reads.
//!
//! - A frame is given out only after the mark that says "may have been sent" is on the disk: the cap drops nothing that
//!   the relay might have.

use std::path::Path;

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use gaitway_proto::envelope::{Gap, Item};
use gaitway_proto::ledger::{Epoch, Stream};
use rusqlite::{Connection, params};
use tokio::sync::{mpsc, oneshot, watch};

use super::queue::{SentMarks, row_id, seq_of};
use super::schema::{self, OpenError};
use crate::uplink::{Frames, SpoolState};
use crate::writer::Command;

/// Reads frames for the uplink.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    state: watch::Receiver<SpoolState>,
    /// None where the cap never drops: then nobody needs to know what was sent.
    marks: Option<watch::Receiver<SentMarks>>,
    writer: mpsc::Sender<Command>,
}

impl Reader {
    /// Opens the spool at `path` beside its writer.
    pub fn open(
        path: &Path,
        state: watch::Receiver<SpoolState>,
        marks: Option<watch::Receiver<SentMarks>>,
        writer: mpsc::Sender<Command>,
    ) -> Result<Self, OpenError> {
        Ok(Self { connection: schema::open_to_read(path)?, state, marks, writer })
    }

    /// The ordinal of `epoch` and the seq below which frames may be given out.
    fn limit(&mut self, epoch: Epoch, stream: Stream, from: u64) -> anyhow::Result<(u64, u64)> {
        let found = self.state.borrow().streams.iter().copied().find(|o| o.epoch == epoch && o.stream == stream);
        let found = found.with_context(|| format!("the spool holds no {stream} of {epoch}"))?;
        let Some(marks) = &self.marks else { return Ok((found.ordinal, found.next)) };
        let marked = |marks: &SentMarks| {
            marks.iter().find(|(e, s, _)| *e == epoch && *s == stream).map_or(0, |(_, _, sent)| *sent)
        };
        let mut sent = marked(&marks.borrow());
        if sent < from {
            let (done, answer) = oneshot::channel();
            self.writer.blocking_send(Command::MarkSent(done)).map_err(|_| anyhow!("the writer has stopped"))?;
            sent = marked(&answer.blocking_recv().context("the writer could not mark frames as sent")?);
        }
        Ok((found.ordinal, found.next.min(sent + 1)))
    }
}

impl Frames for Reader {
    fn read(
        &mut self,
        epoch: Epoch,
        stream: Stream,
        from: u64,
        max_bytes: usize,
        max_items: usize,
    ) -> anyhow::Result<Vec<Item>> {
        let (ordinal, next) = self.limit(epoch, stream, from)?;
        let sql = match stream {
            Stream::Raw => {
                "SELECT id, frame, span, messages, readings, reason, noticedAt FROM raw
                 WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3"
            }
            Stream::Activity => {
                "SELECT id, frame, 1, 0, 0, NULL, NULL FROM activity WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3"
            }
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let mut rows = statement.query(params![row_id(ordinal, from), row_id(ordinal, next) - 1, max_items as i64])?;
        let (mut items, mut bytes, mut expected) = (Vec::new(), 0, from);
        while let Some(row) = rows.next()? {
            // Acknowledged rows are deleted while this reads: only what follows without a hole is of use.
            if seq_of(row.get(0)?) != expected {
                break;
            }
            let item = match row.get::<_, Option<Vec<u8>>>(1)? {
                Some(frame) => Item::Frame(Bytes::from(frame)),
                None => Item::Gap(Gap {
                    span: row.get::<_, i64>(2)? as u64,
                    messages: row.get::<_, i64>(3)? as u64,
                    readings: row.get::<_, i64>(4)? as u64,
                    reason: row.get(5)?,
                    noticed_at: row.get(6)?,
                }),
            };
            bytes += item.size();
            if bytes > max_bytes && !items.is_empty() {
                break;
            }
            expected += item.span();
            items.push(item);
        }
        Ok(items)
    }
}
