//! What a database must be, and what is made in it.

use std::os::unix::fs::PermissionsExt as _;
use std::thread::Builder;

use gaitway_proto::ledger::Ledger as _;
use gaitway_proto::schema::{Dialect, RAW};
use gaitway_service::checkup::{Checkup, Grade};
use gaitway_sink::postgres::examine;

use crate::postgres_server::{Database, Reader, Server};
use crate::stored::{open, options, stored};
use crate::support::Walk;

/// The table of readings as earlier versions made it: one table, which does not say when a row was stored.
pub(crate) fn make_plain(admin: &Reader) {
    let table = RAW.ddl(Dialect::Postgres).replace(",\n  stored_at timestamptz NOT NULL DEFAULT now()", "");
    admin.run(&format!(
        "DROP TABLE raw_data.activity_records CASCADE; {table};
         CREATE INDEX raw_by_time ON raw_data.activity_records (\"timestamp\");
         CREATE INDEX raw_by_session ON raw_data.activity_records (sessionid)"
    ));
}

/// `url` for another user.
pub(crate) fn as_user(url: &str, user: &str) -> String {
    format!("postgres://{user}:secret@{}", url.rsplit_once('@').unwrap().1)
}

/// A user of the server, gone at the test's end.
pub(crate) struct Role(pub(crate) String, String);

impl Role {
    pub(crate) fn new(database: &Database) -> Self {
        let name = format!("role_{}", database.name);
        database.reader().run(&format!("CREATE ROLE {name} LOGIN PASSWORD 'secret'"));
        Self(name, database.url.clone())
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        Reader::open(&self.1).run(&format!("DROP OWNED BY {0}; DROP ROLE {0}", self.0));
    }
}

#[test]
#[ignore = "needs postgres"]
fn the_least_privileges_of_the_documentation_suffice() {
    let database = Database::new();
    open(&database.url).recover().unwrap();
    let role = Role::new(&database);
    let admin = database.reader();
    let url = as_user(&database.url, &role.0);
    let said = open(&url).recover().unwrap_err().to_string();
    assert!(said.contains("may not INSERT") && said.contains("GRANT") && !said.contains("secret"), "{said}");
    admin.run(&format!(
        "GRANT USAGE ON SCHEMA raw_data, processed_data TO {0};
         GRANT INSERT ON raw_data.activity_records, raw_data.gaps, processed_data.user_activity_processed TO {0};
         GRANT SELECT, INSERT, UPDATE ON raw_data.gaitway_progress TO {0}",
        role.0
    ));
    let (mut warehouse, mut walk) = (open(&url), Walk::new());
    warehouse.recover().unwrap();
    walk.step(&mut warehouse, 3);
    walk.step(&mut warehouse, 3);
    assert_eq!(warehouse.committed(&[walk.source()]).unwrap().get(&walk.source()), Some(&2));
    assert_eq!(stored(&admin).len(), 6);
    admin.run(&format!("REVOKE INSERT ON raw_data.activity_records FROM {}", role.0));
    let mark = gaitway_proto::ledger::Mark { source: walk.source(), from: Some(2), to: 3 };
    walk.advance();
    let said = warehouse.submit(&walk.records(1), &[mark]).unwrap_err().to_string();
    assert!(said.contains("grant") && said.contains("activity_records"), "{said}");
}

#[test]
#[ignore = "needs postgres"]
fn a_user_who_may_not_create_is_told_what_is_missing() {
    let database = Database::new();
    let role = Role::new(&database);
    let said = open(&as_user(&database.url, &role.0)).recover().unwrap_err().to_string();
    assert!(said.contains("CREATE SCHEMA") && said.contains("gaitway sink ddl"), "{said}");
}

#[test]
#[ignore = "needs postgres"]
fn many_who_start_at_once_set_up_one_warehouse() {
    let database = Database::new();
    let url = &database.url;
    std::thread::scope(|scope| {
        let starts = [(); 6].map(|()| Builder::new().spawn_scoped(scope, || open(url).recover()).unwrap());
        for start in starts {
            start.join().unwrap().unwrap();
        }
    });
    let reader = database.reader();
    for view in ["raw_readings", "activity_windows", "sessions", "stream_gaps", "locations", "latency"] {
        assert_eq!(reader.number(&format!("SELECT count(*) FROM activity.{view}")), 0);
    }
    assert_eq!(reader.number("SELECT count(*) FROM pg_indexes WHERE indexname LIKE 'raw_by_%'"), 2);
}

#[test]
#[ignore = "needs postgres"]
fn a_warehouse_of_an_earlier_version_gets_the_views_and_is_told_which_index_to_renew() {
    let database = Database::new();
    let admin = database.reader();
    open(&database.url).recover().unwrap();
    admin.run("DROP SCHEMA activity CASCADE; ALTER TABLE processed_data.user_activity_processed DROP COLUMN stored_at");
    make_plain(&admin);
    let role = Role::new(&database);
    admin.run(&format!(
        "GRANT CREATE ON DATABASE {1} TO {0}; GRANT USAGE ON SCHEMA raw_data, processed_data TO {0};
         GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA raw_data, processed_data TO {0}",
        role.0, database.name
    ));
    // Who may not alter the tables stores records without the views.
    let mut walk = Walk::new();
    let mut warehouse = open(&as_user(&database.url, &role.0));
    warehouse.recover().unwrap();
    walk.step(&mut warehouse, 3);
    assert_eq!(admin.number("SELECT count(*) FROM pg_namespace WHERE nspname = 'activity'"), 0);
    let said = looked_at(&database.url).to_string();
    assert!(
        said.contains("ALTER TABLE PROCESSED_DATA.USER_ACTIVITY_PROCESSED ADD COLUMN IF NOT EXISTS stored_at"),
        "{said}"
    );

    let mut warehouse = open(&database.url);
    warehouse.recover().unwrap();
    walk.step(&mut warehouse, 2);
    let dated = "SELECT count(*) FROM activity.record_sources WHERE table_name = 'ACTIVITY_RECORDS'
                  AND stored_at BETWEEN (now() AT TIME ZONE 'UTC') - interval '1 hour' AND (now() AT TIME ZONE 'UTC')";
    assert_eq!(admin.number(dated), 5);
    let columns = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'raw_data.raw_by_session'::regclass";
    assert_eq!(admin.number(columns), 1, "a table with rows gets no index by itself");

    admin.run("CREATE TABLE part () INHERITS (raw_data.activity_records)");
    let told = looked_at(&database.url).to_string();
    assert!(told.contains("CREATE INDEX raw_by_sensor") && !told.contains("CONCURRENTLY"), "{told}");
    admin.run("DROP TABLE part");
    let told = looked_at(&database.url);
    assert_eq!((told.count(Grade::Fail), told.count(Grade::Warn)), (0, 1), "{told}");
    let told = told.to_string();
    let run = told.split_once("while the sink goes on: ").unwrap().1.lines().next().unwrap();
    run.split("; ").for_each(|statement| admin.run(statement));
    assert_eq!(admin.number(columns), 3);
    assert_eq!(looked_at(&database.url).worst(), Some(Grade::Ok));
}

#[test]
#[ignore = "needs postgres"]
fn views_that_a_reader_kept_from_being_renewed_are_renewed_without_a_new_connection() {
    let database = Database::new();
    let (mut warehouse, mut walk, admin) = (open(&database.url), Walk::new(), database.reader());
    warehouse.recover().unwrap();
    let renewed = "SELECT count(*) FROM pg_namespace WHERE nspname = 'activity'
                    AND obj_description(oid, 'pg_namespace') LIKE 'gaitway views %'";
    admin.run("COMMENT ON SCHEMA activity IS 'of an earlier version'");
    let dashboard = database.reader();
    dashboard.run("BEGIN; SELECT count(*) FROM activity.raw_readings");
    warehouse.recover().unwrap();
    walk.step(&mut warehouse, 3);
    warehouse.keep_house().unwrap();
    assert_eq!(admin.number(renewed), 0);
    dashboard.run("COMMIT");
    warehouse.keep_house().unwrap();
    assert_eq!(admin.number(renewed), 1);
    walk.step(&mut warehouse, 3);
}

#[test]
#[ignore = "needs postgres"]
fn the_furthest_message_ids_do_not_break_the_checks() {
    let database = Database::new();
    let admin = database.reader();
    open(&database.url).recover().unwrap();
    admin.run(
        "INSERT INTO raw_data.activity_records (deviceid, sessionid, messageid)
            VALUES ('d', 's', -9223372036854775807 - 1), ('d', 's', 9223372036854775807)",
    );
    assert_eq!(admin.number("SELECT missing FROM activity.message_holes"), i64::MAX);
    let found = "SELECT count(*) FROM activity.data_quality WHERE check_name = 'message_holes' AND findings = 9223372036854775807";
    assert_eq!(admin.number(found), 1);
}

#[test]
#[ignore = "needs postgres"]
fn a_table_of_another_form_is_named() {
    let database = Database::new();
    let reader = database.reader();
    open(&database.url).recover().unwrap();
    for (change, says) in [
        ("ALTER TABLE raw_data.gaps DROP COLUMN reason CASCADE", "table raw_data.gaps lacks column reason (text)"),
        ("ALTER TABLE raw_data.gaps ADD COLUMN reason integer", "column reason of table raw_data.gaps is integer"),
        (
            "ALTER TABLE raw_data.gaps ALTER COLUMN reason TYPE text, ADD COLUMN mine int NOT NULL",
            "column mine of table",
        ),
    ] {
        reader.run(change);
        let said = open(&database.url).recover().unwrap_err().to_string();
        assert!(said.contains(says) && said.contains(&database.name), "{said}");
    }
    reader.run("ALTER TABLE raw_data.gaps ALTER COLUMN mine SET DEFAULT 0");
    open(&database.url).recover().unwrap();
}

#[test]
#[ignore = "needs postgres"]
fn a_server_without_fsync_is_refused_and_a_lax_user_default_is_overridden() {
    let server = Server::start(&["fsync=off"]);
    let database = server.database();
    let said = open(&database.url).recover().unwrap_err().to_string();
    assert!(said.contains("fsync=on"), "{said}");

    let database = Database::new();
    database.reader().run(&format!("ALTER DATABASE {} SET synchronous_commit = off", database.name));
    open(&database.url).recover().unwrap();
}

#[test]
#[ignore = "needs postgres"]
fn a_read_only_database_is_told() {
    let database = Database::new();
    database.reader().run(&format!("ALTER DATABASE {} SET default_transaction_read_only = on", database.name));
    let said = open(&database.url).recover().unwrap_err().to_string();
    assert!(said.contains("read-only"), "{said}");
}

#[test]
#[ignore = "needs postgres"]
fn a_wrong_password_and_a_missing_database_are_told_without_the_password() {
    let database = Database::new();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "hunter2\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let mut wrong = options(&database.url.replace(":secret@", "@"));
    wrong.password_file = Some(file.clone());
    let mut warehouse = gaitway_sink::postgres::Warehouse::new(&wrong).unwrap();
    let said = warehouse.recover().unwrap_err().to_string();
    assert!(said.contains("check password") && !said.contains("hunter2"), "{said}");
    std::fs::write(&file, "secret\n").unwrap();
    warehouse.recover().unwrap();
    let said = open(&database.url.replace(&database.name, "nowhere")).recover().unwrap_err().to_string();
    assert!(said.contains("CREATE DATABASE") && said.contains("nowhere"), "{said}");
}

pub(crate) fn looked_at(url: &str) -> Checkup {
    let mut checkup = Checkup::new();
    examine(&options(url), &mut checkup);
    checkup
}

#[test]
#[ignore = "needs postgres"]
fn what_is_missing_or_wrong_is_told_to_whoever_looks_and_nothing_is_changed() {
    let database = Database::new();
    let role = Role::new(&database);
    let url = as_user(&database.url, &role.0);
    let fresh = looked_at(&database.url);
    assert_eq!((fresh.worst(), fresh.count(Grade::Warn)), (Some(Grade::Warn), 4), "{fresh}");
    assert_eq!(looked_at(&url).count(Grade::Fail), 4);
    assert_eq!(database.reader().number("SELECT count(*) FROM pg_namespace WHERE nspname = 'raw_data'"), 0);

    open(&database.url).recover().unwrap();
    let whole = looked_at(&database.url);
    assert_eq!(whole.worst(), Some(Grade::Ok), "{whole}");
    let forbidden = looked_at(&url).to_string();
    assert!(forbidden.contains("may not INSERT raw_data.gaps: GRANT it"), "{forbidden}");

    let admin = database.reader();
    admin.run("ALTER TABLE raw_data.gaps DROP COLUMN reason CASCADE; ALTER TABLE raw_data.gaps ADD COLUMN reason text");
    let cascaded = looked_at(&database.url);
    assert_eq!((cascaded.count(Grade::Fail), cascaded.count(Grade::Warn)), (0, 1), "{cascaded}");
    open(&database.url).recover().unwrap();
    assert_eq!(admin.number("SELECT count(*) FROM activity.stream_gaps"), 0);
    let mended = looked_at(&database.url);
    assert_eq!(mended.worst(), Some(Grade::Ok), "{mended}");
    admin.run("DROP SCHEMA activity CASCADE");
    admin.run("ALTER TABLE raw_data.gaps DROP COLUMN reason");
    admin.run("ALTER TABLE raw_data.gaps ADD COLUMN mine text NOT NULL");
    let broken = looked_at(&database.url);
    assert_eq!(broken.count(Grade::Fail), 2, "{broken}");
    assert!(broken.to_string().contains("lacks column reason (text): add it"), "{broken}");
    admin.run(&format!("ALTER DATABASE {} SET synchronous_commit = off", database.name));
    assert!(looked_at(&database.url).to_string().contains("synchronous_commit=off"));
    let away = looked_at(&database.url.replace("secret", "wrong"));
    assert!(away.count(Grade::Fail) == 1 && !away.to_string().contains("wrong"), "{away}");
}
