//! Behind Kafka: a device is forgotten in PostgreSQL and in the emulator of Snowflake while the sink runs.

use std::path::Path;

use gaitway_emulator::{self as emulator, Emulator};
use gaitway_proto::forgotten;
use nix::sys::signal::Signal;
use serde_json::Value;

use super::gaitway;
use crate::harness::house::House;
use crate::harness::phone::{Phone, Pushed, push};
use crate::harness::process::Process;
use crate::harness::{await_that, kafka, warehouse::await_drained};
use crate::postgres_server::Database;

/// Agent and relay of a house.
struct Way {
    house: House,
    agent: Option<Process>,
    relay: Process,
    gone: Phone,
    kept: Phone,
    pushed: [Pushed; 2],
}

impl Way {
    fn new() -> Self {
        let house = House::new(kafka::broker(), "partitions = 2\n");
        let relay = house.relay();
        let (gone, kept) = (Phone::new(1, 9), Phone::new(2, 9));
        let mut way = Self { house, agent: None, relay, gone, kept, pushed: Default::default() };
        way.start_agent();
        way
    }

    fn start_agent(&mut self) {
        let address = self.relay.mqtt_address();
        self.agent = Some(self.house.agent(&address));
    }

    fn stop_agent(&mut self) {
        assert!(self.agent.take().unwrap().terminate(Signal::SIGTERM).success());
    }

    fn push(&mut self, ids: std::ops::Range<u64>) {
        let url = self.agent.as_mut().unwrap().agent_push_url();
        for id in ids {
            push(&url, &self.gone, [id], &mut self.pushed[0]);
            push(&url, &self.kept, [id], &mut self.pushed[1]);
        }
    }

    fn readings(&self) -> [i64; 2] {
        self.pushed.each_ref().map(|pushed| pushed.values().map(Vec::len).sum::<usize>() as i64)
    }

    /// A command about this house's agent and the sink of `config`.
    fn run(&self, command: &[&str], config: &Path) -> (Option<i32>, String, String) {
        let data = self.house.path("agent");
        let places = ["--config", config.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
        gaitway(&[command, &places].concat())
    }

    fn forget(&self, config: &Path) -> (Option<i32>, String, String) {
        self.run(&["forget", "--device", &self.gone.device, "--yes"], config)
    }

    fn assert_adds_up(&self, config: &Path) {
        let (code, shown, said) = self.run(&["audit", "--json"], config);
        assert_eq!(code, Some(0), "{shown}{said}");
        let report: Value = serde_json::from_str(&shown).unwrap();
        assert_eq!(report["mistakes"].as_array().unwrap().len(), 0, "{shown}");
    }

    fn await_drained(&self) {
        await_drained(&self.house.path("agent").join("spool.db"));
    }
}

#[test]
#[ignore = "needs kafka and postgres"]
fn a_device_is_forgotten_in_postgres_while_the_sink_runs() {
    let (mut way, database) = (Way::new(), Database::new());
    let config = way.house.path("pg.toml");
    let table = format!("[postgres]\nurl = \"{}\"\n", database.url);
    let mut sink = way.house.sink("pg", "warehouse = \"postgres\"", &table);
    way.push(0..30);
    way.await_drained();
    let reader = database.reader();
    let of = |phone: &Phone, table: &str| {
        reader.number(&format!("SELECT count(*) FROM {table} WHERE deviceid = '{}'", phone.device))
    };
    let (raw, windows) = ("raw_data.activity_records", "processed_data.user_activity_processed");
    let stored = |way: &Way| [of(&way.gone, raw), of(&way.kept, raw)];
    await_that("the sink has made its tables", || {
        reader.number("SELECT count(*) FROM pg_class WHERE relname = 'gaitway_progress'") == 1
    });
    await_that("all is stored", || stored(&way) == way.readings());
    await_that("windows are stored", || of(&way.gone, windows) > 10 && of(&way.kept, windows) > 10);
    way.stop_agent();
    way.assert_adds_up(&config);
    let kept_windows = of(&way.kept, windows);

    // A user with the sink's rights alone may not.
    reader.run("DROP ROLE IF EXISTS gaitway_forgetting; CREATE ROLE gaitway_forgetting LOGIN PASSWORD 'x'");
    reader.run("GRANT USAGE ON SCHEMA raw_data, processed_data TO gaitway_forgetting");
    reader.run("GRANT INSERT ON raw_data.activity_records TO gaitway_forgetting");
    let (_, host) = database.url.rsplit_once('@').unwrap();
    let other = way.house.path("other.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&other, text.replace(&database.url, &format!("postgres://gaitway_forgetting:x@{host}"))).unwrap();
    let (code, shown, _) = way.run(&["forget", "--device", &way.gone.device, "--dry-run"], &other);
    let said = "does not let user gaitway_forgetting delete: let the tables' owner run what --sql prints; or GRANT";
    assert!(code == Some(1) && shown.contains(said), "{shown}");
    let (code, script, _) = way.run(&["forget", "--device", "o'brien", "--sql"], &other);
    assert!(code == Some(0) && script.contains("r.deviceId = 'o''brien'"), "{script}");
    reader.run(script.split("-- Deleted").next().unwrap());
    assert_eq!(stored(&way), way.readings(), "nobody of that name");
    reader.run("DROP OWNED BY gaitway_forgetting; DROP ROLE gaitway_forgetting");

    let (code, shown, said) = way.forget(&config);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    let [gone, kept] = way.readings();
    assert!(shown.contains(&format!("readings {gone}, windows ")), "{shown}");
    assert!(shown.contains("Kafka") && shown.contains(&way.house.topic("raw")), "{shown}");
    assert_eq!((stored(&way), of(&way.gone, windows)), ([0, kept], 0));
    assert_eq!(of(&way.kept, windows), kept_windows);
    assert_eq!(reader.number("SELECT count(*) FROM raw_data.gaps WHERE reason = 'forgotten in the warehouse'"), 2);
    let (code, again, _) = way.forget(&config);
    assert!(code == Some(0) && again.matches(": nothing\n").count() == 4, "{again}");
    way.assert_adds_up(&config);

    // The sink was not disturbed, and goes on.
    assert!(sink.ended().is_none());
    way.start_agent();
    way.push(30..40);
    way.await_drained();
    let [all, kept] = way.readings();
    await_that("what came after is stored", || stored(&way) == [all - gone, kept]);
    way.assert_adds_up(&config);
    assert!(sink.terminate(Signal::SIGTERM).success());
}

#[test]
#[ignore = "needs kafka"]
fn a_device_is_forgotten_in_snowflake_while_the_sink_runs() {
    let mut way = Way::new();
    let emulator = Emulator::start(emulator::Options::default()).unwrap();
    let table = format!("{}warehouse = \"GAITWAY_READ\"\n", way.house.snowflake_table(&emulator));
    let config = way.house.path("snow.toml");
    let mut sink = way.house.sink("snow", "warehouse = \"snowflake\"", &table);
    way.push(0..30);
    way.await_drained();
    let of = |phone: &Phone, schema: &str, table: &str| {
        emulator.rows(schema, table).iter().filter(|row| row["deviceId"] == phone.device).count() as i64
    };
    let stored = |way: &Way| [&way.gone, &way.kept].map(|phone| of(phone, "RAW_DATA", "ACTIVITY_RECORDS"));
    let windows = |phone: &Phone| of(phone, "PROCESSED_DATA", "USER_ACTIVITY_PROCESSED");
    await_that("all is stored", || stored(&way) == way.readings());
    await_that("windows are stored", || windows(&way.gone) > 10 && windows(&way.kept) > 10);
    way.stop_agent();
    way.assert_adds_up(&config);
    let kept_windows = windows(&way.kept);

    let (code, shown, said) = way.forget(&config);
    assert_eq!((code, said.as_str()), (Some(0), ""), "{shown}");
    assert!(shown.contains("Time Travel") && shown.contains("Fail-safe"), "{shown}");
    let [gone, kept] = way.readings();
    assert_eq!((stored(&way), windows(&way.gone), windows(&way.kept)), ([0, kept], 0, kept_windows));
    let told = emulator.rows("RAW_DATA", "GAPS");
    let readings: Vec<_> = told.iter().map(|row| (row["stream"].as_str(), row["readings"].as_i64())).collect();
    assert!(readings.contains(&(Some("raw"), Some(gone))) && readings.len() == 2, "{told:?}");
    assert!(told.iter().all(|row| row["reason"] == forgotten::ROWS && !row["fromSeq"].is_null()));
    let (code, again, _) = way.forget(&config);
    assert!(code == Some(0) && again.matches(": nothing\n").count() == 4, "{again}");
    way.assert_adds_up(&config);

    assert!(sink.ended().is_none());
    way.start_agent();
    way.push(30..40);
    way.await_drained();
    let [all, kept] = way.readings();
    await_that("what came after is stored", || stored(&way) == [all - gone, kept]);
    way.assert_adds_up(&config);
    assert!(sink.terminate(Signal::SIGTERM).success());
}

#[test]
fn where_the_right_to_delete_lacks_snowflake_is_named_with_the_grant() {
    let withheld = vec![("DELETE".to_owned(), "ACTIVITY_DB.RAW_DATA.ACTIVITY_RECORDS".to_owned())];
    let emulator = Emulator::start(emulator::Options { withheld, ..emulator::Options::default() }).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("sink.toml");
    let table = crate::harness::house::snowflake_table(dir.path(), &emulator);
    std::fs::write(&config, format!("warehouse = \"snowflake\"\n{table}warehouse = \"GAITWAY_READ\"\n")).unwrap();
    let config = config.to_str().unwrap();
    let places = ["--config", config, "--data-dir", dir.path().to_str().unwrap()];
    let (code, shown, _) = gaitway(&[&["forget", "--device", "some-phone", "--yes"][..], &places].concat());
    assert!(code == Some(1) && shown.contains("FAILED") && shown.contains("Insufficient privileges"), "{shown}");
    assert!(shown.contains("GRANT SELECT, DELETE ON TABLE RAW_DATA.ACTIVITY_RECORDS"), "{shown}");
    let (code, script, _) = gaitway(&[&["forget", "--device", "some-phone", "--sql"][..], &places].concat());
    assert!(code == Some(0) && script.contains("DELETE FROM RAW_DATA.ACTIVITY_RECORDS WHERE deviceId = 'some-phone'"));
    assert!(script.contains("USE DATABASE \"ACTIVITY_DB\";"), "{script}");
    // What nobody reaches is named as well, and the status says so.
    drop(emulator);
    let (code, shown, _) = gaitway(&[&["forget", "--device", "some-phone", "--dry-run"][..], &places].concat());
    assert!(code == Some(1) && shown.contains("cannot be looked at"), "{shown}");
}
