//! A warehouse in a database of its own, and what its readers see.

use gaitway_proto::ledger::Ledger;
use gaitway_proto::ledger::conformance::{Fixture, Stored};
use gaitway_proto::schema::{self, FieldType, TABLES, Table};
use gaitway_proto::value::{Fields, Value};
use gaitway_sink::postgres::{Address, Options, Warehouse};

use crate::postgres_server::{Database, Reader};

/// A record's place in its source.
const NAME: &str = "(record_metadata ->> 'seq')::numeric, (record_metadata ->> 'index')::numeric";

pub(crate) struct Home {
    pub(crate) warehouse: Warehouse,
    pub(crate) database: Database,
    reader: Reader,
}

pub(crate) fn options(url: &str) -> Options {
    Options { url: Address::new(url), ..Options::default() }
}

pub(crate) fn open(url: &str) -> Warehouse {
    Warehouse::new(&options(url)).unwrap()
}

impl Home {
    pub(crate) fn new() -> Self {
        let database = Database::new();
        Self { warehouse: open(&database.url), reader: database.reader(), database }
    }
}

impl Fixture for Home {
    fn ledger(&mut self) -> &mut dyn Ledger {
        &mut self.warehouse
    }

    fn rival(&mut self) -> Box<dyn Ledger> {
        Box::new(open(&self.database.url))
    }

    /// The socket closes without a word, as a killed process leaves it.
    fn crash(&mut self) {
        self.warehouse = open(&self.database.url);
    }

    fn stored(&mut self) -> Vec<Stored> {
        stored(&self.reader)
    }
}

pub(crate) fn stored(reader: &Reader) -> Vec<Stored> {
    TABLES.iter().flat_map(|table| rows(reader, table)).collect()
}

/// A table of PostgreSQL has no order of its own: COPY puts rows wherever a page has room. Commits follow their
/// transactions' numbers; among the rows of one, a record's name tells its place.
fn rows(reader: &Reader, table: &Table) -> Vec<Stored> {
    let columns = table.fields.iter().map(|field| {
        let name = format!("\"{}\"", field.name.to_lowercase());
        match field.kind {
            FieldType::Object => format!("{name}::text"),
            FieldType::Instant | FieldType::SeedInstant => {
                format!("(extract(epoch FROM {name}) * 1000000)::bigint")
            }
            FieldType::Int | FieldType::Float | FieldType::Text => name,
        }
    });
    let columns: Vec<_> = columns.collect();
    let name = format!("{}.{}", table.schema, table.name);
    let sql =
        format!("SELECT record_metadata::text, {} FROM {name} ORDER BY age(xmin) DESC, {NAME}", columns.join(", "));
    let read = |row: &tokio_postgres::Row| {
        let mut fields = Fields::new();
        for (place, field) in (1..).zip(table.fields) {
            let value = match field.kind {
                FieldType::Int => row.get::<_, Option<i64>>(place).map(Value::I64),
                FieldType::Float => row.get::<_, Option<f64>>(place).map(Value::F64),
                FieldType::Text => row.get::<_, Option<String>>(place).map(Value::Text),
                FieldType::Object => row.get::<_, Option<&str>>(place).map(|json| serde_json::from_str(json).unwrap()),
                FieldType::Instant => {
                    row.get::<_, Option<i64>>(place).map(|at| Value::Text(schema::rfc3339(at * 1000)))
                }
                FieldType::SeedInstant => {
                    row.get::<_, Option<i64>>(place).map(|at| Value::Text(schema::seed_time(at * 1000)))
                }
            };
            fields.insert(field.name.to_owned(), value.unwrap_or(Value::Null));
        }
        Stored { table: table.name.to_owned(), metadata: row.get(0), value: Value::Object(fields).to_json() }
    };
    reader.rows(&sql).iter().map(read).collect()
}
