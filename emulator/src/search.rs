//! Queries over committed rows, evaluated: a `SELECT` of Snowflake's becomes one of SQLite's and runs there over a copy
//! of the tables that it names.
//!
//! - What SQLite and the functions here do not know is an error of compilation, never another answer.
//! - Identifiers are plain: case does not distinguish them.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use gaitway_proto::schema;
use gaitway_service::clock;
use jiff::civil::DateTime;
use rusqlite::functions::{Context, FunctionFlags};
use rusqlite::types::{Null, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, params_from_iter};
use serde_json::Value;
use sqlparser::ast::{
    CastKind, DataType, Expr, Ident, JsonPathElem, ObjectName, ObjectNamePart, Statement, visit_expressions_mut,
    visit_relations_mut,
};
use sqlparser::dialect::SnowflakeDialect;
use sqlparser::parser::Parser;

use crate::sql::Rows;
use crate::streaming::Streaming;
use crate::streaming::refusal::Refusal;
use crate::streaming::table::{ColumnType, Table};

/// The one format of instants that is known, and the same for jiff.
const FORMAT: (&str, &str) = ("YYYY-MM-DD HH24:MI:SS.FF9", "%Y-%m-%d %H:%M:%S.%9f");

/// A query and a copy of the rows that it is about.
pub(crate) struct Search {
    sql: String,
    texts: Vec<String>,
    copy: Connection,
}

impl Search {
    /// Reads `statement`, whose question marks stand for `texts`, and copies what it needs of `stored`. None: it is no query.
    pub(crate) fn of(statement: &str, texts: &[String], stored: &Streaming) -> Result<Option<Self>, Refusal> {
        let parsed = Parser::parse_sql(&SnowflakeDialect, statement).map_err(|error| refused(&error))?;
        let Ok([Statement::Query(mut query)]) = <[Statement; 1]>::try_from(parsed) else { return Ok(None) };
        let mut named = BTreeSet::new();
        let _: ControlFlow<()> = visit_relations_mut(&mut query, |name| {
            if let Some(table) = found(name, stored) {
                *name = ObjectName::from(vec![Ident::new(&table.schema), Ident::new(&table.name)]);
                named.insert((table.schema.clone(), table.name.clone()));
            }
            ControlFlow::Continue(())
        });
        if let ControlFlow::Break(why) = visit_expressions_mut(&mut query, translate) {
            return Err(refused(&why));
        }
        let copy = copy(stored, &named).map_err(|error| refused(&error))?;
        Ok(Some(Self { sql: query.to_string(), texts: texts.to_vec(), copy }))
    }

    /// Evaluates it.
    pub(crate) fn run(&self) -> Result<Rows, Refusal> {
        self.rows().map_err(|error| refused(&error))
    }

    fn rows(&self) -> rusqlite::Result<Rows> {
        let mut statement = self.copy.prepare(&self.sql)?;
        let columns: Vec<String> = statement.column_names().map(str::to_ascii_uppercase).collect();
        let mut found = statement.query(params_from_iter(&self.texts))?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            let cells = (0..columns.len()).map(|at| row.get_ref(at).map(shown));
            rows.push(cells.collect::<rusqlite::Result<_>>()?);
        }
        Ok(Rows { columns, rows })
    }
}

pub(crate) fn refused(why: &dyn std::fmt::Display) -> Refusal {
    Refusal::new(422, "001003", format!("SQL compilation error: the emulator does not know this query: {why}"))
}

/// Every value is text, as in the SQL API.
fn shown(cell: ValueRef<'_>) -> Option<String> {
    match cell {
        ValueRef::Null => None,
        ValueRef::Integer(number) => Some(number.to_string()),
        ValueRef::Real(number) => Some(number.to_string()),
        ValueRef::Text(text) | ValueRef::Blob(text) => Some(String::from_utf8_lossy(text).into_owned()),
    }
}

/// The table of a name with a schema, with or without the database.
pub(crate) fn found<'s>(name: &ObjectName, stored: &'s Streaming) -> Option<&'s Table> {
    let parts: Vec<&str> = name.0.iter().filter_map(ObjectNamePart::as_ident).map(|part| part.value.as_str()).collect();
    let (schema, table) = match parts.as_slice() {
        [database, schema, table] if database.eq_ignore_ascii_case(stored.database()) => (schema, table),
        [schema, table] => (schema, table),
        _ => return None,
    };
    let known = stored.tables().map(|(table, _)| table);
    known.into_iter().find(|known| known.schema.eq_ignore_ascii_case(schema) && known.name.eq_ignore_ascii_case(table))
}

/// Snowflake's form of an expression into SQLite's.
fn translate(expr: &mut Expr) -> ControlFlow<String> {
    match expr {
        Expr::JsonAccess { value, path } => {
            let mut keys = String::from("$");
            for step in &path.path {
                let JsonPathElem::Dot { key, .. } = step else { return ControlFlow::Break(format!("the path {path}")) };
                keys.extend([".\"", &key.replace(['"', '\''], ""), "\""]);
            }
            let call = format!("json_extract({value}, '{keys}')");
            match parsed(&call) {
                Ok(call) => *expr = call,
                Err(why) => return ControlFlow::Break(why),
            }
        }
        Expr::Cast { kind, data_type, expr: of, .. } => match data_type {
            DataType::Varchar(None) => (*kind, *data_type) = (CastKind::Cast, DataType::Text),
            DataType::Custom(name, more) if more.is_empty() && name.to_string() == "NUMBER" => {
                match parsed(&format!("TO_NUMBER({of})")) {
                    Ok(call) => *expr = call,
                    Err(why) => return ControlFlow::Break(why),
                }
            }
            other => return ControlFlow::Break(format!("a cast to {other}")),
        },
        _ => {}
    }
    ControlFlow::Continue(())
}

fn parsed(expr: &str) -> Result<Expr, String> {
    let read = Parser::new(&SnowflakeDialect).try_with_sql(expr).and_then(|mut parser| parser.parse_expr());
    read.map_err(|error| error.to_string())
}

/// The tables `named`, each in a database of its schema's name, and Snowflake's functions.
fn copy(stored: &Streaming, named: &BTreeSet<(String, String)>) -> rusqlite::Result<Connection> {
    let copy = Connection::open_in_memory()?;
    let schemas: BTreeSet<&String> = named.iter().map(|(schema, _)| schema).collect();
    for schema in schemas {
        copy.execute(&format!("ATTACH ':memory:' AS \"{schema}\""), [])?;
    }
    for (table, _) in stored.tables().filter(|(t, _)| named.contains(&(t.schema.clone(), t.name.clone()))) {
        fill(&copy, table, stored)?;
    }
    let flags = FunctionFlags::SQLITE_UTF8 | FunctionFlags::SQLITE_DETERMINISTIC;
    copy.create_scalar_function("TO_VARCHAR", 2, flags, to_varchar)?;
    // A VARIANT is kept as JSON.
    copy.create_scalar_function("TO_JSON", 1, flags, |call| call.get::<Option<String>>(0))?;
    copy.create_scalar_function("OBJECT_CONSTRUCT", -1, flags, object_construct)?;
    copy.create_scalar_function("SYSDATE", 0, FunctionFlags::SQLITE_UTF8, |_| {
        Ok(schema::rfc3339(clock::now_micros().saturating_mul(1000)))
    })?;
    copy.create_scalar_function("TRY_TO_NUMBER", 1, flags, |call| Ok(try_to_number(call)))?;
    copy.create_scalar_function("TO_NUMBER", 1, flags, to_number)?;
    Ok(copy)
}

fn fill(copy: &Connection, table: &Table, stored: &Streaming) -> rusqlite::Result<()> {
    let name = format!("\"{}\".\"{}\"", table.schema, table.name);
    let columns: Vec<_> = table.columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
    copy.execute(&format!("CREATE TABLE {name} ({})", columns.join(", ")), [])?;
    let places = vec!["?"; columns.len()].join(", ");
    let mut insert = copy.prepare(&format!("INSERT INTO {name} VALUES ({places})"))?;
    let rows = stored.rows(&table.schema, &table.name).map_or(&[][..], |(rows, _)| rows);
    for row in rows {
        let cells = table.columns.iter().map(|column| Cell(column.kind, row.get(&column.name)));
        insert.execute(params_from_iter(cells))?;
    }
    Ok(())
}

/// A value as its column has it.
struct Cell<'a>(ColumnType, Option<&'a Value>);

impl ToSql for Cell<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let Some(value) = self.1.filter(|value| !value.is_null()) else { return Null.to_sql() };
        let text = || value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        Ok(match self.0 {
            ColumnType::Variant => value.to_string().into(),
            ColumnType::Number(_) => text().parse::<i64>().map_or_else(|_| text().into(), ToSqlOutput::from),
            ColumnType::Float => text().parse::<f64>().map_or_else(|_| text().into(), ToSqlOutput::from),
            ColumnType::Boolean => text().eq_ignore_ascii_case("true").into(),
            ColumnType::Text | ColumnType::Timestamp => text().into(),
        })
    }
}

fn to_varchar(call: &Context<'_>) -> rusqlite::Result<Option<String>> {
    let wrong = |why: String| rusqlite::Error::UserFunctionError(why.into());
    let (value, format): (Option<String>, String) = (call.get(0)?, call.get(1)?);
    if format != FORMAT.0 {
        return Err(wrong(format!("the format {format}")));
    }
    let Some(value) = value else { return Ok(None) };
    let instant: DateTime =
        value.trim_end_matches('Z').parse().map_err(|error: jiff::Error| wrong(error.to_string()))?;
    Ok(Some(instant.strftime(FORMAT.1).to_string()))
}

/// A whole number, or its text. Of another Snowflake would round, or say what this says.
fn to_number(call: &Context<'_>) -> rusqlite::Result<Option<i64>> {
    let unknown = |text: &str| {
        rusqlite::Error::UserFunctionError(format!("Numeric value '{text}' is not recognized here").into())
    };
    match call.get_raw(0) {
        ValueRef::Null => Ok(None),
        ValueRef::Integer(number) => Ok(Some(number)),
        ValueRef::Text(text) => {
            let text = String::from_utf8_lossy(text);
            text.parse().map(Some).map_err(|_| unknown(&text))
        }
        ValueRef::Real(number) => Err(unknown(&number.to_string())),
        ValueRef::Blob(_) => Err(unknown("…")),
    }
}

/// A VARIANT of keys and values; a null's key is left out.
fn object_construct(call: &Context<'_>) -> rusqlite::Result<String> {
    let mut object = serde_json::Map::new();
    for at in (0..call.len().saturating_sub(1)).step_by(2) {
        let value = match call.get_raw(at + 1) {
            ValueRef::Null => continue,
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => number.into(),
            ValueRef::Text(text) | ValueRef::Blob(text) => String::from_utf8_lossy(text).into(),
        };
        object.insert(call.get(at)?, value);
    }
    Ok(Value::Object(object).to_string())
}

fn try_to_number(call: &Context<'_>) -> Option<i64> {
    shown(call.get_raw(0)).and_then(|text| text.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::streaming::batch::{Batch, Keep, Reading};
    use crate::streaming::table::gaitway_tables;
    use crate::streaming::{Open, PipeName, Replay, Settings};

    /// The answer over a table with three rows.
    fn ask(statement: &str) -> Result<Vec<Vec<Option<String>>>, Refusal> {
        let settings = Settings { commit_lag_ms: 0, replay: Replay::Idempotent, requests_per_second: None };
        let mut stored = Streaming::new(settings, "DB", gaitway_tables());
        let rows = [
            json!({"RECORD_METADATA": {"offset": 3, "agent": "a"}, "deviceId": "d", "messageId": 7, "x": 0.5}),
            json!({"RECORD_METADATA": {"offset": 9, "headers": {"agent": "b"}}, "deviceId": "d", "messageId": 9,
                   "receivedAt": "2023-11-14T22:13:22.5Z"}),
            json!({"RECORD_METADATA": {"offset": "none"}, "deviceId": "e", "reading": {"a": [1]}}),
        ];
        let pipe = PipeName::new("DB", "RAW_DATA", "ACTIVITY_RECORDS-STREAMING");
        let token = stored.open(0, &pipe, "c", Open::default()).unwrap().next_continuation_token;
        let lines = rows.map(|row| row.to_string()).join("\n");
        let how = Reading { keep: Keep::Rows, strict: true, reject: 0 };
        let batch = Batch::read(lines.as_bytes(), &stored.table_of(&pipe).unwrap(), how);
        stored.append(0, &pipe, "c", &token, None, batch).unwrap();
        stored.settle(1);
        Search::of(statement, &[], &stored)?.expect("a query").run().map(|rows| rows.rows)
    }

    fn text(rows: &[&[&str]]) -> Vec<Vec<Option<String>>> {
        rows.iter().map(|row| row.iter().map(|cell| Some((*cell).to_owned())).collect()).collect()
    }

    #[test]
    fn rows_are_filtered_grouped_and_put_in_order() {
        let grouped =
            "WITH named AS (SELECT r.deviceId AS device, r.messageId AS message FROM DB.raw_data.Activity_Records
                       AS r) SELECT n.device, COUNT(*), MAX(n.message) - COUNT(DISTINCT n.message) FROM named AS n
                       WHERE n.message IS NOT NULL GROUP BY n.device";
        assert_eq!(ask(grouped).unwrap(), text(&[&["d", "2", "7"]]));
        let ordered = "SELECT r.messageId FROM RAW_DATA.ACTIVITY_RECORDS AS r ORDER BY ROW_NUMBER() OVER (PARTITION BY
                       r.deviceId ORDER BY r.messageId) DESC LIMIT 1";
        assert_eq!(ask(ordered).unwrap(), text(&[&["9"]]));
        assert_eq!(ask("SELECT COUNT(*) FROM RAW_DATA.GAPS AS g").unwrap(), text(&[&["0"]]));
    }

    #[test]
    fn what_is_in_a_variant_is_found_by_its_path() {
        let agents =
            "SELECT COALESCE(r.RECORD_METADATA:agent::VARCHAR, r.RECORD_METADATA:headers.agent::VARCHAR) AS agent,
                      TRY_TO_NUMBER(r.RECORD_METADATA:offset::VARCHAR) AS place, TO_JSON(r.reading)
                      FROM RAW_DATA.ACTIVITY_RECORDS AS r";
        let cell = |text: &str| Some(text.to_owned());
        let expected = [[cell("a"), cell("3"), None], [cell("b"), cell("9"), None], [None, None, cell(r#"{"a":[1]}"#)]];
        assert_eq!(ask(agents).unwrap(), expected);
    }

    #[test]
    fn instants_and_floats_are_text() {
        let told =
            "SELECT TO_VARCHAR(r.receivedAt, 'YYYY-MM-DD HH24:MI:SS.FF9'), r.x FROM RAW_DATA.ACTIVITY_RECORDS AS r
                    WHERE r.x = 0.5 OR r.receivedAt IS NOT NULL";
        let instant = Some("2023-11-14 22:13:22.500000000".to_owned());
        assert_eq!(ask(told).unwrap(), [[None, Some("0.5".to_owned())], [instant, None]]);
    }

    #[test]
    fn what_it_does_not_know_is_an_error() {
        for statement in [
            "SELECT r.nothing FROM RAW_DATA.ACTIVITY_RECORDS AS r",
            "SELECT g.agentId FROM RAW_DATA.MISSING AS g",
            "SELECT r.RECORD_METADATA:a[0] FROM RAW_DATA.ACTIVITY_RECORDS AS r",
            "SELECT r.x::NUMBER FROM RAW_DATA.ACTIVITY_RECORDS AS r",
            "SELECT r.RECORD_METADATA:offset::NUMBER FROM RAW_DATA.ACTIVITY_RECORDS AS r",
            "SELECT r.x::DATE FROM RAW_DATA.ACTIVITY_RECORDS AS r",
            "SELECT TO_VARCHAR(r.receivedAt, 'YY') FROM RAW_DATA.ACTIVITY_RECORDS AS r",
            "SELECT FROM WHERE",
        ] {
            assert_eq!(ask(statement).unwrap_err().status, 422, "{statement}");
        }
    }
}
