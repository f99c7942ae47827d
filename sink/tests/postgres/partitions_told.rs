//! What doctor says of partitions: a hole ahead, and what keeps one from being dropped.

use gaitway_proto::ledger::Ledger as _;
use gaitway_service::checkup::Grade;

use crate::partitions::{doctor, drop_all, keeping, past, recent};
use crate::postgres_server::Database;

#[test]
#[ignore = "needs postgres"]
fn a_hole_ahead_is_named() {
    let database = Database::new();
    let (mut warehouse, admin) = (keeping(&database.url, 7), database.reader());
    warehouse.recover().unwrap();
    drop_all(&admin);
    for (name, from, to) in [("a", 0, 2), ("b", 5, 24)] {
        admin.run(&format!(
            "CREATE TABLE raw_data.{name} PARTITION OF raw_data.activity_records
                 FOR VALUES FROM (date_trunc('hour', now()) + interval '{from} hours')
                 TO (date_trunc('hour', now()) + interval '{to} hours')"
        ));
    }
    let said = "SELECT to_char(date_trunc('hour', now() AT TIME ZONE 'UTC') + interval '2 hours', 'YYYY-MM-DD HH24:MI:SS')
                    || '+00 to ' ||
                    to_char(date_trunc('hour', now() AT TIME ZONE 'UTC') + interval '5 hours', 'YYYY-MM-DD HH24:MI:SS')";
    let said: String = admin.rows(said)[0].get(0);
    let told = doctor(&database.url, 7);
    assert_eq!(told.count(Grade::Warn), 1, "{told}");
    assert!(told.to_string().contains(&format!("none takes what is stored from {said}")), "{told}");
    warehouse.keep_house().unwrap();
    let told = doctor(&database.url, 7);
    assert_eq!(told.worst(), Some(Grade::Ok), "{told}");
}

#[test]
#[ignore = "needs postgres"]
fn what_keeps_a_partition_from_being_dropped_is_named() {
    let database = Database::new();
    let (mut warehouse, admin) = (keeping(&database.url, 1), database.reader());
    warehouse.recover().unwrap();
    recent(&admin);
    past(&admin, "raw_old", 30, 20, "made by gaitway");
    past(&admin, "raw_older", 40, 30, "made by gaitway");
    past(&admin, "raw_archive", 60, 50, "mine");
    let whole = doctor(&database.url, 1).to_string();
    assert!(!whole.contains("can never be dropped"), "{whole}");
    admin.run(
        "CREATE VIEW public.mine AS SELECT * FROM raw_data.raw_old UNION ALL SELECT * FROM raw_data.raw_older;
         CREATE TABLE public.kept (reading raw_data.raw_old);
         CREATE VIEW public.archive AS SELECT * FROM raw_data.raw_archive",
    );
    let told = doctor(&database.url, 1).to_string();
    assert!(told.contains("view public.mine needs raw_data.raw_old and 1 more, which can never be dropped"), "{told}");
    assert!(told.contains("column reading of table public.kept needs raw_data.raw_old,"), "{told}");
    assert!(!told.contains("archive"), "{told}");
    warehouse.keep_house().unwrap();
    let there = "SELECT count(*) FROM pg_class WHERE relname IN ('raw_old', 'raw_older')";
    assert_eq!(admin.number(there), 2);
    admin.run("DROP VIEW public.mine; DROP TABLE public.kept");
    warehouse.keep_house().unwrap();
    assert_eq!(admin.number(there), 0);
}
