//! A socket on this machine by which commands ask a running agent to change its lists.
//!
//! - Whoever may connect may add phones: the operating system lets root and the socket's group do so, nobody else.
//! - The agent does what the command would do, in its own name, so that its files stay its own.
//! - A request and its answer are one JSON text each; a connection carries one of both.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use gaitway_service::tasks::Tasks;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::command::{self, Listed, Said};
use crate::config::AgentConfig;

pub(crate) mod client;

/// Where the packages' services have it.
pub(crate) const STANDARD: &str = "/run/gaitway/agent.sock";

/// Its name in the folder that a service manager made for what runs.
const NAME: &str = "agent.sock";

/// Of requests and answers; an agent of another is told from one that makes no sense.
const VERSION: u32 = 1;

/// Of a socket's path, bytes: what `sockaddr_un` has on every Unix, but for the end and for what a new one is called first.
pub(crate) const LONGEST_PATH: usize = 103 - NEW.len();

/// After its name until it is in its place.
const NEW: &str = ".new";

/// Greatest request, bytes.
const LONGEST: u64 = 64 << 10;

/// Commands at a time: people type them.
const AT_ONCE: usize = 4;

/// How long a command may take to say what it wants, and to take the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// After a connection that could not be taken.
const PAUSE: Duration = Duration::from_secs(1);

/// For its owner and its group.
const MODE: u32 = 0o660;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Request {
    version: u32,
    command: Listed,
    /// Of the terminal that shows the answer, if one does.
    columns: Option<usize>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    said: Said,
    error: Option<String>,
}

/// The listening socket. Its file goes with it.
#[derive(Debug)]
struct Control {
    listener: UnixListener,
    path: PathBuf,
}

/// Where an agent with this configuration has its socket: as configured, else in the folder that the service manager made.
pub(crate) fn place(config: &AgentConfig) -> Option<PathBuf> {
    let made = || {
        let folders = std::env::var_os("RUNTIME_DIRECTORY")?;
        std::env::split_paths(&folders).next().map(|folder| folder.join(NAME))
    };
    config.control.clone().or_else(made)
}

/// Has `tasks` listen there until `shutdown`. Without a socket phones push all the same.
pub(crate) fn open(tasks: &mut Tasks, config: &AgentConfig, shutdown: &CancellationToken) {
    let Some(path) = place(config) else { return };
    match Control::bind(path.clone()) {
        Ok(control) => tasks.spawn("control socket", control.serve(config.clone(), shutdown.clone())),
        Err(error) => tracing::warn!(
            %error,
            "there is no control socket {}: `gaitway agent phone` needs `--data-dir {}`",
            path.display(),
            config.data_dir.display()
        ),
    }
}

impl Control {
    /// Needs a runtime around it. A socket that a killed agent left is replaced.
    fn bind(path: PathBuf) -> io::Result<Self> {
        if std::os::unix::net::UnixStream::connect(&path).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, "another agent that runs has it"));
        }
        // Nobody finds it before its permissions are right.
        let mut new = path.clone().into_os_string();
        new.push(NEW);
        match std::fs::remove_file(&new) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&new)?;
        std::fs::set_permissions(&new, std::fs::Permissions::from_mode(MODE))?;
        std::fs::rename(&new, &path)?;
        Ok(Self { listener, path })
    }

    /// Does what commands ask of the agent with this configuration until `shutdown`.
    async fn serve(self, config: AgentConfig, shutdown: CancellationToken) -> anyhow::Result<()> {
        let (agent, mut commands) = (Arc::new(config), JoinSet::new());
        loop {
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(_) = commands.join_next() => {}
                accepted = self.listener.accept(), if commands.len() < AT_ONCE => match accepted {
                    Ok((stream, _)) => {
                        commands.spawn(answered(stream, Arc::clone(&agent)));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the control socket does not take a command");
                        tokio::time::sleep(PAUSE).await;
                    }
                },
            }
        }
        while commands.join_next().await.is_some() {}
        Ok(())
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn answered(stream: UnixStream, agent: Arc<AgentConfig>) {
    if let Err(error) = answer(stream, agent).await {
        tracing::debug!(error = format!("{error:#}"), "a command was not answered");
    }
}

async fn answer(mut stream: UnixStream, agent: Arc<AgentConfig>) -> anyhow::Result<()> {
    let mut request = Vec::new();
    timeout(PATIENCE, (&mut stream).take(LONGEST).read_to_end(&mut request)).await.context("it says nothing")??;
    let answer = tokio::task::spawn_blocking(move || done(&request, &agent)).await?;
    let answer = serde_json::to_vec(&answer)?;
    timeout(PATIENCE, stream.write_all(&answer)).await.context("it does not take the answer")??;
    Ok(stream.shutdown().await?)
}

/// Does what is asked.
fn done(request: &[u8], config: &AgentConfig) -> Answer {
    let mut said = Said::default();
    let outcome = read(request).and_then(|Request { command, columns, .. }| {
        said.columns = columns;
        command::do_listed(command, &config.data_dir, config, &mut said)
    });
    Answer { said, error: outcome.err().map(|error| format!("{error:#}")) }
}

fn read(request: &[u8]) -> anyhow::Result<Request> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u32,
    }
    let no_request = "the agent does not understand this command";
    let Versioned { version } = serde_json::from_slice(request).context(no_request)?;
    anyhow::ensure!(version == VERSION, "the agent that runs is of another version of gaitway: restart it");
    serde_json::from_slice(request).context(no_request)
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::path::Path;

    use super::*;
    use crate::phones::PhonesFile;

    /// What the agent of `dir` answers to `request`.
    fn asked(dir: &Path, request: &str) -> Answer {
        done(request.as_bytes(), &AgentConfig { data_dir: dir.to_owned(), ..AgentConfig::default() })
    }

    #[test]
    fn what_is_no_request_of_this_version_is_refused_with_a_sentence() {
        let dir = tempfile::tempdir().unwrap();
        for (request, why) in [
            ("", "does not understand"),
            ("[1]", "does not understand"),
            (r#"{"version":2,"command":{"phone":{"paint":{}}}}"#, "another version"),
            (r#"{"version":1,"command":{"phone":{"paint":{}}},"columns":null}"#, "does not understand"),
            (
                r#"{"version":1,"command":{"phone":{"list":{"json":false,"data_dir":"/etc"}}},"columns":null}"#,
                "no agent has run",
            ),
        ] {
            let error = asked(dir.path(), request).error.unwrap();
            assert!(error.contains(why), "{request}: {error}");
        }
        assert_eq!(PhonesFile::new(dir.path()).current(), Ok(None));
    }

    #[tokio::test]
    async fn a_socket_is_its_groups_and_one_that_was_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        // As after a kill.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let control = Control::bind(path.clone()).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        assert_eq!(Control::bind(path.clone()).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        let config = AgentConfig { data_dir: dir.path().to_owned(), ..AgentConfig::default() };
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(control.serve(config, shutdown.clone()));
        let there = path.clone();
        let answers = tokio::task::spawn_blocking(move || {
            // One that says nothing keeps nobody else waiting.
            let _silent = std::os::unix::net::UnixStream::connect(&there).unwrap();
            let add = r#"{"version":1,"command":{"phone":{"add":{"name":"anna","kept":{"keep":"activity","location_decimals":null},"http":null}}},"columns":null}"#;
            [add, add].map(|request| {
                let mut stream = std::os::unix::net::UnixStream::connect(&there).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                stream.shutdown(std::net::Shutdown::Write).unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).unwrap();
                serde_json::from_str::<Answer>(&answer).unwrap()
            })
        });
        let [added, again] = answers.await.unwrap();
        assert!(added.error.is_none() && added.said.out.contains("phone \"anna\""), "{added:?}");
        assert!(again.error.unwrap().contains("there is a phone \"anna\""));
        let phones = PhonesFile::new(dir.path()).current().unwrap().unwrap();
        assert_eq!(phones.iter().map(|phone| phone.privacy().to_string()).collect::<Vec<_>>(), ["activity"]);
        shutdown.cancel();
        served.await.unwrap().unwrap();
        assert!(!path.exists());
    }
}
