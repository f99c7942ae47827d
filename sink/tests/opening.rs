//! Which files are taken, and what happens to one that goes away.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use gaitway_proto::ledger::{Ledger as _, LedgerError, Mark, Source};
use gaitway_sink::sqlite::{OpenError, Options, Warehouse};
use rusqlite::Connection;
use support::{Home, Walk};

fn open(path: &std::path::Path) -> Result<Warehouse, OpenError> {
    Warehouse::open(path, &Options::default())
}

#[test]
fn settings_that_readers_can_see_hold() {
    let home = Home::new();
    let reader = home.reader();
    let text = |name: &str| reader.pragma_query_value(None, name, |row| row.get::<_, String>(0)).unwrap();
    let number = |name: &str| reader.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(text("journal_mode"), "wal");
    assert_eq!(number("page_size"), 4096);
    assert_eq!(number("auto_vacuum"), 2);
    assert_eq!(number("application_id"), i64::from(u32::from_be_bytes(*b"gait")));
    assert_eq!(number("user_version"), 2);
}

#[test]
fn a_newer_version_is_refused_and_left_alone() {
    let home = Home::new();
    home.reader().pragma_update(None, "user_version", 3).unwrap();
    let error = open(&home.path()).unwrap_err();
    assert!(matches!(error, OpenError::Newer { found: 3, .. }), "{error}");
    assert!(error.to_string().contains("newer gaitway"), "{error}");
}

#[test]
fn a_warehouse_of_version_1_is_brought_up_with_its_marks() {
    let (mut home, mut walk, heir) = (Home::new(), Walk::new(), Source::partition("heir", 1));
    walk.step(&mut home.warehouse, 3);
    home.warehouse.submit(&[], &[Mark { source: heir.clone(), from: None, to: 99 }]).unwrap();
    let (path, Home { warehouse, dir: _dir }) = (home.path(), home);
    drop(warehouse);
    let former = "
        BEGIN;
        CREATE TABLE former (source TEXT PRIMARY KEY, position INTEGER NOT NULL, updatedAt TEXT NOT NULL) WITHOUT ROWID;
        INSERT INTO former SELECT source, position, updatedAt FROM gaitway_progress;
        DROP TABLE gaitway_progress;
        ALTER TABLE former RENAME TO gaitway_progress;
        PRAGMA user_version = 1;
        COMMIT;";
    Connection::open(&path).unwrap().execute_batch(former).unwrap();

    for _ in 0..2 {
        let mut warehouse = open(&path).unwrap();
        let found = warehouse.committed(&[walk.source(), heir.clone()]).unwrap();
        assert_eq!((found[&walk.source()], found[&heir]), (walk.position(), 99));
        walk.step(&mut warehouse, 3);
        drop(warehouse);
    }
    assert_eq!(support::stored(&path).len(), 9);
    let version = |row: &rusqlite::Row<'_>| row.get::<_, i64>(0);
    assert_eq!(Connection::open(&path).unwrap().pragma_query_value(None, "user_version", version).unwrap(), 2);
}

#[test]
fn a_file_that_is_something_else_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let text = dir.path().join("notes.txt");
    std::fs::write(&text, "not a database, but long enough to be looked at as one ".repeat(200)).unwrap();
    let before = std::fs::read(&text).unwrap();
    assert!(matches!(open(&text), Err(OpenError::NotAWarehouse { .. })));
    assert_eq!(std::fs::read(&text).unwrap(), before);

    let foreign = dir.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE mine (a); INSERT INTO mine VALUES (1)").unwrap();
    let before = std::fs::read(&foreign).unwrap();
    assert!(matches!(open(&foreign), Err(OpenError::NotAWarehouse { .. })));
    assert_eq!(std::fs::read(&foreign).unwrap(), before);

    assert!(matches!(open(dir.path()), Err(OpenError::NotAWarehouse { .. })));
    let error = open(&dir.path().join("missing/warehouse.db")).unwrap_err();
    assert!(error.to_string().contains("missing"), "{error}");
}

#[test]
fn a_table_with_other_columns_is_refused() {
    let home = Home::new();
    home.reader().execute("ALTER TABLE GAPS ADD COLUMN mine", []).unwrap();
    let error = open(&home.path()).unwrap_err();
    assert!(error.to_string().contains("GAPS"), "{error}");
}

#[test]
fn an_empty_file_becomes_a_warehouse() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("warehouse.db");
    std::fs::write(&path, "").unwrap();
    let mut warehouse = open(&path).unwrap();
    Walk::new().step(&mut warehouse, 3);
}

#[test]
fn options_without_sense_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { max_bytes: 5, ..Options::default() };
    let error = Warehouse::open(dir.path().join("warehouse.db"), &options).unwrap_err();
    assert!(error.to_string().contains("max_bytes"), "{error}");
}

#[test]
fn nothing_is_acknowledged_from_a_file_that_vanished() {
    let mut home = Home::new();
    let mut walk = Walk::new();
    walk.step(&mut home.warehouse, 3);
    let aside = home.dir.path().join("aside.db");
    std::fs::rename(home.path(), &aside).unwrap();
    let said = |result: Result<(), LedgerError>| match result {
        Err(LedgerError::Unavailable(said)) => said,
        other => panic!("{other:?}"),
    };
    let records = walk.records(1);
    let mark = Mark { source: walk.source(), from: Some(1), to: 2 };
    assert!(said(home.warehouse.submit(&records, &[mark])).contains("was removed or moved"));
    assert!(said(home.warehouse.tend()).contains("was removed or moved"));
    assert!(said(home.warehouse.recover()).contains("was removed or moved"));
    assert!(!home.path().exists(), "an empty file would look like nothing was ever stored");

    std::fs::rename(&aside, home.path()).unwrap();
    home.warehouse.recover().unwrap();
    assert!(home.warehouse.committed(&[walk.source()]).unwrap()[&walk.source()] >= 1);

    std::fs::copy(home.path(), &aside).unwrap();
    std::fs::rename(&aside, home.path()).unwrap();
    assert!(said(home.warehouse.tend()).contains("was replaced"));
    assert!(said(home.warehouse.recover()).contains("was replaced"));
}
