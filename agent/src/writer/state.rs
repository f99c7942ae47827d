//! What the writer knows in memory between two transactions. All of it can be read from rows again.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{Epoch, Stream};
use rusqlite::Result;

use super::ages::Ages;
use super::news::{Heard, News};
use super::sessions::Sessions;
use super::upkeep::{disk, file_bytes, log_bytes};
use super::{Accepted, Command, Outlets};
use crate::ingest::Refusal;
use crate::recent::Told;
use crate::spool::cap::{Room, SpoolConfig, WhenFull, log_excess, room_for};
use crate::spool::queue::{Moved, Queue, SentMarks};
use crate::spool::retold::Names;
use crate::spool::rows::Rows;
use crate::spool::schema::LOG_BYTES;
use crate::status::Waiting;
use crate::uplink::SpoolState;
use crate::windows::Params;

/// How the writer works.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file, to ask its disk for room.
    pub path: PathBuf,
    /// Cap and memory.
    pub spool: SpoolConfig,
    /// Windows from now on.
    pub windows: Params,
    /// A session silent for so long has its windows closed.
    pub silence: Duration,
    /// Microseconds since the Unix epoch, none while the wall clock is not synchronised: only what was heard under a
    /// synchronised clock has an age.
    pub wall_clock: fn() -> Option<i64>,
}

impl Settings {
    /// Whether sent frames must be told from others.
    pub fn tracks_sent(&self) -> bool {
        self.spool.when_full == WhenFull::DropOldestRaw
    }
}

/// The writer's memory.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct State {
    pub(super) settings: Settings,
    pub(super) queue: Queue,
    pub(super) sessions: Sessions,
    /// When a session with open windows was last heard.
    pub(super) heard: HashMap<i64, Instant>,
    /// What the transaction under way changes of it.
    pub(super) heard_now: Vec<(i64, Option<Instant>)>,
    /// The names that it gave, by its commands.
    pub(super) given: Vec<Vec<Names>>,
    acknowledged: HashMap<(Epoch, Stream), u64>,
    /// This start was welcomed, which is not on the disk yet.
    welcomed: bool,
    /// Streams with acknowledged rows to delete.
    pub(super) deletions: Vec<Moved>,
    /// When to begin a transaction though nobody asks.
    pub(super) due: Option<Instant>,
    /// After a failure: nothing that nobody waits for begins before.
    not_before: Option<Instant>,
    pub(super) upkeep_at: Instant,
    pub(super) forget_at: Instant,
    /// Free pages are being given back.
    pub(super) shrinking: bool,
    /// When the log is looked at again while it is long, and whether it was said that somebody keeps it so.
    pub(super) log_at: Instant,
    pub(super) log_told: bool,
    /// The last start that found this data directory to be a copy: a session's first message since then lets go of the
    /// windows that what went on elsewhere may have told.
    pub(super) copied: Option<u64>,
    /// This file took the place of another: the first message of a session that is new here lets go of windows too,
    /// unless it is the first of its recording.
    pub(super) replaced: bool,
    pub(super) room: Room,
    /// Nothing was committed since the log was moved into the file to its end.
    pub(super) settled: bool,
    /// Bytes of the last push that found no room, until there is room for as much.
    pub(super) wanting: Option<u64>,
    pub(super) news: News,
    ages: Ages,
    /// When the oldest frame came, microseconds since the Unix epoch, if an earlier start took it under a synchronised clock.
    oldest_received: Option<i64>,
}

/// What a failed transaction must give back.
pub(super) struct Undo {
    queue: Queue,
    copied: Option<u64>,
    deletions: Vec<Moved>,
    acknowledged: HashMap<(Epoch, Stream), u64>,
    welcomed: bool,
}

/// What a command will be answered once the transaction is on the disk.
pub(super) enum Answer {
    Push(std::result::Result<Accepted, Refusal>),
    Done,
}

impl State {
    /// The memory of a start that `queue` has named, as `rows` tell it.
    pub fn load(settings: Settings, queue: Queue, rows: &Rows<'_>, now: Instant) -> Result<Self> {
        let (open, copied, replaced) = (rows.open_sessions()?, rows.copied()?, rows.replaced()?);
        // The start before may have ended between an acknowledgement and its deletions.
        let deletions: Vec<Moved> = queue.all().into_iter().filter(|moved| moved.positions.acked > 0).collect();
        Ok(Self {
            settings,
            queue,
            sessions: Sessions::default(),
            heard: open.into_iter().map(|id| (id, now)).collect(),
            heard_now: Vec::new(),
            given: Vec::new(),
            acknowledged: HashMap::new(),
            welcomed: false,
            deletions,
            due: None,
            not_before: None,
            upkeep_at: now,
            forget_at: now,
            shrinking: false,
            log_at: now,
            log_told: false,
            copied,
            replaced,
            room: Room::default(),
            settled: false,
            wanting: None,
            news: News::default(),
            ages: Ages::default(),
            oldest_received: None,
        })
    }

    /// The ordinal of this start.
    pub fn ordinal(&self) -> u64 {
        self.queue.present().0
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.settings.path
    }

    /// What the uplink offers.
    pub fn spool_state(&self) -> SpoolState {
        let (epoch, ancestors) = (self.queue.present().1, self.queue.ancestors());
        SpoolState { epoch, ancestors, streams: self.queue.offers() }
    }

    /// How far frames are marked as sent.
    pub fn sent_marks(&self) -> SentMarks {
        self.queue.sent()
    }

    /// Remembers an acknowledgement for the next transaction, which begins by `at`.
    pub(super) fn note_acknowledged(&mut self, epoch: Epoch, stream: Stream, up_to: u64, at: Instant) {
        let noted = self.acknowledged.entry((epoch, stream)).or_default();
        *noted = up_to.max(*noted);
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Remembers for the next transaction, which begins by `at`, that this start was welcomed.
    pub(super) fn note_welcomed(&mut self, at: Instant) {
        self.welcomed = true;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// When something is to be done though nobody asks.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let silent = self.heard.values().min().map(|heard| *heard + self.settings.silence);
        let first = [silent, self.due, Some(self.upkeep_at)].into_iter().flatten().min();
        first.map(|at| self.not_before.map_or(at, |not_before| at.max(not_before)))
    }

    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.next_deadline().is_some_and(|at| at <= now)
    }

    pub(super) fn checkpoint(&self) -> Undo {
        Undo {
            queue: self.queue.clone(),
            copied: self.copied,
            deletions: self.deletions.clone(),
            acknowledged: self.acknowledged.clone(),
            welcomed: self.welcomed,
        }
    }

    /// Forgets a transaction that failed; what nobody waits for is tried again at `retry`.
    pub(super) fn undo(&mut self, undo: Undo, retry: Instant) {
        let Undo { queue, copied, deletions, acknowledged, welcomed } = undo;
        (self.queue, self.copied, self.deletions) = (queue, copied, deletions);
        (self.acknowledged, self.welcomed) = (acknowledged, welcomed);
        self.heard_now.clear();
        self.given.clear();
        self.sessions.clear();
        self.news = News::default();
        self.due = Some(retry);
        self.not_before = Some(retry);
    }

    /// Everything that one transaction does, in an order that keeps names in the order of commit; an answer for each
    /// command. `linked`: what is committed now is sent at once.
    pub(super) fn apply(
        &mut self,
        rows: &Rows<'_>,
        batch: &[Command],
        now: Instant,
        linked: bool,
    ) -> Result<Vec<Answer>> {
        self.due = None;
        self.take_acknowledgements(rows)?;
        if std::mem::take(&mut self.welcomed) {
            self.keep_welcomed(rows)?;
        }
        self.look_for_room(rows)?;
        let mut mark = linked;
        let mut answers = Vec::with_capacity(batch.len());
        for command in batch {
            let before = Stream::ALL.map(|stream| (stream, self.queue.next(stream)));
            answers.push(match command {
                Command::Push(received, _) => Answer::Push(self.push(rows, received, now)?),
                Command::Copied { common, .. } => {
                    self.let_go(rows, *common, now)?;
                    Answer::Done
                }
                Command::MarkSent(_) => {
                    mark = true;
                    Answer::Done
                }
                Command::Mend { epoch, stream, seq, noticed_at, .. } => {
                    self.mend(rows, (*epoch, *stream, *seq), *noticed_at)?;
                    Answer::Done
                }
                Command::Acknowledged { .. } | Command::Welcomed | Command::Damaged(_) => Answer::Done,
            });
            let (_, epoch) = self.queue.present();
            let given = |(stream, first)| Names { epoch, stream, first, last: self.queue.next(stream) - 1 };
            self.given.push(before.into_iter().map(given).filter(|names| names.first <= names.last).collect());
        }
        self.close_silent(rows, now)?;
        if mark && self.settings.tracks_sent() {
            for moved in self.queue.mark_sent() {
                rows.set_positions(moved)?;
            }
        }
        self.upkeep(rows, now)?;
        self.sessions.tidy(now);
        Ok(answers)
    }

    /// The transaction is on the disk: what it changed in memory holds, and is told.
    pub(super) fn committed(&mut self, outlets: &Outlets, now: Instant) {
        self.not_before = None;
        self.given.clear();
        for (id, heard) in self.heard_now.drain(..) {
            match heard {
                Some(at) => drop(self.heard.insert(id, at)),
                None => drop(self.heard.remove(&id)),
            }
        }
        let news = std::mem::take(&mut self.news);
        let waiting = self.waiting(now);
        outlets.metrics.tell(&news, &waiting);
        if let Some(recent) = &outlets.recent {
            for heard in news.heard.iter().filter(|heard| !heard.closed.is_empty()) {
                let Heard { device, session, closed, .. } = heard;
                recent.tell(Told { device: device.clone(), session: session.clone(), closed: closed.clone() });
            }
        }
        outlets.status.tell(news.heard, news.duplicates, waiting);
    }

    fn waiting(&mut self, now: Instant) -> Waiting {
        let accepted = Stream::ALL.map(|stream| {
            let next = self.queue.next(stream);
            self.ages.note(stream, next, now);
            next - 1
        });
        Waiting {
            raw: self.queue.waiting(Stream::Raw),
            activity: self.queue.waiting(Stream::Activity),
            accepted: accepted.iter().sum(),
            spool_bytes: self.room.used,
            disk_free: Some(self.room.disk_free).filter(|_| self.room.disk_total > 0),
            oldest: self.oldest(now),
        }
    }

    /// Age of the oldest frame that waits; of an earlier start's by the wall clock, if that was and is synchronised.
    fn oldest(&mut self, now: Instant) -> Option<Duration> {
        let (ordinal, firsts) = self.queue.oldest_waiting()?;
        if ordinal == self.queue.present().0 {
            let since = firsts.into_iter().filter_map(|(stream, first)| self.ages.of(stream, first)).min();
            return since.map(|at| now.saturating_duration_since(at));
        }
        let received_at = self.oldest_received.filter(|_| firsts.iter().any(|(stream, _)| *stream == Stream::Raw))?;
        let age = (self.settings.wall_clock)()?.checked_sub(received_at)?;
        u64::try_from(age).ok().map(Duration::from_micros)
    }

    /// Looks when the oldest frame came, if an earlier start took it.
    pub(super) fn look_at_oldest(&mut self, rows: &Rows<'_>) -> Result<()> {
        let oldest = self.queue.oldest_waiting().filter(|(ordinal, _)| *ordinal != self.queue.present().0);
        let raw = oldest.and_then(|(ordinal, firsts)| {
            firsts.into_iter().find(|(stream, _)| *stream == Stream::Raw).map(|(_, first)| (ordinal, first))
        });
        self.oldest_received = raw.map_or(Ok(None), |(ordinal, first)| rows.received_at(ordinal, first))?;
        Ok(())
    }

    fn take_acknowledgements(&mut self, rows: &Rows<'_>) -> Result<()> {
        for ((epoch, stream), up_to) in self.acknowledged.drain() {
            if let Some(moved) = self.queue.acknowledge(epoch, stream, up_to) {
                rows.set_positions(moved)?;
                self.deletions.push(moved);
            }
        }
        Ok(())
    }

    pub(super) fn keep_welcomed(&mut self, rows: &Rows<'_>) -> Result<()> {
        let (ordinal, _) = self.queue.present();
        if self.queue.note_welcomed(ordinal) { rows.set_welcomed(ordinal) } else { Ok(()) }
    }

    /// Whether there is room again for what was refused for want of it; none if nothing was.
    pub(super) fn has_room_again(&mut self) -> Option<bool> {
        let fits = room_for(self.wanting?, self.room, &self.settings.spool).is_ok();
        self.wanting = self.wanting.filter(|_| !fits);
        Some(fits)
    }

    pub(super) fn look_for_room(&mut self, rows: &Rows<'_>) -> Result<()> {
        let (disk_free, disk_total) = disk(&self.settings.path);
        let (pages, log) = (rows.pages()?, log_bytes(&self.settings.path));
        self.room = Room {
            used: pages.all.saturating_sub(pages.free) + log_excess(log),
            reusable: pages.free,
            disk_free,
            disk_total,
            debt: pages.all.saturating_sub(file_bytes(&self.settings.path)),
            log,
            log_filled: if self.settled { 0 } else { LOG_BYTES },
            pending: 0,
        };
        Ok(())
    }
}
