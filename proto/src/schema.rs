//! The record and table contract: one list of fields a record type makes its JSON, its JSON Schema, its DDL and its rows.

use std::borrow::Cow;

use jiff::fmt::temporal::DateTimePrinter;

mod ddl;
mod json_schema;

pub use ddl::{DATABASE, Dialect, INDEXES, Index, VIEWS_SCHEMA, ddl_script, raw_in_partitions};
pub use json_schema::{json_schema, published_json_schemas};

/// The type of a field, and what it becomes in Snowflake, PostgreSQL and SQLite.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldType {
    /// Integer in `i64`.
    Int,
    /// Finite `f64`.
    Float,
    /// Text.
    Text,
    /// JSON object.
    Object,
    /// UTC instant; RFC 3339 in JSON.
    Instant,
    /// UTC instant; `YYYY-MM-DD HH:MM:SS` in JSON, the tutorial's form.
    SeedInstant,
}

/// One field of a record: key in JSON, column in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// The JSON key; as a column a plain, case-insensitive identifier.
    pub name: &'static str,
    /// Its type.
    pub kind: FieldType,
    /// Whether the tutorial's records have it: then the key is always present.
    pub seed: bool,
    /// What it holds, with its unit.
    pub doc: &'static str,
}

/// One value of a record, in the order of its fields.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell<'a> {
    /// Unknown.
    Null,
    /// For [`FieldType::Int`].
    Int(i64),
    /// For [`FieldType::Float`].
    Float(f64),
    /// For [`FieldType::Text`].
    Text(Cow<'a, str>),
    /// For [`FieldType::Object`]: JSON text.
    Object(Cow<'a, str>),
    /// For [`FieldType::Instant`] and [`FieldType::SeedInstant`]: nanoseconds since the Unix epoch.
    Instant(i64),
}

/// A table of the warehouse and the topic that feeds it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Table {
    /// Kafka topic.
    pub topic: &'static str,
    /// Schema in Snowflake and PostgreSQL.
    pub schema: &'static str,
    /// Table name; without schema in SQLite.
    pub name: &'static str,
    /// What a row is.
    pub doc: &'static str,
    /// By what Snowflake keeps rows together: expressions over the columns; none for a table that stays small.
    pub cluster_by: &'static [&'static str],
    /// Fields in column order. A column `RECORD_METADATA` (object) stands before them.
    pub fields: &'static [Field],
}

/// The column before all others: where a record came from.
pub const RECORD_METADATA: &str = "RECORD_METADATA";

const WRITTEN: &str = "a String takes what is written";

/// The topic of watermarks; its table in warehouses that keep their own.
pub const PROGRESS: &str = "gaitway_progress";

const fn field(name: &'static str, kind: FieldType, seed: bool, doc: &'static str) -> Field {
    Field { name, kind, seed, doc }
}

use FieldType::{Float, Instant, Int, Object, SeedInstant, Text};

/// Readings as received.
pub const RAW: Table = Table {
    topic: "raw_sensor_data",
    schema: "RAW_DATA",
    name: "ACTIVITY_RECORDS",
    doc: "Readings as received",
    cluster_by: &["TO_DATE(receivedAt)", "deviceId"],
    fields: &[
        field("messageId", Int, true, "number of the push in its session; null if the body is known by its hash"),
        field("sessionId", Text, true, "one recording"),
        field("deviceId", Text, true, "one phone"),
        field("sensorType", Text, true, "the sensor's name as the app sends it"),
        field("x", Float, true, "first axis, in the sensor's unit"),
        field("y", Float, true, "second axis, in the sensor's unit"),
        field("z", Float, true, "third axis, in the sensor's unit"),
        field("accuracy", Int, true, "0 to 3, Android only"),
        field("timestamp", Int, true, "phone's clock, nanoseconds since the Unix epoch"),
        field("reading", Object, false, "what the columns do not hold: values, unknown fields, or the whole original"),
        field("readingIndex", Int, false, "place in the push's payload, from 0"),
        field("userId", Text, false, "participant, in studies only"),
        field("agentId", Text, false, "the agent that accepted the push"),
        field("receivedAt", Instant, false, "when the agent had the push, its wall clock, UTC"),
    ],
};

/// Classified windows.
pub const ACTIVITY: Table = Table {
    topic: "processed_activity",
    schema: "PROCESSED_DATA",
    name: "USER_ACTIVITY_PROCESSED",
    doc: "Classified windows",
    cluster_by: &["TO_DATE(windowStart)", "deviceId"],
    fields: &[
        field("timestamp", SeedInstant, true, "end of the window, UTC"),
        field("sessionId", Text, true, "one recording"),
        field("deviceId", Text, true, "one phone"),
        field("activity", Text, true, "stationary, walking, running or sprinting"),
        field("confidence", Float, true, "probability that the label is right, 0 to 1"),
        field("avg_magnitude", Float, true, "mean of sqrt(x²+y²+z²) over the window, m/s²"),
        field("windowStart", Instant, false, "inclusive, UTC"),
        field("windowEnd", Instant, false, "exclusive, UTC"),
        field("sampleCount", Int, false, "readings in the window"),
        field("classifier", Text, false, "the rule that gave the label"),
        field("revision", Int, false, "0, higher after a reclassification"),
        field("agentId", Text, false, "the agent that classified"),
    ],
};

/// Frames that will never come, and why.
pub const GAPS: Table = Table {
    topic: "gaitway_gaps",
    schema: "RAW_DATA",
    name: "GAPS",
    doc: "Frames that will never come, and why",
    cluster_by: &[],
    fields: &[
        field("agentId", Text, false, "the agent whose stream has the gap"),
        field("epoch", Text, false, "the agent's start"),
        field("stream", Text, false, "raw or activity"),
        field("fromSeq", Int, false, "first missing frame"),
        field("toSeq", Int, false, "last missing frame"),
        field("messages", Int, false, "pushes in the gap; null if nobody knows"),
        field("readings", Int, false, "readings in the gap; null if nobody knows"),
        field("reason", Text, false, "why"),
        field("noticedAt", Instant, false, "when, UTC"),
    ],
};

/// All tables.
pub const TABLES: [&Table; 3] = [&RAW, &ACTIVITY, &GAPS];

impl Table {
    /// The names of all columns in order, `RECORD_METADATA` first.
    pub fn columns(&self) -> impl Iterator<Item = &'static str> {
        std::iter::once(RECORD_METADATA).chain(self.fields.iter().map(|f| f.name))
    }
}

/// Appends an instant, UTC, as fields of this kind spell it: RFC 3339 with as many fractional digits as it needs, or for
/// [`FieldType::SeedInstant`] the tutorial's `YYYY-MM-DD HH:MM:SS`, which cuts a fraction of a second off.
pub fn push_instant(out: &mut String, kind: FieldType, nanoseconds: i64) {
    const RFC_3339: DateTimePrinter = DateTimePrinter::new();
    const SEED: DateTimePrinter = DateTimePrinter::new().separator(b' ');
    const WITHIN: &str = "every i64 of nanoseconds lies in the years 1677 to 2262";
    let out = jiff::fmt::StdFmtWrite(out);
    if kind == FieldType::SeedInstant {
        let whole = jiff::Timestamp::from_second(nanoseconds.div_euclid(1_000_000_000)).expect(WITHIN);
        SEED.print_datetime(&jiff::tz::Offset::UTC.to_datetime(whole), out).expect(WRITTEN);
    } else {
        let at = jiff::Timestamp::from_nanosecond(i128::from(nanoseconds)).expect(WITHIN);
        RFC_3339.print_timestamp(&at, out).expect(WRITTEN);
    }
}

/// An instant as RFC 3339, UTC, with as many fractional digits as it needs.
pub fn rfc3339(nanoseconds: i64) -> String {
    let mut out = String::new();
    push_instant(&mut out, FieldType::Instant, nanoseconds);
    out
}

/// An instant as the tutorial's `YYYY-MM-DD HH:MM:SS`, UTC; a fraction of a second is cut off.
pub fn seed_time(nanoseconds: i64) -> String {
    let mut out = String::new();
    push_instant(&mut out, FieldType::SeedInstant, nanoseconds);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_are_utc() {
        assert_eq!(rfc3339(1_700_000_002_000_000_000), "2023-11-14T22:13:22Z");
        assert_eq!(rfc3339(1_700_000_002_500_000_000), "2023-11-14T22:13:22.5Z");
        assert_eq!(seed_time(1_700_000_002_999_999_999), "2023-11-14 22:13:22");
        assert_eq!(seed_time(-1), "1969-12-31 23:59:59");
        assert_eq!(seed_time(i64::MIN), "1677-09-21 00:12:43");
        rfc3339(i64::MIN);
        rfc3339(i64::MAX);
    }

    #[test]
    fn seed_keys_are_the_tutorials() {
        let seed = |t: &Table| t.fields.iter().filter(|f| f.seed).map(|f| f.name).collect::<Vec<_>>().join(" ");
        assert_eq!(seed(&RAW), "messageId sessionId deviceId sensorType x y z accuracy timestamp");
        assert_eq!(seed(&ACTIVITY), "timestamp sessionId deviceId activity confidence avg_magnitude");
    }
}
