//! `gaitway doctor`: what of everything that is configured on this machine is missing or wrong, one line each with what to do.
//!
//! [`configured`] finds what this machine uses; each crate looks at its own things and changes nothing.

mod configured;
#[cfg(feature = "kafka")]
mod kafka;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use gaitway_service::checkup::folder::{self, Folder, Work};
use gaitway_service::checkup::ntp::NtpServer;
use gaitway_service::checkup::port::Own;
use gaitway_service::checkup::{Checkup, time};
use gaitway_sink::{postgres, snowflake, sqlite};
use tokio::runtime::Handle;

use configured::{Configured, Flags, Warehouse};

/// Exit status if a configuration cannot be read.
const UNREADABLE: u8 = 2;

/// Look at everything that is configured on this machine and say what is missing or wrong.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Changes nothing, and services go on while it looks. Exits with 0 if nothing fails, warnings included; with \
                  1 if something does; with 2 if a configuration cannot be read."
)]
pub(crate) struct Args {
    /// Configuration file of an agent, of a relay, of a sink, or of up [default: those in /etc/gaitway if they exist, else what up
    /// does without]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Check the configuration and look at nothing else, as before a start
    #[arg(long)]
    config_only: bool,
    /// Brokers, divided by commas [default: as configured]
    #[cfg(feature = "kafka")]
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Data directory of up, or of the agent whose file is named [default: ./gaitway-data, or as configured]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The time server that the clock is held against; none for none
    #[arg(long, value_name = "HOST[:PORT]", default_value_t)]
    ntp: NtpServer,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Looks, shows. Starts a runtime of its own.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let Args { config, config_only, data_dir, ntp, json, .. } = args;
    let flags = Flags {
        #[cfg(feature = "kafka")]
        brokers: args.kafka.clone(),
        data_dir: data_dir.clone(),
    };
    let mut checkup = Checkup::new();
    checkup.begin("configuration");
    let mut is_read = true;
    let found = Configured::find(config.as_deref(), &flags, &mut checkup);
    let (configured, is_whole) = match found {
        Ok(configured) => (configured, checkup.exit_code() == ExitCode::SUCCESS),
        Err(error) if *config_only || *json => {
            is_read = false;
            let named = config.as_ref().map_or_else(|| "configuration".to_owned(), |path| path.display().to_string());
            checkup.fail(named, format!("{error:#}"));
            (Configured::default(), false)
        }
        Err(error) => {
            writeln!(io::stderr(), "gaitway: {error:#}")?;
            return Ok(ExitCode::from(UNREADABLE));
        }
    };
    if is_read && !config_only {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.context("cannot start the runtime")?;
        look(&configured, ntp, runtime.handle(), &mut checkup);
        runtime.shutdown_background();
    }
    checkup.show(*json)?;
    Ok(if is_whole { checkup.exit_code() } else { ExitCode::from(UNREADABLE) })
}

fn look(configured: &Configured, ntp: &NtpServer, runtime: &Handle, checkup: &mut Checkup) {
    runtime.block_on(async {
        checkup.begin("machine");
        time::examine(ntp, checkup).await;
        for (agent, run) in &configured.agents {
            gaitway_agent::checkup::examine(agent, *run, checkup).await;
        }
        for (relay, up) in &configured.relays {
            gaitway_relay::checkup::examine(relay, up.as_deref().map(Own::holding), checkup).await;
        }
        #[cfg(feature = "kafka")]
        for sink in &configured.sinks {
            gaitway_sink::checkup::examine(sink, checkup).await;
        }
    });
    // What is asked from here on blocks, and needs a thread that is no runtime's.
    #[cfg(feature = "kafka")]
    let seen = kafka::look(&configured.kafka, checkup);
    #[cfg(not(feature = "kafka"))]
    if configured.relays.iter().any(|(_, up)| up.is_none()) {
        checkup.begin("kafka");
        checkup.warn("Kafka", "not looked at: this gaitway was built without it, and so cannot run a relay by itself");
    }
    for place in &configured.warehouses {
        checkup.begin("warehouse");
        let marks = match &place.warehouse {
            Warehouse::Sqlite(path, options) => {
                match &place.own {
                    Some(path) => {
                        let folder = Folder { path, min_free_percent: 0.0, below: ("", ""), work: Work::Commits };
                        folder::examine(folder, checkup);
                    }
                    None => folder::around(path, Work::Commits, checkup),
                }
                sqlite::examine(path, options, checkup)
            }
            Warehouse::Postgres(options) => postgres::examine(options, checkup),
            Warehouse::Snowflake(options) => {
                #[cfg(feature = "kafka")]
                let feeds = kafka::feeds(&seen);
                #[cfg(not(feature = "kafka"))]
                let feeds = Vec::new();
                snowflake::examine(options, &feeds, runtime.clone(), checkup);
                None
            }
        };
        #[cfg(feature = "kafka")]
        if let (Some(fed), Some(marks)) = (&place.fed, marks) {
            kafka::hold_against(fed, &seen, &marks, checkup);
        }
        #[cfg(not(feature = "kafka"))]
        drop(marks);
    }
}
