//! Statements that change committed rows: `DELETE … WHERE` and `INSERT … SELECT`. Channels and their tokens know nothing of
//! it.
//!
//! - What a statement finds or makes is what a query of the same words does: [`Search`] evaluates it.

use serde_json::Value;
use sqlparser::ast::{FromTable, ObjectName, ObjectNamePart, Statement, TableObject};
use sqlparser::dialect::SnowflakeDialect;
use sqlparser::parser::Parser;

use crate::search::{Search, found, refused};
use crate::sql::Rows;
use crate::streaming::Streaming;
use crate::streaming::refusal::Refusal;
use crate::streaming::table::{ColumnType, Row, Table};

/// Runs `statement`, whose question marks stand for `texts`; `withheld` are rights that are lacking, with the objects' full
/// names. None: it changes nothing, whatever else it is.
pub(crate) fn run(
    statement: &str,
    texts: &[String],
    stored: &mut Streaming,
    withheld: &[(String, String)],
) -> Result<Option<Rows>, Refusal> {
    let parsed = Parser::parse_sql(&SnowflakeDialect, statement).map_err(|error| refused(&error))?;
    let Ok([parsed]) = <[Statement; 1]>::try_from(parsed) else { return Ok(None) };
    match parsed {
        Statement::Delete(delete) => {
            let FromTable::WithFromKeyword(from) = &delete.from else { return Err(refused(&"a DELETE without FROM")) };
            let (Some(condition), [from]) = (&delete.selection, from.as_slice()) else {
                return Err(refused(&"a DELETE of several tables, or of all rows"));
            };
            let table = named(&from.relation.to_string(), stored)?;
            permit("DELETE", &table, stored, withheld)?;
            let places = select(&format!("SELECT ROWID FROM {from} WHERE {condition}"), texts, stored)?;
            let places: Vec<usize> = places.rows.iter().filter_map(|row| row[0].as_deref()?.parse().ok()).collect();
            Ok(Some(changed("deleted", stored.delete(&table, &places))))
        }
        Statement::Insert(insert) => {
            let (TableObject::TableName(name), Some(source)) = (&insert.table, &insert.source) else {
                return Err(refused(&"an INSERT without a table's name and a query"));
            };
            let table = named(&name.to_string(), stored)?;
            permit("INSERT", &table, stored, withheld)?;
            let columns: Vec<String> = insert.columns.iter().map(last).collect();
            let mut rows = Vec::new();
            for cells in select(&source.to_string(), texts, stored)?.rows {
                rows.push(row(&table, &columns, cells)?);
            }
            Ok(Some(changed("inserted", stored.insert(&table, rows))))
        }
        _ => Ok(None),
    }
}

fn select(query: &str, texts: &[String], stored: &Streaming) -> Result<Rows, Refusal> {
    Search::of(query, texts, stored)?.ok_or_else(|| refused(&query))?.run()
}

/// A table of this name, without its rows.
fn named(name: &str, stored: &Streaming) -> Result<Table, Refusal> {
    let parsed =
        Parser::new(&SnowflakeDialect).try_with_sql(name).and_then(|mut parser| parser.parse_object_name(false));
    let parsed = parsed.map_err(|error| refused(&error))?;
    found(&parsed, stored).cloned().ok_or_else(|| refused(&format!("there is no table {name}")))
}

fn last(name: &ObjectName) -> String {
    let part = name.0.last().and_then(ObjectNamePart::as_ident);
    part.map_or_else(String::new, |part| part.value.clone())
}

fn permit(right: &str, table: &Table, stored: &Streaming, withheld: &[(String, String)]) -> Result<(), Refusal> {
    let name = format!("{}.{}.{}", stored.database(), table.schema, table.name);
    if withheld.iter().any(|(lacks, of)| lacks == right && *of == name) {
        let said = format!("SQL access control error: Insufficient privileges to operate on table '{}'.", table.name);
        return Err(Refusal::new(422, "003001", said));
    }
    Ok(())
}

/// The row that these values make.
fn row(table: &Table, columns: &[String], cells: Vec<Option<String>>) -> Result<Row, Refusal> {
    let mut row = Row::new();
    for (name, cell) in columns.iter().zip(cells) {
        let column = table.columns.iter().find(|column| column.name.eq_ignore_ascii_case(name));
        let value = match (column.map(|column| column.kind), cell) {
            (_, None) => Value::Null,
            (Some(ColumnType::Variant | ColumnType::Number(_) | ColumnType::Float), Some(text)) => {
                serde_json::from_str(&text).unwrap_or(Value::String(text))
            }
            (_, Some(text)) => Value::String(text),
        };
        row.insert(name.clone(), value);
    }
    table.admit(row, true).map_err(|why| refused(&why))
}

fn changed(how: &str, rows: u64) -> Rows {
    Rows { columns: vec![format!("number of rows {how}")], rows: vec![vec![Some(rows.to_string())]] }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::streaming::table::gaitway_tables;
    use crate::streaming::{Replay, Settings};

    fn stored() -> Streaming {
        let settings = Settings { commit_lag_ms: 0, replay: Replay::Idempotent, requests_per_second: None };
        let mut stored = Streaming::new(settings, "DB", gaitway_tables());
        let raw = named("RAW_DATA.ACTIVITY_RECORDS", &stored).unwrap();
        let of = |device: &str, seq: u64| {
            let row = json!({"RECORD_METADATA": {"agent": "a", "seq": seq}, "deviceId": device, "x": 0.5});
            row.as_object().unwrap().clone()
        };
        assert_eq!(stored.insert(&raw, vec![of("d", 1), of("e", 2), of("d'", 3), of("d", 4)]), 4);
        stored
    }

    fn change(
        stored: &mut Streaming,
        statement: &str,
        texts: &[&str],
        withheld: &[(&str, &str)],
    ) -> Result<u64, Refusal> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        let withheld: Vec<_> = withheld.iter().map(|(right, of)| ((*right).to_owned(), (*of).to_owned())).collect();
        let rows = run(statement, &texts, stored, &withheld)?.expect("a change");
        Ok(rows.rows[0][0].as_deref().unwrap().parse().unwrap())
    }

    #[test]
    fn the_rows_of_a_condition_are_deleted_and_no_others() {
        let mut stored = stored();
        let delete = "DELETE FROM RAW_DATA.ACTIVITY_RECORDS WHERE deviceId = ?";
        assert_eq!(change(&mut stored, delete, &["d"], &[]), Ok(2));
        assert_eq!(change(&mut stored, delete, &["d"], &[]), Ok(0));
        let (rows, count) = stored.rows("RAW_DATA", "ACTIVITY_RECORDS").unwrap();
        assert_eq!((count, &rows[0]["deviceId"], &rows[1]["deviceId"]), (2, &json!("e"), &json!("d'")));
        assert_eq!(
            change(&mut stored, "DELETE FROM RAW_DATA.ACTIVITY_RECORDS WHERE deviceId = 'd'''", &[], &[]),
            Ok(1)
        );
    }

    #[test]
    fn a_query_s_rows_are_inserted_as_their_columns_have_them() {
        let mut stored = stored();
        let insert = "INSERT INTO RAW_DATA.GAPS (RECORD_METADATA, agentId, fromSeq, reason, noticedAt)
            SELECT OBJECT_CONSTRUCT('agent', g.agent, 'seq', g.lo), g.agent, g.lo, ?, SYSDATE()
              FROM (SELECT r.RECORD_METADATA:agent::VARCHAR AS agent, MIN(TRY_TO_NUMBER(r.RECORD_METADATA:seq::VARCHAR)) AS lo
                      FROM RAW_DATA.ACTIVITY_RECORDS AS r WHERE r.deviceId = ? GROUP BY r.RECORD_METADATA:agent::VARCHAR) AS g
             WHERE NOT EXISTS (SELECT 1 FROM RAW_DATA.GAPS AS t WHERE t.fromSeq = g.lo)";
        assert_eq!(change(&mut stored, insert, &["why", "d"], &[]), Ok(1));
        assert_eq!(change(&mut stored, insert, &["why", "d"], &[]), Ok(0));
        let row = &stored.rows("RAW_DATA", "GAPS").unwrap().0[0];
        assert_eq!(row["RECORD_METADATA"], json!({"agent": "a", "seq": 1}));
        assert_eq!((&row["agentId"], &row["fromSeq"], &row["reason"]), (&json!("a"), &json!(1), &json!("why")));
    }

    #[test]
    fn what_the_role_may_not_do_or_nobody_knows_is_refused() {
        let mut stored = stored();
        let delete = "DELETE FROM RAW_DATA.ACTIVITY_RECORDS WHERE deviceId = ?";
        let withheld = [("DELETE", "DB.RAW_DATA.ACTIVITY_RECORDS")];
        let said = change(&mut stored, delete, &["d"], &withheld).unwrap_err();
        assert_eq!((said.status, said.code.as_str()), (422, "003001"));
        for statement in [
            "DELETE FROM RAW_DATA.ACTIVITY_RECORDS",
            "DELETE FROM RAW_DATA.NOTHING WHERE x = 1",
            "DELETE FROM RAW_DATA.ACTIVITY_RECORDS WHERE nothing = 1",
            "INSERT INTO RAW_DATA.GAPS (nothing) SELECT 1",
        ] {
            assert_eq!(change(&mut stored, statement, &[], &[]).unwrap_err().status, 422, "{statement}");
        }
        assert_eq!(run("SELECT 1", &[], &mut stored, &[]), Ok(None));
        assert_eq!(stored.rows("RAW_DATA", "ACTIVITY_RECORDS").unwrap().1, 4);
    }
}
