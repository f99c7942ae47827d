//! `gaitway doctor`, over real processes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::path::Path;
use std::process::Command;

use harness::kafka;
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::warehouse::await_drained;
use nix::sys::signal::Signal;
use serde_json::Value;

fn doctor(args: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gaitway")).arg("doctor").args(args).output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

/// The grades of the lines about `what`.
fn grades(report: &Value, what: &str) -> Vec<String> {
    let lines = report["checks"].as_array().unwrap().iter();
    let about = lines.filter(|line| line["what"].as_str().unwrap().starts_with(what));
    about.map(|line| line["grade"].as_str().unwrap().to_owned()).collect()
}

fn report(args: &[&str]) -> Value {
    let (_, shown) = doctor(&[args, &["--json"]].concat());
    serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

fn write(dir: &Path, text: &str) -> String {
    let path = dir.join("some.toml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_cannot_be_reached_fails_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let (code, shown) = doctor(&["--data-dir", data_dir]);
    assert_eq!(code, Some(0), "{shown}");
    assert!(shown.starts_with("warn  warehouse ") && shown.contains("gaitway up"), "{shown}");
    assert!(!dir.path().join("warehouse.db").exists());

    let sink = "warehouse = \"postgres\"\n[kafka]\nbrokers = \"127.0.0.1:1\"\n[kafka.properties]\n\
                \"socket.connection.setup.timeout.ms\" = \"1000\"\n[postgres]\nurl = \"postgres://u:hush@127.0.0.1:1/x\"\n";
    let (code, shown) = doctor(&["--config", &write(dir.path(), sink)]);
    assert_eq!(code, Some(1), "{shown}");
    assert!(shown.contains("fail  Kafka 127.0.0.1:1 ") && shown.contains("kafka.brokers"), "{shown}");
    assert!(shown.contains("fail  PostgreSQL database x at 127.0.0.1:1 ") && !shown.contains("hush"), "{shown}");
    assert!(shown.ends_with("\n2 to mend, 0 to know of, 0 fine\n"), "{shown}");

    let (code, shown) = doctor(&["--config", &write(dir.path(), "colour = 1\n")]);
    assert!(code == Some(2) && shown.contains("neither a relay's nor a sink's"), "{shown}");
}

#[test]
#[ignore = "needs kafka"]
fn a_whole_path_is_in_order_from_before_it_starts_until_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let (broker, data) = (kafka::broker(), dir.path().join("data"));
    let data_dir = data.to_str().unwrap();
    let names = ["raw", "activity", "gaps", "progress", "dead_letter"].map(|name| (name, kafka::unique(name)));
    let topics = names.each_ref().map(|(name, topic)| format!("{name} = \"{topic}\"\n")).concat();
    let group = kafka::unique("group");
    let kafka = |table: &str| format!("[{table}]\nbrokers = \"{broker}\"\n[{table}.topics]\n{topics}");
    let config = format!("{}[sink]\ngroup = \"{group}\"\n{}", kafka("relay.kafka"), kafka("sink.kafka"));
    let config = write(dir.path(), &config);
    let args = ["--config", &config, "--data-dir", data_dir];

    let before = report(&args);
    assert_eq!(before["worst"], "warn", "{before}");
    for (_, topic) in &names {
        assert_eq!(grades(&before, &format!("topic {topic}")), ["warn"], "{before}");
    }

    let mut up = Process::up(&data, &["--config", &config]);
    push(&up.push_url(), &Phone::new(1, 3), 0..25, &mut Pushed::new());
    await_drained(&data.join("agent/spool.db"));
    harness::await_that("the sink has joined", || grades(&report(&args), &format!("sinks of group {group}")) == ["ok"]);
    let running = report(&args);
    assert_eq!(grades(&running, &format!("relay of {}", names[3].1)), ["ok"], "{running}");
    assert_eq!(grades(&running, &format!("Kafka {broker}")), ["ok"], "{running}");
    assert!(grades(&running, "warehouse").iter().all(|grade| grade == "ok"), "{running}");
    assert!(!grades(&running, "").iter().any(|grade| grade == "fail"), "{running}");
    // One broker: an acknowledged record may be lost with its disk.
    assert_eq!(grades(&running, &format!("topic {}", names[0].1)), ["warn"], "{running}");
    assert!(up.terminate(Signal::SIGTERM).success());
    let stopped = report(&args);
    assert_eq!(grades(&stopped, &format!("sinks of group {group}")), ["warn"], "{stopped}");
    assert!(!grades(&stopped, "").iter().any(|grade| grade == "fail"), "{stopped}");

    // A warehouse of another, in the same group.
    let other = dir.path().join("other");
    let up = Process::up(&other, &["--config", &config]);
    let args = ["--config", &config, "--data-dir", other.to_str().unwrap()];
    harness::await_that("the partitions are told that a sink stops", || {
        grades(&report(&args), &format!("partition {}", names[0].1)) == ["fail"]
    });
    let (code, shown) = doctor(&args);
    assert!(code == Some(1) && shown.contains("another warehouse needs a `group` of its own"), "{shown}");
    assert!(up.terminate(Signal::SIGTERM).success());
}
