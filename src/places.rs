//! Where records are: the agent's spool, Kafka, the warehouse. For commands that look and change nothing.
//!
//! - Configuration is the services' own; flags win.
//! - Without any, the places are those of `gaitway up` in this folder.

use std::path::{Path, PathBuf};

use anyhow::bail;
use gaitway_agent::config::AgentConfig;
use gaitway_kafka::KafkaConfig;
use gaitway_relay::RelayConfig;
use gaitway_relay::command::KafkaFlags;
use gaitway_service::config::{is_combined_file, load_either};
use serde::Serialize;

/// Where `up` keeps everything if it is not told.
const DATA_DIR: &str = "gaitway-data";

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Configuration file of the services; `up`'s will do [default: those in /etc/gaitway if they exist]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory of `up`, or of an agent alone [default: ./gaitway-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Brokers, divided by commas [default: as the relay is configured]
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// The warehouse's file [default: warehouse.db of the data directory]
    #[arg(long, value_name = "PATH")]
    warehouse: Option<PathBuf>,
}

/// The places.
#[derive(Debug)]
pub(crate) struct Places {
    /// The agent's spool, which may not be there.
    pub(crate) spool: PathBuf,
    /// Kafka, if it is configured.
    pub(crate) kafka: Option<KafkaConfig>,
    /// The warehouse's file, which may not be there.
    pub(crate) warehouse: PathBuf,
    /// Whether somebody named the warehouse: then it must be there.
    pub(crate) warehouse_is_named: bool,
}

#[derive(Debug, Serialize)]
struct OfRelay {
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<KafkaFlags>,
}

#[derive(Debug, Serialize)]
struct NoFlags {}

impl Flags {
    /// Finds the places.
    pub(crate) fn find(self) -> anyhow::Result<Places> {
        let Self { config, data_dir, kafka, warehouse } = self;
        let kafka = kafka.map(|brokers| KafkaFlags { brokers });
        let (relay, agent) = services(config.as_deref(), &OfRelay { kafka })?;
        let spool = data_dir.as_deref().map_or_else(|| agent.data_dir.join("spool.db"), spool_in);
        let warehouse_is_named = warehouse.is_some();
        let data_dir = data_dir.unwrap_or_else(|| DATA_DIR.into());
        let warehouse = warehouse.unwrap_or_else(|| data_dir.join("warehouse.db"));
        Ok(Places { spool, kafka: relay.kafka, warehouse, warehouse_is_named })
    }
}

/// The services' configuration. A file that is one service's own says nothing of the other.
fn services(file: Option<&Path>, of_relay: &OfRelay) -> anyhow::Result<(RelayConfig, AgentConfig)> {
    let relay = |file| load_either::<RelayConfig>("relay", file, of_relay);
    let agent = |file| load_either::<AgentConfig>("agent", file, NoFlags {});
    let is_one_services = match file {
        Some(file) => !is_combined_file(file)?,
        None => false,
    };
    Ok(match (relay(file), agent(file)) {
        (Err(_), Ok(found)) if is_one_services => (relay(None)?, found),
        (Ok(found), Err(_)) if is_one_services => (found, agent(None)?),
        (Err(as_relays), Err(as_agents)) if is_one_services => {
            bail!("neither a relay's nor an agent's configuration: {as_relays}; {as_agents}")
        }
        (found_relay, found_agent) => (found_relay?, found_agent?),
    })
}

/// The spool of `up`'s data directory, or of an agent's own.
fn spool_in(dir: &Path) -> PathBuf {
    let own = dir.join("spool.db");
    if own.exists() { own } else { dir.join("agent").join("spool.db") }
}
