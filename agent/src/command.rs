//! `gaitway agent`, which is also `gaitway-agent`.

use std::io::{self, IsTerminal as _, Write as _};
use std::mem;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use gaitway_proto::enrolment::Code;
use gaitway_proto::topic::AgentId;
use gaitway_service::health::Health;
use gaitway_service::metrics::Metrics;
use gaitway_service::{config, logs, signals};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::checkup;
use crate::config::AgentConfig;
use crate::control;
use crate::identity;
use crate::service::kept_id;
use crate::status::AgentStatus;
use crate::uplink::RelayAddress;

mod phone;
mod place;
mod reader;
mod spool;

use phone::PhoneCommand;
use place::{Of, Place};
use reader::ReaderCommand;
use spool::SpoolCommand;

/// Of a terminal that does not say how large it is: columns.
const COLUMNS: usize = 80;

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
        #[arg(value_name = "HOST:PORT", value_parser = RelayAddress::secure)]
        relay: RelayAddress,
        /// The code; dashes and capitals make no difference
        code: Zeroizing<String>,
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
        Some(Task::Enroll { relay, code, data_dir: told }) => {
            let flags = Flags { data_dir: told.or(data_dir), http: None, agent_id: None, relay: None };
            let config = config::load::<AgentConfig>("agent", file.as_deref(), None, flags)?;
            // Parsed here and not with the flags, whose errors would show it.
            let code = code.parse::<Code>().context("this is no code of `gaitway relay agent add`")?;
            return enroll(&relay, &code, &config.data_dir).await;
        }
        Some(Task::Phone(command)) => return listed(Listed::Phone(command), file.as_deref(), data_dir),
        Some(Task::Reader(command)) => return listed(Listed::Reader(command), file.as_deref(), data_dir),
        Some(Task::Doctor(args)) => {
            let flags = Flags { data_dir, http, agent_id, relay: relay.map(|address| RelayFlags { address }) };
            return checkup::run(args, file.as_deref(), flags).await;
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

/// A command about one of the agent's lists, which a running agent does when it is asked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Listed {
    Phone(PhoneCommand),
    Reader(ReaderCommand),
}

/// What a command says.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Said {
    /// On its output.
    pub(crate) out: String,
    /// Beside it.
    pub(crate) notes: String,
    /// Of the terminal that shows the output, if one does.
    #[serde(skip)]
    pub(crate) columns: Option<usize>,
}

impl Said {
    /// For this process's own output.
    fn here() -> Self {
        let columns = || terminal_size::terminal_size().map_or(COLUMNS, |(width, _)| width.0.into());
        Self { columns: io::stdout().is_terminal().then(columns), ..Self::default() }
    }

    fn show(&self) -> io::Result<()> {
        let written = io::stdout().write_all(self.out.as_bytes());
        eprint!("{}", self.notes);
        written
    }
}

#[derive(Debug, Serialize)]
struct NoFlags {}

/// Has the agent do it that runs as this machine's service, where none was named; else does it to the files of the one that is meant.
fn listed(mut command: Listed, file: Option<&Path>, of_agent: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let configured = config::load_either::<AgentConfig>("agent", file, NoFlags {})?;
    let told = mem::take(command.of()).data_dir.or(of_agent);
    let mut said = Said::here();
    let running = match &told {
        Some(_) => None,
        None => control::client::place(&configured, file.is_some()).map(|path| control::client::connect(&path)),
    };
    let outcome = match running.transpose()?.flatten() {
        Some(agent) => control::client::ask(agent, command, &mut said),
        None => do_listed(command, told.as_deref().unwrap_or(&configured.data_dir), &configured, &mut said),
    };
    match said.show() {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => outcome.and(Err(error.into())),
        _ => outcome.map(|()| ExitCode::SUCCESS),
    }
}

/// Does it to the files of the agent of `data_dir`.
pub(crate) fn do_listed(
    command: Listed,
    data_dir: &Path,
    configured: &AgentConfig,
    said: &mut Said,
) -> anyhow::Result<()> {
    let place = Place::find(data_dir, configured);
    match command {
        Listed::Phone(command) => phone::run(command, &place, said),
        Listed::Reader(command) => reader::run(command, &place, said),
    }
}

impl Listed {
    fn of(&mut self) -> &mut Of {
        match self {
            Self::Phone(command) => command.of(),
            Self::Reader(command) => command.of(),
        }
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
