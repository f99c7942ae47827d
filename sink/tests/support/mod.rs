//! A warehouse in a folder of its own, and what its readers see.
#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};

use gaitway_proto::ledger::conformance::{Fixture, Stored};
use gaitway_proto::ledger::{Epoch, Ledger, Mark, Source, Stream};
use gaitway_proto::record::{Activity, Body, Origin, Raw, Record};
use gaitway_proto::schema::{FieldType, TABLES, Table};
use gaitway_proto::topic::AgentId;
use gaitway_proto::value::{Fields, Value};
use gaitway_sink::sqlite::{Options, Warehouse};
use rusqlite::Connection;
use rusqlite::types::ValueRef;
use tempfile::TempDir;

pub(crate) struct Home {
    pub(crate) warehouse: Warehouse,
    pub(crate) dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        Self::with(&Options::default())
    }

    pub(crate) fn with(options: &Options) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let warehouse = Warehouse::open(dir.path().join("warehouse.db"), options).unwrap();
        Self { warehouse, dir }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("warehouse.db")
    }

    pub(crate) fn reader(&self) -> Connection {
        Connection::open(self.path()).unwrap()
    }

    /// The files as they are now, in another folder: what a kill at this instant leaves.
    pub(crate) fn copy(&self) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        for name in ["warehouse.db", "warehouse.db-wal"] {
            let from = self.dir.path().join(name);
            if from.exists() {
                std::fs::copy(from, dir.path().join(name)).unwrap();
            }
        }
        dir
    }
}

impl Fixture for Home {
    fn ledger(&mut self) -> &mut dyn Ledger {
        &mut self.warehouse
    }

    fn rival(&mut self) -> Box<dyn Ledger> {
        Box::new(Warehouse::open(self.path(), &Options::default()).unwrap())
    }

    fn crash(&mut self) {
        let dir = self.copy();
        let warehouse = Warehouse::open(dir.path().join("warehouse.db"), &Options::default()).unwrap();
        *self = Self { warehouse, dir };
    }

    fn stored(&mut self) -> Vec<Stored> {
        stored(&self.path())
    }
}

pub(crate) fn stored(path: &Path) -> Vec<Stored> {
    let reader = Connection::open(path).unwrap();
    TABLES.iter().flat_map(|table| rows(&reader, table)).collect()
}

fn rows(reader: &Connection, table: &Table) -> Vec<Stored> {
    let columns: Vec<_> = table.columns().collect();
    let sql = format!("SELECT {} FROM {} ORDER BY rowid", columns.join(", "), table.name);
    let mut statement = reader.prepare(&sql).unwrap();
    let read = |row: &rusqlite::Row<'_>| {
        let mut fields = Fields::new();
        for (place, field) in table.fields.iter().enumerate() {
            let value = match (field.kind, row.get_ref(place + 1)?) {
                (_, ValueRef::Null) => Value::Null,
                (FieldType::Int, ValueRef::Integer(v)) => Value::I64(v),
                (FieldType::Float, ValueRef::Real(v)) => Value::F64(v),
                (FieldType::Object, ValueRef::Text(v)) => serde_json::from_slice(v).unwrap(),
                (FieldType::Text | FieldType::Instant | FieldType::SeedInstant, ValueRef::Text(v)) => {
                    Value::Text(std::str::from_utf8(v).unwrap().to_owned())
                }
                (kind, other) => panic!("{} is {other:?}, not {kind:?}", field.name),
            };
            fields.insert(field.name.to_owned(), value);
        }
        Ok(Stored { table: table.name.to_owned(), metadata: row.get(0)?, value: Value::Object(fields).to_json() })
    };
    statement.query_map([], read).unwrap().map(Result::unwrap).collect()
}

/// A stream that stores `rows` readings per frame.
pub(crate) struct Walk {
    agent: AgentId,
    epoch: Epoch,
    seq: u64,
    padding: String,
}

pub(crate) const SESSION: &str = "0a6ab4a8-3c0c-43a5-8b2c-0a6ab4a83c0c";
pub(crate) const BASE: i64 = 1_700_000_000_000_000_000;

impl Walk {
    pub(crate) fn new() -> Self {
        Self { agent: "pi".parse().unwrap(), epoch: Epoch::from_random(7), seq: 0, padding: String::new() }
    }

    /// Of another start.
    pub(crate) fn other() -> Self {
        Self { epoch: Epoch::from_random(8), ..Self::new() }
    }

    /// Of a third one.
    pub(crate) fn third() -> Self {
        Self { epoch: Epoch::from_random(9), ..Self::new() }
    }

    pub(crate) fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The frame after the present one was stored.
    pub(crate) fn advance(&mut self) {
        self.seq += 1;
    }

    /// Each reading carries this much text besides.
    pub(crate) fn padded(bytes: usize) -> Self {
        Self { padding: format!("{{\"note\":\"{}\"}}", "x".repeat(bytes)), ..Self::new() }
    }

    pub(crate) fn source(&self) -> Source {
        Source::stream(&self.agent, self.epoch, Stream::Raw)
    }

    pub(crate) fn position(&self) -> u64 {
        self.seq
    }

    pub(crate) fn origin(&self, stream: Stream) -> Origin<'_> {
        Origin { agent: &self.agent, epoch: self.epoch, ordinal: 1, stream, seq: self.seq }
    }

    pub(crate) fn step(&mut self, ledger: &mut dyn Ledger, rows: u32) {
        let from = (self.seq > 0).then_some(self.seq);
        self.seq += 1;
        let mark = Mark { source: self.source(), from, to: self.seq };
        ledger.submit(&self.records(rows), &[mark]).unwrap();
    }

    pub(crate) fn records(&self, rows: u32) -> Vec<Record<'_>> {
        let record = |index: u32| Record {
            metadata: self.origin(Stream::Raw).metadata(index, Some(true)),
            body: Body::Raw(Raw {
                message_id: Some(self.seq),
                session: SESSION,
                device: "phone",
                sensor: Some("accelerometer"),
                xyz: [Some(0.1), Some(-0.2), Some(9.81)],
                accuracy: None,
                timestamp: Some(BASE + (self.seq as i64 * 1000 + i64::from(index)) * 1_000_000),
                reading: (!self.padding.is_empty()).then(|| self.padding.as_str().into()),
                reading_index: index,
                user: None,
                received_at: BASE / 1000 + self.seq as i64,
            }),
        };
        (0..rows).map(record).collect()
    }
}

/// A window of ten seconds that starts `start` seconds after [`BASE`].
pub(crate) fn window<'a>(origin: Origin<'a>, start: i64, activity: &'a str, revision: u32) -> Record<'a> {
    let window_start = BASE + start * 1_000_000_000;
    Record {
        metadata: origin.metadata(start as u32, None),
        body: Body::Activity(Activity {
            session: SESSION,
            device: "phone",
            activity,
            confidence: 0.75,
            avg_magnitude: 3.5,
            window_start,
            window_end: window_start + 10_000_000_000,
            sample_count: 500,
            classifier: "threshold",
            revision,
        }),
    }
}
