//! The script for SQLite makes what the local warehouse makes of itself.

use std::collections::BTreeMap;

use gaitway_proto::schema::{Dialect, ddl_script};
use gaitway_sink::sqlite::{Options, Warehouse};
use rusqlite::Connection;

/// Statements by name, views left out.
fn made(conn: &Connection) -> BTreeMap<String, String> {
    let sql = "SELECT name, sql FROM sqlite_schema WHERE type <> 'view' AND sql IS NOT NULL";
    let mut statement = conn.prepare(sql).expect("SQLite knows its own schema");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("it takes no parameters");
    rows.collect::<Result<_, _>>().expect("names and statements are text")
}

#[test]
fn the_script_makes_the_tables_and_indexes_of_the_local_warehouse() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("warehouse.db");
    drop(Warehouse::open(&path, &Options::default()).unwrap());
    let mut warehouse = made(&Connection::open(&path).unwrap());

    let memory = Connection::open_in_memory().unwrap();
    for _ in 0..2 {
        memory.execute_batch(&ddl_script(Dialect::Sqlite)).unwrap();
    }
    for own in ["gaitway_progress", "gaitway_ages"] {
        assert!(warehouse.remove(own).is_some(), "{own}");
    }
    assert_eq!(made(&memory), warehouse);
}
