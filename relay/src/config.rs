//! What can be set.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use gaitway_proto::limits;
use gaitway_service::config::{Check, Wrong};
use serde::{Deserialize, Serialize};

use crate::commit::Limits;

#[cfg(feature = "kafka")]
mod schema_registry;

#[cfg(feature = "kafka")]
pub(crate) use schema_registry::Credentials;
#[cfg(feature = "kafka")]
pub use schema_registry::{Compatibility, SchemaRegistryConfig};

/// A smaller budget could never grant the greatest frame.
const LEAST_BUDGET: u64 = 9 << 20;

const _: () = assert!(limits::MAX_PAYLOAD <= LEAST_BUDGET as usize, "the smallest budget grants the greatest frame");

/// The relay's configuration, the body of `relay.toml`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RelayConfig {
    /// Where agents connect: MQTT 3.1.1 over TCP. Without a secret it must be a loopback address.
    #[serde(with = "gaitway_service::config::address")]
    pub mqtt: SocketAddr,
    /// The secret that agents' passwords are made of.
    pub secret: Option<Secret>,
    /// A file that holds the secret instead; white space around it does not count.
    pub secret_file: Option<PathBuf>,
    /// Most agents connected at a time; another is told so and closed.
    pub max_connections: usize,
    /// What goes into one commit.
    pub commit: CommitConfig,
    /// Where `/healthz`, `/readyz`, `/metrics` and `/agents` are served; nowhere if not set.
    #[serde(with = "gaitway_service::config::address")]
    pub admin: Option<SocketAddr>,
    /// The Kafka that records are committed to; a relay alone takes the one on this machine if it is not set.
    #[cfg(feature = "kafka")]
    pub kafka: Option<gaitway_kafka::KafkaConfig>,
    /// Where the schemas of the records in Kafka are registered.
    #[cfg(feature = "kafka")]
    pub schema_registry: SchemaRegistryConfig,
}

/// What goes into one commit, and what may wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommitConfig {
    /// Greatest commit, bytes of frames; a larger frame goes alone.
    #[serde(with = "gaitway_service::config::bytes")]
    pub max_bytes: u64,
    /// How long a commit may wait to grow.
    #[serde(with = "gaitway_service::config::duration")]
    pub linger: Duration,
    /// Bytes that all agents together may have under way.
    #[serde(with = "gaitway_service::config::bytes")]
    pub budget: u64,
}

/// A text that logs do not show.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret made of `text`.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            mqtt: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            secret: None,
            secret_file: None,
            max_connections: 1_100,
            commit: CommitConfig::default(),
            admin: None,
            #[cfg(feature = "kafka")]
            kafka: None,
            #[cfg(feature = "kafka")]
            schema_registry: SchemaRegistryConfig::default(),
        }
    }
}

impl Default for CommitConfig {
    fn default() -> Self {
        Self { max_bytes: 512 * 1024, linger: Duration::ZERO, budget: 16 * 1024 * 1024 }
    }
}

impl Check for RelayConfig {
    fn check(&self) -> Result<(), Wrong> {
        if self.check_exposure(self.mqtt).is_err() {
            return Err(Wrong::new(
                "mqtt",
                "must not be without a secret, or anybody could pose as an agent: set `secret` or `secret_file`, or \
                 listen on 127.0.0.1",
            ));
        }
        if self.secret.is_some() && self.secret_file.is_some() {
            return Err(Wrong::new("secret_file", "cannot stand beside `secret`: keep one of them"));
        }
        if self.secret.as_ref().is_some_and(|secret| secret.0.is_empty()) {
            return Err(Wrong::new("secret", "must not be empty; make one with: openssl rand -hex 32"));
        }
        if self.admin.is_some_and(|admin| admin == self.mqtt && admin.port() != 0) {
            return Err(Wrong::new("admin", "must be another address than `mqtt`"));
        }
        #[cfg(feature = "kafka")]
        if let Some(kafka) = &self.kafka {
            kafka.check()?;
        }
        #[cfg(feature = "kafka")]
        self.schema_registry.check()?;
        let CommitConfig { max_bytes, linger, budget } = self.commit;
        Wrong::unless_within("max_connections", &self.max_connections, 1..=100_000)?;
        Wrong::unless_size_within("commit.max_bytes", max_bytes, 4 << 10..=64 << 20)?;
        // Agents begin a new session where there is no progress for 10 s.
        Wrong::unless_time_within("commit.linger", linger, Duration::ZERO..=Duration::from_secs(5))?;
        Wrong::unless_size_within("commit.budget", budget, LEAST_BUDGET..=1 << 30)
    }
}

impl RelayConfig {
    /// The secret, from wherever it was set; none if it was not.
    pub fn load_secret(&self) -> Result<Option<Secret>, Wrong> {
        let (key, secret) = match (&self.secret, &self.secret_file) {
            (Some(_), Some(_)) => {
                return Err(Wrong::new("secret_file", "cannot stand beside `secret`: keep one of them"));
            }
            (Some(secret), None) => ("secret", secret.clone()),
            (None, Some(path)) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| Wrong::new("secret_file", format!("cannot be read: {error}")))?;
                ("secret_file", Secret::new(text.trim()))
            }
            (None, None) => return Ok(None),
        };
        if secret.0.is_empty() {
            return Err(Wrong::new(key, "holds no secret, it is empty; make one with: openssl rand -hex 32"));
        }
        Ok(Some(secret))
    }

    /// Refuses to let everybody in: without a secret, only a loopback address will do.
    pub(crate) fn check_exposure(&self, address: SocketAddr) -> anyhow::Result<()> {
        ensure!(
            self.secret.is_some() || self.secret_file.is_some() || address.ip().is_loopback(),
            "the relay would listen on {address} without a secret, so anybody could pose as an agent; set secret or \
             secret_file, or listen on 127.0.0.1"
        );
        Ok(())
    }

    pub(crate) fn limits(&self) -> anyhow::Result<Limits> {
        self.check()?;
        let CommitConfig { max_bytes, linger, budget } = self.commit;
        Ok(Limits { max_bytes: usize::try_from(max_bytes)?, linger, budget: usize::try_from(budget)? })
    }

    /// Bytes taken and not committed above which nothing more is read from agents: their grants, and for the frames
    /// that may always be under way as much again.
    pub(crate) fn most_held(&self) -> usize {
        usize::try_from(self.commit.budget).unwrap_or(usize::MAX).saturating_mul(2).max(2 * limits::MAX_PAYLOAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_secret_only_loopback_will_do() {
        let open: SocketAddr = "0.0.0.0:1883".parse().unwrap();
        let mut config = RelayConfig::default();
        config.check_exposure(config.mqtt).unwrap();
        config.check_exposure("[::1]:1883".parse().unwrap()).unwrap();
        assert!(config.check_exposure(open).unwrap_err().to_string().contains("0.0.0.0:1883 without a secret"));
        config.secret = Some(Secret::new("s"));
        config.check_exposure(open).unwrap();
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        type Change = fn(&mut RelayConfig);
        RelayConfig::default().check().unwrap();
        let refused = |change: Change| {
            let mut config = RelayConfig::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        let cases: [(Change, &str); 9] = [
            (|c| c.mqtt = ([0, 0, 0, 0], 1883).into(), "`mqtt` must not be without a secret"),
            (|c| c.admin = Some(c.mqtt), "`admin` must be another address"),
            (|c| c.secret = Some(Secret::new("")), "`secret` must not be empty"),
            (|c| (c.secret, c.secret_file) = (Some(Secret::new("s")), Some("f".into())), "keep one of them"),
            (|c| c.max_connections = 0, "`max_connections` must be from 1 to"),
            (|c| c.commit.max_bytes = 0, "`commit.max_bytes` must be from 4KiB to 64MiB"),
            (|c| c.commit.max_bytes = u64::MAX, "`commit.max_bytes`"),
            (|c| c.commit.linger = Duration::from_secs(6), "`commit.linger` must be from 0s to 5s"),
            (|c| c.commit.budget = LEAST_BUDGET - 1, "`commit.budget` must be from 9MiB to 1GiB"),
        ];
        for (change, expected) in cases {
            let said = refused(change);
            assert!(said.contains(expected), "{said}");
        }
    }

    #[test]
    fn a_secret_comes_from_one_place_and_is_never_shown() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "hush\n").unwrap();
        let mut config = RelayConfig { secret_file: Some(path.clone()), ..RelayConfig::default() };
        assert_eq!(config.load_secret().unwrap().unwrap().reveal(), "hush");
        config.secret = Some(Secret::new("hush"));
        assert!(config.load_secret().unwrap_err().to_string().contains("keep one"));
        assert!(!format!("{config:?}").contains("hush"));
        config.secret = None;
        std::fs::write(&path, "\n").unwrap();
        assert!(config.load_secret().unwrap_err().to_string().contains("empty"));
    }
}
