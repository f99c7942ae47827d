//! Every command of gaitway. Each parses and calls: the work is in the crates.

#[cfg(feature = "kafka")]
mod audit;
mod doctor;
#[cfg(feature = "kafka")]
mod forget;
#[cfg(feature = "kafka")]
mod places;
#[cfg(feature = "kafka")]
mod reclassify;
mod replay;
#[cfg(feature = "kafka")]
mod sqlite;
#[cfg(feature = "kafka")]
mod tail;
#[cfg(feature = "kafka")]
mod tune;
mod up;
#[cfg(feature = "kafka")]
mod warehouse;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use gaitway_service::{completions, dumps};

/// Phone activity from pocket to warehouse, every accepted reading exactly once.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything on this machine: agent, relay and a local warehouse in one process
    Up(up::Args),
    /// The agent alone, towards a relay elsewhere
    Agent(gaitway_agent::command::Args),
    /// The relay alone: agents' records into Kafka; and who may come to a relay
    Relay(gaitway_relay::command::Args),
    /// The sink: records from Kafka into a warehouse
    #[cfg(feature = "kafka")]
    Sink(gaitway_sink::command::Args),
    /// Play recordings to an agent as phones would
    Replay(replay::Args),
    /// Hold what was accepted against what is in spool, Kafka and warehouse
    #[cfg(feature = "kafka")]
    Audit(audit::Args),
    /// Look at everything that is configured on this machine and say what is missing or wrong
    Doctor(doctor::Args),
    /// Delete what one device sent, in spool and warehouse, and say where else it may be
    #[cfg(feature = "kafka")]
    Forget(forget::Args),
    /// Compute a warehouse's windows anew, show what differs, and with --write store it as their next revision
    #[cfg(feature = "kafka")]
    Reclassify(reclassify::Args),
    /// Find the thresholds that fit recordings of which somebody said what they are
    #[cfg(feature = "kafka")]
    Tune(tune::Args),
    /// Show records as they come, wherever they are
    #[cfg(feature = "kafka")]
    Tail(tail::Args),
}

/// The command line of `gaitway`, for those who describe it.
pub fn command() -> clap::Command {
    completions::command::<Cli>()
}

/// Whether `gaitway up` would take this file.
pub fn check_configuration(file: &std::path::Path) -> Result<(), gaitway_service::config::ConfigError> {
    up::check_file(file)
}

/// What the binary does.
pub fn main() -> ExitCode {
    dumps::forbid();
    let cli = match completions::parse::<Cli>() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gaitway: {error:#}");
            let fenced = error.downcast_ref::<gaitway_relay::Fenced>().is_some();
            if fenced { ExitCode::from(gaitway_relay::EXIT_FENCED) } else { ExitCode::FAILURE }
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Up(args) => serve(async { up::run(args).await.map(|()| ExitCode::SUCCESS) }),
        Command::Agent(args) => serve(gaitway_agent::command::run(args)),
        #[cfg(feature = "kafka")]
        Command::Relay(args) => serve(gaitway_relay::command::run(args)),
        #[cfg(not(feature = "kafka"))]
        Command::Relay(args) => gaitway_relay::command::run(args),
        #[cfg(feature = "kafka")]
        Command::Sink(args) => serve(gaitway_sink::command::run(args)),
        Command::Replay(args) => replay::run(args),
        #[cfg(feature = "kafka")]
        Command::Audit(args) => audit::run(args),
        Command::Doctor(args) => doctor::run(&args),
        #[cfg(feature = "kafka")]
        Command::Forget(args) => forget::run(args),
        #[cfg(feature = "kafka")]
        Command::Reclassify(args) => reclassify::run(args),
        #[cfg(feature = "kafka")]
        Command::Tune(args) => tune::run(args),
        #[cfg(feature = "kafka")]
        Command::Tail(args) => tail::run(args),
    }
}

/// Runs a service on as few threads as keep phones and relay apart.
fn serve(service: impl Future<Output = anyhow::Result<ExitCode>>) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    runtime.block_on(service)
}
