//! Python and Node with the packages that the check asks for, below the target folder. Of several processes one makes them.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Where `python -m generate` and `python -m check` run.
pub(crate) const GRAFANA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/grafana");

/// Files that name packages: what is made is made anew when they change.
const PYTHON: [&str; 3] = ["requirements.txt", "check/requirements.txt", "../snowflake/check/requirements.txt"];
const NODE: [&str; 2] = ["check/structure/package.json", "check/structure/package-lock.json"];

pub(crate) fn python() -> PathBuf {
    let folder = made("dashboards-python", &PYTHON, |folder| {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder));
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        for file in &PYTHON[..2] {
            pip.args(["--requirement", file]);
        }
        run(pip.current_dir(GRAFANA));
    });
    folder.join("bin/python")
}

/// A folder with Grafana's types and TypeScript in `node_modules`.
pub(crate) fn node_modules() -> PathBuf {
    made("dashboards-node", &NODE, |folder| {
        fs::create_dir_all(folder).unwrap();
        for file in NODE {
            let from = Path::new(GRAFANA).join(file);
            fs::copy(&from, folder.join(from.file_name().unwrap())).unwrap();
        }
        let npm = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent"];
        run(Command::new("npm").args(npm).current_dir(folder));
    })
}

fn made(name: &str, named_by: &[&str], make: impl FnOnce(&Path)) -> PathBuf {
    let wanted: String =
        named_by.iter().map(|file| fs::read_to_string(Path::new(GRAFANA).join(file)).unwrap()).collect();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (folder, done) = (target.join(name), target.join(format!("{name}.made")));
    let lock = File::create(target.join(format!("{name}.lock"))).unwrap();
    lock.lock().unwrap();
    if fs::read_to_string(&done).ok().as_ref() != Some(&wanted) {
        make(&folder);
        fs::write(done, wanted).unwrap();
    }
    folder
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

/// What it said. A program that is not there, or that fails, fails the test.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}{errors}", output.status);
    said
}
