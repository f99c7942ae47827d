//! The whole path through a real Kafka: agent, relay, broker and three sinks, into SQLite, into PostgreSQL and into the
//! emulator of Snowflake, are killed at random moments, each for itself, and so is PostgreSQL. Afterwards the topics, read
//! as readers of committed records do, and all warehouses hold every reading that a phone was answered 200 for exactly
//! once, every window of the plain reference, and nothing else.
//!
//! `GAITWAY_KILLS=2000` kills more often, `GAITWAY_SEED=n` repeats a run's moments.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
#[path = "kafka_killed/in_postgres.rs"]
mod in_postgres;
#[path = "../sink/tests/postgres_server/mod.rs"]
mod postgres_server;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gaitway_emulator::{self as emulator, Emulator};
use harness::crowd::Crowd;
use harness::house::snowflake_table;
use harness::kafka::Broker;
use harness::process::Process;
use harness::proxy::Proxy;
use harness::warehouse::{assert_exact, await_drained, count};
use harness::{Random, await_that, setting, topic};
use nix::sys::signal::Signal;
use postgres_server::{Database, Server};
use rdkafka::Message as _;

const PHONES: u64 = 4;

/// The broker is away for seconds after each kill, and what phones push meanwhile must be caught up with.
const REST: Duration = Duration::from_millis(500);

/// Kills of agent, relay and sinks in the suite's run; the broker is killed once for ten of them, PostgreSQL once for twenty.
const KILLS: u64 = 100;

/// Silence closes nothing while phones push, and everything at the end.
const TALKING: &str = "[windows]\nsilence = \"1h\"\n";
const SILENT: &str = "[windows]\nsilence = \"300ms\"\n";

/// A sink that is killed is missed soon, so that the next one gets its partitions.
const SOON: &str = "[kafka.properties]\n\"session.timeout.ms\" = 1500\n\"heartbeat.interval.ms\" = 300\n";

/// Where everything is, and what runs.
struct House {
    dir: tempfile::TempDir,
    broker: Broker,
    proxy: Proxy,
    agent: Option<Process>,
    relay: Option<Process>,
    emulator: Emulator,
    postgres: Server,
    database: Database,
    /// Into SQLite, into Snowflake, into PostgreSQL.
    sinks: [Option<Process>; 3],
}

/// Their configurations.
const SINKS: [&str; 3] = ["sink.toml", "snowflake.toml", "postgres.toml"];

impl House {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start();
        let kafka = format!("[kafka]\nbrokers = \"{}\"\n[kafka.create]\npartitions = 3\n", broker.address);
        std::fs::write(dir.path().join("talking.toml"), TALKING).unwrap();
        std::fs::write(dir.path().join("silent.toml"), SILENT).unwrap();
        std::fs::write(dir.path().join("relay.toml"), &kafka).unwrap();
        let warehouse = dir.path().join("sink/warehouse.db");
        let sink = format!("{kafka}{SOON}[sqlite]\npath = \"{}\"\n", warehouse.display());
        std::fs::write(dir.path().join(SINKS[0]), sink).unwrap();
        let emulator = Emulator::start(emulator::Options::default()).unwrap();
        let table = snowflake_table(dir.path(), &emulator);
        let snowflake = format!("group = \"snowflake\"\nwarehouse = \"snowflake\"\n{kafka}{SOON}{table}");
        std::fs::write(dir.path().join(SINKS[1]), snowflake).unwrap();
        let postgres = Server::start(&[]);
        let database = postgres.database();
        let into_postgres = format!(
            "group = \"postgres\"\nwarehouse = \"postgres\"\n{kafka}{SOON}[postgres]\nurl = \"{}\"\n",
            database.url
        );
        std::fs::write(dir.path().join(SINKS[2]), into_postgres).unwrap();
        let (proxy, agent, relay, sinks) = (Proxy::new(), None, None, [None, None, None]);
        let mut house = Self { dir, broker, proxy, agent, relay, emulator, postgres, database, sinks };
        house.start_relay();
        for which in 0..house.sinks.len() {
            house.start_sink(which);
        }
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn spool(&self) -> PathBuf {
        self.path("agent/spool.db")
    }

    fn warehouse(&self) -> PathBuf {
        self.path("sink/warehouse.db")
    }

    /// Gives where phones push to.
    fn start_agent(&mut self, config: &str) -> String {
        let config = self.path(config);
        let mut agent = Process::agent(&self.path("agent"), &self.proxy.url(), &["--config", config.to_str().unwrap()]);
        let url = agent.agent_push_url();
        self.agent = Some(agent);
        url
    }

    fn start_relay(&mut self) {
        let config = self.path("relay.toml");
        let mut relay = Process::start(&["relay", "--mqtt", "127.0.0.1:0", "--config", config.to_str().unwrap()]);
        self.proxy.point(Some(&relay.mqtt_address()));
        self.relay = Some(relay);
    }

    fn start_sink(&mut self, which: usize) {
        let config = self.path(SINKS[which]);
        self.sinks[which] = Some(Process::start(&["sink", "--config", config.to_str().unwrap()]));
    }
}

/// A record's place in its topic.
type Place = (String, i64, i64);

const RAW: (&str, &str) = ("RAW_DATA", "ACTIVITY_RECORDS");
const GAPS: (&str, &str) = ("RAW_DATA", "GAPS");
const ACTIVITY: (&str, &str) = ("PROCESSED_DATA", "USER_ACTIVITY_PROCESSED");

/// Holds what readers of committed records see of `topic` against the rows of all warehouses; gives how many records are
/// there and how many more were written in transactions that were aborted.
fn assert_topic(house: &House, topic: &str, warehouse: &Path, (schema, table): (&str, &str)) -> (usize, usize) {
    let broker = &house.broker.address;
    let committed = topic::read(broker, topic);
    let names: BTreeSet<_> = committed.iter().map(topic::headers).collect();
    assert_eq!(names.len(), committed.len(), "two records of {topic} have one name");
    let in_kafka: BTreeSet<Place> =
        committed.iter().map(|message| (topic.to_owned(), i64::from(message.partition()), message.offset())).collect();

    let connection = harness::warehouse::open(warehouse);
    let sql = format!(
        "SELECT RECORD_METADATA ->> 'topic', RECORD_METADATA ->> 'partition', RECORD_METADATA ->> 'offset' FROM {table}"
    );
    let mut statement = connection.prepare(&sql).unwrap();
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap();
    assert_places(&rows.collect::<Result<Vec<_>, _>>().unwrap(), &in_kafka, "SQLite");

    let values: BTreeMap<(i64, i64), serde_json::Value> = committed
        .iter()
        .map(|message| {
            let value = serde_json::from_slice(message.payload().unwrap()).unwrap();
            ((i64::from(message.partition()), message.offset()), value)
        })
        .collect();
    let rows: Vec<Place> = house
        .emulator
        .rows(schema, table)
        .into_iter()
        .map(|row| {
            let (mut metadata, mut value) = (serde_json::Value::Null, serde_json::Map::new());
            for (column, cell) in row {
                if column == "RECORD_METADATA" {
                    metadata = cell;
                } else {
                    value.insert(column, cell);
                }
            }
            let (partition, offset) = (metadata["partition"].as_i64().unwrap(), metadata["offset"].as_i64().unwrap());
            let told: serde_json::Map<_, _> = values[&(partition, offset)]
                .as_object()
                .unwrap()
                .iter()
                .map(|(key, value)| (key.to_ascii_uppercase(), value.clone()))
                .collect();
            let value: serde_json::Map<_, _> =
                value.into_iter().map(|(key, value)| (key.to_ascii_uppercase(), value)).collect();
            assert_eq!(value, told, "{topic}/{partition} offset {offset}");
            (metadata["topic"].as_str().unwrap().to_owned(), partition, offset)
        })
        .collect();
    assert_places(&rows, &in_kafka, "Snowflake");
    let stored = in_postgres::rows(&house.database.reader(), topic, table, &values);
    assert_places(&stored, &in_kafka, "PostgreSQL");
    (committed.len(), topic::count_uncommitted(broker, topic) - committed.len())
}

fn assert_places(rows: &[Place], in_kafka: &BTreeSet<Place>, warehouse: &str) {
    let stored: BTreeSet<Place> = rows.iter().cloned().collect();
    assert_eq!(stored.len(), rows.len(), "two rows of {warehouse} have one place");
    assert_eq!(&stored, in_kafka, "{warehouse}");
}

#[test]
#[ignore = "needs kafka and postgres"]
fn agent_relay_sinks_broker_and_postgres_killed_independently_are_exact() {
    let seed = setting("GAITWAY_SEED", 3);
    let kills = setting("GAITWAY_KILLS", KILLS);
    let mut random = Random::new(seed);
    let mut house = House::new();
    let crowd = Crowd::push(PHONES, seed, REST);
    crowd.point(Some(house.start_agent("talking.toml")));

    let (mut broker_kills, mut postgres_kills) = (0, 0);
    for kill in 0..kills {
        std::thread::sleep(Duration::from_micros(random.below(600_000)));
        match random.below(5) {
            0 => {
                crowd.point(None);
                house.agent.take().unwrap().kill(&[]);
                crowd.point(Some(house.start_agent("talking.toml")));
            }
            1 => {
                if random.below(4) > 0 {
                    house.relay.as_ref().unwrap().await_log("agent welcomed", Duration::from_secs(4));
                    std::thread::sleep(Duration::from_micros(random.below(300_000)));
                }
                house.relay.take().unwrap().kill(&[]);
                house.start_relay();
            }
            which => {
                let which = which as usize - 2;
                house.sinks[which].take().unwrap().kill(&[]);
                house.start_sink(which);
            }
        }
        if kill % 10 == 5 {
            house.broker.kill();
            broker_kills += 1;
            std::thread::sleep(Duration::from_micros(random.below(400_000)));
            house.broker.restart();
        }
        if kill % 20 == 9 {
            house.postgres.kill();
            postgres_kills += 1;
            std::thread::sleep(Duration::from_micros(random.below(400_000)));
            house.postgres.restart();
        }
    }

    let pushed = crowd.finish();
    assert!(house.agent.take().unwrap().terminate(Signal::SIGTERM).success());
    house.start_agent("silent.toml");
    await_drained(&house.spool());
    let expected: usize = pushed.iter().flat_map(|(_, pushed)| pushed.values()).map(Vec::len).sum();
    assert!(expected > 0);
    let warehouse = house.warehouse();
    await_that("every reading is in the warehouse", || {
        count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS") >= expected as i64
    });
    let windows = topic::read(&house.broker.address, "processed_activity").len();
    await_that("every window is in the warehouse", || {
        count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED") >= windows as i64
    });
    let stored = |house: &House, (schema, table): (&str, &str)| house.emulator.count(schema, table) as usize;
    await_that("everything is in Snowflake", || {
        stored(&house, RAW) >= expected && stored(&house, ACTIVITY) >= windows && house.emulator.uncommitted() == 0
    });
    let reader = house.database.reader();
    await_that("everything is in PostgreSQL", || {
        in_postgres::count(&reader, RAW.1) >= expected && in_postgres::count(&reader, ACTIVITY.1) >= windows
    });
    for sink in &mut house.sinks {
        assert!(sink.take().unwrap().terminate(Signal::SIGTERM).success());
    }
    assert!(house.relay.take().unwrap().terminate(Signal::SIGTERM).success());

    for (phone, pushed) in &pushed {
        assert_exact(&warehouse, phone, pushed);
    }
    for topic in ["gaitway_gaps", "gaitway_dead_letter"] {
        assert_eq!(topic::read(&house.broker.address, topic).len(), 0, "{topic}");
    }
    assert_eq!(count(&warehouse, "SELECT count(*) FROM GAPS"), 0);
    assert_eq!((stored(&house, GAPS), in_postgres::count(&reader, GAPS.1)), (0, 0));
    let (readings, aborted) = assert_topic(&house, "raw_sensor_data", &warehouse, RAW);
    assert_eq!(readings, expected, "and nothing else");
    assert_topic(&house, "processed_activity", &warehouse, ACTIVITY);
    println!(
        "{kills} kills of agent, relay and sinks, {broker_kills} of the broker, {postgres_kills} of PostgreSQL, seed {seed}: \
         {readings} readings, {aborted} more in transactions that were aborted"
    );
    assert!(aborted > 0, "no kill landed inside an open transaction");
}
