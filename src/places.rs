//! Where records are: the agent's spool, Kafka, the warehouse. For commands that look, and the one that forgets.
//!
//! - Configuration is the services' own; flags win.
//! - Without any, the places are those of `gaitway up` in this folder.

use std::path::{Path, PathBuf};

use anyhow::bail;
use gaitway_agent::config::{AgentConfig, WindowsConfig};
use gaitway_kafka::KafkaConfig;
use gaitway_relay::RelayConfig;
use gaitway_service::config::{Check, ConfigError, ConfigFile, Loaded, read_either};
use gaitway_sink::SinkConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::up::DATA_DIR;
use crate::warehouse::Warehouse;

/// The flags.
#[derive(Debug, clap::Args)]
pub(crate) struct Flags {
    /// Configuration file of `up`, of an agent, a relay or a sink [default: those in /etc/gaitway if they exist]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Data directory of `up`, or of an agent alone [default: ./gaitway-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Brokers, divided by commas [default: as the relay or the sink is configured]
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// The file of a local warehouse [default: the warehouse of the sink, else warehouse.db of the data directory]
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
    /// The warehouse, which may not be there.
    pub(crate) warehouse: Warehouse,
    /// Whether somebody named the warehouse: then it must be there.
    pub(crate) warehouse_is_named: bool,
    /// Every file that may be a local warehouse, of which none need be there.
    pub(crate) files: Vec<PathBuf>,
    /// How the agent makes windows and labels them.
    pub(crate) windows: WindowsConfig,
}

#[derive(Debug, Serialize)]
struct NoFlags {}

struct Services {
    relay: RelayConfig,
    agent: AgentConfig,
    sink: Loaded<SinkConfig>,
    /// Whether `sink` is what the file that was named says.
    sink_is_named: bool,
}

impl Flags {
    /// Finds the places.
    pub(crate) fn find(self) -> anyhow::Result<Places> {
        let Self { config, data_dir, kafka, warehouse } = self;
        let Services { relay, agent, sink, sink_is_named } = Services::read(config.as_deref())?;
        let beside = data_dir.as_deref().and_then(beside_agents);
        let is_asked_for_files = warehouse.is_none();
        let spool = data_dir.as_deref().map_or_else(|| agent.data_dir.join("spool.db"), spool_in);
        let of_data_dir = data_dir.map(|dir| dir.join("warehouse.db"));
        // Without a file that names another, what lies in the folder that was named is meant.
        let is_meant = |path: &PathBuf| config.is_none() && path.exists();
        let in_sql = Warehouse::in_sql(&sink.config).filter(|_| !of_data_dir.as_ref().is_some_and(is_meant));
        let warehouse_is_named = warehouse.is_some() || in_sql.is_some();
        let of_sink = sink.is_set("sqlite.path").then(|| sink.config.sqlite.path.clone());
        let of_up = of_data_dir.clone().unwrap_or_else(|| Path::new(DATA_DIR).join("warehouse.db"));
        let mut files =
            warehouse.clone().map_or_else(|| of_sink.iter().cloned().chain([of_up]).collect(), |one| vec![one]);
        if is_asked_for_files {
            files.extend(beside);
        }
        files.dedup();
        let warehouse = match (warehouse, in_sql) {
            (Some(path), _) => Warehouse::File(path),
            (None, Some(in_sql)) => in_sql,
            (None, None) => {
                let path = if sink_is_named { of_sink.or(of_data_dir) } else { of_data_dir.or(of_sink) };
                Warehouse::File(path.unwrap_or_else(|| Path::new(DATA_DIR).join("warehouse.db")))
            }
        };
        let kafka_of_sink = sink.is_set("kafka").then_some(sink.config.kafka);
        let configured = relay.kafka.or(kafka_of_sink);
        let kafka = match kafka {
            Some(brokers) => Some(KafkaConfig { brokers, ..configured.unwrap_or_default() }),
            None => configured,
        };
        Ok(Places { spool, kafka, warehouse, warehouse_is_named, files, windows: agent.windows })
    }
}

impl Services {
    /// The services' configuration. A file that is one service's own says nothing of the others.
    fn read(file: Option<&Path>) -> anyhow::Result<Self> {
        let file = file.map(ConfigFile::named).transpose()?;
        let file = file.as_ref();
        let relay = |file| settings::<RelayConfig>("relay", file).map(|loaded| loaded.config);
        let agent = |file| settings::<AgentConfig>("agent", file).map(|loaded| loaded.config);
        let sink = |file| settings::<SinkConfig>("sink", file);
        let is_one_services = file.is_some_and(|file| !file.is_combined());
        match (relay(file), agent(file), sink(file)) {
            (Err(as_relays), Err(as_agents), Err(as_sinks)) if is_one_services => {
                bail!(
                    "no service's configuration: of a relay {as_relays}; of an agent {as_agents}; of a sink {as_sinks}"
                )
            }
            (of_relay, of_agent, of_sink) if is_one_services => Ok(Self {
                sink_is_named: of_sink.is_ok(),
                relay: of_relay.or_else(|_| relay(None))?,
                agent: of_agent.or_else(|_| agent(None))?,
                sink: of_sink.or_else(|_| sink(None))?,
            }),
            (relay, agent, sink) => {
                // A folder of `up` that the file names is another where a flag says so.
                let sink_is_named = file.map(ConfigFile::data_dir).transpose()?.is_some_and(|dir| dir.is_none());
                Ok(Self { relay: relay?, agent: agent?, sink: sink?, sink_is_named })
            }
        }
    }
}

/// What `file` says of a service; without one, what those in `/etc/gaitway` say.
fn settings<C: DeserializeOwned + Check>(
    service: &'static str,
    file: Option<&ConfigFile>,
) -> Result<Loaded<C>, ConfigError> {
    match file {
        Some(file) => file.read_either(service, NoFlags {}),
        None => read_either(service, None, NoFlags {}),
    }
}

/// The spool of `up`'s data directory, or of an agent's own.
fn spool_in(dir: &Path) -> PathBuf {
    let own = dir.join("spool.db");
    if is_agents(dir) { own } else { dir.join("agent").join("spool.db") }
}

/// Whether `dir` is an agent's own, by what lies in it.
fn is_agents(dir: &Path) -> bool {
    let Ok(entries) = std::fs::read_dir(dir) else { return false };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    names.into_iter().any(|name| name == "phones.json" || name == "spool.db" || name.starts_with("spool.db.damaged-"))
}

/// The warehouse of the `up` of whose data directory `dir` is the agent's part.
fn beside_agents(dir: &Path) -> Option<PathBuf> {
    if !is_agents(dir) {
        return None;
    }
    let whole = if dir.ends_with("agent") && !dir.is_symlink() { dir.to_owned() } else { dir.canonicalize().ok()? };
    whole.ends_with("agent").then(|| whole.with_file_name("warehouse.db"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_warehouse_that_a_named_file_names_is_meant_whatever_the_data_directory_holds() {
        let dir = tempfile::tempdir().unwrap();
        let (file, own) = (dir.path().join("sink.toml"), dir.path().join("own.db"));
        std::fs::write(&file, format!("[kafka]\nbrokers = \"k:9092\"\n[sqlite]\npath = \"{}\"\n", own.display()))
            .unwrap();
        std::fs::write(dir.path().join("warehouse.db"), "").unwrap();
        let found = |config: Option<PathBuf>, warehouse: Option<PathBuf>| {
            let data_dir = Some(dir.path().to_owned());
            match (Flags { config, data_dir, kafka: None, warehouse }).find().unwrap().warehouse {
                Warehouse::File(path) => path,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(found(Some(file.clone()), None), own);
        assert_eq!(found(None, None), dir.path().join("warehouse.db"));
        let third = dir.path().join("third.db");
        assert_eq!(found(Some(file), Some(third.clone())), third);
    }
}
