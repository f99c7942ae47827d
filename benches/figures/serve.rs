//! The processes that are measured, and connections of phones to them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::harness::process::Process;

/// A relay that is not there: nothing listens on the port of the discard service.
pub(crate) const NO_RELAY: &str = "mqtt://127.0.0.1:9";

/// The agent's name at the relay.
pub(crate) const AGENT: &str = "figures";

/// The program that runs on small machines, as it is shipped; built when first asked for.
pub(crate) fn agent_program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
            .args(["build", "--release", "--locked", "--package", "gaitway-agent", "--message-format", "json"])
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(build.status.success(), "gaitway-agent cannot be built");
        let said = String::from_utf8(build.stdout).unwrap();
        let messages = said.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
        let mut programs = messages.filter_map(|message| message["executable"].as_str().map(PathBuf::from));
        programs.next_back().expect("cargo names the program that it built")
    })
}

/// A running `gaitway-agent`.
pub(crate) struct Agent {
    pub(crate) process: Process,
    /// Where phones push to.
    pub(crate) address: SocketAddr,
}

impl Agent {
    /// Starts it with its defaults on `data_dir`, towards `relay`.
    pub(crate) fn start(data_dir: &Path, relay: &str) -> Self {
        Self::named(AGENT, data_dir, relay)
    }

    /// Starts it under a name of its own.
    pub(crate) fn named(name: &str, data_dir: &Path, relay: &str) -> Self {
        let mut command = Command::new(agent_program());
        command.arg("--data-dir").arg(data_dir).args(["--http", "127.0.0.1:0", "--relay", relay, "--agent-id", name]);
        let mut process = Process::of(command);
        let url = process.agent_push_url();
        let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix("/data")).unwrap().parse().unwrap();
        Self { process, address }
    }
}

/// A phone's connection, kept open.
pub(crate) struct Connection(TcpStream);

impl Connection {
    pub(crate) fn open(to: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self(stream))
    }

    /// Sends a request and waits for its 200.
    pub(crate) fn push(&mut self, request: &[u8], readings: u32) -> std::io::Result<()> {
        self.0.write_all(request)?;
        let (mut answer, mut length) = ([0; 1024], 0);
        while length == 0 || answer[length - 1] != b'}' {
            match self.0.read(&mut answer[length..])? {
                0 => return Err(std::io::Error::other("the agent hung up")),
                read => length += read,
            }
        }
        let answer = String::from_utf8_lossy(&answer[..length]);
        let stored = format!("\"processed_readings\":{readings}}}");
        let good = answer.starts_with("HTTP/1.1 200 ") && answer.ends_with(&stored);
        if good { Ok(()) } else { Err(std::io::Error::other(format!("a push was answered {answer}"))) }
    }
}

/// The value of a metric without labels in what `/metrics` says.
pub(crate) fn metric(text: &str, name: &str) -> f64 {
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
}
