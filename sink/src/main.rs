//! `gaitway-sink`: the sink alone.

use std::process::ExitCode;

use gaitway_service::{completions, dumps};
use gaitway_sink::command::{self, Cli};

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
            eprintln!("gaitway-sink: {error:#}");
            ExitCode::FAILURE
        }
    }
}
