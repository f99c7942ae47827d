//! The sink over librdkafka's mock cluster: what a broker refuses is said, and never passes for a partition without records.
#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[allow(dead_code, reason = "others look at metrics")]
#[path = "kafka/sink.rs"]
mod sink;
#[allow(dead_code, reason = "others let it fail")]
#[path = "kafka/store.rs"]
mod store;

use std::time::Duration;

use gaitway_sink::{BatchConfig, SinkConfig};
use rdkafka::config::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use sink::Sink;
use store::Store;

const RAW: &str = "raw_sensor_data";

struct Mock {
    cluster: MockCluster<'static, DefaultProducerContext>,
    config: SinkConfig,
}

impl Mock {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let mut config = SinkConfig::default();
        config.kafka.brokers = cluster.bootstrap_servers();
        config.kafka.inspect = false;
        config.batch = BatchConfig { linger: Duration::from_millis(20), ..BatchConfig::default() };
        for topic in [RAW, "processed_activity", "gaitway_gaps", "gaitway_dead_letter"] {
            cluster.create_topic(topic, 1, 1).unwrap();
        }
        let mock = Self { cluster, config };
        mock.write(0..3);
        mock
    }

    fn write(&self, numbers: std::ops::Range<u64>) {
        let producer: BaseProducer =
            ClientConfig::new().set("bootstrap.servers", &self.config.kafka.brokers).create().unwrap();
        for number in numbers {
            let json = format!(r#"{{"messageId":{number}}}"#);
            producer
                .send(BaseRecord::<str, _>::to(RAW).partition(0).payload(&json))
                .map_err(|(error, _)| error)
                .unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }
}

#[test]
fn a_group_that_it_may_not_join_is_said_and_joined_when_it_may() {
    let (mock, store) = (Mock::new(), Store::default());
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 5];
    mock.cluster.request_errors(RDKafkaApiKey::FindCoordinator, &refused);
    let sink = Sink::start(&mock.config, store.clone());
    sink.await_that("it says why", || {
        sink.said()
            .contains("not in the group gaitway-sink yet (this user lacks the right Read on group gaitway-sink, which")
    });
    sink.await_that("it goes on", || store.numbers(RAW, 0) == [0, 1, 2]);
    sink.await_that("it is ready", || sink.health.report().ready);
    sink.stop();
}

#[test]
fn a_broker_that_takes_connections_and_never_answers_does_not_keep_it_from_ending() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut config = SinkConfig::default();
    config.kafka.brokers = silent.local_addr().unwrap().to_string();
    let sink = Sink::start(&config, Store::default());
    let (connected, _) = silent.accept().unwrap();
    let asked = std::time::Instant::now();
    sink.stop();
    assert!(asked.elapsed() < Duration::from_secs(5), "it ends long before its question does: {:?}", asked.elapsed());
    drop(connected);
}

#[test]
fn fetches_that_are_refused_are_said_and_pass_over_nothing() {
    let (mock, store) = (Mock::new(), Store::default());
    let sink = Sink::start(&mock.config, store.clone());
    sink.await_that("it reads", || store.numbers(RAW, 0) == [0, 1, 2]);
    let refused = [RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED; 20];
    mock.cluster.request_errors(RDKafkaApiKey::Fetch, &refused);
    sink.await_that("it says why", || {
        sink.said().contains("this user lacks the right Read on topic raw_sensor_data, which")
    });
    mock.cluster.clear_request_errors(RDKafkaApiKey::Fetch);
    mock.write(3..6);
    sink.await_that("it goes on", || store.numbers(RAW, 0) == [0, 1, 2, 3, 4, 5]);
    sink.await_that("it is ready", || sink.health.report().ready);
    sink.stop();
}
