//! Which Kafka and which warehouses this machine's services use.
//!
//! - A file is the combined one of `up`, or a service's own; one that could be either service's is taken for both.
//! - Without a file those in `/etc/gaitway` are used, all that are there; without any it is `up` in this folder.

use std::path::{Path, PathBuf};

use anyhow::bail;
use gaitway_agent::config::AgentConfig;
use gaitway_kafka::KafkaConfig;
use gaitway_relay::RelayConfig;
use gaitway_service::config::{ConfigError, ConfigFile, load};
use gaitway_sink::{SinkConfig, WarehouseKind, postgres, snowflake, sqlite};
use serde::Serialize;

/// Where services' files are.
const DIRECTORY: &str = "/etc/gaitway";

/// Where `up` keeps everything if it is not told.
const DATA_DIR: &str = "gaitway-data";

/// A Kafka, and who uses it.
#[derive(Debug)]
pub(super) struct Brokers {
    pub(super) config: KafkaConfig,
    pub(super) relay: bool,
    pub(super) group: Option<String>,
}

/// Where a sink, or `up`, stores records.
#[derive(Debug)]
pub(super) enum Warehouse {
    Sqlite(PathBuf, sqlite::Options),
    Postgres(postgres::Options),
    Snowflake(snowflake::Options),
}

/// Whose offsets, in which Kafka, a warehouse's marks can be held against.
#[derive(Debug)]
pub(super) struct Fed {
    pub(super) kafka: KafkaConfig,
    pub(super) group: String,
    pub(super) adopt: bool,
}

/// What there is to look at.
#[derive(Debug, Default)]
pub(super) struct Configured {
    pub(super) kafka: Vec<Brokers>,
    /// With what feeds them, if that is Kafka.
    pub(super) warehouses: Vec<(Warehouse, Option<Fed>)>,
}

/// The flag `--kafka` in the shape of a service's configuration.
#[derive(Debug, Serialize)]
struct Flags {
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<Address>,
}

#[derive(Debug, Clone, Serialize)]
struct Address {
    brokers: String,
}

impl Configured {
    /// Finds it. `brokers` and `data_dir` are the flags.
    pub(super) fn find(
        file: Option<&Path>,
        brokers: Option<String>,
        data_dir: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let flags = Flags { kafka: brokers.map(|brokers| Address { brokers }) };
        let data_dir = data_dir.unwrap_or_else(|| DATA_DIR.into());
        let mut configured = Self::default();
        match file.map(ConfigFile::named).transpose()? {
            Some(file) if file.is_combined() => configured.add_up(Some(&file), &flags, &data_dir)?,
            Some(file) => configured.add_own(&file, &flags)?,
            None => configured.add_standard(&flags, &data_dir)?,
        }
        Ok(configured)
    }

    fn add_own(&mut self, file: &ConfigFile, flags: &Flags) -> anyhow::Result<()> {
        let relay = file.read::<RelayConfig>("relay", None, flags);
        let sink = file.read::<SinkConfig>("sink", None, flags);
        if let (Err(as_relays), Err(as_sinks)) = (&relay, &sink) {
            let is_of_another = |error: &ConfigError| matches!(error, ConfigError::UnknownKey { .. });
            match (is_of_another(as_relays), is_of_another(as_sinks)) {
                _ if file.read::<AgentConfig>("agent", None, Flags { kafka: None }).is_ok() => bail!(
                    "{} is an agent's configuration, which has neither Kafka nor a warehouse: name a relay's, a sink's or up's",
                    file.path().display()
                ),
                (false, true) => bail!("{as_relays}"),
                (true, false) => bail!("{as_sinks}"),
                _ => bail!("neither a relay's nor a sink's configuration: {as_relays}; {as_sinks}"),
            }
        }
        if let Ok(relay) = relay {
            self.add_relay(relay.config);
        }
        if let Ok(sink) = sink {
            self.add_sink(sink.config);
        }
        Ok(())
    }

    fn add_standard(&mut self, flags: &Flags, data_dir: &Path) -> anyhow::Result<()> {
        let there = |name: &str| Some(Path::new(DIRECTORY).join(name)).filter(|path| path.exists());
        let (relay, sink, up) = (there("relay.toml"), there("sink.toml"), there("up.toml"));
        if let Some(file) = &relay {
            self.add_relay(load("relay", Some(file), None, flags)?);
        }
        if let Some(file) = &sink {
            self.add_sink(load("sink", Some(file), None, flags)?);
        }
        if up.is_some() || (relay.is_none() && sink.is_none()) {
            let up = up.map(|path| ConfigFile::named(&path)).transpose()?;
            self.add_up(up.as_ref(), flags, data_dir)?;
        }
        Ok(())
    }

    fn add_up(&mut self, file: Option<&ConfigFile>, flags: &Flags, data_dir: &Path) -> anyhow::Result<()> {
        let no_kafka = Flags { kafka: None };
        let (relay, sink): (RelayConfig, SinkConfig) = match file {
            Some(file) => {
                (file.read("relay", Some("relay"), flags)?.config, file.read("sink", Some("sink"), no_kafka)?.config)
            }
            None => (load("relay", None, None, flags)?, load("sink", None, None, no_kafka)?),
        };
        let fed = relay.kafka.map(|kafka| {
            let own = if sink.kafka == KafkaConfig::default() { kafka.clone() } else { sink.kafka };
            self.add_brokers(kafka, true, None);
            self.add_brokers(own.clone(), false, Some(sink.group.clone()));
            Fed { kafka: own, group: sink.group, adopt: sink.adopt_from_group }
        });
        self.warehouses.push((Warehouse::Sqlite(data_dir.join("warehouse.db"), sink.sqlite), fed));
        Ok(())
    }

    fn add_relay(&mut self, relay: RelayConfig) {
        self.add_brokers(relay.kafka.unwrap_or_default(), true, None);
    }

    fn add_sink(&mut self, sink: SinkConfig) {
        self.add_brokers(sink.kafka.clone(), false, Some(sink.group.clone()));
        let fed = Fed { kafka: sink.kafka, group: sink.group, adopt: sink.adopt_from_group };
        let warehouse = match (sink.warehouse, sink.snowflake) {
            (WarehouseKind::Sqlite, _) => Some(Warehouse::Sqlite(sink.sqlite.path.clone(), sink.sqlite)),
            (WarehouseKind::Postgres, _) => Some(Warehouse::Postgres(sink.postgres)),
            (WarehouseKind::Snowflake, options) => options.map(Warehouse::Snowflake),
        };
        self.warehouses.extend(warehouse.map(|warehouse| (warehouse, Some(fed))));
    }

    /// What two services share is looked at once.
    fn add_brokers(&mut self, config: KafkaConfig, relay: bool, group: Option<String>) {
        match self.kafka.iter_mut().find(|known| known.config == config && (known.group.is_none() || group.is_none())) {
            Some(known) => {
                known.relay |= relay;
                known.group = known.group.take().or(group);
            }
            None => self.kafka.push(Brokers { config, relay, group }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> anyhow::Result<Configured> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        Configured::find(Some(&path), None, Some("data".into()))
    }

    #[test]
    fn each_kind_of_file_tells_what_its_service_uses() {
        let sink = found("sink.toml", "warehouse = \"postgres\"\n[kafka]\nbrokers = \"a:1\"\n").unwrap();
        assert!(
            matches!(sink.warehouses.as_slice(), [(Warehouse::Postgres(_), Some(fed))] if fed.group == "gaitway-sink")
        );
        assert_eq!((sink.kafka[0].config.brokers.as_str(), sink.kafka[0].relay), ("a:1", false));
        assert_eq!(sink.kafka[0].group.as_deref(), Some("gaitway-sink"));

        let relay = found("relay.toml", "mqtt = \"127.0.0.1:1\"\n").unwrap();
        assert!(relay.warehouses.is_empty() && relay.kafka[0].relay && relay.kafka[0].group.is_none());

        let both = found("some.toml", "[kafka]\nbrokers = \"a:1\"\n").unwrap();
        assert!(both.kafka.len() == 1 && both.kafka[0].relay && both.kafka[0].group.is_some());

        let up = found("up.toml", "[relay.kafka]\nbrokers = \"a:1\"\n[sink]\ngroup = \"g\"\n").unwrap();
        assert!(
            matches!(up.warehouses.as_slice(), [(Warehouse::Sqlite(path, _), Some(fed))] if path == Path::new("data/warehouse.db") && fed.group == "g")
        );
        assert_eq!((up.kafka.len(), up.kafka[0].group.as_deref()), (1, Some("g")));

        let local = found("up.toml", "[relay]\nmqtt = \"127.0.0.1:1\"\n[sink]\n").unwrap();
        assert!(local.kafka.is_empty() && matches!(local.warehouses.as_slice(), [(_, None)]));

        let agent = found("agent.toml", "agent_id = \"attic\"\n").unwrap_err().to_string();
        assert!(agent.contains("is an agent's configuration"), "{agent}");
        let wrong = found("sink.toml", "group = \"\"\n").unwrap_err().to_string();
        assert!(wrong.contains("`group` is \"\"") && !wrong.contains("neither"), "{wrong}");

        let said = found("other.toml", "colour = \"red\"\n").unwrap_err().to_string();
        assert!(said.contains("neither a relay's nor a sink's"), "{said}");
    }
}
