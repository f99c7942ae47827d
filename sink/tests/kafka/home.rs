//! Topics of one test, and those who write them.

use std::time::Duration;

use futures_executor::block_on;
use gaitway_kafka::KafkaConfig;
use gaitway_kafka::config::{Create, Topics};
use gaitway_kafka::headers::Writer;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::record::{Body, Origin, Raw, Record};
use gaitway_proto::topic::AgentId;
use gaitway_sink::{BatchConfig, SinkConfig};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::OwnedHeaders;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use crate::broker::{broker, unique};

const PATIENCE: Duration = Duration::from_secs(30);

/// Topics that no other test has.
pub(crate) struct Home {
    pub(crate) config: SinkConfig,
    agent: AgentId,
}

impl Home {
    /// Three topics; the one of readings has `partitions` and these settings.
    pub(crate) fn new(name: &str, partitions: i32, settings: &[(&str, &str)]) -> Self {
        Self::at(broker(), name, partitions, settings)
    }

    /// The same on another broker.
    pub(crate) fn at(broker: &str, name: &str, partitions: i32, settings: &[(&str, &str)]) -> Self {
        let mut home = Self::without_topics(name);
        broker.clone_into(&mut home.config.kafka.brokers);
        home.create(&home.config.kafka.topics.raw, partitions, settings);
        home.create(&home.config.kafka.topics.activity, 1, &[]);
        home.create(&home.config.kafka.topics.gaps, 1, &[]);
        home
    }

    pub(crate) fn without_topics(name: &str) -> Self {
        let of = |what: &str| unique(&format!("{name}-{what}"));
        let topics = Topics {
            raw: of("raw"),
            activity: of("activity"),
            gaps: of("gaps"),
            progress: of("progress"),
            dead_letter: of("dead-letter"),
        };
        let mut kafka = KafkaConfig { brokers: broker().to_owned(), topics, ..KafkaConfig::default() };
        kafka.create = Create { partitions: 1, ..Create::default() };
        for (property, value) in [
            ("topic.metadata.refresh.interval.ms", "500"),
            ("session.timeout.ms", "3000"),
            ("heartbeat.interval.ms", "300"),
        ] {
            kafka.properties.0.insert(property.to_owned(), value.to_owned());
        }
        let batch = BatchConfig { linger: Duration::from_millis(20), ..BatchConfig::default() };
        let config = SinkConfig { kafka, group: of("group"), batch, ..SinkConfig::default() };
        Self { config, agent: "pi".parse().unwrap() }
    }

    pub(crate) fn raw(&self) -> &str {
        &self.config.kafka.topics.raw
    }

    fn client(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client.set("bootstrap.servers", &self.config.kafka.brokers);
        client
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client().create().unwrap()
    }

    pub(crate) fn create(&self, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let new = settings.iter().fold(new, |new, (name, value)| new.set(name, value));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        block_on(self.admin().create_topics([&new], &options)).unwrap().remove(0).unwrap();
    }

    pub(crate) fn delete(&self, topic: &str) {
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        block_on(self.admin().delete_topics(&[topic], &options)).unwrap().remove(0).unwrap();
    }

    /// The topic of readings has `count` partitions from now on.
    pub(crate) fn grow(&self, count: usize) {
        let new = NewPartitions::new(self.raw(), count);
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        block_on(self.admin().create_partitions([&new], &options)).unwrap().remove(0).unwrap();
    }

    fn group(&self) -> BaseConsumer {
        self.client().set("group.id", &self.config.group).create().unwrap()
    }

    /// The group's offset of partition 0 and what was said beside it.
    pub(crate) fn group_offset(&self) -> String {
        let mut asked = TopicPartitionList::new();
        asked.add_partition(self.raw(), 0);
        let told = self.group().committed_offsets(asked, PATIENCE).unwrap();
        let told = told.find_partition(self.raw(), 0).unwrap();
        format!("{} {}", told.offset().to_raw().unwrap(), told.metadata())
    }

    /// Commits it as somebody else would, while nobody is in the group.
    pub(crate) fn set_group_offset(&self, next: i64, metadata: &str) {
        let mut told = TopicPartitionList::new();
        let mut element = told.add_partition(self.raw(), 0);
        element.set_offset(Offset::Offset(next)).unwrap();
        element.set_metadata(metadata);
        self.group().commit(&told, CommitMode::Sync).unwrap();
    }

    /// As retention would: everything before `offset` of partition 0 goes.
    pub(crate) fn delete_before(&self, offset: Offset) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(self.raw(), 0, offset).unwrap();
        block_on(self.admin().delete_records(&before, &AdminOptions::new())).unwrap();
    }

    /// Writes the readings numbered `numbers` to `partition`.
    pub(crate) fn write(&self, partition: i32, numbers: std::ops::Range<u64>) {
        let producer: BaseProducer = self.client().set("linger.ms", "0").create().unwrap();
        for number in numbers {
            self.send(&producer, partition, number);
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Writes them in one transaction, which is committed or aborted.
    pub(crate) fn write_together(&self, partition: i32, numbers: std::ops::Range<u64>, commit: bool) {
        let id = unique("transaction");
        let producer: BaseProducer = self.client().set("transactional.id", id).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        for number in numbers {
            self.send(&producer, partition, number);
        }
        producer.flush(PATIENCE).unwrap();
        if commit {
            producer.commit_transaction(PATIENCE).unwrap();
        } else {
            producer.abort_transaction(PATIENCE).unwrap();
        }
    }

    fn send(&self, producer: &BaseProducer, partition: i32, number: u64) {
        let origin = Origin {
            agent: &self.agent,
            epoch: Epoch::from_random(7),
            ordinal: 1,
            stream: Stream::Raw,
            seq: number + 1,
        };
        let metadata = origin.metadata(0, Some(true));
        let headers = Writer::default().write(metadata.name.as_ref().unwrap());
        let body = Body::Raw(Raw {
            message_id: Some(number),
            session: "walk",
            device: "phone",
            sensor: Some("accelerometer"),
            xyz: [Some(0.5), Some(-1.25), Some(9.75)],
            accuracy: None,
            timestamp: Some(1_700_000_000_000_000_000 + number as i64),
            reading: None,
            reading_index: 0,
            user: None,
            received_at: 1_700_000_000_000_000,
        });
        let json = Record { metadata, body }.to_json();
        self.send_value(producer, partition, Some(&number.to_string()), json.as_bytes(), &headers);
    }

    fn send_value(
        &self,
        producer: &BaseProducer,
        partition: i32,
        key: Option<&str>,
        value: &[u8],
        headers: &OwnedHeaders,
    ) {
        loop {
            let mut record = BaseRecord::to(self.raw()).partition(partition).payload(value).headers(headers.clone());
            if let Some(key) = key {
                record = record.key(key);
            }
            match producer.send(record) {
                Ok(()) => return,
                Err(_) => producer.poll(Duration::from_millis(10)),
            }
        }
    }

    /// Writes a value as it is, without headers.
    pub(crate) fn write_value(&self, partition: i32, key: Option<&str>, value: &[u8]) {
        let producer: BaseProducer = self.client().create().unwrap();
        self.send_value(&producer, partition, key, value, &OwnedHeaders::new());
        producer.flush(PATIENCE).unwrap();
    }
}
