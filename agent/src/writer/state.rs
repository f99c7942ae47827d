//! What one transaction does, and what is known in memory between two of them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use gaitway_proto::activity::{ActivityFrame, Window};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::message::Header;
use rusqlite::Result;
use tokio::sync::oneshot;

use super::sessions::{Session, Sessions};
use super::{Accepted, Command, Received};
use crate::ingest::{self, Refusal};
use crate::metrics::AgentMetrics;
use crate::seen::Verdict;
use crate::spool::cap::{Full, Room, SpoolConfig, WhenFull, room_for};
use crate::spool::queue::{Moved, Queue};
use crate::spool::reader::SentMarks;
use crate::spool::rows::Rows;
use crate::status::{AgentStatus, Heard};
use crate::uplink::SpoolState;
use crate::windows::{Batch, Closed, Params};

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
}

impl Settings {
    /// Whether sent frames must be told from others.
    pub fn tracks_sent(&self) -> bool {
        self.spool.when_full == WhenFull::DropOldestRaw
    }
}

/// The writer's memory. All of it can be read from rows again.
#[derive(Debug)]
pub struct State {
    pub(super) settings: Settings,
    pub(super) queue: Queue,
    sessions: Sessions,
    /// When a session with open windows was last heard.
    heard: HashMap<i64, Instant>,
    acknowledged: HashMap<(Epoch, Stream), u64>,
    /// This start was welcomed, which is not on the disk yet.
    welcomed: bool,
    /// Streams with acknowledged rows to delete.
    pub(super) deletions: Vec<Moved>,
    /// When to begin a transaction though nobody asks.
    pub(super) due: Option<Instant>,
    pub(super) upkeep_at: Instant,
    /// Free pages are being given back.
    pub(super) shrinking: bool,
    /// The last start that found this data directory to be a copy: a session's first message since then lets go of the
    /// windows that what went on elsewhere may have told.
    copied: Option<u64>,
    online: bool,
    pub(super) room: Room,
    /// What the transaction under way did, told when it is on the disk.
    pub(super) news: News,
}

/// What a transaction did.
#[derive(Debug, Default)]
pub(crate) struct News {
    pub(crate) heard: Vec<Heard>,
    pub(crate) windows: Vec<Window>,
    pub(crate) messages: u64,
    pub(crate) readings: u64,
    pub(crate) duplicates: u64,
    pub(crate) conflicts: u64,
    pub(crate) late: u64,
    pub(crate) wild: u64,
    pub(crate) held: u64,
    pub(crate) dropped_messages: u64,
    pub(crate) dropped_readings: u64,
}

/// What a failed transaction must give back.
pub(super) struct Undo {
    queue: Queue,
    copied: Option<u64>,
    deletions: Vec<Moved>,
    acknowledged: HashMap<(Epoch, Stream), u64>,
    welcomed: bool,
    heard: HashMap<i64, Instant>,
}

/// An answer that waits for the transaction.
pub(super) enum Answer {
    Push(oneshot::Sender<std::result::Result<Accepted, Refusal>>, std::result::Result<Accepted, Refusal>),
    Copied(oneshot::Sender<()>),
    Marks(oneshot::Sender<SentMarks>, SentMarks),
}

impl Answer {
    /// Whoever asked may be gone: then nobody needs the answer.
    pub(super) fn send(self) {
        match self {
            Self::Push(to, result) => drop(to.send(result)),
            Self::Copied(to) => drop(to.send(())),
            Self::Marks(to, marks) => drop(to.send(marks)),
        }
    }

    /// Answers a command whose transaction failed; those that are not pushes ask again.
    pub(super) fn refuse(command: Command, reason: &str) {
        if let Command::Push(_, to) = command {
            drop(to.send(Err(Refusal::NoRoom(reason.to_owned()))));
        }
    }
}

impl State {
    /// The memory of a start that `queue` has named, as `rows` tell it.
    pub fn load(settings: Settings, queue: Queue, rows: &Rows<'_>, now: Instant) -> Result<Self> {
        let (open, copied) = (rows.open_sessions()?, rows.copied()?);
        // The start before may have ended between an acknowledgement and its deletions.
        let deletions: Vec<Moved> = queue.all().into_iter().filter(|moved| moved.positions.acked > 0).collect();
        Ok(Self {
            settings,
            queue,
            sessions: Sessions::default(),
            heard: open.into_iter().map(|id| (id, now)).collect(),
            acknowledged: HashMap::new(),
            welcomed: false,
            deletions,
            due: None,
            upkeep_at: now,
            shrinking: false,
            copied,
            online: false,
            room: Room { used: 0, reusable: 0, disk_free: u64::MAX, disk_total: 0 },
            news: News::default(),
        })
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
        [silent, self.due, Some(self.upkeep_at)].into_iter().flatten().min()
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
            heard: self.heard.clone(),
        }
    }

    /// Forgets a transaction that failed; what nobody waits for is tried again at `retry`.
    pub(super) fn undo(&mut self, undo: Undo, retry: Instant) {
        let Undo { queue, copied, deletions, acknowledged, welcomed, heard } = undo;
        (self.queue, self.copied, self.deletions) = (queue, copied, deletions);
        (self.acknowledged, self.welcomed) = (acknowledged, welcomed);
        let again = retry.checked_sub(self.settings.silence);
        self.heard = heard.into_iter().map(|(id, at)| (id, again.map_or(at, |again| at.max(again)))).collect();
        self.sessions.clear();
        self.news = News::default();
        self.due = Some(retry);
        self.upkeep_at = self.upkeep_at.max(retry);
    }

    /// Everything that one transaction does, in an order that keeps names in the order of commit.
    pub(super) fn apply(&mut self, rows: &Rows<'_>, batch: &mut Vec<Command>, now: Instant) -> Result<Vec<Answer>> {
        self.due = None;
        self.take_acknowledgements(rows)?;
        if std::mem::take(&mut self.welcomed) {
            self.keep_welcomed(rows)?;
        }
        self.look_for_room(rows)?;
        // The commands stay in `batch` until they are on the disk: a failed transaction answers them all.
        let mut results = Vec::with_capacity(batch.len());
        for command in batch.iter() {
            results.push(match command {
                Command::Push(received, _) => Some(self.push(rows, received, now)?),
                Command::Copied { common, .. } => {
                    self.let_go(rows, *common, now)?;
                    None
                }
                Command::MarkSent(_) => {
                    self.online = true;
                    None
                }
                Command::Acknowledged { .. } | Command::Welcomed => None,
            });
        }
        self.close_silent(rows, now)?;
        if self.online && self.settings.tracks_sent() {
            for moved in self.queue.mark_sent() {
                rows.set_positions(moved)?;
            }
        }
        self.upkeep(rows, now)?;
        self.sessions.tidy(now);

        let marks = self.sent_marks();
        let answer = |(command, result)| match (command, result) {
            (Command::Push(_, to), Some(result)) => Some(Answer::Push(to, result)),
            (Command::Copied { done, .. }, _) => Some(Answer::Copied(done)),
            (Command::MarkSent(to), _) => Some(Answer::Marks(to, marks.clone())),
            _ => None,
        };
        Ok(batch.drain(..).zip(results).filter_map(answer).collect())
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

    fn keep_welcomed(&mut self, rows: &Rows<'_>) -> Result<()> {
        let (ordinal, _) = self.queue.present();
        if self.queue.note_welcomed(ordinal) { rows.set_welcomed(ordinal) } else { Ok(()) }
    }

    fn push(
        &mut self,
        rows: &Rows<'_>,
        received: &Received,
        now: Instant,
    ) -> Result<std::result::Result<Accepted, Refusal>> {
        let push = &received.push;
        let readings = push.packed.readings();
        let session = self.sessions.of(rows, &push.device, &push.session, now)?;
        let verdict = session.seen.judge(push.message_id, push.hash);
        let (id, conflict) = match verdict {
            Verdict::Duplicate => {
                self.news.duplicates += 1;
                return Ok(Ok(Accepted { readings, duplicate: true }));
            }
            Verdict::New(id) => (id, None),
            Verdict::Conflict => match ingest::parse_without_id(&received.body) {
                Ok(again) => (None, Some(again.packed)),
                Err(refusal) => return Ok(Err(refusal)),
            },
        };
        let header = Header {
            device: push.device.clone(),
            session: push.session.clone(),
            user: push.user.clone(),
            message_id: id,
            received_at: received.received_at,
            clock_synced: received.clock_synced,
        };
        let frame = conflict.as_ref().unwrap_or(&push.packed).seal(&header);
        if let Err(full) = self.make_room(rows, frame.len() as u64, received.received_at)? {
            return Ok(Err(Refusal::NoRoom(self.full(full))));
        }

        let (ordinal, _) = self.queue.present();
        let session = self.sessions.of(rows, &push.device, &push.session, now)?;
        let change = session.seen.admit(id, push.hash);
        rows.keep_seen(session.row.id, &change)?;
        session.windows.begin_epoch(ordinal);
        let copied = self.copied.filter(|copied| match session.windows.joined() {
            Some(joined) => joined < *copied,
            None => ordinal == *copied,
        });
        let batch = Batch { median_time: push.median_time, samples: &push.samples };
        let mut observed = session.windows.observe(&self.settings.windows, &batch);
        if copied.is_some() {
            observed.closed.retain(|closed| !closed.inherited);
            session.windows.let_go();
        }
        session.row.messages += 1;
        session.row.readings += u64::from(readings);
        session.row.conflicts += u64::from(conflict.is_some());
        session.row.late += observed.late;
        session.row.wild += observed.wild;
        session.row.heard_at = received.received_at;
        session.save(rows)?;
        if session.row.open {
            self.heard.insert(session.row.id, now);
        } else {
            self.heard.remove(&session.row.id);
        }
        let news = &mut self.news;
        news.messages += 1;
        news.readings += u64::from(readings);
        news.conflicts += u64::from(conflict.is_some());
        news.late += observed.late;
        news.wild += observed.wild;
        news.held += u64::from(observed.held);
        news.heard.push(Heard {
            device: push.device.clone(),
            at: now,
            readings: u64::from(readings),
            running: session.windows.running(),
        });
        if readings > 0 {
            rows.insert_raw(self.queue.assign(Stream::Raw), readings, &frame)?;
        }
        let names = (push.device.as_str(), push.session.as_str());
        Self::spool_windows(rows, &mut self.queue, &mut self.news, names, &observed.closed)?;
        Ok(Ok(Accepted { readings, duplicate: false }))
    }

    /// One frame for the windows of one rule and origin.
    fn spool_windows(
        rows: &Rows<'_>,
        queue: &mut Queue,
        news: &mut News,
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
            news.windows.extend(frame.windows);
        }
        Ok(())
    }

    fn close_silent(&mut self, rows: &Rows<'_>, now: Instant) -> Result<()> {
        let silence = self.settings.silence;
        let silent: Vec<i64> = self
            .heard
            .iter()
            .filter(|(_, heard)| now.saturating_duration_since(**heard) >= silence)
            .map(|(id, _)| *id)
            .collect();
        let (ordinal, _) = self.queue.present();
        for id in silent {
            let session = self.sessions.by_id(rows, id, now)?;
            session.windows.begin_epoch(ordinal);
            let closed = session.windows.flush();
            session.save(rows)?;
            let names = (session.row.device.clone(), session.row.session.clone());
            self.news.heard.push(Heard { device: names.0.clone(), at: now, readings: 0, running: None });
            Self::spool_windows(rows, &mut self.queue, &mut self.news, (&names.0, &names.1), &closed)?;
            self.heard.remove(&id);
        }
        Ok(())
    }

    /// This data directory is a copy of one that has its starts up to `common`: the windows that were open then are
    /// another's to tell. Starts up to the last one welcomed were told so in their time; what the others since then
    /// closed was not sent yet.
    fn let_go(&mut self, rows: &Rows<'_>, common: u64, now: Instant) -> Result<()> {
        let (ordinal, _) = self.queue.present();
        let first = common.max(self.queue.last_welcomed()).saturating_add(1).min(ordinal);
        self.keep_welcomed(rows)?;
        let mut windows = 0;
        for (id, bytes) in rows.inherited(first)? {
            let mut frame = ActivityFrame::decode(&bytes).map_err(|error| {
                rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Blob, Box::new(error))
            })?;
            windows += frame.windows.len();
            frame.windows.clear();
            rows.replace_activity(id, &frame.encode())?;
        }
        self.copied = Some(ordinal);
        rows.set_copied(ordinal)?;
        let open = rows.open_sessions()?;
        for id in &open {
            let session: &mut Session = self.sessions.by_id(rows, *id, now)?;
            session.windows.begin_epoch(ordinal);
            session.windows.let_go();
            session.save(rows)?;
        }
        tracing::warn!(
            windows,
            sessions = open.len(),
            "this data directory is a copy: windows opened before this start were let go of"
        );
        Ok(())
    }

    fn look_for_room(&mut self, rows: &Rows<'_>) -> Result<()> {
        self.room = Room { disk_free: self.room.disk_free, disk_total: self.room.disk_total, ..rows.room()? };
        Ok(())
    }

    /// Makes sure that `need` bytes fit, dropping what may be dropped.
    fn make_room(&mut self, rows: &Rows<'_>, need: u64, now: i64) -> Result<std::result::Result<(), Full>> {
        let mut fits = room_for(need, self.room, &self.settings.spool);
        if fits.is_err() && self.settings.spool.when_full == WhenFull::DropOldestRaw {
            // A little more than needed, so that not every push has to drop.
            let mut wanted = need + self.settings.spool.max_bytes / 64;
            for (ordinal, first, last) in self.queue.never_sent(Stream::Raw) {
                let (freed, gap) = rows.drop_raw(ordinal, (first, last), wanted, now, "spool full")?;
                wanted = wanted.saturating_sub(freed);
                self.news.dropped_messages += gap.messages;
                self.news.dropped_readings += gap.readings;
                if wanted == 0 {
                    break;
                }
            }
            self.look_for_room(rows)?;
            fits = room_for(need, self.room, &self.settings.spool);
        }
        if fits.is_ok() {
            self.room.used += need;
            self.room.reusable = self.room.reusable.saturating_sub(need);
        }
        Ok(fits)
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

    /// Tells the live view and Prometheus of a transaction that is on the disk.
    pub(super) fn tell(&mut self, status: &AgentStatus, metrics: &AgentMetrics) {
        let news = std::mem::take(&mut self.news);
        let waiting = Stream::ALL.map(|stream| (stream, self.queue.waiting(stream)));
        metrics.tell(&news, &waiting, self.room.used);
        status.tell(news.heard, news.readings, &waiting, self.room.used);
    }
}
