//! `SELECT DISTINCT expression FROM table WHERE condition AND …`, evaluated over a table's committed rows.
//!
//! - An expression is `COLUMN:key::TYPE` or `COLUMN::TYPE`, with `NUMBER` or `VARCHAR`; a condition is `expression = literal`
//!   or `expression BETWEEN number AND number`.
//! - A null equals nothing. A value that is no number where one is asked for is an error, as in Snowflake.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Rows, Session, unknown};
use crate::streaming::refusal::Refusal;
use crate::streaming::table::{Row, Table};

/// A value behind its cast; the order is of no meaning.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Datum {
    Null,
    Number(i128),
    Text(String),
}

/// `COLUMN:key::TYPE`.
#[derive(Debug)]
struct Expression<'a> {
    /// As the table spells it.
    column: &'a str,
    key: Option<&'a str>,
    is_number: bool,
}

/// What a row must be: between two values, both included.
#[derive(Debug)]
struct Condition<'a> {
    of: Expression<'a>,
    least: Datum,
    most: Datum,
}

/// A part of a statement: what stands between spaces, or a literal between quotes.
#[derive(Debug, PartialEq)]
enum Word<'a> {
    Plain(&'a str),
    Text(String),
}

/// Answers `statement`, which begins with `SELECT DISTINCT`.
pub(super) fn answer(statement: &str, session: &Session) -> Result<Rows, Refusal> {
    let wrong = || unknown(statement);
    let words = words(statement).ok_or_else(wrong)?;
    let (expression, table, conditions) = match words.as_slice() {
        [_, _, Word::Plain(expression), Word::Plain(from), Word::Plain(table), rest @ ..] if is(from, "FROM") => {
            (*expression, *table, rest)
        }
        _ => return Err(wrong()),
    };
    let (table, count) = session.table(table)?;
    let wanted = Expression::parse(expression, table).ok_or_else(wrong)?;
    let conditions = parse_conditions(conditions, table).ok_or_else(wrong)?;
    let rows = session.stored.rows(&table.schema, &table.name).map_or(&[][..], |(rows, _)| rows);
    if rows.len() as u64 != count {
        return Err(Refusal::new(422, "000603", "the emulator was told not to keep rows: it cannot search them"));
    }
    let mut found = BTreeSet::new();
    for row in rows {
        let mut holds = true;
        for Condition { of, least, most } in &conditions {
            let value = of.value(row)?;
            holds &= value != Datum::Null && *least <= value && value <= *most;
        }
        if holds {
            found.insert(wanted.value(row)?);
        }
    }
    let shown = found.into_iter().map(|datum| {
        vec![match datum {
            Datum::Null => None,
            Datum::Number(number) => Some(number.to_string()),
            Datum::Text(text) => Some(text),
        }]
    });
    Ok(Rows::new(&[&expression.to_ascii_uppercase()], shown.collect()))
}

fn is(word: &str, keyword: &str) -> bool {
    word.eq_ignore_ascii_case(keyword)
}

/// None if a literal does not end.
fn words(statement: &str) -> Option<Vec<Word<'_>>> {
    let mut words = Vec::new();
    let mut rest = statement.trim_start();
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix('\'') {
            let mut text = String::new();
            let mut behind = quoted;
            loop {
                let (part, after) = behind.split_once('\'')?;
                text.push_str(part);
                behind = after;
                match after.strip_prefix('\'') {
                    Some(after) => {
                        text.push('\'');
                        behind = after;
                    }
                    None => break,
                }
            }
            words.push(Word::Text(text));
            rest = behind.trim_start();
        } else {
            let end = rest.find(|c: char| c.is_whitespace() || c == '\'').unwrap_or(rest.len());
            words.push(Word::Plain(&rest[..end]));
            rest = rest[end..].trim_start();
        }
    }
    Some(words)
}

/// `WHERE condition AND …`, or nothing.
fn parse_conditions<'a>(words: &[Word<'a>], table: &'a Table) -> Option<Vec<Condition<'a>>> {
    let mut conditions = Vec::new();
    let mut rest = words;
    while let [Word::Plain(joint), Word::Plain(of), Word::Plain(operator), literal, behind @ ..] = rest {
        if !is(joint, if conditions.is_empty() { "WHERE" } else { "AND" }) {
            return None;
        }
        let of = Expression::parse(of, table)?;
        let least = of.literal(literal)?;
        let most = match behind {
            [Word::Plain(and), most, behind @ ..] if is(operator, "BETWEEN") && is(and, "AND") => {
                rest = behind;
                of.literal(most)?
            }
            _ if *operator == "=" => {
                rest = behind;
                least.clone()
            }
            _ => return None,
        };
        conditions.push(Condition { of, least, most });
    }
    rest.is_empty().then_some(conditions)
}

impl<'a> Expression<'a> {
    fn parse(text: &'a str, table: &'a Table) -> Option<Self> {
        let (path, kind) = text.split_once("::")?;
        let (column, key) = path.split_once(':').map_or((path, None), |(column, key)| (column, Some(key)));
        let column = table.columns.iter().find(|known| is(column, &known.name))?;
        let is_number = is(kind, "NUMBER");
        (is_number || is(kind, "VARCHAR")).then_some(Self { column: &column.name, key, is_number })
    }

    fn literal(&self, word: &Word<'_>) -> Option<Datum> {
        match word {
            Word::Plain(number) if self.is_number => number.parse().ok().map(Datum::Number),
            Word::Text(text) if !self.is_number => Some(Datum::Text(text.clone())),
            _ => None,
        }
    }

    fn value(&self, row: &Row) -> Result<Datum, Refusal> {
        let value = row.get(self.column);
        let value = match self.key {
            Some(key) => value.and_then(|value| value.get(key)),
            None => value,
        };
        let text = match value {
            None | Some(Value::Null) => return Ok(Datum::Null),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        if !self.is_number {
            return Ok(Datum::Text(text));
        }
        let wrong = || Refusal::new(422, "100038", format!("Numeric value '{text}' is not recognized"));
        text.parse().map(Datum::Number).map_err(|_| wrong())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::sql::run;
    use crate::streaming::batch::{Batch, Keep, Look, Reading};
    use crate::streaming::table::ColumnType;
    use crate::streaming::{Open, PipeName, Replay, Settings, Streaming};

    fn streaming(keep: Keep) -> Streaming {
        let table = Table::new("RAW", "T").column("n", ColumnType::Number(19)).column("META", ColumnType::Variant);
        let settings = Settings { commit_lag_ms: 0, replay: Replay::Idempotent, requests_per_second: None };
        let mut streaming = Streaming::new(settings, "DB", [table.clone()]);
        let rows = [
            json!({"n": 1, "META": {"topic": "a", "partition": 0, "offset": 7}}),
            json!({"n": 2, "META": {"topic": "a", "partition": 1, "offset": 8}}),
            json!({"n": 3, "META": {"topic": "it's", "partition": 0, "offset": 9}}),
            json!({"n": 4, "META": {"topic": "a", "partition": "0", "offset": "10"}}),
            json!({"n": 4, "META": {"topic": "a", "partition": 0, "offset": 10}}),
            json!({"n": 5, "META": null}),
            json!({"n": 6}),
        ];
        let body = rows.map(|row| row.to_string()).join("\n");
        let batch = Batch::read(body.as_bytes(), &table, Reading { keep, strict: false, reject: 0 });
        let pipe = PipeName::new("DB", "RAW", "T-STREAMING");
        let token = streaming.open(0, &pipe, "c", Open::default()).unwrap().next_continuation_token;
        streaming.append(0, &pipe, "c", &token, None, batch).unwrap();
        streaming
    }

    fn ask(keep: Keep, statement: &str) -> Result<Vec<String>, Refusal> {
        let streaming = streaming(keep);
        let session = Session {
            account: "A",
            user: "U",
            role: "R",
            database: "DB",
            schema: Some("RAW"),
            warehouse: None,
            tables: streaming.tables().collect(),
            stored: &streaming,
            withheld: &[],
        };
        let Rows { rows, .. } = run(statement, &session)?;
        Ok(rows.into_iter().map(|row| row[0].clone().unwrap_or("null".to_owned())).collect())
    }

    fn found(conditions: &str) -> Vec<String> {
        ask(Keep::Rows, &format!("SELECT DISTINCT n::NUMBER FROM RAW.T {conditions}")).unwrap()
    }

    #[test]
    fn the_rows_of_a_table_are_searched_by_what_their_metadata_holds() {
        assert_eq!(found(""), ["1", "2", "3", "4", "5", "6"]);
        assert_eq!(found("where meta:topic::varchar = 'a' AND META:partition::NUMBER = 0"), ["1", "4"]);
        assert_eq!(found("WHERE META:offset::NUMBER BETWEEN 8 AND 9"), ["2", "3"]);
        assert_eq!(found("WHERE META:topic::VARCHAR = 'it''s'"), ["3"]);
        assert_eq!(found("WHERE META:TOPIC::VARCHAR = 'a'"), [""; 0], "keys are case-sensitive");
        let offsets = ask(Keep::Rows, "SELECT DISTINCT META:offset::NUMBER FROM T WHERE n::NUMBER BETWEEN 4 AND 5");
        assert_eq!(offsets.unwrap(), ["null", "10"]);
    }

    #[test]
    fn what_it_does_not_know_is_an_error() {
        for end in [
            "WHERE",
            "WHERE n::NUMBER",
            "WHERE n::NUMBER > 3",
            "WHERE n::NUMBER = 'a'",
            "WHERE n::NUMBER = 1 OR n = 2",
            "WHERE n::NUMBER BETWEEN 1",
            "WHERE m::NUMBER = 1",
            "WHERE META:topic::VARCHAR = 'a",
            "LIMIT 3",
        ] {
            let asked = ask(Keep::Rows, &format!("SELECT DISTINCT n::NUMBER FROM T {end}"));
            assert_eq!(asked.unwrap_err().status, 422, "{end}");
        }
        for statement in
            ["SELECT DISTINCT n FROM T", "SELECT DISTINCT n::DATE FROM T", "SELECT DISTINCT n::NUMBER FROM X"]
        {
            assert_eq!(ask(Keep::Rows, statement).unwrap_err().status, 422, "{statement}");
        }
        let topics = ask(Keep::Rows, "SELECT DISTINCT META:topic::NUMBER FROM T").unwrap_err();
        assert!(topics.message.contains("is not recognized"), "{topics:?}");
        assert!(ask(Keep::Counts(Look::Json), "SELECT DISTINCT n::NUMBER FROM T").is_err(), "rows are not kept");
    }
}
