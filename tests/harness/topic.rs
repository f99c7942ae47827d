//! What readers of committed records see of a topic.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _, OwnedMessage};
use rdkafka::{Offset, TopicPartitionList};

const PATIENCE: Duration = Duration::from_secs(90);

fn consumer(broker: &str, isolation: &str) -> BaseConsumer {
    ClientConfig::new()
        .set("bootstrap.servers", broker)
        .set("group.id", "test-reader")
        .set("isolation.level", isolation)
        .set("enable.auto.commit", "false")
        .set("enable.partition.eof", "true")
        .set("auto.offset.reset", "error")
        // A fetch at the end of a partition answers at once.
        .set("fetch.wait.max.ms", "10")
        .create()
        .unwrap()
}

/// Everything committed in `topic` when this is called, partition by partition; nothing if there is no such topic.
pub(crate) fn read(broker: &str, topic: &str) -> Vec<OwnedMessage> {
    read_as("read_committed", broker, topic)
}

/// How many records there are in `topic`, those of aborted transactions among them.
pub(crate) fn count_uncommitted(broker: &str, topic: &str) -> usize {
    read_as("read_uncommitted", broker, topic).len()
}

fn read_as(isolation: &str, broker: &str, topic: &str) -> Vec<OwnedMessage> {
    let (all, committed) = (consumer(broker, "read_uncommitted"), consumer(broker, isolation));
    let metadata = all.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = metadata.topics().first().map_or(0, |found| found.partitions().len() as i32);
    let mut assignment = TopicPartitionList::new();
    let mut unread = HashMap::new();
    for partition in 0..partitions {
        let (low, end) = all.fetch_watermarks(topic, partition, PATIENCE).unwrap();
        let begun = Instant::now();
        while committed.fetch_watermarks(topic, partition, PATIENCE).unwrap().1 < end {
            assert!(begun.elapsed() < PATIENCE, "a transaction of {topic}/{partition} stays open");
            std::thread::sleep(Duration::from_millis(5));
        }
        if low < end {
            assignment.add_partition_offset(topic, partition, Offset::Offset(low)).unwrap();
            unread.insert(partition, end);
        }
    }
    committed.assign(&assignment).unwrap();
    let mut messages = Vec::new();
    let mut heard = Instant::now();
    while !unread.is_empty() {
        assert!(heard.elapsed() < PATIENCE, "the end of {topic} does not come");
        match committed.poll(Duration::from_millis(10)) {
            Some(Ok(message)) => messages.push(message.detach()),
            Some(Err(KafkaError::PartitionEOF(_))) | None => {
                let positions = committed.position().unwrap();
                let before = unread.len();
                for found in positions.elements() {
                    if let (Offset::Offset(at), Some(end)) = (found.offset(), unread.get(&found.partition()))
                        && at >= *end
                    {
                        unread.remove(&found.partition());
                    }
                }
                if unread.len() == before {
                    continue;
                }
            }
            Some(Err(error)) => panic!("reading {topic}: {error}"),
        }
        heard = Instant::now();
    }
    messages.sort_by_key(|message| (message.partition(), message.offset()));
    messages
}

/// The headers of a message as text.
pub(crate) fn headers(message: &OwnedMessage) -> Vec<(String, String)> {
    let text = |value: Option<&[u8]>| String::from_utf8(value.unwrap_or_default().to_vec()).unwrap();
    let headers = message.headers().into_iter().flat_map(|headers| headers.iter());
    headers.map(|header| (header.key.to_owned(), text(header.value))).collect()
}
