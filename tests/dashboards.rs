//! **Dashboards.** Recordings and made-up sensors go through the real pipeline into PostgreSQL (agent, relay, Kafka, sink) and
//! SQLite (`gaitway up`), some windows are classified again, and then every query of every dashboard and alert rule is asked:
//! in both, and in Snowflake's two dialects by `DuckDB` over PostgreSQL's rows. Answers are held against what plain arithmetic
//! over the pushes says. What is checked and what cannot be is written in `deploy/grafana/check/README.md`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "dashboards/fill.rs"]
mod fill;
mod harness;
#[path = "../sink/tests/postgres_server/mod.rs"]
mod postgres_server;
#[path = "dashboards/tools.rs"]
mod tools;

use fill::Filled;
use gaitway_service::clock;
use tools::{check, module, run};

#[test]
#[ignore = "needs python and node"]
fn dashboards_and_rules_have_the_structure_that_grafana_takes() {
    let said = run(check("structure").arg("--node").arg(tools::node_modules()));
    assert!(said.lines().last().is_some_and(|line| line.ends_with(" as Grafana takes them")), "{said}");
}

#[test]
#[ignore = "needs python"]
fn what_is_committed_is_what_the_generator_makes() {
    run(module("generate").arg("--check"));
}

#[test]
#[ignore = "needs python"]
fn the_check_knows_macros_and_windows() {
    run(module("unittest").args(["discover", "-s", "check", "-t", "."]));
}

#[test]
#[ignore = "needs kafka, postgres and python"]
fn every_query_gives_what_its_panel_needs_and_the_right_numbers() {
    let now = (clock::now_micros() / 1000).to_string();
    let filled = Filled::new(&now);
    let said = run(check("answers")
        .args(["--now", &now, "--postgres", &filled.postgres.url])
        .arg("--sqlite")
        .arg(&filled.sqlite));
    println!("{said}");
    let last = said.lines().last().and_then(|line| line.strip_suffix(" answers are right"));
    let counted = last.and_then(|counts| counts.split_once(" of "));
    assert!(counted.is_some_and(|(right, all)| right == all && right != "0"), "{said}");
}
