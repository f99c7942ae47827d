//! What `gaitway forget` does not reach, in sentences: where it is and when it goes.

use std::path::Path;
use std::time::Duration;

use gaitway_kafka::KafkaConfig;
use gaitway_kafka::topics;
use gaitway_proto::schema;
use gaitway_service::config::duration;

use crate::places::Places;
use crate::warehouse::Warehouse;

const CLIENT: &str = "gaitway-forget";

/// The sentences. `phones`: those that push as the device.
pub(super) fn said(places: &Places, phones: &[String]) -> Vec<String> {
    let mut said = places.kafka.as_ref().map(of_kafka).unwrap_or_default();
    match &places.warehouse {
        Warehouse::Postgres(_) => said.push(
            "PostgreSQL: it overwrites deleted rows after VACUUM, which comes by itself; its log archive, replicas and dumps \
             keep them as long as these are kept"
                .to_owned(),
        ),
        Warehouse::Snowflake(_) => said.push(
            "Snowflake: Time Travel keeps deleted rows for DATA_RETENTION_TIME_IN_DAYS of each table (1 day as gaitway makes \
             them), then Fail-safe for 7 days"
                .to_owned(),
        ),
        Warehouse::File(_) => {}
    }
    said.push("agents on other machines: run this there; what they have not sent yet comes after it".to_owned());
    said.push("backups, copies, and what a disk keeps of blocks that it has let go of".to_owned());
    said.push("the phone's own recordings: delete them in its app".to_owned());
    said.extend(phones.iter().map(|phone| {
        format!(
            "phone {phone:?}: unless it was revoked it stays on the list, as before its first push, and fills everything again \
             if it still pushes"
        )
    }));
    if phones.is_empty() {
        said.push(
            "a phone that still pushes fills everything again: gaitway agent phone revoke NAME, or stop its app"
                .to_owned(),
        );
    }
    said
}

/// What is to be done, and in which order, so that the `phones` that push as the device do not bring it back.
pub(super) fn order(places: &Places, phones: &[String]) -> Vec<String> {
    let agent = places.spool.parent().unwrap_or(Path::new("")).display();
    let revoke = |phone: &String| format!("  gaitway agent phone revoke {phone:?} --data-dir {agent}");
    let mut order: Vec<String> = phones.iter().map(revoke).collect();
    if !order.is_empty() {
        let first = "The device is a phone on the list, which fills everything again while it pushes. So first revoke it, then \
                     stop gaitway, run this, and start gaitway again:";
        order.insert(0, first.to_owned());
        order.push(String::new());
    }
    order
}

fn of_kafka(config: &KafkaConfig) -> Vec<String> {
    let all = |config: &KafkaConfig, brokers| {
        let mut wanted = topics::written_by_relay(config, brokers);
        wanted.extend(topics::written_by_sink(config, brokers));
        wanted
    };
    let survey = topics::look(config, CLIENT, all);
    let kept = |topic: &str| match &survey {
        Err(_) => "its brokers cannot be asked how long".to_owned(),
        Ok((_, survey)) => {
            let settings = survey.topics.get(topic).and_then(|found| found.settings.as_ref());
            kept(settings.and_then(|settings| settings.get("retention.ms")).map(String::as_str))
        }
    };
    let topics = [&schema::RAW, &schema::ACTIVITY].map(|table| config.topics.of(table));
    let named = topics.map(|topic| format!("{topic} ({})", kept(topic))).join(", ");
    let dead = &config.topics.dead_letter;
    vec![
        format!(
            "Kafka {}: {named} keep its records, the id as their key, until their retention ends; what a sink brings from \
             there after this is deleted by running this again",
            config.brokers
        ),
        format!("dead letters: {dead} ({}) has what could not be stored, whoever sent it", kept(dead)),
    ]
}

fn kept(retention: Option<&str>) -> String {
    match retention.and_then(|text| text.parse::<i64>().ok()) {
        None => "its brokers do not say how long".to_owned(),
        Some(..0) => "for ever".to_owned(),
        Some(ms) => duration::shown(Duration::from_millis(ms.unsigned_abs())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retention_is_said_as_people_say_it() {
        assert_eq!(kept(Some("604800000")), "7d");
        assert_eq!(kept(Some("-1")), "for ever");
        assert_eq!(kept(None), "its brokers do not say how long");
    }
}
