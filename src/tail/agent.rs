//! Frames of the spool, until the relay has acknowledged them; the place is `START/SEQ.INDEX`.
//!
//! - What comes and goes between two looks is counted, not shown.

use std::path::Path;

use gaitway_agent::spool::look::{Held, Look, Waiting};
use gaitway_proto::activity::ActivityFrame;
use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::record::{Body, GapNotice, Origin, Record};
use gaitway_proto::schema::{self, Table};

use super::{BATCH, Found, Reader, Start};

/// See the module.
pub(super) struct Spool {
    look: Look,
    path: std::path::PathBuf,
    table: &'static Table,
    streams: Vec<Tailed>,
    missed: u64,
}

/// A stream and how far it was read.
struct Tailed {
    stream: Stream,
    /// The last frame that was read.
    last: i64,
    /// The last frame at the beginning.
    end: i64,
    /// The start and the seq that come next, once a frame was read.
    due: Option<(u64, u64)>,
}

impl Spool {
    pub(super) fn open(path: &Path, table: &'static Table, start: Start) -> Result<Self, String> {
        let look = Look::open(path)?;
        let wanted: &[Stream] = match table.name {
            name if name == schema::RAW.name => &[Stream::Raw],
            name if name == schema::ACTIVITY.name => &[Stream::Activity],
            _ => &Stream::ALL,
        };
        let streams = wanted.iter().map(|&stream| {
            let end = look.before_last(stream, 0)?;
            let last = match start {
                Start::Now => end,
                Start::Beginning => 0,
                // Few frames are gaps.
                Start::Last(_) if table.name == schema::GAPS.name => 0,
                // Any other has at least one record.
                Start::Last(count) => look.before_last(stream, count as usize)?,
            };
            Ok(Tailed { stream, last, end, due: None })
        });
        let streams = streams.collect::<Result<_, String>>()?;
        Ok(Self { look, path: path.to_owned(), table, streams, missed: 0 })
    }
}

impl Reader for Spool {
    fn read(&mut self, out: &mut Vec<Found>) -> Result<(), String> {
        if !self.look.is_current() && self.path.exists() {
            self.look = Look::open(&self.path)?;
        }
        let Self { look, table, streams, missed, .. } = self;
        for tailed in streams {
            while out.len() < BATCH {
                let frames = look.waiting(tailed.stream, tailed.last, i64::MAX)?;
                if frames.is_empty() {
                    tailed.end = tailed.end.min(tailed.last);
                    break;
                }
                for frame in frames {
                    tailed.last = frame.id;
                    if let Some((ordinal, due)) = tailed.due
                        && ordinal == frame.ordinal
                    {
                        *missed += frame.seq.saturating_sub(due);
                    }
                    let span = if let Held::Gap { span, .. } = &frame.held { *span } else { 1 };
                    tailed.due = Some((frame.ordinal, frame.seq.saturating_add(span)));
                    records(look, tailed.stream, &frame, table, out);
                }
            }
        }
        Ok(())
    }

    fn is_caught_up(&self) -> bool {
        self.streams.iter().all(|tailed| tailed.last >= tailed.end)
    }

    fn missed(&mut self) -> u64 {
        std::mem::take(&mut self.missed)
    }
}

/// Appends the records of `frame` that are of `table`.
fn records(look: &Look, stream: Stream, frame: &Waiting, table: &'static Table, out: &mut Vec<Found>) {
    let epoch = frame.epoch.unwrap_or(Epoch::from_random(0));
    let origin = Origin { agent: look.agent(), epoch, ordinal: frame.ordinal, stream, seq: frame.seq };
    let (raw, activity);
    let mut records = Vec::new();
    match (&frame.held, stream) {
        (Held::Frame(bytes), Stream::Raw) => {
            let Ok(frame) = Frame::decode(bytes) else { return };
            raw = frame;
            raw.records(origin, &mut records);
        }
        (Held::Frame(bytes), Stream::Activity) => {
            let Ok(frame) = ActivityFrame::decode(bytes) else { return };
            activity = frame;
            activity.records(origin, &mut records);
        }
        (Held::Damaged, _) => {}
        (Held::Gap { span, messages, reason, noticed_at }, _) => {
            let notice = GapNotice {
                to_seq: frame.seq.saturating_add(*span) - 1,
                messages: Some(*messages),
                readings: Some(frame.readings),
                reason: reason.clone(),
                noticed_at: *noticed_at,
            };
            records.push(Record { metadata: origin.metadata(0, None), body: Body::Gap(notice) });
        }
    }
    for (index, record) in records.iter().enumerate().filter(|(_, record)| record.table().name == table.name) {
        let place = format!("{}/{}.{index}", frame.ordinal, frame.seq);
        out.push(Found { place, metadata: record.metadata.to_json(), value: record.to_json().into_bytes(), table });
    }
}
