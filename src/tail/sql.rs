//! Rows of a warehouse that is asked in SQL, PostgreSQL or Snowflake; the place is `PARTITION@OFFSET`.
//!
//! - **The rows of a partition become visible in the order of their offsets.** A submit to PostgreSQL moves the
//!   partition's mark by compare-and-set, so the next one begins after it is committed; a channel of Snowflake commits its
//!   appends in order. So what follows the last offset that was seen of each partition is what has come, and nothing
//!   comes below it.
//! - PostgreSQL is read as of one moment: once a mark has moved, a cursor gives what it moved over, and then the
//!   transaction ends. A moment that is kept open holds up no writer.
//! - Neither has an index by place, so a look reads the table. PostgreSQL rests [`SPARE`] times as long as a look took;
//!   Snowflake, whose warehouse costs while it runs, is asked every [`EVERY`].
//! - Rows of another topic than the configured one are not shown, nor rows without a place.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gaitway_proto::schema::{Dialect, Field, FieldType, Table};
use serde_json::value::RawValue;

use super::{BATCH, Found, Reader, Start};
use crate::warehouse::{Row, Sql, names, number, text};

/// Rest after a look that found all there was, as a multiple of the time it took.
const SPARE: u32 = 10;

/// How often Snowflake is asked once all there was is shown.
const EVERY: Duration = Duration::from_secs(10);

/// Offsets by partition.
type Places = BTreeMap<i64, i64>;

/// See the module.
pub(super) struct Rows {
    sql: Sql,
    table: &'static Table,
    topic: String,
    /// The last offset of each partition that was read.
    last: Places,
    /// The cursor that is open in PostgreSQL, if one is.
    cursor: Option<Cursor>,
    caught_up: bool,
    next: Instant,
}

struct Cursor {
    opened: Instant,
    /// How far it leads.
    to: Places,
}

impl Rows {
    pub(super) fn open(mut sql: Sql, table: &'static Table, topic: &str, start: Start) -> Result<Self, String> {
        let (dialect, topic) = (sql.dialect(), topic.to_owned());
        let last = match (start, dialect) {
            (Start::Beginning, _) => Places::new(),
            (Start::Now, Dialect::Postgres) => marks(&mut sql, &topic)?,
            (Start::Now, _) => before_last(&mut sql, table, &topic, 0)?,
            (Start::Last(count), _) => before_last(&mut sql, table, &topic, count)?,
        };
        Ok(Self { sql, table, topic, last, cursor: None, caught_up: start == Start::Now, next: Instant::now() })
    }

    fn look_in_postgres(&mut self, out: &mut Vec<Found>) -> Result<(), String> {
        if self.cursor.is_none() {
            let opened = Instant::now();
            self.sql.ask("BEGIN")?;
            let to = marks(&mut self.sql, &self.topic)?;
            if to.iter().any(|(partition, to)| self.last.get(partition).is_none_or(|last| last < to)) {
                let rows = rows(Dialect::Postgres, self.table, &self.topic, &self.last);
                self.sql.ask(&format!("DECLARE found NO SCROLL CURSOR FOR {rows}"))?;
            } else {
                self.sql.ask("COMMIT")?;
                self.caught_up = true;
                return Ok(());
            }
            self.cursor = Some(Cursor { opened, to });
        }
        let found = self.sql.ask(&format!("FETCH {BATCH} FROM found"))?;
        self.take(&found, out);
        if found.len() < BATCH
            && let Some(Cursor { opened, to }) = self.cursor.take()
        {
            self.sql.ask("COMMIT")?;
            // A mark may be beyond the last row: at records that could not be stored.
            self.last.extend(to);
            self.caught_up = true;
            self.next = Instant::now() + opened.elapsed() * SPARE;
        }
        Ok(())
    }

    fn look_in_snowflake(&mut self, out: &mut Vec<Found>) -> Result<(), String> {
        let rows = rows(Dialect::Snowflake, self.table, &self.topic, &self.last);
        let found = self.sql.ask(&format!("{rows} LIMIT {BATCH}"))?;
        self.take(&found, out);
        if found.len() < BATCH {
            self.caught_up = true;
            self.next = Instant::now() + EVERY;
        }
        Ok(())
    }

    fn take(&mut self, rows: &[Row], out: &mut Vec<Found>) {
        for row in rows {
            let (Some(partition), Some(offset)) = (number(row, 0), number(row, 1)) else { continue };
            self.last.insert(partition, offset);
            let metadata = row[2].clone().unwrap_or_else(|| "{}".to_owned());
            let value = value(&row[3..], self.table.fields).into_bytes();
            out.push(Found { place: format!("{partition}@{offset}"), metadata, value, table: self.table });
        }
    }
}

impl Reader for Rows {
    fn read(&mut self, out: &mut Vec<Found>) -> Result<(), String> {
        if self.cursor.is_none() && Instant::now() < self.next {
            return Ok(());
        }
        match self.sql.dialect() {
            Dialect::Snowflake => self.look_in_snowflake(out),
            Dialect::Postgres | Dialect::Sqlite => self.look_in_postgres(out),
        }
    }

    fn is_caught_up(&self) -> bool {
        self.caught_up
    }
}

/// How far each partition of `topic` is stored in PostgreSQL.
fn marks(sql: &mut Sql, topic: &str) -> Result<Places, String> {
    let rows = sql.ask("SELECT source, position FROM raw_data.gaitway_progress")?;
    let of_topic = |row: &Row| {
        let source = text(row, 0);
        let (of, partition) = source.rsplit_once('/')?;
        Some((partition.parse().ok().filter(|_| of == topic)?, number(row, 1)?))
    };
    Ok(rows.iter().filter_map(of_topic).collect())
}

/// Rows with a place as `p`: `part`, `place` and what `more` names.
fn placed(dialect: Dialect, table: &Table, topic: &str, more: &str) -> String {
    let (partition, offset) = (names::placed(dialect, "partition"), names::placed(dialect, "offset"));
    format!(
        "(SELECT {partition} AS part, {offset} AS place{more} FROM {} AS r WHERE {} = {}) AS p",
        table.sql_name(dialect),
        names::topic(dialect),
        names::literal(topic)
    )
}

/// The place before the last `count` rows of each partition.
fn before_last(sql: &mut Sql, table: &Table, topic: &str, count: u32) -> Result<Places, String> {
    let placed = placed(sql.dialect(), table, topic, "");
    let statement = match count {
        0 => format!("SELECT p.part, MAX(p.place) FROM {placed} WHERE p.part IS NOT NULL GROUP BY p.part"),
        _ => format!(
            "SELECT b.part, MIN(b.place) - 1 FROM (SELECT p.part, p.place,
                    ROW_NUMBER() OVER (PARTITION BY p.part ORDER BY p.place DESC) AS back FROM {placed}) AS b
              WHERE b.back <= {count} AND b.part IS NOT NULL GROUP BY b.part"
        ),
    };
    let rows = sql.ask(&statement)?;
    Ok(rows.iter().filter_map(|row| Some((number(row, 0)?, number(row, 1)?))).collect())
}

/// The rows behind `last`, those of a partition in the order of their offsets; partitions come to their ends together.
fn rows(dialect: Dialect, table: &Table, topic: &str, last: &Places) -> String {
    let columns = table.fields.iter().enumerate();
    let cells = columns.map(|(at, field)| format!(", {} AS c{at}", names::column(dialect, field.name, field.kind)));
    let metadata = names::column(dialect, "RECORD_METADATA", FieldType::Object);
    let more: String = std::iter::once(format!(", {metadata} AS metadata")).chain(cells).collect();
    let known: Vec<String> = last.keys().map(i64::to_string).collect();
    let behind = last.iter().map(|(partition, offset)| format!("p.part = {partition} AND p.place > {offset}"));
    let new = match known.as_slice() {
        [] => "p.part IS NOT NULL".to_owned(),
        _ => format!("p.part NOT IN ({})", known.join(", ")),
    };
    let wanted: Vec<String> = behind.chain([new]).map(|condition| format!("({condition})")).collect();
    let shown: Vec<String> = (0..table.fields.len()).map(|at| format!("p.c{at}")).collect();
    format!(
        "SELECT p.part, p.place, p.metadata, {} FROM {} WHERE p.place IS NOT NULL AND ({})
          ORDER BY ROW_NUMBER() OVER (PARTITION BY p.part ORDER BY p.place DESC) DESC, p.part",
        shown.join(", "),
        placed(dialect, table, topic, &more),
        wanted.join(" OR ")
    )
}

/// The row as the record's JSON.
fn value(cells: &[Option<String>], fields: &[Field]) -> String {
    let mut json = String::from("{");
    for (at, (field, cell)) in fields.iter().zip(cells).enumerate() {
        let shown = cell.as_deref().map_or_else(|| "null".to_owned(), |cell| shown(field.kind, cell));
        json.extend([if at == 0 { "" } else { "," }, "\"", field.name, "\":", &shown]);
    }
    json.push('}');
    json
}

/// A cell's text as JSON.
fn shown(kind: FieldType, cell: &str) -> String {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    match kind {
        FieldType::Int if cell.parse::<i128>().is_ok() => cell.to_owned(),
        FieldType::Float => {
            cell.parse::<f64>().map_or_else(|_| quoted(cell), |n| serde_json::Value::from(n).to_string())
        }
        FieldType::Object if serde_json::from_str::<&RawValue>(cell).is_ok() => cell.to_owned(),
        FieldType::Instant => quoted(&format!("{}Z", without_zeros(cell).replacen(' ', "T", 1))),
        FieldType::SeedInstant => quoted(cell.split('.').next().unwrap_or(cell)),
        FieldType::Int | FieldType::Object | FieldType::Text => quoted(cell),
    }
}

/// An instant with as many fractional digits as it needs.
fn without_zeros(instant: &str) -> &str {
    if instant.contains('.') { instant.trim_end_matches('0').trim_end_matches('.') } else { instant }
}

#[cfg(test)]
mod tests {
    use gaitway_proto::schema;

    use super::*;

    #[test]
    fn a_row_of_text_is_the_records_json() {
        let cells = |texts: &[Option<&str>]| texts.iter().map(|text| text.map(str::to_owned)).collect::<Vec<_>>();
        let raw = cells(&[
            Some("7"),
            Some("s"),
            Some("d\""),
            Some("accelerometer"),
            Some("0.1"),
            Some("-3"),
            None,
            None,
            Some("1700000000000000000"),
            Some(r#"{"a": 1}"#),
            Some("0"),
            None,
            Some("pi"),
            Some("2023-11-14 22:13:22.500000"),
        ]);
        let expected = r#"{"messageId":7,"sessionId":"s","deviceId":"d\"","sensorType":"accelerometer","x":0.1,"y":-3.0,"z":null,"accuracy":null,"timestamp":1700000000000000000,"reading":{"a": 1},"readingIndex":0,"userId":null,"agentId":"pi","receivedAt":"2023-11-14T22:13:22.5Z"}"#;
        assert_eq!(value(&raw, schema::RAW.fields), expected);
        assert_eq!(shown(FieldType::SeedInstant, "2023-11-14 22:13:20.000000000"), r#""2023-11-14 22:13:20""#);
        assert_eq!(shown(FieldType::Instant, "2023-11-14 22:13:20"), r#""2023-11-14T22:13:20Z""#);
        assert_eq!(shown(FieldType::Float, "1.616e-01"), "0.1616");
    }

    #[test]
    fn only_what_is_behind_the_last_place_of_each_partition_is_asked_for() {
        let asked = |last: &Places| rows(Dialect::Postgres, &schema::GAPS, "it's", last);
        assert!(asked(&Places::new()).contains("= 'it''s') AS p WHERE p.place IS NOT NULL AND ((p.part IS NOT NULL))"));
        let last = Places::from([(0, 17), (2, 4)]);
        let wanted = "((p.part = 0 AND p.place > 17) OR (p.part = 2 AND p.place > 4) OR (p.part NOT IN (0, 2)))";
        assert!(asked(&last).contains(wanted), "{}", asked(&last));
    }
}
