//! Runs a process under the recorder and reads what it did.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::trace::{self, Event};
use crate::harness::await_that;
use crate::harness::process::Process;

const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/power_cut/recorder.c");

/// The compiled recorder.
#[derive(Debug)]
pub(crate) struct Recorder {
    library: PathBuf,
}

/// What is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    /// Agent, relay and warehouse.
    Up,
    /// The agent alone; no relay is there.
    Agent,
}

/// How a process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// SIGTERM, once nothing is left to do.
    Asked,
    /// SIGKILL with its n-th record; as [`Asked`](Self::Asked) if there are not so many.
    Killed(u64),
}

impl Recorder {
    /// Compiles it into `dir`.
    pub(crate) fn compile(dir: &Path) -> Self {
        let library = dir.join("recorder.so");
        let done = Command::new("cc")
            .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
            .args([library.as_path(), Path::new(SOURCE)])
            .status()
            .expect("this test needs a C compiler: install gcc");
        assert!(done.success(), "the recorder does not compile");
        Self { library }
    }

    /// Runs `program` on `root`/data while `use_it`, which gets where to push to, uses it. Gives what it did below
    /// `root`.
    pub(crate) fn record(
        &self,
        root: &Path,
        program: Program,
        end: End,
        use_it: impl FnOnce(&str, &mut Process),
    ) -> Vec<Event> {
        let trace = self.library.with_file_name("trace");
        let data = root.join("data");
        let data = data.to_str().unwrap();
        let mut environment = vec![
            ("LD_PRELOAD", self.library.clone().into_os_string()),
            ("GAITWAY_RECORD_ROOT", root.into()),
            ("GAITWAY_RECORD_TRACE", trace.clone().into_os_string()),
        ];
        if let End::Killed(at) = end {
            environment.push(("GAITWAY_RECORD_KILL", OsString::from(at.to_string())));
        }
        let config = self.library.with_file_name("talking.toml");
        let (name, text) = match program {
            Program::Up => ("up", "[agent.windows]\nsilence = \"1h\"\n"),
            Program::Agent => ("agent", "[windows]\nsilence = \"1h\"\n"),
        };
        std::fs::write(&config, text).unwrap();
        let mut args = vec![name, "--http", "127.0.0.1:0", "--config", config.to_str().unwrap(), "--data-dir"];
        let spool = format!("{data}/agent");
        match program {
            Program::Up => args.extend([data, "--mqtt", "127.0.0.1:0"]),
            // Port 1: nobody listens there.
            Program::Agent => args.extend([spool.as_str(), "--relay", "mqtt://127.0.0.1:1"]),
        }
        let mut process = Process::start_in(&args, &environment);
        if let Some(address) = address(&mut process) {
            use_it(&address, &mut process);
        }
        if process.ended().is_none() {
            let status = process.terminate(Signal::SIGTERM);
            assert!(status.success() || end != End::Asked, "{status}");
        }
        let events = trace::read(&trace, root);
        std::fs::remove_file(trace).unwrap();
        events
    }
}

/// Where it takes pushes; none if it ends before.
fn address(process: &mut Process) -> Option<String> {
    let mut found = None;
    await_that("the process takes pushes", || {
        found = process.log().iter().find_map(|event| {
            let url = event["url"].as_str().and_then(|url| url.strip_prefix("http://")?.strip_suffix("/data"));
            let alone = event["message"].as_str().is_some_and(|message| message.starts_with("taking pushes"));
            url.or_else(|| event["address"].as_str().filter(|_| alone)).map(str::to_owned)
        });
        found.is_some() || process.ended().is_some()
    });
    found
}
