//! An agent on a small disk before a relay with room, and the other way round.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;

use super::heavy::{heavy, letters};
use crate::harness::process::Process;
use crate::harness::proxy::Proxy;
use crate::harness::small_disk::SmallDisk;
use crate::harness::warehouse::await_drained;
use crate::harness::{await_that, http};

/// What an agent is told: the spool's settings, and when silence ends windows.
pub(crate) fn agent_config(dir: &Path, spool: &str, silence: &str) -> String {
    let path = dir.join(format!("agent-{silence}.toml"));
    std::fs::write(&path, format!("[spool]\n{spool}\n[windows]\nsilence = \"{silence}\"\n")).unwrap();
    path.to_str().unwrap().to_owned()
}

/// An agent on a small disk, a link that can be cut, and a relay with room.
pub(crate) struct Route<'d> {
    pub(crate) disk: &'d SmallDisk,
    elsewhere: tempfile::TempDir,
    spool: &'static str,
    pub(crate) proxy: Proxy,
    agent: Process,
    relay: Option<Process>,
    url: String,
    /// Length of a push's note.
    pub(crate) letters: usize,
}

impl<'d> Route<'d> {
    pub(crate) fn new(disk: &'d SmallDisk, spool: &'static str) -> Self {
        let elsewhere = tempfile::tempdir().unwrap();
        let proxy = Proxy::new();
        let config = agent_config(elsewhere.path(), spool, "1h");
        let mut agent = Process::agent(&disk.path().join("agent"), &proxy.url(), &["--config", &config]);
        let url = agent.agent_push_url();
        Self { disk, elsewhere, spool, proxy, agent, relay: None, url, letters: 40_000 }
    }

    /// Ends the agent and starts it again.
    pub(crate) fn restart(self) -> Self {
        let Self { disk, elsewhere, spool, proxy, agent, .. } = self;
        assert!(agent.terminate(Signal::SIGTERM).success());
        let config = agent_config(elsewhere.path(), spool, "1h");
        let mut agent = Process::agent(&disk.path().join("agent"), &proxy.url(), &["--config", &config]);
        let url = agent.agent_push_url();
        Self { disk, elsewhere, spool, proxy, agent, url, ..self }
    }

    pub(crate) fn spool(&self) -> PathBuf {
        self.disk.path().join("agent/spool.db")
    }

    pub(crate) fn warehouse(&self) -> PathBuf {
        self.elsewhere.path().join("relay/warehouse.db")
    }

    pub(crate) fn start_relay(&mut self) {
        let mut relay = Process::up(&self.elsewhere.path().join("relay"), &[]);
        self.proxy.point(Some(&relay.mqtt_address()));
        self.relay = Some(relay);
    }

    pub(crate) fn push(&self, id: u64) -> (u16, String) {
        http::post(&self.url, &heavy(id, &letters(id, self.letters))).unwrap()
    }

    /// Pushes until so many were refused; gives the last sentence. A refused message is pushed again.
    pub(crate) fn push_until_refused(&self, pushed: &mut BTreeSet<u64>, refusals: usize) -> String {
        let (mut refused, mut said) = (0, String::new());
        while refused < refusals {
            assert!(pushed.len() < 2_000, "never full");
            let id = pushed.len() as u64;
            match self.push(id) {
                (200, _) => assert!(pushed.insert(id)),
                (499, sentence) => {
                    refused += 1;
                    said = sentence;
                }
                (status, answer) => panic!("{status}: {answer}"),
            }
        }
        said
    }

    /// Pushes until `more` were taken, however often they are refused first.
    pub(crate) fn push_on(&self, pushed: &mut BTreeSet<u64>, more: u64) {
        for _ in 0..more {
            let id = pushed.len() as u64;
            await_that("a push is taken", || self.push(id).0 == 200);
            pushed.insert(id);
        }
    }

    pub(crate) fn ready(&self) -> (u16, String) {
        http::get(&self.url.replace("/data", "/readyz")).unwrap()
    }

    pub(crate) fn complaints(&self) -> Vec<serde_json::Value> {
        let mut log = self.agent.log();
        log.retain(|event| matches!(event["level"].as_str(), Some("WARN" | "ERROR")));
        log
    }

    /// Ends all windows and waits until the relay has everything.
    pub(crate) fn drain(self) -> (PathBuf, impl Drop) {
        let (spool, warehouse) = (self.spool(), self.warehouse());
        let Self { disk, elsewhere, spool: setting, proxy, agent, relay, .. } = self;
        assert!(agent.terminate(Signal::SIGTERM).success());
        let config = agent_config(elsewhere.path(), setting, "300ms");
        let mut agent = Process::agent(&disk.path().join("agent"), &proxy.url(), &["--config", &config]);
        agent.agent_push_url();
        await_drained(&spool);
        assert!(agent.terminate(Signal::SIGTERM).success());
        assert!(relay.unwrap().terminate(Signal::SIGTERM).success());
        (warehouse, elsewhere)
    }

    pub(crate) fn start_relay_again(&mut self) {
        assert!(self.relay.take().unwrap().terminate(Signal::SIGTERM).success());
        self.start_relay();
    }
}

/// A relay whose warehouse lies on a small disk, and an agent with room.
pub(crate) struct FullRelay {
    pub(crate) relay: Process,
    pub(crate) relay_url: String,
    pub(crate) agent: Process,
    pub(crate) agent_url: String,
    pub(crate) elsewhere: tempfile::TempDir,
}

impl FullRelay {
    pub(crate) fn new(disk: &SmallDisk, sink: &str) -> Self {
        let elsewhere = tempfile::tempdir().unwrap();
        let config = elsewhere.path().join("up.toml");
        std::fs::write(&config, format!("[sink.sqlite]\n{sink}\n")).unwrap();
        let mut relay = Process::up(&disk.path().join("relay"), &["--config", config.to_str().unwrap()]);
        let relay_url = relay.push_url();
        let address = format!("mqtt://{}", relay.mqtt_address());
        let config = agent_config(elsewhere.path(), "", "1h");
        let mut agent = Process::agent(&elsewhere.path().join("agent"), &address, &["--config", &config]);
        let agent_url = agent.agent_push_url();
        Self { relay, relay_url, agent, agent_url, elsewhere }
    }

    pub(crate) fn metric(&self, name: &str) -> u64 {
        let text = http::get(&self.relay_url.replace("/data", "/metrics")).unwrap().1;
        let line = text.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("no {name}: {text}"));
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap() as u64
    }
}
