//! Asking the brokers, and creating topics.
//!
//! - Nobody serves an admin client's events, so what it has to say of brokers that it cannot reach is lost. What is there is therefore asked
//!   by a client that is served, and asked first.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use futures_executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::metadata::{Metadata, MetadataTopic};
use rdkafka::producer::{BaseProducer, Producer as _};
use tokio_util::sync::CancellationToken;

use super::{Finding, Found, Survey, Wanted, judge};
use crate::KafkaConfig;
use crate::client::{self, Context, Trouble};
use crate::progress::{ASK, STOPPED};
use crate::rights::{self, Right};

/// How long it is listened for what a client has to say of a question that failed: it waits already.
const HEARING: Duration = Duration::from_millis(10);

/// How long a new topic may take to be known.
const APPEARS: Duration = Duration::from_secs(20);

/// Creates those of `wanted` (made from the number of brokers) that are missing, if that is allowed, and says what is
/// to be said of all of them, unless they are not to be inspected. Asks nothing more once it is to stop. The error is a sentence.
pub fn ensure(
    config: &KafkaConfig,
    client_id: &str,
    wanted: impl Fn(&KafkaConfig, i32) -> Vec<Wanted>,
    stop: &CancellationToken,
) -> Result<(Vec<Wanted>, Vec<Finding>), String> {
    let desk = Desk::new(config, client_id)?;
    let (brokers, known) = desk.topics()?;
    let wanted = wanted(config, brokers);
    let missing: Vec<Wanted> = wanted.iter().filter(|topic| !known.contains_key(&topic.name)).cloned().collect();
    if !missing.is_empty() {
        desk.unless_hidden(&missing)?;
        if !config.create.enabled {
            let names: Vec<_> = missing.iter().map(|topic| topic.name.as_str()).collect();
            return Err(format!(
                "Kafka {} lacks the topics {}: create them, or set kafka.create.enabled",
                config.brokers,
                names.join(", ")
            ));
        }
        unless_stopped(stop)?;
        desk.create(&missing)?;
        desk.appear(&missing, stop)?;
    }
    if !config.inspect {
        return Ok((missing, Vec::new()));
    }
    unless_stopped(stop)?;
    let survey = desk.survey(&wanted)?;
    Ok((missing, judge(&wanted, &survey)))
}

fn unless_stopped(stop: &CancellationToken) -> Result<(), String> {
    if stop.is_cancelled() { Err(STOPPED.to_owned()) } else { Ok(()) }
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
    asker: BaseProducer<Context>,
    trouble: Trouble,
}

impl<'a> Desk<'a> {
    fn new(config: &'a KafkaConfig, client_id: &str) -> Result<Self, String> {
        let context = Context::default();
        let trouble = context.trouble.clone();
        let made = client::base(config, client_id).and_then(|mut settings| {
            let client = settings.create_with_context(context.clone())?;
            // Brokers close on who speaks otherwise than they do.
            Ok((client, settings.set("log.connection.close", "true").create_with_context(context)?))
        });
        let (client, asker) = made.map_err(|error| client::sentence(config, "make a client", &error, &trouble))?;
        Ok(Self { config, client, asker, trouble })
    }

    /// Asks for this topic, or for all.
    fn ask(&self, topic: Option<&str>) -> Result<Metadata, String> {
        self.asker.client().fetch_metadata(topic, ASK).map_err(|error| {
            self.asker.poll(HEARING);
            client::sentence(self.config, "list topics", &error, &self.trouble)
        })
    }

    /// How many brokers there are; partitions and replicas by topic.
    fn topics(&self) -> Result<(i32, BTreeMap<String, Found>), String> {
        let metadata = self.ask(None)?;
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
        let mut hidden = BTreeSet::new();
        for topic in wanted.iter().filter(|topic| !topics.contains_key(&topic.name)) {
            if self.is_hidden(topic)? {
                hidden.insert(topic.name.clone());
            }
        }
        let names: Vec<_> = topics.keys().cloned().collect();
        let asked: Vec<_> = names.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
        if asked.is_empty() {
            return Ok(Survey { brokers, topics, hidden });
        }
        let options = AdminOptions::new().request_timeout(Some(ASK));
        let doing = "look at the topics' settings (kafka.inspect = false does without)";
        let described = block_on(self.client.describe_configs(&asked, &options))
            .map_err(|error| client::sentence(self.config, doing, &error, &self.trouble))?;
        for (name, resource) in names.iter().zip(described) {
            // Who may not see them is told so by the judgement; of a refusal the client makes an answer without any.
            if let (Some(found), Ok(resource)) = (topics.get_mut(name), resource)
                && !resource.entries.is_empty()
            {
                let settings = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
                found.settings = Some(settings.collect());
            }
        }
        Ok(Survey { brokers, topics, hidden })
    }

    /// A topic that this user may not see is not missing. The error is a sentence.
    fn unless_hidden(&self, missing: &[Wanted]) -> Result<(), String> {
        for topic in missing {
            if self.is_hidden(topic)? {
                let lacks = rights::lacks(self.config, Right::Write(&topic.name));
                return Err(format!("cannot see the topic {} at Kafka {}: {lacks}", topic.name, self.config.brokers));
            }
        }
        Ok(())
    }

    /// Whether this user may not see it, so that nobody here knows whether it is there.
    fn is_hidden(&self, topic: &Wanted) -> Result<bool, String> {
        let metadata = self.ask(Some(&topic.name))?;
        let code = metadata.topics().first().and_then(MetadataTopic::error).map(RDKafkaErrorCode::from);
        Ok(code == Some(RDKafkaErrorCode::TopicAuthorizationFailed))
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
                Err((
                    name,
                    RDKafkaErrorCode::TopicAuthorizationFailed | RDKafkaErrorCode::ClusterAuthorizationFailed,
                )) => {
                    let lacks = rights::lacks(self.config, Right::Create(&name));
                    return Err(format!(
                        "cannot create the topic {name} at Kafka {}: {lacks}; or create it",
                        self.config.brokers
                    ));
                }
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

    fn appear(&self, topics: &[Wanted], stop: &CancellationToken) -> Result<(), String> {
        let begun = Instant::now();
        loop {
            let (_, known) = self.topics()?;
            let Some(absent) =
                topics.iter().find(|topic| known.get(&topic.name).is_none_or(|found| found.partitions == 0))
            else {
                return Ok(());
            };
            unless_stopped(stop)?;
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
