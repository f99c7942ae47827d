//! The uplink's view of the spool: a connection that only reads.
//!
//! - A frame is given out only after the mark that says "may have been sent" is on the disk: the cap drops nothing that
//!   the relay might have.
//! - A frame is given out only if its checksum holds. A damaged one is kept as a file; a gap takes its place, durably.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use bytes::Bytes;
use gaitway_proto::envelope::{Gap, Item};
use gaitway_proto::forgotten;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_service::clock;
use rusqlite::{Connection, OptionalExtension as _, params};
use tokio::sync::{mpsc, oneshot, watch};

use super::mend::Stored;
use super::queue::{MAX_SEQ, SentMarks, row_id, seq_of};
use super::schema::{self, OpenError};
use super::{damage, quarantine};
use crate::uplink::{Frames, SpoolState};
use crate::writer::Command;

/// Reads frames for the uplink.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
    directory: PathBuf,
    state: watch::Receiver<SpoolState>,
    /// None where the cap never drops: then nobody needs to know what was sent.
    marks: Option<watch::Receiver<SentMarks>>,
    writer: mpsc::Sender<Command>,
}

/// Where a stream stands.
#[derive(Debug, Clone, Copy)]
struct Limit {
    ordinal: u64,
    /// Everything below is acknowledged.
    first: u64,
    /// Below it frames may be given out.
    next: u64,
}

/// What was read of a stream.
#[derive(Debug, Default)]
struct Found {
    items: Vec<Item>,
    /// Why what stands after them cannot be sent.
    stop: Option<Stop>,
}

#[derive(Debug)]
enum Stop {
    /// There is no row.
    Missing,
    /// These bytes are no frame any more.
    Damaged(Vec<u8>),
}

impl Reader {
    /// Opens the spool at `path` beside its writer.
    pub fn open(
        path: &Path,
        state: watch::Receiver<SpoolState>,
        marks: Option<watch::Receiver<SentMarks>>,
        writer: mpsc::Sender<Command>,
    ) -> Result<Self, OpenError> {
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        Ok(Self { connection: schema::open_to_read(path)?, directory, state, marks, writer })
    }

    fn limit(&mut self, epoch: Epoch, stream: Stream, from: u64) -> anyhow::Result<Limit> {
        let found = self.state.borrow().streams.iter().copied().find(|o| o.epoch == epoch && o.stream == stream);
        let found = found.with_context(|| format!("the spool holds no {stream} of {epoch}"))?;
        let limit = Limit { ordinal: found.ordinal, first: found.first, next: found.next };
        let Some(marks) = &self.marks else { return Ok(limit) };
        let marked = |marks: &SentMarks| {
            marks.iter().find(|(e, s, _)| *e == epoch && *s == stream).map_or(0, |(_, _, sent)| *sent)
        };
        let mut sent = marked(&marks.borrow());
        if sent < from {
            let (done, answer) = oneshot::channel();
            self.tell(Command::MarkSent(done))?;
            sent = marked(&answer.blocking_recv().context("the writer could not mark frames as sent")?);
        }
        Ok(Limit { next: found.next.min(sent + 1), ..limit })
    }

    fn tell(&self, command: Command) -> anyhow::Result<()> {
        self.writer.blocking_send(command).map_err(|_| anyhow!("the writer has stopped"))
    }

    /// The items from `from` on that can be sent.
    fn find(
        &self,
        limit: Limit,
        stream: Stream,
        from: u64,
        max_bytes: usize,
        max_items: usize,
    ) -> rusqlite::Result<Found> {
        let sql = match stream {
            Stream::Raw => {
                "SELECT id, frame, span, messages, readings, reason, noticedAt FROM raw
                 WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3"
            }
            Stream::Activity => {
                "SELECT id, frame, span, 0, 0, reason, noticedAt FROM activity
                 WHERE id BETWEEN ?1 AND ?2 ORDER BY id LIMIT ?3"
            }
        };
        let mut statement = self.connection.prepare_cached(sql)?;
        let range = params![row_id(limit.ordinal, from), row_id(limit.ordinal, limit.next) - 1, max_items as i64];
        let mut rows = statement.query(range)?;
        let (mut found, mut bytes, mut expected) = (Found::default(), 0, from);
        while let Some(row) = rows.next()? {
            // Acknowledged rows are deleted while this reads: only what follows without a hole is of use.
            if seq_of(row.get(0)?) != expected {
                found.stop = Some(Stop::Missing);
                break;
            }
            let item = match Stored::read(row.get_ref(1)?) {
                Stored::Frame(frame) => Item::Frame(Bytes::from(frame)),
                Stored::Gap => Item::Gap(Gap {
                    span: span(row.get(2)?)?,
                    messages: row.get::<_, i64>(3)? as u64,
                    readings: row.get::<_, i64>(4)? as u64,
                    reason: row.get(5)?,
                    noticed_at: row.get(6)?,
                }),
                Stored::Damaged(bytes) => {
                    found.stop = Some(Stop::Damaged(bytes));
                    break;
                }
            };
            bytes += item.size();
            if bytes > max_bytes && !found.items.is_empty() {
                break;
            }
            expected = expected.saturating_add(item.span());
            found.items.push(item);
        }
        if found.items.is_empty() && found.stop.is_none() {
            found.stop = Some(Stop::Missing);
        }
        if found.items.is_empty()
            && matches!(found.stop, Some(Stop::Missing))
            && let Some(rest) = self.rest_of_gap(limit, stream, from)?
        {
            found = Found { items: vec![Item::Gap(rest)], stop: None };
        }
        Ok(found)
    }

    /// What a gap without counts, of which the relay has the beginning under other content, has from `from` on.
    fn rest_of_gap(&self, limit: Limit, stream: Stream, from: u64) -> rusqlite::Result<Option<Gap>> {
        let sql = format!(
            "SELECT id, span, noticedAt FROM {stream}
             WHERE id < ?2 AND id >= ?1 AND frame IS NULL AND reason = ?3 ORDER BY id DESC LIMIT 1"
        );
        let range = params![row_id(limit.ordinal, 0), row_id(limit.ordinal, from), forgotten::FRAMES];
        let read = |row: &rusqlite::Row<'_>| Ok((seq_of(row.get(0)?), span(row.get(1)?)?, row.get(2)?));
        let gap: Option<(u64, u64, i64)> = self.connection.prepare_cached(&sql)?.query_row(range, read).optional()?;
        let left = gap.and_then(|(first, span, at)| Some((first.saturating_add(span).checked_sub(from)?, at)));
        Ok(left.filter(|(span, _)| *span > 0).map(|(span, noticed_at)| Gap {
            span,
            messages: 0,
            readings: 0,
            reason: forgotten::FRAMES.to_owned(),
            noticed_at,
        }))
    }
}

/// The span of a gap, within what a row id can hold.
fn span(stored: i64) -> rusqlite::Result<u64> {
    let span = u64::try_from(stored).ok().filter(|span| (1..=MAX_SEQ).contains(span));
    span.ok_or(rusqlite::Error::IntegralValueOutOfRange(2, stored))
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
        let limit = self.limit(epoch, stream, from)?;
        for mended in [false, true] {
            let found = self.find(limit, stream, from, max_bytes, max_items).inspect_err(|error| {
                if let Some(what) = damage::of(error) {
                    // If the writer has ended there is nobody to whom it matters.
                    let _ = self.tell(Command::Damaged(what));
                }
            })?;
            match found.stop {
                // What is acknowledged may be gone, and nothing is missing behind the last frame.
                Some(stop) if found.items.is_empty() && !mended && (limit.first..limit.next).contains(&from) => {
                    if let Stop::Damaged(bytes) = stop {
                        quarantine::set_frame_aside(&self.directory, epoch, stream, from, &bytes)
                            .context("a damaged frame cannot be set aside")?;
                    }
                    let (done, is_done) = oneshot::channel();
                    let noticed_at = clock::now_micros();
                    self.tell(Command::Mend { epoch, stream, seq: from, noticed_at, done })?;
                    is_done.blocking_recv().context("the writer could not note a gap")?;
                }
                _ => return Ok(found.items),
            }
        }
        Ok(Vec::new())
    }
}
