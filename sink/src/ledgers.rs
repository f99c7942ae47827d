//! Which ledger a partition gets: one of its own, or a share of one for all.
//!
//! - A shared ledger is used by one partition at a time.
//! - After an error nothing is done with it before it has recovered, whichever partition met the error.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{Ledger, LedgerError, Mark, Source, Watermark};
use gaitway_proto::record::Record;
use gaitway_proto::schema::Table;
use tokio_util::sync::CancellationToken;

use crate::snowflake;

/// A shared ledger keeps house so often, whoever asks.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// How far each source was stored, by its name in a warehouse's table of marks.
pub type Marks = BTreeMap<String, i64>;

/// Gives each partition its ledger.
pub trait Ledgers: Send + Sync {
    /// The ledger of `partition` of `topic`, which feeds `table`; not recovered yet. It is dropped when the partition is
    /// another sink's. An error is told, and what was asked is asked again after a pause; see [`LedgerError`].
    ///
    /// `let_go` is cancelled as soon as the partition is no longer ours: from then on the ledger must do nothing that takes it
    /// from its new owner, and wait for nothing.
    fn open(
        &self,
        table: &'static Table,
        topic: &str,
        partition: i32,
        let_go: &CancellationToken,
    ) -> Result<Box<dyn Ledger>, LedgerError>;
}

/// What a store can never hold, asked of each record without the ledger's lock; see [`Ledger::refuses`].
pub type Refuses = fn(&Record<'_>) -> Option<String>;

/// One ledger for all partitions of a process: a SQL connection or file. It must have committed what it accepted when its
/// `submit` returns, or a failure of one partition would undo another's submit. Clones share it.
pub struct Shared<L> {
    inner: Arc<Mutex<Inner<L>>>,
    refuses: Refuses,
}

struct Inner<L> {
    ledger: L,
    ready: bool,
    tended: Option<Instant>,
}

impl<L> Clone for Shared<L> {
    fn clone(&self) -> Self {
        Self { inner: Arc::clone(&self.inner), refuses: self.refuses }
    }
}

impl<L: Ledger> Shared<L> {
    /// Shares `ledger`, which has not recovered. `refuses` stands for its [`Ledger::refuses`].
    pub fn new(ledger: L, refuses: Refuses) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { ledger, ready: false, tended: None })), refuses }
    }

    fn inner(&self) -> MutexGuard<'_, Inner<L>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<L: Ledger> Inner<L> {
    fn ready(&mut self) -> Result<&mut L, LedgerError> {
        if !self.ready {
            self.ledger.recover()?;
            self.ready = true;
        }
        Ok(&mut self.ledger)
    }

    fn done<T>(&mut self, outcome: Result<T, LedgerError>) -> Result<T, LedgerError> {
        self.ready &= outcome.is_ok();
        outcome
    }
}

impl<L: Ledger> Ledger for Shared<L> {
    /// Recovers it, unless another partition has since its last error.
    fn recover(&mut self) -> Result<(), LedgerError> {
        self.inner().ready().map(drop)
    }

    fn submit(&mut self, records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError> {
        let mut inner = self.inner();
        let outcome = inner.ready().and_then(|ledger| ledger.submit(records, marks));
        inner.done(outcome)
    }

    fn committed(&mut self, sources: &[Source]) -> Result<Watermark, LedgerError> {
        let mut inner = self.inner();
        let outcome = inner.ready().and_then(|ledger| ledger.committed(sources));
        inner.done(outcome)
    }

    fn refuses(&self, record: &Record<'_>) -> Option<String> {
        (self.refuses)(record)
    }

    fn kept(&self, source: &Source, committed: Option<u64>) -> Option<u64> {
        self.inner().ledger.kept(source, committed)
    }

    fn marked_at(&mut self, source: &Source) -> Result<Option<i64>, LedgerError> {
        let mut inner = self.inner();
        let outcome = inner.ready().and_then(|ledger| ledger.marked_at(source));
        inner.done(outcome)
    }

    fn begin_at(&mut self, source: &Source, position: u64) -> Result<(), LedgerError> {
        let mut inner = self.inner();
        let outcome = inner.ready().and_then(|ledger| ledger.begin_at(source, position));
        inner.done(outcome)
    }

    fn tend(&mut self) -> Result<(), LedgerError> {
        let now = Instant::now();
        let mut inner = self.inner();
        if !inner.ready || inner.tended.is_some_and(|tended| now.saturating_duration_since(tended) < TEND_EVERY) {
            return Ok(());
        }
        let outcome = inner.ledger.tend();
        inner.tended = Some(now);
        inner.done(outcome)
    }
}

impl<L: Ledger + 'static> Ledgers for Shared<L> {
    /// Its marks move by compare-and-set: a partition that was let go of can take nothing from anybody.
    fn open(&self, _: &'static Table, _: &str, _: i32, _: &CancellationToken) -> Result<Box<dyn Ledger>, LedgerError> {
        Ok(Box::new(self.clone()))
    }
}

/// Each partition has a channel of its own.
impl Ledgers for snowflake::Client {
    fn open(
        &self,
        table: &'static Table,
        topic: &str,
        partition: i32,
        let_go: &CancellationToken,
    ) -> Result<Box<dyn Ledger>, LedgerError> {
        Ok(Box::new(self.channel(table, topic, partition).until(let_go.clone())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sqlite::{Options, Warehouse};

    fn mark(from: Option<u64>, to: u64) -> Mark {
        Mark { source: Source::partition("t", 0), from, to }
    }

    #[test]
    fn a_partition_s_lost_race_does_not_disturb_another() {
        let dir = tempfile::tempdir().unwrap();
        let warehouse = Warehouse::open(dir.path().join("w.db"), &Options::default()).unwrap();
        let mut one = Shared::new(warehouse, |_| None);
        let mut other = one.clone();
        one.submit(&[], &[mark(None, 3)]).unwrap();
        let lost = other.submit(&[], &[mark(None, 5)]);
        assert!(matches!(lost, Err(LedgerError::Conflict { found: Some(3), .. })), "{lost:?}");
        assert!(!one.inner().ready);
        one.submit(&[], &[mark(Some(3), 4)]).unwrap();
        assert_eq!(other.committed(&[Source::partition("t", 0)]).unwrap()[&Source::partition("t", 0)], 4);
        other.tend().unwrap();
        assert!(other.inner().tended.is_some());
    }
}
