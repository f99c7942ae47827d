//! Expressions over a row `r` of a table, in the dialect of its warehouse.
//!
//! - A row's name stands in `RECORD_METADATA` as the sink writes it, or under `headers` as a Kafka connector does.
//! - A number that is none is null: rows that somebody else wrote are no error.

use gaitway_proto::schema::{Dialect, FieldType};

/// A part of a row's name: `agent`, `epoch`, `stream`.
pub(crate) fn part(dialect: Dialect, key: &str) -> String {
    match dialect {
        Dialect::Snowflake => {
            format!("COALESCE(r.RECORD_METADATA:{key}::VARCHAR, r.RECORD_METADATA:headers.{key}::VARCHAR)")
        }
        Dialect::Postgres | Dialect::Sqlite => {
            format!("COALESCE(r.record_metadata ->> '{key}', r.record_metadata #>> '{{headers,{key}}}')")
        }
    }
}

/// A number of a row's name: `seq`, `index`.
pub(crate) fn number(dialect: Dialect, key: &str) -> String {
    as_number(dialect, &part(dialect, key))
}

/// A row's `topic`.
pub(crate) fn topic(dialect: Dialect) -> String {
    place(dialect, "topic")
}

/// A row's `partition` or `offset`.
pub(crate) fn placed(dialect: Dialect, key: &str) -> String {
    as_number(dialect, &place(dialect, key))
}

fn place(dialect: Dialect, key: &str) -> String {
    match dialect {
        Dialect::Snowflake => format!("r.RECORD_METADATA:{key}::VARCHAR"),
        Dialect::Postgres | Dialect::Sqlite => format!("r.record_metadata ->> '{key}'"),
    }
}

/// Of at most 18 digits, which every kind of integer holds.
fn as_number(dialect: Dialect, text: &str) -> String {
    match dialect {
        Dialect::Snowflake => format!("TRY_TO_NUMBER({text})"),
        Dialect::Postgres | Dialect::Sqlite => {
            format!("CASE WHEN {text} ~ '^[0-9]{{1,18}}$' THEN ({text})::bigint END")
        }
    }
}

/// A column so that its text is read the same from each: instants as `YYYY-MM-DD HH:MM:SS.…`, objects as JSON.
pub(crate) fn column(dialect: Dialect, name: &str, kind: FieldType) -> String {
    match (dialect, kind) {
        (Dialect::Snowflake, FieldType::Object) => format!("TO_JSON(r.{name})"),
        (Dialect::Snowflake, FieldType::Instant | FieldType::SeedInstant) => {
            format!("TO_VARCHAR(r.{name}, 'YYYY-MM-DD HH24:MI:SS.FF9')")
        }
        _ => format!("r.{name}"),
    }
}

/// `text` as an SQL string; it has no backslash, as no topic's name has.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
