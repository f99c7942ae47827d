//! Every class of error that librdkafka distinguishes, injected at its mock cluster: what each becomes, and that the ledger goes on after
//! it. That each class is met is asked in `src/kafka/transaction/classes.rs`; what readers see nowhere: the mock shows aborted records.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::{Duration, Instant};

use gaitway_kafka::KafkaConfig;
use gaitway_proto::ledger::{Epoch, Ledger, LedgerError, Mark, Source, Stream};
use gaitway_proto::record::{Body, GapNotice, Origin, Record};
use gaitway_proto::topic::AgentId;
use gaitway_relay::kafka::KafkaLedger;
use gaitway_service::tasks::GRACE;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::types::RDKafkaApiKey as Api;
use rdkafka::types::RDKafkaRespErr::{self as Error, *};
use tokio_util::sync::CancellationToken;

struct House {
    cluster: MockCluster<'static, DefaultProducerContext>,
    ledger: KafkaLedger,
    stop: CancellationToken,
    agent: AgentId,
    at: Option<u64>,
}

impl House {
    fn new() -> Self {
        let cluster = MockCluster::new(1).unwrap();
        let config = KafkaConfig { brokers: cluster.bootstrap_servers(), inspect: false, ..KafkaConfig::default() };
        for (_, topic) in config.topics.all() {
            cluster.create_topic(topic, 2, 1).unwrap();
        }
        let stop = CancellationToken::new();
        let mut ledger = KafkaLedger::new(config, "one", stop.clone());
        ledger.recover().unwrap();
        Self { cluster, ledger, stop, agent: "pi".parse().unwrap(), at: None }
    }

    /// Submits what comes next.
    fn submit(&mut self) -> Result<(), LedgerError> {
        let (from, to) = (self.at, self.at.unwrap_or(0) + 1);
        let Self { agent, ledger, .. } = self;
        let origin = Origin { agent, epoch: Epoch::from_random(1), ordinal: 1, stream: Stream::Raw, seq: to };
        let notice = GapNotice { to_seq: to, messages: None, readings: None, reason: "test".to_owned(), noticed_at: 0 };
        let record = Record { metadata: origin.metadata(0, None), body: Body::Gap(notice) };
        let source = Source::stream(agent, Epoch::from_random(1), Stream::Raw);
        ledger.submit(&[record], &[Mark { source, from, to }])?;
        self.at = Some(to);
        Ok(())
    }

    fn inject(&self, api: Api, errors: &[Error]) {
        self.cluster.request_errors(api, errors);
    }

    /// The error is over: the ledger recovers, and takes what it was asked to take.
    fn goes_on(&mut self, why: &str) {
        let mut tries = 0;
        while let Err(error) = self.ledger.recover() {
            tries += 1;
            assert!(tries < 5, "{why}: {error}");
        }
        let source = Source::stream(&self.agent, Epoch::from_random(1), Stream::Raw);
        self.at = self.ledger.committed(std::slice::from_ref(&source)).unwrap().get(&source).copied();
        self.submit().unwrap_or_else(|error| panic!("{why}: {error}"));
    }
}

#[test]
fn a_retriable_error_is_not_even_noticed() {
    for (api, error) in [
        (Api::Produce, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION),
        (Api::Produce, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS),
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_COORDINATOR_LOAD_IN_PROGRESS),
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_CONCURRENT_TRANSACTIONS),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_COORDINATOR_NOT_AVAILABLE),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_NOT_COORDINATOR),
    ] {
        let mut house = House::new();
        house.submit().unwrap();
        house.inject(api, &[error, error]);
        house.submit().unwrap_or_else(|told| panic!("{error:?}: {told}"));
    }
}

#[test]
fn an_abortable_error_fails_the_submit_and_the_ledger_goes_on() {
    for (api, error) in [
        (Api::Produce, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
        (Api::Produce, RD_KAFKA_RESP_ERR_INVALID_RECORD),
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_ID_MAPPING),
    ] {
        let mut house = House::new();
        house.submit().unwrap();
        house.inject(api, &[error]);
        let told = house.submit();
        assert!(matches!(told, Err(LedgerError::Unavailable(_))), "{error:?}: {told:?}");
        house.goes_on(&format!("{error:?}"));
    }
}

#[test]
fn a_fatal_error_fails_the_submit_and_is_no_other_owner_while_none_is_there() {
    for (api, error) in [
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_PRODUCER_FENCED),
        (Api::AddPartitionsToTxn, RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_PRODUCER_FENCED),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        (Api::EndTxn, RD_KAFKA_RESP_ERR_INVALID_TXN_STATE),
    ] {
        let mut house = House::new();
        house.submit().unwrap();
        house.inject(api, &[error]);
        let told = house.submit();
        assert!(matches!(told, Err(LedgerError::Unavailable(_))), "{error:?}: {told:?}");
        house.goes_on(&format!("{error:?}"));
    }
}

#[test]
fn an_error_at_the_start_is_said_and_the_next_start_works() {
    for error in
        [RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED, RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED]
    {
        let mut house = House::new();
        house.inject(Api::InitProducerId, &[error]);
        let told = house.ledger.recover().unwrap_err();
        assert!(matches!(&told, LedgerError::Unavailable(said) if said.contains("begin transactions")), "{told:?}");
        assert!(matches!(house.submit(), Err(LedgerError::Unavailable(_))), "nothing is done before it has recovered");
        house.goes_on(&format!("{error:?}"));
    }
}

#[test]
fn brokers_that_fall_silent_fail_the_submit_within_a_minute() {
    let mut house = House::new();
    house.submit().unwrap();
    house.cluster.broker_down(1).unwrap();
    let begun = Instant::now();
    let told = house.submit();
    let took = begun.elapsed();
    assert!(matches!(told, Err(LedgerError::Unavailable(_))), "{told:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
    house.cluster.broker_up(1).unwrap();
    house.goes_on("a broker that was away");
}

/// Does `call` while nothing comes from the broker, has the service stop soon, and holds what is left of it to the grace.
fn stopped(silence: impl Fn(&House), call: impl FnOnce(&mut House) -> Result<(), LedgerError>) {
    let mut house = House::new();
    house.submit().unwrap();
    silence(&house);
    let stop = house.stop.clone();
    let stopper = std::thread::Builder::new()
        .spawn(move || {
            std::thread::sleep(Duration::from_secs(1));
            stop.cancel();
            Instant::now()
        })
        .unwrap();
    let told = call(&mut house);
    let left = stopper.join().unwrap().elapsed();
    assert!(matches!(told, Err(LedgerError::Unavailable(_))), "{told:?}");
    assert!(left < GRACE, "{left:?}");
}

#[test]
fn what_waits_for_brokers_ends_within_the_grace_when_the_service_stops() {
    let away = |house: &House| house.cluster.broker_down(1).unwrap();
    let hangs = |house: &House| house.cluster.broker_round_trip_time(1, Duration::from_secs(3_600)).unwrap();
    stopped(away, House::submit);
    stopped(hangs, House::submit);
    stopped(away, |house| house.ledger.recover());
    stopped(hangs, |house| house.ledger.recover());
}
