//! Warehouses that took the same pushes in: one behind Kafka, one of `gaitway up`.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use super::tools::{check, run};
use crate::harness::house::House;
use crate::harness::process::Process;
use crate::harness::proxy::Proxy;
use crate::harness::warehouse::await_drained;
use crate::harness::{await_that, kafka};
use crate::postgres_server::Database;

/// Nothing that is pushed here pauses for so long.
const SILENCE: &str = "silence = \"15s\"\n";

/// What the check's Python expects of the windows that are classified again.
const AGAIN: [&str; 5] = ["--device", "phone-2", "--thresholds", "1/9.5/14", "--write"];

pub(crate) struct Filled {
    pub(crate) postgres: Database,
    pub(crate) sqlite: PathBuf,
    _house: House,
}

impl Filled {
    /// `now` is where the live part of the pushes ends, milliseconds since the epoch.
    pub(crate) fn new(now: &str) -> Self {
        let house = House::new(kafka::broker(), "partitions = 3\n");
        let pushes = house.path("pushes");
        run(check("pushes").args(["--now", now, "--out"]).arg(&pushes));
        let postgres = through_kafka(&house, &pushes);
        let sqlite = by_up(&house, &pushes);
        Self { postgres, sqlite, _house: house }
    }
}

fn replay(url: &str, pushes: &Path) {
    run(gaitway(&["replay", "--to", url, "--speed", "max"]).arg(pushes));
}

/// An agent whose relay is away and whose spool is small drops the oldest, tells the relay at `address` later, and ends.
fn overflow(dir: &Path, address: &str, pushes: &Path) {
    std::fs::create_dir(dir).unwrap();
    let config = dir.join("agent.toml");
    let spool = "max_bytes = \"9MiB\"\nmin_free_percent = 0\nwhen_full = \"drop_oldest_raw\"\n";
    std::fs::write(&config, format!("[spool]\n{spool}[windows]\n{SILENCE}")).unwrap();
    let proxy = Proxy::new();
    let mut agent = Process::agent(&dir.join("agent"), &proxy.url(), &["--config", config.to_str().unwrap()]);
    replay(&agent.agent_push_url(), &pushes.join("losses"));
    proxy.point(Some(address));
    await_drained(&dir.join("agent/spool.db"));
    assert!(agent.terminate(Signal::SIGTERM).success());
}

fn gaitway(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
    command.args(args);
    command
}

/// Agent, relay, Kafka, sink.
fn through_kafka(house: &House, pushes: &Path) -> Database {
    let postgres = Database::new();
    let mut relay = house.relay();
    let config = house.path("dashboards-agent.toml");
    std::fs::write(&config, format!("[windows]\n{SILENCE}")).unwrap();
    let (dir, relay_url) = (house.path("agent"), format!("mqtt://{}", relay.mqtt_address()));
    let mut agent = Process::agent(&dir, &relay_url, &["--config", config.to_str().unwrap()]);
    let sink = house.sink("postgres", "warehouse = \"postgres\"", &format!("[postgres]\nurl = \"{}\"\n", postgres.url));
    replay(&agent.agent_push_url(), &pushes.join("phones"));
    await_drained(&dir.join("spool.db"));
    overflow(&house.path("overflow"), &relay.mqtt_address(), pushes);
    let committed = |kind| kafka_records(house, kind);
    let (raw, windows, gaps) = (committed("raw"), committed("activity"), committed("gaps"));
    let reader = postgres.reader();
    let made = "SELECT count(to_regclass('raw_data.activity_records'))";
    await_that("the sink has made its tables", || reader.number(made) == 1);
    let stored = |table| reader.number(&format!("SELECT count(*) FROM {table}")) as usize;
    await_that("the sink has everything", || {
        stored("raw_data.activity_records") == raw
            && stored("processed_data.user_activity_processed") == windows
            && stored("raw_data.gaps") == gaps
    });
    for process in [agent, relay, sink] {
        assert!(process.terminate(Signal::SIGTERM).success());
    }
    let sink = house.path("postgres.toml");
    run(gaitway(&["reclassify", "--config", sink.to_str().unwrap()]).args(AGAIN));
    // What PostgreSQL's own housekeeping does in its time: plans are made from it, and sizes stay.
    reader.run("VACUUM ANALYZE");
    postgres
}

fn kafka_records(house: &House, kind: &str) -> usize {
    crate::harness::topic::read(&house.broker, &house.topic(kind)).len()
}

/// One process, a local warehouse.
fn by_up(house: &House, pushes: &Path) -> PathBuf {
    let (dir, config) = (house.path("up"), house.path("up.toml"));
    std::fs::write(&config, format!("[agent.windows]\n{SILENCE}")).unwrap();
    let places = ["--config", config.to_str().unwrap()];
    let mut up = Process::up(&dir, &places);
    replay(&up.push_url(), &pushes.join("phones"));
    await_drained(&dir.join("agent/spool.db"));
    overflow(&house.path("up-overflow"), &up.mqtt_address(), pushes);
    assert!(up.terminate(Signal::SIGTERM).success());
    run(gaitway(&["reclassify", "--data-dir", dir.to_str().unwrap()]).args(places).args(AGAIN));
    dir.join("warehouse.db")
}
