//! Snowflake's own SDK against an emulator: finds or installs it, and drives it through `sdk/client.py`.
//!
//! - A process of the SDK ends with its [`Session`]: dropped, it is killed, which is how a client dies.
//! - Nothing is skipped: without the SDK there is an error that says what is missing.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use crate::emulator::Emulator;

/// The package whose requests were recorded and that this is checked against.
const PACKAGE: &str = "snowpipe-streaming==1.9.1";

/// Names a Python interpreter that has the package.
const INTERPRETER: &str = "GAITWAY_TEST_SNOWPIPE_PYTHON";

/// Longer than the SDK itself waits for anything.
const PATIENCE: Duration = Duration::from_secs(90);

/// A Python interpreter that has Snowflake's SDK.
#[derive(Debug, Clone)]
pub struct Sdk {
    python: PathBuf,
}

impl Sdk {
    /// The interpreter of `GAITWAY_TEST_SNOWPIPE_PYTHON`, or one in a virtual environment in the target folder, which is
    /// made with `python3` and pip if it is not there yet. `Err` says why there is none.
    pub fn find() -> anyhow::Result<Self> {
        let python = match std::env::var_os(INTERPRETER) {
            Some(given) => PathBuf::from(given),
            None => installed().with_context(|| {
                format!("no {PACKAGE}: set {INTERPRETER} to a Python that has it, or let python3 and pip install it")
            })?,
        };
        run(Command::new(&python).args(["-c", "import snowflake.ingest.streaming"]))
            .with_context(|| format!("{} cannot import {PACKAGE}", python.display()))?;
        Ok(Self { python })
    }

    /// Starts a client of the pipe `schema`.`pipe` of `emulator`.
    pub fn session(&self, emulator: &Emulator, schema: &str, pipe: &str) -> anyhow::Result<Session> {
        let folder = tempfile::tempdir().context("a folder for CA and key")?;
        let (ca, key) = (folder.path().join("ca.pem"), folder.path().join("key.pem"));
        emulator.write_ca(&ca).context("writing the CA")?;
        emulator.write_key(&key).context("writing the key")?;
        let mut child = Command::new(&self.python)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("sdk/client.py"))
            .args(["--url", &emulator.url(), "--account", emulator.account(), "--user", emulator.user()])
            .args(["--role", emulator.role(), "--database", emulator.database(), "--schema", schema, "--pipe", pipe])
            .arg("--key")
            .arg(&key)
            .env("SSL_CERT_FILE", &ca)
            .env("SS_LOG_LEVEL", "error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the SDK")?;
        let stdin = child.stdin.take().context("the SDK has no standard input")?;
        let stdout = child.stdout.take().context("the SDK has no standard output")?;
        let (send, answers) = sync_channel(1);
        let read = move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            // Whoever hung up waits for no answer.
            let _all_sent = lines.map(|line| send.send(line)).all(|sent| sent.is_ok());
        };
        thread::Builder::new().name("snowpipe-sdk".into()).spawn(read).context("starting a thread")?;
        Ok(Session { child, stdin, answers, _folder: folder })
    }
}

/// A running client of Snowflake's SDK.
#[derive(Debug)]
pub struct Session {
    child: Child,
    stdin: ChildStdin,
    answers: Receiver<String>,
    _folder: tempfile::TempDir,
}

impl Session {
    /// Runs one command of `sdk/client.py` and waits for it: what it answered, null if there is nothing to tell. `Err` is
    /// the SDK's error.
    pub fn ask(&mut self, command: &str) -> anyhow::Result<Value> {
        writeln!(self.stdin, "{command}").context("the SDK has ended")?;
        let line = self.answers.recv_timeout(PATIENCE).with_context(|| format!("no answer to '{command}'"))?;
        let mut answer: Value = serde_json::from_str(&line).with_context(|| format!("answer is no JSON: {line}"))?;
        match answer["error"].as_str() {
            Some(error) => bail!("{command}: {error}"),
            None => Ok(answer["ok"].take()),
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The interpreter of the virtual environment in the target folder. Of several processes that need it one makes it.
fn installed() -> anyhow::Result<PathBuf> {
    let exe = std::env::current_exe().context("this program's path")?;
    let deps = exe.ancestors().find(|folder| folder.ends_with("deps"));
    let target = deps.and_then(|deps| deps.ancestors().nth(2)).context("this program is in no target folder")?;
    let folder = target.join(PACKAGE.replace("==", "-"));
    let lock = File::create(target.join("snowpipe-streaming.lock")).context("making a lock file")?;
    lock.lock().context("waiting for others that install the SDK")?;
    let (python, complete) = (folder.join("bin/python"), folder.join("complete"));
    if !complete.is_file() {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder))?;
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", PACKAGE]))?;
        File::create(&complete).context("marking the environment as complete")?;
    }
    Ok(python)
}

fn run(command: &mut Command) -> anyhow::Result<()> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("running {command:?}"))?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {errors}", output.status);
    Ok(())
}
