//! What can be set: the table `[kafka]` of relay and sink.
//!
//! - What the law rests on cannot be set: such a property is refused with the reason.
//! - No value of a property is ever shown: it may be a password.

use std::collections::BTreeMap;
use std::fmt;

use gaitway_proto::schema::{self, Table};
use gaitway_service::config::{Check, Wrong};
use serde::de::{Deserializer, Error, Visitor};
use serde::{Deserialize, Serialize};

/// Where Kafka is and how it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `HOST:PORT` of one or more brokers, divided by commas.
    pub brokers: String,
    /// Names of topics.
    pub topics: Topics,
    /// What missing topics are created with.
    pub create: Create,
    /// Whether topics are held against the law at each start; what weakens it is said, what breaks it refused.
    pub inspect: bool,
    /// Properties of librdkafka, as its CONFIGURATION.md names them.
    pub properties: Properties,
}

/// Names of topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// Readings.
    pub raw: String,
    /// Classified windows.
    pub activity: String,
    /// Frames that will not come.
    pub gaps: String,
    /// Watermarks; the relay's transactional id is made of it.
    pub progress: String,
    /// Records that the sink cannot read.
    pub dead_letter: String,
}

/// What missing topics are created with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Create {
    /// Whether missing topics are created at all.
    pub enabled: bool,
    /// Partitions of each topic. A device's order holds while their number does.
    pub partitions: i32,
    /// Replicas of each partition; 0 is three, or as many as there are brokers.
    pub replication: i32,
    /// Settings of the topics of records, such as `retention.ms`.
    pub settings: Properties,
}

/// Text by name; numbers and booleans are taken as they are spelled.
#[derive(Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Properties(pub BTreeMap<String, String>);

impl fmt::Debug for Properties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl<'de> Deserialize<'de> for Properties {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let map = BTreeMap::<String, Scalar>::deserialize(deserializer)?;
        Ok(Self(map.into_iter().map(|(name, Scalar(value))| (name, value)).collect()))
    }
}

struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ScalarVisitor).map(Self)
    }
}

struct ScalarVisitor;

impl Visitor<'_> for ScalarVisitor {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text, a number, true or false")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<String, E> {
        Ok(flag.to_string())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<String, E> {
        Ok(number.to_string())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<String, E> {
        Ok(number.to_string())
    }
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topics: Topics::default(),
            create: Create::default(),
            inspect: true,
            properties: Properties::default(),
        }
    }
}

impl Default for Topics {
    fn default() -> Self {
        Self {
            raw: schema::RAW.topic.to_owned(),
            activity: schema::ACTIVITY.topic.to_owned(),
            gaps: schema::GAPS.topic.to_owned(),
            progress: schema::PROGRESS.to_owned(),
            dead_letter: "gaitway_dead_letter".to_owned(),
        }
    }
}

impl Default for Create {
    fn default() -> Self {
        Self { enabled: true, partitions: 6, replication: 0, settings: Properties::default() }
    }
}

impl Topics {
    /// The topic that feeds `table`.
    pub fn of(&self, table: &Table) -> &str {
        match table.name {
            name if name == schema::ACTIVITY.name => &self.activity,
            name if name == schema::GAPS.name => &self.gaps,
            _ => &self.raw,
        }
    }

    /// The table that `topic` feeds.
    pub fn table(&self, topic: &str) -> Option<&'static Table> {
        schema::TABLES.into_iter().find(|table| self.of(table) == topic)
    }

    /// Each topic with its key.
    pub fn all(&self) -> [(&'static str, &str); 5] {
        [
            ("kafka.topics.raw", &self.raw),
            ("kafka.topics.activity", &self.activity),
            ("kafka.topics.gaps", &self.gaps),
            ("kafka.topics.progress", &self.progress),
            ("kafka.topics.dead_letter", &self.dead_letter),
        ]
    }
}

/// Properties that are not the operator's, and why.
const OURS: [(&str, &str); 17] = [
    ("bootstrap.servers", "set `kafka.brokers`"),
    ("metadata.broker.list", "set `kafka.brokers`"),
    ("transactional.id", "it is made of the progress topic's name, so that a second relay is fenced"),
    ("enable.idempotence", "every record is committed once"),
    ("acks", "a record is acknowledged by all replicas in sync"),
    ("request.required.acks", "a record is acknowledged by all replicas in sync"),
    ("isolation.level", "records of open and aborted transactions are not read"),
    ("enable.auto.commit", "the mark of how far was read is committed with the rows"),
    ("enable.auto.offset.store", "the mark of how far was read is committed with the rows"),
    ("auto.offset.reset", "records that are gone must be seen"),
    ("group.id", "set `group` of the sink"),
    ("group.instance.id", "two sinks with one would fence each other"),
    ("partitioner", "a device's records stay in one partition, the same as with Java's clients"),
    ("client.id", "each service has its name"),
    ("enable.partition.eof", "the end of the progress topic is found by it"),
    ("check.crcs", "a damaged record must be seen"),
    ("partition.assignment.strategy", "sinks share partitions one way"),
];

/// Longest name of a topic, from Kafka's `Topic.java`.
const MAX_TOPIC: usize = 249;

impl Check for KafkaConfig {
    fn check(&self) -> Result<(), Wrong> {
        let brokers: Vec<_> = self.brokers.split(',').map(str::trim).collect();
        if !brokers.iter().all(|broker| is_address(broker)) {
            return Err(Wrong::new("kafka.brokers", "must be HOST:PORT, several divided by commas"));
        }
        let topics = self.topics.all();
        for (place, (key, name)) in topics.iter().enumerate() {
            let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
            if name.is_empty() || name.len() > MAX_TOPIC || *name == "." || *name == ".." || !name.chars().all(allowed)
            {
                return Err(Wrong::new(key, "must be 1 to 249 letters, digits, '.', '_' and '-'"));
            }
            if topics[..place].iter().any(|(_, other)| other == name) {
                return Err(Wrong::new(key, "must be another topic than the others"));
            }
        }
        Wrong::unless_within("kafka.create.partitions", &self.create.partitions, 1..=1_000)?;
        Wrong::unless_within("kafka.create.replication", &self.create.replication, 0..=15)?;
        for (name, why) in OURS {
            if self.properties.0.contains_key(name) {
                return Err(Wrong::new("kafka.properties", format!("must not have {name}: {why}")));
            }
        }
        Ok(())
    }
}

fn is_address(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains([' ', '/']) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(change: impl FnOnce(&mut KafkaConfig)) -> String {
        let mut config = KafkaConfig::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn what_the_law_rests_on_cannot_be_set() {
        KafkaConfig::default().check().unwrap();
        for (name, _) in OURS {
            let said = refused(|config| {
                config.properties.0.insert(name.to_owned(), "x".to_owned());
            });
            assert!(said.contains(name), "{said}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        for brokers in ["", "localhost", ":9092", "a:0", "a:1,,b:2", "http://a:1"] {
            assert!(refused(|config| config.brokers = brokers.to_owned()).contains("`kafka.brokers`"), "{brokers}");
        }
        KafkaConfig { brokers: "[::1]:9092, b:1".to_owned(), ..KafkaConfig::default() }.check().unwrap();
        assert!(refused(|config| config.topics.raw = "a b".to_owned()).contains("`kafka.topics.raw`"));
        let said = refused(|config| config.topics.gaps.clone_from(&config.topics.raw));
        assert!(said.contains("`kafka.topics.gaps` must be another topic"), "{said}");
        assert!(refused(|config| config.create.partitions = 0).contains("`kafka.create.partitions`"));
    }

    #[test]
    fn no_value_of_a_property_is_shown() {
        let properties = Properties([("sasl.password".to_owned(), "hush".to_owned())].into());
        assert_eq!(format!("{properties:?}"), r#"{"sasl.password"}"#);
    }

    #[test]
    fn each_table_has_its_topic() {
        let topics = Topics { raw: "other".to_owned(), ..Topics::default() };
        for table in schema::TABLES {
            assert_eq!(topics.table(topics.of(table)).unwrap().name, table.name);
        }
        assert_eq!((topics.of(&schema::RAW), topics.table("raw_sensor_data")), ("other", None));
    }
}
