//! Readings in partitions: made ahead, dropped when they are old, and nothing else.

use std::thread::Builder;
use std::time::Duration;

use gaitway_proto::ledger::Ledger as _;
use gaitway_service::checkup::{Checkup, Grade};
use gaitway_sink::postgres::{Options, Warehouse, examine, script};

use crate::postgres_server::{Database, Reader};
use crate::setting_up::{Role, as_user, looked_at, make_plain};
use crate::stored::{open, options};
use crate::support::Walk;

const DAY: Duration = Duration::from_secs(24 * 3600);

const ATTACHED: &str = "FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
    WHERE i.inhparent = 'raw_data.activity_records'::regclass";

pub(crate) fn keeping(url: &str, days: u32) -> Warehouse {
    Warehouse::new(&Options { keep_raw: Some(days * DAY), ..options(url) }).unwrap()
}

/// Names of partitions, in order.
pub(crate) fn parts(reader: &Reader) -> Vec<String> {
    let rows = reader.rows(&format!("SELECT c.relname::text {ATTACHED} ORDER BY 1"));
    rows.iter().map(|row| row.get(0)).collect()
}

/// A partition of past days with a row in it; `said` is its comment.
pub(crate) fn past(admin: &Reader, name: &str, from: u32, to: u32, said: &str) {
    admin.run(&format!(
        "CREATE TABLE raw_data.{name} PARTITION OF raw_data.activity_records
             FOR VALUES FROM (date_trunc('hour', now()) - interval '{from} days')
             TO (date_trunc('hour', now()) - interval '{to} days');
         COMMENT ON TABLE raw_data.{name} IS '{said}';
         INSERT INTO raw_data.activity_records (deviceid, stored_at) VALUES ('{name}', now() - interval '{to} days 2 hours')"
    ));
}

/// As if a sink had kept house for five days: what is there, or else the next three hours, goes on from a partition of these.
pub(crate) fn recent(admin: &Reader) {
    let bound = "substring(pg_get_expr(c.relpartbound, c.oid) FROM $b$FROM \\('(\\d[^']+)'\\)$b$)::timestamptz";
    admin.run(&format!(
        "DO $$ DECLARE first timestamptz; BEGIN
             SELECT COALESCE(min({bound}), date_trunc('hour', now()) + interval '3 hours') INTO first {ATTACHED};
             EXECUTE format('CREATE TABLE raw_data.raw_recent PARTITION OF raw_data.activity_records
                 FOR VALUES FROM (%L) TO (%L)', first - interval '5 days', first);
             COMMENT ON TABLE raw_data.raw_recent IS 'made by gaitway';
         END $$"
    ));
}

/// Drops every partition but the default one.
pub(crate) fn drop_all(admin: &Reader) {
    admin.run(&format!(
        "DO $$ DECLARE part text; BEGIN FOR part IN SELECT c.relname {ATTACHED} AND c.relname <> 'raw_default'
            LOOP EXECUTE 'DROP TABLE raw_data.' || part; END LOOP; END $$"
    ));
}

pub(crate) fn count(reader: &Reader, of: &str) -> i64 {
    reader.number(&format!("SELECT count(*) FROM {of}"))
}

fn marks(reader: &Reader) -> String {
    reader.rows("SELECT string_agg(source || position || updated_at, ',') FROM raw_data.gaitway_progress")[0].get(0)
}

pub(crate) fn doctor(url: &str, days: u32) -> Checkup {
    let mut checkup = Checkup::new();
    examine(&Options { keep_raw: Some(days * DAY), ..options(url) }, &mut checkup);
    checkup
}

#[test]
#[ignore = "needs postgres"]
fn partitions_are_made_ahead_with_indexes_and_readings_go_into_them() {
    let database = Database::new();
    let (mut warehouse, mut walk, reader) = (keeping(&database.url, 30), Walk::new(), database.reader());
    warehouse.recover().unwrap();
    let made = parts(&reader);
    assert!(made.len() == 4 && made[3] == "raw_default" && made[..3].iter().all(|name| name.len() == 12), "{made:?}");
    let today: String = reader.rows("SELECT to_char(now() AT TIME ZONE 'UTC', '\"raw_\"YYYYMMDD')")[0].get(0);
    assert!(made.contains(&today), "{made:?}");
    walk.step(&mut warehouse, 3);
    assert_eq!((count(&reader, "raw_data.raw_default"), count(&reader, "raw_data.activity_records")), (0, 3));
    assert_eq!(
        reader.number("SELECT count(*) FROM raw_data.activity_records WHERE stored_at > now() - interval '1 hour'"),
        3
    );
    let indexes = format!("SELECT count(*) FROM pg_index WHERE indrelid IN (SELECT c.oid {ATTACHED}) AND indisvalid");
    assert_eq!(reader.number(&indexes), 4 * 2 + 1);
    let oids = format!("SELECT sum(c.oid::bigint)::bigint {ATTACHED}");
    let before = reader.number(&oids);
    warehouse.keep_house().unwrap();
    keeping(&database.url, 30).recover().unwrap();
    assert_eq!(reader.number(&oids), before, "what is there is left");
    let told = doctor(&database.url, 30);
    assert!(told.worst() == Some(Grade::Ok) && told.to_string().contains("made ahead until"), "{told}");
}

#[test]
#[ignore = "needs postgres"]
fn a_shorter_keep_raw_holds_at_once_where_no_rows_are_and_until_when_others_hold_is_told() {
    let database = Database::new();
    let (mut warehouse, mut walk, admin) = (keeping(&database.url, 7), Walk::new(), database.reader());
    warehouse.recover().unwrap();
    drop_all(&admin);
    for (name, from, to, said) in [
        ("raw_now", 0, 3, "made by gaitway"),
        ("raw_long", 3, 100, "made by gaitway"),
        ("raw_rows", 100, 200, "made by gaitway"),
        ("raw_mine", 200, 300, "mine"),
    ] {
        admin.run(&format!(
            "CREATE TABLE raw_data.{name} PARTITION OF raw_data.activity_records
                 FOR VALUES FROM (date_trunc('hour', now()) + interval '{from} hours')
                 TO (date_trunc('hour', now()) + interval '{to} hours');
             COMMENT ON TABLE raw_data.{name} IS '{said}'"
        ));
    }
    admin.run(
        "INSERT INTO raw_data.activity_records (deviceid, stored_at) VALUES ('ahead', now() + interval '120 hours')",
    );
    let role = Role::new(&database);
    admin.run(&format!(
        "GRANT USAGE ON SCHEMA raw_data, processed_data TO {0};
         GRANT SELECT ON ALL TABLES IN SCHEMA raw_data, processed_data TO {0}",
        role.0
    ));
    let told = doctor(&as_user(&database.url, &role.0), 7).to_string();
    assert!(told.contains("let the owner run DROP TABLE raw_data.raw_long\n"), "{told}");

    let dashboard = database.reader();
    dashboard.run("BEGIN; SELECT count(*) FROM activity.raw_readings");
    warehouse.keep_house().unwrap();
    assert!(parts(&admin).contains(&"raw_long".to_owned()), "its lock was not given");
    dashboard.run("COMMIT");
    warehouse.keep_house().unwrap();
    let rest = parts(&admin);
    assert!(["raw_now", "raw_rows", "raw_mine"].iter().all(|name| rest.contains(&(*name).to_owned())), "{rest:?}");
    // Ten hours of them at most 6 hours long lie ahead.
    assert!(!rest.contains(&"raw_long".to_owned()) && rest.len() >= 4 + 2, "{rest:?}");
    let told = doctor(&database.url, 7).to_string();
    assert!(told.contains("for longer: raw_data.raw_rows until 2") && !told.contains("raw_mine until"), "{told}");
    walk.step(&mut warehouse, 3);
    admin.run(
        "INSERT INTO raw_data.activity_records (deviceid, stored_at) VALUES ('ahead', now() + interval '9 hours')",
    );
    assert_eq!((count(&admin, "raw_data.activity_records"), count(&admin, "raw_data.raw_default")), (5, 0));
}

#[test]
#[ignore = "needs postgres"]
fn a_row_that_comes_while_an_empty_partition_is_detached_keeps_it() {
    let database = Database::new();
    let (mut warehouse, admin) = (keeping(&database.url, 7), database.reader());
    warehouse.recover().unwrap();
    admin.run(
        "CREATE TABLE raw_data.raw_long PARTITION OF raw_data.activity_records
             FOR VALUES FROM (date_trunc('hour', now()) + interval '50 hours')
             TO (date_trunc('hour', now()) + interval '99 hours');
         COMMENT ON TABLE raw_data.raw_long IS 'made by gaitway';
         CREATE FUNCTION late() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             IF current_query() LIKE '%DETACH%' THEN
                 INSERT INTO raw_data.raw_long (deviceid, stored_at) VALUES ('late', now() + interval '60 hours');
             END IF; END $$;
         CREATE EVENT TRIGGER late ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION late()",
    );
    warehouse.keep_house().unwrap();
    assert!(parts(&admin).contains(&"raw_long".to_owned()));
    admin.run("DROP EVENT TRIGGER late");
    warehouse.keep_house().unwrap();
    assert!(!parts(&admin).contains(&"raw_long".to_owned()));
}

#[test]
#[ignore = "needs postgres"]
fn retention_drops_whole_partitions_of_its_own_and_nothing_else() {
    let database = Database::new();
    let (mut warehouse, mut walk, admin) = (open(&database.url), Walk::new(), database.reader());
    warehouse.recover().unwrap();
    // What is there for this month lies over the days of this test.
    drop_all(&admin);
    recent(&admin);
    past(&admin, "raw_old", 30, 20, "made by gaitway");
    past(&admin, "raw_edge", 20, 6, "made by gaitway");
    past(&admin, "raw_archive", 60, 50, "mine");
    past(&admin, "raw_unsaid", 50, 40, "");
    admin.run(
        "INSERT INTO raw_data.activity_records (deviceid, stored_at) VALUES ('stray', now() - interval '900 days')",
    );
    walk.step(&mut warehouse, 3);
    let held = marks(&admin);
    let told = doctor(&database.url, 7).to_string();
    assert!(told.contains("1 partitions are older than keep_raw, the first raw_data.raw_old"), "{told}");

    let mut keeper = keeping(&database.url, 7);
    keeper.recover().unwrap();
    let rest = parts(&admin);
    for (name, stays) in [
        ("raw_old", false),
        ("raw_edge", true),
        ("raw_recent", true),
        ("raw_archive", true),
        ("raw_unsaid", true),
        ("raw_default", true),
    ] {
        assert_eq!(rest.contains(&name.to_owned()), stays, "{name}: {rest:?}");
    }
    assert_eq!(admin.number("SELECT count(*) FROM pg_class WHERE relname = 'raw_old'"), 0);
    assert_eq!(count(&admin, "raw_data.activity_records WHERE deviceid LIKE 'raw\\_%'"), 3);
    assert_eq!(count(&admin, "raw_data.activity_records WHERE deviceid = 'stray'"), 1);
    assert_eq!(marks(&admin), held);
    walk.step(&mut warehouse, 2);
    assert_eq!(count(&admin, "raw_data.activity_records WHERE deviceid = 'phone'"), 5);
    let told = doctor(&database.url, 7);
    assert!(told.count(Grade::Warn) == 2 && told.to_string().contains("has 1 row"), "{told}");
    assert!(told.to_string().contains("hold their readings together for longer: raw_data.raw_edge until"), "{told}");
}

#[test]
#[ignore = "needs postgres"]
fn a_reader_in_the_way_is_waited_for_and_later_it_is_dropped() {
    let database = Database::new();
    let (mut warehouse, mut walk, admin) = (keeping(&database.url, 1), Walk::new(), database.reader());
    warehouse.recover().unwrap();
    recent(&admin);
    past(&admin, "raw_old", 30, 20, "made by gaitway");
    let dashboard = database.reader();
    dashboard.run("BEGIN; SELECT count(*) FROM activity.raw_readings");
    warehouse.keep_house().unwrap();
    walk.step(&mut warehouse, 3);
    assert_eq!((parts(&admin).contains(&"raw_old".to_owned()), count(&dashboard, "raw_data.raw_old")), (true, 1));
    dashboard.run("COMMIT");
    // Writers wait for the lock too, so it is not asked for again at once.
    warehouse.tend().unwrap();
    warehouse.recover().unwrap();
    assert!(parts(&admin).contains(&"raw_old".to_owned()));
    warehouse.keep_house().unwrap();
    assert!(!parts(&admin).contains(&"raw_old".to_owned()));
    walk.step(&mut warehouse, 3);
    assert_eq!(count(&admin, "raw_data.activity_records"), 6);
}

#[test]
#[ignore = "needs postgres"]
fn a_sink_killed_between_detaching_and_dropping_has_done_neither() {
    let database = Database::new();
    let (mut warehouse, mut walk, admin) = (keeping(&database.url, 1), Walk::new(), database.reader());
    warehouse.recover().unwrap();
    walk.step(&mut warehouse, 3);
    recent(&admin);
    past(&admin, "raw_old", 30, 20, "made by gaitway");
    // Runs at DROP, after DETACH.
    admin.run(
        "CREATE FUNCTION kill() RETURNS event_trigger LANGUAGE plpgsql AS
             $$ BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(9); END $$;
         CREATE EVENT TRIGGER kill ON sql_drop WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION kill()",
    );
    let said = warehouse.keep_house().unwrap_err().to_string();
    assert!(said.contains(&database.name), "{said}");
    assert!(parts(&admin).contains(&"raw_old".to_owned()));
    assert_eq!(count(&admin, "raw_data.raw_old"), 1);
    admin.run("DROP EVENT TRIGGER kill");
    warehouse.recover().unwrap();
    assert_eq!(admin.number("SELECT count(*) FROM pg_class WHERE relname = 'raw_old'"), 0);
    walk.step(&mut warehouse, 3);
    assert_eq!(count(&admin, "raw_data.activity_records"), 6);
}

#[test]
#[ignore = "needs postgres"]
fn of_many_who_keep_house_at_once_each_finds_it_done() {
    let database = Database::new();
    open(&database.url).recover().unwrap();
    let admin = database.reader();
    recent(&admin);
    for place in 0..5 {
        past(&admin, &format!("raw_old_{place}"), 60 + place, 59 + place, "made by gaitway");
    }
    std::thread::scope(|scope| {
        let keep = |which: usize| {
            let (mut warehouse, mut walk) = (keeping(&database.url, 1), [Walk::new, Walk::other, Walk::third][which]());
            warehouse.recover().unwrap();
            for _ in 0..10 {
                warehouse.keep_house().unwrap();
                walk.step(&mut warehouse, 20);
            }
        };
        let keepers = [0, 1, 2].map(|which| Builder::new().spawn_scoped(scope, move || keep(which)).unwrap());
        for keeper in keepers {
            keeper.join().unwrap();
        }
    });
    assert_eq!(count(&admin, "raw_data.activity_records"), 3 * 10 * 20);
    assert_eq!(count(&admin, "raw_data.raw_default"), 0);
    assert!(!parts(&admin).iter().any(|name| name.starts_with("raw_old")));
    assert_eq!(admin.number("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"), 0);
}

#[test]
#[ignore = "needs postgres"]
fn bounds_at_the_ends_of_time_are_read_and_none_is_dropped_by_mistake() {
    let database = Database::new();
    let (mut warehouse, admin) = (keeping(&database.url, 1), database.reader());
    warehouse.recover().unwrap();
    let made = parts(&admin);
    for (name, bound) in [
        ("raw_before", "FROM (MINVALUE) TO ('0044-03-15 00:00:00+00 BC')"),
        ("raw_always", "FROM ('2999-01-01') TO ('12999-01-01')"),
        ("raw_after", "FROM ('infinity') TO (MAXVALUE)"),
    ] {
        admin.run(&format!(
            "CREATE TABLE raw_data.{name} PARTITION OF raw_data.activity_records FOR VALUES {bound};
             COMMENT ON TABLE raw_data.{name} IS 'mine'"
        ));
    }
    warehouse.keep_house().unwrap();
    assert_eq!(parts(&admin).len(), made.len() + 3);
    assert_eq!(doctor(&database.url, 1).worst(), Some(Grade::Ok));
}

/// A database made by its owner's hand, and the sink's user, who may insert.
fn by_hand(database: &Database) -> Role {
    let role = Role::new(database);
    database.reader().run(&script());
    database.reader().run(&format!(
        "GRANT USAGE ON SCHEMA raw_data, processed_data TO {0};
         GRANT INSERT ON raw_data.activity_records, raw_data.gaps, processed_data.user_activity_processed TO {0};
         GRANT SELECT, INSERT, UPDATE ON raw_data.gaitway_progress TO {0}",
        role.0
    ));
    role
}

#[test]
#[ignore = "needs postgres"]
fn a_user_who_may_not_create_stores_into_the_default_partition_and_the_owner_is_told_what_to_run() {
    let database = Database::new();
    let (role, admin) = (by_hand(&database), database.reader());
    let url = as_user(&database.url, &role.0);
    let (mut warehouse, mut walk) = (keeping(&url, 7), Walk::new());
    warehouse.recover().unwrap();
    walk.step(&mut warehouse, 3);
    assert_eq!(count(&admin, "activity.raw_readings"), 3, "the script makes the views too");
    assert!(!doctor(&url, 7).to_string().contains("views"));
    assert_eq!((parts(&admin), count(&admin, "raw_data.raw_default")), (vec!["raw_default".to_owned()], 3));
    let told = doctor(&url, 7).to_string();
    let of = format!("user {} may not make them", role.0);
    assert!(told.contains(&of), "{told}");
    let run = told.split_once("default partition; CREATE").unwrap().1.lines().next().unwrap();
    admin.run(&format!("CREATE{run}"));
    assert!(parts(&admin).len() > 1);
    let told = doctor(&url, 7).to_string();
    assert!(!told.contains("may not make them"), "{told}");
    admin.run("DELETE FROM raw_data.raw_default");
    recent(&admin);
    past(&admin, "raw_old", 30, 20, "made by gaitway");
    let told = doctor(&url, 7).to_string();
    assert!(told.contains("may not drop them"), "{told}");
    warehouse.keep_house().unwrap();
    walk.step(&mut warehouse, 3);
    assert!(parts(&admin).contains(&"raw_old".to_owned()));
}

#[test]
#[ignore = "needs postgres"]
fn rows_in_the_default_partition_stay_and_partitions_begin_after_them() {
    let database = Database::new();
    let (role, admin) = (by_hand(&database), database.reader());
    let (mut least, mut walk) = (open(&as_user(&database.url, &role.0)), Walk::new());
    least.recover().unwrap();
    walk.step(&mut least, 3);
    let mut owner = keeping(&database.url, 7);
    owner.recover().unwrap();
    assert!(parts(&admin).len() > 1, "made beside the rows");
    walk.step(&mut owner, 3);
    assert_eq!(count(&admin, "raw_data.raw_default"), 6);
    let first = "SELECT count(*) FROM pg_class WHERE relname = to_char(date_trunc('hour', now() AT TIME ZONE 'UTC')
        + interval '2 hours', '\"raw_\"YYYYMMDDHH24')";
    let midnight = admin.number("SELECT (extract(hour FROM now() AT TIME ZONE 'UTC') = 22)::int::bigint") == 1;
    assert!(midnight || admin.number(first) == 1, "{:?}", parts(&admin));
    let constraints = "SELECT count(*) FROM pg_constraint WHERE conname = 'gaitway_is_beside'";
    assert_eq!(admin.number(constraints), 0);
    let told = doctor(&database.url, 7).to_string();
    assert!(told.contains("has 6 rows, which keep_raw does not delete"), "{told}");

    // Somebody was killed while he validated, so long ago that it lies in writers' way.
    admin.run(
        "ALTER TABLE raw_data.raw_default ADD CONSTRAINT gaitway_is_beside
             CHECK (stored_at < now() - interval '1 day' OR stored_at >= '2999-01-01') NOT VALID",
    );
    let mark = gaitway_proto::ledger::Mark { source: walk.source(), from: Some(2), to: 3 };
    walk.advance();
    let said = owner.submit(&walk.records(2), std::slice::from_ref(&mark)).unwrap_err().to_string();
    assert!(said.contains("gaitway_is_beside"), "{said}");
    owner.recover().unwrap();
    owner.submit(&walk.records(2), &[mark]).unwrap();
    assert_eq!((admin.number(constraints), count(&admin, "raw_data.activity_records")), (0, 8));

    admin.run(&from_the_documentation("move"));
    owner.recover().unwrap();
    assert_eq!((count(&admin, "raw_data.raw_strays"), count(&admin, "raw_data.raw_default")), (8, 0));
    walk.step(&mut owner, 2);
    assert_eq!((count(&admin, "raw_data.activity_records"), count(&admin, "raw_data.raw_default")), (10, 0));
    assert_eq!(doctor(&database.url, 7).worst(), Some(Grade::Ok));
}

#[test]
#[ignore = "needs postgres"]
fn a_plain_table_stays_and_the_steps_of_the_documentation_convert_it() {
    let database = Database::new();
    let (admin, mut walk) = (database.reader(), Walk::new());
    open(&database.url).recover().unwrap();
    make_plain(&admin);
    let mut warehouse = keeping(&database.url, 7);
    warehouse.recover().unwrap();
    walk.step(&mut warehouse, 3);
    assert_eq!(parts(&admin), Vec::<String>::new());
    assert_eq!(count(&admin, "activity.record_sources WHERE stored_at IS NOT NULL"), 3);
    let told = doctor(&database.url, 7).to_string();
    assert!(told.contains("keep_raw has no effect: raw_data.activity_records is one plain table"), "{told}");
    assert!(!looked_at(&database.url).to_string().contains("keep_raw"));
    drop(warehouse);

    admin.run(&from_the_documentation("convert"));
    let mut warehouse = keeping(&database.url, 7);
    warehouse.recover().unwrap();
    walk.step(&mut warehouse, 3);
    let made = parts(&admin);
    assert!(made.len() > 3 && made.contains(&"raw_before".to_owned()), "{made:?}");
    assert_eq!((count(&admin, "raw_data.activity_records"), count(&admin, "raw_data.raw_default")), (6, 0));
    assert_eq!(count(&admin, "activity.raw_readings"), 6, "the views read the table that there is");
    let told = doctor(&database.url, 7);
    assert_eq!(told.worst(), Some(Grade::Ok), "{told}");
}

#[test]
#[ignore = "needs postgres"]
fn a_default_partition_with_more_rows_than_can_be_read_is_left_and_the_sink_goes_on() {
    let database = Database::new();
    let (role, admin, mut walk) = (by_hand(&database), database.reader(), Walk::new());
    let mut least = open(&as_user(&database.url, &role.0));
    least.recover().unwrap();
    walk.step(&mut least, 3);
    admin.run(
        "CREATE FUNCTION wait() RETURNS event_trigger LANGUAGE plpgsql AS
             $$ BEGIN IF current_query() LIKE '%VALIDATE%' THEN PERFORM pg_sleep(600); END IF; END $$;
         CREATE EVENT TRIGGER wait ON ddl_command_start WHEN TAG IN ('ALTER TABLE') EXECUTE FUNCTION wait()",
    );
    let options = Options { statement_timeout: Duration::from_secs(4), ..options(&database.url) };
    let mut owner = Warehouse::new(&options).unwrap();
    for _ in 0..2 {
        owner.recover().unwrap();
        walk.step(&mut owner, 3);
    }
    assert_eq!((parts(&admin).len(), count(&admin, "raw_data.raw_default")), (1, 9));
    assert_eq!(admin.number("SELECT count(*) FROM pg_constraint WHERE conname = 'gaitway_is_beside'"), 0);
    admin.run("DROP EVENT TRIGGER wait");
    open(&database.url).recover().unwrap();
    assert!(parts(&admin).len() > 1);
}

/// The SQL of deploy/postgres/README.md below the line that names it.
fn from_the_documentation(name: &str) -> String {
    let text = include_str!("../../../deploy/postgres/README.md");
    let (_, rest) = text.split_once(&format!("<!-- tested: {name} -->\n```sql\n")).expect("the documentation has it");
    rest.split_once("```").expect("and its end").0.to_owned()
}

#[test]
#[ignore = "needs postgres"]
fn sql_of_the_documentation_can_be_asked() {
    let database = Database::new();
    let admin = database.reader();
    open(&database.url).recover().unwrap();
    for name in ["partitions", "sizes", "stray"] {
        admin.run(&from_the_documentation(name));
    }
}
