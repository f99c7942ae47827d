//! Reading the topic of watermarks against librdkafka's mock cluster, whose followers lag as they are told to.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::time::Duration;

use gaitway_kafka::KafkaConfig;
use gaitway_kafka::progress;
use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, DefaultProducerContext, Producer as _};
use tokio_util::sync::CancellationToken;

const MARKS: u64 = 5;

/// A cluster of two brokers; of each of two partitions the follower near this client has the first `visible` of [`MARKS`] marks.
fn lagging(visible: i64) -> (MockCluster<'static, DefaultProducerContext>, KafkaConfig) {
    let cluster = MockCluster::new(2).unwrap();
    let mut config = KafkaConfig { brokers: cluster.bootstrap_servers(), ..KafkaConfig::default() };
    config.properties.0.insert("client.rack".to_owned(), "near".to_owned());
    let topic = &config.topics.progress;
    cluster.create_topic(topic, 2, 2).unwrap();
    cluster.broker_rack(2, "near").unwrap();
    let producer: BaseProducer = ClientConfig::new().set("bootstrap.servers", &config.brokers).create().unwrap();
    for partition in 0..2 {
        cluster.partition_leader(topic, partition, Some(1)).unwrap();
        cluster.partition_follower(topic, partition, 2).unwrap();
        cluster.follower_watermarks(topic, partition, Some(0), Some(visible)).unwrap();
        for position in 1..=MARKS {
            let (key, value) = (format!("pi/{partition}/raw"), position.to_string());
            producer.send(BaseRecord::to(topic).partition(partition).key(&key).payload(&value)).unwrap();
            producer.flush(Duration::from_secs(10)).unwrap();
        }
    }
    (cluster, config)
}

#[test]
fn a_follower_that_lags_does_not_hide_what_is_committed() {
    let (cluster, config) = lagging(3);
    let stop = CancellationToken::new();
    let read = std::thread::scope(|scope| {
        let read = std::thread::Builder::new().spawn_scoped(scope, || progress::read(&config, "test", &stop)).unwrap();
        std::thread::sleep(Duration::from_secs(3));
        assert!(!read.is_finished(), "the ends of the followers are not the topic's");
        // Their ends come nearer, of one partition twice before the other's comes.
        for (partition, visible) in [(0, 4), (0, 5), (1, 5)] {
            cluster.follower_watermarks(&config.topics.progress, partition, Some(0), Some(visible)).unwrap();
            std::thread::sleep(Duration::from_secs(1));
        }
        read.join().unwrap().unwrap()
    });
    for partition in 0..2 {
        assert_eq!(read.positions[format!("pi/{partition}/raw").as_str()].position, MARKS, "partition {partition}");
    }
}

#[test]
fn reading_ends_when_it_is_to_stop() {
    let (_cluster, config) = lagging(3);
    let stop = CancellationToken::new();
    std::thread::scope(|scope| {
        let read = std::thread::Builder::new().spawn_scoped(scope, || progress::read(&config, "test", &stop)).unwrap();
        std::thread::sleep(Duration::from_secs(1));
        stop.cancel();
        assert_eq!(read.join().unwrap().unwrap_err(), progress::STOPPED);
    });
}
