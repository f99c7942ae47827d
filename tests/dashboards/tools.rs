//! Python and Node with the packages that the check asks for, below the target folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use crate::harness::python::run;
use crate::harness::python::{self, made};

/// Where `python -m generate` and `python -m check` run.
pub(crate) const GRAFANA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana");

pub(crate) fn python() -> PathBuf {
    let files = ["requirements.txt", "check/requirements.txt", "../snowflake/check/requirements.txt"];
    python::python("dashboards-python", &files.map(|file| Path::new(GRAFANA).join(file)))
}

/// A folder with Grafana's types and TypeScript in `node_modules`.
pub(crate) fn node_modules() -> PathBuf {
    let files = ["package.json", "package-lock.json"];
    made("dashboards-node", &files.map(|file| Path::new(GRAFANA).join("check/structure").join(file)), |folder| {
        fs::create_dir_all(folder).unwrap();
        for file in files {
            fs::copy(Path::new(GRAFANA).join("check/structure").join(file), folder.join(file)).unwrap();
        }
        let npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
        run(Command::new("npm").args(npm).current_dir(folder));
    })
}

/// `python -m MODULE` in deploy/grafana, which it leaves as it is.
pub(crate) fn module(name: &str) -> Command {
    let mut command = Command::new(python());
    command.current_dir(GRAFANA).env("PYTHONDONTWRITEBYTECODE", "1").args(["-m", name]);
    command
}

/// `python -m check COMMAND`.
pub(crate) fn check(command: &str) -> Command {
    let mut check = module("check");
    check.arg(command);
    check
}
