//! The same in PostgreSQL, whose rows are those of a local warehouse.

use gaitway_proto::ledger::Ledger as _;
use gaitway_proto::schema::{ACTIVITY, FieldType, RAW, Table};
use gaitway_sink::postgres;
use rusqlite::types::ValueRef;
use serde_json::Value;

use super::{Machine, OTHER, gaitway, label, told_transitions, transitions};
use crate::harness::warehouse::open;
use crate::postgres_server::{Database, Reader};

/// Rows of a statement.
const ROWS: usize = 2_000;

/// Copies a table's rows; `order` is how they come.
fn copy(machine: &Machine, reader: &Reader, table: &Table, order: &str) {
    let kinds = std::iter::once(FieldType::Object).chain(table.fields.iter().map(|field| field.kind));
    let kinds: Vec<FieldType> = kinds.collect();
    let columns: Vec<&str> = table.columns().collect();
    let connection = open(&machine.warehouse());
    let sql = format!("SELECT {} FROM {} ORDER BY {order}", columns.join(", "), table.name);
    let mut statement = connection.prepare(&sql).unwrap();
    let mut found = statement.query([]).unwrap();
    let mut rows = Vec::new();
    let store = |rows: &mut Vec<String>| {
        if !rows.is_empty() {
            let (schema, name) = (table.schema, table.name);
            reader.run(&format!("INSERT INTO {schema}.{name} ({}) VALUES {}", columns.join(", "), rows.join(", ")));
            rows.clear();
        }
    };
    while let Some(row) = found.next().unwrap() {
        let cells = kinds.iter().enumerate().map(|(at, kind)| match row.get_ref(at).unwrap() {
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => format!("{number:?}::float8"),
            ValueRef::Text(text) => {
                let text = std::str::from_utf8(text).unwrap().replace('\'', "''");
                let cast = match kind {
                    FieldType::Object => "::jsonb",
                    FieldType::Instant | FieldType::SeedInstant => "::timestamp",
                    _ => "",
                };
                format!("'{}'{cast}", if cast == "::timestamp" { text.trim_end_matches('Z') } else { &text })
            }
            _ => "NULL".to_owned(),
        });
        rows.push(format!("({})", cells.collect::<Vec<_>>().join(", ")));
        if rows.len() == ROWS {
            store(&mut rows);
        }
    }
    store(&mut rows);
}

#[test]
#[ignore = "needs postgres"]
fn in_postgres_too_what_is_written_is_what_differs_and_the_views_show_it() {
    let (machine, database) = (Machine::filled(), Database::new());
    let options: postgres::Options = serde_json::from_value(serde_json::json!({"url": database.url})).unwrap();
    postgres::Warehouse::new(&options).unwrap().recover().unwrap();
    let reader = database.reader();
    // No order of rows is promised: the names' own counts.
    copy(&machine, &reader, &RAW, "timestamp % 1009, rowid DESC");
    copy(&machine, &reader, &ACTIVITY, "rowid DESC");
    let config = machine.dir.path().join("sink.toml");
    let text = format!(
        "warehouse = \"postgres\"\n[kafka]\nbrokers = \"127.0.0.1:1\"\n[postgres]\nurl = \"{}\"\n",
        database.url
    );
    std::fs::write(&config, text).unwrap();
    let run = |code: i32, more: &[&str]| -> Value {
        let args = ["reclassify", "--config", config.to_str().unwrap(), "--json"];
        let (found, shown, said) = gaitway(&[&args[..], more].concat());
        assert_eq!(found, Some(code), "{shown}{said}");
        serde_json::from_str(&shown).unwrap()
    };
    let windows = machine.golden.len() as u64;
    let same = run(0, &[]);
    assert_eq!((same["windows"].as_u64(), same["changes"].as_u64()), (Some(windows), Some(0)), "{same}");
    let bounds = [1.0, 9.5, 20.0];
    let other = run(1, &["--thresholds", OTHER]);
    assert_eq!(told_transitions(&other), transitions(&machine.golden, bounds));

    // A run that is under way keeps others from writing.
    reader.run(&format!("BEGIN; SELECT pg_advisory_xact_lock({})", 0x6761_6974_7265_636c_i64));
    let args = ["reclassify", "--config", config.to_str().unwrap(), "--thresholds", OTHER, "--write"];
    let (code, _, said) = gaitway(&args);
    assert!(code == Some(2) && said.contains("another run writes revisions"), "{said}");
    reader.run("COMMIT");

    assert_eq!(run(0, &["--thresholds", OTHER, "--write"])["written"].as_u64(), Some(windows));
    assert_eq!(run(0, &["--thresholds", OTHER, "--write"])["written"].as_u64(), Some(0));
    let rows = reader.rows(
        "SELECT device_id, to_char(window_end, 'YYYY-MM-DD HH24:MI:SS'), activity, revision::bigint
           FROM activity.activity_windows",
    );
    assert_eq!(rows.len() as u64, windows);
    for row in &rows {
        let (_, mean, _) = machine.golden[&(row.get(0), row.get(1))];
        assert_eq!((row.get::<_, &str>(2), row.get::<_, i64>(3)), (label(mean, bounds), 1));
    }
    let found = "SELECT sum(findings)::bigint FROM activity.data_quality WHERE check_name LIKE 'duplicate%'";
    assert_eq!(reader.number(found), 0);
    // Kafka is not there, which the audit says; of windows it counts those that agents told.
    let (_, shown, said) = gaitway(&["audit", "--config", config.to_str().unwrap(), "--json"]);
    let report: Value = serde_json::from_str(&shown).unwrap_or_else(|_| panic!("{shown}{said}"));
    let counted: u64 = report["sessions"].as_array().unwrap().iter().map(|s| s["windows"].as_u64().unwrap()).sum();
    assert_eq!(counted, windows, "{shown}");
}
