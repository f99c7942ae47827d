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

use std::collections::{BTreeMap, BTreeSet};
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

    /// `reclassify.py` over it.
    fn command(&self, filled: &Filled, more: &[&str]) -> Command {
        let login: tokio_postgres::Config = self.database.url.parse().unwrap();
        let [tokio_postgres::config::Host::Tcp(host), ..] = login.get_hosts() else { panic!("a host is expected") };
        let url = format!("jdbc:postgresql://{host}:{}/{}", login.get_ports()[0], self.database.name);
        let args = ["postgres", "--url", &url, "--partitions", "3", "--json"];
        let mut job = jobs::submit(filled.house.dir.path(), "reclassify.py", &[&args[..], more].concat());
        job.env("PGUSER", login.get_user().unwrap());
        job.env("PGPASSWORD", std::str::from_utf8(login.get_password().unwrap_or_default()).unwrap());
        job
    }

    /// What it tells.
    fn job(&self, filled: &Filled, more: &[&str]) -> Value {
        serde_json::from_str(&jobs::ended(&mut self.command(filled, more), 0)).unwrap()
    }

    /// Kills a run when all is staged and nothing else is left to do than to add it.
    fn kill_at_work(&self, filled: &Filled, more: &[&str]) {
        self.reader.run("BEGIN; LOCK TABLE processed_data.user_activity_processed IN SHARE MODE");
        let mut job = jobs::Running::start(self.command(filled, more), filled.house.dir.path());
        let waits = "SELECT count(*) FROM pg_locks AS l JOIN pg_stat_activity AS a USING (pid)
                      WHERE NOT l.granted AND a.query LIKE '%INSERT INTO processed_data.user_activity_processed%'
                        AND a.datname = current_database()";
        await_that("the run adds its rows", || {
            job.assert_runs();
            self.reader.number(waits) > 0
        });
        job.kill();
        self.reader.run("COMMIT");
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
    let filled = Filled::by(&["har/motionsense/ms02", "golden/late/pushes.ndjson.gz"]);
    let (by_spark, by_gaitway) = (Filling::of(&filled, "spark"), Filling::of(&filled, "gaitway"));
    let windows = filled.told.len() as u64;
    assert!(windows > 600);

    let same = by_spark.job(&filled, &[]);
    assert_eq!((same["windows"].as_u64(), same["changes"].as_u64()), (Some(windows), Some(0)), "{same}");

    // A run that is under way keeps others from writing.
    by_spark.reader.run(&format!("BEGIN; SELECT pg_advisory_xact_lock({})", 0x6761_6974_7265_636c_i64));
    let refused = jobs::refused(&mut by_spark.command(&filled, &["--write"]));
    assert!(refused.contains("another run writes revisions"), "{refused}");
    by_spark.reader.run("COMMIT");

    let other = ["--thresholds", OTHER, "--write"];
    by_spark.kill_at_work(&filled, &other);
    assert_eq!(by_spark.reader.number(WINDOWS) as u64, windows, "a run that was killed wrote nothing");

    let written = by_spark.job(&filled, &other);
    assert_eq!(written["written"].as_u64(), Some(windows), "{written}");
    let left = "SELECT count(*) FROM pg_class WHERE relname LIKE 'gaitway\\_reclassified%'";
    assert_eq!(by_spark.reader.number(left), 0, "the killed run's table is dropped too");
    let expected = by_gaitway.gaitway(0, &[&["reclassify"], &other[..]].concat());
    assert_eq!(without_place(&written), without_place(&expected));
    let (revisions, expected) = (by_spark.revisions(), by_gaitway.revisions());
    assert_eq!(revisions.len() as u64, windows);
    for (revision, expected) in revisions.iter().zip(&expected) {
        assert_eq!(revision.0, expected.0);
        let near = |at: usize| (revision.1[at] - expected.1[at]).abs() <= 1e-12 * expected.1[at];
        assert!(near(0) && near(1), "{revision:?} is not {expected:?}");
    }

    let again = by_spark.job(&filled, &other);
    assert_eq!((again["changes"].as_u64(), again["written"].as_u64()), (Some(0), Some(0)), "{again}");
    assert_eq!(by_spark.reader.number(WINDOWS) as u64, 2 * windows);
    // Each sees the other's revisions as its own.
    let agreed = by_spark.gaitway(0, &["reclassify", "--thresholds", OTHER]);
    assert_eq!((agreed["windows"].as_u64(), agreed["changes"].as_u64()), (Some(windows), Some(0)), "{agreed}");
    let audit = by_spark.gaitway(0, &["audit"]);
    let counted: u64 = audit["sessions"].as_array().unwrap().iter().map(|s| s["windows"].as_u64().unwrap()).sum();
    assert_eq!(counted, windows, "only what agents told: {audit}");
}

#[test]
#[ignore = "needs kafka and python"]
fn a_topic_is_computed_anew_into_a_topic_or_into_files() {
    let filled = Filled::by(&["golden/late/pushes.ndjson.gz"]);
    let (into, dir) = (kafka::unique("anew"), filled.house.dir.path());
    house::create(&into);
    let (raw, activity) = (filled.house.topic("raw"), filled.house.topic("activity"));
    let run = |more: &[&str]| -> Value {
        let args = ["kafka", "--brokers", kafka::broker(), "--readings", &raw, "--windows", &activity];
        let rule = ["--thresholds", OTHER, "--json"];
        let mut job = jobs::submit(dir, "reclassify.py", &[&args[..], &rule, more].concat());
        serde_json::from_str(&jobs::ended(&mut job, 0)).unwrap()
    };
    let windows = filled.told.len() as u64;
    let written = run(&["--topic", &into]);
    assert_eq!((written["windows"].as_u64(), written["written"].as_u64()), (Some(windows), Some(windows)), "{written}");
    let again = run(&["--topic", &into]);
    assert_eq!((again["changes"].as_u64(), again["written"].as_u64()), (Some(windows), Some(0)), "{again}");
    let places = ["kafka", "--brokers", kafka::broker(), "--readings", &raw, "--windows", &activity, "--topic", &into];
    let third = [&places[..], &["--thresholds", "1/7/20"]].concat();
    let refused = jobs::refused(&mut jobs::submit(dir, "reclassify.py", &third));
    assert!(refused.contains("each rule needs a place of its own"), "{refused}");
    let found = told(&into);
    assert_eq!(found.keys().collect::<Vec<_>>(), filled.told.keys().collect::<Vec<_>>());
    for (key, window) in &found {
        let mut expected = filled.told[key].clone();
        expected["revision"] = 1.into();
        expected["classifier"] = format!("threshold({OTHER})").into();
        for by_rule in ["activity", "confidence"] {
            expected[by_rule] = window[by_rule].clone();
        }
        assert_eq!(*window, expected, "{key:?}");
    }
    // A reading next to the last time of all: its session is within what is asked for.
    let wild = filled.house.path("wild.ndjson");
    let reading = |seq: u64, time: i64| {
        let name = format!(r#"{{"ordinal":1,"epoch":"00000000000000aa","seq":{seq},"index":0}}"#);
        format!(
            r#"{{"RECORD_METADATA":{name},"messageId":{seq},"sessionId":"s","deviceId":"d","agentId":"a",
                "sensorType":"accelerometer","x":1.0,"y":2.0,"z":3.0,"timestamp":{time},"receivedAt":"2026-01-31T09:00:00Z"}}"#
        )
        .replace('\n', "")
    };
    let times = [i64::MAX - 1].into_iter().chain((0..60).map(|at| 1_769_849_900_000_000_000 + at * 1_000_000_000));
    let lines: Vec<String> = (1..).zip(times).map(|(seq, time)| reading(seq, time)).collect();
    std::fs::write(&wild, lines.join("\n")).unwrap();
    let none = filled.house.path("none.ndjson");
    std::fs::write(&none, "").unwrap();
    let [wild, none] = [&wild, &none].map(|path| path.to_str().unwrap());
    let args = ["files", "--readings", wild, "--windows", none, "--from", "2020-01-01", "--json"];
    let anew: Value = serde_json::from_str(&jobs::ended(&mut jobs::submit(dir, "reclassify.py", &args), 1)).unwrap();
    assert_eq!(anew["sessions"], 1, "{anew}");
    assert!(anew["changes"].as_u64() > Some(10), "{anew}");
    let out = filled.house.path("out");
    assert_eq!(run(&["--out", out.to_str().unwrap()])["written"].as_u64(), Some(windows));
    let again = run(&["--out", out.to_str().unwrap()]);
    assert_eq!(again["written"].as_u64(), Some(0), "{again}");
    let places = [&places[..7], &["--out", out.to_str().unwrap(), "--thresholds", "1/7/20"]].concat();
    let refused = jobs::refused(&mut jobs::submit(dir, "reclassify.py", &places));
    assert!(refused.contains("each rule needs a place of its own"), "{refused}");
    let lines: Vec<Value> = std::fs::read_dir(&out)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "txt"))
        .flat_map(|path| std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    assert_eq!(lines.len() as u64, windows);
    for line in lines {
        let mut row = line.as_object().unwrap().clone();
        assert_eq!(row.remove("RECORD_METADATA").unwrap()["agent"], "reclassify");
        let key = ["deviceId", "windowStart"].map(|key| row[key].as_str().unwrap().to_owned());
        assert_eq!(Value::Object(row), found[&key.into()]);
    }
}

/// Windows in a topic. One that is there more than once has one name, and is the same each time.
fn told(topic: &str) -> BTreeMap<(String, String), Value> {
    let records = topic::read(kafka::broker(), topic);
    let all = records.iter().map(|record| (topic::headers(record), record.payload().map(<[u8]>::to_vec)));
    let (all, told): (BTreeSet<_>, BTreeMap<_, _>) = (all.collect(), house::windows(&records).collect());
    assert_eq!(told.len(), all.len(), "two records of {topic} are of one window");
    told
}

#[test]
#[ignore = "needs kafka and python"]
fn a_streams_windows_are_the_agents() {
    let filled = Filled::by(&["har/motionsense/ms02", "golden/late/pushes.ndjson.gz"]);
    let (into, dir) = (kafka::unique("stream"), filled.house.dir.path());
    let raw = filled.house.topic("raw");
    let checkpoint = filled.house.path("checkpoint").to_str().unwrap().to_owned();
    // Micro-batches end in the midst of messages.
    let args = ["--brokers", kafka::broker(), "--topic", &raw, "--into", &into, "--checkpoint", &checkpoint];
    let small = ["--at-once", "20011", "--idle", "8s", "--trigger", "500ms"];
    let command = |more: &[&str]| jobs::submit(dir, "stream.py", &[&args[..], &small, more].concat());
    let refused = jobs::refused(&mut command(&[]));
    assert!(refused.contains("there is no topic"), "{refused}");
    house::create(&into);
    let properties = filled.house.path("kafka.properties");
    let with = |lines: &str| {
        std::fs::write(&properties, lines).unwrap();
        jobs::refused(&mut command(&["--kafka-properties", properties.to_str().unwrap()]))
    };
    let refused = with("# of the client\n\nsecurity.protocol = CARRIER_PIGEON\n");
    assert!(refused.contains("does not take its properties") && refused.contains("CARRIER_PIGEON"), "{refused}");
    let refused = with("a password alone\n");
    assert!(refused.contains("kafka.properties:1: KEY=VALUE is expected"), "{refused}");
    assert!(!refused.contains("password"), "{refused}");
    let mut lame = command(&[]);
    lame.env("SPARK_CONF_DIR", dir);
    std::fs::write(filled.house.path("spark-defaults.conf"), "spark.driver.port many\n").unwrap();
    let refused = jobs::refused(&mut lame);
    assert!(refused.contains("Spark does not start"), "{refused}");
    std::fs::write(&properties, "client.id=gaitway-stream\n").unwrap();
    let configured = || command(&["--kafka-properties", properties.to_str().unwrap()]);
    let mut job = jobs::Running::start(configured(), dir);
    await_that("the stream tells windows", || {
        job.assert_runs();
        !topic::read(kafka::broker(), &into).is_empty()
    });
    job.kill();
    let mut job = jobs::Running::start(configured(), dir);
    await_that("the stream told all windows", || {
        job.assert_runs();
        told(&into).len() >= filled.told.len()
    });
    job.terminate();
    let found = told(&into);
    assert_eq!(found.keys().collect::<Vec<_>>(), filled.told.keys().collect::<Vec<_>>());
    for (key, window) in &found {
        let mut expected = filled.told[key].clone();
        expected["revision"] = 1.into();
        assert_eq!(*window, expected, "{key:?}");
    }
    // What is open there belongs to the parameters that it was opened with.
    let refused = jobs::refused(&mut command(&["--thresholds", OTHER]));
    assert!(refused.contains("is of other parameters (thresholds 2/8/20 there, 1/9.5/20 here)"), "{refused}");
}

/// Spark's windows of two people, by device and end, up to `watermark`.
fn golden(watermark: &str) -> BTreeMap<(String, String), (String, f64)> {
    let text = std::fs::read_to_string(data("golden/motionsense/windows.csv")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    let closed = rows.filter(|row| ["phone-ms02", "phone-ms05"].contains(&row[2].as_str()) && *row[0] <= *watermark);
    closed.map(|row| ((row[2].clone(), row[0].clone()), (row[3].clone(), row[4].parse().unwrap()))).collect()
}

/// What a query's watermark is after all readings of `topic`, as the tutorial spells times.
fn watermark(topic: &str) -> String {
    let times = topic::read(kafka::broker(), topic).into_iter().filter_map(|message| {
        let value: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
        value["timestamp"].as_i64().filter(|_| value["sensorType"] == "accelerometer")
    });
    gaitway_proto::schema::seed_time(times.max().unwrap() - 10_000_000_000)
}

#[test]
#[ignore = "needs kafka and python"]
fn the_tutorials_job_gives_sparks_windows() {
    let filled = Filled::by(&["har/motionsense/ms02", "har/motionsense/ms05"]);
    let raw = filled.house.topic("raw");
    let golden = golden(&watermark(&raw));
    assert!(golden.len() > 1000);
    let run = |isolation: &str| {
        let (into, dir) = (kafka::unique("tutorial"), filled.house.dir.path());
        house::create(&into);
        let checkpoint = dir.join(isolation);
        let places = ["--topic", &raw, "--into", &into, "--checkpoint", checkpoint.to_str().unwrap()];
        let args = [&["--brokers", kafka::broker(), "--isolation", isolation, "--once"], &places[..]].concat();
        jobs::ended(&mut jobs::submit(dir, "tutorial.py", &args), 0);
        let windows = topic::read(kafka::broker(), &into).into_iter().map(|message| {
            let value: Value = serde_json::from_slice(message.payload().unwrap()).unwrap();
            let text = |key: &str| value[key].as_str().unwrap().to_owned();
            let window = (text("activity"), value["avg_magnitude"].as_f64().unwrap());
            ((text("deviceId"), text("timestamp")), window)
        });
        let windows: Vec<_> = windows.collect();
        let found: BTreeMap<_, _> = windows.iter().cloned().collect();
        assert_eq!(found.len(), windows.len(), "each is there once");
        found
    };
    let differ = |found: &BTreeMap<(String, String), (String, f64)>| -> Vec<(String, String)> {
        assert_eq!(found.keys().collect::<Vec<_>>(), golden.keys().collect::<Vec<_>>());
        let is_right = |(activity, mean): &(String, f64), (expected, wanted): &(String, f64)| {
            activity == expected && (mean - wanted).abs() <= 1e-9 * wanted
        };
        let wrong = golden.iter().filter(|(key, expected)| !is_right(&found[key], expected));
        wrong.map(|(key, _)| key.clone()).collect()
    };
    assert_eq!(differ(&run("read_committed")), Vec::new());
    // What the relay undid would count otherwise.
    let wrong = differ(&run("read_uncommitted"));
    assert!(!wrong.is_empty() && wrong.iter().all(|(device, _)| device == "phone-ms02"), "{wrong:?}");
}
