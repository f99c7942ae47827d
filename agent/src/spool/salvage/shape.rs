//! What a row is, by its shape: tables of a spool differ in number and types of their columns.

use gaitway_proto::envelope::is_whole;
use gaitway_proto::ledger::{Epoch, Stream};

use super::record::Value::{self, Blob, Int, Null, Text};
use crate::seen::{BODIES, Body};
use crate::spool::queue::{MAX_ORDINAL, MAX_SEQ, checksum, ordinal_of, seq_of};

/// A row of a spool.
#[derive(Debug, Clone, PartialEq)]
pub enum Row<'a> {
    /// The agent's id.
    Agent(&'a str),
    /// A start whose checksum holds.
    Start(Start<'a>),
    /// How far a stream was acknowledged.
    Stream {
        /// Counts starts.
        ordinal: u64,
        /// The stream.
        stream: Stream,
        /// Greatest acknowledged seq.
        acked: u64,
    },
    /// A frame, or what stands in its place.
    Frame(FrameRow<'a>),
    /// A session.
    Session(Session<'a>),
    /// Messages of a session that were accepted.
    Seen {
        /// The session's row.
        session: i64,
        /// First id.
        first: u64,
        /// Last id.
        last: u64,
    },
    /// A body that a session accepted.
    Body {
        /// The session's row.
        session: i64,
        /// How many came before it.
        number: u64,
        /// The body.
        body: Body,
    },
}

/// A start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Start<'a> {
    pub ordinal: u64,
    pub epoch: Epoch,
    pub started_at: &'a str,
    pub tracked: bool,
}

/// A session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct Session<'a> {
    pub id: i64,
    pub device: &'a str,
    pub session: &'a str,
    pub messages: u64,
    pub heard_at: i64,
}

/// A row of `raw` or `activity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameRow<'a> {
    /// The stream.
    pub stream: Stream,
    /// The row id: ordinal and seq.
    pub id: i64,
    /// Seqs it takes.
    pub span: u64,
    /// Pushes in it.
    pub messages: u64,
    /// Readings in it.
    pub readings: u64,
    /// Whether its windows may have been opened before its start.
    pub inherited: bool,
    /// What it holds.
    pub content: Content<'a>,
}

/// What a frame's row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// A frame whose checksum holds.
    Whole(&'a [u8]),
    /// A frame whose checksum does not hold.
    Damaged,
    /// A gap.
    Gap {
        /// Why.
        reason: &'a str,
        /// Microseconds since the Unix epoch.
        noticed_at: i64,
    },
}

impl<'a> Row<'a> {
    /// What `columns` are; `row_id` is none in a table without row ids.
    pub fn read(row_id: Option<i64>, columns: &[Value<'a>]) -> Option<Self> {
        match (row_id, columns) {
            (Some(id), &[Null, Int(span), Int(messages), Int(readings), ref frame, ref reason, ref at]) => {
                let counts = [span, messages, readings];
                frame_row(Stream::Raw, id, counts, false, content(frame, reason, at)?)
            }
            (Some(id), &[Null, Int(inherited), ref frame, Int(span), ref reason, ref at]) => {
                frame_row(Stream::Activity, id, [span, 0, 0], inherited != 0, content(frame, reason, at)?)
            }
            (Some(id), &[Null, Int(epoch), Text(started_at), Int(tracked), Int(_), Int(_), Int(sum)]) => {
                let ordinal = u64::try_from(id).ok().filter(|ordinal| (1..=MAX_ORDINAL).contains(ordinal))?;
                let epoch = Epoch::from_random(u64::try_from(epoch).ok()?);
                let holds = i64::from(checksum(ordinal, epoch)) == sum;
                holds.then_some(Self::Start(Start { ordinal, epoch, started_at, tracked: tracked != 0 }))
            }
            (Some(_), &[Text(id), Null | Int(_), Int(0 | 1)]) => Some(Self::Agent(id)),
            (
                Some(id),
                &[
                    Null,
                    Text(device),
                    Text(session),
                    Blob(_),
                    Int(_),
                    Int(messages),
                    Int(_),
                    Int(_),
                    Int(_),
                    Int(_),
                    Int(heard_at),
                ],
            ) => {
                let messages = u64::try_from(messages).ok()?;
                Some(Self::Session(Session { id, device, session, messages, heard_at }))
            }
            (None, &[Int(ordinal), Text(stream), Int(acked), Int(_)]) => {
                let stream = Stream::ALL.into_iter().find(|known| known.as_str() == stream)?;
                let within = |number: i64, most| u64::try_from(number).ok().filter(|number| *number <= most);
                let (ordinal, acked) = (within(ordinal, MAX_ORDINAL)?, within(acked, MAX_SEQ)?);
                Some(Self::Stream { ordinal, stream, acked })
            }
            (None, &[Int(session), Int(first), Int(last)]) if 0 <= first && first <= last => {
                Some(Self::Seen { session, first: first as u64, last: last as u64 })
            }
            (None, &[Int(session), Int(slot), Int(number), Blob(hash), ref id]) => {
                let number = u64::try_from(number).ok()?;
                let id = match *id {
                    Null => None,
                    Int(id) => Some(u64::try_from(id).ok()?),
                    _ => return None,
                };
                let body = Body { hash: u128::from_be_bytes(hash.try_into().ok()?), id };
                (slot as u64 == number % BODIES as u64).then_some(Self::Body { session, number, body })
            }
            _ => None,
        }
    }
}

fn content<'a>(frame: &Value<'a>, reason: &Value<'a>, at: &Value<'a>) -> Option<Content<'a>> {
    match (frame, reason, at) {
        (Blob(frame), Null, Null) => Some(if is_whole(frame) { Content::Whole(frame) } else { Content::Damaged }),
        (Null, Text(reason), Int(noticed_at)) => Some(Content::Gap { reason, noticed_at: *noticed_at }),
        _ => None,
    }
}

fn frame_row(stream: Stream, id: i64, counts: [i64; 3], inherited: bool, content: Content<'_>) -> Option<Row<'_>> {
    let [span, messages, readings] = counts.map(|count| u64::try_from(count).ok());
    let (span, messages, readings) = (span?, messages?, readings?);
    let of_frame = matches!(content, Content::Gap { .. }) || span == 1;
    let fits = id > 0 && ordinal_of(id) > 0 && (1..=MAX_SEQ).contains(&seq_of(id)) && of_frame;
    let ends = (1..=MAX_SEQ).contains(&span) && seq_of(id) + span <= MAX_SEQ + 1;
    (fits && ends).then_some(Row::Frame(FrameRow { stream, id, span, messages, readings, inherited, content }))
}
