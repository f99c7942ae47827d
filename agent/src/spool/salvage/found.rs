//! What is found in an image: the rows of every page, by their names.
//!
//! - Of two rows with one name the one on a page in use counts; of two such that differ the one whose neighbours in the
//!   page go before and after it; if both or neither have such, none.
//! - A row that is out of order in its page has no name.
//! - What lies on a free page counts only where no page in use has the name.

use std::collections::{BTreeMap, HashMap};

use gaitway_proto::ledger::{Epoch, Stream};

use super::cell::{self, Slot};
use super::image::{Image, Place, Standing};
use super::shape::{Content, FrameRow, Row};
use crate::seen::Body;

/// A start whose row was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct FoundStart {
    pub epoch: Epoch,
    pub started_at: String,
}

/// A frame whose row was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFrame {
    place: Place,
    slot: Slot,
    /// The rows beside it in the page are those before or after it.
    fits: bool,
    /// Seqs it takes.
    pub span: u64,
    /// Pushes in it.
    pub messages: u64,
    /// Readings in it.
    pub readings: u64,
    /// Bytes of a whole frame, else 0.
    pub length: u64,
    /// Whether its windows may have been opened before its start.
    pub inherited: bool,
    /// What it holds.
    pub kind: Kind,
}

/// What a found row holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A frame with this checksum, which holds.
    Whole(u32),
    /// A frame that is damaged, or in doubt.
    Damaged,
    /// A gap.
    Gap {
        /// Why.
        reason: String,
        /// Microseconds since the Unix epoch.
        noticed_at: i64,
    },
}

/// A session whose row was found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the columns of the table")]
pub struct FoundSession {
    pub device: String,
    pub session: String,
    pub messages: u64,
    pub heard_at: i64,
}

/// Everything found.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Found {
    /// The agent's id.
    pub agent: Option<String>,
    /// Starts by their ordinals.
    pub starts: BTreeMap<u64, FoundStart>,
    /// Greatest acknowledged seq by ordinal and stream.
    pub acked: HashMap<(u64, Stream), u64>,
    /// Frames by their row ids.
    pub raw: BTreeMap<i64, FoundFrame>,
    /// Frames by their row ids.
    pub activity: BTreeMap<i64, FoundFrame>,
    /// Sessions by their row ids.
    pub sessions: HashMap<i64, FoundSession>,
    /// Accepted ids by the session's row id.
    pub seen: HashMap<i64, Vec<(u64, u64)>>,
    /// Accepted bodies by the session's row id, oldest first.
    pub bodies: HashMap<i64, BTreeMap<u64, Body>>,
    /// Whole frames whose rows were out of order: their row ids cannot be believed.
    pub nameless: Vec<(Stream, i64, FoundFrame)>,
}

impl Found {
    /// Everything in `image`.
    pub fn gather(image: &Image<'_>) -> Self {
        Self::of(image, image.places())
    }

    /// What the first pages tell.
    pub fn glance(image: &Image<'_>, pages: u32) -> Self {
        Self::of(image, image.first_places(pages))
    }

    /// The frames of a stream.
    pub fn frames(&self, stream: Stream) -> &BTreeMap<i64, FoundFrame> {
        match stream {
            Stream::Raw => &self.raw,
            Stream::Activity => &self.activity,
        }
    }

    fn of(image: &Image<'_>, places: impl Iterator<Item = Place>) -> Self {
        let mut found = Self::default();
        let mut page = Vec::new();
        for place in places {
            if !image.read(place, &mut page) {
                continue;
            }
            let mut frames = Vec::new();
            cell::each_row(image, place, &page, &mut |row, slot| match row {
                Row::Frame(frame) => frames.push((frame.stream, frame.id, FoundFrame::of(place, slot, &frame))),
                row => found.take(place.standing, &row),
            });
            found.take_frames(place.standing, frames);
        }
        found
    }

    fn take(&mut self, standing: Standing, row: &Row<'_>) {
        match *row {
            Row::Start(start) => {
                let found = FoundStart { epoch: start.epoch, started_at: start.started_at.to_owned() };
                self.starts.entry(start.ordinal).or_insert(found);
            }
            Row::Stream { ordinal, stream, acked } => {
                let known = self.acked.entry((ordinal, stream)).or_default();
                *known = acked.max(*known);
            }
            _ if standing == Standing::Free => {}
            Row::Agent(id) => drop(self.agent.get_or_insert_with(|| id.to_owned())),
            Row::Session(row) => {
                let (device, session) = (row.device.to_owned(), row.session.to_owned());
                let found = FoundSession { device, session, messages: row.messages, heard_at: row.heard_at };
                let known = self.sessions.entry(row.id).or_insert_with(|| found.clone());
                if known.messages < found.messages {
                    *known = found;
                }
            }
            Row::Seen { session, first, last } => self.seen.entry(session).or_default().push((first, last)),
            Row::Body { session, number, body } => {
                self.bodies.entry(session).or_default().entry(number).or_insert(body);
            }
            Row::Frame(_) => {}
        }
    }

    fn take_frames(&mut self, standing: Standing, frames: Vec<(Stream, i64, FoundFrame)>) {
        let in_order = longest_rise(&frames.iter().map(|(_, id, _)| *id).collect::<Vec<_>>());
        let (mut named, mut place) = (Vec::with_capacity(frames.len()), 0..);
        for frame in frames {
            match place.next() {
                Some(place) if in_order.contains(&place) => named.push(frame),
                _ if frame.2.is_whole() => self.nameless.push(frame),
                _ => {}
            }
        }
        let mut frames = named;
        for at in 0..frames.len() {
            let touches = |low: usize, high: usize| {
                let (Some((_, before, low)), Some((_, after, _))) = (frames.get(low), frames.get(high)) else {
                    return false;
                };
                before.saturating_add_unsigned(low.span) == *after
            };
            frames[at].2.fits = (at > 0 && touches(at - 1, at)) || touches(at, at + 1);
        }
        for (stream, id, frame) in frames {
            match stream {
                Stream::Raw => keep(&mut self.raw, id, frame, true),
                // Of a damaged one there may lie an older one, with windows that were let go of since.
                Stream::Activity => keep(&mut self.activity, id, frame, standing != Standing::Free),
            }
        }
    }
}

/// Of two rows with one name, keeps the one that is to be believed. `may_mend`: the new one may stand for a damaged one.
fn keep(frames: &mut BTreeMap<i64, FoundFrame>, id: i64, new: FoundFrame, may_mend: bool) {
    let Some(known) = frames.get_mut(&id) else {
        frames.insert(id, new);
        return;
    };
    match (&known.kind, &new.kind) {
        (Kind::Damaged, Kind::Whole(_)) if may_mend => *known = new,
        (Kind::Whole(one), Kind::Whole(other)) if one != other && known.standing() == new.standing() => {
            if known.fits == new.fits {
                known.kind = Kind::Damaged;
                known.span = 1;
            } else if new.fits {
                *known = new;
            }
        }
        _ => {}
    }
}

impl FoundFrame {
    fn of(place: Place, slot: Slot, row: &FrameRow<'_>) -> Self {
        let FrameRow { span, messages, readings, inherited, .. } = *row;
        let length = if let Content::Whole(bytes) = row.content { bytes.len() as u64 } else { 0 };
        let kind = match row.content {
            Content::Whole(bytes) => Kind::Whole(checksum(bytes)),
            Content::Damaged => Kind::Damaged,
            Content::Gap { reason, noticed_at } => Kind::Gap { reason: reason.to_owned(), noticed_at },
        };
        Self { place, slot, fits: false, span, messages, readings, length, inherited, kind }
    }

    /// Whether it holds a frame whose checksum holds.
    pub fn is_whole(&self) -> bool {
        matches!(self.kind, Kind::Whole(_))
    }

    /// Whether the rows beside it in its page bear out its name.
    pub fn fits(&self) -> bool {
        self.fits
    }

    /// How far its page can be believed.
    pub fn standing(&self) -> Standing {
        self.place.standing
    }

    /// The frame itself; none if it is not whole.
    pub fn bytes(&self, image: &Image<'_>) -> Option<Vec<u8>> {
        let mut page = Vec::new();
        let (mut bytes, Kind::Whole(sum)) = (None, &self.kind) else { return None };
        if image.read(self.place, &mut page) {
            cell::one_row(image, self.place, &page, self.slot, &mut |row| {
                if let Row::Frame(FrameRow { content: Content::Whole(frame), .. }) = row
                    && checksum(frame) == *sum
                {
                    bytes = Some(frame.to_vec());
                }
            });
        }
        bytes
    }
}

/// The checksum at the end of a frame.
fn checksum(frame: &[u8]) -> u32 {
    frame.last_chunk().map_or(0, |sum| u32::from_le_bytes(*sum))
}

/// Places of the longest strictly rising part of `ids`, rising themselves.
fn longest_rise(ids: &[i64]) -> Vec<usize> {
    if ids.is_sorted_by(|a, b| a < b) {
        return (0..ids.len()).collect();
    }
    // For each place the length of the longest rise that ends there, and the place before it.
    let mut rises: Vec<(usize, Option<usize>)> = Vec::with_capacity(ids.len());
    for (place, id) in ids.iter().enumerate() {
        let before = (0..place).filter(|before| ids[*before] < *id).max_by_key(|before| rises[*before].0);
        rises.push((before.map_or(1, |before| rises[before].0 + 1), before));
    }
    let mut at = (0..ids.len()).max_by_key(|place| rises[*place].0);
    let mut rise = Vec::new();
    while let Some(place) = at {
        rise.push(place);
        at = rises[place].1;
    }
    rise.reverse();
    rise
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_that_is_out_of_order_has_no_name() {
        assert_eq!(longest_rise(&[1, 2, 3]), [0, 1, 2]);
        assert_eq!(longest_rise(&[1, 900, 3, 4]), [0, 2, 3]);
        assert_eq!(longest_rise(&[7, 2, 3]), [1, 2]);
        assert!(longest_rise(&[]).is_empty());
    }
}
