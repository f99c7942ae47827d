//! Records as they were taken from Kafka, and what they are to the warehouse.
//!
//! - A record keeps its place; one that an agent told keeps its name. Nothing is guessed about others.
//! - A record that cannot be read, or that the warehouse can never hold, is told apart with its reason.

use gaitway_kafka::headers::{self, OwnedName};
use gaitway_kafka::records;
use gaitway_proto::ledger::Ledger;
use gaitway_proto::record::{Body, Metadata, NAME_KEYS, Parsed, Parser, Place, Record, Written};
use gaitway_proto::schema::Table;
use gaitway_proto::topic::AgentId;
use rdkafka::message::{BorrowedHeaders, BorrowedMessage, Header, Headers as _, Message as _, OwnedHeaders};

use crate::partition::Print;
use crate::snowflake;

/// What a record takes in memory beside its bytes, about: itself and its cells while it is submitted.
const OVERHEAD: usize = 768;

/// A record, copied out of Kafka's buffers.
#[derive(Debug)]
pub(super) struct Taken {
    pub offset: i64,
    /// When it was written; none if Kafka does not tell.
    written: Option<Written>,
    /// Its key, if it has one, and then its value, if it has one.
    bytes: Box<[u8]>,
    /// Length of the key.
    key: Option<usize>,
    has_value: bool,
    /// Its name, if its headers say one.
    name: Option<OwnedName>,
    /// Its headers, where they are more or less than a name.
    headers: Option<OwnedHeaders>,
    /// Whether they can be read; else there are none here.
    legible: bool,
}

/// What is wrong with a record whose headers cannot be read.
const NOT_TEXT: &str = "the name of a header is not UTF-8";

/// Why a record is not stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is no row of its table.
    Unreadable(String),
    /// The warehouse can never hold it.
    Refused(String),
    /// The warehouse accepted it and passed over it, also when it was appended again.
    PassedOver(String),
}

impl Refusal {
    /// What [`Self::kind`] says.
    pub(super) const KINDS: [&str; 3] = ["unreadable", "refused", "passed_over"];

    /// One word for metrics and headers.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Unreadable(_) => "unreadable",
            Self::Refused(_) => "refused",
            Self::PassedOver(_) => "passed_over",
        }
    }

    /// What is wrong.
    pub(super) fn said(&self) -> &str {
        match self {
            Self::Unreadable(said) | Self::Refused(said) | Self::PassedOver(said) => said,
        }
    }
}

impl Taken {
    /// A copy of `message`. `last`: the agent of the record before, whose id is shared.
    pub(super) fn copy(message: &BorrowedMessage<'_>, last: &mut Option<AgentId>) -> Self {
        let headers = message.headers();
        let name = headers::read(headers, last.as_ref());
        if let Some(name) = name.as_ref().filter(|name| last.as_ref() != Some(&name.agent)) {
            *last = Some(name.agent.clone());
        }
        let (key, value) = (message.key(), message.payload());
        let told = headers.filter(|headers| name.is_none() || headers.count() != NAME_KEYS.len());
        let legible = told.is_none_or(headers::are_text);
        Self {
            legible,
            offset: message.offset(),
            written: records::written(message.timestamp()),
            bytes: [key.unwrap_or_default(), value.unwrap_or_default()].concat().into_boxed_slice(),
            key: key.map(<[u8]>::len),
            has_value: value.is_some(),
            headers: told.filter(|_| legible).map(BorrowedHeaders::detach),
            name,
        }
    }

    /// When it was written, milliseconds since the Unix epoch; none if it has none.
    pub(super) fn timestamp(&self) -> Option<i64> {
        self.written.map(Written::millis)
    }

    /// Its key, if it has one.
    pub(super) fn key(&self) -> Option<&[u8]> {
        self.key.map(|length| &self.bytes[..length])
    }

    /// Its value, if it has one.
    pub(super) fn value(&self) -> Option<&[u8]> {
        self.has_value.then(|| &self.bytes[self.key.unwrap_or(0)..])
    }

    /// What tells it from another record at its offset.
    pub(super) fn print(&self) -> Print {
        Print { timestamp: self.timestamp(), crc: crc32c::crc32c(&self.bytes) }
    }

    /// Bytes of key and value.
    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// What it takes in memory, about.
    pub(super) fn weight(&self) -> usize {
        self.bytes() + OVERHEAD
    }

    /// Whether [`headers`](Self::headers) are all that it had.
    pub(super) fn is_legible(&self) -> bool {
        self.legible
    }

    /// Its headers as they were, if they can be read.
    pub(super) fn headers(&self) -> Vec<(String, Option<Vec<u8>>)> {
        let of_name;
        let headers = match (&self.headers, &self.name) {
            (Some(headers), _) => headers,
            (None, Some(name)) => {
                of_name = headers::Writer::default().write(&name.as_name());
                &of_name
            }
            (None, None) => return Vec::new(),
        };
        headers.iter().map(|Header { key, value }| (key.to_owned(), value.map(<[u8]>::to_vec))).collect()
    }

    /// Its value held against the fields of the parser's table.
    fn parse<'a>(&'a self, parser: &mut Parser<'a>) -> Result<Parsed<'a>, Refusal> {
        let Some(value) = self.value() else {
            return Err(Refusal::Unreadable("the record has no value".to_owned()));
        };
        if !self.legible {
            return Err(Refusal::Unreadable(NOT_TEXT.to_owned()));
        }
        if self.key().is_some_and(|key| std::str::from_utf8(key).is_err()) {
            return Err(Refusal::Unreadable("the key is not UTF-8".to_owned()));
        }
        parser.parse(value).map_err(|error| Refusal::Unreadable(error.to_string()))
    }
}

/// Whether a store can ever hold a record.
pub(super) trait Judge {
    /// Why it cannot, if it cannot.
    fn refuses(&self, record: &Record<'_>) -> Option<String>;
}

impl Judge for dyn Ledger {
    fn refuses(&self, record: &Record<'_>) -> Option<String> {
        Ledger::refuses(self, record)
    }
}

impl Judge for snowflake::Client {
    fn refuses(&self, record: &Record<'_>) -> Option<String> {
        snowflake::Client::refuses(self, record)
    }
}

/// Reads `taken`, records of `partition` of `topic`, and gives `store` those that `ledger` may take, and each of the others
/// with its reason, both in the order of their offsets.
pub(super) fn sorted<L: Judge + ?Sized, T>(
    table: &'static Table,
    (topic, partition): (&str, i32),
    taken: &[Taken],
    ledger: &mut L,
    store: impl FnOnce(&mut L, &[Record<'_>], &[(&Taken, Refusal)]) -> T,
) -> T {
    let (mut parser, mut refused) = (Parser::new(table), Vec::new());
    let (mut rows, mut unknowns) = (Vec::with_capacity(taken.len()), Vec::with_capacity(taken.len()));
    for record in taken {
        match record.parse(&mut parser) {
            Ok((row, unknown)) => {
                rows.push((record, row));
                unknowns.push(unknown);
            }
            Err(refusal) => refused.push((record, refusal)),
        }
    }
    let places: Vec<Place<'_>> = rows
        .iter()
        .zip(&unknowns)
        .map(|((record, _), unknown)| Place {
            topic,
            partition,
            offset: record.offset,
            key: record.key().and_then(|key| std::str::from_utf8(key).ok()),
            written: record.written,
            unknown: unknown.as_deref(),
        })
        .collect();
    let mut records = Vec::with_capacity(rows.len());
    for (place, (taken, row)) in places.iter().zip(rows) {
        let name = taken.name.as_ref().map(OwnedName::as_name);
        let record = Record { metadata: Metadata { name, place: Some(place) }, body: Body::Cells(row) };
        match ledger.refuses(&record) {
            None => records.push(record),
            Some(said) => refused.push((taken, Refusal::Refused(said))),
        }
    }
    refused.sort_by_key(|(taken, _)| taken.offset);
    store(ledger, &records, &refused)
}

#[cfg(test)]
mod tests {
    use gaitway_proto::schema::RAW;

    use super::*;
    use crate::ledgers::Shared;
    use crate::sqlite::{Options, Warehouse};

    fn taken(offset: i64, key: Option<&[u8]>, value: Option<&str>) -> Taken {
        let bytes = [key.unwrap_or_default(), value.unwrap_or_default().as_bytes()].concat().into_boxed_slice();
        let (key, has_value) = (key.map(<[u8]>::len), value.is_some());
        let written = Some(Written::CreateTime(1_700_000_000_000 + offset));
        Taken { offset, written, bytes, key, has_value, name: None, headers: None, legible: true }
    }

    #[test]
    fn what_cannot_be_read_or_stored_is_told_apart_and_the_rest_keeps_its_place() {
        let records = [
            taken(3, Some(b"d"), Some(r#"{"deviceId":"d","new":1}"#)),
            taken(5, None, Some("not JSON")),
            taken(6, Some(b"d"), None),
            taken(8, Some(b"\xff"), Some("{}")),
            taken(9, Some(b"d"), Some(r#"{"deviceId":"bad"}"#)),
            taken(10, None, Some(r#"{"x":1}"#)),
        ];
        let refuses = |record: &Record<'_>| record.to_json().contains("bad").then(|| "it is bad".to_owned());
        let dir = tempfile::tempdir().unwrap();
        let warehouse = Warehouse::open(dir.path().join("w.db"), &Options::default()).unwrap();
        let mut ledger = Shared::new(warehouse, refuses);
        sorted(&RAW, ("t", 7), &records, &mut ledger as &mut dyn Ledger, |_, stored, refused| {
            let metadata: Vec<_> = stored.iter().map(|record| record.metadata.to_json()).collect();
            let first =
                r#"{"topic":"t","partition":7,"offset":3,"key":"d","CreateTime":1700000000003,"unknown":{"new":1}}"#;
            assert_eq!(
                metadata,
                [first, r#"{"topic":"t","partition":7,"offset":10,"key":null,"CreateTime":1700000000010}"#]
            );
            let told: Vec<_> = refused.iter().map(|(taken, why)| (taken.offset, why.kind(), why.said())).collect();
            assert_eq!(told.iter().map(|told| told.0).collect::<Vec<_>>(), [5, 6, 8, 9]);
            assert!(
                told[0].2.contains("expected") && told[1].2.contains("no value") && told[2].2.contains("UTF-8"),
                "{told:?}"
            );
            assert_eq!(told[3], (9, "refused", "it is bad"));
        });
    }
}
