//! Rights that Kafka's access lists have to give, and what is said where one is missing. `deploy/kafka` lists them.
//!
//! - A refusal names the right and the command that gives it.
//! - Write and Read imply Describe, so a topic that is not shown to its user is one that it may not use either.

use std::fmt;

use rdkafka::error::RDKafkaErrorCode;

use crate::KafkaConfig;

/// What a user may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Right<'a> {
    /// To read this topic.
    Read(&'a str),
    /// To write this topic.
    Write(&'a str),
    /// To create this topic.
    Create(&'a str),
    /// To be a member of this group, and to keep offsets there.
    Group(&'a str),
    /// To write transactions under this id.
    Transactions(&'a str),
}

impl Right<'_> {
    fn parts(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Read(_) => ("Read", "topic", "topic"),
            Self::Write(_) => ("Write", "topic", "topic"),
            Self::Create(_) => ("Create", "topic", "topic"),
            Self::Group(_) => ("Read", "group", "group"),
            Self::Transactions(_) => ("Write", "transactional id", "transactional-id"),
        }
    }

    fn name(&self) -> &str {
        let (Self::Read(name) | Self::Write(name) | Self::Create(name) | Self::Group(name) | Self::Transactions(name)) =
            self;
        name
    }

    /// Whether brokers answer `code` where it is missing.
    fn is_wanted_by(self, code: RDKafkaErrorCode) -> bool {
        use RDKafkaErrorCode::{
            ClusterAuthorizationFailed, GroupAuthorizationFailed, TopicAuthorizationFailed,
            TransactionalIdAuthorizationFailed,
        };
        match self {
            // Who may write no topic at all may not even ask for a producer's id.
            Self::Write(_) | Self::Create(_) => matches!(code, TopicAuthorizationFailed | ClusterAuthorizationFailed),
            Self::Read(_) => code == TopicAuthorizationFailed,
            Self::Group(_) => code == GroupAuthorizationFailed,
            Self::Transactions(_) => code == TransactionalIdAuthorizationFailed,
        }
    }
}

/// `Write on topic raw_sensor_data`
impl fmt::Display for Right<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (operation, kind, _) = self.parts();
        write!(f, "{operation} on {kind} {}", self.name())
    }
}

/// Whom Kafka knows these clients as, as far as that is known here: of a certificate it is not.
fn user(config: &KafkaConfig) -> &str {
    config.properties.0.get("sasl.username").map_or("NAME", String::as_str)
}

/// That `right` is missing, and how it is given.
pub fn lacks(config: &KafkaConfig, right: Right<'_>) -> String {
    let user = user(config);
    let (operation, _, flag) = right.parts();
    let name = right.name();
    let who = if user == "NAME" { "this user".to_owned() } else { format!("user {user}") };
    format!(
        "{who} lacks the right {right}, which kafka-acls.sh --add --allow-principal 'User:{user}' --operation {operation} --{flag} {name} gives"
    )
}

/// What to say where brokers refused with `code` something that needs the rights of `needed`; nothing if it was not for lack of one.
/// `heard`: what else is known; of several topics those that it names are meant.
pub fn missing(
    config: &KafkaConfig,
    code: RDKafkaErrorCode,
    needed: &[Right<'_>],
    heard: Option<&str>,
) -> Option<String> {
    let mut wanted: Vec<_> = needed.iter().copied().filter(|right| right.is_wanted_by(code)).collect();
    let is_named = |right: &Right<'_>| heard.is_some_and(|heard| heard.contains(&format!("\"{}\"", right.name())));
    if wanted.iter().any(is_named) {
        wanted.retain(is_named);
    }
    let said: Vec<_> = wanted.into_iter().map(|right| lacks(config, right)).collect();
    (!said.is_empty()).then(|| said.join("; or "))
}

#[cfg(test)]
mod tests {
    use RDKafkaErrorCode::{
        ClusterAuthorizationFailed, GroupAuthorizationFailed, OperationTimedOut, TopicAuthorizationFailed,
        TransactionalIdAuthorizationFailed,
    };

    use super::*;

    const NEEDED: [Right<'_>; 4] =
        [Right::Write("raw"), Right::Write("raw-2"), Right::Group("sinks"), Right::Transactions("id")];

    fn config() -> KafkaConfig {
        let mut config = KafkaConfig::default();
        config.properties.0.insert("sasl.username".to_owned(), "relay".to_owned());
        config
    }

    #[test]
    fn the_right_that_is_missing_is_named_with_the_command_that_gives_it() {
        let missing = |code, heard| missing(&config(), code, &NEEDED, heard);
        assert_eq!(
            missing(GroupAuthorizationFailed, None).unwrap(),
            "user relay lacks the right Read on group sinks, which kafka-acls.sh --add --allow-principal 'User:relay' \
             --operation Read --group sinks gives"
        );
        assert!(
            missing(TransactionalIdAuthorizationFailed, None)
                .unwrap()
                .contains("--operation Write --transactional-id id")
        );
        for code in [TopicAuthorizationFailed, ClusterAuthorizationFailed] {
            let said = missing(code, None).unwrap();
            assert!(said.contains("Write on topic raw,") && said.contains("Write on topic raw-2,"), "{said}");
        }
        assert_eq!(missing(OperationTimedOut, None), None);
    }

    #[test]
    fn of_several_topics_the_one_that_was_heard_of_is_meant() {
        let heard = "Failed to add partition \"raw-2\" [0] to transaction: Broker: Topic authorization failed";
        let said = missing(&config(), TopicAuthorizationFailed, &NEEDED, Some(heard)).unwrap();
        assert!(said.contains("topic raw-2 ") || said.contains("topic raw-2,"), "{said}");
        assert!(!said.contains("; or "), "{said}");
    }

    #[test]
    fn whom_a_certificate_names_is_left_to_the_reader() {
        let said = lacks(&KafkaConfig::default(), Right::Read("t"));
        assert!(said.starts_with("this user lacks") && said.contains("'User:NAME'"), "{said}");
    }
}
