//! What a warehouse has of one device, and the statements that delete it where rows are asked for in SQL.
//!
//! - The device is a parameter, never part of a statement, except in the script that people run by hand.
//! - What goes is told in `GAPS`: how many rows and frames of which stream, never whose.

use gaitway_proto::forgotten;
use gaitway_proto::schema::{ACTIVITY, Dialect, GAPS, RAW, RECORD_METADATA, Table};

/// What a warehouse has of a device.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Held {
    /// Rows of `ACTIVITY_RECORDS`.
    pub readings: u64,
    /// Rows of `USER_ACTIVITY_PROCESSED`.
    pub windows: u64,
}

impl Held {
    /// Whether there is nothing of the device.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    pub(crate) fn of(&mut self, table: &Table) -> &mut u64 {
        if table.name == RAW.name { &mut self.readings } else { &mut self.windows }
    }
}

/// The tables in which rows are somebody's.
pub(crate) const TABLES: [&Table; 2] = [&RAW, &ACTIVITY];

/// What an operator runs in PostgreSQL, where gaitway's own user may not delete. `device` stands in it as a literal.
pub fn postgres_script(device: &str) -> String {
    let dialect = Dialect::Postgres;
    let device = literal(dialect, device);
    let [raw, activity] = TABLES.map(|table| table.sql_name(dialect));
    let delete = TABLES.map(|table| format!("{};\n\n", delete_and_tell(table, &device))).concat();
    format!(
        "BEGIN;\n\n{delete}COMMIT;\n\n-- Deleted rows are overwritten once this has run.\nVACUUM {raw}, {activity};\n"
    )
}

/// What an operator runs in Snowflake, in `database`, where gaitway's own user may not delete. `device` stands in it as a
/// literal.
pub fn snowflake_script(database: &str, device: &str) -> String {
    let dialect = Dialect::Snowflake;
    let device = literal(dialect, device);
    let of = |table: &Table| {
        let (tell, name) = (tell(table, &device, ""), table.sql_name(dialect));
        format!("{tell};\n\nDELETE FROM {name} WHERE deviceId = {device};\n\n")
    };
    format!(
        "-- Stop the sink first, or the phone: what it appends between an INSERT and its DELETE is deleted and not told.\n\
         USE DATABASE \"{}\";\n\n{}",
        database.to_ascii_uppercase(),
        TABLES.map(of).concat()
    )
}

/// In PostgreSQL: deletes a table's rows of `device`, an expression, tells of them, and gives their number.
pub(crate) fn delete_and_tell(table: &Table, device: &str) -> String {
    let dialect = Dialect::Postgres;
    let Name { agent, epoch, stream, seq, index } = Name::in_dialect(dialect);
    format!(
        "WITH gone AS (
  DELETE FROM {} AS r WHERE r.deviceId = {device}
  RETURNING {agent} AS agent, {epoch} AS epoch, {stream} AS stream, {seq} AS seq, {index} AS idx
), told AS (
  INSERT INTO {}
  SELECT jsonb_build_object('agent', g.agent, 'epoch', g.epoch, 'stream', g.stream, 'seq', MIN(g.seq), 'index', 0),
         g.agent, g.epoch, g.stream, MIN(g.seq), MAX(g.seq), COUNT(*) FILTER (WHERE g.idx = 0), COUNT(*),
         '{}', now() AT TIME ZONE 'UTC'
    FROM gone AS g WHERE {} GROUP BY g.agent, g.epoch, g.stream
)
SELECT COUNT(*) FROM gone",
        table.sql_name(dialect),
        gaps(dialect),
        forgotten::ROWS,
        named("g"),
    )
}

/// In Snowflake: the streams in which a table has rows of a device, a parameter, and the last seq of each: agent, epoch,
/// stream, seq.
pub(crate) fn streams(table: &Table) -> String {
    let dialect = Dialect::Snowflake;
    let Name { agent, epoch, stream, seq, .. } = Name::in_dialect(dialect);
    format!(
        "SELECT g.agent, g.epoch, g.stream, MAX(g.seq)
  FROM (SELECT {agent} AS agent, {epoch} AS epoch, {stream} AS stream, {seq} AS seq
          FROM {table} AS r WHERE r.deviceId = ?) AS g
 WHERE {named} GROUP BY g.agent, g.epoch, g.stream",
        table = table.sql_name(dialect),
        named = named("g"),
    )
}

/// Parameters that bound [`tell_up_to`] and [`delete_up_to`] to a stream, after the device's: agent, epoch, stream, last seq.
fn up_to(row: &str) -> String {
    let Name { agent, epoch, stream, seq, .. } = Name::in_dialect(Dialect::Snowflake);
    let bound = format!(" AND {agent} = ? AND {epoch} = ? AND {stream} = ? AND {seq} <= TRY_TO_NUMBER(?)");
    bound.replace("r.RECORD_METADATA", &format!("{row}RECORD_METADATA"))
}

/// In Snowflake: tells of a table's rows of a device in one stream up to a seq; see [`up_to`].
pub(crate) fn tell_up_to(table: &Table) -> String {
    tell(table, "?", &up_to("r."))
}

/// In Snowflake: deletes what [`tell_up_to`] told of, and no row that was appended meanwhile: its seq is a later one.
pub(crate) fn delete_up_to(table: &Table) -> String {
    format!("DELETE FROM {} WHERE deviceId = ?{}", table.sql_name(Dialect::Snowflake), up_to(""))
}

/// In Snowflake: deletes a table's rows of a device, a parameter, that no agent named and that cannot be told.
pub(crate) fn delete_nameless(table: &Table) -> String {
    let Name { agent, epoch, stream, seq, .. } = Name::in_dialect(Dialect::Snowflake);
    let lacks = [agent, epoch, stream, seq].map(|part| format!("{part} IS NULL")).join(" OR ");
    let lacks = lacks.replace("r.RECORD_METADATA", "RECORD_METADATA");
    format!("DELETE FROM {} WHERE deviceId = ? AND ({lacks})", table.sql_name(Dialect::Snowflake))
}

/// In Snowflake: tells of a table's rows of `device`, an expression, which are then deleted; once, also where that is
/// interrupted and done again. `bound`: what else holds for them.
fn tell(table: &Table, device: &str, bound: &str) -> String {
    let dialect = Dialect::Snowflake;
    let Name { agent, epoch, stream, seq, index } = Name::in_dialect(dialect);
    let (gaps, told) = (gaps(dialect), GAPS.sql_name(dialect));
    format!(
        "INSERT INTO {gaps}
SELECT OBJECT_CONSTRUCT('agent', p.agent, 'epoch', p.epoch, 'stream', p.stream, 'seq', p.lo, 'index', 0),
       p.agent, p.epoch, p.stream, p.lo, p.hi, p.frames, p.readings, '{reason}', SYSDATE()
  FROM (SELECT g.agent, g.epoch, g.stream, MIN(g.seq) AS lo, MAX(g.seq) AS hi,
               SUM(CASE WHEN g.idx = 0 THEN 1 ELSE 0 END) AS frames, COUNT(*) AS readings
          FROM (SELECT {agent} AS agent, {epoch} AS epoch, {stream} AS stream, {seq} AS seq, {index} AS idx
                  FROM {table} AS r WHERE r.deviceId = {device}{bound}) AS g
         WHERE {named} GROUP BY g.agent, g.epoch, g.stream) AS p
 WHERE NOT EXISTS (SELECT 1 FROM {told} AS t
                    WHERE t.reason = '{reason}' AND t.agentId = p.agent AND t.epoch = p.epoch
                      AND t.stream = p.stream AND t.fromSeq = p.lo AND t.toSeq = p.hi
                      AND t.messages = p.frames AND t.readings = p.readings)",
        reason = forgotten::ROWS,
        table = table.sql_name(dialect),
        named = named("g"),
    )
}

/// A table's rows of `device`, an expression.
pub(crate) fn count(dialect: Dialect, table: &Table, device: &str) -> String {
    format!("SELECT COUNT(*) FROM {} AS r WHERE r.deviceId = {device}", table.sql_name(dialect))
}

fn gaps(dialect: Dialect) -> String {
    let columns = GAPS.columns().collect::<Vec<_>>().join(", ");
    format!("{} ({columns})", GAPS.sql_name(dialect))
}

fn named(rows: &str) -> String {
    ["agent", "epoch", "stream", "seq"].map(|part| format!("{rows}.{part} IS NOT NULL")).join(" AND ")
}

/// Expressions over a row `r`: the parts of its name, which stands in `RECORD_METADATA` as the sink writes it, or under
/// `headers` as a Kafka connector does.
struct Name {
    agent: String,
    epoch: String,
    stream: String,
    seq: String,
    index: String,
}

impl Name {
    fn in_dialect(dialect: Dialect) -> Self {
        let text = |key: &str| match dialect {
            Dialect::Postgres => {
                format!("COALESCE(r.{RECORD_METADATA} ->> '{key}', r.{RECORD_METADATA} #>> '{{headers,{key}}}')")
            }
            Dialect::Snowflake | Dialect::Sqlite => {
                format!("COALESCE(r.{RECORD_METADATA}:{key}::VARCHAR, r.{RECORD_METADATA}:headers.{key}::VARCHAR)")
            }
        };
        let number = |key: &str| match dialect {
            Dialect::Postgres => {
                let text = text(key);
                format!("CASE WHEN {text} ~ '^[0-9]{{1,18}}$' THEN ({text})::bigint END")
            }
            Dialect::Snowflake | Dialect::Sqlite => format!("TRY_TO_NUMBER({})", text(key)),
        };
        let [agent, epoch, stream] = ["agent", "epoch", "stream"].map(text);
        Self { agent, epoch, stream, seq: number("seq"), index: number("index") }
    }
}

/// `text` as a string of SQL. Snowflake reads a backslash as the beginning of an escape.
fn literal(dialect: Dialect, text: &str) -> String {
    let text = if dialect == Dialect::Snowflake { text.replace('\\', "\\\\") } else { text.to_owned() };
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_names_the_device_as_text_that_ends_nowhere_else() {
        for dialect in [Dialect::Postgres, Dialect::Snowflake] {
            let script = match dialect {
                Dialect::Snowflake => snowflake_script("activity_db", r"o'brien\"),
                _ => postgres_script(r"o'brien\"),
            };
            assert_eq!(script.contains("USE DATABASE \"ACTIVITY_DB\";"), dialect == Dialect::Snowflake);
            let name = if dialect == Dialect::Postgres { r"'o''brien\'" } else { r"'o''brien\\'" };
            assert!(script.contains(name), "{script}");
            assert!(script.contains("DELETE FROM RAW_DATA.ACTIVITY_RECORDS"), "{script}");
            assert!(script.contains("DELETE FROM PROCESSED_DATA.USER_ACTIVITY_PROCESSED"), "{script}");
        }
    }
}
