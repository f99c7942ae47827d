//! The thread that submits for one partition, so that its worker can read on meanwhile.
//!
//! - The ledger goes there with the batch and comes back with the outcome: one thread has it at a time.
//! - It ends when its worker lets go of it, once the submit under way has its outcome.

use std::io;
use std::panic;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{Ledger, LedgerError, Mark, Source};
use gaitway_proto::schema::Table;

use super::board::Which;
use super::taken::{self, Taken};
use super::worker::Shop;
use crate::partition::Batch;

/// Characters of a dead letter's reason in the log; its header has more.
const MOST_OF_REASON: usize = 200;

/// A batch with the ledger that is to take it.
struct Errand {
    ledger: Box<dyn Ledger>,
    batch: Batch<Taken>,
}

/// What came of a submit.
pub(super) struct Submitted {
    pub ledger: Box<dyn Ledger>,
    /// The batch, given back to the thread that made it.
    pub batch: Batch<Taken>,
    pub outcome: Result<(), LedgerError>,
}

/// The worker's hold on the thread.
pub(super) struct Submitter {
    errands: Option<SyncSender<Errand>>,
    submitted: Receiver<Submitted>,
    thread: Option<JoinHandle<()>>,
    busy: bool,
}

impl Submitter {
    /// The error is a thread that cannot be had.
    pub(super) fn start(shop: Shop, table: &'static Table, which: Which) -> io::Result<Self> {
        let (errands, errand) = sync_channel::<Errand>(1);
        let (answer, submitted) = sync_channel(1);
        let source = Source::partition(&which.0, which.1);
        let name = format!("{}/{} submits", which.0, which.1);
        let mut submits = Submits { shop, table, which, source, lettered: -1 };
        let thread = Builder::new().name(name).spawn(move || {
            for Errand { mut ledger, batch } in errand {
                let outcome = submits.submit(&mut *ledger, &batch);
                if answer.send(Submitted { ledger, batch, outcome }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { errands: Some(errands), submitted, thread: Some(thread), busy: false })
    }

    /// Whether a submit is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy
    }

    /// Begins a submit. One is under way at a time.
    pub(super) fn begin(&mut self, ledger: Box<dyn Ledger>, batch: Batch<Taken>) {
        let sent = self.errands.as_ref().is_some_and(|errands| errands.send(Errand { ledger, batch }).is_ok());
        self.busy = true;
        if !sent {
            self.raise();
        }
    }

    /// The outcome of the submit under way, waited for at most `long`.
    pub(super) fn wait(&mut self, long: Duration) -> Option<Submitted> {
        match self.submitted.recv_timeout(long) {
            Ok(submitted) => {
                self.busy = false;
                Some(submitted)
            }
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => self.raise(),
        }
    }

    /// The outcome of the submit under way, if there is one, however long it takes.
    pub(super) fn finish(&mut self) -> Option<Submitted> {
        if !std::mem::take(&mut self.busy) {
            return None;
        }
        match self.submitted.recv() {
            Ok(submitted) => Some(submitted),
            Err(_) => self.raise(),
        }
    }

    /// The thread is gone without having been let go of: its panic is the worker's.
    fn raise(&mut self) -> ! {
        self.errands = None;
        match self.thread.take().map(JoinHandle::join) {
            Some(Err(panic)) => panic::resume_unwind(panic),
            _ => unreachable!("a submitter ends before its worker only by a panic"),
        }
    }
}

impl Drop for Submitter {
    fn drop(&mut self) {
        self.errands = None;
        if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
            tracing::debug!("a submitter panicked while its worker ended");
        }
    }
}

/// What the thread keeps.
struct Submits {
    shop: Shop,
    table: &'static Table,
    which: Which,
    source: Source,
    /// All letters about records up to this offset are written.
    lettered: i64,
}

impl Submits {
    fn submit(&mut self, ledger: &mut (dyn Ledger + 'static), batch: &Batch<Taken>) -> Result<(), LedgerError> {
        let Self { shop, table, which, source, lettered } = self;
        let (topic, partition) = &*which;
        let (letters, metrics, begun) = (&shop.letters, &shop.board.metrics, Instant::now());
        let marks = [Mark { source: source.clone(), from: batch.from, to: batch.to }];
        taken::sorted(table, (topic, *partition), &batch.records, ledger, |ledger, records, refused| {
            // Before the mark passes them; once, however often the warehouse is tried.
            let unwritten = refused.partition_point(|(taken, _)| taken.offset <= *lettered);
            let unwritten = &refused[unwritten..];
            letters.write(topic, *partition, unwritten).map_err(LedgerError::Unavailable)?;
            if let Some((taken, why)) = unwritten.last() {
                let reason = why.said().chars().take(MOST_OF_REASON).collect();
                shop.board.set_aside(which, unwritten.len(), taken.offset, reason);
            }
            *lettered = refused.last().map_or(*lettered, |(taken, _)| taken.offset.max(*lettered));
            ledger.submit(records, &marks)?;
            for (_, why) in refused {
                metrics.dead_letters.get_or_create(&[("reason", why.kind())]).inc();
            }
            metrics.rows.inc_by(records.len() as u64);
            Ok(())
        })?;
        metrics.batches.inc();
        metrics.bytes.inc_by(batch.records.iter().map(Taken::bytes).sum::<usize>() as u64);
        metrics.submit_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(())
    }
}
