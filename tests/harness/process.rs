//! A process of the binary under test. It never outlives its test.

use std::ffi::OsString;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::PATIENCE;

/// How long a kill waits for a transaction to land in.
const AIM: Duration = Duration::from_secs(2);

/// A running `gaitway up` or `gaitway agent` and its log so far.
pub(crate) struct Process {
    child: Child,
    log: Arc<Mutex<Vec<serde_json::Value>>>,
}

impl Process {
    /// `gaitway up` on free ports, with more arguments.
    pub(crate) fn up(data_dir: &Path, more: &[&str]) -> Self {
        let dir = data_dir.to_str().expect("a temporary folder's name is UTF-8");
        let mut args = vec!["up", "--data-dir", dir, "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0"];
        args.extend(more);
        Self::start(&args)
    }

    /// `gaitway agent` on a free port towards `relay`, with more arguments.
    pub(crate) fn agent(data_dir: &Path, relay: &str, more: &[&str]) -> Self {
        let dir = data_dir.to_str().expect("a temporary folder's name is UTF-8");
        let mut args = vec!["agent", "--data-dir", dir, "--http", "127.0.0.1:0", "--relay", relay];
        args.extend(more);
        Self::start(&args)
    }

    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_in(args, &[])
    }

    /// Starts it with more in its environment.
    pub(crate) fn start_in(args: &[&str], environment: &[(&str, OsString)]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
        command.args(args).envs(environment.iter().map(|(name, value)| (name, value)));
        Self::of(command)
    }

    /// Starts `command`, which logs as the binary under test does.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command
            .env_remove("GAITWAY_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("the binary under test starts");
        let log = Arc::new(Mutex::new(Vec::new()));
        let lines = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let kept = Arc::clone(&log);
        std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || {
                for line in lines.lines().map_while(Result::ok) {
                    let event = serde_json::from_str(&line).unwrap_or(serde_json::Value::String(line));
                    kept.lock().unwrap().push(event);
                }
            })
            .unwrap();
        Self { child, log }
    }

    /// Where phones push to.
    pub(crate) fn push_url(&mut self) -> String {
        self.logged("url", |event| event["url"].as_str().map(str::to_owned))
    }

    /// Where phones push to, of an agent alone.
    pub(crate) fn agent_push_url(&mut self) -> String {
        self.logged("the push address", |event| {
            let pushes = event["message"].as_str()?.starts_with("taking pushes");
            pushes.then(|| format!("http://{}/data", event["address"].as_str().unwrap_or_default()))
        })
    }

    /// Where agents connect: HOST:PORT.
    pub(crate) fn mqtt_address(&mut self) -> String {
        self.logged("the relay's address", |event| {
            let listens = event["message"].as_str()?.starts_with("relay listening");
            listens.then(|| event["address"].as_str().unwrap_or_default().to_owned())
        })
    }

    /// Waits for a log event that `pick` takes something from.
    pub(crate) fn logged<T>(&mut self, what: &str, pick: impl Fn(&serde_json::Value) -> Option<T>) -> T {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(found) = self.log.lock().unwrap().iter().find_map(&pick) {
                return found;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < end, "no log of {what} ({ended:?}): {:#?}", self.log());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Waits until it has logged `message`, or for so long.
    pub(crate) fn await_log(&self, message: &str, patience: Duration) {
        let end = Instant::now() + patience;
        while Instant::now() < end && !self.log.lock().unwrap().iter().any(|event| event["message"] == message) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A line of `/proc/PID/status` in bytes: `VmHWM` is the most memory that it ever had, `VmRSS` what it has now.
    pub(crate) fn memory(&self, line: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let value = status.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(':')).expect("a line of status");
        value.trim().strip_suffix(" kB").and_then(|kib| kib.parse::<u64>().ok()).expect("a size in kB") * 1024
    }

    pub(crate) fn log(&self) -> Vec<serde_json::Value> {
        self.log.lock().unwrap().clone()
    }

    /// Kills it at this very moment. Gives which of the SQLite files `dbs` had a transaction open then: the process is
    /// stopped first, so that what its locks say is what the kill meets.
    pub(crate) fn kill(self, dbs: &[PathBuf]) -> Vec<bool> {
        self.stop();
        self.kill_stopped(dbs)
    }

    /// Kills it inside a transaction of one of `dbs`, if it meets one in time: however short a machine makes them, some kills
    /// are to land there. Gives what [`Process::kill`] gives.
    pub(crate) fn kill_inside(self, dbs: &[PathBuf]) -> Vec<bool> {
        let end = Instant::now() + AIM;
        self.stop();
        while !dbs.iter().any(|db| has_open_transaction(db)) && Instant::now() < end {
            kill(self.id(), Signal::SIGCONT).unwrap();
            std::thread::sleep(Duration::from_micros(300));
            self.stop();
        }
        self.kill_stopped(dbs)
    }

    fn id(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn stop(&self) {
        kill(self.id(), Signal::SIGSTOP).unwrap();
        let stat = format!("/proc/{}/stat", self.id());
        let end = Instant::now() + PATIENCE;
        while !std::fs::read_to_string(&stat)
            .unwrap()
            .rsplit(')')
            .next()
            .is_some_and(|rest| rest.trim_start().starts_with(['T', 't']))
        {
            assert!(Instant::now() < end, "the process does not stop");
            std::thread::sleep(Duration::from_micros(100));
        }
    }

    fn kill_stopped(mut self, dbs: &[PathBuf]) -> Vec<bool> {
        let open = dbs.iter().map(|db| has_open_transaction(db)).collect();
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        open
    }

    /// Asks it to end and waits.
    pub(crate) fn terminate(mut self, signal: Signal) -> ExitStatus {
        kill(self.id(), signal).unwrap();
        self.wait()
    }

    /// How it ended, if it has.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "the process does not end: {:#?}", self.log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("log of the process: {:#?}", self.log());
        }
    }
}

/// Whether a writer holds SQLite's `WAL_WRITE_LOCK` of `db`: byte 120 of the shared-memory file, see SQLite's
/// `wal.c` (`WALINDEX_LOCK_OFFSET`).
fn has_open_transaction(db: &Path) -> bool {
    let shm = PathBuf::from(format!("{}-shm", db.display()));
    let Ok(file) = std::fs::OpenOptions::new().read(true).write(true).open(&shm) else { return false };
    // The file is mapped by its owner; reading proves that it is there.
    let _ = file.read_at(&mut [0], 0);
    let mut lock = nix::libc::flock {
        l_type: nix::libc::F_WRLCK as i16,
        l_whence: nix::libc::SEEK_SET as i16,
        l_start: 120,
        l_len: 1,
        l_pid: 0,
    };
    fcntl(&file, FcntlArg::F_GETLK(&mut lock)).unwrap();
    i32::from(lock.l_type) != nix::libc::F_UNLCK
}
