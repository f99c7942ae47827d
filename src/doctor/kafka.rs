//! The Kafka that this machine's services use, and how far its warehouses have read from it.

use gaitway_kafka::KafkaConfig;
use gaitway_kafka::checkup::{self, Seen, Users};
use gaitway_kafka::topics::Survey;
use gaitway_proto::schema::{TABLES, Table};
use gaitway_service::checkup::Checkup;
use gaitway_sink::{Marks, snowflake};

/// A Kafka, and who uses it.
#[derive(Debug)]
pub(super) struct Brokers {
    pub(super) config: KafkaConfig,
    pub(super) relay: bool,
    pub(super) group: Option<String>,
}

/// Whose offsets, in which Kafka, a warehouse's marks can be held against.
#[derive(Debug)]
pub(super) struct Fed {
    pub(super) kafka: KafkaConfig,
    pub(super) group: String,
    pub(super) adopt: bool,
}

/// Looks at each; gives what is there.
pub(super) fn look<'a>(brokers: &'a [Brokers], checkup: &mut Checkup) -> Vec<(&'a Brokers, Seen)> {
    checkup.begin("kafka");
    let mut seen = Vec::new();
    for brokers in brokers {
        let users = Users { relay: brokers.relay, group: brokers.group.as_deref() };
        if let Some(found) = checkup::examine(&brokers.config, users, checkup) {
            seen.push((brokers, found));
        }
    }
    seen
}

/// What Snowflake's tables are fed from.
pub(super) fn feeds<'a>(seen: &'a [(&'a Brokers, Seen)]) -> Vec<snowflake::Feed<'a>> {
    let of = |(Brokers { config, .. }, found): &'a (&'a Brokers, Seen)| {
        TABLES.iter().map(|table| feed(table, config.topics.of(table), &found.survey))
    };
    seen.iter().flat_map(of).collect()
}

fn feed<'a>(table: &'static Table, topic: &'a str, survey: &Survey) -> snowflake::Feed<'a> {
    let partitions = survey.topics.get(topic).map_or(0, |found| found.partitions);
    snowflake::Feed { table, topic, partitions }
}

/// Holds a warehouse's marks against the partitions that its sink reads.
pub(super) fn hold_against(fed: &Fed, seen: &[(&Brokers, Seen)], marks: &Marks, checkup: &mut Checkup) {
    let own = |brokers: &Brokers| brokers.config == fed.kafka && brokers.group.as_ref() == Some(&fed.group);
    let Some((_, Seen { partitions, .. })) = seen.iter().find(|(brokers, _)| own(brokers)) else { return };
    if partitions.is_empty() {
        return;
    }
    match checkup::ends(&fed.kafka, partitions) {
        Ok(ends) => gaitway_sink::checkup::judge(partitions.iter().zip(ends), marks, fed.adopt, checkup),
        Err(said) => checkup.warn("stored so far", said),
    }
}
