//! Commands about the agent's lists, `phone` and `reader`: a running agent does them when it is asked, else they are done to its files.

use std::io::{self, IsTerminal as _, Write as _};
use std::mem;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use gaitway_service::config;
use serde::{Deserialize, Serialize};

use super::phone::{self, PhoneCommand};
use super::place::{Of, Place};
use super::reader::{self, ReaderCommand};
use crate::config::AgentConfig;
use crate::control;

/// Of a terminal that does not say how large it is: columns.
const COLUMNS: usize = 80;

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
pub(super) fn run(mut command: Listed, file: Option<&Path>, of_agent: Option<PathBuf>) -> anyhow::Result<ExitCode> {
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
