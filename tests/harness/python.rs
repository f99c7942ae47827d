//! Programs in Python, with the packages that they ask for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Python with the packages of the file `requirements`, in a virtual environment `name` below the target folder. Of several
/// processes that need it one makes it.
pub(crate) fn python(name: &str, requirements: &Path) -> PathBuf {
    let wanted = fs::read_to_string(requirements).expect("the file of requirements is part of the repository");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (folder, made) = (target.join(name), target.join(format!("{name}.made")));
    let (lock, python) =
        (File::create(target.join(format!("{name}.lock"))).expect("a file"), folder.join("bin/python"));
    lock.lock().expect("a lock");
    if fs::read_to_string(&made).ok().as_ref() != Some(&wanted) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(Command::new(&python).args(pip).arg(requirements));
        fs::write(&made, wanted).expect("a file");
    }
    python
}

/// What it said. A program that is not there, or that fails, fails the test.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}{errors}", output.status);
    said
}
