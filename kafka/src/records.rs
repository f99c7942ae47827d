//! Committed records for whoever looks on: no group is joined and no offset is kept anywhere.
//!
//! - Nothing of an open or aborted transaction is shown.
//! - The end is the one at the beginning: whoever has caught up has seen all that was committed before.
//! - A broker that is away for a while is waited for; records that are gone are an error.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gaitway_proto::record::Written;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Timestamp;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::KafkaConfig;
use crate::client::{self, Context, Trouble};
use crate::headers::{self, OwnedName};
use crate::progress::{SILENCE, is_nothing, partitions, reached, readers, settle, silence, watermarks};
use crate::rights::Right;

/// Where reading begins, in each partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// At the end.
    Now,
    /// At the first record that is kept.
    Beginning,
    /// So many offsets before the end; transactions take some of them.
    Last(u32),
}

/// The ends of `topic`'s partitions for readers of committed records: everything before them is decided. Blocks; the error is a
/// sentence.
pub fn ends(config: &KafkaConfig, client_id: &str, topic: &str) -> Result<HashMap<i32, i64>, String> {
    let context = Context::default();
    let trouble = context.trouble.clone();
    let [_, committed] = readers(config, client_id, &context)?;
    let stop = CancellationToken::new();
    let end = |partition| {
        let found = watermarks(&committed, topic, partition, &stop).map(|(_, end)| (partition, end));
        let doing = format!("find the end of {topic}/{partition}");
        found.map_err(|error| client::sentence(config, &doing, &error, &trouble))
    };
    (0..partitions(&committed, config, topic, &trouble)?).map(end).collect()
}

/// A committed record.
#[derive(Debug)]
pub struct Seen<'a> {
    /// Its partition.
    pub partition: i32,
    /// Its offset.
    pub offset: i64,
    /// When it was written, if Kafka tells.
    pub written: Option<Written>,
    /// Its key, if it is text.
    pub key: Option<&'a str>,
    /// Its name, if an agent told it.
    pub name: Option<OwnedName>,
    /// Its value.
    pub value: &'a [u8],
}

/// A record's time, as Kafka tells it.
pub fn written(timestamp: Timestamp) -> Option<Written> {
    match timestamp {
        Timestamp::NotAvailable => None,
        Timestamp::CreateTime(at) => Some(Written::CreateTime(at)),
        Timestamp::LogAppendTime(at) => Some(Written::LogAppendTime(at)),
    }
}

/// Reads a topic. Partitions that are added later are not seen.
pub struct Reader {
    consumer: BaseConsumer<Context>,
    config: KafkaConfig,
    topic: String,
    trouble: Trouble,
    /// Ends of partitions that have not been reached.
    behind: HashMap<i32, i64>,
    shortened: bool,
    heard: Instant,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader").field("topic", &self.topic).field("behind", &self.behind).finish_non_exhaustive()
    }
}

impl Reader {
    /// Begins to read `topic`. Blocks; the error is a sentence. Unless it starts now, it waits for the end of all
    /// transactions that are open, so that all that was acknowledged before this call will be seen.
    pub fn open(config: &KafkaConfig, client_id: &str, topic: &str, start: Start) -> Result<Self, String> {
        let context = Context::default();
        let trouble = context.trouble.clone();
        let said = |doing: &str, error: &KafkaError| client::sentence(config, doing, error, &trouble);
        let [uncommitted, consumer] = readers(config, client_id, &context)?;
        let stop = CancellationToken::new();
        let mut assignment = TopicPartitionList::new();
        let (mut behind, mut shortened) = (HashMap::new(), false);
        for partition in 0..partitions(&uncommitted, config, topic, &trouble)? {
            let doing = format!("find the end of {topic}/{partition}");
            let (low, end) = watermarks(&uncommitted, topic, partition, &stop).map_err(|error| said(&doing, &error))?;
            let from = match start {
                Start::Now => end,
                Start::Beginning => low,
                Start::Last(count) => low.max(end - i64::from(count)),
            };
            if from < end {
                settle(config, &consumer, (topic, partition, end), (&trouble, &stop))?;
                behind.insert(partition, end);
            }
            shortened |= low > 0;
            assignment
                .add_partition_offset(topic, partition, Offset::Offset(from))
                .map_err(|error| said(&doing, &error))?;
        }
        consumer.assign(&assignment).map_err(|error| said(&format!("read {topic}"), &error))?;
        let (config, topic) = (config.clone(), topic.to_owned());
        Ok(Self { consumer, config, topic, trouble, behind, shortened, heard: Instant::now() })
    }

    /// Whether all that was committed at the beginning has been shown.
    pub fn is_caught_up(&self) -> bool {
        self.behind.is_empty()
    }

    /// Whether Kafka does not keep the oldest records any more.
    pub fn is_shortened(&self) -> bool {
        self.shortened
    }

    /// Shows the next record; whether one came within `wait`.
    pub fn next(&mut self, wait: Duration, show: impl FnOnce(Seen<'_>)) -> Result<bool, String> {
        let doing = || format!("read {}", self.topic);
        match self.consumer.poll(wait) {
            Some(Ok(message)) => {
                self.heard = Instant::now();
                show(Seen {
                    partition: message.partition(),
                    offset: message.offset(),
                    written: written(message.timestamp()),
                    key: message.key().and_then(|key| std::str::from_utf8(key).ok()),
                    name: headers::read(message.headers(), None),
                    value: message.payload().unwrap_or_default(),
                });
                return Ok(true);
            }
            Some(Err(error)) if !is_nothing(&error) && !is_passing(&error) => {
                let needed = [Right::Read(&self.topic)];
                return Err(client::sentence_needing(&self.config, &doing(), &needed, &error, &self.trouble));
            }
            Some(Err(_)) | None => {}
        }
        if !self.is_caught_up() {
            let passed = reached(&self.consumer, &self.behind)
                .map_err(|error| client::sentence(&self.config, &doing(), &error, &self.trouble))?;
            for partition in passed {
                self.behind.remove(&partition);
                self.heard = Instant::now();
            }
        }
        if !self.is_caught_up() && self.heard.elapsed() > SILENCE {
            return Err(silence(&self.config, &doing(), &self.trouble));
        }
        Ok(false)
    }
}

/// Whether librdkafka goes on by itself.
fn is_passing(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
    matches!(error.rdkafka_error_code(), Some(AllBrokersDown | BrokerTransportFailure | OperationTimedOut | Resolve))
}
