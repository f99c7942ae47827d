//! Topics: what is missing is created, and what weakens the law is said.
//!
//! - [`judge`] is pure; [`look`] asks the brokers; [`ensure`] creates what is missing.
//! - A topic that is there is never changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use gaitway_proto::limits;

use crate::KafkaConfig;

mod admin;

pub use admin::{ensure, look};

/// Replicas of which an acknowledged record survives the loss of one and the restart of another.
const REPLICAS: i32 = 3;

/// Bytes that a topic of records must take: the greatest record, its key and headers, and the batch around it.
pub const MESSAGE_BYTES: u64 = (limits::MAX_RECORD + 48 * 1024) as u64;

/// What a topic is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Readings, windows, gaps.
    Records,
    /// Watermarks: compacted.
    Progress,
    /// What the sink could not read.
    DeadLetters,
}

/// A topic that must be there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Partitions to create it with.
    pub partitions: i32,
    /// Replicas to create it with.
    pub replication: i32,
    /// Settings to create it with.
    pub settings: BTreeMap<String, String>,
}

/// A topic as it is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Found {
    /// Its partitions.
    pub partitions: i32,
    /// The fewest replicas of any partition.
    pub replication: i32,
    /// Its settings, the brokers' defaults among them; none if this client may not see them.
    pub settings: Option<BTreeMap<String, String>>,
}

/// The brokers and topics as they are.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// How many brokers there are.
    pub brokers: i32,
    /// Topics by name.
    pub topics: BTreeMap<String, Found>,
    /// Topics that this user may not see.
    pub hidden: BTreeSet<String>,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Weight {
    /// Otherwise than configured, which does no harm.
    Differs,
    /// The law holds less than it should: an acknowledged record may be lost.
    Weakens,
    /// The law cannot hold, or records cannot pass.
    Forbids,
}

/// Something to know about a topic; displays as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub weight: Weight,
    /// The topic.
    pub topic: String,
    /// What it is and what to do.
    pub said: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "topic {} {}", self.topic, self.said)
    }
}

/// The topics that the relay writes.
pub fn written_by_relay(config: &KafkaConfig, brokers: i32) -> Vec<Wanted> {
    let topics = &config.topics;
    let mut wanted: Vec<_> = [&topics.raw, &topics.activity, &topics.gaps]
        .map(|name| wanted(config, brokers, name, Purpose::Records))
        .into();
    wanted.push(self::wanted(config, brokers, &topics.progress, Purpose::Progress));
    wanted
}

/// The topic that the sink writes.
pub fn written_by_sink(config: &KafkaConfig, brokers: i32) -> Vec<Wanted> {
    vec![wanted(config, brokers, &config.topics.dead_letter, Purpose::DeadLetters)]
}

fn wanted(config: &KafkaConfig, brokers: i32, name: &str, purpose: Purpose) -> Wanted {
    let create = &config.create;
    let replication = if create.replication > 0 { create.replication } else { brokers.clamp(1, REPLICAS) };
    let mut settings: BTreeMap<String, String> = BTreeMap::new();
    settings.insert("min.insync.replicas".to_owned(), (replication - 1).clamp(1, 2).to_string());
    settings.insert("max.message.bytes".to_owned(), MESSAGE_BYTES.to_string());
    match purpose {
        Purpose::Progress => {
            settings.insert("cleanup.policy".to_owned(), "compact".to_owned());
        }
        Purpose::Records | Purpose::DeadLetters => {
            settings.insert("cleanup.policy".to_owned(), "delete".to_owned());
            settings.extend(create.settings.0.clone());
        }
    }
    Wanted { name: name.to_owned(), purpose, partitions: create.partitions, replication, settings }
}

/// The topics that `config` would create on a cluster of as many brokers as it could want, and how they would be then.
pub(crate) fn as_created(config: &KafkaConfig) -> (Vec<Wanted>, Survey) {
    let brokers = config.create.replication.max(REPLICAS);
    let mut wanted = written_by_relay(config, brokers);
    wanted.extend(written_by_sink(config, brokers));
    let topics = wanted.iter().map(|wanted| {
        let Wanted { partitions, replication, settings, .. } = wanted.clone();
        (wanted.name.clone(), Found { partitions, replication, settings: Some(settings) })
    });
    let topics = topics.collect();
    (wanted, Survey { brokers, topics, hidden: BTreeSet::new() })
}

/// What is to be said of topics that are there.
pub fn judge(wanted: &[Wanted], survey: &Survey) -> Vec<Finding> {
    let mut findings = Vec::new();
    for wanted in wanted {
        if let Some(found) = survey.topics.get(&wanted.name) {
            judge_one(wanted, found, &mut |weight, said| {
                findings.push(Finding { weight, topic: wanted.name.clone(), said });
            });
        }
    }
    findings
}

fn judge_one(wanted: &Wanted, found: &Found, tell: &mut impl FnMut(Weight, String)) {
    if found.partitions != wanted.partitions {
        let said =
            format!("has {} partitions where kafka.create.partitions is {}", found.partitions, wanted.partitions);
        tell(Weight::Differs, said);
    }
    if found.replication < REPLICAS {
        tell(
            Weight::Weakens,
            format!(
                "has {} of each partition: what Kafka acknowledged may be lost with one disk; give it {REPLICAS}",
                if found.replication == 1 { "1 replica".to_owned() } else { format!("{} replicas", found.replication) }
            ),
        );
    }
    let Some(settings) = &found.settings else {
        tell(
            Weight::Differs,
            "does not show its settings to this user: allow DescribeConfigs on it to have them checked".into(),
        );
        return;
    };
    let number = |name: &str| settings.get(name).and_then(|value| value.parse::<i64>().ok());
    let text = |name: &str| settings.get(name).map_or("", String::as_str);
    if found.replication >= REPLICAS && number("min.insync.replicas").is_some_and(|least| least < 2) {
        tell(
            Weight::Weakens,
            "has min.insync.replicas 1: what one broker alone acknowledged may be lost with it; set 2".into(),
        );
    }
    match (text("min.insync.replicas"), number("min.insync.replicas")) {
        ("", _) => {}
        (_, Some(least)) if least <= i64::from(found.replication) => {}
        (least, _) => {
            let replicas = found.replication;
            tell(
                Weight::Forbids,
                format!(
                    "has min.insync.replicas {least} and {replicas} of each partition: it takes no record; set 2, or fewer than replicas"
                ),
            );
        }
    }
    if text("unclean.leader.election.enable") == "true" {
        tell(
            Weight::Weakens,
            "has unclean.leader.election.enable: a replica that lags may become leader and acknowledged records be lost; set false".into(),
        );
    }
    if number("max.message.bytes").is_some_and(|most| most < MESSAGE_BYTES as i64) {
        let most = text("max.message.bytes");
        let said = format!(
            "takes messages of {most} bytes, and a record may have {MESSAGE_BYTES}: set max.message.bytes to {MESSAGE_BYTES}"
        );
        tell(Weight::Forbids, said);
    }
    let policies: Vec<_> = text("cleanup.policy").split(',').map(str::trim).collect();
    match wanted.purpose {
        Purpose::Progress if policies.contains(&"delete") => tell(
            Weight::Forbids,
            "has cleanup.policy delete: how far agents were read would be forgotten and records stored twice; set compact".into(),
        ),
        Purpose::Records | Purpose::DeadLetters if policies.contains(&"compact") => tell(
            Weight::Forbids,
            "has cleanup.policy compact: all but the last record of a device would be deleted; set delete".into(),
        ),
        _ => {}
    }
    if wanted.purpose != Purpose::Progress && text("message.timestamp.type") == "LogAppendTime" {
        tell(Weight::Differs, "has message.timestamp.type LogAppendTime: a record's time is the broker's".into());
    }
    for (name, value) in &wanted.settings {
        let judged = ["min.insync.replicas", "max.message.bytes", "cleanup.policy"].contains(&name.as_str());
        if let (false, Some(found)) = (judged, settings.get(name))
            && found != value
        {
            tell(Weight::Differs, format!("has {name} {found} where kafka.create.settings has {value}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(change: impl FnOnce(&mut BTreeMap<String, String>)) -> Found {
        let mut settings = BTreeMap::from(
            [
                ("min.insync.replicas", "2"),
                ("max.message.bytes", "8388608"),
                ("cleanup.policy", "delete"),
                ("unclean.leader.election.enable", "false"),
                ("message.timestamp.type", "CreateTime"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        change(&mut settings);
        Found { partitions: 6, replication: 3, settings: Some(settings) }
    }

    fn said_of(purpose: Purpose, found: Found) -> Vec<(Weight, String)> {
        let wanted = wanted(&KafkaConfig::default(), 3, "t", purpose);
        let survey = Survey { brokers: 3, topics: [("t".to_owned(), found)].into(), ..Survey::default() };
        judge(&[wanted], &survey).into_iter().map(|finding| (finding.weight, finding.to_string())).collect()
    }

    fn set(name: &'static str, value: &'static str) -> impl FnOnce(&mut BTreeMap<String, String>) {
        move |settings| drop(settings.insert(name.to_owned(), value.to_owned()))
    }

    #[test]
    fn a_topic_as_it_should_be_is_not_told_of() {
        assert_eq!(said_of(Purpose::Records, found(|_| {})), []);
        assert_eq!(said_of(Purpose::Progress, found(set("cleanup.policy", "compact"))), []);
        assert!(judge(&written_by_relay(&KafkaConfig::default(), 1), &Survey::default()).is_empty());
    }

    #[test]
    fn what_weakens_or_forbids_the_law_is_said() {
        for (purpose, found, weight, says) in [
            (
                Purpose::Records,
                Found { replication: 1, ..found(set("min.insync.replicas", "1")) },
                Weight::Weakens,
                "1 replica of",
            ),
            (Purpose::Records, found(set("min.insync.replicas", "1")), Weight::Weakens, "min.insync.replicas"),
            (Purpose::Records, found(set("unclean.leader.election.enable", "true")), Weight::Weakens, "unclean"),
            (Purpose::Records, found(set("max.message.bytes", "1048588")), Weight::Forbids, "1048588"),
            (Purpose::Records, found(set("min.insync.replicas", "4")), Weight::Forbids, "min.insync.replicas 4"),
            (Purpose::Records, found(set("cleanup.policy", "compact")), Weight::Forbids, "compact"),
            (Purpose::Progress, found(set("cleanup.policy", "compact,delete")), Weight::Forbids, "delete"),
            (Purpose::Records, found(set("message.timestamp.type", "LogAppendTime")), Weight::Differs, "broker's"),
            (Purpose::Records, Found { partitions: 3, ..found(|_| {}) }, Weight::Differs, "3 partitions"),
            (Purpose::Records, Found { settings: None, ..found(|_| {}) }, Weight::Differs, "DescribeConfigs"),
        ] {
            let said = said_of(purpose, found);
            assert_eq!(said.len(), 1, "{said:?}");
            assert!(said[0].0 == weight && said[0].1.contains(says), "{said:?}");
        }
    }

    #[test]
    fn replicas_are_as_many_as_brokers_up_to_three() {
        let mut config = KafkaConfig::default();
        let replicas = |config: &KafkaConfig, brokers| {
            let wanted = &written_by_relay(config, brokers)[0];
            (wanted.replication, wanted.settings["min.insync.replicas"].clone())
        };
        assert_eq!(replicas(&config, 1), (1, "1".to_owned()));
        assert_eq!(replicas(&config, 2), (2, "1".to_owned()));
        assert_eq!(replicas(&config, 5), (3, "2".to_owned()));
        config.create.replication = 4;
        assert_eq!(replicas(&config, 5), (4, "2".to_owned()));
        config.create.settings.0.insert("retention.ms".to_owned(), "1".to_owned());
        let wanted = written_by_relay(&config, 3);
        assert!(wanted[0].settings.contains_key("retention.ms") && !wanted[3].settings.contains_key("retention.ms"));
    }
}
