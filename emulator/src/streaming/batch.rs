//! From the body of an append to the rows that its table takes. Pure and without the machine: no lock is held meanwhile.
//!
//! - A line without content is no row.
//! - A row that is not valid is counted with its reason, and the rest goes on (`ON_ERROR = CONTINUE`).

use serde::de::IgnoredAny;
use serde_json::Value;
use xxhash_rust::xxh3::xxh3_64;

use super::table::{Row, Table};

/// What stays of a row that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keep {
    /// The row itself, after its columns were checked.
    Rows,
    /// Its count alone, after a look as deep as this: memory does not grow with the rows.
    Counts(Look),
}

/// How far a row is parsed of which only the count stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Not at all: a line is a row.
    Lines,
    /// Whether it is a JSON object.
    Json,
    /// Whether its columns fit too.
    Columns,
}

/// How bodies are read.
#[derive(Debug, Clone, Copy)]
pub struct Reading {
    /// What stays of a row.
    pub keep: Keep,
    /// Whether a key without a column makes a row invalid; Snowflake's default pipe leaves such keys out.
    pub strict: bool,
    /// So many rows from the start are refused whatever they are.
    pub reject: u64,
}

/// One append's rows.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Batch {
    /// Rows in the body.
    pub parsed: u64,
    /// Rows taken.
    pub inserted: u64,
    /// Rows that are not valid.
    pub errors: u64,
    /// Why the last of these is not.
    pub last_error: Option<String>,
    /// The rows taken; empty if only counts are kept.
    pub rows: Vec<Row>,
    /// Of the body, so that a resend with other content can be told from a true one.
    pub fingerprint: u64,
}

impl Batch {
    /// Reads newline-delimited JSON for `table`.
    pub fn read(body: &[u8], table: &Table, how: Reading) -> Self {
        let mut batch = Self { fingerprint: xxh3_64(body), ..Self::default() };
        let mut begin = 0;
        for end in memchr::memchr_iter(b'\n', body).chain([body.len()]) {
            let line = body[begin..end].trim_ascii();
            begin = end + 1;
            if line.is_empty() {
                continue;
            }
            batch.parsed += 1;
            let taken = if batch.parsed <= how.reject { Err("row refused".into()) } else { take(line, table, how) };
            match taken {
                Ok(row) => {
                    batch.inserted += 1;
                    batch.rows.extend(row);
                }
                Err(why) => {
                    batch.errors += 1;
                    batch.last_error = Some(why);
                }
            }
        }
        batch
    }
}

fn take(line: &[u8], table: &Table, how: Reading) -> Result<Option<Row>, String> {
    match how.keep {
        Keep::Counts(Look::Lines) => Ok(None),
        Keep::Counts(Look::Json) if line[0] != b'{' => Err("row is no JSON object".into()),
        Keep::Counts(Look::Json) => {
            let parsed: Result<IgnoredAny, _> = serde_json::from_slice(line);
            parsed.map(|_| None).map_err(|error| format!("row is no JSON: {error}"))
        }
        Keep::Counts(Look::Columns) | Keep::Rows => {
            let value = serde_json::from_slice(line).map_err(|error| format!("row is no JSON: {error}"))?;
            let Value::Object(row) = value else { return Err("row is no JSON object".into()) };
            let row = table.admit(row, how.strict)?;
            Ok((how.keep == Keep::Rows).then_some(row))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::table::ColumnType;
    use super::*;

    const BODY: &[u8] = b"{\"n\":1}\n\n[2]\r\n{\"n\":\"x\"}\n{\"n\":\n \n{\"N\":5}";

    fn read(keep: Keep, reject: u64) -> Batch {
        let table = Table::new("S", "T").column("n", ColumnType::Number(19));
        Batch::read(BODY, &table, Reading { keep, strict: false, reject })
    }

    #[test]
    fn a_bad_row_is_skipped_and_counted_and_the_rest_goes_on() {
        let batch = read(Keep::Rows, 0);
        assert_eq!((batch.parsed, batch.inserted, batch.errors), (5, 2, 3));
        assert!(batch.last_error.unwrap().starts_with("row is no JSON"));
        let numbers: Vec<_> = batch.rows.iter().map(|row| row["n"].as_i64().unwrap()).collect();
        assert_eq!(numbers, [1, 5]);
    }

    #[test]
    fn counts_keep_no_row_and_look_as_deep_as_told() {
        for (look, inserted) in [(Look::Lines, 5), (Look::Json, 3), (Look::Columns, 2)] {
            let batch = read(Keep::Counts(look), 0);
            assert_eq!((batch.parsed, batch.inserted, batch.errors), (5, inserted, 5 - inserted), "{look:?}");
            assert!(batch.rows.is_empty());
        }
    }

    #[test]
    fn rows_are_refused_on_demand() {
        let batch = read(Keep::Rows, 1);
        assert_eq!((batch.inserted, batch.errors), (1, 4));
    }

    #[test]
    fn an_empty_body_has_no_rows() {
        let table = Table::new("S", "T");
        let batch = Batch::read(b"\n\n", &table, Reading { keep: Keep::Rows, strict: false, reject: 0 });
        assert_eq!((batch.parsed, batch.errors), (0, 0));
    }
}
