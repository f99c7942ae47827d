//! `gaitway-agent doctor`: an agent, alone or inside `gaitway up`.

use std::path::Path;
use std::process::ExitCode;

use gaitway_service::checkup::ntp::NtpServer;
use gaitway_service::checkup::{Checkup, time};
use gaitway_service::config::ConfigFile;
use serde::Serialize;

use super::{Run, examine};
use crate::config::AgentConfig;

/// Exit status if the configuration cannot be read.
const UNREADABLE: u8 = 2;

/// What is looked at.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Check the configuration and look at nothing else
    #[arg(long)]
    config_only: bool,
    /// The time server that the clock is held against; none for none
    #[arg(long, value_name = "HOST[:PORT]", default_value_t)]
    ntp: NtpServer,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Looks and shows; `flags` are the agent's own.
pub(crate) async fn run(args: Args, file: Option<&Path>, flags: impl Serialize) -> anyhow::Result<ExitCode> {
    let Args { config_only, ntp, json } = args;
    let mut checkup = Checkup::new();
    checkup.begin("configuration");
    let read = ConfigFile::find_either(file, "agent").and_then(|file| {
        let loaded = file.read_either::<AgentConfig>("agent", flags)?;
        Ok((file, loaded.config))
    });
    let (run, config) = match read {
        Ok((file, config)) => {
            let said = if file.path().exists() { "is right" } else { "is not there: the defaults count" };
            checkup.ok(file.path().display().to_string(), said);
            (if file.is_ups() { Run::InUp } else { Run::Alone }, config)
        }
        Err(error) => {
            checkup.fail("configuration", format!("{:#}", anyhow::Error::from(error)));
            checkup.show(json)?;
            return Ok(ExitCode::from(UNREADABLE));
        }
    };
    if !config_only {
        checkup.begin("machine");
        time::examine(&ntp, &mut checkup).await;
        examine(&config, run, &mut checkup).await;
    }
    checkup.show(json)?;
    Ok(checkup.exit_code())
}
