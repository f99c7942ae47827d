//! The command and what it tells; a relay with TLS, and agents that enrol there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::process::Process;

/// Asked of where nobody listens, so that nothing leaves this machine and nothing is waited for.
const NO_CLOCK: [&str; 2] = ["--ntp", "127.0.0.1:1"];

/// Its exit status, and what it said.
pub(crate) fn doctor(args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
    command.arg("doctor").args(args);
    if !args.contains(&"--ntp") {
        command.args(NO_CLOCK);
    }
    let output = command.output().unwrap();
    (output.status.code(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap())
}

/// What it says as JSON.
pub(crate) fn report(args: &[&str]) -> Value {
    let (_, shown) = doctor(&[args, &["--json"]].concat());
    serde_json::from_str(&shown).unwrap_or_else(|error| panic!("{error}: {shown}"))
}

/// Lines of a section about what begins so.
fn lines<'a>(report: &'a Value, (section, what): (&str, &str)) -> Vec<&'a Value> {
    let lines = report["checks"].as_array().unwrap().iter();
    lines.filter(|line| line["of"] == section && line["what"].as_str().unwrap().starts_with(what)).collect()
}

/// Their grades.
pub(crate) fn grades(report: &Value, thing: (&str, &str)) -> Vec<String> {
    lines(report, thing).into_iter().map(|line| line["grade"].as_str().unwrap().to_owned()).collect()
}

/// What they say.
pub(crate) fn said_of(report: &Value, thing: (&str, &str)) -> Vec<String> {
    lines(report, thing).into_iter().map(|line| line["said"].as_str().unwrap().to_owned()).collect()
}

/// Asserts that a line about `thing` has this grade and says all of `words`.
pub(crate) fn assert_told(report: &Value, thing: (&str, &str), grade: &str, words: &[&str]) {
    let is_it = |line: &&Value| {
        let said = line["said"].as_str().unwrap();
        line["grade"] == grade && words.iter().all(|words| said.contains(words))
    };
    assert!(lines(report, thing).iter().any(is_it), "no {grade} of {thing:?} says {words:?}: {report:#}");
}

pub(crate) fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// The file of an agent with its data in the folder `agent` of `dir`, on any free port, towards `relay`.
pub(crate) fn agent_at(dir: &Path, relay: &str) -> String {
    let data = dir.join("agent");
    let data = data.to_str().unwrap();
    let text = format!("data_dir = {data:?}\nhttp = \"127.0.0.1:0\"\n[relay]\naddress = \"{relay}\"\n");
    write(dir, "agent.toml", &text)
}

/// `up` behind TLS.
pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    _up: Process,
    pub(crate) relay: String,
}

impl House {
    pub(crate) fn open() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = write(dir.path(), "up.toml", "[relay]\ntls = true\nmqtt = \"127.0.0.1:0\"\n");
        let data = dir.path().join("up");
        let mut up =
            Process::start(&["up", "--config", &config, "--data-dir", data.to_str().unwrap(), "--http", "127.0.0.1:0"]);
        let relay = up.mqtt_address();
        Self { dir, _up: up, relay }
    }

    pub(crate) fn warehouse(&self) -> PathBuf {
        self.dir.path().join("up/warehouse.db")
    }

    /// The folder of an agent that has enrolled here.
    pub(crate) fn enrolled(&self, name: &str) -> PathBuf {
        let made = said(&self.agents(&["add", name]));
        let (address, code) = made.lines().next().unwrap().split_once(' ').unwrap();
        let dir = self.dir.path().join(name);
        said(&gaitway(&["agent", "enroll", address, code, "--data-dir", dir.to_str().unwrap()]));
        dir
    }

    pub(crate) fn revoke(&self, name: &str) {
        said(&self.agents(&["revoke", name]));
    }

    fn agents(&self, args: &[&str]) -> Output {
        let relay = self.dir.path().join("up/relay");
        gaitway(&[&["relay", "agent"], args, &["--data-dir", relay.to_str().unwrap()]].concat())
    }
}

fn gaitway(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap()
}

fn said(output: &Output) -> String {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}
