//! `gaitway-relay`: the relay alone.

use std::process::ExitCode;

use clap::Parser;
use gaitway_relay::command::{self, Args};
use gaitway_relay::{EXIT_FENCED, Fenced};
use gaitway_service::{completions, dumps};

#[derive(Debug, Parser)]
#[command(name = "gaitway-relay", version, about)]
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
            eprintln!("gaitway-relay: {error:#}");
            if error.downcast_ref::<Fenced>().is_some() { ExitCode::from(EXIT_FENCED) } else { ExitCode::FAILURE }
        }
    }
}
