//! `gaitway-relay`: the relay alone.

use std::process::ExitCode;

use gaitway_relay::command::{self, Cli};
use gaitway_relay::{EXIT_FENCED, Fenced};
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
            eprintln!("gaitway-relay: {error:#}");
            if error.downcast_ref::<Fenced>().is_some() { ExitCode::from(EXIT_FENCED) } else { ExitCode::FAILURE }
        }
    }
}
