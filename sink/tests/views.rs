//! The views for people answer as they should over rows whose answers are known: Snowflake's in `DuckDB`'s words, PostgreSQL's in a server,
//! SQLite's in the version that Python brings, which is older than this program's: readers' programs bring their own, too.
//! What is asked and answered stands in `deploy/snowflake/check`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod postgres_server;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use postgres_server::Database;

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/snowflake/check");

/// A Python with the packages that the check asks for, in a virtual environment below the target folder. Of several processes
/// that need it one makes it.
fn python() -> PathBuf {
    let wanted = fs::read_to_string(format!("{CHECK}/requirements.txt")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let (folder, made) = (target.join("views"), target.join("views.made"));
    let (lock, python) = (File::create(target.join("views.lock")).unwrap(), folder.join("bin/python"));
    lock.lock().unwrap();
    if fs::read_to_string(&made).ok().as_ref() != Some(&wanted) {
        run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&folder));
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
        run(Command::new(&python).args(pip).arg(format!("{CHECK}/requirements.txt")));
        fs::write(&made, wanted).unwrap();
    }
    python
}

/// What it said. A program that is not there, or that fails, fails the test.
fn run(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}{errors}", output.status);
    said
}

fn answers_as_expected(said: &str) -> bool {
    let last = said.lines().last().and_then(|line| line.strip_suffix(" views answer as expected"));
    last.and_then(|count| count.split_once(" of ")).is_some_and(|(right, all)| right == all && right != "0")
}

#[test]
#[ignore = "needs python"]
fn snowflakes_views_answer_as_expected_in_duckdb() {
    let said = run(Command::new(python()).arg(format!("{CHECK}/check.py")));
    assert!(answers_as_expected(&said), "{said}");
}

#[test]
#[ignore = "needs postgres and python"]
fn postgresqls_views_answer_as_expected() {
    let database = Database::new();
    let said = run(Command::new(python()).arg(format!("{CHECK}/check.py")).args(["--postgres", &database.url]));
    assert!(answers_as_expected(&said), "{said}");
}

#[test]
#[ignore = "needs python"]
fn sqlites_views_answer_as_expected() {
    let said = run(Command::new("python3").arg(format!("{CHECK}/check.py")).arg("--sqlite"));
    assert!(answers_as_expected(&said), "{said}");
}
