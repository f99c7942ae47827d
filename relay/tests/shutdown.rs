//! A relay that is asked to stop while Kafka is away, or hangs, ends well within the grace.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
mod memory;

use std::time::Duration;

use client::{Client, Relay};
use gaitway_kafka::KafkaConfig;
use gaitway_relay::kafka::KafkaLedger;
use rdkafka::mocking::MockCluster;
use tokio_util::sync::CancellationToken;

/// Longer than the grace after which a service says what did not stop.
const PATIENCE: Duration = Duration::from_secs(30);

async fn stops(relay: Relay) {
    tokio::time::timeout(PATIENCE, relay.stop()).await.expect("the relay ends").expect("every part of it followed");
}

fn start(config: KafkaConfig) -> Relay {
    let stop = CancellationToken::new();
    Relay::serve(Box::new(KafkaLedger::new(config, "one", stop.clone())), stop, |_| {})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_stops_while_its_broker_takes_connections_and_says_nothing() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let brokers = silent.local_addr().unwrap().to_string();
    let relay = start(KafkaConfig { brokers, ..KafkaConfig::default() });
    let (_asked, _) = silent.accept().await.unwrap();
    stops(relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_stops_while_nobody_is_at_its_brokers_address() {
    let relay = start(KafkaConfig { brokers: "127.0.0.1:9".to_owned(), ..KafkaConfig::default() });
    tokio::time::sleep(Duration::from_secs(1)).await;
    stops(relay).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_stops_while_a_commit_hangs() {
    let cluster = MockCluster::new(1).unwrap();
    let config = KafkaConfig { brokers: cluster.bootstrap_servers(), inspect: false, ..KafkaConfig::default() };
    for (_, topic) in config.topics.all() {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let relay = start(config);
    let mut agent = Client::enter(&relay, "pi").await;
    assert!(agent.hello(1, 2).await.is_some());
    cluster.broker_round_trip_time(1, Duration::from_secs(3_600)).unwrap();
    agent.activity(1, 1, 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    stops(relay).await;
}
