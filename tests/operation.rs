//! Running it: signals at bad moments, another name, what the log says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::io::Write as _;
use std::net::TcpStream;
use std::process::Command;
use std::time::{Duration, Instant};

use harness::await_that;
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::warehouse::{assert_exact, count};
use nix::sys::signal::Signal;

#[test]
fn a_signal_ends_it_cleanly_in_the_middle_of_a_push() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Process::up(dir.path(), &[]);
    let url = up.push_url();
    let host = url.strip_prefix("http://").unwrap().split('/').next().unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(b"POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{\"dev").unwrap();
    let _idle = TcpStream::connect(host).unwrap();
    // The agent must have begun to read it.
    std::thread::sleep(Duration::from_millis(200));
    let asked = Instant::now();
    assert!(up.terminate(Signal::SIGINT).success());
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    drop(stream);
}

#[test]
fn a_drained_agent_can_be_renamed_and_one_that_is_not_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let [agent_dir, relay_dir] = ["agent", "relay"].map(|name| dir.path().join(name));
    let mut relay = Process::up(&relay_dir, &[]);
    let relay_url = format!("mqtt://{}", relay.mqtt_address());
    let (phone, mut pushed) = (Phone::new(1, 31), Pushed::new());
    let spool = agent_dir.join("spool.db");
    let drained = || count(&spool, "SELECT (SELECT count(*) FROM raw) + (SELECT count(*) FROM activity)") == 0;

    let mut agent = Process::agent(&agent_dir, &relay_url, &["--agent-id", "attic"]);
    push(&agent.agent_push_url(), &phone, 0..5, &mut pushed);
    await_that("the spool is drained", drained);
    assert!(agent.terminate(Signal::SIGTERM).success());

    let mut agent = Process::agent(&agent_dir, &relay_url, &["--agent-id", "cellar"]);
    push(&agent.agent_push_url(), &phone, 5..10, &mut pushed);
    await_that("the spool is drained", drained);
    assert!(agent.terminate(Signal::SIGTERM).success());
    let warehouse = relay_dir.join("warehouse.db");
    assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
    let names = "SELECT count(DISTINCT agentId) FROM ACTIVITY_RECORDS";
    assert_eq!(count(&warehouse, names), 2);

    // Nobody takes what is pushed now.
    let nowhere = "mqtt://127.0.0.1:1";
    let mut agent = Process::agent(&agent_dir, nowhere, &["--agent-id", "cellar"]);
    push(&agent.agent_push_url(), &phone, 10..12, &mut pushed);
    assert!(agent.terminate(Signal::SIGTERM).success());
    let args = ["agent", "--http", "127.0.0.1:0", "--relay", nowhere, "--agent-id", "roof", "--data-dir"];
    let refused = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).arg(&agent_dir).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("named by agent cellar"), "{said}");

    let quick = dir.path().join("quick.toml");
    std::fs::write(&quick, "[windows]\nsilence = \"300ms\"\n").unwrap();
    let quick = quick.to_str().unwrap();
    let mut agent = Process::agent(&agent_dir, &relay_url, &["--agent-id", "cellar", "--config", quick]);
    agent.agent_push_url();
    await_that("all windows are closed", || count(&spool, "SELECT count(*) FROM session WHERE open") == 0);
    await_that("the spool is drained", drained);
    assert_exact(&warehouse, &phone, &pushed);
}
