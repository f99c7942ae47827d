//! `gaitway relay`, which is also `gaitway-relay`. Without Kafka there is no relay of its own, but agents are let in all the
//! same: by that of `gaitway up`.

mod agent;
#[cfg(feature = "kafka")]
mod agents;
#[cfg(feature = "kafka")]
mod service;

#[cfg(feature = "kafka")]
pub use service::{Args, Cli, KafkaFlags, command, run};

/// Lets agents in and throws them out.
#[cfg(not(feature = "kafka"))]
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    task: Task,
}

#[cfg(not(feature = "kafka"))]
#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Let agents in and throw them out
    #[command(subcommand)]
    Agent(agent::AgentCommand),
}

/// Does it.
#[cfg(not(feature = "kafka"))]
pub fn run(args: Args) -> anyhow::Result<std::process::ExitCode> {
    let Task::Agent(command) = args.task;
    agent::run(command, None, None)
}
