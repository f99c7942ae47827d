//! What an agent shows of today survives its process: a restart loses nothing of it, a kill a few seconds.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gaitway_agent::recent::Recent;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const NOON: i64 = 1_760_000_000;
const SECOND: i64 = 1_000_000_000;
const PATIENCE: Duration = Duration::from_secs(60);

/// A process of `gaitway-agent`. It never outlives its test.
struct Agent {
    child: Child,
    address: String,
}

impl Agent {
    fn start(dir: &Path) -> Self {
        let dir = dir.to_str().unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_gaitway-agent"))
            .args(["--data-dir", dir, "--http", "127.0.0.1:0", "--relay", "mqtt://127.0.0.1:1"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .filter_map(|line| serde_json::from_str::<serde_json::Value>(&line).ok())
            .find(|line| line.to_string().contains("taking pushes at /data"))
            .and_then(|line| Some(line.pointer("/address").or(line.pointer("/fields/address"))?.as_str()?.to_owned()))
            .expect("the agent says where it listens");
        // What it says from now on is read, so that it can go on saying it.
        let rest = std::thread::Builder::new().name("log".to_owned());
        drop(rest.spawn(move || lines.map_while(Result::ok).for_each(drop)).unwrap());
        Self { child, address }
    }

    fn ask(&self, head: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let (address, length) = (&self.address, body.len());
        let request =
            format!("{head} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n");
        write!(stream, "{request}Content-Type: application/json\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        answer
    }

    /// A push for each of these seconds after noon: walking.
    fn walk(&self, seconds: std::ops::Range<i64>) {
        for at in seconds {
            let readings: Vec<String> = (0..10)
                .map(|n| (NOON + at) * SECOND + n * SECOND / 10)
                .map(|time| format!(r#"{{"name":"accelerometer","time":{time},"values":{{"x":3,"y":4,"z":0}}}}"#))
                .collect();
            let payload = readings.join(",");
            let body = format!(r#"{{"messageId":{at},"deviceId":"anna","sessionId":"day","payload":[{payload}]}}"#);
            self.ask("POST /data", &body);
        }
    }

    fn since(&self) -> Option<String> {
        let answer = self.ask("GET /api/v1/status", "");
        let status: serde_json::Value = serde_json::from_str(&answer[answer.find('{').unwrap()..]).unwrap();
        status["phones"][0]["since"].as_str().map(str::to_owned)
    }

    fn end(mut self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).unwrap();
        let status = self.child.wait().unwrap();
        assert!(signal == Signal::SIGKILL || status.success(), "{status}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Ends of the windows, seconds after noon.
fn ends(dir: &Path) -> Vec<i64> {
    let windows = Recent::of(dir).windows("anna", i64::MIN, i64::MAX, usize::MAX).unwrap();
    windows.into_iter().map(|(_, window)| window.end / SECOND - NOON).collect()
}

/// Windows end every two seconds.
fn every_two(from: i64, to: i64) -> Vec<i64> {
    (from..=to).filter(|end| end % 2 == 0).collect()
}

#[test]
fn today_survives_restarts_and_a_kill_costs_its_last_seconds_alone() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(dir.path());
    agent.walk(0..61);
    let since = agent.since();
    assert!(since.is_some());
    let began = Instant::now();
    while ends(dir.path()).last() != Some(&50) {
        assert!(began.elapsed() < PATIENCE, "{:?}", ends(dir.path()));
        std::thread::sleep(Duration::from_millis(100));
    }
    let before = ends(dir.path());
    agent.walk(61..71);
    agent.end(Signal::SIGKILL);
    let after = ends(dir.path());
    assert!(after.starts_with(&before), "{after:?}");

    let agent = Agent::start(dir.path());
    agent.walk(71..81);
    assert_eq!(agent.since(), since, "it goes on");
    // What the batch still waited for is written at once.
    agent.end(Signal::SIGTERM);
    let kept = ends(dir.path());
    assert!(kept.starts_with(&after) && kept.ends_with(&every_two(62, 70)), "{kept:?}");
    let agent = Agent::start(dir.path());
    agent.walk(81..83);
    agent.end(Signal::SIGTERM);
    assert_eq!(ends(dir.path()), [kept, every_two(72, 72)].concat());
}
