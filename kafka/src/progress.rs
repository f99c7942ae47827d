//! The topic of watermarks: compacted, a record a source, its key the source, its value the position in decimal.
//!
//! - A source stands in the partition of its agent, whatever its stream.
//! - One record more, [`OWNER`], says which relay owns the topic: it is committed before a relay accepts agents.
//! - What was read is all that was committed before the read began, and nothing of an open or aborted transaction.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gaitway_proto::ledger::Source;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use crate::KafkaConfig;
use crate::client::{self, Context, Trouble};

/// The key of the owner's record, in partition 0; its value names the relay's process.
pub const OWNER: &str = "owner";

/// How long one question to a broker may take.
pub const ASK: Duration = Duration::from_secs(10);

/// How long nothing may come before the end of a topic is reached.
pub const SILENCE: Duration = Duration::from_secs(30);

/// Shards of agents; partitions of the progress topic share them.
const SHARDS: u32 = 256;

/// A source's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Greatest committed position.
    pub position: u64,
    /// When it was committed, the relay's clock, milliseconds since the Unix epoch.
    pub at: i64,
}

/// The whole topic.
#[derive(Debug, Default)]
pub struct Progress {
    /// Positions by source.
    pub positions: HashMap<Box<str>, Kept>,
    /// The relay that owns the topic.
    pub owner: Option<String>,
    /// Its partitions.
    pub partitions: i32,
    /// Records that are no mark, and were passed over.
    pub foreign: u64,
}

/// The partition of `agent` among `partitions`: FNV-1a of its id (32 bits, <http://www.isthe.com/chongo/tech/comp/fnv/>)
/// modulo 256 modulo `partitions`.
pub fn partition(agent: &str, partitions: i32) -> i32 {
    let hash = agent.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    ((hash % SHARDS) % partitions.max(1).cast_unsigned()).cast_signed()
}

/// The partition of `source`, which begins with its agent's id.
pub fn partition_of(source: &Source, partitions: i32) -> i32 {
    partition(source.as_str().split('/').next().unwrap_or_default(), partitions)
}

impl Progress {
    fn take(&mut self, key: Option<&[u8]>, value: Option<&[u8]>, at: i64) {
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let Some(key) = key.and_then(text) else {
            self.foreign += 1;
            return;
        };
        if key == OWNER {
            self.owner = value.and_then(text).map(str::to_owned);
            return;
        }
        match value.map(|value| text(value).and_then(|value| value.parse::<u64>().ok())) {
            None => drop(self.positions.remove(key)),
            Some(Some(position)) => {
                self.positions.insert(key.into(), Kept { position, at });
            }
            Some(None) => self.foreign += 1,
        }
    }
}

/// Reads the whole topic. Blocks; the error is a sentence.
pub fn read(config: &KafkaConfig, client_id: &str) -> Result<Progress, String> {
    let context = Context::default();
    let trouble = context.trouble.clone();
    let said = |doing: &str, error: &KafkaError| client::sentence(config, doing, error, &trouble);
    let topic = config.topics.progress.as_str();

    let consumer = |isolation: &str| -> Result<BaseConsumer<Context>, String> {
        client::reader(config, client_id)
            .set("group.id", client_id)
            .set("isolation.level", isolation)
            .set("enable.partition.eof", "true")
            .create_with_context(context.clone())
            .map_err(|error| said("make a reader", &error))
    };
    let (uncommitted, committed) = (consumer("read_uncommitted")?, consumer("read_committed")?);
    let partitions = partitions(&uncommitted, config, topic, &trouble)?;
    let mut progress = Progress { partitions, ..Progress::default() };

    let mut assignment = TopicPartitionList::new();
    let mut unread = 0;
    for partition in 0..partitions {
        let doing = format!("find the end of {topic}/{partition}");
        let (low, end) = watermarks(&uncommitted, topic, partition).map_err(|error| said(&doing, &error))?;
        settle(&committed, (topic, partition, end)).map_err(|error| said(&doing, &error))?;
        if low < end {
            unread += 1;
            assignment
                .add_partition_offset(topic, partition, Offset::Offset(low))
                .map_err(|error| said(&doing, &error))?;
        }
    }
    let doing = format!("read {topic}");
    committed.assign(&assignment).map_err(|error| said(&doing, &error))?;
    let mut heard = Instant::now();
    while unread > 0 {
        match committed.poll(Duration::from_millis(200)) {
            Some(Ok(message)) => {
                let at = message.timestamp().to_millis().unwrap_or_default();
                progress.take(message.key(), message.payload(), at);
                heard = Instant::now();
            }
            Some(Err(KafkaError::PartitionEOF(_))) => unread -= 1,
            Some(Err(error)) => return Err(said(&doing, &error)),
            None if heard.elapsed() > SILENCE => {
                let heard = trouble.take().map(|said| format!(" ({said})")).unwrap_or_default();
                return Err(format!(
                    "cannot {doing} at Kafka {}: nothing came for {} s{heard}",
                    config.brokers,
                    SILENCE.as_secs()
                ));
            }
            None => {}
        }
    }
    Ok(progress)
}

/// Begin and end of a partition, once it has a leader.
pub(crate) fn watermarks(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partition: i32,
) -> Result<(i64, i64), KafkaError> {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition, UnknownPartition, UnknownTopicOrPartition};
    let begun = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, ASK) {
            Err(error)
                if begun.elapsed() < ASK
                    && matches!(
                        error.rdkafka_error_code(),
                        Some(LeaderNotAvailable | NotLeaderForPartition | UnknownPartition | UnknownTopicOrPartition)
                    ) =>
            {
                std::thread::sleep(Duration::from_millis(100));
            }
            found => return found,
        }
    }
}

/// Waits until no transaction before `end` is open, so that a reader of committed records reaches it.
pub(crate) fn settle(
    committed: &BaseConsumer<Context>,
    (topic, partition, end): (&str, i32, i64),
) -> Result<(), KafkaError> {
    let begun = Instant::now();
    loop {
        let (_, stable) = watermarks(committed, topic, partition)?;
        if stable >= end {
            return Ok(());
        }
        if begun.elapsed() > SILENCE {
            return Err(KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

pub(crate) fn partitions(
    consumer: &BaseConsumer<Context>,
    config: &KafkaConfig,
    topic: &str,
    trouble: &Trouble,
) -> Result<i32, String> {
    let metadata = consumer
        .fetch_metadata(Some(topic), ASK)
        .map_err(|error| client::sentence(config, &format!("look up {topic}"), &error, trouble))?;
    match metadata.topics().first() {
        Some(found) if found.error().is_none() && !found.partitions().is_empty() => Ok(found.partitions().len() as i32),
        _ => Err(format!("Kafka {} has no topic {topic}", config.brokers)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_has_one_partition_for_ever() {
        // FNV-1a of "" is the offset basis, of "a" 0xe40c292c: the reference's test vectors.
        assert_eq!(partition("", 256), 0xc5);
        assert_eq!(partition("a", 256), 0x2c);
        assert_eq!(partition("a", 6), 0x2c % 6);
        let source = Source::partition("a", 3);
        assert_eq!(partition_of(&source, 256), 0x2c);
    }

    #[test]
    fn the_last_position_of_a_source_counts_and_what_is_no_mark_is_passed_over() {
        let mut progress = Progress::default();
        let mut take = |key: Option<&str>, value: Option<&str>, at| {
            progress.take(key.map(str::as_bytes), value.map(str::as_bytes), at);
        };
        take(Some("pi/1/raw"), Some("7"), 1);
        take(Some("pi/1/raw"), Some("9"), 2);
        take(Some("pi/2/raw"), Some("1"), 3);
        take(Some("pi/2/raw"), None, 4);
        take(Some("pi/3/raw"), Some("-1"), 5);
        take(None, Some("1"), 6);
        take(Some(OWNER), Some("one"), 7);
        assert_eq!(progress.positions.len(), 1);
        assert_eq!(progress.positions["pi/1/raw"], Kept { position: 9, at: 2 });
        assert_eq!((progress.foreign, progress.owner.as_deref()), (2, Some("one")));
    }
}
