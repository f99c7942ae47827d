//! A system without certificate authorities: only HTTPS needs them.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

fn relay(dir: &Path) -> Command {
    let mut relay = Command::new(env!("CARGO_BIN_EXE_gaitway-relay"));
    relay.env("SSL_CERT_FILE", "/dev/null").env("SSL_CERT_DIR", dir).env_remove("GAITWAY_LOG");
    relay
}

/// A relay that registers at `url` and waits for a Kafka that is not there.
struct Registering(Child, BufReader<ChildStdout>);

impl Registering {
    fn start(dir: &Path, url: &str) -> Self {
        let file = dir.join("relay.toml");
        std::fs::write(&file, format!("[schema_registry]\nurl = \"{url}\"\n")).unwrap();
        let mut child = relay(dir)
            .args(["--mqtt", "127.0.0.1:0", "--kafka", "127.0.0.1:9", "--config", file.to_str().unwrap()])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = BufReader::new(child.stdout.take().unwrap());
        Self(child, log)
    }

    /// Reads its log up to a line that has `words`.
    fn says(&mut self, words: &str) {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert!(self.1.read_line(&mut line).unwrap() > 0, "the relay ended");
        }
    }

    fn stop(mut self) {
        kill(Pid::from_raw(self.0.id() as i32), Signal::SIGTERM).unwrap();
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Registering {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_registry_over_http_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let registry = TcpListener::bind("127.0.0.1:0").unwrap();
    let relay = Registering::start(dir.path(), &format!("http://{}", registry.local_addr().unwrap()));
    let (mut asked, _) = registry.accept().unwrap();
    let mut head = [0; 5];
    asked.read_exact(&mut head).unwrap();
    assert_eq!(&head, b"POST ");
    relay.stop();
}

#[test]
fn of_a_registry_over_https_the_log_says_what_is_missing_and_the_relay_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Registering::start(dir.path(), "https://127.0.0.1:9");
    relay.says("install certificate authorities");
    relay.stop();
}

#[test]
fn a_relay_is_asked_for_its_agents() {
    let dir = tempfile::tempdir().unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = admin.local_addr().unwrap().to_string();
    let asking = relay(dir.path()).args(["agents", "--admin", &address]).stdout(Stdio::piped()).spawn().unwrap();
    let (asked, _) = admin.accept().unwrap();
    let mut request = BufReader::new(&asked).lines();
    assert_eq!(request.next().unwrap().unwrap(), "GET /agents HTTP/1.1");
    let answer =
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 26\r\n\r\n{\"kafka\":null,\"agents\":[]}";
    (&asked).write_all(answer.as_bytes()).unwrap();
    let told = asking.wait_with_output().unwrap();
    assert_eq!((told.status.code(), told.stdout.as_slice()), (Some(0), b"no agent yet\n".as_slice()));
}
