//! **A sink killed anywhere is exact.** SIGKILL of `gaitway sink` at seeded random moments while records come, in
//! transactions of which some are aborted; afterwards the warehouse holds every committed record exactly once and in order.
//!
//! `GAITWAY_KILLS=1000` kills more often, `GAITWAY_SEED=n` repeats a run's moments.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use harness::kafka;
use harness::process::Process;
use harness::warehouse::count;
use harness::{Random, await_that, setting};
use nix::sys::signal::Signal;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};

/// Kills in the suite's run.
const KILLS: u64 = 20;

const PARTITIONS: i32 = 3;

/// Writes transactions until it is stopped; gives how many records were committed.
fn produce(topic: &str, mut random: Random, stop: &AtomicBool) -> u64 {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka::broker()).set("transactional.id", topic).create().unwrap();
    producer.init_transactions(harness::PATIENCE).unwrap();
    let mut committed = 0;
    while !stop.load(Ordering::Relaxed) {
        producer.begin_transaction().unwrap();
        let (size, commits) = (1 + random.below(400), random.below(4) > 0);
        for number in committed..committed + size {
            let device = if commits { "phone" } else { "aborted" };
            let json = format!(r#"{{"messageId":{number},"deviceId":"{device}"}}"#);
            let partition = (number % PARTITIONS as u64) as i32;
            let record = BaseRecord::<str, _>::to(topic).partition(partition).payload(&json);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(harness::PATIENCE).unwrap();
        if commits {
            producer.commit_transaction(harness::PATIENCE).unwrap();
            committed += size;
        } else {
            producer.abort_transaction(harness::PATIENCE).unwrap();
        }
        std::thread::sleep(Duration::from_millis(random.below(10)));
    }
    committed
}

fn create(names: &[(&str, i32)]) {
    for (name, partitions) in names {
        let created = std::process::Command::new("deploy/dev/kafka.sh")
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["topics", "--bootstrap-server", kafka::broker(), "--create", "--topic", name])
            .args(["--partitions", &partitions.to_string()])
            .output()
            .unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
    }
}

fn start(config: &Path) -> Process {
    Process::start(&["sink", "--config", config.to_str().unwrap()])
}

fn is_reading(event: &serde_json::Value) -> Option<()> {
    (event["message"] == "reading").then_some(())
}

#[test]
#[ignore = "needs kafka"]
fn a_sink_killed_anywhere_is_exact() {
    let (seed, kills) = (setting("GAITWAY_SEED", 3), setting("GAITWAY_KILLS", KILLS));
    let mut random = Random::new(seed);
    let dir = tempfile::tempdir().unwrap();
    let warehouse = dir.path().join("data/warehouse.db");
    let [raw, activity, gaps, dead] =
        ["raw", "activity", "gaps", "dead"].map(|name| kafka::unique(&format!("killed-{name}")));
    create(&[(&raw, PARTITIONS), (&activity, 1), (&gaps, 1)]);
    let config = dir.path().join("sink.toml");
    let text = format!(
        "group = '{raw}'\n[sqlite]\npath = '{}'\n[batch]\nlinger = '5ms'\nmax_rows = 40\n[kafka]\nbrokers = '{}'\n\
         [kafka.create]\npartitions = 1\n[kafka.topics]\nraw = '{raw}'\nactivity = '{activity}'\ngaps = '{gaps}'\n\
         dead_letter = '{dead}'\n[kafka.properties]\n'session.timeout.ms' = 1000\n'heartbeat.interval.ms' = 200\n",
        warehouse.display(),
        kafka::broker()
    );
    std::fs::write(&config, text).unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let (topic, stopped, fate) = (raw.clone(), Arc::clone(&stop), random.clone());
    let produce = move || produce(&topic, fate, &stopped);
    let producer = std::thread::Builder::new().name("producer".to_owned()).spawn(produce).unwrap();
    let mut inside = 0;
    for _ in 0..kills {
        let mut sink = start(&config);
        // Now and then it dies while it starts.
        if random.below(5) > 0 {
            sink.logged("reading", is_reading);
        }
        std::thread::sleep(Duration::from_micros(random.below(400_000)));
        let dbs = std::slice::from_ref(&warehouse);
        let open = if random.below(3) > 0 { sink.kill(dbs) } else { sink.kill_inside(dbs) };
        inside += u64::from(open[0]);
    }
    stop.store(true, Ordering::Relaxed);
    let committed = producer.join().unwrap();
    println!("{kills} kills, seed {seed}: {inside} inside a transaction; {committed} records");
    assert!(inside > 0, "no kill landed inside an open transaction");

    let mut sink = start(&config);
    sink.logged("reading", is_reading);
    await_that("everything is stored", || {
        count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS") >= committed as i64
    });
    std::thread::sleep(Duration::from_secs(1));
    assert!(sink.terminate(Signal::SIGTERM).success());
    assert_eq!(count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS"), committed as i64, "nothing else");
    assert_eq!(count(&warehouse, "SELECT count(DISTINCT messageId) FROM ACTIVITY_RECORDS"), committed as i64);
    assert_eq!(count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS WHERE deviceId = 'aborted'"), 0);
    let disorder =
        "SELECT count(*) FROM (SELECT RECORD_METADATA ->> 'offset' AS this, lag(RECORD_METADATA ->> 'offset')
                    OVER (PARTITION BY RECORD_METADATA ->> 'partition' ORDER BY rowid) AS before FROM ACTIVITY_RECORDS)
                    WHERE this <= before";
    assert_eq!(count(&warehouse, disorder), 0, "records of a partition keep their order");
}
