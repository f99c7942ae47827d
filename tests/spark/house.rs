//! What people's phones pushed, in a Kafka of the pipeline's own making: real agent, real relay, and a transaction that was
//! undone.

use std::collections::BTreeMap;
use std::process::Command;

use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::message::OwnedMessage;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use serde_json::Value;

use crate::harness::house::House;
use crate::harness::process::Process;
use crate::harness::warehouse::await_drained;
use crate::harness::{PATIENCE, data, kafka, topic};

/// No pause of a replay is that long, and what is silent is closed soon.
const SILENCE: &str = "[windows]\nsilence = \"5s\"\n";

/// Agent and relay have run and ended.
pub(crate) struct Filled {
    pub(crate) house: House,
    /// Windows that the agent told, by device and start.
    pub(crate) told: BTreeMap<(String, String), Value>,
    /// Records of `raw_sensor_data`.
    pub(crate) readings: usize,
}

impl Filled {
    /// By these recordings below `tests/data`.
    pub(crate) fn by(recordings: &[&str]) -> Self {
        let house = House::new(kafka::broker(), "partitions = 2\n");
        let mut relay = house.relay();
        let config = house.path("silence.toml");
        std::fs::write(&config, SILENCE).unwrap();
        let relays = format!("mqtt://{}", relay.mqtt_address());
        let mut agent = Process::agent(&house.path("agent"), &relays, &["--config", config.to_str().unwrap()]);
        let url = agent.agent_push_url();
        undo(&house.topic("raw"));
        let mut replay = Command::new(env!("CARGO_BIN_EXE_gaitway"));
        replay.args(["replay", "--to", &url, "--speed", "max"]).args(recordings.iter().map(|name| data(name)));
        let output = replay.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        await_drained(&house.path("agent/spool.db"));
        let told = windows(&topic::read(kafka::broker(), &house.topic("activity"))).collect();
        let readings = topic::read(kafka::broker(), &house.topic("raw")).len();
        assert!(topic::count_uncommitted(kafka::broker(), &house.topic("raw")) > readings, "what was undone is there");
        Self { house, told, readings }
    }
}

/// The windows that records tell, by device and start.
pub(crate) fn windows(records: &[OwnedMessage]) -> impl Iterator<Item = ((String, String), Value)> {
    records.iter().map(|record| {
        let value: Value = serde_json::from_slice(record.payload().unwrap()).unwrap();
        let text = |key: &str| value[key].as_str().unwrap().to_owned();
        ((text("deviceId"), text("windowStart")), value)
    })
}

/// Writes readings of a session that would change its windows, in a transaction that is aborted.
fn undo(topic: &str) {
    let producer: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", kafka::broker()).set("transactional.id", topic).create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    for second in 0..20_i64 {
        let json = format!(
            r#"{{"messageId":{second},"sessionId":"session-ms02","deviceId":"phone-ms02","sensorType":"accelerometer","x":500,"y":0,"z":0,"accuracy":null,"timestamp":{}}}"#,
            1_700_000_000_000_000_000 + second * 1_000_000_000
        );
        producer.send(BaseRecord::to(topic).key("phone-ms02").payload(&json)).map_err(|(error, _)| error).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    producer.abort_transaction(PATIENCE).unwrap();
}

/// Makes a topic.
pub(crate) fn create(topic: &str) {
    let address = kafka::broker();
    let args = ["topics", "--bootstrap-server", address, "--create", "--partitions", "2", "--topic", topic];
    let created = Command::new(kafka::script()).args(args).output().unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
}
