//! What only a process of its own can show: signals, the service manager's socket, a lock whose holder is killed.
//! Each test starts its own binary again as the process it watches.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, reason = "a test that cannot watch its process has failed")]

use std::io::{BufRead as _, BufReader};
use std::os::unix::net::UnixDatagram;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use gaitway_service::lock::{DataDir, LockError};
use gaitway_service::{notify, signals};

/// Set for the process that is watched: the folder of its test.
const WATCHED: &str = "GAITWAY_TEST_FOLDER";

const PATIENCE: Duration = Duration::from_secs(30);

struct Watched {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Watched {
    fn start(test: &str, folder: &std::path::Path, variables: &[(&str, &str)]) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", test, "--nocapture", "--include-ignored"])
            .env(WATCHED, folder)
            .envs(variables.iter().copied())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    fn wait_for(&mut self, wanted: &str) {
        let mut line = String::new();
        while !line.contains(wanted) {
            line.clear();
            assert_ne!(self.lines.read_line(&mut line).unwrap(), 0, "ended without {wanted}");
        }
    }

    fn signal(&self, name: &str) {
        assert!(Command::new("kill").args([name, &self.child.id().to_string()]).status().unwrap().success());
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_second_signal_exits_at_once_with_130() {
    if std::env::var_os(WATCHED).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        runtime.block_on(async {
            let shutdown = signals::shutdown().unwrap();
            println!("listening");
            shutdown.cancelled().await;
            println!("cancelled");
            std::future::pending::<()>().await;
        });
    }
    let folder = tempfile::tempdir().unwrap();
    for (first, second) in [("-TERM", "-INT"), ("-INT", "-TERM")] {
        let mut watched = Watched::start("a_second_signal_exits_at_once_with_130", folder.path(), &[]);
        watched.wait_for("listening");
        watched.signal(first);
        watched.wait_for("cancelled");
        watched.signal(second);
        assert_eq!(watched.child.wait().unwrap().code(), Some(130));
    }
}

#[test]
fn the_service_manager_hears_ready_alive_and_stopping() {
    if std::env::var_os(WATCHED).is_some() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let shutdown = signals::shutdown().unwrap();
            notify::ready();
            notify::watchdog(shutdown).await.unwrap();
            notify::stopping();
        });
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let heard = || {
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).trim().to_owned()
    };
    let variables = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "20000")];
    let mut watched = Watched::start("the_service_manager_hears_ready_alive_and_stopping", folder.path(), &variables);
    assert_eq!(heard(), "READY=1");
    assert_eq!(heard(), "WATCHDOG=1");
    assert_eq!(heard(), "WATCHDOG=1");
    watched.signal("-TERM");
    while heard() != "STOPPING=1" {}
    assert!(watched.child.wait().unwrap().success());
}

#[test]
fn the_lock_of_a_killed_process_is_free() {
    if let Some(folder) = std::env::var_os(WATCHED) {
        let _locked = DataDir::lock(folder).unwrap();
        println!("locked");
        loop {
            std::thread::park();
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let mut watched = Watched::start("the_lock_of_a_killed_process_is_free", folder.path(), &[]);
    watched.wait_for("locked");
    let error = DataDir::lock(folder.path()).unwrap_err();
    assert!(
        matches!(&error, LockError::Held { holder, .. } if holder.contains(&watched.child.id().to_string())),
        "{error}"
    );
    watched.child.kill().unwrap();
    watched.child.wait().unwrap();
    DataDir::lock(folder.path()).unwrap();
}
