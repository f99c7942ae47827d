//! Brings what was found into a spool, in one transaction.
//!
//! - A row that is there is left as it is; only what lies behind the last one of its stream is added.
//! - A push that the spool has accepted under another name, with the same body, is not brought a second time; one that
//!   shares no more than the id is brought, without its id.
//! - What the spool noted to tell under another name is not brought.
//! - A start that is unknown there comes under a free ordinal, as one that waits and continues nothing.

use std::collections::{BTreeMap, HashMap};

use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Epoch, Stream};
use rusqlite::{Connection, OptionalExtension as _, Result, TransactionBehavior, params};

use super::found::{Found, FoundFrame, Kind};
use super::image::Image;
use super::plan::{self, Step};
use crate::seen::{BODIES, Body, Seen};
use crate::spool::mend::Hole;
use crate::spool::queue::{MAX_ORDINAL, Moved, checksum, ordinal_of, row_id};
use crate::spool::retold::Names;
use crate::spool::rows::Rows;

/// Reason of the gap in place of frames that could not be got out.
const DAMAGED_SPOOL: &str = "damaged spool";

/// Reason of the gap in place of pushes that the spool has under other names.
const ACCEPTED_AGAIN: &str = "accepted again under another name, nothing is missing";

/// What came of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Brought {
    /// Frames of pushes.
    pub raw: u64,
    /// Readings in them.
    pub readings: u64,
    /// Frames of windows.
    pub activity: u64,
    /// Frames that were there.
    pub known: u64,
    /// Frames that were there under another name.
    pub accepted_again: u64,
    /// Frames that could not be got out, as far as they are known to have been.
    pub lost: u64,
    /// Whole frames without a start's name, or out of order.
    pub unnamed: u64,
    /// Sessions of which accepted messages were noted.
    pub sessions: u64,
    /// Sessions whose accepted messages contradict their own count; only those of frames were noted.
    pub doubtful_sessions: u64,
}

/// Brings what `found` in `image` holds into the spool of `connection`. `now`: microseconds since the Unix epoch.
pub fn bring(connection: &mut Connection, image: &Image<'_>, found: &Found, now: i64) -> Result<Brought> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let rows = Rows(&transaction);
    let sessions = found.sessions.iter().map(|(id, row)| ((row.device.clone(), row.session.clone()), *id)).collect();
    let mut bringing = Bringing {
        rows: &rows,
        image,
        now,
        brought: Brought::default(),
        ids: HashMap::new(),
        seen: HashMap::new(),
        sessions,
    };
    for (ordinal, start) in &found.starts {
        bringing.start(found, *ordinal, start.epoch, &start.started_at)?;
    }
    let named = |id: &i64| found.starts.contains_key(&ordinal_of(*id));
    let frames = || Stream::ALL.into_iter().flat_map(|stream| found.frames(stream));
    let unnamed = frames().filter(|(id, frame)| !named(id) && matches!(frame.kind, Kind::Whole(_))).count();
    bringing.brought.unnamed = (unnamed + found.nameless.len()) as u64;
    bringing.note_sessions(found)?;
    let brought = bringing.brought;
    transaction.commit()?;
    Ok(brought)
}

struct Bringing<'a> {
    rows: &'a Rows<'a>,
    image: &'a Image<'a>,
    now: i64,
    brought: Brought,
    /// Ids of pushes whose frames were found, by device and session.
    ids: HashMap<(String, String), Vec<u64>>,
    /// What the spool had accepted before, by device and session.
    seen: HashMap<(String, String), Option<Seen>>,
    /// The sessions found, by device and session.
    sessions: HashMap<(String, String), i64>,
}

/// A start as the spool knows it.
#[derive(Default)]
struct Known {
    ordinal: Option<u64>,
    /// Brought here before: then its messages were noted as accepted too, and that tells nothing of what is here.
    salvaged: bool,
    retold: Vec<Names>,
}

impl Bringing<'_> {
    fn start(&mut self, found: &Found, found_ordinal: u64, epoch: Epoch, started_at: &str) -> Result<()> {
        let sql = "SELECT ordinal, salvaged FROM start WHERE epoch = ?1";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)? as u64, row.get::<_, bool>(1)?));
        let here = self.rows.0.query_row(sql, [epoch.get() as i64], read).optional()?;
        let known = Known {
            ordinal: here.map(|(ordinal, _)| ordinal),
            salvaged: here.is_some_and(|(_, salvaged)| salvaged),
            retold: self.rows.retold(epoch)?,
        };
        let mut ordinal = known.ordinal;
        for stream in Stream::ALL {
            let (begin, steps) = plan::steps(found, found_ordinal, stream);
            if let Some(ordinal) = known.ordinal {
                self.behind(found, &known, ordinal, stream, &steps)?;
                continue;
            }
            let steps = self.resolve(found, &known, stream, &steps)?;
            if !steps.values().any(|to| matches!(to, To::Frame(..) | To::Gap(..))) {
                continue;
            }
            let to = match ordinal {
                Some(ordinal) => ordinal,
                None => *ordinal.insert(self.add_start(found_ordinal, epoch, started_at)?),
            };
            let last = steps.last_key_value().map_or(begin, |(seq, to)| seq + to.span() - 1);
            let sql = "INSERT INTO stream(ordinal, stream, acked, sent) VALUES(?1, ?2, ?3, ?4)";
            self.rows.0.execute(sql, params![to as i64, stream.as_str(), begin as i64, last as i64])?;
            self.insert(to, stream, &steps)?;
        }
        Ok(())
    }

    /// Of a start that is known: what lies behind its last row there.
    fn behind(
        &mut self,
        found: &Found,
        known: &Known,
        ordinal: u64,
        stream: Stream,
        steps: &BTreeMap<u64, Step<'_>>,
    ) -> Result<()> {
        let Moved { positions, .. } = self.rows.standing(ordinal, stream)?;
        let next = positions.next;
        let before = steps.range(..next).filter(|(_, step)| matches!(step, Step::Row(frame) if frame.is_whole()));
        self.brought.known += before.count() as u64;
        let behind: BTreeMap<u64, Step<'_>> = steps.range(next..).map(|(seq, step)| (*seq, *step)).collect();
        let Some((&first, _)) = behind.first_key_value() else { return Ok(()) };
        let mut resolved = self.resolve(found, known, stream, &behind)?;
        if first > next {
            resolved.insert(next, To::Gap(lost(stream, first - next), DAMAGED_SPOOL.to_owned(), self.now));
        }
        self.insert(ordinal, stream, &resolved)
    }

    /// Finds out which frames are there under another name. Their bytes are read again when they are stored.
    fn resolve<'f>(
        &mut self,
        found: &Found,
        known: &Known,
        stream: Stream,
        steps: &BTreeMap<u64, Step<'f>>,
    ) -> Result<BTreeMap<u64, To<'f>>> {
        let mut resolved = BTreeMap::new();
        for (seq, step) in steps {
            let to = match step {
                Step::Lost(hole) => To::Gap(*hole, DAMAGED_SPOOL.to_owned(), self.now),
                Step::Row(frame) if frame.is_whole() && known.retold.iter().any(|names| names.holds(stream, *seq)) => {
                    To::AcceptedAgain
                }
                Step::Row(frame) => self.read(found, known, stream, frame)?,
            };
            resolved.insert(*seq, to);
        }
        Ok(resolved)
    }

    fn read<'f>(&mut self, found: &Found, known: &Known, stream: Stream, frame: &'f FoundFrame) -> Result<To<'f>> {
        if let Kind::Gap { reason, noticed_at } = &frame.kind {
            let hole = Hole { span: frame.span, messages: frame.messages, readings: frame.readings };
            return Ok(To::Gap(hole, reason.clone(), *noticed_at));
        }
        let Some(bytes) = frame.bytes(self.image) else {
            return Ok(To::Gap(lost(stream, 1), DAMAGED_SPOOL.to_owned(), self.now));
        };
        let mut keeps_id = true;
        if stream == Stream::Raw
            && let Ok(Frame { header, .. }) = Frame::decode(&bytes)
            && let Some(id) = header.message_id
        {
            let key = (header.device, header.session);
            if !self.seen.contains_key(&key) {
                let session = self.rows.session(&key.0, &key.1)?;
                let seen = session.map(|session| self.rows.seen(session.id)).transpose()?;
                self.seen.insert(key.clone(), seen);
            }
            let seen = self.seen.get(&key).and_then(Option::as_ref);
            if !known.salvaged
                && let Some(seen) = seen.filter(|seen| seen.has_id(id))
            {
                let bodies = self.sessions.get(&key).and_then(|session| found.bodies.get(session));
                let body = bodies.and_then(|bodies| bodies.values().find(|body| body.id == Some(id)));
                if body.is_some_and(|body| seen.has_body(body.hash)) {
                    return Ok(To::AcceptedAgain);
                }
                keeps_id = false;
            }
            self.ids.entry(key).or_default().push(id);
        }
        Ok(To::Frame(frame, keeps_id))
    }

    fn insert(&mut self, ordinal: u64, stream: Stream, steps: &BTreeMap<u64, To<'_>>) -> Result<()> {
        for (seq, to) in steps {
            let id = row_id(ordinal, *seq);
            match to {
                To::Frame(frame, keeps_id) => {
                    let bytes = match frame.bytes(self.image) {
                        Some(bytes) if *keeps_id => Some(bytes),
                        Some(bytes) => Frame::without_id(&bytes).ok(),
                        None => None,
                    };
                    let Some(bytes) = bytes else {
                        self.rows.insert_gap(id, stream, lost(stream, 1), DAMAGED_SPOOL, self.now)?;
                        self.brought.lost += 1;
                        continue;
                    };
                    let readings = frame.readings;
                    match stream {
                        Stream::Raw => self.rows.insert_raw(id, u32::try_from(readings).unwrap_or(u32::MAX), &bytes)?,
                        Stream::Activity => self.rows.insert_activity(id, frame.inherited, &bytes)?,
                    }
                    let raw = u64::from(stream == Stream::Raw);
                    self.brought.raw += raw;
                    self.brought.readings += raw * readings;
                    self.brought.activity += 1 - raw;
                }
                To::Gap(hole, reason, noticed_at) => {
                    self.rows.insert_gap(id, stream, *hole, reason, *noticed_at)?;
                    self.brought.lost += if reason == DAMAGED_SPOOL { hole.span } else { 0 };
                }
                To::AcceptedAgain => {
                    let hole = Hole { span: 1, ..Hole::default() };
                    self.rows.insert_gap(id, stream, hole, ACCEPTED_AGAIN, self.now)?;
                    self.brought.accepted_again += 1;
                }
            }
        }
        Ok(())
    }

    /// Adds a start under its own ordinal if that is free, else under the next one that is.
    fn add_start(&self, own: u64, epoch: Epoch, started_at: &str) -> Result<u64> {
        let taken = "SELECT EXISTS(SELECT 1 FROM start WHERE ordinal = ?1)
                     OR EXISTS(SELECT 1 FROM raw WHERE id BETWEEN ?2 AND ?3)
                     OR EXISTS(SELECT 1 FROM activity WHERE id BETWEEN ?2 AND ?3)";
        let mut free = own;
        while self.rows.0.query_row(
            taken,
            params![free as i64, row_id(free, 0), row_id(free, 0) | ((1 << 40) - 1)],
            |row| row.get::<_, bool>(0),
        )? {
            free += 1;
        }
        if free >= MAX_ORDINAL {
            return Err(rusqlite::Error::IntegralValueOutOfRange(0, free as i64));
        }
        self.rows.0.execute(
            "INSERT INTO start(ordinal, epoch, startedAt, tracked, salvaged, checksum) VALUES(?1, ?2, ?3, 0, 1, ?4)",
            params![free as i64, epoch.get() as i64, started_at, checksum(free, epoch)],
        )?;
        Ok(free)
    }

    /// Notes which messages were accepted, so that none is accepted again.
    fn note_sessions(&mut self, found: &Found) -> Result<()> {
        // A body that is noted says that its message is here, or was delivered from here or from where it was found.
        let all = self.brought.lost == 0 && self.brought.unnamed == 0;
        for (id, session) in &found.sessions {
            let ranges = found.seen.get(id).map_or(&[][..], Vec::as_slice);
            let key = (session.device.clone(), session.session.clone());
            let ids = self.ids.remove(&key).unwrap_or_default();
            let bodies = found.bodies.get(id).into_iter().flat_map(BTreeMap::values).copied();
            let bodies = bodies.filter(|body| all || body.id.is_some_and(|id| ids.contains(&id))).collect::<Vec<_>>();
            let ids = ids.into_iter().map(|id| (id, id));
            let accepted = plan::accepted(session, ranges);
            self.brought.doubtful_sessions += u64::from(accepted.is_none());
            let ranges = plan::union(accepted.into_iter().flatten().chain(ids));
            self.note_accepted(&key, &ranges, &bodies, session.heard_at)?;
        }
        for (key, ids) in std::mem::take(&mut self.ids) {
            let ranges = plan::union(ids.into_iter().map(|id| (id, id)));
            self.note_accepted(&key, &ranges, &[], 0)?;
        }
        Ok(())
    }

    fn note_accepted(
        &mut self,
        key: &(String, String),
        ranges: &[(u64, u64)],
        bodies: &[Body],
        heard_at: i64,
    ) -> Result<()> {
        if ranges.is_empty() && bodies.is_empty() {
            return Ok(());
        }
        let id = if let Some(row) = self.rows.session(&key.0, &key.1)? {
            row.id
        } else {
            let id = self.rows.insert_session(&key.0, &key.1)?;
            self.rows.0.execute("UPDATE session SET heardAt = ?2 WHERE id = ?1", params![id, heard_at])?;
            // Its windows may have been told; this spool does not know which.
            self.rows.set_replaced()?;
            id
        };
        let seen = self.rows.seen(id)?;
        self.note_bodies(id, &seen, bodies)?;
        let before = seen.ranges();
        let after = plan::union(before.iter().chain(ranges).copied());
        if before != after {
            self.rows.0.execute("DELETE FROM seen_range WHERE session = ?1", [id])?;
            for (first, last) in after {
                let range = params![id, first as i64, last as i64];
                self.rows.0.prepare_cached("INSERT INTO seen_range VALUES(?1, ?2, ?3)")?.execute(range)?;
            }
            self.brought.sessions += 1;
        }
        Ok(())
    }

    /// Puts the bodies found before those that are known here: so that one with a known id is told from another.
    fn note_bodies(&self, session: i64, seen: &Seen, bodies: &[Body]) -> Result<()> {
        let before: Vec<Body> = seen.bodies().collect();
        let new = bodies.iter().filter(|body| !seen.has_body(body.hash));
        // Which body an id belongs to here, the spool knows, or nobody.
        let new = new.map(|body| Body { id: body.id.filter(|id| !seen.has_id(*id)), ..*body });
        let mut after: Vec<Body> = new.chain(before.iter().copied()).collect();
        after.drain(..after.len().saturating_sub(BODIES));
        if after == before {
            return Ok(());
        }
        self.rows.0.execute("DELETE FROM seen_body WHERE session = ?1", [session])?;
        let mut insert = self.rows.0.prepare_cached("INSERT INTO seen_body VALUES(?1, ?2, ?2, ?3, ?4)")?;
        for (number, body) in (0_i64..).zip(after) {
            insert.execute(params![session, number, body.hash.to_be_bytes(), body.id.map(|id| id as i64)])?;
        }
        Ok(())
    }
}

/// What comes to stand at a seq.
enum To<'f> {
    /// A frame, with its message's id or without.
    Frame(&'f FoundFrame, bool),
    Gap(Hole, String, i64),
    AcceptedAgain,
}

impl To<'_> {
    fn span(&self) -> u64 {
        match self {
            Self::Gap(hole, ..) => hole.span,
            Self::Frame(..) | Self::AcceptedAgain => 1,
        }
    }
}

fn lost(stream: Stream, span: u64) -> Hole {
    Hole { span, messages: if stream == Stream::Raw { span } else { 0 }, readings: 0 }
}
