//! **The jobs of `deploy/spark`** over what the real pipeline wrote: a whole PostgreSQL and a whole topic computed anew, equal
//! to what `gaitway reclassify` makes of the same; a stream whose windows are the agent's; and the tutorial's job, whose
//! windows are Spark's own.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
#[path = "spark/house.rs"]
mod house;
#[path = "spark/jobs.rs"]
mod jobs;
#[path = "../sink/tests/postgres_server/mod.rs"]
mod postgres_server;

use std::collections::BTreeMap;
use std::process::Command;

use harness::{await_that, data, kafka, topic};
use house::Filled;
use postgres_server::{Database, Reader};
use rdkafka::Message as _;
use serde_json::Value;

/// Other thresholds than the default.
const OTHER: &str = "1/9.5/20";

const RAW: &str = "SELECT count(*) FROM raw_data.activity_records";
const WINDOWS: &str = "SELECT count(*) FROM processed_data.user_activity_processed";

#[test]
#[ignore = "needs python"]
fn the_windows_are_the_agents_in_plain_python() {
    let said = jobs::check();
    let last = said.lines().last().and_then(|line| line.strip_suffix(" checks hold")?.split_once(" of "));
    assert!(last.is_some_and(|(right, all)| right == all && right != "0"), "{said}");
}

/// A database that a sink filled.
struct Filling {
    database: Database,
    reader: Reader,
    config: String,
}

impl Filling {
    fn of(filled: &Filled, name: &str) -> Self {
        let database = Database::new();
        let table = format!("[postgres]\nurl = \"{}\"\n", database.url);
        let sink = filled.house.sink(name, "warehouse = \"postgres\"", &table);
        let reader = database.reader();
        let has = |sql: &str, count: usize| reader.try_run(sql).is_ok() && reader.number(sql) == count as i64;
        await_that("the database is filled", || has(RAW, filled.readings) && has(WINDOWS, filled.told.len()));
        drop(sink);
        let config = filled.house.path(&format!("{name}.toml")).to_str().unwrap().to_owned();
        Self { database, reader, config }
    }

    /// `reclassify.py` over it, which ends with `code`.
    fn job(&self, filled: &Filled, code: i32, more: &[&str]) -> Value {
        let login: tokio_postgres::Config = self.database.url.parse().unwrap();
        let [tokio_postgres::config::Host::Tcp(host), ..] = login.get_hosts() else { panic!("a host is expected") };
        let url = format!("jdbc:postgresql://{host}:{}/{}", login.get_ports()[0], self.database.name);
        let args = ["postgres", "--url", &url, "--partitions", "3", "--json"];
        let mut job = jobs::submit(filled.house.dir.path(), "reclassify.py", &[&args[..], more].concat());
        job.env("PGUSER", login.get_user().unwrap());
        job.env("PGPASSWORD", std::str::from_utf8(login.get_password().unwrap_or_default()).unwrap());
        serde_json::from_str(&jobs::ended(&mut job, code)).unwrap()
    }

    /// `gaitway` over it.
    fn gaitway(&self, code: i32, args: &[&str]) -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
        let output = command.args(args).args(["--config", &self.config, "--json"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert_eq!(output.status.code(), Some(code), "{said}{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_str(&said).unwrap()
    }

    /// What was written over what agents told, but for the run that wrote it: texts and numbers.
    fn revisions(&self) -> Vec<(String, [f64; 2])> {
        let sql = "SELECT jsonb_build_array(record_metadata - 'epoch', \"timestamp\", sessionid, deviceid, activity, windowstart,
                          windowend, samplecount, classifier, revision, agentid)::text, confidence, avg_magnitude
                     FROM processed_data.user_activity_processed WHERE revision > 0 ORDER BY 1";
        self.reader.rows(sql).iter().map(|row| (row.get(0), [row.get(1), row.get(2)])).collect()
    }
}

/// What both reports tell.
fn without_place(report: &Value) -> Value {
    let mut report = report.clone();
    for key in ["warehouse", "examples"] {
        report.as_object_mut().unwrap().remove(key);
    }
    report
}

#[test]
#[ignore = "needs kafka, postgres and python"]
fn a_whole_warehouse_is_computed_anew_as_gaitway_does_it() {
    let filled = Filled::by(&["har/motionsense/ms05", "golden/late/pushes.ndjson.gz"]);
    let (by_spark, by_gaitway) = (Filling::of(&filled, "spark"), Filling::of(&filled, "gaitway"));
    let windows = filled.told.len() as u64;
    assert!(windows > 600);

    let same = by_spark.job(&filled, 0, &[]);
    assert_eq!((same["windows"].as_u64(), same["changes"].as_u64()), (Some(windows), Some(0)), "{same}");

    // A run that is under way keeps others from writing.
    by_spark.reader.run(&format!("BEGIN; SELECT pg_advisory_xact_lock({})", 0x6761_6974_7265_636c_i64));
    let refused = by_gaitway_refused(&by_spark);
    assert!(refused.contains("another run writes revisions"), "{refused}");
    by_spark.reader.run("COMMIT");

    let other = ["--thresholds", OTHER, "--write"];
    let written = by_spark.job(&filled, 0, &other);
    assert_eq!(written["written"].as_u64(), Some(windows), "{written}");
    let expected = by_gaitway.gaitway(0, &[&["reclassify"], &other[..]].concat());
    assert_eq!(without_place(&written), without_place(&expected));
    let (revisions, expected) = (by_spark.revisions(), by_gaitway.revisions());
    assert_eq!(revisions.len() as u64, windows);
    for (revision, expected) in revisions.iter().zip(&expected) {
        assert_eq!(revision.0, expected.0);
        let near = |at: usize| (revision.1[at] - expected.1[at]).abs() <= 1e-12 * expected.1[at];
        assert!(near(0) && near(1), "{revision:?} is not {expected:?}");
    }

    let again = by_spark.job(&filled, 0, &other);
    assert_eq!((again["changes"].as_u64(), again["written"].as_u64()), (Some(0), Some(0)), "{again}");
    assert_eq!(by_spark.reader.number(WINDOWS) as u64, 2 * windows);
    // Each sees the other's revisions as its own.
    let agreed = by_spark.gaitway(0, &["reclassify", "--thresholds", OTHER]);
    assert_eq!((agreed["windows"].as_u64(), agreed["changes"].as_u64()), (Some(windows), Some(0)), "{agreed}");
    let audit = by_spark.gaitway(0, &["audit"]);
    let counted: u64 = audit["sessions"].as_array().unwrap().iter().map(|s| s["windows"].as_u64().unwrap()).sum();
    assert_eq!(counted, windows, "only what agents told: {audit}");
}

fn by_gaitway_refused(filling: &Filling) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
    let output = command.args(["reclassify", "--config", &filling.config, "--write"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    String::from_utf8(output.stderr).unwrap()
}
