//! A relay of its own, which commits to Kafka.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use gaitway_service::health::Health;
use gaitway_service::healthcheck::{self, Target};
use gaitway_service::metrics::Metrics;
use gaitway_service::{config, logs, notify, signals};
use serde::Serialize;

use super::agent::{self, AgentCommand};
use super::agents;
use crate::kafka::{KafkaLedger, owner_name};
use crate::{Doors, RelayConfig, RelayStatus};

/// Takes what agents send over MQTT and commits it to Kafka, each frame once.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file [default: /etc/gaitway/relay.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where agents connect; elsewhere than on 127.0.0.1 with TLS and certificates [default: 127.0.0.1:1883]
    #[arg(long, value_name = "ADDR", value_parser = config::address::parse)]
    mqtt: Option<SocketAddr>,
    /// Where the relay's authority and certificates are kept [default: ./gaitway-data/relay]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Brokers, divided by commas [default: 127.0.0.1:9092]
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Where health and metrics are served [default: nowhere]
    #[arg(long, value_name = "ADDR", value_parser = config::address::parse)]
    admin: Option<SocketAddr>,
    #[command(subcommand)]
    task: Option<Task>,
}

/// The command line of `gaitway-relay`.
#[derive(Debug, clap::Parser)]
#[command(name = "gaitway-relay", version, about)]
pub struct Cli {
    /// What is asked for.
    #[command(flatten)]
    pub args: Args,
}

/// The command line, for those who describe it.
pub fn command() -> clap::Command {
    gaitway_service::completions::command::<Cli>()
}

/// What is done instead of running a relay.
#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Let agents in and throw them out
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Tell of each agent of a running relay when it was last heard, whether it is here, and what waits
    Agents {
        /// The relay's configuration file; `up`'s will do [default: /etc/gaitway/relay.toml if it exists]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Where the relay serves health and metrics [default: as configured]
        #[arg(long, value_name = "ADDR", value_parser = config::address::parse)]
        admin: Option<SocketAddr>,
        /// Brokers, for agents that the relay has not heard of since its start [default: as the relay says]
        #[arg(long, value_name = "HOST:PORT")]
        kafka: Option<String>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Ask the running relay whether data moves: /readyz, for images; ends with 1 if it does not
    Healthcheck(healthcheck::Args),
}

/// The flags in the shape of [`RelayConfig`].
#[derive(Debug, Serialize)]
struct Flags {
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mqtt: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kafka: Option<KafkaFlags>,
}

/// The flag `--kafka` in the shape of the table `kafka`.
#[derive(Debug, Serialize)]
pub struct KafkaFlags {
    /// Brokers.
    pub brokers: String,
}

/// Runs the relay until a signal ends it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { config: file, data_dir, mqtt, kafka, admin, task } = args;
    let flags = |data_dir, mqtt, admin: Option<SocketAddr>, kafka: Option<String>| Flags {
        data_dir,
        mqtt,
        admin,
        kafka: kafka.map(|brokers| KafkaFlags { brokers }),
    };
    match task {
        Some(Task::Agent(command)) => return agent::run(command, file, data_dir),
        Some(Task::Agents { config, admin: told, kafka: brokers, json }) => {
            let flags = flags(data_dir, mqtt, told.or(admin), brokers.or(kafka));
            let config = config::load_either::<RelayConfig>("relay", config.or(file).as_deref(), flags)?;
            return agents::run(config, json).await;
        }
        Some(Task::Healthcheck(args)) => {
            let config = args.config.as_deref().or(file.as_deref());
            return ask_whether_ready(args.url, config, flags(data_dir, mqtt, admin, kafka)).await;
        }
        None => {}
    }
    logs::init();
    let mut config = config::load::<RelayConfig>("relay", file.as_deref(), None, flags(data_dir, mqtt, admin, kafka))?;
    let kafka = config.kafka.get_or_insert_default().clone();
    let shutdown = signals::shutdown()?;
    let doors = Doors::open(&config)?;
    let name = owner_name().context("the system gives no random numbers")?;
    let ledger = KafkaLedger::new(kafka, name, shutdown.clone());
    let (status, health, metrics) = (Arc::new(RelayStatus::default()), Health::new(), Metrics::new());
    let (opened, stop) = (Arc::clone(&status), shutdown.clone());
    // Kafka may be away for long: what a service manager waits for is that agents can come.
    let alive = async move {
        opened.listens().await;
        notify::ready();
        notify::watchdog(stop).await
    };
    let relay = crate::run(config, doors, Box::new(ledger), status, &health, &metrics, shutdown);
    tokio::try_join!(relay, alive)?;
    Ok(ExitCode::SUCCESS)
}

async fn ask_whether_ready(url: Option<Target>, file: Option<&Path>, flags: Flags) -> anyhow::Result<ExitCode> {
    if let Some(target) = url {
        return healthcheck::run(&target).await;
    }
    let config = config::load_either::<RelayConfig>("relay", file, flags)?;
    let admin = config.admin.context("relay.admin is not set, so that nobody can ask this relay: set it to IP:PORT")?;
    healthcheck::run(&Target::ready(admin)).await
}
