//! What this machine's services are configured to use.
//!
//! - A file is the combined one of `up`, or a service's own: by its name (`agent.toml`), else by what stands in it; one that could be
//!   several services' is taken for all of them.
//! - Without a file those in `/etc/gaitway` are used, all that are there; without any it is `up` in this folder, or the agent alone that has
//!   run there.
//! - A file that is named must make sense; of others that do not it is said, and the rest is looked at.

use std::path::{Path, PathBuf};

use anyhow::bail;
use gaitway_agent::checkup::Run;
use gaitway_agent::config::AgentConfig;
use gaitway_relay::RelayConfig;
use gaitway_service::checkup::Checkup;
use gaitway_service::config::{ConfigError, ConfigFile, Loaded};
use gaitway_sink::{SinkConfig, WarehouseKind, postgres, snowflake, sqlite};
use serde::Serialize;

#[cfg(feature = "kafka")]
use super::kafka::{Brokers, Fed};
use crate::up::{self, DATA_DIR};

/// Where services' files are.
const DIRECTORY: &str = "/etc/gaitway";

/// Where a sink, or `up`, stores records.
#[derive(Debug)]
pub(super) enum Warehouse {
    Sqlite(PathBuf, sqlite::Options),
    Postgres(postgres::Options),
    Snowflake(snowflake::Options),
}

/// A warehouse, and what feeds it, if that is Kafka.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) warehouse: Warehouse,
    /// The data directory of the `up` that it is part of.
    pub(super) own: Option<PathBuf>,
    #[cfg(feature = "kafka")]
    pub(super) fed: Option<Fed>,
}

/// What there is to look at.
#[derive(Debug, Default)]
pub(super) struct Configured {
    pub(super) agents: Vec<(AgentConfig, Run)>,
    /// With the data directory of the `up` that each is part of.
    pub(super) relays: Vec<(RelayConfig, Option<PathBuf>)>,
    /// Those that run by themselves.
    #[cfg(feature = "kafka")]
    pub(super) sinks: Vec<SinkConfig>,
    #[cfg(feature = "kafka")]
    pub(super) kafka: Vec<Brokers>,
    pub(super) warehouses: Vec<Place>,
}

/// The flags that stand for keys.
#[derive(Debug, Clone, Default)]
pub(super) struct Flags {
    #[cfg(feature = "kafka")]
    pub(super) brokers: Option<String>,
    pub(super) data_dir: Option<PathBuf>,
}

/// A flag in the shape of a service's configuration.
#[derive(Debug, Default, Serialize)]
struct Keys {
    #[cfg(feature = "kafka")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<Address>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
}

#[cfg(feature = "kafka")]
#[derive(Debug, Serialize)]
struct Address {
    brokers: String,
}

impl Flags {
    /// What relay and sink take.
    #[cfg_attr(not(feature = "kafka"), allow(clippy::unused_self, reason = "without Kafka there is no such flag"))]
    fn kafka(&self) -> Keys {
        Keys {
            #[cfg(feature = "kafka")]
            kafka: self.brokers.clone().map(|brokers| Address { brokers }),
            data_dir: None,
        }
    }

    /// What an agent by itself takes.
    fn data_dir(&self) -> Keys {
        Keys {
            #[cfg(feature = "kafka")]
            kafka: None,
            data_dir: self.data_dir.clone(),
        }
    }

    fn of_up(&self) -> PathBuf {
        self.data_dir.clone().unwrap_or_else(|| DATA_DIR.into())
    }
}

/// The services whose own file it may be.
const SERVICES: [&str; 3] = ["agent", "relay", "sink"];

impl Configured {
    /// Finds it, and says of each file whether it is right.
    pub(super) fn find(file: Option<&Path>, flags: &Flags, checkup: &mut Checkup) -> anyhow::Result<Self> {
        let mut configured = Self::default();
        match file.map(ConfigFile::named).transpose()? {
            Some(file) if file.is_combined() => {
                configured.add_up(&file, flags)?;
                right(&file, &["up"], checkup);
            }
            Some(file) => configured.add_own(&file, flags, checkup)?,
            None => configured.add_standard(Path::new(DIRECTORY), flags, checkup),
        }
        Ok(configured)
    }

    fn add_own(&mut self, file: &ConfigFile, flags: &Flags, checkup: &mut Checkup) -> anyhow::Result<()> {
        let stem = file.path().file_stem().and_then(|stem| stem.to_str());
        if let Some(service) = SERVICES.into_iter().find(|service| stem == Some(service)) {
            self.add(service, file, flags)?;
            takes_flags(file, &[service], flags)?;
            right(file, &[service], checkup);
            return Ok(());
        }
        let (mut whose, mut errors) = (Vec::new(), Vec::new());
        for service in SERVICES {
            match self.add(service, file, flags) {
                Ok(()) => whose.push(service),
                Err(error) => errors.push(error),
            }
        }
        if !whose.is_empty() {
            takes_flags(file, &whose, flags)?;
            right(file, &whose, checkup);
            return Ok(());
        }
        // A key that nobody reads there tells that it is another service's file.
        let mut known = errors.iter().filter(|error| !matches!(error, ConfigError::UnknownKey { .. }));
        if let (Some(error), None) = (known.next(), known.next()) {
            bail!("{error}");
        }
        let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
        bail!("neither an agent's, a relay's nor a sink's configuration: {}", said.join("; "))
    }

    fn add_standard(&mut self, directory: &Path, flags: &Flags, checkup: &mut Checkup) {
        let there = |name: &str| {
            // Of one that this user may not see it is said why.
            Some(directory.join(name).with_extension("toml")).filter(|path| path.try_exists().unwrap_or(true))
        };
        let mut is_any = false;
        for service in SERVICES {
            let Some(path) = there(service) else { continue };
            is_any = true;
            match ConfigFile::named(&path).and_then(|file| self.add(service, &file, flags).map(|()| file)) {
                Ok(file) => right(&file, &[service], checkup),
                Err(error) => wrong(&path, error, checkup),
            }
        }
        let up = there("up");
        if let Some(path) = &up {
            match ConfigFile::named(path).and_then(|file| self.add_up(&file, flags).map(|()| file)) {
                Ok(file) => right(&file, &["up"], checkup),
                Err(error) => wrong(path, error, checkup),
            }
        }
        if up.is_some() || (is_any && flags.data_dir.is_none()) {
            return;
        }
        let dir = flags.of_up();
        let is_agents_alone =
            dir.join("agent").is_dir() && !dir.join(".lock").exists() && !dir.join("warehouse.db").exists();
        let (what, added) = if is_agents_alone {
            let mut own = flags.clone();
            own.data_dir = Some(dir.join("agent"));
            ("an agent alone", ConfigFile::find(None, "agent").and_then(|file| self.add("agent", &file, &own)))
        } else {
            ("gaitway up", ConfigFile::find(None, "up").and_then(|file| self.add_up(&file, flags)))
        };
        match added {
            Ok(()) => {
                let said = format!(
                    "no file in {}: looked at is {what} with its data in {}",
                    directory.display(),
                    dir.display()
                );
                checkup.ok("defaults", said);
            }
            Err(error) => wrong(Path::new("environment"), error, checkup),
        }
    }

    /// Adds `service`, whose own file this is.
    fn add(&mut self, service: &str, file: &ConfigFile, flags: &Flags) -> Result<(), ConfigError> {
        match service {
            "agent" => {
                let agent = file.read::<AgentConfig>("agent", None, flags.data_dir())?;
                self.agents.push((agent.config, Run::Alone));
            }
            "relay" => self.add_relay(file.read::<RelayConfig>("relay", None, flags.kafka())?.config),
            _ => {
                let sink = file.read::<SinkConfig>("sink", None, flags.kafka())?;
                SinkConfig::check_chosen(&sink)?;
                self.add_sink(sink.config);
            }
        }
        Ok(())
    }

    fn add_up(&mut self, file: &ConfigFile, flags: &Flags) -> Result<(), ConfigError> {
        let agent = file.read::<AgentConfig>("agent", Some("agent"), Keys::default())?;
        let relay = file.read::<RelayConfig>("relay", Some("relay"), flags.kafka())?;
        let sink = file.read::<SinkConfig>("sink", Some("sink"), Keys::default())?;
        up::check(&agent, &relay, &sink)?;
        let data_dir = flags.data_dir.clone().or(file.data_dir()?).unwrap_or_else(|| DATA_DIR.into());
        let (Loaded { config: mut agent, .. }, Loaded { config: mut relay, .. }) = (agent, relay);
        let Loaded { config: sink, .. } = sink;
        (agent.data_dir, relay.data_dir) = (data_dir.join("agent"), data_dir.join("relay"));
        let path = data_dir.join("warehouse.db");
        self.agents.push((agent, Run::InUp));
        #[cfg(feature = "kafka")]
        let fed = relay.kafka.clone().map(|kafka| {
            let own =
                if sink.kafka == gaitway_kafka::KafkaConfig::default() { kafka.clone() } else { sink.kafka.clone() };
            self.add_brokers(kafka, true, None);
            self.add_brokers(own.clone(), false, Some(sink.group.clone()));
            Fed { kafka: own, group: sink.group.clone(), adopt: sink.adopt_from_group }
        });
        self.relays.push((relay, Some(data_dir.clone())));
        self.warehouses.push(Place {
            warehouse: Warehouse::Sqlite(path, sink.sqlite),
            own: Some(data_dir),
            #[cfg(feature = "kafka")]
            fed,
        });
        Ok(())
    }

    fn add_relay(&mut self, relay: RelayConfig) {
        #[cfg(feature = "kafka")]
        self.add_brokers(relay.kafka.clone().unwrap_or_default(), true, None);
        self.relays.push((relay, None));
    }

    fn add_sink(&mut self, sink: SinkConfig) {
        #[cfg(feature = "kafka")]
        let fed = {
            self.add_brokers(sink.kafka.clone(), false, Some(sink.group.clone()));
            self.sinks.push(sink.clone());
            Some(Fed { kafka: sink.kafka, group: sink.group, adopt: sink.adopt_from_group })
        };
        let warehouse = match (sink.warehouse, sink.snowflake) {
            (WarehouseKind::Sqlite, _) => Some(Warehouse::Sqlite(sink.sqlite.path.clone(), sink.sqlite)),
            (WarehouseKind::Postgres, _) => Some(Warehouse::Postgres(sink.postgres)),
            (WarehouseKind::Snowflake, options) => options.map(Warehouse::Snowflake),
        };
        self.warehouses.extend(warehouse.map(|warehouse| Place {
            warehouse,
            own: None,
            #[cfg(feature = "kafka")]
            fed,
        }));
    }

    /// What two services share is looked at once.
    #[cfg(feature = "kafka")]
    fn add_brokers(&mut self, config: gaitway_kafka::KafkaConfig, relay: bool, group: Option<String>) {
        match self.kafka.iter_mut().find(|known| known.config == config && (known.group.is_none() || group.is_none())) {
            Some(known) => {
                known.relay |= relay;
                known.group = known.group.take().or(group);
            }
            None => self.kafka.push(Brokers { config, relay, group }),
        }
    }
}

/// Whether no flag is for nothing.
fn takes_flags(file: &ConfigFile, whose: &[&str], flags: &Flags) -> anyhow::Result<()> {
    if let (Some(_), false) = (&flags.data_dir, whose.contains(&"agent")) {
        let path = file.path().display();
        bail!(
            "--data-dir is for an agent or for up, and {path} is of neither: set the folder in the file, and leave the flag out"
        );
    }
    Ok(())
}

fn right(file: &ConfigFile, whose: &[&str], checkup: &mut Checkup) {
    let whose = match whose {
        [service] => format!("{service}'s"),
        several => format!("could be {}'s, and is taken for all", several.join("'s, ")),
    };
    checkup.ok(file.path().display().to_string(), format!("{whose}, every key makes sense"));
    for (at, key) in file.exposed_secrets() {
        let said = "is a secret that everybody on this machine may read: keep it in a file of its own, for root alone, and name that (a key in `_file`, `property_files`)";
        checkup.warn(at.to_string(), format!("`{key}` {said}"));
    }
}

fn wrong(path: &Path, error: ConfigError, checkup: &mut Checkup) {
    checkup.fail(path.display().to_string(), format!("{:#}", anyhow::Error::from(error)));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(name: &str, text: &str) -> anyhow::Result<Configured> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        // Files of relays and sinks have their folders in them.
        let takes_it = ["up.toml", "pi.toml", "agent.toml"].contains(&name);
        let flags = Flags { data_dir: takes_it.then(|| "data".into()), ..Flags::default() };
        Configured::find(Some(&path), &flags, &mut Checkup::new())
    }

    #[cfg(feature = "kafka")]
    #[test]
    fn each_kind_of_file_tells_what_its_service_uses() {
        let sink = found("sink.toml", "warehouse = \"postgres\"\n[kafka]\nbrokers = \"a:1\"\n").unwrap();
        assert!(
            matches!(sink.warehouses.as_slice(), [Place { warehouse: Warehouse::Postgres(_), fed: Some(fed), own: None }] if fed.group == "gaitway-sink")
        );
        assert_eq!((sink.kafka[0].config.brokers.as_str(), sink.kafka[0].relay), ("a:1", false));
        assert_eq!(sink.kafka[0].group.as_deref(), Some("gaitway-sink"));

        let relay = found("relay.toml", "mqtt = \"127.0.0.1:1\"\n").unwrap();
        assert!(relay.warehouses.is_empty() && relay.kafka[0].relay && relay.kafka[0].group.is_none());
        assert!(relay.agents.is_empty() && relay.relays.len() == 1);

        let both = found("some.toml", "[kafka]\nbrokers = \"a:1\"\n").unwrap();
        assert!(both.kafka.len() == 1 && both.kafka[0].relay && both.kafka[0].group.is_some());

        let up = found("up.toml", "[relay.kafka]\nbrokers = \"a:1\"\n[sink]\ngroup = \"g\"\n").unwrap();
        assert!(
            matches!(up.warehouses.as_slice(), [Place { warehouse: Warehouse::Sqlite(path, _), fed: Some(fed), own: Some(_) }] if path == Path::new("data/warehouse.db") && fed.group == "g")
        );
        assert_eq!((up.kafka.len(), up.kafka[0].group.as_deref()), (1, Some("g")));
    }

    #[test]
    fn an_agents_file_and_up_are_looked_at_as_they_run() {
        let local = found("up.toml", "[relay]\nmqtt = \"127.0.0.1:1\"\n[sink]\n").unwrap();
        assert!(
            matches!(local.agents.as_slice(), [(agent, Run::InUp)] if agent.data_dir == Path::new("data/agent")),
            "{local:?}"
        );
        assert!(matches!(local.relays.as_slice(), [(_, Some(dir))] if dir == Path::new("data")));
        assert_eq!(local.warehouses.len(), 1);

        let agent = found("pi.toml", "agent_id = \"attic\"\n").unwrap();
        assert!(matches!(agent.agents.as_slice(), [(agent, Run::Alone)] if agent.data_dir == Path::new("data")));
        assert!(agent.relays.is_empty() && agent.warehouses.is_empty());
    }

    #[test]
    fn what_is_wrong_with_a_named_file_names_the_key() {
        for (name, text, says) in [
            ("sink.toml", "warehouse = \"mysql\"\n", "`warehouse` is \"mysql\""),
            ("some.toml", "warehouse = \"mysql\"\n", "`warehouse` is \"mysql\""),
            ("agent.toml", "htpp = 1\n", "unknown key `htpp`, perhaps `http`"),
            ("up.toml", "[agent.relay]\naddress = \"mqtts://x\"\n", "`agent.relay.address`"),
            ("other.toml", "colour = \"red\"\n", "neither an agent's, a relay's nor a sink's"),
        ] {
            let said = format!("{:#}", found(name, text).unwrap_err());
            assert!(said.contains(says), "{said}");
        }
    }

    #[test]
    fn a_data_directory_beside_a_file_that_has_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("relay.toml");
        std::fs::write(&path, "").unwrap();
        let flags = Flags { data_dir: Some("data".into()), ..Flags::default() };
        let error = Configured::find(Some(&path), &flags, &mut Checkup::new()).unwrap_err().to_string();
        assert!(error.contains("--data-dir is for an agent or for up") && error.contains("relay.toml"), "{error}");
    }

    #[test]
    fn of_the_standard_files_those_that_are_wrong_are_named_and_the_others_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("agent.toml"), "htpp = 1\n").unwrap();
        std::fs::write(dir.path().join("sink.toml"), "").unwrap();
        let (mut configured, mut checkup) = (Configured::default(), Checkup::new());
        configured.add_standard(dir.path(), &Flags::default(), &mut checkup);
        assert!(configured.agents.is_empty() && configured.warehouses.len() == 1 && configured.relays.is_empty());
        let said = checkup.to_string();
        assert!(said.contains("fail  ") && said.contains("unknown key `htpp`"), "{said}");
        assert!(said.contains("sink.toml") && said.contains("sink's, every key makes sense"), "{said}");

        let none = tempfile::tempdir().unwrap();
        let flags = Flags { data_dir: Some(none.path().join("data")), ..Flags::default() };
        let mut configured = Configured::default();
        configured.add_standard(none.path(), &flags, &mut Checkup::new());
        assert!(matches!(configured.agents.as_slice(), [(_, Run::InUp)]));
        std::fs::create_dir_all(none.path().join("data/agent")).unwrap();
        let mut configured = Configured::default();
        configured.add_standard(none.path(), &flags, &mut Checkup::new());
        assert!(
            matches!(configured.agents.as_slice(), [(agent, Run::Alone)] if agent.data_dir.ends_with("data/agent"))
        );
    }
}
