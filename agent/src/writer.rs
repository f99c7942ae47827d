//! The one thread that writes the spool.
//!
//! - All commands that waited while the last transaction was synced go into the next one, in the order in which they
//!   came: one fsync for many pushes.
//! - Nobody is answered before the transaction is on the disk; if it fails, nothing in memory remembers it.
//! - Bookkeeping that can be done again (acknowledgements, deletions, that this start was welcomed) waits for a push's transaction, a second at most.
//!
//! [`state`] is what a transaction does; this is the loop around it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_service::health::Part;
use rusqlite::{Connection, TransactionBehavior};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot, watch};

use crate::ingest::{Push, Refusal};
use crate::metrics::AgentMetrics;
use crate::spool::reader::SentMarks;
use crate::spool::rows::Rows;
use crate::status::AgentStatus;
use crate::uplink::SpoolState;

mod sessions;
pub mod state;
mod upkeep;

use state::{Answer, State};

/// Commands that may wait for the writer; beyond it callers wait.
pub const QUEUE: usize = 1024;

/// Most commands in one transaction, and most bytes of bodies.
const MAX_COMMANDS: usize = 512;
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// How long bookkeeping that can be done again may wait for a transaction.
const LAZY: Duration = Duration::from_secs(1);

/// How long to wait after a failed transaction that nobody waits for.
const RETRY: Duration = Duration::from_secs(1);

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
    /// For Prometheus.
    pub metrics: AgentMetrics,
    /// For `/readyz`.
    pub health: Part,
}

/// Runs until every sender of `commands` is gone, then keeps what can be kept and ends. Blocks its thread.
pub fn run(
    mut connection: Connection,
    mut state: State,
    mut commands: mpsc::Receiver<Command>,
    runtime: &Handle,
    outlets: &Outlets,
) -> anyhow::Result<()> {
    outlets.health.ready();
    let mut batch = Vec::new();
    loop {
        let wait =
            state.next_deadline().map_or(Duration::from_secs(60), |at| at.saturating_duration_since(Instant::now()));
        let first = runtime.block_on(async { tokio::time::timeout(wait, commands.recv()).await });
        let closed = matches!(first, Ok(None));
        if let Ok(Some(command)) = first {
            collect(command, &mut commands, &mut state, &mut batch);
        }
        let now = Instant::now();
        if !batch.is_empty() || closed || state.is_due(now) {
            transact(&mut connection, &mut state, &mut batch, now, outlets);
        }
        if closed {
            return Ok(());
        }
    }
}

/// Takes `first` and what waits behind it into `batch`; acknowledgements and the like only into the
/// state.
fn collect(first: Command, commands: &mut mpsc::Receiver<Command>, state: &mut State, batch: &mut Vec<Command>) {
    let mut bytes = 0;
    let mut next = Some(first);
    while let Some(command) = next {
        match command {
            Command::Acknowledged { epoch, stream, up_to } => {
                state.note_acknowledged(epoch, stream, up_to, Instant::now() + LAZY);
            }
            Command::Welcomed => state.note_welcomed(Instant::now() + LAZY),
            command => {
                if let Command::Push(received, _) = &command {
                    bytes += received.body.len();
                }
                batch.push(command);
            }
        }
        next = if batch.len() < MAX_COMMANDS && bytes < MAX_BYTES { commands.try_recv().ok() } else { None };
    }
}

/// One transaction with everything in `batch` and all bookkeeping that waits.
fn transact(connection: &mut Connection, state: &mut State, batch: &mut Vec<Command>, now: Instant, outlets: &Outlets) {
    let undo = state.checkpoint();
    let result = connection.transaction_with_behavior(TransactionBehavior::Immediate).and_then(|transaction| {
        let answers = state.apply(&Rows(&transaction), batch, now)?;
        transaction.commit()?;
        Ok(answers)
    });
    match result {
        Ok(answers) => {
            outlets.health.ready();
            outlets.state.send_replace(state.spool_state());
            outlets.marks.send_replace(state.sent_marks());
            state.tell(&outlets.status, &outlets.metrics);
            for answer in answers {
                answer.send();
            }
        }
        Err(error) => {
            state.undo(undo, now + RETRY);
            let reason = sentence(&error);
            tracing::error!(%error, commands = batch.len(), "the spool cannot be written");
            outlets.health.not_ready(reason.as_str());
            outlets.metrics.failed_transactions.inc();
            for command in batch.drain(..) {
                Answer::refuse(command, &reason);
            }
        }
    }
    batch.clear();
    if let Err(error) = state.shrink(&Rows(connection), now) {
        tracing::warn!(%error, "the spool's file cannot give space back");
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
