//! Every class of error that librdkafka distinguishes, injected at its mock cluster: that each is met, and not another. What the ledger
//! makes of them is in `tests/mock.rs`.

use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::types::RDKafkaRespErr::{self as Error, *};

use super::*;

#[derive(Debug, PartialEq, Eq)]
enum Class {
    /// librdkafka tried again by itself.
    Retriable,
    /// This transaction is over.
    Abortable,
    /// This producer is over.
    Fatal,
}

struct House {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: Producer,
}

impl House {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let config = KafkaConfig { brokers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
        cluster.create_topic(&config.topics.progress, 1, 1).unwrap();
        let producer = Producer::begin(&config, &CancellationToken::new()).unwrap();
        let house = Self { cluster, producer };
        house.commit().unwrap();
        house
    }

    fn commit(&self) -> Result<(), Failed> {
        self.producer.commit(&[], &[("pi/1/raw", 0, Some("1"))])
    }

    /// The class that a commit meets.
    fn meet(&self, api: Api, errors: &[Error]) -> Class {
        self.cluster.request_errors(api, errors);
        let Err(failed) = self.commit() else { return Class::Retriable };
        let client = &self.producer.client;
        if client.client().fatal_error().is_some() {
            return Class::Fatal;
        }
        match client.commit_transaction(SLICE) {
            Err(KafkaError::Transaction(error)) if error.txn_requires_abort() => Class::Abortable,
            other => panic!("{failed:?}, then {other:?}"),
        }
    }
}

#[test]
fn a_retriable_error_is_met_and_retried() {
    for (api, error) in [
        (Api::Produce, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
        (Api::Produce, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS),
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_NOT_COORDINATOR),
    ] {
        assert_eq!(House::new().meet(api, &[error, error]), Class::Retriable, "{error:?}");
    }
}

#[test]
fn an_abortable_error_is_met_as_one() {
    for (api, error) in [
        (Api::Produce, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
        (Api::Produce, RD_KAFKA_RESP_ERR_INVALID_RECORD),
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING),
    ] {
        assert_eq!(House::new().meet(api, &[error]), Class::Abortable, "{error:?}");
    }
}

#[test]
fn a_fatal_error_is_met_as_one() {
    for (api, error) in [
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_PRODUCER_FENCED),
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_PRODUCER_FENCED),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE),
    ] {
        assert_eq!(House::new().meet(api, &[error]), Class::Fatal, "{error:?}");
    }
}

#[test]
fn the_operators_word_for_a_property_counts_and_no_default_stands_beside_it() {
    let mut config = KafkaConfig::default();
    for (name, value) in [("compression.type", "zstd"), ("linger.ms", "7"), ("delivery.timeout.ms", "30000")] {
        config.properties.0.insert(name.to_owned(), value.to_owned());
    }
    let settings = settings(&config).unwrap();
    let native = settings.create_native_config().unwrap();
    for (name, value) in
        [("compression.codec", "zstd"), ("linger.ms", "7"), ("transaction.timeout.ms", "90000"), ("acks", "-1")]
    {
        assert_eq!(native.get(name).unwrap(), value, "{name}");
    }
    for (alias, default) in [("queue.buffering.max.ms", "7"), ("message.timeout.ms", "30000")] {
        assert_eq!(settings.get(alias), Some(default));
    }
}
