//! A record's name and where it was read: `RECORD_METADATA`.

use crate::ledger::{Epoch, Source, Stream};
use crate::spelling;
use crate::topic::AgentId;

/// A record's name, and what its agent knew of the clock.
#[derive(Debug, Clone, PartialEq)]
pub struct Name<'a> {
    /// The agent.
    pub agent: &'a AgentId,
    /// Its start.
    pub epoch: Epoch,
    /// Counts its starts.
    pub ordinal: u64,
    /// The stream.
    pub stream: Stream,
    /// The frame in the stream, from 1.
    pub seq: u64,
    /// The record in the frame, from 0.
    pub index: u32,
    /// Whether the agent's wall clock was synchronised when it had the push; none where that is not known.
    pub clock_synced: Option<bool>,
}

/// The keys of a [`Name`]: of `RECORD_METADATA`, and the headers of a Kafka record, whose values are text there.
pub const NAME_KEYS: [&str; 7] = ["agent", "epoch", "ordinal", "stream", "seq", "index", "clockSynced"];

/// When a record was written to Kafka, milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// By the clock of whoever produced it.
    CreateTime(i64),
    /// By the broker's, where the topic says so.
    LogAppendTime(i64),
}

impl Written {
    /// The milliseconds.
    pub fn millis(self) -> i64 {
        match self {
            Self::CreateTime(at) | Self::LogAppendTime(at) => at,
        }
    }
}

/// Where a record lies in Kafka.
#[derive(Debug, Clone, PartialEq)]
pub struct Place<'a> {
    /// The topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: i32,
    /// The record's offset in it.
    pub offset: i64,
    /// The record's key, if it has one.
    pub key: Option<&'a str>,
    /// When it was written, if Kafka tells.
    pub written: Option<Written>,
    /// JSON object of the fields of its value that the table does not have, if there are any: a newer writer's.
    pub unknown: Option<&'a str>,
}

/// Where a record comes from. A record that an agent told has a name, one that was read from Kafka a place; one that
/// somebody else wrote to Kafka has no name.
#[derive(Debug, Clone, PartialEq)]
pub struct Metadata<'a> {
    /// Its name.
    pub name: Option<Name<'a>>,
    /// Where it was read.
    pub place: Option<&'a Place<'a>>,
}

impl Metadata<'_> {
    /// `{agent, epoch, ordinal, stream, seq, index, clockSynced}` as JSON text; behind Kafka also `{topic, partition,
    /// offset, key}`, `CreateTime` or `LogAppendTime` as Kafka's own connectors name them, and `unknown`, where there is
    /// such.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write_json(&mut out);
        out
    }

    /// Appends [`to_json`](Self::to_json) to `out`.
    pub fn write_json(&self, out: &mut String) {
        let mut opening = '{';
        if let Some(Name { agent, epoch, ordinal, stream, seq, index, clock_synced }) = &self.name {
            out.push_str("{\"agent\":\"");
            out.push_str(agent.as_str());
            out.push_str("\",\"epoch\":\"");
            epoch.write(out);
            out.push_str("\",\"ordinal\":");
            spelling::push_int(out, *ordinal);
            out.push_str(",\"stream\":\"");
            out.push_str(stream.as_str());
            out.push_str("\",\"seq\":");
            spelling::push_int(out, *seq);
            out.push_str(",\"index\":");
            spelling::push_int(out, *index);
            out.push_str(",\"clockSynced\":");
            out.push_str(clock_synced.map_or("null", |synced| if synced { "true" } else { "false" }));
            opening = ',';
        }
        if let Some(Place { topic, partition, offset, key, written, unknown }) = &self.place {
            out.push(std::mem::replace(&mut opening, ','));
            out.push_str("\"topic\":");
            spelling::push_text(out, topic);
            out.push_str(",\"partition\":");
            spelling::push_int(out, *partition);
            out.push_str(",\"offset\":");
            spelling::push_int(out, *offset);
            out.push_str(",\"key\":");
            match key {
                Some(key) => spelling::push_text(out, key),
                None => out.push_str("null"),
            }
            if let Some(written) = written {
                out.push_str(match written {
                    Written::CreateTime(_) => ",\"CreateTime\":",
                    Written::LogAppendTime(_) => ",\"LogAppendTime\":",
                });
                spelling::push_int(out, written.millis());
            }
            if let Some(unknown) = unknown {
                out.push_str(",\"unknown\":");
                out.push_str(unknown);
            }
        }
        out.push_str(if opening == '{' { "{}" } else { "}" });
    }

    /// The source whose mark it stands under: its partition if it was read from Kafka, else its agent's stream.
    pub fn source(&self) -> Option<Source> {
        match (self.place, &self.name) {
            (Some(place), _) => Some(Source::partition(place.topic, place.partition)),
            (None, Some(name)) => Some(Source::stream(name.agent, name.epoch, name.stream)),
            (None, None) => None,
        }
    }
}

/// The name of a frame, from which its records get theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin<'a> {
    /// The agent.
    pub agent: &'a AgentId,
    /// Its start.
    pub epoch: Epoch,
    /// Counts its starts.
    pub ordinal: u64,
    /// The stream.
    pub stream: Stream,
    /// The frame in the stream, from 1.
    pub seq: u64,
}

impl<'a> Origin<'a> {
    /// The name of the frame's record `index`.
    pub fn metadata(self, index: u32, clock_synced: Option<bool>) -> Metadata<'a> {
        let Self { agent, epoch, ordinal, stream, seq } = self;
        Metadata { name: Some(Name { agent, epoch, ordinal, stream, seq, index, clock_synced }), place: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_and_a_place_are_one_object() {
        let agent: AgentId = "pi".parse().unwrap();
        let origin = Origin { agent: &agent, epoch: Epoch::from_random(17), ordinal: 3, stream: Stream::Raw, seq: 9 };
        let mut metadata = origin.metadata(2, None);
        let name = r#"{"agent":"pi","epoch":"0000000000000011","ordinal":3,"stream":"raw","seq":9,"index":2,"clockSynced":null"#;
        assert_eq!(metadata.to_json(), format!("{name}}}"));
        assert_eq!(metadata.source(), Some(Source::stream(&agent, origin.epoch, Stream::Raw)));
        for key in NAME_KEYS {
            assert!(metadata.to_json().contains(&format!("\"{key}\":")), "{key}");
        }

        let place = Place { topic: "t", partition: 4, offset: 7, key: Some("a \"b\""), written: None, unknown: None };
        metadata.place = Some(&place);
        let read = r#""topic":"t","partition":4,"offset":7,"key":"a \"b\"""#;
        assert_eq!(metadata.to_json(), format!("{name},{read}}}"));
        assert_eq!(metadata.source(), Some(Source::partition("t", 4)));

        let written = Some(Written::CreateTime(1_700_000_000_123));
        let place = Place { unknown: Some(r#"{"new":1}"#), key: None, written, ..place };
        let foreign = Metadata { name: None, place: Some(&place) };
        let read =
            r#"{"topic":"t","partition":4,"offset":7,"key":null,"CreateTime":1700000000123,"unknown":{"new":1}}"#;
        assert_eq!(foreign.to_json(), read);
        let place = Place { unknown: None, written: Some(Written::LogAppendTime(-1)), ..place };
        let foreign = Metadata { name: None, place: Some(&place) };
        assert!(foreign.to_json().ends_with(r#""key":null,"LogAppendTime":-1}"#));
        assert_eq!(Metadata { name: None, place: None }.to_json(), "{}");
    }
}
