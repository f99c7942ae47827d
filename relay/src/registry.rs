//! The schema registry: each topic's schema becomes a version of the subject `<topic>-value`.
//!
//! - What is registered already is found and left alone: a start of the relay changes nothing there, and needs no more than to read.
//! - Before a new version the subject is given the configured level of compatibility. If the registry refuses that, the version
//!   is registered under the level that it has.
//! - The relay never waits for the registry: records are plain JSON, without a schema's id, and go to Kafka meanwhile.
//!
//! [`Registration`] is pure: the next request to make, and what an answer means. `keep` makes the requests until all is
//! registered.

use gaitway_kafka::config::Topics;
use gaitway_proto::schema::{TABLES, published_json_schemas};
use serde::{Deserialize, Serialize};

use crate::config::Compatibility;

mod keep;

pub(crate) use keep::keep;

/// Of a registry's own sentence so many characters are told.
const LONGEST_SENTENCE: usize = 300;

/// A request, as [the API](https://docs.confluent.io/platform/current/schema-registry/develop/api.html) has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    /// `PUT` rather than `POST`.
    pub put: bool,
    /// Behind the registry's address.
    pub path: String,
    /// JSON.
    pub body: String,
}

/// Why an answer did not bring it further: a sentence for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may pass by itself.
    Away(String),
    /// Somebody has to do something.
    Refused(String),
}

/// One subject on its way to having its schema.
#[derive(Debug)]
pub(crate) struct Registration {
    subject: String,
    schema: &'static str,
    level: Compatibility,
    step: Step,
    refused_level: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Find,
    Level,
    Register,
    Done(i64),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Schema<'a> {
    schema_type: &'static str,
    schema: &'a str,
}

#[derive(Serialize)]
struct Level {
    compatibility: Compatibility,
}

#[derive(Deserialize)]
struct Registered {
    id: i64,
}

/// A registry's error; every field may be missing where something else answers.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Told {
    error_code: Option<i64>,
    message: Option<String>,
}

/// The newest schema of each topic that the relay writes records to.
pub(crate) fn registrations(topics: &Topics, level: Compatibility) -> Vec<Registration> {
    let newest = |table| published_json_schemas(table).last().copied();
    TABLES.iter().filter_map(|table| Some(Registration::new(topics.of(table), newest(table)?, level))).collect()
}

impl Registration {
    fn new(topic: &str, schema: &'static str, level: Compatibility) -> Self {
        Self { subject: format!("{topic}-value"), schema, level, step: Step::Find, refused_level: None }
    }

    /// What to ask the registry next; none once the schema is registered.
    pub(crate) fn poll_request(&self) -> Option<Request> {
        let Self { subject, schema, .. } = self;
        let schema = || json(&Schema { schema_type: "JSON", schema });
        let (put, path, body) = match self.step {
            Step::Find => (false, format!("/subjects/{subject}"), schema()),
            Step::Level => (true, format!("/config/{subject}"), json(&Level { compatibility: self.level })),
            Step::Register => (false, format!("/subjects/{subject}/versions"), schema()),
            Step::Done(_) => return None,
        };
        Some(Request { put, path, body })
    }

    /// The registry answered the last request. After a failure the same request is due again.
    pub(crate) fn handle_answer(&mut self, status: u16, body: &[u8]) -> Result<(), Failure> {
        let told: Told = serde_json::from_slice(body).unwrap_or_default();
        match (self.step, status) {
            (Step::Find | Step::Register, 200) => {
                let Ok(Registered { id }) = serde_json::from_slice(body) else {
                    return Err(Failure::Refused("the answer has no id: is this a schema registry?".to_owned()));
                };
                self.step = Step::Done(id);
            }
            // The subject or the schema is not there yet.
            (Step::Find, 404) if matches!(told.error_code, Some(40401 | 40403)) => {
                self.step = if self.level == Compatibility::Leave { Step::Register } else { Step::Level };
            }
            (Step::Level, 200) => {
                self.refused_level = None;
                self.step = Step::Register;
            }
            (Step::Level, 400 | 403..=405 | 409 | 422) => {
                self.refused_level = Some(format!("{status} {}", sentence(told.message)));
                self.step = Step::Register;
            }
            _ => return Err(self.failure(status, told)),
        }
        Ok(())
    }

    fn failure(&self, status: u16, told: Told) -> Failure {
        let Self { subject, .. } = self;
        let said = sentence(told.message);
        let why = match status {
            408 | 429 | 500.. => return Failure::Away(format!("the registry answers {status} {said}")),
            300..=399 => {
                format!("the registry answers {status}, that it is elsewhere: set schema_registry.url to where")
            }
            401 => format!(
                "the registry does not know who asks (401 {said}): set schema_registry.user and password, or a token"
            ),
            403 => format!("the registry does not let this user register {subject} (403 {said}): grant it that"),
            404 => format!("nothing is there (404 {said}): set schema_registry.url to where /subjects is"),
            409 => format!(
                "the schema of {subject} is incompatible with an earlier version (409 {said}): give that subject the \
                 level FORWARD_TRANSITIVE, or delete versions that are not gaitway's"
            ),
            422 => format!("the registry takes no such schema for {subject} (422 {said}): it has to know JSON Schema"),
            _ => format!("the registry answers {status} {said}"),
        };
        Failure::Refused(why)
    }

    /// What is registered under which id, for people; none before it is.
    pub(crate) fn registered(&self) -> Option<String> {
        let Step::Done(id) = self.step else { return None };
        let level =
            self.refused_level.as_ref().map(|said| format!(", compatibility not set: {said}")).unwrap_or_default();
        Some(format!("{} is id {id}{level}", self.subject))
    }
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("text serialises")
}

/// On one line, not too long.
fn sentence(message: Option<String>) -> String {
    let message = message.unwrap_or_else(|| "without a reason".to_owned());
    let line = message.split_whitespace().collect::<Vec<_>>().join(" ");
    line.chars().filter(|c| !c.is_control()).take(LONGEST_SENTENCE).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = "{\"type\":\"object\"}";

    fn registration() -> Registration {
        Registration::new("raw", SCHEMA, Compatibility::default())
    }

    fn path(registration: &Registration) -> String {
        registration.poll_request().unwrap().path
    }

    const NO_SUBJECT: &[u8] = br#"{"error_code":40401,"message":"Subject 'raw-value' not found."}"#;

    #[test]
    fn what_is_registered_already_is_left_alone() {
        let mut registration = registration();
        let find = registration.poll_request().unwrap();
        assert_eq!((find.put, find.path.as_str()), (false, "/subjects/raw-value"));
        assert_eq!(find.body, r#"{"schemaType":"JSON","schema":"{\"type\":\"object\"}"}"#);
        let found = br#"{"subject":"raw-value","id":7,"version":3,"schema":"{}"}"#;
        registration.handle_answer(200, found).unwrap();
        assert_eq!(registration.poll_request(), None);
        assert_eq!(registration.registered().unwrap(), "raw-value is id 7");
    }

    #[test]
    fn a_new_version_is_registered_under_the_level_that_is_configured() {
        let mut registration = registration();
        registration.handle_answer(404, NO_SUBJECT).unwrap();
        let level = registration.poll_request().unwrap();
        assert_eq!((level.put, level.path.as_str()), (true, "/config/raw-value"));
        assert_eq!(level.body, r#"{"compatibility":"FORWARD_TRANSITIVE"}"#);
        registration.handle_answer(200, br#"{"compatibility":"FORWARD_TRANSITIVE"}"#).unwrap();
        assert_eq!(path(&registration), "/subjects/raw-value/versions");
        assert_eq!(registration.registered(), None);
        registration.handle_answer(200, br#"{"id":1}"#).unwrap();
        assert_eq!(registration.registered().unwrap(), "raw-value is id 1");
    }

    #[test]
    fn the_level_is_left_where_that_is_configured_and_where_the_registry_refuses_it() {
        let mut left = Registration::new("raw", SCHEMA, Compatibility::Leave);
        left.handle_answer(404, NO_SUBJECT).unwrap();
        assert_eq!(path(&left), "/subjects/raw-value/versions");

        let mut refused = registration();
        refused.handle_answer(404, NO_SUBJECT).unwrap();
        refused.handle_answer(403, br#"{"error_code":40301,"message":"not yours"}"#).unwrap();
        refused.handle_answer(200, br#"{"id":1}"#).unwrap();
        assert_eq!(refused.registered().unwrap(), "raw-value is id 1, compatibility not set: 403 not yours");
    }

    #[test]
    fn every_refusal_says_what_to_do_and_what_passes_by_itself_is_told_apart() {
        let refused = [
            (301, "", "set schema_registry.url"),
            (401, r#"{"error_code":401,"message":"Unauthorized"}"#, "401 Unauthorized"),
            (403, r#"{"error_code":403,"message":"denied"}"#, "grant it"),
            (404, "<html>", "set schema_registry.url"),
            (409, r#"{"error_code":409,"message":"older\n  schema"}"#, "409 older schema"),
            (422, r#"{"error_code":42201,"message":"Invalid schema"}"#, "422 Invalid schema"),
            (418, "", "418"),
            (200, "[]", "no id"),
        ];
        for (status, body, expected) in refused {
            let mut registration = registration();
            registration.step = Step::Register;
            match registration.handle_answer(status, body.as_bytes()) {
                Err(Failure::Refused(said)) => assert!(said.contains(expected), "{said}"),
                other => panic!("{status}: {other:?}"),
            }
            assert_eq!(path(&registration), "/subjects/raw-value/versions", "it is due again");
        }
        for status in [408, 429, 500, 502, 503] {
            for step in [Step::Find, Step::Level, Step::Register] {
                let mut registration = Registration { step, ..registration() };
                assert!(matches!(registration.handle_answer(status, b""), Err(Failure::Away(_))), "{status}");
                assert_eq!(registration.step, step);
            }
        }
    }

    #[test]
    fn a_long_answer_is_cut() {
        let body = format!(r#"{{"error_code":409,"message":"{}"}}"#, "x".repeat(100_000));
        let Err(Failure::Refused(said)) = registration().handle_answer(409, body.as_bytes()) else { panic!("refused") };
        assert!(said.len() < 600, "{said}");
    }

    #[test]
    fn each_topic_has_a_subject_under_its_configured_name() {
        let topics = Topics { raw: "walks".to_owned(), ..Topics::default() };
        let subjects: Vec<_> =
            registrations(&topics, Compatibility::default()).into_iter().map(|r| r.subject).collect();
        assert_eq!(subjects, ["walks-value", "processed_activity-value", "gaitway_gaps-value"]);
    }
}
