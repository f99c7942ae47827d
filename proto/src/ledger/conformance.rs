//! What every ledger must do, checked through a [`Fixture`]. For tests: behind the feature `conformance`.
//!
//! [`laws`] holds one function per promise of [`Ledger`]; [`run`] calls them all, each on a store of its own, and then
//! a few [`walk`]s: seeded random histories compared with a model. A walk that fails names its seed; it belongs into
//! the tests of that ledger as a case of its own.
#![cfg(any(feature = "conformance", doc))]

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::{Ledger, LedgerError, Mark, Source, Watermark};
use crate::record::Record;
use crate::value::Value;

pub mod laws;
mod samples;
mod walk;

pub use walk::walk;

/// How long a ledger may take to commit what it accepted.
const PATIENCE: Duration = Duration::from_secs(30);

/// A ledger under test and a way to see what it stored.
pub trait Fixture {
    /// The ledger.
    fn ledger(&mut self) -> &mut dyn Ledger;

    /// Another owner of the same store, not recovered yet. It is gone before [`crash`](Self::crash) is called.
    fn rival(&mut self) -> Box<dyn Ledger>;

    /// Ends the ledger as `kill -9` would, with whatever it is doing, and opens the store again.
    fn crash(&mut self);

    /// The Kafka partition, topic and number, whose ledger this is and nobody else's; none for one of any sources.
    fn partition(&self) -> Option<(&'static str, i32)> {
        None
    }

    /// Every record that readers of the store see, of all tables, in each table in the order of storage.
    fn stored(&mut self) -> Vec<Stored>;
}

/// A record as the store gives it back; JSON with any order of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// [`Table::name`](crate::schema::Table::name)
    pub table: String,
    /// `RECORD_METADATA`
    pub metadata: String,
    /// The other columns as one object, every key present; see [`Record::to_json`].
    pub value: String,
}

/// Holds the ledgers that `make` opens, each on an empty store, to the law.
///
/// # Panics
/// When a ledger breaks it.
pub fn run(mut make: impl FnMut() -> Box<dyn Fixture>) {
    let laws = if make().partition().is_some() { laws::ONE_SOURCE } else { laws::ALL };
    for law in laws {
        law(&mut *make());
    }
    for seed in 1..=8 {
        walk(&mut *make(), seed, 60);
    }
}

/// What a store must hold: a model beside the ledger.
#[derive(Debug, Default)]
struct Expected {
    records: Vec<Line>,
    positions: Watermark,
}

/// A record in one spelling: keys sorted, numbers in their shortest exact form.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Line {
    /// Order is promised among the records of one source about one device in one table.
    group: String,
    text: String,
}

impl Expected {
    fn add(&mut self, records: &[Record<'_>], marks: &[Mark]) {
        self.records.extend(records.iter().map(|record| {
            line(&Stored {
                table: record.table().name.to_owned(),
                metadata: record.metadata.to_json(),
                value: record.to_json(),
            })
        }));
        self.positions.extend(marks.iter().map(|mark| (mark.source.clone(), mark.to)));
    }

    /// The mark that moves `source` to `to` from where it is.
    fn mark(&self, source: &Source, to: u64) -> Mark {
        Mark { source: source.clone(), from: self.positions.get(source).copied(), to }
    }

    /// The store holds exactly this.
    fn check(&self, fixture: &mut dyn Fixture, why: &str) {
        self.settle(fixture.ledger(), why);
        let stored: Vec<_> = fixture.stored().iter().map(line).collect();
        let (mut stored, expected) = (grouped(&stored), grouped(&self.records));
        for (group, lines) in &expected {
            let found = stored.remove(group).unwrap_or_default();
            for (place, (found, line)) in found.iter().zip(lines).enumerate() {
                assert_eq!(found, line, "{why}: record {place} of {group}");
            }
            assert_eq!(found.len(), lines.len(), "{why}: number of records of {group}");
        }
        assert!(stored.is_empty(), "{why}: records that nobody submitted: {stored:?}");
    }

    /// Waits until the durable positions are these; they never lie beyond.
    fn settle(&self, ledger: &mut dyn Ledger, why: &str) {
        let sources: Vec<_> = self.positions.keys().cloned().collect();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let committed = ledger.committed(&sources).expect("a ledger that is ready tells its positions");
            if committed == self.positions {
                return;
            }
            for (source, position) in &committed {
                assert!(position <= &self.positions[source], "{why}: {source} is ahead of what was submitted");
            }
            assert!(Instant::now() < deadline, "{why}: {committed:?} instead of {:?}", self.positions);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

fn grouped(lines: &[Line]) -> BTreeMap<&str, Vec<&str>> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for line in lines {
        groups.entry(&line.group).or_default().push(&line.text);
    }
    groups
}

fn line(stored: &Stored) -> Line {
    let parse = |json: &str| -> Value {
        serde_json::from_str(json).unwrap_or_else(|error| panic!("stored {json:?} is not JSON: {error}"))
    };
    let (metadata, value) = (parse(&stored.metadata), parse(&stored.value));
    let field = |object: &Value, key: &str| match object {
        Value::Object(fields) => fields.get(key).map(Value::to_json).unwrap_or_default(),
        other => panic!("stored {} is not an object", other.to_json()),
    };
    let [agent, epoch, stream] = ["agent", "epoch", "stream"].map(|key| field(&metadata, key));
    let device = field(&value, "deviceId");
    Line {
        group: format!("{} {agent} {epoch} {stream} {device}", stored.table),
        text: format!("{} {}", metadata.to_json(), value.to_json()),
    }
}

fn committed(fixture: &mut dyn Fixture, sources: &[Source]) -> Watermark {
    fixture.ledger().committed(sources).expect("a ledger that is ready tells its positions")
}

fn recover(fixture: &mut dyn Fixture) {
    fixture.ledger().recover().expect("a ledger whose store is there becomes ready");
}

/// The loser of a race knows it.
fn assert_lost(outcome: &Result<(), LedgerError>, why: &str) {
    let lost = matches!(outcome, Err(LedgerError::Conflict { .. } | LedgerError::Fenced(_)));
    assert!(lost, "{why}: {outcome:?} instead of a conflict");
}
