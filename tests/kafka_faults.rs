//! The path through a real Kafka meets what does not kill it: frames of the greatest size, servers that are away, full disks, and what
//! Snowflake answers on bad days. Each ends in every record once, or in a stop that says why.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
#[path = "../sink/tests/postgres_server/mod.rs"]
mod postgres_server;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use gaitway_emulator::{self as emulator, Emulator, Fault};
use harness::house::{House, admin, readiness};
use harness::kafka::{self, Broker};
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::small_disk::on_small_disk;
use harness::warehouse::{assert_exact, await_drained, count};
use harness::{await_that, http, topic};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use postgres_server::Server;
use rdkafka::Message as _;
use serde_json::{Value, json};

const RAW: (&str, &str) = ("RAW_DATA", "ACTIVITY_RECORDS");

fn emulator() -> Emulator {
    let commit_lag = Duration::from_millis(20);
    Emulator::start(emulator::Options { commit_lag, ..emulator::Options::default() }).unwrap()
}

fn readings(pushed: &Pushed) -> usize {
    pushed.values().map(Vec::len).sum()
}

fn rows(warehouse: &Path) -> usize {
    harness::warehouse::readings(warehouse) as usize
}

fn in_snowflake(emulator: &Emulator) -> usize {
    emulator.count(RAW.0, RAW.1) as usize
}

/// Places of the rows that the emulator has, each once or the test fails.
fn assert_places(house: &House, emulator: &Emulator) {
    let place = |row: &Value| (row["partition"].as_i64().unwrap(), row["offset"].as_i64().unwrap());
    let mut stored: Vec<_> = emulator.rows(RAW.0, RAW.1).iter().map(|row| place(&row["RECORD_METADATA"])).collect();
    stored.sort_unstable();
    let committed = topic::read(&house.broker, &house.topic("raw"));
    let mut committed: Vec<_> = committed.iter().map(|m| (i64::from(m.partition()), m.offset())).collect();
    committed.sort_unstable();
    assert_eq!(stored, committed);
}

fn end(processes: impl IntoIterator<Item = Process>) {
    for process in processes {
        assert!(process.terminate(Signal::SIGTERM).success());
    }
}

#[test]
#[ignore = "needs kafka"]
fn a_camera_frame_of_900_kb_passes_every_hop_and_twelve_compressed_partitions() {
    let house =
        House::new(kafka::broker(), "partitions = 12\n[kafka.create.settings]\n\"compression.type\" = \"gzip\"\n");
    let (emulator, warehouse) = (emulator(), house.path("warehouse.db"));
    let mut relay = house.relay();
    let mut agent = house.agent(&relay.mqtt_address());
    let sinks = [house.sqlite_sink(&warehouse), house.snowflake_sink(&emulator)];
    let url = agent.agent_push_url();

    // As base64 has it: nothing that compresses.
    let mut random = harness::Random::new(9);
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let image: String = (0..900_000).map(|_| char::from(letters[random.below(64) as usize])).collect();
    for phone in 0..24 {
        let values = if phone == 7 { json!({"base64": image}) } else { json!({"x": phone, "y": 0.5, "z": -1.0}) };
        let name = if phone == 7 { "camera" } else { "accelerometer" };
        let body = json!({
            "messageId": 1, "sessionId": "s", "deviceId": format!("phone-{phone}"),
            "payload": [{"name": name, "time": 1_760_000_000_000_000_000_i64, "values": values}],
        });
        assert_eq!(http::post(&url, &body.to_string()).unwrap().0, 200);
    }
    await_that("everything is in both warehouses", || rows(&warehouse) == 24 && in_snowflake(&emulator) == 24);
    let committed = topic::read(&house.broker, &house.topic("raw"));
    let partitions: std::collections::BTreeSet<_> = committed.iter().map(rdkafka::Message::partition).collect();
    assert!(partitions.len() > 6 && partitions.iter().all(|partition| *partition < 12), "{partitions:?}");

    let connection = harness::warehouse::open(&warehouse);
    let sql = "SELECT reading ->> '$.values.base64' FROM ACTIVITY_RECORDS WHERE sensorType = 'camera'";
    assert_eq!(connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap(), image);
    let stored = emulator.rows(RAW.0, RAW.1);
    let frame = stored.iter().find(|row| row["sensorType"] == "camera").unwrap();
    assert_eq!(frame["reading"]["values"]["base64"], Value::String(image));
    assert_places(&house, &emulator);
    end([agent, relay].into_iter().chain(sinks));
}

#[test]
#[ignore = "needs kafka"]
fn without_a_broker_relay_and_sink_wait_say_why_and_go_on_once_it_is_there() {
    let broker = Broker::start();
    broker.kill();
    let house = House::new(&broker.address, "partitions = 2\n");
    let warehouse = house.path("warehouse.db");
    let (mut relay, mut sink) = (house.relay(), house.sqlite_sink(&warehouse));
    let mut agent = house.agent(&relay.mqtt_address());
    let (phone, mut pushed) = (Phone::new(1, 3), Pushed::new());
    push(&agent.agent_push_url(), &phone, 0..20, &mut pushed);

    let places = [admin(&mut relay), admin(&mut sink)];
    for place in &places {
        await_that("it is said which Kafka is waited for", || {
            let (status, why) = readiness(place);
            status == 503 && why.contains(&broker.address)
        });
    }
    std::thread::sleep(Duration::from_secs(12));
    for (process, place) in [&relay, &sink].into_iter().zip(&places) {
        let complaints: Vec<_> = process.log().into_iter().filter(|event| event["level"] == "WARN").collect();
        // Once a minute, of what it waits for, and what differs in kind.
        assert!((1..=4).contains(&complaints.len()), "{complaints:#?}");
        assert_eq!(readiness(place).0, 503);
    }
    broker.restart();
    await_that("every reading is there", || rows(&warehouse) == readings(&pushed));
    await_drained(&house.path("agent/spool.db"));
    for place in &places {
        await_that("it is ready", || readiness(place).0 == 200);
    }
    await_that("every window is there", || {
        let windows = topic::read(&house.broker, &house.topic("activity")).len() as i64;
        count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED") == windows
    });
    end([agent, relay, sink]);
    assert_exact(&warehouse, &phone, &pushed);
}

#[test]
#[ignore = "needs kafka and a mount namespace"]
fn a_sink_whose_disk_is_full_waits_says_so_and_goes_on_when_there_is_room() {
    let broker = kafka::broker();
    on_small_disk("size=16m", |disk| {
        let house = House::new(broker, "partitions = 3\n");
        let warehouse = disk.path().join("warehouse.db");
        let mut relay = house.relay();
        let mut agent = house.agent(&relay.mqtt_address());
        let mut sink = house.sqlite_sink(&warehouse);
        let (url, place) = (agent.agent_push_url(), admin(&mut sink));
        await_that("the sink is ready", || readiness(&place).0 == 200);
        let ballast = disk.fill(1_500_000);
        let (phone, mut pushed) = (Phone::new(2, 5), Pushed::new());
        let mut next = 0;
        await_that("the warehouse's disk is full", || {
            push(&url, &phone, next..next + 20, &mut pushed);
            next += 20;
            readiness(&place).1.contains("warehouse.db is full: free space on it")
        });
        assert_eq!(readiness(&place).0, 503);
        push(&url, &phone, next..next + 20, &mut pushed);
        // Neither relay nor agent wait for the sink.
        await_drained(&house.path("agent/spool.db"));
        assert!(rows(&warehouse) < readings(&pushed));
        std::fs::remove_file(ballast).unwrap();
        await_that("every reading is there", || rows(&warehouse) == readings(&pushed));
        await_that("the sink is ready again", || readiness(&place).0 == 200);
        await_that("every window is there", || {
            let windows = topic::read(&house.broker, &house.topic("activity")).len() as i64;
            count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED") == windows
        });
        end([agent, relay, sink]);
        assert_exact(&warehouse, &phone, &pushed);
    });
}

/// The path into the emulated account, with phones whose readings go to different partitions.
struct IntoSnowflake {
    house: House,
    emulator: Emulator,
    relay: Process,
    agent: Process,
    sink: Process,
    admin: String,
    url: String,
    phones: Vec<(Phone, Pushed)>,
    next: u64,
}

impl IntoSnowflake {
    fn new() -> Self {
        let house = House::new(kafka::broker(), "partitions = 3\n");
        let emulator = emulator();
        let mut relay = house.relay();
        let mut agent = house.agent(&relay.mqtt_address());
        let mut sink = house.snowflake_sink(&emulator);
        let (admin, url) = (admin(&mut sink), agent.agent_push_url());
        let phones = (0..6).map(|number| (Phone::new(number, 7), Pushed::new())).collect();
        let mut path = Self { house, emulator, relay, agent, sink, admin, url, phones, next: 0 };
        path.push();
        path.await_stored();
        path
    }

    /// A message of each phone.
    fn push(&mut self) {
        for (phone, pushed) in &mut self.phones {
            push(&self.url, phone, [self.next], pushed);
        }
        self.next += 1;
    }

    fn expected(&self) -> usize {
        self.phones.iter().map(|(_, pushed)| readings(pushed)).sum()
    }

    fn await_stored(&self) {
        await_that("every reading is in Snowflake", || {
            in_snowflake(&self.emulator) >= self.expected() && self.emulator.uncommitted() == 0
        });
        await_that("the sink is ready", || readiness(&self.admin).0 == 200);
        assert_places(&self.house, &self.emulator);
        assert_eq!(in_snowflake(&self.emulator), self.expected());
    }

    fn channel(&self, partition: i32) -> String {
        format!("gaitway_{}_{partition}", self.house.topic("raw"))
    }

    /// A partition that readings go to.
    fn partition(&self) -> i32 {
        topic::read(&self.house.broker, &self.house.topic("raw"))[0].partition()
    }

    fn stopped(&self) -> u64 {
        let text = http::get(&format!("{}/metrics", self.admin)).unwrap().1;
        let line = text.lines().find_map(|line| line.strip_prefix("gaitway_sink_partitions_stopped "));
        line.unwrap().parse().unwrap()
    }

    fn end(self) {
        end([self.agent, self.relay, self.sink]);
    }
}

#[test]
#[ignore = "needs kafka"]
fn what_passes_by_itself_at_snowflake_delays_rows_and_changes_none() {
    let mut path = IntoSnowflake::new();
    let lost = path.emulator.inject(Fault::ResponseLost.times(3));
    let done = path.emulator.inject(Fault::DoneThenUnavailable.times(3));
    let stale = path.emulator.inject(Fault::StaleToken.times(2));
    let busy = path.emulator.inject(Fault::TooManyRequests { retry_after: Some(1) }.times(2));
    let moved = path.emulator.inject(Fault::FailedOver.times(1));
    await_that("every fault was met", || {
        path.push();
        std::thread::sleep(Duration::from_millis(200));
        [lost, done, stale, busy, moved].iter().all(|fault| path.emulator.met(*fault) > 0)
    });
    path.await_stored();

    // While nothing comes, a channel becomes invalid: the sink finds out by itself and opens it again.
    let channel = path.channel(path.partition());
    path.emulator.invalidate(&channel, "ERR_CHANNEL_MUST_BE_REOPENED");
    let opens = |path: &IntoSnowflake| path.emulator.requests().of(emulator::Call::Open);
    let before = opens(&path);
    await_that("it is opened again while idle", || opens(&path) > before);
    path.push();
    path.await_stored();

    path.emulator.go_away();
    path.push();
    await_that("the sink says that Snowflake is away", || readiness(&path.admin).0 == 503);
    path.push();
    path.emulator.come_back();
    path.await_stored();
    assert_eq!(path.stopped(), 0);
    path.end();
}

#[test]
#[ignore = "needs kafka"]
fn rows_that_snowflake_passes_over_stop_their_partition_which_names_the_offsets_and_the_others_go_on() {
    let mut path = IntoSnowflake::new();
    let stopped = path.partition();
    path.emulator.inject(Fault::RejectRows { rows: 3 }.channel(&path.channel(stopped)));
    path.push();
    await_that("the partition is stopped", || path.stopped() == 1);
    let (status, why) = readiness(&path.admin);
    assert_eq!(status, 503);
    let named = format!("{}/{stopped} is stopped", path.house.topic("raw"));
    assert!(why.contains(&named) && why.contains("within the offsets") && why.contains("sink redrive"), "{why}");
    let others = |path: &IntoSnowflake| {
        let rows = path.emulator.rows(RAW.0, RAW.1);
        rows.iter().filter(|row| row["RECORD_METADATA"]["partition"] != stopped).count()
    };
    path.push();
    await_that("the other partitions go on", || {
        let committed = topic::read(&path.house.broker, &path.house.topic("raw"));
        others(&path) == committed.iter().filter(|message| message.partition() != stopped).count()
            && path.emulator.uncommitted() == 0
    });
    let rows = path.emulator.rows(RAW.0, RAW.1);
    let place = |row: &emulator::Row| row["RECORD_METADATA"].to_string();
    let places: std::collections::BTreeSet<_> = rows.iter().map(place).collect();
    assert_eq!(places.len(), rows.len(), "a row is there twice");
    path.end();
}

/// Stops `process` without its knowledge, or lets it go on.
fn signal(process: &Process, signal: Signal) {
    kill(Pid::from_raw(process.pid() as i32), signal).unwrap();
}

#[test]
#[ignore = "needs kafka and postgres"]
fn a_sink_that_was_frozen_stores_nothing_twice_beside_the_new_owner_of_its_partitions() {
    const SOON: &str = "[kafka.properties]\n\"session.timeout.ms\" = 1500\n\"heartbeat.interval.ms\" = 300\n";
    let house = House::new(kafka::broker(), "partitions = 3\n");
    let (emulator, server) = (emulator(), Server::start(&[]));
    let (database, password) = (server.database(), house.path("password"));
    std::fs::write(&password, "secret").unwrap();
    std::fs::set_permissions(&password, std::fs::Permissions::from_mode(0o600)).unwrap();
    let url = database.url.replace(":secret@", "@");
    let postgres = format!(
        "{SOON}[postgres]\nurl = \"{url}\"\npassword_file = \"{}\"\nstatement_timeout = \"5s\"\n",
        password.display()
    );
    let snowflake = format!("{SOON}{}", house.snowflake_table(&emulator));
    let start = |which: usize| match which {
        0 => house.sink("postgres", "warehouse = \"postgres\"", &postgres),
        _ => house.sink("snowflake", "warehouse = \"snowflake\"", &snowflake),
    };
    let mut relay = house.relay();
    let mut agent = house.agent(&relay.mqtt_address());
    let url = agent.agent_push_url();
    let mut phones: Vec<_> = (0..6).map(|number| (Phone::new(number, 11), Pushed::new())).collect();
    let mut owners = [start(0), start(1)];
    let reader = database.reader();
    let stored = || [reader.number("SELECT count(*) FROM raw_data.activity_records") as usize, in_snowflake(&emulator)];
    let is_set_up = || reader.number("SELECT count(*) FROM pg_tables WHERE tablename = 'activity_records'") == 1;
    await_that("the tables are there", is_set_up);
    for round in 0..3 {
        // Records are under way when the owners freeze, and wait when they wake.
        for (phone, pushed) in &mut phones {
            push(&url, phone, round * 10..round * 10 + 5, pushed);
        }
        for owner in &owners {
            signal(owner, Signal::SIGSTOP);
        }
        for (phone, pushed) in &mut phones {
            push(&url, phone, round * 10 + 5..round * 10 + 10, pushed);
        }
        let others = [start(0), start(1)];
        let expected: usize = phones.iter().map(|(_, pushed)| readings(pushed)).sum();
        await_that("the new owners have stored everything", || stored().iter().all(|rows| *rows >= expected));
        for owner in &owners {
            signal(owner, Signal::SIGCONT);
        }
        std::thread::sleep(Duration::from_secs(2));
        end(std::mem::replace(&mut owners, others));
        assert_eq!(stored(), [expected; 2]);
    }
    assert_places(&house, &emulator);
    let names = "SELECT count(DISTINCT (record_metadata ->> 'partition', record_metadata ->> 'offset')) FROM raw_data.activity_records";
    assert_eq!(reader.number(names) as usize, stored()[0]);
    end([agent, relay].into_iter().chain(owners));
}

#[test]
#[ignore = "needs kafka"]
fn one_process_through_kafka_adds_up_also_after_it_was_killed() {
    let dir = tempfile::tempdir().unwrap();
    let (data, own) = (dir.path().join("data"), kafka::unique("one"));
    let topics = ["raw", "activity", "gaps", "progress", "dead_letter"]
        .map(|topic| format!("{topic} = \"{own}-{topic}\"\n"))
        .concat();
    let config = dir.path().join("up.toml");
    let text = format!(
        "[agent.windows]\nsilence = \"300ms\"\n[relay.kafka]\nbrokers = \"127.0.0.1:1\"\n[relay.kafka.topics]\n{topics}[sink]\ngroup = \"{own}\"\n"
    );
    std::fs::write(&config, text).unwrap();
    // The flag wins over the file, for relay and sink alike.
    let more = ["--config", config.to_str().unwrap(), "--kafka", kafka::broker()];
    let warehouse = data.join("warehouse.db");
    let (phone, mut pushed) = (Phone::new(1, 3), Pushed::new());
    let mut up = Process::up(&data, &more);
    push(&up.push_url(), &phone, 0..15, &mut pushed);
    up.kill(&[]);
    let mut up = Process::up(&data, &more);
    push(&up.push_url(), &phone, 15..30, &mut pushed);
    await_drained(&data.join("agent/spool.db"));
    await_that("every reading is there", || rows(&warehouse) == readings(&pushed));
    let audit = || {
        let args = ["audit", "--data-dir", data.to_str().unwrap(), "--config", more[1], "--kafka", more[3]];
        let output = Command::new(env!("CARGO_BIN_EXE_gaitway")).args(args).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let begun = Instant::now();
    let (mut code, mut text) = audit();
    while !text.contains(" ok\n") && begun.elapsed() < harness::PATIENCE {
        (code, text) = audit();
    }
    assert!(code == Some(0) && text.contains("adds up: 1 session"), "{text}");
    assert!(up.terminate(Signal::SIGTERM).success());
    assert_exact(&warehouse, &phone, &pushed);
}
