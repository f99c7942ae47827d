//! What the sink can be told, the body of `sink.toml`.

#[cfg(feature = "kafka")]
use std::net::SocketAddr;

#[cfg(feature = "kafka")]
use gaitway_kafka::KafkaConfig;
use gaitway_service::config::{Check, ConfigError, Loaded, Wrong};
use serde::{Deserialize, Serialize};

use crate::{postgres, snowflake, sqlite};

#[cfg(feature = "kafka")]
mod batch;

#[cfg(feature = "kafka")]
pub use batch::BatchConfig;

/// The sink's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(not(feature = "kafka"), derive(Default))]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// The Kafka that records come from.
    #[cfg(feature = "kafka")]
    pub kafka: KafkaConfig,
    /// The consumer group, 1 to 249 printable characters. Sinks of one group share the partitions.
    #[cfg(feature = "kafka")]
    pub group: String,
    /// The warehouse that records go into. Of the tables below, the one of the chosen warehouse is used.
    pub warehouse: WarehouseKind,
    /// The local warehouse: a file of SQLite. Activity and gaps are always kept; the limits here are for raw readings.
    pub sqlite: sqlite::Options,
    /// A PostgreSQL database, for `warehouse = "postgres"`.
    pub postgres: postgres::Options,
    /// Snowflake, for `warehouse = "snowflake"`. It needs `account`, `user` and one of `private_key_file` and
    /// `private_key`.
    pub snowflake: Option<snowflake::Options>,
    /// What goes into one submit to the warehouse, and what may wait for it.
    #[cfg(feature = "kafka")]
    pub batch: BatchConfig,
    /// Where `/healthz`, `/readyz` and `/metrics` are served, to anybody who can reach it. If it is not set, they are
    /// not served.
    #[cfg(feature = "kafka")]
    #[serde(with = "gaitway_service::config::address")]
    pub admin: Option<SocketAddr>,
    /// Whether a partition of which the warehouse has no mark begins at the group's offset: once, to take over from another
    /// consumer that stored everything before it. A flag, never in a file.
    #[cfg(feature = "kafka")]
    #[serde(skip)]
    pub adopt_from_group: bool,
}

/// The kinds of warehouses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WarehouseKind {
    /// A file on this machine.
    #[default]
    Sqlite,
    /// A PostgreSQL database.
    Postgres,
    /// Snowflake, by Snowpipe Streaming.
    Snowflake,
}

#[cfg(feature = "kafka")]
impl Default for SinkConfig {
    fn default() -> Self {
        Self {
            kafka: KafkaConfig::default(),
            group: "gaitway-sink".to_owned(),
            warehouse: WarehouseKind::default(),
            sqlite: sqlite::Options::default(),
            postgres: postgres::Options::default(),
            snowflake: None,
            batch: BatchConfig::default(),
            admin: None,
            adopt_from_group: false,
        }
    }
}

impl SinkConfig {
    /// Refuses a warehouse that is described and not chosen: records would go elsewhere without a word.
    pub fn check_chosen(loaded: &Loaded<Self>) -> Result<(), ConfigError> {
        let chosen = loaded.config.warehouse;
        for (key, kind) in [("postgres", WarehouseKind::Postgres), ("snowflake", WarehouseKind::Snowflake)] {
            if loaded.is_set(key) && chosen != kind {
                let problem = format!("stands beside another warehouse: set `warehouse` to \"{key}\", or remove it");
                return Err(loaded.refuse(Wrong::new(key, problem).naming("warehouse")));
            }
        }
        Ok(())
    }
}

/// Longest name of a group. Kafka has no limit of its own; this one keeps it readable.
#[cfg(feature = "kafka")]
const MAX_GROUP: usize = 249;

impl Check for SinkConfig {
    fn check(&self) -> Result<(), Wrong> {
        #[cfg(feature = "kafka")]
        {
            self.kafka.check()?;
            if self.group.trim().is_empty() || self.group.len() > MAX_GROUP || self.group.contains(char::is_control) {
                return Err(Wrong::new("group", "must be 1 to 249 printable characters"));
            }
            self.batch.check()?;
        }
        self.sqlite.check()?;
        self.postgres.check()?;
        match (&self.snowflake, self.warehouse) {
            (Some(snowflake), _) => snowflake.check(),
            (None, WarehouseKind::Snowflake) => {
                let problem = "must have its table `snowflake` with account, user and private_key_file";
                Err(Wrong::new("warehouse", problem).naming("snowflake"))
            }
            (None, _) => Ok(()),
        }
    }
}

#[cfg(all(test, feature = "kafka"))]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        SinkConfig::default().check().unwrap();
        let refused = |change: fn(&mut SinkConfig)| {
            let mut config = SinkConfig::default();
            change(&mut config);
            config.check().unwrap_err().to_string()
        };
        assert!(refused(|c| c.group = " ".to_owned()).contains("`group` must be 1 to 249"));
        assert!(refused(|c| c.group = "a\nb".to_owned()).contains("`group`"));
        assert!(refused(|c| c.kafka.brokers.clear()).contains("`kafka.brokers`"));
        assert!(refused(|c| c.batch.max_rows = 0).contains("`batch.max_rows`"));
        assert!(refused(|c| c.sqlite.max_bytes = 0).contains("`sqlite.max_bytes`"));
    }

    #[test]
    fn a_warehouse_that_is_described_and_not_chosen_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sink.toml");
        let checked = |text: &str| {
            std::fs::write(&path, text).unwrap();
            let loaded = gaitway_service::config::read::<SinkConfig>("sink", Some(&path), None, ()).unwrap();
            SinkConfig::check_chosen(&loaded).map_err(|error| error.to_string())
        };
        let (postgres, keys) =
            ("[postgres]\nconnect_timeout = '10s'", "account = 'a-b'\nuser = 'u'\nprivate_key_file = '/k'");
        let snowflake = format!("[snowflake]\n{keys}");
        for (chosen, table) in [("", postgres), ("", &snowflake), ("warehouse = 'postgres'", &snowflake)] {
            let said = checked(&format!("{chosen}\n{table}")).unwrap_err();
            assert!(said.contains("stands beside another warehouse: set `warehouse` to \""), "{said}");
        }
        for (chosen, table) in [("postgres", postgres), ("snowflake", &snowflake), ("sqlite", "")] {
            checked(&format!("warehouse = '{chosen}'\n{table}")).unwrap();
        }
    }

    #[test]
    fn the_flag_to_adopt_is_in_no_file() {
        assert!(serde_json::from_str::<SinkConfig>(r#"{"adopt_from_group":true}"#).is_err());
    }
}
