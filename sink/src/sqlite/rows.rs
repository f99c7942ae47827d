//! Records as rows.
//!
//! - Every value is stored as the record has it; instants as the text that the record's JSON has.
//!
//! The readings of a frame differ in little: a text that stays the same from row to row stays bound, instants are
//! spelled once, and of the name only the index is written anew.

use std::fmt::Write as _;

use gaitway_proto::record::{Metadata, Name, Record};
use gaitway_proto::schema::{self, Cell, FieldType, Table};
use rusqlite::types::Null;
use rusqlite::{CachedStatement, Connection, Statement};

/// Inserts records, one statement a table.
pub(super) struct Rows<'c> {
    conn: &'c Connection,
    tables: Vec<Insert<'c>>,
    name: Spelled,
}

struct Insert<'c> {
    table: &'static Table,
    statement: CachedStatement<'c>,
    bound: Vec<Bound>,
}

/// What a parameter holds from the row before.
#[derive(Debug, Clone, PartialEq)]
enum Bound {
    Null,
    Text(String),
    Instant(i64),
    Other,
}

impl<'c> Rows<'c> {
    pub(super) fn new(conn: &'c Connection) -> Self {
        Self { conn, tables: Vec::with_capacity(schema::TABLES.len()), name: Spelled::default() }
    }

    pub(super) fn insert(&mut self, record: &Record<'_>) -> rusqlite::Result<()> {
        let Self { conn, tables, name } = self;
        let table = record.table();
        let known = tables.iter().position(|insert| insert.table.name == table.name);
        let place = known.unwrap_or(tables.len());
        if known.is_none() {
            tables.push(Insert::new(conn, table)?);
        }
        tables[place].row(record, name.of(&record.metadata))
    }
}

impl<'c> Insert<'c> {
    fn new(conn: &'c Connection, table: &'static Table) -> rusqlite::Result<Self> {
        let columns: Vec<_> = table.columns().collect();
        let parameters = vec!["?"; columns.len()].join(", ");
        let sql = format!("INSERT INTO {} ({}) VALUES ({parameters})", table.name, columns.join(", "));
        let bound = vec![Bound::Null; table.fields.len()];
        Ok(Self { table, statement: conn.prepare_cached(&sql)?, bound })
    }

    fn row(&mut self, record: &Record<'_>, name: &str) -> rusqlite::Result<()> {
        let Self { table, statement, bound } = self;
        statement.raw_bind_parameter(1, name)?;
        let (mut column, mut outcome) = (0, Ok(()));
        record.visit_cells(|cell| {
            if outcome.is_ok() {
                outcome = bind(statement, column, table.fields[column].kind, &cell, &mut bound[column]);
            }
            column += 1;
        });
        outcome?;
        statement.raw_execute()?;
        Ok(())
    }
}

/// Binds the value of field `column`, unless it is bound already.
fn bind(
    statement: &mut Statement<'_>,
    column: usize,
    kind: FieldType,
    cell: &Cell<'_>,
    bound: &mut Bound,
) -> rusqlite::Result<()> {
    // Parameters count from 1, and the first is the record's name.
    let parameter = column + 2;
    match (cell, &mut *bound) {
        (Cell::Null, Bound::Null) => {}
        (Cell::Null, _) => {
            *bound = Bound::Null;
            statement.raw_bind_parameter(parameter, Null)?;
        }
        (Cell::Text(text), Bound::Text(before)) => {
            if *before != *text {
                before.clear();
                before.push_str(text);
                statement.raw_bind_parameter(parameter, &**text)?;
            }
        }
        (Cell::Text(text), _) => {
            *bound = Bound::Text(text.clone().into_owned());
            statement.raw_bind_parameter(parameter, &**text)?;
        }
        (Cell::Instant(at), Bound::Instant(before)) if at == before => {}
        (Cell::Instant(at), _) => {
            *bound = Bound::Instant(*at);
            let text = if kind == FieldType::SeedInstant { schema::seed_time(*at) } else { schema::rfc3339(*at) };
            statement.raw_bind_parameter(parameter, text)?;
        }
        (Cell::Int(number), _) => {
            *bound = Bound::Other;
            statement.raw_bind_parameter(parameter, number)?;
        }
        (Cell::Float(number), _) => {
            *bound = Bound::Other;
            statement.raw_bind_parameter(parameter, number)?;
        }
        (Cell::Object(json), _) => {
            *bound = Bound::Other;
            statement.raw_bind_parameter(parameter, &**json)?;
        }
    }
    Ok(())
}

/// The name of the last record: JSON whose index can be exchanged.
#[derive(Debug, Default)]
struct Spelled {
    json: String,
    /// How much of `json` stands before the index.
    head: usize,
    /// What follows the index.
    tail: String,
    /// The agent's id, and the rest of the name without index.
    agent: String,
    rest: Option<Rest>,
}

type Rest = (u64, u64, &'static str, u64, Option<bool>);

impl Spelled {
    fn of(&mut self, metadata: &Metadata<'_>) -> &str {
        let Metadata { name: Some(Name { agent, epoch, ordinal, stream, seq, index, clock_synced }), place: None } =
            metadata
        else {
            self.rest = None;
            self.json.clear();
            metadata.write_json(&mut self.json);
            return &self.json;
        };
        let rest = Some((epoch.get(), *ordinal, stream.as_str(), *seq, *clock_synced));
        if self.rest == rest && self.agent == agent.as_str() {
            self.json.truncate(self.head);
            write!(self.json, "{index}").expect("a String takes what is written");
            self.json.push_str(&self.tail);
            return &self.json;
        }
        self.json = metadata.to_json();
        // An agent's id has no quotation mark, so that the first match is the key.
        let split = self.json.split_once(INDEX).and_then(|(head, after)| {
            let tail = after.find(|c: char| !c.is_ascii_digit())?;
            Some((head.len() + INDEX.len(), &after[tail..]))
        });
        if let Some((head, tail)) = split {
            self.head = head;
            tail.clone_into(&mut self.tail);
            agent.as_str().clone_into(&mut self.agent);
            self.rest = rest;
        } else {
            self.rest = None;
        }
        &self.json
    }
}

const INDEX: &str = "\"index\":";

#[cfg(test)]
mod tests {
    use gaitway_proto::ledger::{Epoch, Stream};
    use gaitway_proto::topic::AgentId;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// The short cut gives what the contract's own spelling gives.
        #[test]
        fn names_are_the_contracts(
            names in prop::collection::vec(("[ab]{1,2}", 0_u64..2, 0_u64..2, 0_u64..2, 0_u32..1200, any::<Option<bool>>()), 1..60)
        ) {
            let mut name = Spelled::default();
            for (agent, epoch, ordinal, seq, index, clock_synced) in names {
                let agent: AgentId = agent.parse().unwrap();
                let stream = Stream::ALL[(seq % 2) as usize];
                let epoch = Epoch::from_random(epoch);
                let name_of = Name { agent: &agent, epoch, ordinal, stream, seq, index, clock_synced };
                let metadata = Metadata { name: Some(name_of), place: None };
                prop_assert_eq!(name.of(&metadata), metadata.to_json());
            }
        }
    }
}
