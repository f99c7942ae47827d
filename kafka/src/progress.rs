//! The topic of watermarks: compacted, a record a source, its key the source, its value the position in decimal.
//!
//! - A source stands in the partition of its agent, whatever its stream. Where partitions were added it may stand in two: the
//!   greatest position counts, and a tombstone removes what is in its own partition.
//! - One record more, [`OWNER`] in partition 0, says which relay owns the topic: it is committed before a relay accepts agents.
//! - Beside it stands [`BEGUN`] in every partition. A relay that begins reads until it meets its own: a broker that lags, or a leader that
//!   is none any more, cannot hide from it what was committed before.
//! - Whoever looks on reads until its position has reached the end that a reader of everything was told. That nothing more comes just
//!   now proves nothing: a follower that lags says so as well.
//! - What was read is all that was committed before the read began, and nothing of an open or aborted transaction.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use gaitway_proto::ledger::Source;
use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::KafkaConfig;
use crate::client::{self, Context, Trouble};
use crate::rights::{self, Right};

/// The key of the owner's record, in partition 0; its value names the relay's process.
pub const OWNER: &str = "owner";

/// The key of the record that tells in each partition that a relay began; its value names which time of which process it was.
pub const BEGUN: &str = "begun";

/// How long one question to a broker may take: less than a service has to stop, which cannot interrupt it.
pub const ASK: Duration = Duration::from_secs(7);

/// How long nothing may come before the end of a topic is reached.
pub const SILENCE: Duration = Duration::from_secs(30);

/// What is said where reading was stopped.
pub const STOPPED: &str = "the service stops";

/// How long a coordinator may take to notice that a transaction's time is over: its default is to look every 10 s
/// (`transaction.abort.timed.out.transaction.cleanup.interval.ms`).
const NOTICED: Duration = Duration::from_secs(20);

/// How often a reader that waits looks whether it is to stop.
const SLICE: Duration = Duration::from_millis(50);

/// Shards of agents; partitions of the progress topic share them.
const SHARDS: u32 = 256;

/// A source's position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// Greatest committed position.
    pub position: u64,
    /// When a position was committed last, the relay's clock, milliseconds since the Unix epoch.
    pub at: i64,
}

/// The whole topic.
#[derive(Debug, Default)]
pub struct Progress {
    /// Positions by source.
    pub positions: HashMap<Box<str>, Kept>,
    /// Partitions where a source stands beside the one of its agent, since partitions were added.
    pub elsewhere: HashMap<Box<str>, Vec<i32>>,
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

/// The agent of a source, which begins with its id.
pub fn agent_of(source: &str) -> &str {
    source.split('/').next().unwrap_or_default()
}

/// The partition of `source`.
pub fn partition_of(source: &Source, partitions: i32) -> i32 {
    partition(agent_of(source.as_str()), partitions)
}

/// The topic while it is read.
#[derive(Debug, Default)]
struct Gathered {
    progress: Progress,
    /// Positions in other partitions than their agent's.
    strays: BTreeMap<(Box<str>, i32), Kept>,
}

impl Gathered {
    fn take(&mut self, partition: i32, key: Option<&[u8]>, value: Option<&[u8]>, at: i64) {
        let Self { progress, strays } = self;
        let text = |bytes| std::str::from_utf8(bytes).ok();
        let Some(key) = key.and_then(text) else {
            progress.foreign += 1;
            return;
        };
        match key {
            OWNER if partition == 0 => {
                progress.owner = value.and_then(text).map(str::to_owned);
                return;
            }
            BEGUN => return,
            _ => {}
        }
        let at_home = partition == self::partition(agent_of(key), progress.partitions);
        match value.map(|value| text(value).and_then(|value| value.parse::<u64>().ok())) {
            None if at_home => drop(progress.positions.remove(key)),
            None => drop(strays.remove(&(key.into(), partition))),
            Some(Some(position)) => {
                let read = Kept { position, at };
                let kept = if at_home {
                    progress.positions.entry(key.into()).or_insert(read)
                } else {
                    strays.entry((key.into(), partition)).or_insert(read)
                };
                kept.take(read);
            }
            Some(None) => progress.foreign += 1,
        }
    }

    /// What it says as a whole.
    fn finish(self) -> Progress {
        let Self { mut progress, strays } = self;
        for ((source, partition), kept) in strays {
            progress.positions.entry(source.clone()).or_insert(kept).take(kept);
            progress.elsewhere.entry(source).or_default().push(partition);
        }
        progress
    }
}

impl Kept {
    fn take(&mut self, other: Self) {
        self.position = self.position.max(other.position);
        self.at = self.at.max(other.at);
    }
}

/// Reads the whole topic as somebody who looks on. Blocks; the error is a sentence.
pub fn read(config: &KafkaConfig, client_id: &str, stop: &CancellationToken) -> Result<Progress, String> {
    Reading::open(config, client_id, stop)?.read(None)
}

/// How far is read.
#[derive(Debug, Clone, Copy)]
enum Until<'a> {
    /// To the end, once no transaction before it is open.
    End,
    /// To the first transaction that is open.
    Stable,
    /// To the record [`BEGUN`] of this value, in each partition.
    Begun(&'a str),
}

/// Readers of the topic.
pub struct Reading<'a> {
    config: &'a KafkaConfig,
    stop: &'a CancellationToken,
    uncommitted: BaseConsumer<Context>,
    committed: BaseConsumer<Context>,
    trouble: Trouble,
    partitions: i32,
}

impl std::fmt::Debug for Reading<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reading").field("partitions", &self.partitions).finish_non_exhaustive()
    }
}

impl<'a> Reading<'a> {
    /// Asks how many partitions there are. Blocks, as all of this; errors are sentences.
    pub fn open(config: &'a KafkaConfig, client_id: &str, stop: &'a CancellationToken) -> Result<Self, String> {
        let context = Context::default();
        let trouble = context.trouble.clone();
        let [uncommitted, committed] = readers(config, client_id, &context)?;
        let partitions = partitions(&uncommitted, config, &config.topics.progress, &trouble)?;
        Ok(Self { config, stop, uncommitted, committed, trouble, partitions })
    }

    /// How many partitions there were.
    pub fn partitions(&self) -> i32 {
        self.partitions
    }

    /// The relay that owns the topic. What the asking relay itself left open is not waited for.
    pub fn owner(&self) -> Result<Option<String>, String> {
        Ok(self.gather(1, Until::Stable)?.progress.owner)
    }

    /// All of it. `begun`: the value of the record [`BEGUN`] that was committed to every partition, to read until there.
    pub fn read(&self, begun: Option<&str>) -> Result<Progress, String> {
        Ok(self.gather(self.partitions, begun.map_or(Until::End, Until::Begun))?.finish())
    }

    /// The first `count` partitions.
    fn gather(&self, count: i32, until: Until<'_>) -> Result<Gathered, String> {
        let Self { config, stop, uncommitted, committed, trouble, partitions } = self;
        let topic = config.topics.progress.as_str();
        let needed = [Right::Read(topic)];
        let said = |doing: &str, error: &KafkaError| client::sentence_needing(config, doing, &needed, error, trouble);
        let mut gathered = Gathered::default();
        gathered.progress.partitions = *partitions;

        let mut assignment = TopicPartitionList::new();
        let mut ends = HashMap::new();
        for partition in 0..count {
            if stop.is_cancelled() {
                return Err(STOPPED.to_owned());
            }
            let doing = format!("find the end of {topic}/{partition}");
            let of = if matches!(until, Until::Stable) { committed } else { uncommitted };
            let (low, end) = watermarks(of, topic, partition, stop).map_err(|error| said(&doing, &error))?;
            settle(config, committed, (topic, partition, end), (trouble, stop))?;
            if low < end {
                ends.insert(partition, end);
                assignment
                    .add_partition_offset(topic, partition, Offset::Offset(low))
                    .map_err(|error| said(&doing, &error))?;
            }
        }
        let doing = format!("read {topic}");
        committed.assign(&assignment).map_err(|error| said(&doing, &error))?;
        let mut unread: HashSet<i32> = ends.keys().copied().collect();
        let mut heard = Instant::now();
        while !unread.is_empty() {
            if stop.is_cancelled() {
                return Err(STOPPED.to_owned());
            }
            match committed.poll(SLICE) {
                Some(Ok(message)) => {
                    heard = Instant::now();
                    let (partition, key, value) = (message.partition(), message.key(), message.payload());
                    if !unread.contains(&partition) {
                        continue;
                    }
                    gathered.take(partition, key, value, message.timestamp().to_millis().unwrap_or_default());
                    if let Until::Begun(begun) = until
                        && (key, value) == (Some(BEGUN.as_bytes()), Some(begun.as_bytes()))
                    {
                        unread.remove(&partition);
                    }
                }
                Some(Err(error)) if !is_nothing(&error) => return Err(said(&doing, &error)),
                Some(Err(_)) | None if !matches!(until, Until::Begun(_)) => {
                    let before = unread.len();
                    for partition in reached(committed, &ends).map_err(|error| said(&doing, &error))? {
                        unread.remove(&partition);
                    }
                    if unread.len() < before {
                        heard = Instant::now();
                    }
                }
                Some(Err(_)) | None => {}
            }
            if heard.elapsed() > SILENCE {
                return Err(silence(config, &doing, trouble));
            }
        }
        Ok(gathered)
    }
}

/// A reader of everything, and one of what is committed.
pub(crate) fn readers(
    config: &KafkaConfig,
    client_id: &str,
    context: &Context,
) -> Result<[BaseConsumer<Context>; 2], String> {
    let reader = |isolation: &str| {
        client::reader(config, client_id)
            .and_then(|mut reader| {
                reader.set("group.id", client_id).set("isolation.level", isolation).set("enable.partition.eof", "true");
                reader.create_with_context(context.clone())
            })
            .map_err(|error| client::sentence(config, "make a reader", &error, &context.trouble))
    };
    Ok([reader("read_uncommitted")?, reader("read_committed")?])
}

/// Whether it is no reason to end: the end of a partition, or that the group may not be asked about, which is a name and nothing more to
/// who is told what to read.
pub(crate) fn is_nothing(error: &KafkaError) -> bool {
    matches!(error, KafkaError::PartitionEOF(_))
        || error.rdkafka_error_code() == Some(RDKafkaErrorCode::GroupAuthorizationFailed)
}

/// The partitions of which `consumer` has passed the end.
pub(crate) fn reached(consumer: &BaseConsumer<Context>, ends: &HashMap<i32, i64>) -> Result<Vec<i32>, KafkaError> {
    let positions = consumer.position()?;
    let passed = positions.elements().into_iter().filter(
        |found| matches!((found.offset(), ends.get(&found.partition())), (Offset::Offset(at), Some(end)) if at >= *end),
    );
    Ok(passed.map(|found| found.partition()).collect())
}

/// What is said where nothing came for [`SILENCE`].
pub(crate) fn silence(config: &KafkaConfig, doing: &str, trouble: &Trouble) -> String {
    let heard = trouble.take().map(|said| format!(" ({said})")).unwrap_or_default();
    format!("cannot {doing} at Kafka {}: nothing came for {} s{heard}", config.brokers, SILENCE.as_secs())
}

/// Begin and end of a partition, once it has a leader.
pub(crate) fn watermarks(
    consumer: &BaseConsumer<Context>,
    topic: &str,
    partition: i32,
    stop: &CancellationToken,
) -> Result<(i64, i64), KafkaError> {
    use RDKafkaErrorCode::{LeaderNotAvailable, NotLeaderForPartition, UnknownPartition, UnknownTopicOrPartition};
    let begun = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, ASK) {
            Err(error)
                if begun.elapsed() < ASK
                    && !stop.is_cancelled()
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

/// Waits until no transaction before `end` is open, so that a reader of committed records reaches it: longer than what a killed relay left
/// open lasts. The error is a sentence.
pub(crate) fn settle(
    config: &KafkaConfig,
    committed: &BaseConsumer<Context>,
    (topic, partition, end): (&str, i32, i64),
    (trouble, stop): (&Trouble, &CancellationToken),
) -> Result<(), String> {
    let (begun, patience) = (Instant::now(), config.transaction_timeout() + NOTICED);
    loop {
        if stop.is_cancelled() {
            return Err(STOPPED.to_owned());
        }
        let (_, stable) = watermarks(committed, topic, partition, stop).map_err(|error| {
            let doing = format!("find the end of {topic}/{partition}");
            client::sentence_needing(config, &doing, &[Right::Read(topic)], &error, trouble)
        })?;
        if stable >= end {
            return Ok(());
        }
        if begun.elapsed() > patience {
            return Err(format!(
                "a transaction of {topic}/{partition} at Kafka {} has been open for {} s and hides what comes after offset {stable}: \
                 Kafka ends it after its producer's transaction.timeout.ms, or kafka-transactions.sh does",
                config.brokers,
                patience.as_secs()
            ));
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
        Some(found)
            if found.error().map(RDKafkaErrorCode::from) == Some(RDKafkaErrorCode::TopicAuthorizationFailed) =>
        {
            let lacks = rights::lacks(config, Right::Read(topic));
            Err(format!("cannot read {topic} at Kafka {}: {lacks}", config.brokers))
        }
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

    fn gathered(partitions: i32, records: &[(i32, Option<&str>, Option<&str>, i64)]) -> Progress {
        let mut gathered = Gathered::default();
        gathered.progress.partitions = partitions;
        for &(partition, key, value, at) in records {
            gathered.take(partition, key.map(str::as_bytes), value.map(str::as_bytes), at);
        }
        gathered.finish()
    }

    #[test]
    fn the_greatest_position_of_a_source_counts_and_what_is_no_mark_is_passed_over() {
        let progress = gathered(
            1,
            &[
                (0, Some("pi/1/raw"), Some("7"), 1),
                (0, Some("pi/1/raw"), Some("9"), 2),
                (0, Some("pi/1/raw"), Some("8"), 3),
                (0, Some("pi/2/raw"), Some("1"), 3),
                (0, Some("pi/2/raw"), None, 4),
                (0, Some("pi/3/raw"), Some("-1"), 5),
                (0, None, Some("1"), 6),
                (0, Some(BEGUN), Some("one, 1"), 7),
                (0, Some(OWNER), Some("one"), 7),
            ],
        );
        assert_eq!(progress.positions.len(), 1);
        assert_eq!(progress.positions["pi/1/raw"], Kept { position: 9, at: 3 });
        assert_eq!((progress.foreign, progress.owner.as_deref()), (2, Some("one")));
    }

    #[test]
    fn where_partitions_were_added_a_source_is_where_its_greatest_mark_is_in_whatever_order_they_are_read() {
        // 0x2c modulo 6 and modulo 12.
        let [before, after] = [6, 12].map(|partitions| partition("a", partitions));
        assert_eq!((before, after), (2, 8));
        let old = (before, Some("a/1/raw"), Some("7"), 1);
        let new = (after, Some("a/1/raw"), Some("9"), 2);
        let heir = (before, Some("a/1/heir"), Some("5"), 1);
        let gone = (before, Some("a/1/raw"), None, 3);
        let greatest = Some(&Kept { position: 9, at: 2 });
        for records in [[heir, old, new], [new, heir, old], [new, old, heir]] {
            let progress = gathered(12, &records);
            assert_eq!(progress.positions.get("a/1/raw"), greatest);
            assert_eq!(progress.positions["a/1/heir"], Kept { position: 5, at: 1 });
            assert_eq!(progress.elsewhere["a/1/raw"], [before]);
        }
        for records in [[old, gone, new], [new, old, gone]] {
            let progress = gathered(12, &records);
            assert_eq!(progress.positions.get("a/1/raw"), greatest, "a tombstone is its own partition's");
            assert!(progress.elsewhere.is_empty());
        }
        let progress = gathered(12, &[old, new, (after, Some("a/1/raw"), None, 3)]);
        assert_eq!(progress.positions.get("a/1/raw"), Some(&Kept { position: 7, at: 1 }));
    }

    #[test]
    fn only_the_owner_of_partition_0_counts() {
        let progress = gathered(2, &[(0, Some(OWNER), Some("one"), 1), (1, Some(OWNER), Some("stray"), 2)]);
        assert_eq!((progress.owner.as_deref(), progress.foreign), (Some("one"), 1));
    }
}
