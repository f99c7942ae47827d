//! `gaitway-agent`: the agent alone, for small machines.

use std::process::ExitCode;

use clap::Parser;
use gaitway_agent::command::{self, Args};
use gaitway_service::{completions, dumps};

#[derive(Debug, Parser)]
#[command(name = "gaitway-agent", version, about)]
struct Cli {
    #[command(flatten)]
    args: Args,
}

#[tokio::main(worker_threads = 2)]
async fn main() -> ExitCode {
    dumps::forbid();
    let cli = match completions::parse::<Cli>() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    match command::run(cli.args).await {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gaitway-agent: {error:#}");
            ExitCode::FAILURE
        }
    }
}
