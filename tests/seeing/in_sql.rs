//! Warehouses that are asked in SQL: what went through Kafka into PostgreSQL and into the emulator of Snowflake.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use gaitway_emulator::{self as emulator, Emulator};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::{gaitway, readings, tailed};
use crate::harness::phone::{Phone, Pushed, push};
use crate::harness::process::Process;
use crate::harness::{await_that, kafka, warehouse::await_drained};
use crate::postgres_server::Database;

/// Agent and relay towards topics of their own.
struct Way {
    dir: tempfile::TempDir,
    /// `[kafka]` and its topics.
    kafka: String,
    _relay: Process,
    agent: Process,
}

impl Way {
    fn new(name: &str) -> Self {
        let (dir, own) = (tempfile::tempdir().unwrap(), kafka::unique(name));
        let topics = ["raw", "activity", "gaps", "progress", "dead_letter"];
        let topics = topics.map(|topic| format!("{topic} = \"{own}-{topic}\"\n")).concat();
        let brokers = kafka::broker();
        let kafka =
            format!("[kafka]\nbrokers = \"{brokers}\"\n[kafka.create]\npartitions = 2\n[kafka.topics]\n{topics}");
        let relay_file = dir.path().join("relay.toml");
        std::fs::write(&relay_file, format!("mqtt = \"127.0.0.1:0\"\n{kafka}")).unwrap();
        let mut relay = Process::start(&["relay", "--config", relay_file.to_str().unwrap()]);
        let agent_file = dir.path().join("agent.toml");
        std::fs::write(&agent_file, "[windows]\nsilence = \"300ms\"\n").unwrap();
        let address = format!("mqtt://{}", relay.mqtt_address());
        let agent = Process::agent(&dir.path().join("agent"), &address, &["--config", agent_file.to_str().unwrap()]);
        Self { dir, kafka, _relay: relay, agent }
    }

    /// The file of a sink into `warehouse`, and more of its configuration.
    fn sink_file(&self, name: &str, warehouse: &str, more: &str) -> PathBuf {
        let file = self.dir.path().join(name);
        let group = kafka::unique(warehouse);
        let text = format!("group = \"{group}\"\nwarehouse = \"{warehouse}\"\n{}{more}", self.kafka);
        std::fs::write(&file, text).unwrap();
        file
    }

    fn push(&mut self, phone: &Phone, messages: std::ops::Range<u64>, pushed: &mut Pushed) {
        push(&self.agent.agent_push_url(), phone, messages, pushed);
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("agent")
    }

    /// Waits until all is in Kafka and, as `audit` counts it, in the warehouse; gives the report.
    fn await_stored(&self, sink: &Path) -> Value {
        await_drained(&self.data().join("spool.db"));
        let mut report = Value::Null;
        await_that("everything is in the warehouse", || {
            let (code, shown, said) = self.audit(sink, &["--json"]);
            assert_eq!(code, Some(0), "{shown}{said}");
            report = serde_json::from_str(&shown).unwrap();
            let sessions = report["sessions"].as_array().unwrap();
            sessions.iter().all(|line| line["warehouse"] == line["accepted"])
        });
        report
    }

    fn audit(&self, sink: &Path, more: &[&str]) -> (Option<i32>, String, String) {
        let (data, sink) = (self.data(), sink.to_str().unwrap());
        gaitway(&[&["audit", "--config", sink, "--data-dir", data.to_str().unwrap()], more].concat())
    }
}

fn start_sink(file: &Path) -> Process {
    Process::start(&["sink", "--config", file.to_str().unwrap()])
}

/// By phone: the readings that are there, in the order in which they were found.
fn names(rows: &[Value], phone: &Phone) -> Vec<(u64, u64)> {
    let of_phone = rows.iter().filter(|row| row["deviceId"] == phone.device);
    of_phone.map(|row| (row["messageId"].as_u64().unwrap(), row["readingIndex"].as_u64().unwrap())).collect()
}

/// All that was pushed, in order.
fn due(pushed: &Pushed) -> Vec<(u64, u64)> {
    pushed.iter().flat_map(|(id, readings)| (0..readings.len() as u64).map(move |index| (*id, index))).collect()
}

#[test]
#[ignore = "needs kafka and postgres"]
fn in_postgres_what_was_pushed_is_seen_and_adds_up_and_what_is_not_is_named() {
    let mut way = Way::new("seeing-postgres");
    let database = Database::new();
    let file = way.sink_file("sink.toml", "postgres", &format!("[postgres]\nurl = \"{}\"\n", database.url));
    let sink = start_sink(&file);
    let (phones, mut pushed) = ([Phone::new(1, 3), Phone::new(2, 3)], [Pushed::new(), Pushed::new()]);
    way.push(&phones[0], 0..40, &mut pushed[0]);
    way.push(&phones[1], 0..20, &mut pushed[1]);
    way.push(&phones[1], 21..25, &mut pushed[1]);

    let report = way.await_stored(&file);
    let lines = report["sessions"].as_array().unwrap();
    let stored: Vec<_> = lines.iter().map(|line| line["warehouse"].as_u64().unwrap() as usize).collect();
    assert_eq!(stored, pushed.each_ref().map(readings));
    let reader = database.reader();
    let windows = reader.number("SELECT count(*) FROM processed_data.user_activity_processed");
    assert!(windows > 0);
    assert_eq!(lines.iter().map(|line| line["windows"].as_i64().unwrap()).sum::<i64>(), windows);

    let config = file.to_str().unwrap();
    let raw = tailed(&["raw", "--config", config]);
    for (phone, pushed) in phones.iter().zip(&pushed) {
        assert_eq!(names(&raw, phone), due(pushed), "in the order of a device");
    }
    let first = &pushed[0][&0][0];
    let shown = raw.iter().find(|row| row["deviceId"] == phones[0].device).unwrap();
    assert_eq!((shown["x"].as_f64(), shown["timestamp"].as_i64()), (Some(first.xyz[0]), Some(first.time)));
    assert_eq!(tailed(&["activity", "--config", config]).len() as i64, windows);
    assert_eq!(tailed(&["raw", "--config", config, "-n", "7"]).len(), 7);
    assert_eq!(tailed(&["gaps", "--config", config]).len(), 0);

    // Followed from now on, until Ctrl-C.
    let mut child = Command::new(env!("CARGO_BIN_EXE_gaitway"))
        .args(["tail", "raw", "--at", "warehouse", "-n", "1", "--config", config])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines();
    shown.next().unwrap().unwrap();
    let mut more = Pushed::new();
    way.push(&phones[0], 40..43, &mut more);
    let came: Vec<Value> =
        shown.by_ref().take(readings(&more)).map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect();
    assert_eq!(names(&came, &phones[0]), due(&more));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    way.await_stored(&file);
    assert!(sink.terminate(Signal::SIGTERM).success());

    // One row is gone and another is twice.
    let place = |device: &str, message: u64, index: u64| {
        format!(
            "FROM raw_data.activity_records
              WHERE deviceid = '{device}' AND messageid = {message} AND readingindex = {index}"
        )
    };
    reader.run(&format!("DELETE {}", place(&phones[0].device, 5, 1)));
    reader.run(&format!("INSERT INTO raw_data.activity_records SELECT * {}", place(&phones[1].device, 3, 0)));
    let (code, text, said) = way.audit(&file, &[]);
    assert_eq!(code, Some(1), "{text}{said}");
    let of = |phone: &Phone| format!("1 reading of session {} ({}) is", phone.session, phone.device);
    assert!(text.contains(&format!("{} in Kafka and not in the warehouse", of(&phones[0]))), "{text}");
    assert!(text.contains(&format!("{} more than once in the warehouse", of(&phones[1]))), "{text}");
    assert!(text.ends_with("does not add up: 2 mistakes\n"), "{text}");

    // A user who may write is not one who may read.
    reader.run("DROP ROLE IF EXISTS gaitway_seeing; CREATE ROLE gaitway_seeing LOGIN PASSWORD 'x'");
    let (_, host) = database.url.rsplit_once('@').unwrap();
    let url = format!("[postgres]\nurl = \"postgres://gaitway_seeing:x@{host}\"\n");
    let other = way.sink_file("other.toml", "postgres", &url);
    let (code, text, _) = way.audit(&other, &[]);
    assert!(code == Some(2) && text.contains("does not let user gaitway_seeing read: GRANT"), "{text}");
    reader.run("DROP ROLE gaitway_seeing");
}

#[test]
#[ignore = "needs kafka"]
fn in_snowflake_what_was_pushed_is_seen_and_adds_up() {
    let mut way = Way::new("seeing-snowflake");
    let emulator = Emulator::start(emulator::Options::default()).unwrap();
    let (ca, key) = (way.dir.path().join("ca.pem"), way.dir.path().join("key.pem"));
    emulator.write_ca(&ca).unwrap();
    emulator.write_key(&key).unwrap();
    let snowflake = format!(
        "[snowflake]\nurl = \"{}\"\naccount = \"{}\"\nuser = \"{}\"\ndatabase = \"{}\"\nca_file = \"{}\"\n\
         private_key_file = \"{}\"\n",
        emulator.url(),
        emulator.account(),
        emulator.user(),
        emulator.database(),
        ca.display(),
        key.display()
    );
    let file = way.sink_file("sink.toml", "snowflake", &format!("{snowflake}warehouse = \"GAITWAY_READ\"\n"));
    let sink = start_sink(&file);
    let (phones, mut pushed) = ([Phone::new(1, 3), Phone::new(2, 3)], [Pushed::new(), Pushed::new()]);
    way.push(&phones[0], 0..40, &mut pushed[0]);
    way.push(&phones[1], 0..20, &mut pushed[1]);

    let report = way.await_stored(&file);
    let lines = report["sessions"].as_array().unwrap();
    let stored: Vec<_> = lines.iter().map(|line| line["warehouse"].as_u64().unwrap() as usize).collect();
    assert_eq!(stored, pushed.each_ref().map(readings));
    let windows = emulator.count("PROCESSED_DATA", "USER_ACTIVITY_PROCESSED") as usize;
    assert!(windows > 0);

    let config = file.to_str().unwrap();
    let raw = tailed(&["raw", "--config", config]);
    for (phone, pushed) in phones.iter().zip(&pushed) {
        assert_eq!(names(&raw, phone), due(pushed), "in the order of a device");
    }
    let first = &pushed[0][&0][0];
    let shown = raw.iter().find(|row| row["deviceId"] == phones[0].device).unwrap();
    assert_eq!((shown["x"].as_f64(), shown["timestamp"].as_i64()), (Some(first.xyz[0]), Some(first.time)));
    let activity = tailed(&["activity", "--config", config]);
    assert_eq!(activity.len(), windows);
    assert!(activity.iter().all(|row| row["windowStart"].as_str().unwrap().ends_with('Z')));
    assert_eq!(tailed(&["raw", "--config", config, "-n", "7"]).len(), 7);
    assert!(sink.terminate(Signal::SIGTERM).success());

    // The sink writes without a warehouse, a look needs one.
    let other = way.sink_file("other.toml", "snowflake", &snowflake);
    let (code, text, _) = way.audit(&other, &[]);
    assert!(code == Some(2) && text.contains("set snowflake.warehouse"), "{text}");
}
