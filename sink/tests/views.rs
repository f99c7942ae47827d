//! The views for people answer as they should over rows whose answers are known: Snowflake's in `DuckDB`'s words, PostgreSQL's in a server,
//! SQLite's in the version that Python brings, which is older than this program's: readers' programs bring their own, too.
//! What is asked and answered stands in `deploy/snowflake/check`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod postgres_server;
#[path = "../../tests/harness/python.rs"]
mod python;

use std::path::Path;
use std::process::Command;

use postgres_server::Database;
use python::{python, run};

const CHECK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/snowflake/check");

fn check(more: &[&str]) -> String {
    let python = python("views", &[Path::new(CHECK).join("requirements.txt")]);
    run(Command::new(python).arg(format!("{CHECK}/check.py")).args(more))
}

fn answers_as_expected(said: &str) -> bool {
    let last = said.lines().last().and_then(|line| line.strip_suffix(" views answer as expected"));
    last.and_then(|count| count.split_once(" of ")).is_some_and(|(right, all)| right == all && right != "0")
}

#[test]
#[ignore = "needs python"]
fn snowflakes_views_answer_as_expected_in_duckdb() {
    let said = check(&[]);
    assert!(answers_as_expected(&said), "{said}");
}

#[test]
#[ignore = "needs postgres and python"]
fn postgresqls_views_answer_as_expected() {
    let database = Database::new();
    let said = check(&["--postgres", &database.url]);
    assert!(answers_as_expected(&said), "{said}");
}

#[test]
#[ignore = "needs python"]
fn sqlites_views_answer_as_expected() {
    let said = run(Command::new("python3").arg(format!("{CHECK}/check.py")).arg("--sqlite"));
    assert!(answers_as_expected(&said), "{said}");
}
