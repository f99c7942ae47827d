//! Seeing what flows, over real processes: tail, audit and the relay's agents.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
#[path = "seeing/in_sql.rs"]
mod in_sql;
#[path = "../sink/tests/postgres_server/mod.rs"]
mod postgres_server;

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use harness::kafka;
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::warehouse::{await_drained, count};
use harness::{await_that, http};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

const SILENT: &str = "[agent.windows]\nsilence = \"300ms\"\n";

fn gaitway(args: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `gaitway tail` shows of what is there.
fn tailed(args: &[&str]) -> Vec<Value> {
    let (code, shown, said) = gaitway(&[&["tail", "--no-follow", "--json"], args].concat());
    assert_eq!((code, said.as_str()), (Some(0), ""));
    lines(&shown)
}

fn readings(pushed: &Pushed) -> usize {
    pushed.values().map(Vec::len).sum()
}

fn silent(dir: &Path) -> String {
    let path = dir.join("silent.toml");
    std::fs::write(&path, SILENT).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn what_was_pushed_is_seen_in_the_warehouse_and_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut up = Process::up(&data, &["--config", &silent(dir.path())]);
    let url = up.push_url();
    let phones = [Phone::new(1, 3), Phone::new(2, 3)];
    let mut pushed = [Pushed::new(), Pushed::new()];
    push(&url, &phones[0], 0..25, &mut pushed[0]);
    push(&url, &phones[1], (0..20).filter(|id| *id != 7), &mut pushed[1]);
    await_drained(&data.join("agent/spool.db"));
    let data_dir = data.to_str().unwrap();
    let warehouse = data.join("warehouse.db");

    let raw = tailed(&["raw", "--data-dir", data_dir]);
    assert_eq!(raw.len(), readings(&pushed[0]) + readings(&pushed[1]));
    let of_one = tailed(&["raw", "--data-dir", data_dir, "--device", "phone-1", "--session", "session"]);
    assert_eq!(of_one.len(), readings(&pushed[0]));
    assert!(of_one.iter().all(|row| row["deviceId"] == "phone-1" && row["RECORD_METADATA"]["stream"] == "raw"));
    let first = &pushed[0][&0][0];
    let shown = of_one.iter().find(|row| row["messageId"] == 0 && row["readingIndex"] == 0).unwrap();
    assert_eq!((shown["x"].as_f64(), shown["timestamp"].as_i64()), (Some(first.xyz[0]), Some(first.time)));
    let windows = count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED");
    assert!(windows > 0);
    assert_eq!(tailed(&["activity", "--data-dir", data_dir]).len() as i64, windows);
    assert_eq!(tailed(&["activity", "--data-dir", data_dir, "-n", "2"]).len(), 2);
    assert_eq!(tailed(&["gaps", "--data-dir", data_dir]).len(), 0);

    let (code, shown, said) = gaitway(&["audit", "--data-dir", data_dir, "--json"]);
    assert_eq!(code, Some(0), "{shown}{said}");
    let report: Value = serde_json::from_str(&shown).unwrap();
    let sessions = report["sessions"].as_array().unwrap();
    let accepted: u64 = sessions.iter().map(|line| line["accepted"].as_u64().unwrap()).sum();
    assert_eq!(accepted as usize, raw.len());
    assert_eq!((&sessions[0]["lostByPhone"], &sessions[1]["lostByPhone"]), (&0.into(), &1.into()));
    let told: u64 = sessions.iter().map(|line| line["windows"].as_u64().unwrap()).sum();
    assert_eq!(told as i64, windows);
    let (code, text, _) = gaitway(&["audit", "--data-dir", data_dir]);
    assert!(code == Some(0) && text.contains("adds up: 2 sessions"), "{text}");
    assert!(up.terminate(Signal::SIGTERM).success());

    // A copy in which one row is gone and another is twice.
    let copy = dir.path().join("copy.db");
    std::fs::copy(&warehouse, &copy).unwrap();
    let connection = rusqlite::Connection::open(&copy).unwrap();
    connection.execute("DELETE FROM ACTIVITY_RECORDS WHERE rowid = 17", []).unwrap();
    let columns = "RECORD_METADATA, messageId, sessionId, deviceId";
    let again =
        format!("INSERT INTO ACTIVITY_RECORDS ({columns}) SELECT {columns} FROM ACTIVITY_RECORDS WHERE rowid = 20");
    connection.execute(&again, []).unwrap();
    let device = |row: i64| -> String {
        let sql = "SELECT deviceId FROM ACTIVITY_RECORDS WHERE rowid = ?1";
        connection.query_row(sql, [row], |row| row.get(0)).unwrap()
    };
    let (gone, twice) = (device(16).replace("phone", "session"), device(20).replace("phone", "session"));
    let copy = copy.to_str().unwrap();
    let (code, text, said) = gaitway(&["audit", "--data-dir", data_dir, "--warehouse", copy]);
    assert_eq!(code, Some(1), "{text}{said}");
    assert!(
        text.contains(&format!("1 reading of session {gone} (")) && text.contains("nor the warehouse has it"),
        "{text}"
    );
    assert!(text.contains(&format!("1 reading of session {twice} (")) && text.contains("more than once"), "{text}");
    assert!(text.ends_with("does not add up: 2 mistakes\n"), "{text}");

    let missing = dir.path().join("none.db");
    let (code, text, _) = gaitway(&["audit", "--data-dir", data_dir, "--warehouse", missing.to_str().unwrap()]);
    assert!(code == Some(2) && text.contains("not asked: the warehouse"), "{text}");
}

#[test]
fn what_waits_in_the_spool_is_seen_there_and_is_no_mistake() {
    let dir = tempfile::tempdir().unwrap();
    // Nobody answers there.
    let mut agent = Process::agent(dir.path(), "mqtt://127.0.0.1:1", &[]);
    let url = agent.agent_push_url();
    let (phone, mut pushed) = (Phone::new(3, 5), Pushed::new());
    push(&url, &phone, 0..30, &mut pushed);
    let data_dir = dir.path().to_str().unwrap();
    let at = ["--at", "agent", "--data-dir", data_dir];
    let raw = tailed(&[&["raw"], &at[..]].concat());
    assert_eq!(raw.len(), readings(&pushed));
    let places: Vec<_> = raw.iter().map(|row| row["RECORD_METADATA"]["seq"].as_u64().unwrap()).collect();
    assert!(places.is_sorted() && places.last() == Some(&30));
    assert_eq!(tailed(&[&["raw", "-n", "7"], &at[..]].concat()), raw[raw.len() - 7..]);
    let (code, text, said) = gaitway(&["audit", "--data-dir", data_dir]);
    assert!(code == Some(0) && text.contains(&format!("{} still in the spool", raw.len())), "{text}{said}");

    // Followed from now on, until Ctrl-C.
    let mut child = Command::new(env!("CARGO_BIN_EXE_gaitway"))
        .args(["tail", "raw", "-n", "1", "--at", "agent", "--data-dir", data_dir])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines();
    let last: Value = serde_json::from_str(&shown.next().unwrap().unwrap()).unwrap();
    assert_eq!(&last, raw.last().unwrap());
    push(&url, &phone, 30..31, &mut pushed);
    let next: Value = serde_json::from_str(&shown.next().unwrap().unwrap()).unwrap();
    assert_eq!((&next["messageId"], &next["readingIndex"]), (&30.into(), &0.into()));
    kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(0));

    // Whoever reads has enough.
    let mut child = Command::new(env!("CARGO_BIN_EXE_gaitway"))
        .args(["tail", "raw", "--from-start", "--at", "agent", "--data-dir", data_dir])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(child.stdout.take().unwrap()).lines();
    shown.next().unwrap().unwrap();
    drop(shown);
    push(&url, &phone, 31..33, &mut pushed);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn where_there_is_nothing_it_is_said_what_to_name() {
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    for (command, status) in [(vec!["tail", "raw"], 1), (vec!["audit"], 2)] {
        let (code, _, said) = gaitway(&[&command[..], &["--data-dir", data_dir]].concat());
        assert_eq!(code, Some(status), "{command:?}");
        assert!(said.contains("--kafka") && said.contains("warehouse.db"), "{said}");
    }
}

#[test]
#[ignore = "needs kafka"]
fn in_kafka_what_was_pushed_is_seen_and_adds_up_and_an_agent_that_is_away_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let own = kafka::unique("seeing");
    let admin = {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        free.local_addr().unwrap().to_string()
    };
    let config = dir.path().join("relay.toml");
    let topics =
        ["raw", "activity", "gaps", "progress", "dead_letter"].map(|topic| format!("{topic} = \"{own}-{topic}\"\n"));
    let text = format!(
        "mqtt = \"127.0.0.1:0\"\nadmin = \"{admin}\"\n[kafka]\nbrokers = \"{}\"\n[kafka.topics]\n{}",
        kafka::broker(),
        topics.concat()
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_str().unwrap();
    let mut relay = Process::start(&["relay", "--config", config]);
    let address = format!("mqtt://{}", relay.mqtt_address());
    let start = |name: &str| Process::agent(&dir.path().join(name), &address, &["--agent-id", name]);

    let (mut here, mut away) = (start("here"), start("away"));
    let (phones, mut pushed) = ([Phone::new(1, 3), Phone::new(2, 3)], [Pushed::new(), Pushed::new()]);
    push(&here.agent_push_url(), &phones[0], 0..20, &mut pushed[0]);
    push(&away.agent_push_url(), &phones[1], 0..10, &mut pushed[1]);
    for name in ["here", "away"] {
        let spool = dir.path().join(name).join("spool.db");
        await_that("the spool is drained", || count(&spool, "SELECT count(*) FROM raw") == 0);
    }
    assert!(away.terminate(Signal::SIGTERM).success());

    let raw = tailed(&["raw", "--at", "kafka", "--config", config]);
    assert_eq!(raw.len(), readings(&pushed[0]) + readings(&pushed[1]));
    assert!(raw.iter().all(|row| row["RECORD_METADATA"]["offset"].is_i64()));
    let of_one = tailed(&["raw", "--at", "kafka", "--config", config, "--device", "phone-2"]);
    assert_eq!(of_one.len(), readings(&pushed[1]));

    let data_dir = dir.path().join("here");
    let (code, text, said) = gaitway(&["audit", "--config", config, "--data-dir", data_dir.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}{said}");
    assert!(text.contains("adds up: 2 sessions"), "{text}");

    let agents = |admin: &str| {
        let (code, shown, said) = gaitway(&["relay", "agents", "--config", config, "--admin", admin, "--json"]);
        assert_eq!((code, said.as_str()), (Some(0), ""));
        serde_json::from_str::<Value>(&shown).unwrap()
    };
    await_that("the relay knows who is away", || {
        let told = agents(&admin);
        told[0]["agent"] == "away" && told[0]["state"] == "away" && told[1]["state"] == "here"
    });
    let told = agents(&admin);
    assert_eq!((&told[0]["backlogFrames"], &told[1]["backlogFrames"]), (&0.into(), &0.into()));

    // After a restart only Kafka knows of the one that is away.
    assert!(relay.terminate(Signal::SIGTERM).success());
    let relay = Process::start(&["relay", "--config", config]);
    await_that("the relay answers", || http::get(&format!("http://{admin}/agents")).is_ok());
    let told = agents(&admin);
    assert_eq!((&told[0]["agent"], &told[0]["state"]), (&"away".into(), &"unheard".into()));
    assert!(told[0]["lastContact"].as_str().unwrap().starts_with("20"));
    assert!(relay.terminate(Signal::SIGTERM).success());
    let (code, _, said) = gaitway(&["relay", "agents", "--config", config]);
    assert!(code == Some(1) && said.contains("no relay answers at"), "{said}");
}
