//! One push: is it new, is there room, what does it store.
//!
//! - Of readings that are not kept nothing is written, not even for the length of a transaction; their windows are told, and their
//!   message is known, as any other's.

use std::time::Instant;

use gaitway_proto::activity::ActivityFrame;
use gaitway_proto::frame::Packed;
use gaitway_proto::ledger::Stream;
use gaitway_proto::message::Header;
use rusqlite::Result;

use super::news::{Closing, Heard};
use super::state::State;
use super::{Accepted, Received};
use crate::ingest::{self, Refusal};
use crate::phones::Keep;
use crate::seen::Verdict;
use crate::spool::cap::{Full, WhenFull, overflow, room_for};
use crate::spool::queue::Queue;
use crate::spool::rows::Rows;
use crate::stretches::Slice;
use crate::windows::{Batch, Closed};

impl State {
    pub(super) fn push(
        &mut self,
        rows: &Rows<'_>,
        received: &Received,
        now: Instant,
    ) -> Result<std::result::Result<Accepted, Refusal>> {
        let push = &received.push;
        let readings = push.readings;
        let known = self.sessions.find(rows, &push.device, &push.session, now)?;
        let verdict = match known {
            Some(session) => session.seen.judge(push.message_id, push.hash),
            None => Verdict::New(push.message_id),
        };
        let (id, conflict) = match verdict {
            Verdict::Duplicate => {
                self.news.duplicates += 1;
                note_retold(rows, received, true)?;
                return Ok(Ok(Accepted { readings, duplicate: true }));
            }
            Verdict::New(id) => (id, None),
            Verdict::Conflict => match ingest::parse_without_id(&received.body, push.privacy) {
                Ok(again) => (None, Some(again.packed)),
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        let frame = seal(received, id, conflict.as_ref());
        if let Err(full) = self.make_room(rows, frame.len() as u64, received.received_at)? {
            let sentence = self.full(full);
            self.news.no_room = Some(sentence.clone());
            self.wanting = Some(frame.len() as u64);
            return Ok(Err(Refusal::NoRoom(sentence)));
        }

        let tells_all = self.observe(rows, received, id, conflict.is_some(), now)?;
        note_retold(rows, received, tells_all)?;
        let kept = push.packed.readings();
        if kept > 0 {
            rows.insert_raw(self.queue.assign(Stream::Raw), kept, &frame)?;
        }
        Ok(Ok(Accepted { readings, duplicate: false }))
    }

    /// Takes a new push into its session: seen, windows, counts. Whether it tells every window that it closes.
    fn observe(
        &mut self,
        rows: &Rows<'_>,
        received: &Received,
        id: Option<u64>,
        conflict: bool,
        now: Instant,
    ) -> Result<bool> {
        let push = &received.push;
        let [readings, withheld] = [push.readings, push.withheld()].map(u64::from);
        let (ordinal, _) = self.queue.present();
        let session = self.sessions.of(rows, &push.device, &push.session, now)?;
        let change = session.seen.admit(id, push.hash);
        rows.keep_seen(session.row.id, &change)?;

        session.windows.begin_epoch(ordinal);
        let copied = self.copied.is_some_and(|copied| match session.windows.joined() {
            Some(joined) => joined < copied,
            None => ordinal == copied,
        });
        // A recording counts its messages from 0.
        let unknown = self.replaced && session.windows.joined().is_none() && push.message_id != Some(0);
        let batch = Batch { median_time: push.median_time, samples: &push.samples };
        let mut observed = session.windows.observe(&self.settings.windows, &batch);
        let lets_go = copied || unknown || std::mem::take(&mut session.lost);
        if lets_go {
            let closed = observed.closed.len();
            observed.closed.retain(|closed| !closed.inherited);
            self.news.let_go += (closed - observed.closed.len()) as u64 + session.windows.let_go().windows;
        }

        session.row.messages += 1;
        session.row.readings += readings - withheld;
        session.row.conflicts += u64::from(conflict);
        session.row.late += observed.late;
        session.row.wild += observed.wild;
        session.row.heard_at = if received.clock_synced { received.received_at } else { 0 };
        session.save(rows)?;
        if withheld > 0 {
            rows.note_withheld(session.row.id, withheld)?;
        }
        self.heard_now.push((session.row.id, session.row.open.then_some(now)));

        let news = &mut self.news;
        news.messages += 1;
        news.readings += readings;
        news.withheld += withheld;
        news.rounded += u64::from(push.rounded);
        news.conflicts += u64::from(conflict);
        news.late += observed.late;
        news.wild += observed.wild;
        news.held += u64::from(observed.held);
        let present = session.windows.present();
        news.heard.push(Heard {
            device: push.device.clone(),
            session: push.session.clone(),
            at: now,
            readings,
            present: present.iter().map(|open| Slice::of(&open.window, open.slide)).collect(),
            running: present.into_iter().next_back().map(|open| open.window),
            closed: Closing::of(&observed.closed),
            sent: push.sensors.clone(),
            bins: received.bins.clone(),
            holes: session.seen.holes(),
            late: session.row.late,
            is_silence: false,
            is_withheld: push.privacy.keep == Keep::Activity,
        });
        spool_windows(rows, &mut self.queue, (&push.device, &push.session), &observed.closed)?;
        Ok(!lets_go)
    }

    /// Makes sure that `need` bytes fit, dropping what may be dropped if that helps.
    fn make_room(&mut self, rows: &Rows<'_>, need: u64, now: i64) -> Result<std::result::Result<(), Full>> {
        let config = &self.settings.spool;
        let mut fits = room_for(need, self.room, config);
        if fits.is_err() && config.when_full == WhenFull::DropOldestRaw {
            // A little more than needed, so that not every push has to drop.
            let wanted = overflow(need, self.room, config) + config.max_bytes / 64;
            rows.savepoint()?;
            let dropped = self.drop_oldest(rows, wanted, now)?;
            let before = self.room;
            self.look_for_room(rows)?;
            fits = room_for(need, self.room, &self.settings.spool);
            rows.end_savepoint(fits.is_ok())?;
            if fits.is_ok() {
                self.news.dropped_messages += dropped.0;
                self.news.dropped_readings += dropped.1;
            } else {
                self.room = before;
            }
        }
        if fits.is_ok() {
            self.room.take(need);
        }
        Ok(fits)
    }

    /// Drops never-sent raw frames, oldest first, until `wanted` bytes are free; gives the messages and readings gone.
    fn drop_oldest(&self, rows: &Rows<'_>, mut wanted: u64, now: i64) -> Result<(u64, u64)> {
        let (mut messages, mut readings) = (0, 0);
        for (ordinal, first, last) in self.queue.never_sent(Stream::Raw) {
            let dropped = rows.drop_raw(ordinal, (first, last), wanted, now, "spool full")?;
            wanted = wanted.saturating_sub(dropped.bytes);
            messages += dropped.messages;
            readings += dropped.readings;
            if wanted == 0 {
                break;
            }
        }
        Ok((messages, readings))
    }

    fn full(&self, full: Full) -> String {
        let waiting = self.queue.waiting(Stream::Raw);
        match full {
            Full::Cap => format!(
                "The agent's spool is full: {waiting} messages wait for the relay. This one was not stored. \
                 Connect the agent to its relay, or raise spool.max_bytes."
            ),
            Full::Disk => format!(
                "The agent's disk is nearly full: {waiting} messages wait for the relay. This one was not stored. \
                 Free some space on the agent's disk."
            ),
        }
    }
}

/// Notes what a lost spool may hold of a push that is kept again; of windows only if they are told again too.
fn note_retold(rows: &Rows<'_>, received: &Received, windows: bool) -> Result<()> {
    let retold = received.lost.iter().filter(|names| windows || names.stream == Stream::Raw);
    retold.copied().try_for_each(|names| rows.note_retold(names))
}

fn seal(received: &Received, message_id: Option<u64>, conflict: Option<&Packed>) -> Vec<u8> {
    let push = &received.push;
    let header = Header {
        device: push.device.clone(),
        session: push.session.clone(),
        user: push.user.clone(),
        message_id,
        received_at: received.received_at,
        clock_synced: received.clock_synced,
    };
    conflict.unwrap_or(&push.packed).seal(&header)
}

/// One frame for the windows of one rule and origin.
pub(super) fn spool_windows(
    rows: &Rows<'_>,
    queue: &mut Queue,
    (device, session): (&str, &str),
    closed: &[Closed],
) -> Result<()> {
    for alike in closed.chunk_by(|a, b| a.inherited == b.inherited && a.classifier == b.classifier) {
        let frame = ActivityFrame {
            device: device.to_owned(),
            session: session.to_owned(),
            classifier: alike[0].classifier.name(),
            windows: alike.iter().map(|closed| closed.window.clone()).collect(),
        };
        rows.insert_activity(queue.assign(Stream::Activity), alike[0].inherited, &frame.encode())?;
    }
    Ok(())
}
