//! What it takes to build gaitway from nothing.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::Deserialize;

use super::Bench;
use super::machine;
use super::table::{Aim, Figure, number};

/// One entry of cargo's timings.
#[derive(Deserialize)]
struct Unit {
    name: String,
    version: String,
    target: String,
    /// Seconds.
    duration: f64,
}

pub(crate) fn figures(_: &Bench) -> Vec<Figure> {
    let target = machine::folder();
    // What is to be compiled lies on this machine already.
    assert!(cargo("fetch", target.path(), &[]), "the dependencies cannot be fetched");
    let begun = Instant::now();
    assert!(
        cargo("build", target.path(), &["--release", "--package", "gaitway", "--jobs", "2", "--timings"]),
        "gaitway cannot be built"
    );
    let minutes = begun.elapsed().as_secs_f64() / 60.0;
    let mut units = units(&target.path().join("cargo-timings/cargo-timing.html"));
    units.sort_by(|a, b| b.duration.total_cmp(&a.duration));
    let all: f64 = units.iter().map(|unit| unit.duration).sum();
    let costly: Vec<String> = units
        .iter()
        .take(5)
        .map(|Unit { name, version, target, duration }| format!("{name} {version}{target} {} s", number(*duration)))
        .collect();
    let figure = Figure::new("cold cargo build --release of gaitway, two cores", format!("{} min", number(minutes)))
        .aim(minutes, &Aim::AtMost(10.0), " min")
        .note(format!(
            "{} crates and scripts, {} s of compiling; most: {}",
            units.len(),
            number(all),
            costly.join(", ")
        ));
    vec![figure]
}

/// Runs cargo on this workspace with a target folder of its own; whether it went well.
fn cargo(command: &str, target: &Path, arguments: &[&str]) -> bool {
    Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned()))
        .args([command, "--locked", "--quiet"])
        .args(arguments)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_TARGET_DIR", target)
        .stdout(Stdio::null())
        .status()
        .unwrap()
        .success()
}

/// The data in cargo's report, which has no other form on a stable toolchain.
fn units(report: &Path) -> Vec<Unit> {
    let html = std::fs::read_to_string(report).unwrap();
    let (_, data) = html.split_once("const UNIT_DATA = ").expect("the report holds its data");
    let (data, _) = data.split_once("];").expect("the data is a list");
    serde_json::from_str(&format!("{data}]")).unwrap()
}
