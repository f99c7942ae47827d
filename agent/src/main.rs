//! `gaitway-agent`: the agent alone, for small machines.

use std::process::ExitCode;

use clap::Parser;
use gaitway_agent::command::{self, Args};
use gaitway_service::dumps;

#[derive(Debug, Parser)]
#[command(name = "gaitway-agent", version, about)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    dumps::forbid();
    match command::run(Cli::parse().args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gaitway-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
