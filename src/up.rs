//! `gaitway up`: the whole path in one process. The agent talks to the relay over MQTT on the relay's own listener, as
//! an agent elsewhere would; the relay's ledger is a local warehouse. With Kafka the relay commits there, and a sink brings what
//! comes from there into the warehouse.

mod banner;
#[cfg(feature = "kafka")]
mod kafka;
mod live;
mod together;

use std::io::IsTerminal as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use gaitway_agent::command::address;
use gaitway_agent::config::AgentConfig;
use gaitway_agent::status::AgentStatus;
use gaitway_proto::ledger::Ledger;
use gaitway_relay::{Doors, RelayConfig, RelayStatus};
use gaitway_service::config::{ConfigError, ConfigFile, Loaded};
use gaitway_service::health::Health;
use gaitway_service::lock::DataDir;
use gaitway_service::metrics::Metrics;
use gaitway_service::secret::Secret;
use gaitway_service::tasks::Tasks;
use gaitway_service::{logs, server, signals};
use gaitway_sink::SinkConfig;
use gaitway_sink::sqlite::Warehouse;
use serde::Serialize;
use zeroize::Zeroizing;

use live::Live;

/// Where everything is kept if it is not told.
pub(crate) const DATA_DIR: &str = "gaitway-data";

/// Takes pushes of phones, classifies them and keeps everything in a warehouse on this machine. Its MQTT listener can
/// serve agents on other machines too.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Where everything is kept: agent/spool.db and warehouse.db [default: as configured, ./gaitway-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where phones push to [default: 0.0.0.0:8000]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    http: Option<SocketAddr>,
    /// Where agents connect; elsewhere than on 127.0.0.1 with TLS and certificates [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    mqtt: Option<SocketAddr>,
    /// Commit to this Kafka, and bring what comes from there into the warehouse [default: into the warehouse itself]
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "HOST:PORT,…")]
    kafka: Option<String>,
    /// Configuration file with the tables agent, relay and sink [default: /etc/gaitway/up.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Debug, Serialize)]
struct AgentFlags {
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<SocketAddr>,
}

#[derive(Debug, Serialize)]
struct RelayFlags {
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt: Option<SocketAddr>,
    #[cfg(feature = "kafka")]
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<gaitway_relay::command::KafkaFlags>,
}

#[derive(Debug, Serialize)]
struct NoFlags {}

/// Runs everything until a signal ends it.
pub(crate) async fn run(args: Args) -> anyhow::Result<()> {
    let terminal = std::io::stdout().is_terminal();
    if terminal {
        logs::init_beside_live_line();
    } else {
        logs::init();
    }
    let Args { data_dir, http, mqtt, config: file, .. } = &args;
    let relay_flags = RelayFlags {
        mqtt: *mqtt,
        #[cfg(feature = "kafka")]
        kafka: args.kafka.clone().map(|brokers| gaitway_relay::command::KafkaFlags { brokers }),
    };
    let file = ConfigFile::find(file.as_deref(), "up")?;
    let configured = file.data_dir()?;
    let data_dir = data_dir.as_deref().or(configured.as_deref()).unwrap_or(Path::new(DATA_DIR));
    let agent = file.read::<AgentConfig>("agent", Some("agent"), AgentFlags { http: *http })?;
    let relay = file.read::<RelayConfig>("relay", Some("relay"), relay_flags)?;
    let sink = file.read::<SinkConfig>("sink", Some("sink"), NoFlags {})?;
    check(&agent, &relay, &sink)?;
    let https = agent.config.https.load().map_err(|wrong| agent.refuse(wrong))?;
    #[cfg(feature = "kafka")]
    let kafka = kafka::chosen(&relay, &sink)?;
    let (mut agent, mut relay, sink) = (agent.config, relay.config, sink.config);
    agent.data_dir = data_dir.join("agent");
    agent.open_is_told = terminal;
    relay.data_dir = data_dir.join("relay");

    let shutdown = signals::shutdown()?;
    let _locked = DataDir::lock(data_dir)?;
    let push = gaitway_agent::bind(&agent)?;
    let doors = Doors::open(&relay)?;
    let push_address = push.local_addr()?;
    let doors = with_own(doors, &relay, &mut agent)?;

    let (health, metrics) = (Health::new(), Metrics::new());
    let path = data_dir.join("warehouse.db");
    let was_used = agent.data_dir.join("spool.db").exists();
    let is_anew = path.metadata().map_or(was_used, |file| file.len() == 0);
    let opened = path.clone();
    let warehouse = tokio::task::spawn_blocking(move || Warehouse::open(opened, &sink.sqlite)).await??;
    if is_anew && warehouse.counters().set_aside() == 0 {
        tracing::warn!("no warehouse at {} (or it is empty): an empty one is begun", path.display());
    }
    warehouse.counters().register(&metrics);
    let (agent_status, relay_status) = (Arc::new(AgentStatus::default()), Arc::new(RelayStatus::default()));
    banner::show(terminal, push_address, data_dir, &agent)?;

    let mut tasks = Tasks::new();
    #[cfg(feature = "kafka")]
    let ledger: Box<dyn Ledger> = match kafka {
        Some(kafka) => kafka.between(warehouse, &mut tasks, (&health, &metrics), &shutdown)?,
        None => Box::new(warehouse),
    };
    #[cfg(not(feature = "kafka"))]
    let ledger: Box<dyn Ledger> = Box::new(warehouse);
    let (status, stop) = (relay_status.clone(), shutdown.clone());
    let (relay_health, relay_metrics) = (health.clone(), metrics.clone());
    tasks.spawn("relay", async move {
        gaitway_relay::run(relay, doors, ledger, status, &relay_health, &relay_metrics, stop).await
    });
    let (status, stop) = (agent_status.clone(), shutdown.clone());
    tasks.spawn("agent", async move {
        gaitway_agent::run(agent, push, https, status, &health, &metrics, stop).await.context("agent")
    });
    let live = Live::new(agent_status, relay_status);
    if terminal {
        tasks.spawn("live line", live.draw(shutdown.clone()));
    } else {
        tasks.spawn("summary", live.log(shutdown.clone()));
    }
    tasks.join(shutdown).await
}

/// Refuses the file that `up` would refuse.
pub(crate) fn check_file(file: &Path) -> Result<(), ConfigError> {
    let file = ConfigFile::named(file)?;
    let agent = file.read::<AgentConfig>("agent", Some("agent"), NoFlags {})?;
    let relay = file.read::<RelayConfig>("relay", Some("relay"), NoFlags {})?;
    let sink = file.read::<SinkConfig>("sink", Some("sink"), NoFlags {})?;
    check(&agent, &relay, &sink)
}

/// Refuses configurations that do not go together. Pure.
pub(crate) fn check(
    agent: &Loaded<AgentConfig>,
    relay: &Loaded<RelayConfig>,
    sink: &Loaded<SinkConfig>,
) -> Result<(), ConfigError> {
    together::check(agent, relay, sink)?;
    #[cfg(feature = "kafka")]
    kafka::chosen(relay, sink)?;
    Ok(())
}

/// The relay's doors, and in `agent` how its own agent comes in: as agents on this machine do where these need no certificate, else
/// by a door that nobody else finds open.
fn with_own(doors: Doors, relay: &RelayConfig, agent: &mut AgentConfig) -> anyhow::Result<Doors> {
    if let Some(address) = doors.address()?.filter(|address| !relay.wants_tls(*address)) {
        agent.relay.address = Some(format!("mqtt://{address}").parse()?);
        return Ok(doors);
    }
    let own = server::bind((Ipv4Addr::LOCALHOST, 0).into()).context("cannot listen on 127.0.0.1 for the own agent")?;
    let bits = || getrandom::u64().context("the system gives no random numbers");
    let word = Zeroizing::new(format!("{:016x}{:016x}", bits()?, bits()?));
    agent.relay.address = Some(format!("mqtt://{}", own.local_addr()?).parse()?);
    agent.relay.word = Some(word.clone());
    Ok(doors.with_own(own, Secret::new(word.as_str())))
}
