//! What makes a warehouse's tables: `CREATE TABLE` and the whole script, from the list of fields.
//!
//! - Every statement may be run again: what exists is left as it is, with its rows.
//! - Columns are plain identifiers. `timestamp`, the one name that is also a type, is reserved as a column by none of
//!   the three; queries say `table.timestamp`, so that no parser takes it for the type.
//! - PostgreSQL notes when it stored a row, in a column of its own that nobody writes, and has the raw readings in
//!   partitions by it.
//! - Snowflake's Time Travel is one day: the most that every edition allows.

use std::fmt::Write as _;

use super::FieldType::{self, Float, Instant, Int, Object, SeedInstant, Text};
use super::{GAPS, RAW, RECORD_METADATA, TABLES, Table};

/// The dialect of a warehouse.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// Snowflake.
    Snowflake,
    /// PostgreSQL.
    Postgres,
    /// SQLite.
    Sqlite,
}

/// The database in Snowflake.
pub const DATABASE: &str = "ACTIVITY_DB";

/// The schema of the views that people and dashboards read, in Snowflake and PostgreSQL.
pub const VIEWS_SCHEMA: &str = "ACTIVITY";

/// Days for which Snowflake can show a table as it was.
const TIME_TRAVEL_DAYS: u32 = 1;

/// When PostgreSQL stored a row, by its clock.
const STORED_AT: &str = "stored_at timestamptz NOT NULL DEFAULT now()";

/// What takes the rows that no other partition takes.
const DEFAULT_PARTITION: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS raw_data.raw_default PARTITION OF raw_data.activity_records DEFAULT",
    "CREATE INDEX IF NOT EXISTS raw_default_by_storing ON raw_data.raw_default (stored_at)",
];

const METADATA_DOC: &str = "where the record came from: agent, epoch, ordinal, stream, seq, index, clockSynced; \
                            behind Kafka also topic, partition, offset, key, CreateTime";

/// An index of a table in PostgreSQL or SQLite. Snowflake has none: it prunes by what rows lie together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// The table's name.
    pub table: &'static str,
    /// The columns in order.
    pub columns: &'static [&'static str],
    /// Whether SQLite has it too; there it would cost two thirds of a row again.
    pub in_sqlite: bool,
}

/// All indexes: by time for dashboards, by window for the last revision, by session for whoever looks at one.
pub const INDEXES: [Index; 4] = [
    Index { name: "raw_by_time", table: "ACTIVITY_RECORDS", columns: &["timestamp"], in_sqlite: true },
    Index {
        name: "raw_by_session",
        table: "ACTIVITY_RECORDS",
        columns: &["sessionId", "sensorType", "timestamp"],
        in_sqlite: false,
    },
    Index { name: "activity_by_time", table: "USER_ACTIVITY_PROCESSED", columns: &["timestamp"], in_sqlite: true },
    Index {
        name: "activity_by_window",
        table: "USER_ACTIVITY_PROCESSED",
        columns: &["deviceId", "sessionId", "windowStart", "revision"],
        in_sqlite: true,
    },
];

impl FieldType {
    /// The column type in `dialect`.
    pub fn sql(self, dialect: Dialect) -> &'static str {
        use Dialect::{Postgres, Snowflake, Sqlite};
        match (self, dialect) {
            (Int, Snowflake) => "NUMBER(19)",
            (Int, Postgres) => "bigint",
            (Int, Sqlite) => "INTEGER",
            (Float, Snowflake) => "FLOAT",
            (Float, Postgres) => "double precision",
            (Float, Sqlite) => "REAL",
            (Text, Snowflake) => "VARCHAR",
            (Text, Postgres) => "text",
            (Object, Snowflake) => "VARIANT",
            (Object, Postgres) => "jsonb",
            (Instant | SeedInstant, Snowflake) => "TIMESTAMP_NTZ(9)",
            (Instant | SeedInstant, Postgres) => "timestamp",
            (Text | Object | Instant | SeedInstant, Sqlite) => "TEXT",
        }
    }
}

impl Table {
    /// Its name in `dialect`, qualified where the dialect has schemas.
    pub fn sql_name(&self, dialect: Dialect) -> String {
        match dialect {
            Dialect::Sqlite => self.name.to_owned(),
            Dialect::Snowflake | Dialect::Postgres => format!("{}.{}", self.schema, self.name),
        }
    }

    /// `CREATE TABLE IF NOT EXISTS` for this table in `dialect`, without a semicolon. In Snowflake it carries the
    /// fields' docs as comments, the clustering key, Time Travel's days, and keeps rows that could not be stored.
    pub fn ddl(&self, dialect: Dialect) -> String {
        let metadata = (RECORD_METADATA, Object, METADATA_DOC);
        let columns = std::iter::once(metadata).chain(self.fields.iter().map(|f| (f.name, f.kind, f.doc)));
        let mut columns: Vec<String> = columns
            .map(|(name, kind, doc)| match dialect {
                Dialect::Snowflake => format!("  {name} {} COMMENT {}", kind.sql(dialect), literal(doc)),
                Dialect::Postgres | Dialect::Sqlite => format!("  {name} {}", kind.sql(dialect)),
            })
            .collect();
        if dialect == Dialect::Postgres && self.is_dated() {
            columns.push(format!("  {STORED_AT}"));
        }
        let mut ddl = format!("CREATE TABLE IF NOT EXISTS {} (\n{}\n)", self.sql_name(dialect), columns.join(",\n"));
        if dialect == Dialect::Snowflake {
            if !self.cluster_by.is_empty() {
                write!(ddl, "\nCLUSTER BY ({})", self.cluster_by.join(", ")).expect("a String takes what is written");
            }
            write!(
                ddl,
                "\nDATA_RETENTION_TIME_IN_DAYS = {TIME_TRAVEL_DAYS}\nERROR_LOGGING = TRUE\nCOMMENT = {}",
                literal(self.doc)
            )
            .expect("a String takes what is written");
        }
        ddl
    }

    /// Whether PostgreSQL notes when it stored a row of it.
    pub fn is_dated(&self) -> bool {
        self.name != GAPS.name
    }

    /// What lets PostgreSQL note that in a table that is there: a change of its catalogue, for which no row is touched.
    pub fn ddl_of_date(&self) -> String {
        format!("ALTER TABLE {} ADD COLUMN IF NOT EXISTS {STORED_AT}", self.sql_name(Dialect::Postgres))
    }
}

/// What makes the table of raw readings in PostgreSQL, in partitions by when a row was stored; a statement each.
pub fn raw_in_partitions() -> Vec<String> {
    let table = format!("{}\nPARTITION BY RANGE (stored_at)", RAW.ddl(Dialect::Postgres));
    std::iter::once(table).chain(DEFAULT_PARTITION.map(str::to_owned)).collect()
}

/// The whole script that makes a warehouse's schemas, tables and indexes in `dialect`.
pub fn ddl_script(dialect: Dialect) -> String {
    let (name, title) = match dialect {
        Dialect::Snowflake => ("snowflake", "Snowflake"),
        Dialect::Postgres => ("postgres", "PostgreSQL"),
        Dialect::Sqlite => ("sqlite", "SQLite"),
    };
    let mut script = format!(
        "-- The tables of {title}. Made by `gaitway sink ddl --dialect {name}`: change the list of fields, not this.\n\
         -- May be run again: what exists is left as it is.\n"
    );
    let mut push = |statement: String| {
        script.push('\n');
        script.push_str(&statement);
        script.push_str(";\n");
    };
    if dialect == Dialect::Snowflake {
        push("USE ROLE SYSADMIN".to_owned());
        push(format!("USE DATABASE {DATABASE}"));
    }
    if dialect != Dialect::Sqlite {
        for schema in schemas() {
            push(format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
        }
    }
    for table in TABLES {
        match dialect {
            Dialect::Postgres if table.name == RAW.name => push(raw_for_anyone()),
            _ => push(table.ddl(dialect)),
        }
        if dialect == Dialect::Postgres && table.is_dated() {
            push(table.ddl_of_date());
        }
    }
    for index in indexes(dialect) {
        let table = TABLES.iter().find(|t| t.name == index.table).expect("a test finds every index's table");
        push(format!(
            "CREATE INDEX IF NOT EXISTS {} ON {} ({})",
            index.name,
            table.sql_name(dialect),
            index.columns.join(", ")
        ));
    }
    script
}

/// The table of raw readings for a PostgreSQL of which nothing is known: in partitions, unless TimescaleDB is there, which
/// parts tables itself, or a table that stays as it is.
fn raw_for_anyone() -> String {
    let [whole, parted] = [RAW.ddl(Dialect::Postgres), raw_in_partitions().join(";\n")];
    format!(
        "DO $$\nBEGIN\nIF to_regclass('raw_data.activity_records') IS NOT NULL THEN\nRETURN;\nEND IF;\n\
         IF EXISTS (SELECT FROM pg_extension WHERE extname = 'timescaledb') THEN\n{whole};\nELSE\n{parted};\nEND IF;\nEND\n$$"
    )
}

/// The indexes that `dialect` has.
fn indexes(dialect: Dialect) -> impl Iterator<Item = &'static Index> {
    INDEXES.iter().filter(move |index| match dialect {
        Dialect::Snowflake => false,
        Dialect::Postgres => true,
        Dialect::Sqlite => index.in_sqlite,
    })
}

/// The schemas of the tables, each once, and that of the views.
fn schemas() -> Vec<&'static str> {
    let mut schemas: Vec<&str> = Vec::new();
    for schema in TABLES.iter().map(|t| t.schema).chain([VIEWS_SCHEMA]) {
        if !schemas.contains(&schema) {
            schemas.push(schema);
        }
    }
    schemas
}

/// `text` as an SQL string.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::super::ACTIVITY;
    use super::*;

    #[test]
    fn ddl_is_made_of_the_fields() {
        for table in TABLES {
            for dialect in [Dialect::Snowflake, Dialect::Postgres, Dialect::Sqlite] {
                let ddl = table.ddl(dialect);
                let mut lines = ddl.lines();
                let name = table.sql_name(dialect);
                assert_eq!(lines.next(), Some(format!("CREATE TABLE IF NOT EXISTS {name} (").as_str()));
                assert_eq!(lines.next().unwrap().split_whitespace().next(), Some(RECORD_METADATA));
                for field in table.fields {
                    let column = format!("  {} {}", field.name, field.kind.sql(dialect));
                    assert!(lines.next().unwrap().starts_with(&column), "{ddl}");
                }
                if dialect == Dialect::Postgres && table.name != "GAPS" {
                    assert_eq!(lines.next(), Some("  stored_at timestamptz NOT NULL DEFAULT now()"));
                }
                assert_eq!(lines.next(), Some(")"));
            }
        }
        assert!(RAW.ddl(Dialect::Sqlite).contains("  x REAL,\n"));
        assert!(RAW.ddl(Dialect::Postgres).contains("  reading jsonb,\n"));
    }

    #[test]
    fn snowflakes_tables_are_clustered_travel_in_time_and_keep_what_they_refuse() {
        let ddl = ACTIVITY.ddl(Dialect::Snowflake);
        assert!(ddl.contains("\n  confidence FLOAT COMMENT 'probability that the label is right, 0 to 1',\n"), "{ddl}");
        let tail = "\n)\nCLUSTER BY (TO_DATE(windowStart), deviceId)\nDATA_RETENTION_TIME_IN_DAYS = 1\n\
                    ERROR_LOGGING = TRUE\nCOMMENT = 'Classified windows'";
        assert!(ddl.ends_with(tail), "{ddl}");
        assert!(!GAPS.ddl(Dialect::Snowflake).contains("CLUSTER BY"));
    }

    #[test]
    fn a_quote_in_a_doc_stays_inside_its_comment() {
        assert_eq!(literal("phone's clock"), "'phone''s clock'");
        let odd =
            RAW.ddl(Dialect::Snowflake).lines().find(|line| line.matches('\'').count() % 2 == 1).map(str::to_owned);
        assert_eq!(odd, None);
    }

    #[test]
    fn every_index_is_of_a_table_and_its_columns() {
        for index in INDEXES {
            let table = TABLES.iter().find(|t| t.name == index.table).expect(index.name);
            for column in index.columns {
                assert!(table.columns().any(|c| c == *column), "{}: {column}", index.name);
            }
        }
    }

    #[test]
    fn a_script_holds_schemas_before_tables_before_indexes() {
        let starts = |dialect| -> Vec<String> {
            let script = ddl_script(dialect);
            let heads = script.lines().filter(|l| l.starts_with("CREATE") || l.starts_with("USE"));
            heads.map(|l| l.trim_end_matches([';', '(']).trim_end().replace(" IF NOT EXISTS", "")).collect()
        };
        let tables = |prefix: &str| {
            TABLES.map(|t| {
                let schema = if prefix.is_empty() { String::new() } else { format!("{}.", t.schema) };
                format!("CREATE TABLE {schema}{}", t.name)
            })
        };
        let schemas = ["RAW_DATA", "PROCESSED_DATA", "ACTIVITY"].map(|s| format!("CREATE SCHEMA {s}"));
        let index = |name: &str, on: &str| format!("CREATE INDEX {name} ON {on}");
        let mut snowflake = vec!["USE ROLE SYSADMIN".to_owned(), "USE DATABASE ACTIVITY_DB".to_owned()];
        snowflake.extend(schemas.clone());
        snowflake.extend(tables("schema"));
        assert_eq!(starts(Dialect::Snowflake), snowflake);
        let mut postgres = schemas.to_vec();
        let [raw, rest @ ..] = tables("schema");
        let default = ["CREATE TABLE raw_data.raw_default PARTITION OF raw_data.activity_records DEFAULT"];
        postgres.extend([raw.clone(), raw]);
        postgres.extend(default.map(str::to_owned));
        postgres.push(index("raw_default_by_storing", "raw_data.raw_default (stored_at)"));
        postgres.extend(rest);
        postgres.push(index("raw_by_time", "RAW_DATA.ACTIVITY_RECORDS (timestamp)"));
        postgres.push(index("raw_by_session", "RAW_DATA.ACTIVITY_RECORDS (sessionId, sensorType, timestamp)"));
        postgres.push(index("activity_by_time", "PROCESSED_DATA.USER_ACTIVITY_PROCESSED (timestamp)"));
        let window = "(deviceId, sessionId, windowStart, revision)";
        postgres.push(index("activity_by_window", &format!("PROCESSED_DATA.USER_ACTIVITY_PROCESSED {window}")));
        assert_eq!(starts(Dialect::Postgres), postgres);
        let mut sqlite = tables("").to_vec();
        sqlite.push(index("raw_by_time", "ACTIVITY_RECORDS (timestamp)"));
        sqlite.push(index("activity_by_time", "USER_ACTIVITY_PROCESSED (timestamp)"));
        sqlite.push(index("activity_by_window", &format!("USER_ACTIVITY_PROCESSED {window}")));
        assert_eq!(starts(Dialect::Sqlite), sqlite);
    }
}
