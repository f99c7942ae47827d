//! What of Kafka is not as relay and sink need it, for `gaitway doctor`.
//!
//! - Nothing is created, and nobody is fenced: no transaction is begun, no group joined.
//! - [`judge`](crate::topics::judge) says what a topic lacks; here it is asked for all of them, missing ones included.

use std::time::Duration;

use gaitway_service::checkup::{Checkup, Grade};
use gaitway_service::clock;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use tokio_util::sync::CancellationToken;

use crate::KafkaConfig;
use crate::client::{self, Context, Trouble};
use crate::progress::{self, ASK};
use crate::rights::{self, Right};
use crate::topics::{self, Found, Purpose, Survey, Wanted, Weight};

/// The client's name at the brokers.
const CLIENT: &str = "gaitway-doctor";

/// A relay commits a mark with every batch, so that silence this long means that no agent has sent anything.
const SILENT: Duration = Duration::from_secs(3600);

/// Whose Kafka it is: what is looked at follows from it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Users<'a> {
    /// A relay commits to it.
    pub relay: bool,
    /// A sink of this group reads from it.
    pub group: Option<&'a str>,
}

/// What is there.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The topics.
    pub survey: Survey,
    /// The partitions that a sink of the group reads; none if that could not be asked, or there is no group.
    pub partitions: Vec<Partition>,
}

/// A partition of a topic of records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub number: i32,
    /// The group's offset, with the metadata beside it; none if it has none.
    pub group: Option<(i64, String)>,
}

/// Looks at brokers and topics, at who owns them, and at how far they were read. Blocks. Gives what is there, if that could
/// be asked.
pub fn examine(config: &KafkaConfig, users: Users<'_>, checkup: &mut Checkup) -> Option<Seen> {
    let kafka = format!("Kafka {}", config.brokers);
    let all = |config: &KafkaConfig, brokers| {
        let mut wanted = topics::written_by_relay(config, brokers);
        wanted.retain(|topic| users.relay || topic.purpose != Purpose::Progress);
        if users.group.is_some() {
            wanted.extend(topics::written_by_sink(config, brokers));
        }
        wanted
    };
    let (wanted, survey) = match topics::look(config, CLIENT, all) {
        Ok(found) => found,
        Err(said) => {
            checkup.fail(kafka, format!("{said}: check that it runs, kafka.brokers and kafka.properties"));
            return None;
        }
    };
    let brokers = survey.brokers;
    checkup.ok(kafka, format!("{brokers} broker{} answer{}", plural(brokers), if brokers == 1 { "s" } else { "" }));
    of_topics(config, users, &wanted, &survey, checkup);
    if users.relay && survey.topics.contains_key(&config.topics.progress) {
        of_progress(config, checkup);
    }
    let partitions = users.group.map_or_else(Vec::new, |group| of_sinks(config, group, &survey, checkup));
    Some(Seen { survey, partitions })
}

/// First offset and end of each of `partitions`, for those who read what is committed. Blocks. Asked for after marks were read
/// they are not before them. The error is a sentence.
pub fn ends(config: &KafkaConfig, partitions: &[Partition]) -> Result<Vec<(i64, i64)>, String> {
    let context = Context::default();
    let trouble = context.trouble.clone();
    let consumer = consumer(config, CLIENT, context);
    let found = consumer.and_then(|consumer| {
        let ends = partitions.iter().map(|Partition { topic, number, .. }| {
            progress::watermarks(&consumer, topic, *number, &CancellationToken::new())
        });
        ends.collect()
    });
    found.map_err(|error| client::sentence(config, "find the ends of the topics", &error, &trouble))
}

fn consumer(config: &KafkaConfig, group: &str, context: Context) -> Result<BaseConsumer<Context>, KafkaError> {
    client::reader(config, CLIENT)?.set("group.id", group).create_with_context(context)
}

fn of_topics(config: &KafkaConfig, users: Users<'_>, wanted: &[Wanted], survey: &Survey, checkup: &mut Checkup) {
    let findings = topics::judge(wanted, survey);
    for topic in wanted {
        let subject = format!("topic {}", topic.name);
        let Some(found) = survey.topics.get(&topic.name) else {
            if survey.hidden.contains(&topic.name) {
                checkup.fail(subject, hidden(config, users, topic));
            } else {
                let (grade, said) = absent(config, topic);
                checkup.add(grade, subject, said);
            }
            continue;
        };
        let mut said = findings.iter().filter(|finding| finding.topic == topic.name).peekable();
        if said.peek().is_none() {
            checkup.ok(&subject, size(found));
        }
        for finding in said {
            let grade = if finding.weight == Weight::Forbids { Grade::Fail } else { Grade::Warn };
            checkup.add(grade, &subject, &finding.said);
        }
    }
}

fn absent(config: &KafkaConfig, topic: &Wanted) -> (Grade, String) {
    let Wanted { name, purpose, partitions, replication, settings } = topic;
    if config.create.enabled {
        let who = if *purpose == Purpose::DeadLetters { "sink" } else { "relay" };
        return (Grade::Warn, format!("is not there yet: gaitway {who} creates it when it starts"));
    }
    let settings: Vec<_> = settings.iter().map(|(name, value)| format!(" --config {name}={value}")).collect();
    let said = format!(
        "is not there, and kafka.create.enabled is false: kafka-topics.sh --create --topic {name} --partitions \
         {partitions} --replication-factor {replication}{}",
        settings.concat()
    );
    (Grade::Fail, said)
}

/// Each right implies that of seeing it (`deploy/kafka` lists what relay and sink need).
fn hidden(config: &KafkaConfig, users: Users<'_>, topic: &Wanted) -> String {
    let writes = users.relay || topic.purpose == Purpose::DeadLetters;
    let right = if writes { Right::Write(&topic.name) } else { Right::Read(&topic.name) };
    format!("cannot be seen: {}", rights::lacks(config, right))
}

fn size(found: &Found) -> String {
    let (partitions, replicas) = (found.partitions, found.replication);
    format!("{partitions} partition{}, {replicas} replica{}", plural(partitions), plural(replicas))
}

fn plural(count: i32) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn of_progress(config: &KafkaConfig, checkup: &mut Checkup) {
    let subject = format!("relay of {}", config.topics.progress);
    let progress = match progress::read(config, CLIENT, &CancellationToken::new()) {
        Ok(progress) => progress,
        Err(said) => return checkup.fail(subject, format!("{said}: the user needs READ on it")),
    };
    let Some(owner) = &progress.owner else {
        return checkup.warn(subject, "none has begun here yet: start gaitway relay");
    };
    let mut agents: Vec<&str> = progress.positions.keys().filter_map(|source| source.split('/').next()).collect();
    agents.sort_unstable();
    agents.dedup();
    let last = progress.positions.values().map(|kept| kept.at).max();
    let ago = last.map(|at| (clock::now_micros() / 1_000).saturating_sub(at).max(0) / 1_000);
    let heard = match ago {
        Some(seconds) => format!("last commit {seconds} s ago"),
        None => "nothing committed yet".to_owned(),
    };
    let s = if agents.len() == 1 { "" } else { "s" };
    let said = format!("last begun by {owner}; {} agent{s}, {heard}", agents.len());
    match ago {
        Some(seconds) if seconds > SILENT.as_secs() as i64 => {
            checkup.warn(subject, format!("{said}: see who is away with gaitway relay agents"));
        }
        _ => checkup.ok(subject, said),
    }
}

fn of_sinks(config: &KafkaConfig, group: &str, survey: &Survey, checkup: &mut Checkup) -> Vec<Partition> {
    let subject = format!("sinks of group {group}");
    let context = Context::default();
    let trouble = context.trouble.clone();
    let consumer = consumer(config, group, context);
    let partitions = match consumer.and_then(|consumer| ask_group(config, &consumer, group, survey)) {
        Err(error) => {
            let said = client::sentence(config, "look at the group", &error, &trouble);
            checkup.warn(subject, format!("{said}: the user needs DESCRIBE and READ on it"));
            Vec::new()
        }
        Ok(Group { members, behind, partitions }) => {
            let s = if members == 1 { "" } else { "s" };
            let behind =
                behind.map_or_else(|| "nothing stored yet".to_owned(), |n| format!("{n} offsets behind the end"));
            match members {
                0 => checkup.warn(subject, "none is running: start gaitway sink"),
                _ => checkup.ok(subject, format!("{members} member{s}, {behind}")),
            }
            partitions
        }
    };
    letters(config, survey, &trouble, checkup);
    partitions
}

struct Group {
    members: usize,
    /// Offsets between what the group was told is stored and the ends of the topics; none if it was told nothing.
    behind: Option<i64>,
    partitions: Vec<Partition>,
}

fn ask_group(
    config: &KafkaConfig,
    consumer: &BaseConsumer<Context>,
    group: &str,
    survey: &Survey,
) -> Result<Group, KafkaError> {
    let list = consumer.fetch_group_list(Some(group), ASK)?;
    let members = list.groups().iter().map(|group| group.members().len()).sum();
    let mut asked = TopicPartitionList::new();
    for name in [&config.topics.raw, &config.topics.activity, &config.topics.gaps] {
        let partitions = survey.topics.get(name).map_or(0, |found| found.partitions);
        for partition in 0..partitions {
            asked.add_partition(name, partition);
        }
    }
    let (mut behind, mut partitions) = (None, Vec::new());
    for told in consumer.committed_offsets(asked, ASK)?.elements() {
        told.error()?;
        let (topic, number) = (told.topic().to_owned(), told.partition());
        let group = match told.offset() {
            Offset::Offset(stored) => {
                let (_, end) = progress::watermarks(consumer, &topic, number, &CancellationToken::new())?;
                *behind.get_or_insert(0) += (end - stored).max(0);
                Some((stored, told.metadata().to_owned()))
            }
            _ => None,
        };
        partitions.push(Partition { topic, number, group });
    }
    Ok(Group { members, behind, partitions })
}

fn letters(config: &KafkaConfig, survey: &Survey, trouble: &Trouble, checkup: &mut Checkup) {
    let topic = &config.topics.dead_letter;
    let Some(found) = survey.topics.get(topic) else { return };
    let consumer = consumer(config, CLIENT, Context { trouble: trouble.clone() });
    let kept = consumer.and_then(|consumer| {
        (0..found.partitions).try_fold(0, |kept, partition| {
            progress::watermarks(&consumer, topic, partition, &CancellationToken::new())
                .map(|(low, end)| kept + (end - low))
        })
    });
    match kept {
        Ok(0) => {}
        Ok(kept) => checkup.warn(
            format!("topic {topic}"),
            format!(
                "keeps {kept} record{} that could not be stored: each one's headers say why",
                plural(kept.try_into().unwrap_or(2))
            ),
        ),
        Err(error) => {
            let said = client::sentence(config, "look at the dead letters", &error, trouble);
            checkup.warn(format!("topic {topic}"), said);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RELAY: Users<'static> = Users { relay: true, group: None };

    #[test]
    fn a_topic_that_this_user_may_not_see_is_not_missing() {
        let config = KafkaConfig::default();
        let wanted = topics::written_by_relay(&config, 1);
        let hidden = wanted.iter().map(|topic| topic.name.clone()).collect();
        let survey = Survey { brokers: 1, hidden, ..Survey::default() };
        for (users, right) in [
            (RELAY, "--operation Write --topic gaitway_gaps"),
            (Users { relay: false, group: Some("g") }, "--operation Read --topic gaitway_gaps"),
        ] {
            let mut checkup = Checkup::new();
            of_topics(&config, users, &wanted, &survey, &mut checkup);
            assert_eq!(checkup.count(Grade::Fail), 4, "{checkup}");
            assert!(checkup.to_string().contains(right), "{checkup}");
        }
    }

    #[test]
    fn a_missing_topic_is_somebodys_task() {
        let mut config = KafkaConfig::default();
        let wanted = topics::written_by_relay(&config, 1);
        let survey = Survey { brokers: 1, ..Survey::default() };
        let mut checkup = Checkup::new();
        of_topics(&config, RELAY, &wanted, &survey, &mut checkup);
        assert_eq!(checkup.count(Grade::Warn), 4, "{checkup}");
        assert!(checkup.to_string().contains("gaitway relay creates it"), "{checkup}");
        config.create.enabled = false;
        let mut checkup = Checkup::new();
        of_topics(&config, RELAY, &wanted, &survey, &mut checkup);
        assert_eq!(checkup.count(Grade::Fail), 4, "{checkup}");
        assert!(
            checkup.to_string().contains(
                "--topic gaitway_progress --partitions 6 --replication-factor 1 --config cleanup.policy=compact"
            ),
            "{checkup}"
        );
    }

    #[test]
    fn what_forbids_the_law_fails_and_what_weakens_it_warns() {
        let config = KafkaConfig::default();
        let wanted = topics::written_by_relay(&config, 3);
        let whole = |topic: &Wanted| Found {
            partitions: topic.partitions,
            replication: 3,
            settings: Some(topic.settings.clone()),
        };
        let mut survey = Survey {
            brokers: 3,
            topics: wanted.iter().map(|topic| (topic.name.clone(), whole(topic))).collect(),
            ..Survey::default()
        };
        let graded = |survey: &Survey| {
            let mut checkup = Checkup::new();
            of_topics(&config, RELAY, &wanted, survey, &mut checkup);
            (checkup.count(Grade::Ok), checkup.count(Grade::Warn), checkup.count(Grade::Fail))
        };
        assert_eq!(graded(&survey), (4, 0, 0));
        survey.topics.get_mut("raw_sensor_data").unwrap().replication = 1;
        let progress = survey.topics.get_mut("gaitway_progress").unwrap();
        progress.settings.as_mut().unwrap().insert("cleanup.policy".to_owned(), "delete".to_owned());
        let raw = survey.topics.get_mut("raw_sensor_data").unwrap();
        raw.settings.as_mut().unwrap().insert("min.insync.replicas".to_owned(), "1".to_owned());
        assert_eq!(graded(&survey), (2, 1, 1));
    }
}
