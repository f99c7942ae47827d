//! A command's end of the socket.

use std::io::{self, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};

use super::{Answer, Request, STANDARD, VERSION};
use crate::command::{Listed, Said};
use crate::config::AgentConfig;

/// A list may wait for its turn behind another command, and for a slow card.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a running agent may have its socket; `is_named`: the configuration's file was named.
pub(crate) fn place(config: &AgentConfig, is_named: bool) -> Option<PathBuf> {
    config.control.clone().or_else(|| (!is_named).then(|| PathBuf::from(STANDARD)))
}

/// The connection; none where no agent listens there.
pub(crate) fn connect(path: &Path) -> anyhow::Result<Option<UnixStream>> {
    match UnixStream::connect(path) {
        Ok(stream) => Ok(Some(stream)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(anyhow!(
            "the control socket {} is for root and for who is in its group: put sudo before this command, or join the group \
             with `sudo usermod --append --groups gaitway \"$USER\"` and log in again",
            path.display()
        )),
        Err(error) => Err(error).with_context(|| format!("the control socket {} cannot be used", path.display())),
    }
}

/// Has the agent do it; what it says comes into `said`.
pub(crate) fn ask(mut agent: UnixStream, command: Listed, said: &mut Said) -> anyhow::Result<()> {
    let request = serde_json::to_vec(&Request { version: VERSION, command, columns: said.columns })?;
    let mut exchange = || -> io::Result<Vec<u8>> {
        agent.set_read_timeout(Some(PATIENCE))?;
        agent.set_write_timeout(Some(PATIENCE))?;
        agent.write_all(&request)?;
        agent.shutdown(std::net::Shutdown::Write)?;
        let mut answer = Vec::new();
        agent.read_to_end(&mut answer)?;
        Ok(answer)
    };
    let answer =
        exchange().context("the agent that runs does not answer on its control socket: is it being stopped?")?;
    let answer: Answer = serde_json::from_slice(&answer)
        .context("the agent that runs does not answer as this gaitway expects: restart it")?;
    *said = answer.said;
    answer.error.map_or(Ok(()), |error| Err(anyhow!(error)))
}
