//! The client that reads, and what each partition reads of it.
//!
//! - It subscribes to nothing: a partition is read from exactly the offset that was asked for.
//! - Each partition has a queue of its own, split off before it is first assigned, so that no record comes elsewhere. A queue
//!   that is full is not fetched for: that is the backpressure.
//! - After [`Reader::start`] the queue gives nothing of what was fetched before.
//! - No error is passed over: librdkafka skips what it cannot read, and offsets have gaps anyway, so nobody would notice.

use std::cell::Cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gaitway_kafka::KafkaConfig;
use gaitway_kafka::client::{self, Trouble};
use gaitway_kafka::progress::ASK;
use gaitway_kafka::rights::{self, Right};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::base_consumer::PartitionQueue;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::BorrowedMessage;
use rdkafka::statistics::Statistics;
use rdkafka::{Offset, TopicPartitionList};

use crate::partition::{Hint, Print, Survey, Told};

/// How often librdkafka says how far it is, milliseconds.
const STATISTICS: &str = "2000";

/// A message in librdkafka's queue takes about so much beside its bytes.
const MESSAGE_OVERHEAD: usize = 512;

thread_local! {
    /// Where the end was that this thread was last told of: rdkafka gives the error without its offset, and its text to
    /// the context, in the same poll.
    static END: Cell<Option<i64>> = const { Cell::new(None) };
    /// What the last error said, which comes the same way.
    static SAID: Cell<Option<String>> = const { Cell::new(None) };
}

/// What is known of a partition from librdkafka's statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    /// Behind its last record, for those who read what is committed; none if not known yet.
    pub end: Option<i64>,
}

/// What the client last said of itself.
#[derive(Debug, Default)]
pub(super) struct Seen {
    extents: Mutex<HashMap<(String, i32), Extent>>,
    queued: Mutex<u64>,
}

impl Seen {
    pub(super) fn extent(&self, topic: &str, partition: i32) -> Option<Extent> {
        let extents = self.extents.lock().unwrap_or_else(PoisonError::into_inner);
        extents.get(&(topic.to_owned(), partition)).copied()
    }

    /// Bytes read ahead.
    pub(super) fn queued(&self) -> u64 {
        *self.queued.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Hears of ends and of statistics.
#[derive(Clone, Default)]
pub(super) struct Context {
    inner: client::Context,
    seen: Arc<Seen>,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.inner.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            END.set(end_in(reason));
        } else {
            SAID.set(Some(reason.to_owned()));
            self.inner.error(error, reason);
        }
    }

    fn stats(&self, statistics: Statistics) {
        let mut queued = 0;
        let mut extents = HashMap::new();
        for topic in statistics.topics.into_values() {
            for partition in topic.partitions.into_values().filter(|partition| partition.partition >= 0) {
                queued += partition.fetchq_size;
                let end = Some(partition.ls_offset).filter(|end| *end >= 0);
                extents.insert((topic.topic.clone(), partition.partition), Extent { end });
            }
        }
        *self.seen.extents.lock().unwrap_or_else(PoisonError::into_inner) = extents;
        *self.seen.queued.lock().unwrap_or_else(PoisonError::into_inner) = queued;
    }
}

impl ConsumerContext for Context {}

/// The offset in librdkafka's sentence: `Fetch from broker 1 reached end of partition at offset 7 (HighwaterMark 7)`.
fn end_in(reason: &str) -> Option<i64> {
    let (_, behind) = reason.split_once("at offset ")?;
    behind.split(' ').next()?.parse().ok()
}

/// The client. Clones share it.
#[derive(Clone)]
pub(super) struct Source {
    config: Arc<KafkaConfig>,
    group: Arc<str>,
    consumer: Arc<BaseConsumer<Context>>,
    seen: Arc<Seen>,
    trouble: Trouble,
}

impl Source {
    /// A client that reads ahead at most about `memory` bytes of `partitions` partitions.
    pub(super) fn new(
        config: Arc<KafkaConfig>,
        client_id: &str,
        group: &str,
        memory: u64,
        partitions: usize,
    ) -> Result<Self, String> {
        let context = Context::default();
        let (seen, trouble) = (Arc::clone(&context.seen), context.inner.trouble.clone());
        // A queue below its bound is fetched for once more, and a message takes more than its bytes.
        let share = usize::try_from(memory).unwrap_or(usize::MAX) / partitions.max(1);
        let fetch = (share / 4).clamp(16 * 1024, 1024 * 1024);
        let unmade = |error: &KafkaError| client::sentence(&config, "make a reader", error, &trouble);
        let mut reader = client::reader(&config, client_id).map_err(|error| unmade(&error))?;
        reader.set("group.id", group).set("enable.partition.eof", "true").set("statistics.interval.ms", STATISTICS);
        let bounds = [
            ("fetch.message.max.bytes", fetch),
            ("queued.max.messages.kbytes", fetch / 1024),
            ("queued.min.messages", (fetch / MESSAGE_OVERHEAD).max(1)),
            // One fetch is under way at a time: while it waits for partitions that have nothing, those whose queues were full
            // are not fetched for.
            ("fetch.wait.max.ms", 20),
            // A queue holds little more than one fetch: so long a partition stands still behind each.
            ("fetch.queue.backoff.ms", 1),
        ];
        for (property, value) in bounds {
            super::unless_set(&mut reader, property, value);
        }
        let consumer =
            reader.create_with_context::<_, BaseConsumer<Context>>(context).map_err(|error| unmade(&error))?;
        Ok(Self { config, group: group.into(), consumer: Arc::new(consumer), seen, trouble })
    }

    /// What the client last said of itself.
    pub(super) fn seen(&self) -> &Seen {
        &self.seen
    }

    /// Serves the client's callbacks. A record here is one that its partition misses: the error names it.
    pub(super) fn serve(&self) -> Result<(), String> {
        use rdkafka::Message as _;
        match self.consumer.poll(Duration::ZERO) {
            Some(Ok(record)) => Err(format!(
                "{}/{}: record {} came outside its queue",
                record.topic(),
                record.partition(),
                record.offset()
            )),
            // Brokers that are away are told of by whoever waits for them.
            Some(Err(_)) | None => Ok(()),
        }
    }

    /// A reader of `partition` of `topic`.
    pub(super) fn reader(&self, topic: &str, partition: i32) -> Result<Reader, String> {
        let queue = self.consumer.split_partition_queue(topic, partition);
        let queue = queue.ok_or_else(|| format!("{topic}/{partition} cannot be read"))?;
        Ok(Reader { source: self.clone(), topic: topic.to_owned(), partition, queue, assigned: false })
    }

    fn said(&self, doing: &str, needed: Right<'_>, error: &KafkaError) -> String {
        client::sentence_needing(&self.config, doing, &[needed], error, &self.trouble)
    }
}

/// What a poll gave.
pub(super) enum Read<'a> {
    /// A record.
    Record(BorrowedMessage<'a>),
    /// All records before this offset were given, and there is none behind it now.
    End(i64),
    /// Reading cannot go on from here, and why: librdkafka may have passed over something.
    Broken(String),
    /// As [`Broken`](Self::Broken), because of what is in the log.
    Damaged(String),
    /// Nothing in this time.
    Nothing,
}

/// Reads one partition.
pub(super) struct Reader {
    source: Source,
    topic: String,
    partition: i32,
    queue: PartitionQueue<Context>,
    assigned: bool,
}

impl Reader {
    /// The first record that is left, and behind the last. Blocks; the error is a sentence.
    pub(super) fn ends(&self) -> Result<(i64, i64), String> {
        let Self { source, topic, partition, .. } = self;
        let found = source.consumer.fetch_watermarks(topic, *partition, ASK);
        let doing = || format!("find the ends of {topic}/{partition}");
        found.map_err(|error| source.said(&doing(), Right::Read(topic), &error))
    }

    /// What the log and the group say. Blocks; the error is a sentence.
    pub(super) fn survey(&self) -> Result<Survey, String> {
        let Self { source, topic, partition, .. } = self;
        let (low, high) = self.ends()?;
        let doing = format!("find the group's offset of {topic}/{partition}");
        let said = |error: &KafkaError| source.said(&doing, Right::Group(&source.group), error);
        let mut asked = TopicPartitionList::new();
        asked.add_partition(topic, *partition);
        let told = source.consumer.committed_offsets(asked, ASK).map_err(|error| said(&error))?;
        let Some(told) = told.find_partition(topic, *partition) else {
            return Err(format!("cannot {doing} at Kafka {}: no answer", source.config.brokers));
        };
        told.error().map_err(|error| said(&error))?;
        let group = match told.offset() {
            Offset::Offset(next) => Some(Hint { next, told: told_in(told.metadata()) }),
            _ => None,
        };
        Ok(Survey { low, high, group })
    }

    /// Reads from offset `at` on.
    pub(super) fn start(&mut self, at: i64) -> Result<(), String> {
        self.stop();
        let Self { source, topic, partition, .. } = self;
        let said = |error: &KafkaError| source.said(&format!("read {topic}/{partition}"), Right::Read(topic), error);
        let mut assigned = TopicPartitionList::new();
        assigned.add_partition_offset(topic, *partition, Offset::Offset(at)).map_err(|error| said(&error))?;
        source.consumer.incremental_assign(&assigned).map_err(|error| said(&error))?;
        self.assigned = true;
        Ok(())
    }

    /// Reads no more. What was fetched is thrown away.
    pub(super) fn stop(&mut self) {
        if !std::mem::take(&mut self.assigned) {
            return;
        }
        let Self { source, topic, partition, .. } = self;
        let mut assigned = TopicPartitionList::new();
        assigned.add_partition(topic, *partition);
        if let Err(error) = source.consumer.incremental_unassign(&assigned) {
            tracing::debug!(topic, partition, %error, "a partition could not be let go of");
        }
    }

    /// The next record, waited for at most `long`.
    pub(super) fn poll(&self, long: Duration) -> Read<'_> {
        match self.queue.poll(long) {
            Some(Ok(record)) => Read::Record(record),
            Some(Err(KafkaError::PartitionEOF(_))) => END.take().map_or(Read::Nothing, Read::End),
            // Whatever it is: what comes next may lie behind records that were not given.
            Some(Err(error)) => {
                let Self { source, topic, partition, .. } = self;
                let heard = SAID.take().map(|said| format!(" ({said})")).unwrap_or_default();
                let (config, code) = (&source.config, error.rdkafka_error_code());
                let told = code.map_or_else(|| error.to_string(), |code| code.to_string());
                let needed = [Right::Read(topic), Right::Group(&source.group)];
                let lacks = code.and_then(|code| rights::missing(config, code, &needed, None));
                let told = lacks.unwrap_or_else(|| format!("{told}{heard}"));
                let said = format!("cannot read {topic}/{partition} at Kafka {}: {told}", config.brokers);
                if code.is_some_and(is_damage) { Read::Damaged(said) } else { Read::Broken(said) }
            }
            None => Read::Nothing,
        }
    }

    /// Behind the partition's last record, as far as that is known.
    pub(super) fn end(&self) -> Option<i64> {
        self.source.seen().extent(&self.topic, self.partition)?.end
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Whether it is the log that cannot be read, so that reading it again finds the same: a batch whose checksum does not fit,
/// that cannot be decompressed or parsed, or that is greater than what may be fetched.
fn is_damage(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{
        BadCompression, BadMessage, InvalidMessage, InvalidMessageSize, MessageSizeTooLarge, NotImplemented,
        UnsupportedCompressionType,
    };
    matches!(
        code,
        BadCompression
            | BadMessage
            | InvalidMessage
            | InvalidMessageSize
            | MessageSizeTooLarge
            | NotImplemented
            | UnsupportedCompressionType
    )
}

/// The metadata of a group's offset that this sink committed: `token=7 print=1700000000000/9a0b1c2d`. `none` is a warehouse
/// without a token; no `print`, a record that is not known; `-`, one without a time stamp.
pub(super) fn metadata_of(told: &Told) -> String {
    let token = told.token.map_or_else(|| "none".to_owned(), |token| token.to_string());
    let print = told.print.map_or_else(String::new, |Print { timestamp, crc }| {
        let timestamp = timestamp.map_or_else(|| "-".to_owned(), |at| at.to_string());
        format!(" print={timestamp}/{crc:08x}")
    });
    format!("token={token}{print}")
}

pub(crate) fn told_in(metadata: &str) -> Option<Told> {
    let mut words = metadata.split(' ');
    let token = match words.next()?.strip_prefix("token=")? {
        "none" => None,
        token => Some(token.parse().ok()?),
    };
    let print = words.next().and_then(|word| {
        let (timestamp, crc) = word.strip_prefix("print=")?.split_once('/')?;
        let timestamp = if timestamp == "-" { None } else { Some(timestamp.parse().ok()?) };
        Some(Print { timestamp, crc: u32::from_str_radix(crc, 16).ok()? })
    });
    Some(Told { token, print })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_read_from_librdkafkas_sentence() {
        let said = "Fetch from broker 1 reached end of partition at offset 70 (HighwaterMark 71)";
        assert_eq!(end_in(said), Some(70));
        assert_eq!(end_in("something else"), None);
    }

    #[test]
    fn a_group_s_offset_carries_what_was_told() {
        for timestamp in [Some(1_700_000_000_000), Some(-1), None] {
            for crc in [0, 0x9a0b_1c2d, u32::MAX] {
                let told = Told { token: Some(7), print: Some(Print { timestamp, crc }) };
                assert_eq!(told_in(&metadata_of(&told)), Some(told));
            }
        }
        for token in [Some(7), None] {
            let told = Told { token, print: None };
            assert_eq!(told_in(&metadata_of(&told)), Some(told));
        }
        assert_eq!(told_in("token=7 print=x"), Some(Told { token: Some(7), print: None }));
        for foreign in ["", "7", "token=", "token=x"] {
            assert_eq!(told_in(foreign), None, "{foreign}");
        }
    }
}
