//! The one thread that writes the spool.
//!
//! - All commands that waited while the last transaction was synced go into the next one, in the order in which they
//!   came: one fsync for many pushes.
//! - Nobody is answered before the transaction is on the disk; if it fails, nothing in memory remembers it.
//! - Nobody is answered unless the file is still where it was opened, and the one that was opened.
//! - What a lost file left unanswered is kept for the next one.
//! - Bookkeeping that can be done again (acknowledgements, deletions, that this start was welcomed) waits for a push's
//!   transaction, two seconds at most: longer than a phone's pause between pushes.
//!
//! [`state`] is what a transaction does; this is the loop around it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_service::health::Part;
use rusqlite::{Connection, TransactionBehavior};
use tokio::runtime::Handle;
use tokio::sync::{oneshot, watch};

use crate::ingest::{Push, Refusal};
use crate::metrics::AgentMetrics;
use crate::recent::Feed;
use crate::spool::damage::{self, Loss};
use crate::spool::presence::Presence;
use crate::spool::queue::SentMarks;
use crate::spool::retold::Names;
use crate::spool::rows::Rows;
use crate::spool::schema;
use crate::status::{AgentStatus, Bin};
use crate::uplink::SpoolState;

mod accept;
mod ages;
mod closing;
mod inbox;
mod mending;
pub(crate) mod news;
mod sessions;
pub mod state;
pub(crate) mod upkeep;

pub use inbox::Inbox;
use state::{Answer, State};

/// Commands that may wait for the writer; beyond it callers wait.
pub const QUEUE: usize = 1024;

/// Most commands in one transaction, and most bytes of bodies.
const MAX_COMMANDS: usize = 512;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// How long bookkeeping that can be done again may wait for a transaction.
const LAZY: Duration = Duration::from_secs(2);

/// How long to wait after a failed transaction that nobody waits for.
const RETRY: Duration = Duration::from_secs(1);

/// How often a failure that goes on is logged.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What the writer is asked to do.
#[derive(Debug)]
pub enum Command {
    /// Keep a push.
    Push(Box<Received>, oneshot::Sender<Result<Accepted, Refusal>>),
    /// The relay has everything of a stream up to a seq.
    Acknowledged {
        /// The start that named the frames.
        epoch: Epoch,
        /// The stream.
        stream: Stream,
        /// Greatest seq.
        up_to: u64,
    },
    /// A relay has welcomed this start.
    Welcomed,
    /// A relay has welcomed this start, and this data directory is a copy: let go of inherited windows.
    Copied {
        /// Ordinal of the last start that the other has too, 0 if it is not known.
        common: u64,
        /// Answered once they are let go.
        done: oneshot::Sender<()>,
    },
    /// Everything in the spool may be sent from now on; answered with how far that is.
    MarkSent(oneshot::Sender<SentMarks>),
    /// A frame is damaged or missing: a gap takes its place.
    Mend {
        /// The start that named it.
        epoch: Epoch,
        /// The stream.
        stream: Stream,
        /// Its seq.
        seq: u64,
        /// Microseconds since the Unix epoch, wall clock.
        noticed_at: i64,
        /// Answered once that is on the disk.
        done: oneshot::Sender<()>,
    },
    /// A reader found the file damaged, and how.
    Damaged(String),
}

/// A push with what the agent knows of its arrival.
#[derive(Debug)]
pub struct Received {
    /// The push.
    pub push: Push,
    /// Its body as it came.
    pub body: Bytes,
    /// Microseconds since the Unix epoch, wall clock.
    pub received_at: i64,
    /// Whether the wall clock was synchronised.
    pub clock_synced: bool,
    /// Its motion, if somebody looks.
    pub bins: Vec<Bin>,
    /// The names of its frames in spools that were lost before it was answered; at first none.
    pub lost: Vec<Names>,
}

/// A push that is on the disk, or was before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Readings in the push.
    pub readings: u32,
    /// Whether it was accepted before.
    pub duplicate: bool,
}

/// What the writer tells others after each transaction.
#[derive(Debug)]
pub struct Outlets {
    /// For the uplink.
    pub state: watch::Sender<SpoolState>,
    /// For the uplink's reader.
    pub marks: watch::Sender<SentMarks>,
    /// For the live view.
    pub status: Arc<AgentStatus>,
    /// For who looks at today; none where nobody keeps it.
    pub recent: Option<Feed>,
    /// For Prometheus.
    pub metrics: AgentMetrics,
    /// For `/readyz`.
    pub health: Part,
}

/// How the writer ended.
#[derive(Debug)]
pub enum Ended {
    /// Every sender of commands is gone; what can be kept is.
    Closed,
    /// The file can be used no longer.
    Lost {
        /// Why.
        loss: Loss,
        /// What of the files is still this spool's.
        presence: Presence,
        /// What nobody was answered for.
        inbox: Inbox,
    },
}

/// Runs until every sender of commands is gone, or until the file is lost. Blocks its thread.
pub fn run(
    connection: Connection,
    state: State,
    inbox: impl Into<Inbox>,
    runtime: &Handle,
    outlets: &Outlets,
) -> anyhow::Result<Ended> {
    let Inbox { mut waiting, mut commands } = inbox.into();
    let path = state.path();
    let presence =
        Presence::of(path).with_context(|| format!("spool {} is not where it was opened", path.display()))?;
    outlets.health.ready();
    let mut writer = Writer { connection, state, batch: Vec::new(), presence, lost: None, outlets, complained: None };
    loop {
        let deadline = writer.state.next_deadline();
        let wait = deadline.map_or(Duration::from_secs(60), |at| at.saturating_duration_since(Instant::now()));
        let first = match waiting.pop_front() {
            Some(command) => Ok(Some(command)),
            None => runtime.block_on(async { tokio::time::timeout(wait, commands.recv()).await }),
        };
        let closed = matches!(first, Ok(None));
        let mut asked = false;
        if let Ok(Some(command)) = first {
            asked = writer.collect(command, || waiting.pop_front().or_else(|| commands.try_recv().ok()));
        }
        let now = Instant::now();
        if writer.lost.is_none() && (asked || closed || writer.state.is_due(now)) {
            writer.transact(now);
        }
        if let Some(loss) = writer.lost.take() {
            let Writer { connection, mut batch, presence, mut state, .. } = writer;
            leave(connection, &loss);
            // The file may hold what nobody was answered for.
            for (command, names) in batch.iter_mut().zip(state.given.drain(..)) {
                if let Command::Push(received, _) = command {
                    received.lost.extend(names);
                }
            }
            let mut inbox = Inbox::from(commands);
            batch.into_iter().chain(waiting).for_each(|command| inbox.keep(command));
            return Ok(Ended::Lost { loss, presence, inbox });
        }
        if closed {
            return Ok(Ended::Closed);
        }
    }
}

/// Closes a lost file. Its log is left alone, except where it has no name any more: then what it holds goes into the
/// file.
fn leave(connection: Connection, loss: &Loss) {
    if *loss != Loss::LogVanished {
        schema::keep_log(&connection, true);
    }
    if let Err((_, error)) = connection.close() {
        tracing::debug!(%error, "a lost spool does not close well");
    }
}

struct Writer<'o> {
    connection: Connection,
    state: State,
    /// What waits for the next transaction; after a failure, what was not a push.
    batch: Vec<Command>,
    presence: Presence,
    /// Why the file can be used no longer.
    lost: Option<Loss>,
    outlets: &'o Outlets,
    complained: Option<Instant>,
}

impl Writer<'_> {
    /// Takes `first` and what waits behind it into the batch, what can wait only into the state. Whether somebody waits.
    fn collect(&mut self, first: Command, mut behind: impl FnMut() -> Option<Command>) -> bool {
        let (mut bytes, mut asked) = (0, false);
        let mut next = Some(first);
        while let Some(command) = next {
            match command {
                Command::Acknowledged { epoch, stream, up_to } => {
                    self.state.note_acknowledged(epoch, stream, up_to, Instant::now() + LAZY);
                }
                Command::Welcomed => self.state.note_welcomed(Instant::now() + LAZY),
                Command::Damaged(what) => self.lost = Some(Loss::Damaged(what)),
                command => {
                    if let Command::Push(received, _) = &command {
                        bytes += received.body.len();
                    }
                    self.batch.push(command);
                    asked = true;
                }
            }
            let room = self.batch.len() < MAX_COMMANDS && bytes < MAX_BYTES;
            next = if room { behind() } else { None };
        }
        asked
    }

    /// One transaction with everything in the batch and all bookkeeping that waits.
    fn transact(&mut self, now: Instant) {
        // Before anything is moved out of a log that is not whole any more.
        self.lost = self.presence.loss_meanwhile();
        if self.lost.is_some() {
            return;
        }
        if let Err(error) = self.state.settle(&Rows(&self.connection)) {
            tracing::debug!(%error, "the spool's log cannot be moved into its file");
            self.lost = damage::of(&error).map(Loss::Damaged);
            if self.lost.is_some() {
                return;
            }
        }
        let linked = self.outlets.status.uplink.snapshot().welcomed;
        let undo = self.state.checkpoint();
        let before = self.connection.total_changes();
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate);
        let result = transaction.and_then(|transaction| {
            let answers = self.state.apply(&Rows(&transaction), &self.batch, now, linked)?;
            transaction.commit()?;
            Ok(answers)
        });
        match result {
            Ok(answers) => {
                // What was written to a file that is not at its path any more is not kept.
                self.lost = self.presence.loss_in_commit();
                if self.lost.is_some() {
                    return;
                }
                // Before anybody is answered: whatever is cut from then on is noticed.
                self.presence.measure();
                let wrote = self.connection.total_changes() != before;
                self.tell(answers, wrote, now);
            }
            Err(error) => {
                self.lost = self.presence.loss_in_commit().or_else(|| damage::of(&error).map(Loss::Damaged));
                if self.lost.is_some() {
                    return;
                }
                self.presence.measure();
                self.state.undo(undo, now + RETRY);
                self.fail(&error, now);
            }
        }
        let shrunk = self.state.shrink(&Rows(&self.connection), now).unwrap_or_else(|error| {
            self.lost = damage::of(&error).map(Loss::Damaged);
            tracing::warn!(%error, "the spool's file cannot give space back");
            true
        });
        if shrunk {
            self.presence.measure();
        }
    }

    /// The transaction is on the disk: everybody is told.
    fn tell(&mut self, answers: Vec<Answer>, wrote: bool, now: Instant) {
        let outlets = self.outlets;
        let room_again = self.state.has_room_again();
        match (&self.state.news.no_room, room_again) {
            (Some(sentence), _) => outlets.health.not_ready(sentence.as_str()),
            (None, Some(true)) => outlets.health.ready(),
            // Only a transaction that wrote shows that the disk takes something.
            (None, None) if wrote => outlets.health.ready(),
            (None, _) => {}
        }
        outlets.state.send_replace(self.state.spool_state());
        let copied = self.batch.iter().any(|command| matches!(command, Command::Copied { .. }));
        if self.state.news.let_go > 0 && !copied {
            let windows = self.state.news.let_go;
            tracing::warn!(windows, "windows that were told before this spool, or by another, were let go of");
        }
        let marks = self.state.sent_marks();
        outlets.marks.send_replace(marks.clone());
        self.state.committed(outlets, now);
        for (command, answer) in self.batch.drain(..).zip(answers) {
            // Whoever asked may be gone: then nobody needs the answer.
            match (command, answer) {
                (Command::Push(_, to), Answer::Push(result)) => drop(to.send(result)),
                (Command::Copied { done, .. } | Command::Mend { done, .. }, _) => drop(done.send(())),
                (Command::MarkSent(to), _) => drop(to.send(marks.clone())),
                _ => {}
            }
        }
    }

    /// The transaction failed: pushes are refused, the rest is tried again.
    fn fail(&mut self, error: &rusqlite::Error, now: Instant) {
        let reason = sentence(error);
        if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DiskFull) {
            self.state.wanting.get_or_insert(0);
        }
        if self.complained.is_none_or(|at| now.saturating_duration_since(at) >= COMPLAIN_EVERY) {
            self.complained = Some(now);
            tracing::error!(%error, commands = self.batch.len(), "the spool cannot be written");
        }
        self.outlets.health.not_ready(reason.as_str());
        self.outlets.metrics.failed_transactions.inc();
        let (pushes, others): (Vec<_>, Vec<_>) =
            self.batch.drain(..).partition(|command| matches!(command, Command::Push(..)));
        self.batch = others;
        for command in pushes {
            if let Command::Push(_, to) = command {
                drop(to.send(Err(Refusal::NoRoom(reason.clone()))));
            }
        }
    }
}

/// What the phone's owner and the operator should know of a failed transaction.
fn sentence(error: &rusqlite::Error) -> String {
    match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DiskFull) => {
            "The agent's disk is full: nothing was stored. Free some space on it.".to_owned()
        }
        Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked) => {
            "The agent's spool is locked by another program: nothing was stored. Close what has spool.db open."
                .to_owned()
        }
        _ => format!("The agent cannot write its spool: nothing was stored. ({error})"),
    }
}
