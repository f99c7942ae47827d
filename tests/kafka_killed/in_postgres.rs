//! What is in PostgreSQL, held against what is in Kafka.

use std::collections::BTreeMap;

use gaitway_proto::schema::{FieldType, TABLES, Table};
use serde_json::Value;

use super::Place;
use crate::postgres_server::Reader;

fn table(name: &str) -> &'static Table {
    TABLES.into_iter().find(|table| table.name == name).unwrap()
}

/// How many rows `table` has.
pub(crate) fn count(reader: &Reader, name: &str) -> usize {
    let table = table(name);
    reader.number(&format!("SELECT count(*) FROM {}.{name}", table.schema)) as usize
}

/// The places of all rows of the table `name`, each of whose columns is what Kafka's value at its place says.
pub(crate) fn rows(reader: &Reader, topic: &str, name: &str, values: &BTreeMap<(i64, i64), Value>) -> Vec<Place> {
    let table = table(name);
    let sql = format!(
        "SELECT record_metadata ->> 'topic', (record_metadata ->> 'partition')::bigint,
                (record_metadata ->> 'offset')::bigint, (to_jsonb(stored) - 'record_metadata')::text
           FROM {}.{name} AS stored",
        table.schema
    );
    let rows = reader.rows(&sql).into_iter().map(|row| {
        let (place, stored): (Place, String) = ((row.get(0), row.get(1), row.get(2)), row.get(3));
        let stored: Value = serde_json::from_str(&stored).unwrap();
        let told = values.get(&(place.1, place.2)).unwrap_or_else(|| panic!("{topic} has no committed {place:?}"));
        for field in table.fields {
            let (told, stored) = (&told[field.name], &stored[field.name.to_lowercase()]);
            let same = match field.kind {
                FieldType::Float => told.as_f64() == stored.as_f64(),
                FieldType::Instant | FieldType::SeedInstant => is_cut_from(stored, told),
                FieldType::Int | FieldType::Text | FieldType::Object => told == stored,
            };
            assert!(same, "{topic} {place:?}: {} is {stored}, not {told}", field.name);
        }
        place
    });
    rows.collect()
}

/// Whether an instant of PostgreSQL's is `told` to the microsecond, without zeros at the end.
fn is_cut_from(stored: &Value, told: &Value) -> bool {
    match (stored.as_str(), told.as_str()) {
        (Some(stored), Some(told)) => told.replace(' ', "T").starts_with(stored),
        _ => stored.is_null() && told.is_null(),
    }
}
