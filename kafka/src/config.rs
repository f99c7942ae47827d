//! What can be set: the table `[kafka]` of relay and sink.
//!
//! - What the law rests on cannot be set: such a property is refused with the reason.
//! - What topics would be created with and refused for afterwards is refused before.
//! - No value of a property is ever shown: it may be a password. Each comes from one place: the table itself or a file.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use gaitway_proto::schema::{self, Table};
use gaitway_service::config::{Check, Wrong};
use gaitway_service::secret::{self, Secret, SecretError};
use serde::{Deserialize, Serialize};

use crate::topics::{self, Weight};

mod properties;

pub use properties::{Properties, PropertyFiles};

/// Where Kafka is and how it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KafkaConfig {
    /// `HOST:PORT` of one or more brokers, divided by commas.
    pub brokers: String,
    /// Names of the topics. Relay and sink must have the same.
    pub topics: Topics,
    /// What missing topics are created with. Topics that exist are left as they are. A sink creates none but that of
    /// dead letters.
    pub create: Create,
    /// Whether the topics' settings are looked at when the service starts: what may lose records is refused, what is
    /// less safe than it could be is said in the log.
    pub inspect: bool,
    /// Properties of librdkafka, as its CONFIGURATION.md names them. Those on which it rests that nothing is lost or
    /// doubled are refused.
    pub properties: Properties,
    /// Files that hold the values of further properties, such as `sasl.password`. White space around a value does not
    /// count. They are read for each client that is made, and nobody else may read them.
    pub property_files: PropertyFiles,
}

/// Names of topics.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Topics {
    /// The topic of raw readings.
    pub raw: String,
    /// The topic of classified windows.
    pub activity: String,
    /// The topic of gaps: frames of which it is known that they will not come.
    pub gaps: String,
    /// The topic of the relay's watermarks. The relay's transactional id is made of its name: relays that share it
    /// replace each other.
    pub progress: String,
    /// The topic in which the sink sets aside records that it cannot store.
    pub dead_letter: String,
}

/// What missing topics are created with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Create {
    /// Whether missing topics are created. If not, whoever runs Kafka must create them.
    pub enabled: bool,
    /// Partitions of each new topic of records. The records of a device keep their order while this number does not
    /// change.
    pub partitions: i32,
    /// Replicas of each partition. 0 is three, or as many as there are brokers if these are fewer.
    pub replication: i32,
    /// Kafka's settings of new topics of records, such as `retention.ms`.
    pub settings: Properties,
}

impl Default for KafkaConfig {
    fn default() -> Self {
        Self {
            brokers: "127.0.0.1:9092".to_owned(),
            topics: Topics::default(),
            create: Create::default(),
            inspect: true,
            properties: Properties::default(),
            property_files: PropertyFiles::default(),
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

/// Second names of properties and the names that librdkafka has them under, from `rdkafka_conf.c`. Of a property that is set under both, either
/// may hold.
const ALIASES: [(&str, &str); 12] = [
    ("acks", "request.required.acks"),
    ("auto.commit.enable", "enable.auto.commit"),
    ("bootstrap.servers", "metadata.broker.list"),
    ("compression.type", "compression.codec"),
    ("delivery.timeout.ms", "message.timeout.ms"),
    ("linger.ms", "queue.buffering.max.ms"),
    ("max.in.flight", "max.in.flight.requests.per.connection"),
    ("max.partition.fetch.bytes", "fetch.message.max.bytes"),
    ("retries", "message.send.max.retries"),
    ("sasl.mechanism", "sasl.mechanisms"),
    ("sasl.oauthbearer.client.credentials.client.id", "sasl.oauthbearer.client.id"),
    ("sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.client.secret"),
];

/// The name that librdkafka has a property under.
pub(crate) fn proper(name: &str) -> &str {
    ALIASES.iter().find(|(alias, _)| *alias == name).map_or(name, |(_, proper)| proper)
}

/// How long a transaction may take, unless the operator says otherwise: longer than a commit is waited for, so that only a relay that is
/// gone leaves it to the coordinator to end its transaction.
const TRANSACTION: Duration = Duration::from_secs(90);

/// The property of librdkafka that says so, in milliseconds.
pub const TRANSACTION_TIMEOUT: &str = "transaction.timeout.ms";

impl KafkaConfig {
    /// How long a transaction of the relay may stay open.
    pub fn transaction_timeout(&self) -> Duration {
        let told = self.properties.0.get(TRANSACTION_TIMEOUT).and_then(|value| value.parse().ok());
        told.map_or(TRANSACTION, Duration::from_millis)
    }

    /// Names of properties, of either table, as they are spelled.
    fn names(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let values = self.properties.0.keys().map(|name| (PROPERTIES, name.as_str()));
        values.chain(self.property_files.0.keys().map(|name| (PROPERTY_FILES, name.as_str())))
    }

    /// What stands in the files of properties.
    pub(crate) fn read_files(&self) -> impl Iterator<Item = (&str, Result<Secret, SecretError>)> {
        self.property_files.0.iter().map(|(name, path)| (name.as_str(), secret::read(path)))
    }

    /// Whether the files of properties, and that of a client certificate's key, can be used now, as they must be when a service starts.
    pub fn check_files(&self) -> Result<(), Wrong> {
        for (name, value) in self.read_files() {
            value.map_err(|error| Wrong::new(PROPERTY_FILES, format!("must hold {name}: {error}")))?;
        }
        // librdkafka reads it itself, whoever else may.
        if let Some(path) = self.properties.0.get(KEY_FILE) {
            secret::read(Path::new(path))
                .map_err(|error| Wrong::new(PROPERTIES, format!("cannot have {KEY_FILE}: {error}")))?;
        }
        Ok(())
    }

    /// What makes topics that this would create be refused afterwards.
    fn forbidden(&self) -> Option<String> {
        let (wanted, survey) = topics::as_created(self);
        topics::judge(&wanted, &survey)
            .into_iter()
            .find(|finding| finding.weight == Weight::Forbids)
            .map(|finding| finding.to_string())
    }
}

/// Properties that are not the operator's, under the names that librdkafka has them under, and why.
const OURS: [(&str, &str); 18] = [
    ("metadata.broker.list", "set `kafka.brokers`"),
    ("transactional.id", "it is made of the progress topic's name, so that a second relay is fenced"),
    ("enable.idempotence", "every record is committed once"),
    ("request.required.acks", "a record is acknowledged by all replicas in sync"),
    ("isolation.level", "records of open and aborted transactions are not read"),
    ("enable.auto.commit", "the mark of how far was read is committed with the rows"),
    ("enable.auto.offset.store", "the mark of how far was read is committed with the rows"),
    ("auto.offset.reset", "records that are gone must be seen"),
    ("group.id", "set `group` of the sink"),
    ("group.instance.id", "two sinks with one would fence each other"),
    ("partitioner", "a device's records stay in one partition, the same as with Java's clients"),
    ("client.id", "each service has its name"),
    ("enable.partition.eof", "whoever reads to the end looks up where it is"),
    ("check.crcs", "a damaged record must be seen"),
    ("partition.assignment.strategy", "sinks share partitions one way"),
    ("message.max.bytes", "it is made of the greatest record, which passes whole"),
    ("delivery.report.only.error", "whoever writes hears of what it has to wait for"),
    ("statistics.interval.ms", "the sink measures by it how far it is behind"),
];

/// The property that names the file of a client certificate's key.
const KEY_FILE: &str = "ssl.key.location";

const PROPERTIES: &str = "kafka.properties";
const PROPERTY_FILES: &str = "kafka.property_files";

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
        let mut set = BTreeMap::new();
        for (key, name) in self.names() {
            let proper = proper(name);
            if let Some((_, why)) = OURS.iter().find(|(ours, _)| *ours == proper) {
                return Err(Wrong::new(key, format!("must not have {name}: {why}")));
            }
            match set.insert(proper, name) {
                None => {}
                Some(other) if other == name => {
                    let problem = format!("must not have {name}: `{PROPERTIES}` has it too");
                    return Err(Wrong::new(PROPERTY_FILES, problem).naming(PROPERTIES));
                }
                Some(other) => {
                    let problem = format!("must not have both {other} and {name}, two names of one property");
                    return Err(Wrong::new(key, problem));
                }
            }
        }
        if self.create.enabled
            && self.inspect
            && let Some(said) = self.forbidden()
        {
            let problem = format!("would make topics that the relay refuses: {said}");
            return Err(Wrong::new("kafka.create.settings", problem));
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
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn refused(change: impl FnOnce(&mut KafkaConfig)) -> String {
        let mut config = KafkaConfig::default();
        change(&mut config);
        config.check().unwrap_err().to_string()
    }

    #[test]
    fn what_the_law_rests_on_cannot_be_set() {
        KafkaConfig::default().check().unwrap();
        let aliases = ALIASES.iter().filter(|(_, proper)| OURS.iter().any(|(ours, _)| ours == proper));
        for (name, _) in OURS.iter().chain(aliases) {
            let said = refused(|config| {
                config.properties.0.insert((*name).to_owned(), "x".to_owned());
            });
            assert!(said.contains(name), "{said}");
        }
        for name in
            ["acks", "bootstrap.servers", "auto.commit.enable", "message.max.bytes", "delivery.report.only.error"]
        {
            let said = refused(|config| drop(config.properties.0.insert(name.to_owned(), "1".to_owned())));
            assert!(said.contains(name), "{said}");
        }
    }

    #[test]
    fn a_property_has_one_name_at_a_time() {
        let mut config = KafkaConfig::default();
        config.properties.0.insert("linger.ms".to_owned(), "1".to_owned());
        config.check().unwrap();
        config.properties.0.insert("queue.buffering.max.ms".to_owned(), "9".to_owned());
        let said = config.check().unwrap_err().to_string();
        assert!(said.contains("linger.ms") && said.contains("queue.buffering.max.ms"), "{said}");
    }

    #[test]
    fn settings_that_topics_would_be_refused_for_are_refused_before_they_are_created_with_them() {
        for (name, value) in [
            ("cleanup.policy", "compact"),
            ("cleanup.policy", "delete,compact"),
            ("max.message.bytes", "1048588"),
            ("min.insync.replicas", "4"),
            ("min.insync.replicas", "many"),
        ] {
            let said = refused(|config| drop(config.create.settings.0.insert(name.to_owned(), value.to_owned())));
            assert!(said.contains("`kafka.create.settings`") && said.contains(name), "{said}");
        }
        let mut config = KafkaConfig::default();
        for (name, value) in [("retention.ms", "1"), ("min.insync.replicas", "1"), ("max.message.bytes", "9000000")] {
            config.create.settings.0.insert(name.to_owned(), value.to_owned());
        }
        config.check().unwrap();
        config.create.replication = 1;
        config.create.settings.0.insert("min.insync.replicas".to_owned(), "2".to_owned());
        assert!(config.check().unwrap_err().to_string().contains("min.insync.replicas 2"));
    }

    #[test]
    fn a_transaction_has_the_operators_time() {
        let mut config = KafkaConfig::default();
        assert_eq!(config.transaction_timeout(), TRANSACTION);
        config.properties.0.insert(TRANSACTION_TIMEOUT.to_owned(), "120000".to_owned());
        assert_eq!(config.transaction_timeout(), Duration::from_secs(120));
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
    fn a_property_comes_from_one_place() {
        let mut config = KafkaConfig::default();
        config.property_files.0.insert("sasl.password".to_owned(), "/p".into());
        config.check().unwrap();
        config.properties.0.insert("sasl.password".to_owned(), "hush".to_owned());
        let said = config.check().unwrap_err().to_string();
        assert!(
            said.contains("`kafka.property_files` must not have sasl.password") && !said.contains("hush"),
            "{said}"
        );
        let said = refused(|config| drop(config.property_files.0.insert("group.id".to_owned(), "/g".into())));
        assert!(said.contains("`kafka.property_files` must not have group.id: set `group`"), "{said}");
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named_with_its_property() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = KafkaConfig::default();
        config.property_files.0.insert("sasl.password".to_owned(), dir.path().join("none"));
        let said = config.check_files().unwrap_err().to_string();
        assert!(
            said.contains("`kafka.property_files` must hold sasl.password: ") && said.contains("none cannot be"),
            "{said}"
        );
    }

    #[test]
    fn a_certificates_key_that_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let key = dir.path().join("client.key");
        let mut config = KafkaConfig::default();
        config.properties.0.insert(KEY_FILE.to_owned(), key.to_str().unwrap().to_owned());
        std::fs::write(&key, "hush").unwrap();
        for (mode, refused) in [(0o644, true), (0o640, true), (0o600, false)] {
            std::fs::set_permissions(&key, std::fs::Permissions::from_mode(mode)).unwrap();
            let said = config.check_files().map_err(|wrong| wrong.to_string());
            assert_eq!(
                said.is_err_and(|said| said.contains("chmod 600") && !said.contains("hush")),
                refused,
                "{mode:o}"
            );
        }
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
