//! A warehouse in memory that several sinks share by compare-and-set, whose failures tests choose. Clones are the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};

use gaitway_proto::ledger::{Ledger, LedgerError, Mark, Source, Watermark, check};
use gaitway_proto::record::Record;
use gaitway_proto::schema::Table;
use gaitway_sink::Ledgers;
use tokio_util::sync::CancellationToken;

#[derive(Debug, Clone)]
pub(crate) struct Row {
    pub(crate) offset: i64,
    pub(crate) metadata: String,
    pub(crate) json: String,
}

#[derive(Debug, Default)]
struct State {
    rows: BTreeMap<Source, Vec<Row>>,
    marks: Watermark,
    /// When the marks were moved, as far as it tells.
    dated: Option<i64>,
    down: bool,
    /// Submits fail, and nothing else does.
    refusing: bool,
}

/// Where submits of one sink wait, while it is shut.
#[derive(Debug, Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<(bool, usize)>, Condvar)>);

impl Gate {
    pub(crate) fn shut(&self, shut: bool) {
        self.0.0.lock().unwrap().0 = shut;
        self.0.1.notify_all();
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> usize {
        self.0.0.lock().unwrap().1
    }

    fn pass(&self) {
        let mut state = self.0.0.lock().unwrap();
        state.1 += 1;
        let mut state = self.0.1.wait_while(state, |state| state.0).unwrap();
        state.1 -= 1;
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct Store {
    state: Arc<Mutex<State>>,
    gate: Gate,
    /// What its ledgers were given with their partitions.
    let_go: Arc<Mutex<Vec<CancellationToken>>>,
}

impl Store {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// The same store for another sink, whose submits wait at its own gate.
    pub(crate) fn beside(&self) -> (Self, Gate) {
        let gate = Gate::default();
        (Self { state: Arc::clone(&self.state), gate: gate.clone(), let_go: Arc::default() }, gate)
    }

    /// The partitions that its ledgers were not told to let go of.
    pub(crate) fn held(&self) -> usize {
        self.let_go.lock().unwrap().iter().filter(|let_go| !let_go.is_cancelled()).count()
    }

    pub(crate) fn down(&self, down: bool) {
        self.state().down = down;
    }

    /// Its submits fail.
    pub(crate) fn refuse(&self, refusing: bool) {
        self.state().refusing = refusing;
    }

    /// Forgets the marks, keeps the rows.
    pub(crate) fn lose_marks(&self) {
        self.state().marks.clear();
    }

    /// Its marks were moved then, microseconds since the Unix epoch.
    pub(crate) fn date_marks(&self, at: i64) {
        self.state().dated = Some(at);
    }

    pub(crate) fn rows(&self, topic: &str, partition: i32) -> Vec<Row> {
        self.state().rows.get(&Source::partition(topic, partition)).cloned().unwrap_or_default()
    }

    /// The messageIds of a partition, in the order of storage.
    pub(crate) fn numbers(&self, topic: &str, partition: i32) -> Vec<u64> {
        let number = |row: Row| serde_json::from_str::<serde_json::Value>(&row.json).unwrap()["messageId"].as_u64();
        self.rows(topic, partition).into_iter().filter_map(number).collect()
    }

    pub(crate) fn count(&self, topic: &str) -> usize {
        let of = |source: &Source| source.as_str().rsplit_once('/').is_some_and(|(found, _)| found == topic);
        self.state().rows.iter().filter(|(source, _)| of(source)).map(|(_, rows)| rows.len()).sum()
    }
}

impl Ledger for Store {
    fn recover(&mut self) -> Result<(), LedgerError> {
        if self.state().down { Err(LedgerError::Unavailable("the warehouse is away".to_owned())) } else { Ok(()) }
    }

    fn submit(&mut self, records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError> {
        check(records, marks)?;
        self.gate.pass();
        let mut state = self.state();
        if state.down || state.refusing {
            return Err(LedgerError::Unavailable("the warehouse is away".to_owned()));
        }
        for Mark { source, from, .. } in marks {
            let found = state.marks.get(source).copied();
            if found != *from {
                return Err(LedgerError::Conflict { source_name: source.clone(), found });
            }
        }
        for record in records {
            let place = record.metadata.place.expect("records come from Kafka");
            let row = Row { offset: place.offset, metadata: record.metadata.to_json(), json: record.to_json() };
            state.rows.entry(Source::partition(place.topic, place.partition)).or_default().push(row);
        }
        state.marks.extend(marks.iter().map(|mark| (mark.source.clone(), mark.to)));
        Ok(())
    }

    fn committed(&mut self, sources: &[Source]) -> Result<Watermark, LedgerError> {
        let state = self.state();
        if state.down {
            return Err(LedgerError::Unavailable("the warehouse is away".to_owned()));
        }
        Ok(sources.iter().filter_map(|source| Some((source.clone(), *state.marks.get(source)?))).collect())
    }

    fn marked_at(&mut self, _: &Source) -> Result<Option<i64>, LedgerError> {
        Ok(self.state().dated)
    }

    fn refuses(&self, record: &Record<'_>) -> Option<String> {
        record.to_json().contains("too-heavy").then(|| "it is too heavy".to_owned())
    }
}

impl Ledgers for Store {
    fn open(
        &self,
        _: &'static Table,
        _: &str,
        _: i32,
        let_go: &CancellationToken,
    ) -> Result<Box<dyn Ledger>, LedgerError> {
        self.let_go.lock().unwrap().push(let_go.clone());
        Ok(Box::new(self.clone()))
    }
}
