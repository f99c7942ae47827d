//! Programs in Python, with the packages that they ask for.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A Python with the packages of the files `requirements`, in a virtual environment `name` below the target folder.
pub(crate) fn python(name: &str, requirements: &[PathBuf]) -> PathBuf {
    let folder = made(name, requirements, |folder| {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder));
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        for file in requirements {
            pip.arg("--requirement").arg(file);
        }
        run(&mut pip);
    });
    folder.join("bin/python")
}

/// The folder `name` below the target folder, made anew when one of `files`, which say what is in it, has changed. Of several
/// processes that need it one makes it.
pub(crate) fn made(name: &str, files: &[PathBuf], make: impl FnOnce(&Path)) -> PathBuf {
    let said = |file: &PathBuf| fs::read_to_string(file).expect("it is part of the repository");
    let wanted: String = files.iter().map(said).collect();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (folder, done) = (target.join(name), target.join(format!("{name}.made")));
    let lock = File::create(target.join(format!("{name}.lock"))).expect("a file");
    lock.lock().expect("a lock");
    if fs::read_to_string(&done).ok().as_ref() != Some(&wanted) {
        make(&folder);
        fs::write(done, wanted).expect("a file");
    }
    folder
}

/// What it said. A program that is not there, or that fails, fails the test.
pub(crate) fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}{errors}", output.status);
    said
}
