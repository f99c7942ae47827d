//! Asking the brokers, and creating topics.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;

use super::{Finding, Found, Survey, Wanted, judge};
use crate::KafkaConfig;
use crate::client::{self, Context, Trouble};
use crate::progress::ASK;

/// How long a new topic may take to be known.
const APPEARS: Duration = Duration::from_secs(20);

/// Creates those of `wanted` (made from the number of brokers) that are missing, if that is allowed, and says what is
/// to be said of all of them, unless they are not to be inspected. The error is a sentence.
pub fn ensure(
    config: &KafkaConfig,
    client_id: &str,
    wanted: impl Fn(&KafkaConfig, i32) -> Vec<Wanted>,
) -> Result<(Vec<Wanted>, Vec<Finding>), String> {
    let desk = Desk::new(config, client_id)?;
    let (brokers, known) = desk.topics()?;
    let wanted = wanted(config, brokers);
    let missing: Vec<Wanted> = wanted.iter().filter(|topic| !known.contains_key(&topic.name)).cloned().collect();
    if !missing.is_empty() {
        if !config.create.enabled {
            let names: Vec<_> = missing.iter().map(|topic| topic.name.as_str()).collect();
            return Err(format!(
                "Kafka {} lacks the topics {}: create them, or set kafka.create.enabled",
                config.brokers,
                names.join(", ")
            ));
        }
        desk.create(&missing)?;
        desk.appear(&missing)?;
    }
    if !config.inspect {
        return Ok((missing, Vec::new()));
    }
    let survey = desk.survey(&wanted)?;
    Ok((missing, judge(&wanted, &survey)))
}

/// What must be there (made from the number of brokers), and how it is, or is not, there. Changes nothing; the error is a
/// sentence.
pub fn look(
    config: &KafkaConfig,
    client_id: &str,
    wanted: impl Fn(&KafkaConfig, i32) -> Vec<Wanted>,
) -> Result<(Vec<Wanted>, Survey), String> {
    let desk = Desk::new(config, client_id)?;
    let (brokers, _) = desk.topics()?;
    let wanted = wanted(config, brokers);
    let survey = desk.survey(&wanted)?;
    Ok((wanted, survey))
}

struct Desk<'a> {
    config: &'a KafkaConfig,
    client: AdminClient<Context>,
    trouble: Trouble,
}

impl<'a> Desk<'a> {
    fn new(config: &'a KafkaConfig, client_id: &str) -> Result<Self, String> {
        let context = Context::default();
        let trouble = context.trouble.clone();
        let client = client::base(config, client_id)
            .create_with_context(context)
            .map_err(|error| client::sentence(config, "make a client", &error, &trouble))?;
        Ok(Self { config, client, trouble })
    }

    /// How many brokers there are; partitions and replicas by topic.
    fn topics(&self) -> Result<(i32, BTreeMap<String, Found>), String> {
        let metadata = self
            .client
            .inner()
            .fetch_metadata(None, ASK)
            .map_err(|error| client::sentence(self.config, "list topics", &error, &self.trouble))?;
        let found = metadata.topics().iter().filter(|topic| topic.error().is_none()).map(|topic| {
            let replication = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
            let found =
                Found { partitions: topic.partitions().len() as i32, replication: replication as i32, settings: None };
            (topic.name().to_owned(), found)
        });
        Ok((metadata.brokers().len() as i32, found.collect()))
    }

    fn survey(&self, wanted: &[Wanted]) -> Result<Survey, String> {
        let (brokers, mut topics) = self.topics()?;
        topics.retain(|name, _| wanted.iter().any(|wanted| wanted.name == *name));
        let names: Vec<_> = topics.keys().cloned().collect();
        let asked: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        if asked.is_empty() {
            return Ok(Survey { brokers, topics });
        }
        let options = AdminOptions::new().request_timeout(Some(ASK));
        let doing = "look at the topics' settings (kafka.inspect = false does without)";
        let described = block_on(self.client.describe_configs(&asked, &options))
            .map_err(|error| client::sentence(self.config, doing, &error, &self.trouble))?;
        for (name, resource) in names.iter().zip(described) {
            // Who may not see them is told so by the judgement.
            if let (Some(found), Ok(resource)) = (topics.get_mut(name), resource) {
                let settings = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
                found.settings = Some(settings.collect());
            }
        }
        Ok(Survey { brokers, topics })
    }

    fn create(&self, missing: &[Wanted]) -> Result<(), String> {
        let topics: Vec<_> = missing
            .iter()
            .map(|topic| {
                let new = NewTopic::new(&topic.name, topic.partitions, TopicReplication::Fixed(topic.replication));
                topic.settings.iter().fold(new, |new, (name, value)| new.set(name, value))
            })
            .collect();
        let options = AdminOptions::new().request_timeout(Some(ASK)).operation_timeout(Some(ASK));
        let created = block_on(self.client.create_topics(&topics, &options))
            .map_err(|error| client::sentence(self.config, "create topics", &error, &self.trouble))?;
        for outcome in created {
            match outcome {
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((name, code)) => {
                    return Err(format!(
                        "cannot create the topic {name} at Kafka {}: {code}; create it, or change kafka.create",
                        self.config.brokers
                    ));
                }
            }
        }
        Ok(())
    }

    fn appear(&self, topics: &[Wanted]) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let (_, known) = self.topics()?;
            let Some(absent) =
                topics.iter().find(|topic| known.get(&topic.name).is_none_or(|found| found.partitions == 0))
            else {
                return Ok(());
            };
            if begun.elapsed() > APPEARS {
                return Err(format!(
                    "the topic {} was created and is not known after {} s",
                    absent.name,
                    APPEARS.as_secs()
                ));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
