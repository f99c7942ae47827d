//! `deploy/compose/compose.yaml`, held against the specification's schema and read.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde::Deserialize;
use serde_json::Value;

use crate::harness::python::python;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/compose")
}

/// What of the file this test knows: anything else in it fails.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compose {
    #[serde(rename = "name")]
    _name: String,
    #[serde(rename = "x-ours")]
    _ours: Value,
    #[serde(rename = "x-theirs")]
    _theirs: Value,
    pub(crate) services: BTreeMap<String, Service>,
    pub(crate) networks: BTreeMap<String, Network>,
    pub(crate) volumes: BTreeMap<String, BTreeMap<String, Value>>,
    pub(crate) secrets: BTreeMap<String, BTreeMap<String, String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Network {
    #[serde(default)]
    pub(crate) internal: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) image: String,
    pub(crate) build: Option<Build>,
    #[serde(default)]
    pub(crate) profiles: Vec<String>,
    #[serde(default)]
    pub(crate) entrypoint: Vec<String>,
    #[serde(default)]
    pub(crate) command: Vec<String>,
    #[serde(default)]
    pub(crate) environment: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) volumes: Vec<Volume>,
    #[serde(default)]
    pub(crate) secrets: Vec<String>,
    #[serde(default)]
    pub(crate) ports: Vec<String>,
    #[serde(default)]
    pub(crate) networks: Vec<String>,
    pub(crate) network_mode: Option<String>,
    #[serde(default)]
    pub(crate) depends_on: BTreeMap<String, Needed>,
    pub(crate) healthcheck: Option<Healthcheck>,
    pub(crate) restart: String,
    #[serde(default)]
    pub(crate) read_only: bool,
    pub(crate) user: Option<String>,
    pub(crate) cap_drop: Vec<String>,
    #[serde(default)]
    pub(crate) cap_add: Vec<String>,
    pub(crate) security_opt: Vec<String>,
    #[serde(default, rename = "tmpfs")]
    _tmpfs: Vec<String>,
    #[serde(rename = "shm_size")]
    _shm_size: Option<String>,
    #[serde(rename = "stop_grace_period")]
    _stop_grace_period: Option<String>,
    pub(crate) logging: Value,
    pub(crate) deploy: Value,
}

#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub(crate) struct Build {
    pub(crate) context: String,
    pub(crate) dockerfile: String,
    pub(crate) target: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Needed {
    pub(crate) condition: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Healthcheck {
    #[serde(default)]
    pub(crate) disable: bool,
    #[serde(default)]
    pub(crate) test: Vec<String>,
    #[serde(rename = "interval")]
    _interval: Option<String>,
    #[serde(rename = "timeout")]
    _timeout: Option<String>,
    #[serde(rename = "retries")]
    _retries: Option<u8>,
    #[serde(rename = "start_period")]
    _start_period: Option<String>,
    #[serde(rename = "start_interval")]
    _start_interval: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Volume {
    Short(String),
    Long { source: String, target: String },
}

impl Volume {
    /// What is mounted, and where.
    pub(crate) fn ends(&self) -> (&str, &str) {
        match self {
            Self::Long { source, target, .. } => (source, target),
            Self::Short(text) => text.trim_end_matches(":ro").split_once(':').expect("SOURCE:TARGET"),
        }
    }
}

/// What is set in `.env`.
pub(crate) const HOST: &str = "pi.example.org";

/// A Python with what the checks need.
pub(crate) fn checker() -> PathBuf {
    python("compose-venv", &[folder().join("check/requirements.txt")])
}

/// What the checker says of the file at `path`.
pub(crate) fn checked(path: &Path) -> Output {
    Command::new(checker()).arg(folder().join("check/read.py")).arg(path).env("GAITWAY_HOST", HOST).output().unwrap()
}

pub(crate) fn read() -> Compose {
    let read = checked(&folder().join("compose.yaml"));
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    serde_json::from_slice(&read.stdout).unwrap()
}

impl Compose {
    /// All services, each after those that it waits for.
    pub(crate) fn in_order(&self) -> Vec<&str> {
        let mut order: Vec<&str> = Vec::new();
        while order.len() < self.services.len() {
            let next = self.services.iter().find(|(name, service)| {
                let waits = service.depends_on.keys().any(|needed| !order.contains(&needed.as_str()));
                !order.contains(&name.as_str()) && !waits
            });
            order.push(next.expect("services wait for one another, or for one that is not there").0);
        }
        order
    }
}
