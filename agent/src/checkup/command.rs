//! `gaitway-agent doctor`: an agent alone, on a machine that has nothing else of gaitway.

use std::path::{Path, PathBuf};
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
    let read = ConfigFile::find(file, "agent").and_then(|file| {
        let loaded = file.read::<AgentConfig>("agent", None, flags)?;
        Ok((file.path().to_owned(), loaded.config))
    });
    let config = match read {
        Ok((path, config)) => {
            let path: PathBuf = path;
            let said = if path.exists() { "is right" } else { "is not there: the defaults count" };
            checkup.ok(path.display().to_string(), said);
            config
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
        examine(&config, Run::Alone, &mut checkup).await;
    }
    checkup.show(json)?;
    Ok(checkup.exit_code())
}
