//! `gaitway-agent`: the agent alone, for small machines.

use std::process::ExitCode;

use gaitway_agent::command::{self, Cli};
use gaitway_service::{completions, dumps};

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
