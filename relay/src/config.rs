//! What can be set.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use gaitway_proto::limits;
use gaitway_service::config::{Check, Wrong};
use serde::{Deserialize, Serialize};

use crate::commit::Limits;

mod broker;
#[cfg(feature = "kafka")]
mod schema_registry;

pub use broker::BrokerConfig;

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
    /// Where agents connect, by MQTT 3.1.1. On another address than a loopback one they come over TLS, with
    /// certificates of this relay.
    #[serde(with = "gaitway_service::config::address")]
    pub mqtt: SocketAddr,
    /// Whether agents come over TLS, with certificates of this relay. If it is not set, they do unless `mqtt` is a
    /// loopback address. `false` is refused on any other.
    pub tls: Option<bool>,
    /// `HOST:PORT` at which agents reach this relay: `gaitway relay agent add` prints it with its code. If it is not
    /// set, that is where the relay listens.
    pub public_address: Option<String>,
    /// The folder of the relay's authority and of what it knows of agents' certificates, where they come over TLS.
    /// Whoever loses it must enrol every agent again.
    pub data_dir: PathBuf,
    /// A broker that is not ours, by which agents come in. The relay listens for none itself then: `mqtt`, `tls` and
    /// `public_address` stay unset.
    pub broker: Option<BrokerConfig>,
    /// Most agents connected at a time. Another is told so and its connection closed.
    pub max_connections: usize,
    /// What goes into one commit.
    pub commit: CommitConfig,
    /// Where `/healthz`, `/readyz`, `/metrics` and `/agents` are served, to anybody who can reach it. If it is not set,
    /// they are not served.
    #[serde(with = "gaitway_service::config::address")]
    pub admin: Option<SocketAddr>,
    /// The Kafka that records are committed to. Without this table a relay takes the one on this machine, and `gaitway
    /// up` commits to its local warehouse.
    #[cfg(feature = "kafka")]
    pub kafka: Option<gaitway_kafka::KafkaConfig>,
    /// A Confluent-compatible registry, where the schemas of the records in Kafka are registered. Without `url` nothing
    /// is registered.
    #[cfg(feature = "kafka")]
    pub schema_registry: SchemaRegistryConfig,
}

/// What goes into one commit, and what may wait for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CommitConfig {
    /// Most bytes of frames in one commit. A larger frame goes alone.
    #[serde(with = "gaitway_service::config::bytes")]
    pub max_bytes: u64,
    /// How long a commit waits for more frames. `0s` commits what is there.
    #[serde(with = "gaitway_service::config::duration")]
    pub linger: Duration,
    /// Bytes that all agents together may have under way: sent and not committed. It bounds the relay's memory.
    #[serde(with = "gaitway_service::config::bytes")]
    pub budget: u64,
}

impl Default for RelayConfig {
    fn default() -> Self {
        Self {
            mqtt: SocketAddr::from((Ipv4Addr::LOCALHOST, 1883)),
            tls: None,
            public_address: None,
            data_dir: PathBuf::from("gaitway-data/relay"),
            broker: None,
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
        self.check_broker()?;
        if self.check_exposure(self.mqtt).is_err() {
            return Err(Wrong::new(
                "tls",
                "must not be off where others can connect, or anybody could pose as an agent: remove it, or listen on \
                 127.0.0.1",
            )
            .or("mqtt"));
        }
        if self.public_address.as_deref().is_some_and(|address| !is_host_and_port(address)) {
            return Err(Wrong::new("public_address", "must be HOST:PORT, such as relay.example.org:8883"));
        }
        if self.data_dir.as_os_str().is_empty() {
            return Err(Wrong::new("data_dir", "must be the name of a folder"));
        }
        if self.broker.is_none() && self.admin.is_some_and(|admin| admin == self.mqtt && admin.port() != 0) {
            return Err(Wrong::new("admin", "must be another address than `mqtt`").naming("mqtt"));
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
    /// An agent has one way to come in.
    fn check_broker(&self) -> Result<(), Wrong> {
        let Some(broker) = &self.broker else { return Ok(()) };
        let listens = [
            ("mqtt", self.mqtt != Self::default().mqtt),
            ("tls", self.tls.is_some()),
            ("public_address", self.public_address.is_some()),
        ];
        if let Some((key, _)) = listens.into_iter().find(|(_, is_set)| *is_set) {
            let problem =
                "must not stand beside `broker`: agents come in by the broker, and the relay listens for none";
            return Err(Wrong::new(key, problem).naming("broker"));
        }
        broker.check()
    }

    /// Whether agents that come to `address` need TLS and a certificate.
    pub fn wants_tls(&self, address: SocketAddr) -> bool {
        self.tls.unwrap_or(!address.ip().is_loopback())
    }

    /// Refuses to let everybody in: without TLS, only a loopback address will do.
    pub(crate) fn check_exposure(&self, address: SocketAddr) -> anyhow::Result<()> {
        ensure!(
            self.wants_tls(address) || address.ip().is_loopback(),
            "the relay would listen on {address} without TLS, so anybody could pose as an agent; remove `tls = false`, or \
             listen on 127.0.0.1"
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

/// Whether a text is a name or an address, a colon and a port.
pub(crate) fn is_host_and_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => return v6.parse::<std::net::Ipv6Addr>().is_ok() && port.parse::<u16>().is_ok_and(|port| port > 0),
        None => host,
    };
    let of_a_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
    !host.is_empty() && host.bytes().all(of_a_name) && port.parse::<u16>().is_ok_and(|port| port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near() -> BrokerConfig {
        BrokerConfig { url: Some("mqtt://127.0.0.1:1884".parse().unwrap()), ..BrokerConfig::default() }
    }

    #[test]
    fn without_tls_only_loopback_will_do() {
        let open: SocketAddr = "0.0.0.0:8883".parse().unwrap();
        let mut config = RelayConfig::default();
        assert!(!config.wants_tls(config.mqtt) && !config.wants_tls("[::1]:1883".parse().unwrap()));
        assert!(config.wants_tls(open));
        config.check_exposure(open).unwrap();
        config.tls = Some(false);
        config.check_exposure(config.mqtt).unwrap();
        assert!(config.check_exposure(open).unwrap_err().to_string().contains("0.0.0.0:8883 without TLS"));
        config.tls = Some(true);
        assert!(config.wants_tls(config.mqtt), "behind a balancer on this machine");
    }

    #[test]
    fn a_public_address_is_a_host_and_a_port() {
        for good in ["relay.example.org:8883", "10.0.0.7:1", "[::1]:8883", "relay_1:8883"] {
            assert!(is_host_and_port(good), "{good}");
        }
        for bad in
            ["", "relay", "relay:", ":8883", "relay:0", "relay:70000", "mqtts://relay:1", "[x]:1", "a b:1", "::1:1"]
        {
            assert!(!is_host_and_port(bad), "{bad}");
        }
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
        let cases: [(Change, &str); 12] = [
            (|c| (c.mqtt, c.tls) = (([0, 0, 0, 0], 1883).into(), Some(false)), "`tls`, `mqtt` must not be off"),
            (|c| c.admin = Some(c.mqtt), "`admin` must be another address"),
            (|c| c.public_address = Some("relay".into()), "`public_address` must be HOST:PORT"),
            (|c| c.data_dir = PathBuf::new(), "`data_dir` must be"),
            (|c| c.max_connections = 0, "`max_connections` must be from 1 to"),
            (|c| c.commit.max_bytes = 0, "`commit.max_bytes` must be from 4KiB to 64MiB"),
            (|c| c.commit.max_bytes = u64::MAX, "`commit.max_bytes`"),
            (|c| c.commit.linger = Duration::from_secs(6), "`commit.linger` must be from 0s to 5s"),
            (|c| (c.broker, c.tls) = (Some(near()), Some(true)), "`tls` must not stand beside `broker`"),
            (|c| (c.broker, c.mqtt) = (Some(near()), ([10, 0, 0, 1], 8883).into()), "`mqtt` must not stand beside"),
            (|c| c.broker = Some(BrokerConfig::default()), "`broker.url` must be set"),
            (|c| c.commit.budget = LEAST_BUDGET - 1, "`commit.budget` must be from 9MiB to 1GiB"),
        ];
        for (change, expected) in cases {
            let said = refused(change);
            assert!(said.contains(expected), "{said}");
        }
    }
}
