//! `gaitway agent`, which is also `gaitway-agent`.

use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use gaitway_proto::enrolment::Code;
use gaitway_proto::topic::AgentId;
use gaitway_service::health::Health;
use gaitway_service::healthcheck::{self, Target};
use gaitway_service::metrics::Metrics;
use gaitway_service::{clock, config, logs, signals};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::checkup;
use crate::config::AgentConfig;
use crate::identity;
use crate::service::kept_id;
use crate::status::AgentStatus;
use crate::uplink::RelayAddress;

mod invitation;
mod listed;
mod phone;
mod place;
mod reader;
mod spool;

pub(crate) use listed::{Listed, Said, do_listed};
use phone::PhoneCommand;
use reader::ReaderCommand;
use spool::SpoolCommand;

/// Takes pushes of phones, classifies them and forwards everything to a relay.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Configuration file [default: /etc/gaitway/agent.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Where the spool lies [default: ./gaitway-data/agent]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where phones push to [default: 0.0.0.0:8000]
    #[arg(long, value_name = "ADDR", value_parser = address)]
    http: Option<SocketAddr>,
    /// The relay [default: where the agent has enrolled, else port 1883 of this machine]
    #[arg(long, value_name = "mqtts://HOST:PORT")]
    relay: Option<RelayAddress>,
    /// The agent's name at the relay [default: made from the host's name]
    #[arg(long, value_name = "ID")]
    agent_id: Option<AgentId>,
    #[command(subcommand)]
    task: Option<Task>,
}

/// The command line of `gaitway-agent`.
#[derive(Debug, clap::Parser)]
#[command(name = "gaitway-agent", version, about)]
pub struct Cli {
    /// What is asked for.
    #[command(flatten)]
    pub args: Args,
}

/// The command line, for those who describe it.
pub fn command() -> clap::Command {
    gaitway_service::completions::command::<Cli>()
}

/// What is done instead of running an agent.
#[derive(Debug, clap::Subcommand)]
enum Task {
    /// Get a certificate from a relay, with a code of `gaitway relay agent add`; a running agent takes it up
    Enroll {
        /// HOST:PORT of the relay, as it stands before the code
        #[arg(value_name = "HOST:PORT", value_parser = RelayAddress::secure, required_unless_present = "invitation")]
        relay: Option<RelayAddress>,
        /// The code; dashes and capitals make no difference
        #[arg(required_unless_present = "invitation")]
        code: Option<Zeroizing<String>>,
        /// A file with both, of `gaitway relay agent add --invitation`
        #[arg(long, value_name = "FILE", conflicts_with_all = ["relay", "code"])]
        invitation: Option<PathBuf>,
        /// Do nothing where there is a certificate of this relay that has not ended
        #[arg(long)]
        unless_enrolled: bool,
        /// The agent's folder [default: as configured, else ./gaitway-data/agent]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Look into a spool; get out of a damaged one what can be got out
    #[command(subcommand)]
    Spool(SpoolCommand),
    /// Say which phones may push
    #[command(subcommand)]
    Phone(PhoneCommand),
    /// Say which browsers may look at the agent's page
    #[command(subcommand)]
    Reader(ReaderCommand),
    /// Look at clock, disk, spool, ports, certificates and the way to the relay, and say what is wrong and what to do
    Doctor(checkup::Args),
    /// Ask the running agent whether data moves: /readyz, for images; ends with 1 if it does not
    Healthcheck(healthcheck::Args),
}

/// An address to listen on, as a flag.
pub fn address(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| "an address to listen on is IP:PORT, such as 0.0.0.0:8000".to_owned())
}

/// The flags in the shape of [`AgentConfig`].
#[derive(Debug, Serialize)]
struct Flags {
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<AgentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    relay: Option<RelayFlags>,
}

#[derive(Debug, Serialize)]
struct RelayFlags {
    address: RelayAddress,
}

/// Runs the command until it is done, an agent until a signal ends it.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { config: file, data_dir, http, relay, agent_id, task } = args;
    match task {
        Some(Task::Spool(command)) => return spool::run(command, file.as_deref(), data_dir),
        Some(Task::Enroll { relay, code, invitation, unless_enrolled, data_dir: told }) => {
            let flags = Flags { data_dir: told.or(data_dir), http: None, agent_id: None, relay: None };
            let config = config::load::<AgentConfig>("agent", file.as_deref(), None, flags)?;
            let (relay, code) = match invitation {
                Some(file) => invitation::read(&file)?,
                None => invitation::given(relay, code)?,
            };
            if unless_enrolled && identity::is_enrolled(&code, &config.data_dir, clock::now_micros() / 1_000_000)? {
                return Ok(ExitCode::SUCCESS);
            }
            return enroll(&relay, &code, &config.data_dir).await;
        }
        Some(Task::Phone(command)) => return listed::run(Listed::Phone(command), file.as_deref(), data_dir),
        Some(Task::Reader(command)) => return listed::run(Listed::Reader(command), file.as_deref(), data_dir),
        Some(Task::Doctor(args)) => {
            let flags = Flags { data_dir, http, agent_id, relay: relay.map(|address| RelayFlags { address }) };
            return checkup::run(args, file.as_deref(), flags).await;
        }
        Some(Task::Healthcheck(args)) => {
            let flags = Flags { data_dir, http, agent_id, relay: relay.map(|address| RelayFlags { address }) };
            return ask_whether_ready(args, file.as_deref(), flags).await;
        }
        None => {}
    }
    logs::init();
    let flags = Flags { data_dir, http, agent_id, relay: relay.map(|address| RelayFlags { address }) };
    let loaded = config::read::<AgentConfig>("agent", file.as_deref(), None, flags)?;
    let tls = loaded.config.https.load().map_err(|wrong| loaded.refuse(wrong))?;
    let config = loaded.config;
    let shutdown = signals::shutdown()?;
    let listener = crate::bind(&config)?;
    let status = Arc::new(AgentStatus::default());
    crate::run(config, listener, tls, status, &Health::new(), &Metrics::new(), shutdown).await?;
    Ok(ExitCode::SUCCESS)
}

async fn ask_whether_ready(args: healthcheck::Args, file: Option<&Path>, flags: Flags) -> anyhow::Result<ExitCode> {
    if let Some(target) = args.url {
        return healthcheck::run(&target).await;
    }
    let config = config::load_either::<AgentConfig>("agent", args.config.as_deref().or(file), flags)?;
    match config.https.pair() {
        Some(_) => healthcheck::run_by_connecting(config.http).await,
        None => healthcheck::run(&Target::ready(config.http)).await,
    }
}

async fn enroll(relay: &RelayAddress, code: &Code, dir: &Path) -> anyhow::Result<ExitCode> {
    let agent = identity::enrol(relay, code, dir).await?;
    let mut said =
        format!("This agent is {agent} to the relay at {relay}; its key and certificate lie in {}\n", dir.display());
    if let Some(kept) = kept_id::read(dir).filter(|kept| *kept != agent) {
        let note = format!(
            "It was {kept} before: restart it if it runs; what waits under that name must be with a relay first\n"
        );
        said.push_str(&note);
    }
    if let Some(up) = dir.parent().filter(|up| dir.ends_with("agent") && up.join("warehouse.db").exists()) {
        let note = format!(
            "{} is a folder of `gaitway up`, whose own agent needs no certificate and does not use this one: `gaitway agent \
             --data-dir {}` does, while `up` is stopped\n",
            up.display(),
            dir.display()
        );
        said.push_str(&note);
    }
    match io::stdout().write_all(said.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
