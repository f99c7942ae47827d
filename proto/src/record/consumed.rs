//! A record as Kafka has it: the JSON value held against the fields of its table.
//!
//! - A key that the table has must have its type or be null; one that is absent is null.
//! - A key that the table does not have is kept: a newer writer may add fields, and nothing is lost here.
//! - The last of several equal keys wins.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer as _, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::schema::{self, Cell, FieldType, Table};
use crate::spelling;

mod usual;

/// A row for `table`.
#[derive(Debug, Clone, PartialEq)]
pub struct Cells<'a> {
    /// Where it belongs.
    pub table: &'static Table,
    /// One cell a field, in the table's order.
    pub cells: Vec<Cell<'a>>,
    /// The value as it was read, if it has every key of the table, in any order, and no other.
    pub json: Option<&'a str>,
    /// Whether `json` is spelled as this crate would spell it, as far as anybody who reads JSON strictly could tell; not all
    /// values that are say so.
    pub plain: bool,
}

/// A value that is no row of its table, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unreadable(String);

/// A row, and the JSON object of what its table does not have.
pub type Parsed<'a> = (Cells<'a>, Option<String>);

impl<'a> Cells<'a> {
    /// From the JSON value of a Kafka record of `table`.
    pub fn parse(table: &'static Table, json: &'a [u8]) -> Result<Parsed<'a>, Unreadable> {
        Parser::new(table).parse(json)
    }
}

/// Reads many values of one table.
#[derive(Debug)]
pub struct Parser<'a> {
    table: &'static Table,
    last: Option<Time<'a>>,
}

/// A time that was read: all readings of a push have the same.
#[derive(Debug, Clone, Copy)]
struct Time<'a> {
    text: &'a str,
    kind: FieldType,
    /// Nanoseconds since the Unix epoch.
    at: i64,
    /// Whether we would spell it so.
    ours: bool,
}

impl<'a> Parser<'a> {
    /// A parser of records of `table`.
    pub fn new(table: &'static Table) -> Self {
        Self { table, last: None }
    }

    /// From the JSON value of a Kafka record.
    pub fn parse(&mut self, json: &'a [u8]) -> Result<Parsed<'a>, Unreadable> {
        let table = self.table;
        let json = std::str::from_utf8(json).map_err(|error| Unreadable(format!("value is not UTF-8: {error}")))?;
        match usual::read(table, json, self.last) {
            Some(cells) => Ok((Cells { table, cells, json: Some(json), plain: true }, None)),
            None => Self::long(table, json, &mut self.last),
        }
    }

    /// The way for every spelling.
    fn long(table: &'static Table, json: &'a str, last: &mut Option<Time<'a>>) -> Result<Parsed<'a>, Unreadable> {
        let mut reader = serde_json::Deserializer::from_str(json);
        let cells = vec![Cell::Null; table.fields.len()];
        let row = Row { table, cells, met: 0, unknown: String::new(), last };
        let row =
            reader.deserialize_map(row).map_err(|error| Unreadable(format!("value is no {}: {error}", table.name)))?;
        reader.end().map_err(|error| Unreadable(format!("value goes on after its end: {error}")))?;
        let Row { cells, met, mut unknown, .. } = row;
        let whole = met.count_ones() as usize == table.fields.len() && unknown.is_empty();
        if !unknown.is_empty() {
            unknown.push('}');
        }
        let unknown = Some(unknown).filter(|unknown| !unknown.is_empty());
        Ok((Cells { table, cells, json: whole.then_some(json), plain: false }, unknown))
    }
}

struct Row<'a, 'r> {
    table: &'static Table,
    cells: Vec<Cell<'a>>,
    /// A bit for each field that was met.
    met: u64,
    /// `{"key":value,…` without its end.
    unknown: String,
    last: &'r mut Option<Time<'a>>,
}

impl<'de> Visitor<'de> for Row<'de, '_> {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<Self, A::Error> {
        let mut due = 0;
        while let Some(key) = map.next_key_seed(Text)? {
            let fields = self.table.fields;
            // Writers keep to an order, mostly that of the table.
            let place = if fields.get(due).is_some_and(|field| field.name == key) {
                Some(due)
            } else {
                fields.iter().position(|field| field.name == key)
            };
            if let Some(place) = place {
                let field = &fields[place];
                self.cells[place] = map
                    .next_value_seed(Value { kind: field.kind, last: self.last })
                    .map_err(|error| A::Error::custom(format_args!("{}: {error}", field.name)))?;
                self.met |= 1 << place;
                due = place + 1;
            } else {
                let value: &RawValue = map.next_value()?;
                self.unknown.push(if self.unknown.is_empty() { '{' } else { ',' });
                spelling::push_text(&mut self.unknown, &key);
                self.unknown.push(':');
                self.unknown.push_str(value.get());
            }
        }
        Ok(self)
    }
}

/// Text, borrowed where it has no escapes.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Cow<'de, str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Cow::Borrowed(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Cow::Owned(text.to_owned()))
    }
}

/// A value of a field.
struct Value<'a, 'r> {
    kind: FieldType,
    last: &'r mut Option<Time<'a>>,
}

impl<'de> DeserializeSeed<'de> for Value<'de, '_> {
    type Value = Cell<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Cell<'de>, D::Error> {
        if self.kind != FieldType::Object {
            return deserializer.deserialize_any(self);
        }
        // An object is kept as it is spelled.
        let raw = <&RawValue as serde::Deserialize>::deserialize(deserializer)?.get();
        match raw.as_bytes().first() {
            Some(b'{') => Ok(Cell::Object(Cow::Borrowed(raw))),
            _ if raw == "null" => Ok(Cell::Null),
            _ => Err(D::Error::custom("expected an object")),
        }
    }
}

impl<'de> Value<'de, '_> {
    fn text<E: serde::de::Error>(self, text: Cow<'de, str>) -> Result<Cell<'de>, E> {
        if let Some(last) = self.last.filter(|last| last.kind == self.kind && last.text == text) {
            return Ok(Cell::Instant(last.at));
        }
        let at = match self.kind {
            FieldType::Text => return Ok(Cell::Text(text)),
            FieldType::Instant => text.parse::<jiff::Timestamp>().ok(),
            FieldType::SeedInstant => text
                .parse::<jiff::civil::DateTime>()
                .ok()
                .and_then(|at| at.to_zoned(jiff::tz::TimeZone::UTC).ok())
                .map(|at| at.timestamp()),
            FieldType::Int | FieldType::Float | FieldType::Object => None,
        };
        let Some(at) = at.and_then(|at| i64::try_from(at.as_nanosecond()).ok()) else {
            return Err(E::invalid_type(serde::de::Unexpected::Str(&text), &self));
        };
        let mut ours = String::with_capacity(32);
        schema::push_instant(&mut ours, self.kind, at);
        let ours = ours == text;
        if let Cow::Borrowed(text) = text {
            *self.last = Some(Time { text, kind: self.kind, at, ours });
        }
        Ok(Cell::Instant(at))
    }
}

impl<'de> Visitor<'de> for Value<'de, '_> {
    type Value = Cell<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            FieldType::Int => "an integer from -2^63 to 2^63-1",
            FieldType::Float => "a number",
            FieldType::Text => "text",
            FieldType::Object => "an object",
            FieldType::Instant => "a time such as 2026-01-31T12:00:00Z, in the years 1677 to 2262",
            FieldType::SeedInstant => "a time such as 2026-01-31 12:00:00, in the years 1677 to 2262",
        })
    }

    fn visit_unit<E>(self) -> Result<Cell<'de>, E> {
        Ok(Cell::Null)
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<Cell<'de>, E> {
        match self.kind {
            FieldType::Int => Ok(Cell::Int(number)),
            FieldType::Float => Ok(Cell::Float(number as f64)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Signed(number), &self)),
        }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<Cell<'de>, E> {
        match (self.kind, i64::try_from(number)) {
            (FieldType::Int, Ok(number)) => Ok(Cell::Int(number)),
            (FieldType::Float, _) => Ok(Cell::Float(number as f64)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Unsigned(number), &self)),
        }
    }

    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<Cell<'de>, E> {
        match self.kind {
            FieldType::Float if number.is_finite() => Ok(Cell::Float(number)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Float(number), &self)),
        }
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, text: &'de str) -> Result<Cell<'de>, E> {
        self.text(Cow::Borrowed(text))
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Cell<'de>, E> {
        self.text(Cow::Owned(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Cell<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Body, Metadata, Record};
    use crate::schema::{ACTIVITY, GAPS, RAW};

    fn parse(table: &'static Table, json: &str) -> Result<(Vec<Cell<'static>>, Option<String>), String> {
        let json: &'static str = json.to_owned().leak();
        Cells::parse(table, json.as_bytes())
            .map(|(row, unknown)| (row.cells, unknown))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn absent_keys_are_null_and_unknown_ones_are_kept() {
        let (cells, unknown) =
            parse(&RAW, r#"{"new":{"a":[1,2]},"deviceId":"d\u00e9","x":1,"x":2.5,"older\n":null}"#).unwrap();
        assert_eq!(cells[2], Cell::Text("dé".into()));
        assert_eq!(cells[4], Cell::Float(2.5));
        assert_eq!(cells.iter().filter(|cell| **cell == Cell::Null).count(), RAW.fields.len() - 2);
        assert_eq!(unknown.as_deref(), Some(r#"{"new":{"a":[1,2]},"older\n":null}"#));
    }

    #[test]
    fn a_value_of_another_type_is_unreadable_and_named() {
        for (table, json, says) in [
            (&RAW, "{\"x\":\"1.0\"}", "x: invalid type: string \"1.0\", expected a number"),
            (&RAW, "{\"messageId\":1.5}", "messageId: "),
            (&RAW, "{\"messageId\":9223372036854775808}", "messageId: "),
            (&RAW, "{\"x\":1e999}", "x: "),
            (&RAW, "{\"deviceId\":7}", "deviceId: "),
            (&RAW, "{\"reading\":[1]}", "reading: expected an object"),
            (&RAW, "{\"receivedAt\":\"yesterday\"}", "receivedAt: "),
            (&RAW, "{\"sensorType\":[[[]]]}", "sensorType: "),
            (&RAW, "[]", "expected an object"),
            (&RAW, "", "EOF"),
            (&RAW, "{} {}", "goes on after its end"),
            (&ACTIVITY, "{\"timestamp\":\"2026-13-01 00:00:00\"}", "timestamp: "),
            (&GAPS, "{\"fromSeq\":true}", "fromSeq: "),
        ] {
            let error = parse(table, json).unwrap_err();
            assert!(error.contains(says), "{json}: {error}");
        }
        assert!(Cells::parse(&RAW, b"\xff").unwrap_err().to_string().contains("UTF-8"));
    }

    #[test]
    fn a_value_that_is_spelled_as_we_would_is_plain_once_its_time_is_known() {
        let usual = r#"{"messageId":7,"sessionId":"s","deviceId":"d","sensorType":null,"x":0.5,"y":-3,"z":0.0,"accuracy":3,"timestamp":1,"reading":null,"readingIndex":0,"userId":null,"agentId":"pi","receivedAt":"2023-11-14T22:13:20.5Z"}"#;
        let mut parser = Parser::new(&RAW);
        let mut plain = |json: &str| {
            let (row, _) = parser.parse(json.to_owned().leak().as_bytes()).unwrap();
            assert!(!row.plain || row.json == Some(json));
            row.plain
        };
        assert!(!plain(usual) && plain(usual));
        for (from, to) in [
            ("20.5Z", "20.50Z"),
            ("22:13:20.5Z", "23:13:20.5+01:00"),
            ("\"deviceId\":\"d\"", "\"deviceId\":\"d\",\"deviceId\":\"d\""),
            ("\"deviceId\"", "\"device\\u0049d\""),
            ("\"d\"", "\"\\u0064\""),
            ("\"deviceId\":\"d\",", ""),
            ("0.5", "5e-1"),
            ("0.5", "0.500000000000000000000000"),
            ("{", "{\"new\":1,"),
            ("{", " {"),
            ("{", "{\n"),
            ("}", "\r}"),
            ("\"reading\":null", "\"reading\":{}"),
        ] {
            let odd = usual.replacen(from, to, 1);
            assert_ne!(odd, usual);
            // The second time its time is known.
            assert!(!plain(&odd) && !plain(&odd), "{odd}");
            plain(usual);
        }
        assert!(plain(usual));
    }

    #[test]
    fn a_whole_value_is_kept_as_it_is_spelled() {
        let json = r#"{"timestamp":"2023-11-14 22:13:22","sessionId":"s","deviceId":"d","activity":"walking","confidence":0.5,"avg_magnitude":3,"windowStart":"2023-11-14T22:13:12Z","windowEnd":"2023-11-14T22:13:22Z","sampleCount":12,"classifier":"threshold","revision":0,"agentId":"pi"}"#;
        let (row, unknown) = Cells::parse(&ACTIVITY, json.as_bytes()).unwrap();
        assert_eq!((row.json, unknown), (Some(json), None));
        assert_eq!(row.cells[0], Cell::Instant(1_700_000_002_000_000_000));
        let record = Record { metadata: Metadata { name: None, place: None }, body: Body::Cells(row.clone()) };
        assert_eq!(record.to_json(), json);
        let record = Record { body: Body::Cells(Cells { json: None, ..row }), ..record };
        assert_eq!(record.to_json(), json.replace("\"avg_magnitude\":3", "\"avg_magnitude\":3.0"));
        let (row, _) = Cells::parse(&ACTIVITY, b"{}").unwrap();
        assert_eq!(row.json, None);
    }
}
