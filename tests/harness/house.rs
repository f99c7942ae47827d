//! The whole path through Kafka, a process for each part: topics and folders of its own, and configuration for each.

use std::path::{Path, PathBuf};

use gaitway_emulator::Emulator;

use super::http;
use super::kafka;
use super::process::Process;

/// Names of topics and groups that nobody else has, and a folder.
pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) broker: String,
    own: String,
    /// Lines of the table `kafka`, and tables below it.
    kafka: String,
}

/// The kinds of topics, as keys.
const TOPICS: [&str; 5] = ["raw", "activity", "gaps", "progress", "dead_letter"];

impl House {
    /// `create` are lines of the table `kafka.create`.
    pub(crate) fn new(broker: &str, create: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let own = kafka::unique("house");
        let topics = TOPICS.map(|topic| format!("{topic} = \"{own}-{topic}\"\n")).concat();
        let kafka = format!("[kafka]\nbrokers = \"{broker}\"\n[kafka.topics]\n{topics}[kafka.create]\n{create}");
        Self { dir, broker: broker.to_owned(), own, kafka }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The topic of this kind.
    pub(crate) fn topic(&self, kind: &str) -> String {
        assert!(TOPICS.contains(&kind));
        format!("{}-{kind}", self.own)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// `gaitway relay` on free ports.
    pub(crate) fn relay(&self) -> Process {
        let text = format!("mqtt = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{}", self.kafka);
        Process::start(&["relay", "--config", &self.write("relay.toml", &text)])
    }

    /// An agent that closes windows after a short silence, towards the relay at `address`.
    pub(crate) fn agent(&self, address: &str) -> Process {
        let config = self.write("agent.toml", "[windows]\nsilence = \"300ms\"\n");
        Process::agent(&self.path("agent"), &format!("mqtt://{address}"), &["--config", &config])
    }

    /// `gaitway sink` of a group named after `name`; `warehouse` are lines of its file and tables, the lines first.
    pub(crate) fn sink(&self, name: &str, lines: &str, tables: &str) -> Process {
        let text = format!(
            "admin = \"127.0.0.1:0\"\ngroup = \"{}-{name}\"\n{lines}\n{}{tables}\n[batch]\nlinger = \"50ms\"\n",
            self.own, self.kafka
        );
        Process::start(&["sink", "--config", &self.write(&format!("{name}.toml"), &text)])
    }

    /// Into the SQLite file at `path`.
    pub(crate) fn sqlite_sink(&self, path: &Path) -> Process {
        self.sink("sqlite", "", &format!("[sqlite]\npath = \"{}\"\nmin_free_percent = 0\n", path.display()))
    }

    /// Into the emulated account.
    pub(crate) fn snowflake_sink(&self, emulator: &Emulator) -> Process {
        self.sink("snowflake", "warehouse = \"snowflake\"", &self.snowflake_table(emulator))
    }

    /// The table `snowflake` for the emulated account.
    pub(crate) fn snowflake_table(&self, emulator: &Emulator) -> String {
        snowflake_table(self.dir.path(), emulator)
    }
}

/// The table `snowflake` for the emulated account, whose key and certificate are written into `dir`.
pub(crate) fn snowflake_table(dir: &Path, emulator: &Emulator) -> String {
    let (ca, key) = (dir.join("ca.pem"), dir.join("key.p8"));
    emulator.write_ca(&ca).unwrap();
    emulator.write_key(&key).unwrap();
    format!(
        "[snowflake]\nurl = \"{}\"\naccount = \"{}\"\nuser = \"{}\"\nca_file = \"{}\"\nprivate_key_file = \"{}\"\n",
        emulator.url(),
        emulator.account(),
        emulator.user(),
        ca.display(),
        key.display(),
    )
}

/// Where a relay or sink serves health and metrics.
pub(crate) fn admin(process: &mut Process) -> String {
    process.logged("the admin address", |event| {
        let serves = event["message"] == "health and metrics are served here";
        serves.then(|| format!("http://{}", event["address"].as_str().unwrap_or_default()))
    })
}

/// What `/readyz` answers there.
pub(crate) fn readiness(admin: &str) -> (u16, String) {
    http::get(&format!("{admin}/readyz")).unwrap()
}
