//! What the agent can be told: `/etc/gaitway/agent.toml`, `GAITWAY_AGENT__…`, flags.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use gaitway_proto::identity;
use gaitway_proto::topic::AgentId;
use serde::{Deserialize, Serialize};

use crate::classify::Threshold;
use crate::spool::cap::SpoolConfig;
use crate::uplink::RelayAddress;
use crate::windows::Params;

/// The whole configuration of an agent.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AgentConfig {
    /// Where the spool lies.
    pub data_dir: PathBuf,
    /// Where phones push to, and where health and metrics are.
    pub http: SocketAddr,
    /// The agent's name at the relay; made from the host's name and kept in the spool where it is not told.
    pub agent_id: Option<AgentId>,
    /// The relay.
    pub relay: RelayConfig,
    /// The spool.
    pub spool: SpoolConfig,
    /// Windows and labels.
    pub windows: WindowsConfig,
}

/// `[relay]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// `mqtt://HOST:PORT`
    pub address: RelayAddress,
    /// The password that the relay's operator gave for this agent's id.
    pub password: Option<String>,
    /// A file that holds it.
    pub password_file: Option<PathBuf>,
    /// The relay's own secret, for a process that runs both: the password follows from it.
    #[serde(skip)]
    pub secret: Option<String>,
}

/// `[windows]`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WindowsConfig {
    /// Length of a window.
    #[serde(with = "gaitway_service::config::duration")]
    pub length: Duration,
    /// From one window's start to the next.
    #[serde(with = "gaitway_service::config::duration")]
    pub slide: Duration,
    /// How long a window waits for late readings, in the phone's time.
    #[serde(with = "gaitway_service::config::duration")]
    pub lateness: Duration,
    /// A session silent for so long has its windows closed.
    #[serde(with = "gaitway_service::config::duration")]
    pub silence: Duration,
    /// Mean magnitude in m/s² below which a window is stationary, walking, running; else sprinting.
    pub thresholds: [f64; 3],
}

impl Default for AgentConfig {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("gaitway-data/agent"),
            http: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 8000)),
            agent_id: None,
            relay: RelayConfig::default(),
            spool: SpoolConfig::default(),
            windows: WindowsConfig::default(),
        }
    }
}

impl Default for RelayConfig {
    fn default() -> Self {
        let address = "mqtt://127.0.0.1:1883".parse().expect("written in the form of a relay address");
        Self { address, password: None, password_file: None, secret: None }
    }
}

impl Default for WindowsConfig {
    fn default() -> Self {
        Self {
            length: Duration::from_secs(10),
            slide: Duration::from_secs(2),
            lateness: Duration::from_secs(10),
            silence: Duration::from_secs(30),
            thresholds: [2.0, 8.0, 20.0],
        }
    }
}

impl RelayConfig {
    /// The password of `agent`, from wherever it is.
    pub fn read_password(&self, agent: &AgentId) -> anyhow::Result<Option<String>> {
        if let Some(secret) = &self.secret {
            return Ok(Some(identity::password(secret.as_bytes(), agent)));
        }
        match (&self.password, &self.password_file) {
            (Some(_), Some(_)) => anyhow::bail!("relay.password and relay.password_file are both set: keep one"),
            (Some(password), None) => Ok(Some(password.clone())),
            (None, Some(file)) => {
                let text = std::fs::read_to_string(file)
                    .with_context(|| format!("relay.password_file {} cannot be read", file.display()))?;
                Ok(Some(text.trim().to_owned()))
            }
            (None, None) => Ok(None),
        }
    }
}

impl WindowsConfig {
    /// The parameters, checked.
    pub fn params(&self) -> anyhow::Result<Params> {
        let nanoseconds = |key: &str, duration: Duration| {
            i64::try_from(duration.as_nanos()).with_context(|| format!("windows.{key} of {duration:?} is too long"))
        };
        let [stationary, walking, running] = self.thresholds;
        let classifier = Threshold::new(stationary, walking, running).context("windows.thresholds cannot be used")?;
        anyhow::ensure!(!self.silence.is_zero(), "windows.silence must be above 0");
        Params::new(
            nanoseconds("length", self.length)?,
            nanoseconds("slide", self.slide)?,
            nanoseconds("lateness", self.lateness)?,
            classifier,
        )
        .with_context(|| {
            format!(
                "windows.length of {:?}, windows.slide of {:?} and windows.lateness of {:?} do not go together",
                self.length, self.slide, self.lateness
            )
        })
    }
}
