//! One record, one line.

use std::fmt::Write as _;

use gaitway_proto::record::Cells;
use gaitway_proto::schema::{self, Cell, Field, RECORD_METADATA, Table};

/// Letters of an id that columns show.
const ID: usize = 12;

/// A record as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it lies, for people.
    pub(super) place: String,
    /// `RECORD_METADATA`
    pub(super) metadata: String,
    /// Its JSON value, which somebody else may have written.
    pub(super) value: Vec<u8>,
    /// The table that it should fit.
    pub(super) table: &'static Table,
}

/// Which records are shown: those whose ids begin so.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) device: Option<String>,
    pub(super) session: Option<String>,
}

impl Filter {
    fn passes(&self, row: Option<&Cells<'_>>) -> bool {
        [("deviceId", &self.device), ("sessionId", &self.session)].into_iter().all(|(field, wanted)| {
            let Some(wanted) = wanted else { return true };
            match row.and_then(|row| cell(row, field)) {
                Some(Cell::Text(id)) => id.starts_with(wanted.as_str()),
                _ => false,
            }
        })
    }
}

fn cell<'a>(row: &'a Cells<'_>, field: &str) -> Option<&'a Cell<'a>> {
    row.cells.get(row.table.fields.iter().position(|f| f.name == field)?)
}

/// A column: its head, the field, and how many letters wide.
type Column = (&'static str, &'static str, usize);

const RAW: [Column; 9] = [
    ("TIME (UTC)", "timestamp", 23),
    ("DEVICE", "deviceId", ID),
    ("SESSION", "sessionId", ID),
    ("MESSAGE", "messageId", 7),
    ("INDEX", "readingIndex", 5),
    ("SENSOR", "sensorType", 14),
    ("X", "x", 10),
    ("Y", "y", 10),
    ("Z", "z", 10),
];

const ACTIVITY: [Column; 7] = [
    ("WINDOW (UTC)", "windowStart", 23),
    ("DEVICE", "deviceId", ID),
    ("SESSION", "sessionId", ID),
    ("ACTIVITY", "activity", 10),
    ("CONFIDENCE", "confidence", 10),
    ("MEAN m/s²", "avg_magnitude", 10),
    ("SAMPLES", "sampleCount", 7),
];

const GAPS: [Column; 8] = [
    ("NOTICED (UTC)", "noticedAt", 23),
    ("AGENT", "agentId", ID),
    ("EPOCH", "epoch", 16),
    ("STREAM", "stream", 8),
    ("FROM", "fromSeq", 7),
    ("TO", "toSeq", 7),
    ("READINGS", "readings", 8),
    ("REASON", "reason", 0),
];

const PLACE: usize = 16;

/// How records are shown.
#[derive(Debug)]
pub(super) enum Look {
    /// Lines of JSON.
    Json,
    /// Columns for a terminal.
    Columns(&'static [Column]),
}

impl Look {
    /// The columns of `table`.
    pub(super) fn columns(table: &'static Table) -> Self {
        Self::Columns(match table.name {
            name if name == schema::RAW.name => &RAW,
            name if name == schema::ACTIVITY.name => &ACTIVITY,
            _ => &GAPS,
        })
    }

    /// What stands above the first line.
    pub(super) fn head(&self) -> Option<String> {
        let Self::Columns(columns) = self else { return None };
        let heads = columns.iter().map(|(head, field, width)| aligned(head, *width, is_number(field)));
        Some(joined(std::iter::once(aligned("PLACE", PLACE, false)).chain(heads)))
    }

    /// The record's line, if it passes `filter`. One that is no row of its table is shown as it is where nothing is
    /// asked of it.
    pub(super) fn line(&self, found: &Found, filter: &Filter) -> Option<String> {
        let parsed = Cells::parse(found.table, &found.value);
        let row = parsed.as_ref().ok().map(|(row, _)| row);
        if !filter.passes(row) {
            return None;
        }
        Some(match (self, &parsed) {
            (Self::Json, Ok(_)) => {
                let value = String::from_utf8_lossy(&found.value);
                let fields = value.trim().trim_start_matches('{');
                let comma = if fields.trim_start().starts_with('}') { "" } else { "," };
                format!("{{\"{RECORD_METADATA}\":{}{comma}{fields}", found.metadata)
            }
            (Self::Json, Err(why)) => serde_json::json!({
                RECORD_METADATA: serde_json::from_str::<serde_json::Value>(&found.metadata).unwrap_or_default(),
                "unreadable": why.to_string(),
                "value": String::from_utf8_lossy(&found.value),
            })
            .to_string(),
            (Self::Columns(columns), Ok((row, _))) => {
                let cells = columns.iter().map(|(_, field, width)| {
                    let text = cell(row, field).map_or_else(String::new, |cell| shown(field, cell));
                    aligned(&shortened(&text, field), *width, is_number(field))
                });
                joined(std::iter::once(aligned(&found.place, PLACE, false)).chain(cells))
            }
            (Self::Columns(_), Err(why)) => {
                joined([aligned(&found.place, PLACE, false), format!("unreadable: {}", plain(&why.to_string()))])
            }
        })
    }
}

fn field_named(name: &str) -> Option<&'static Field> {
    schema::TABLES.iter().flat_map(|table| table.fields).find(|field| field.name == name)
}

fn is_number(field: &str) -> bool {
    let kind = field_named(field).map(|field| field.kind);
    field != "timestamp" && matches!(kind, Some(schema::FieldType::Int | schema::FieldType::Float))
}

fn shown(field: &str, cell: &Cell<'_>) -> String {
    match cell {
        Cell::Null => "-".to_owned(),
        Cell::Int(nanoseconds) if field == "timestamp" => time(*nanoseconds),
        Cell::Int(number) => number.to_string(),
        Cell::Float(number) if field == "confidence" => format!("{:.1} %", number * 100.0),
        Cell::Float(number) => format!("{number:.4}"),
        Cell::Text(text) | Cell::Object(text) => plain(text),
        Cell::Instant(nanoseconds) => time(*nanoseconds),
    }
}

/// `YYYY-MM-DD HH:MM:SS.mmm`
fn time(nanoseconds: i64) -> String {
    let mut text = schema::seed_time(nanoseconds);
    let _ = write!(text, ".{:03}", nanoseconds.rem_euclid(1_000_000_000) / 1_000_000);
    text
}

/// Text that cannot move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn shortened(text: &str, field: &str) -> String {
    let is_id = matches!(field, "deviceId" | "sessionId" | "agentId");
    if is_id && text.chars().count() > ID {
        text.chars().take(ID - 1).chain(['…']).collect()
    } else {
        text.to_owned()
    }
}

fn aligned(text: &str, width: usize, right: bool) -> String {
    if right { format!("{text:>width$}") } else { format!("{text:<width$}") }
}

fn joined(cells: impl IntoIterator<Item = String>) -> String {
    cells.into_iter().collect::<Vec<_>>().join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(table: &'static Table, value: &str) -> Found {
        let metadata = r#"{"topic":"t"}"#.to_owned();
        Found { place: "2@17".to_owned(), metadata, value: value.as_bytes().to_vec(), table }
    }

    const WINDOW: &str = r#"{"timestamp":"2023-11-14 22:13:22","sessionId":"0123456789abcdef","deviceId":"pho\u001bne","activity":"walking","confidence":0.874,"avg_magnitude":3.25,"windowStart":"2023-11-14T22:13:12.5Z","sampleCount":12}"#;

    #[test]
    fn a_record_is_one_readable_line() {
        let look = Look::columns(&schema::ACTIVITY);
        let line = look.line(&found(&schema::ACTIVITY, WINDOW), &Filter::default()).unwrap();
        let words: Vec<_> = line.split_whitespace().collect();
        let expected = [
            "2@17",
            "2023-11-14",
            "22:13:12.500",
            "pho\u{fffd}ne",
            "0123456789a…",
            "walking",
            "87.4",
            "%",
            "3.2500",
            "12",
        ];
        assert_eq!(words, expected);
        assert_eq!(look.head().unwrap().find("DEVICE"), line.find("pho"));
        assert_eq!(Look::Json.head(), None);
    }

    #[test]
    fn as_json_it_has_its_name_in_front() {
        let line = Look::Json.line(&found(&schema::ACTIVITY, WINDOW), &Filter::default()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            (value["RECORD_METADATA"]["topic"].as_str(), value["confidence"].as_f64()),
            (Some("t"), Some(0.874))
        );
        let empty = Look::Json.line(&found(&schema::GAPS, "{}"), &Filter::default()).unwrap();
        assert_eq!(empty, r#"{"RECORD_METADATA":{"topic":"t"}}"#);
    }

    #[test]
    fn filters_take_the_beginning_of_an_id() {
        let passes = |device: Option<&str>, session: Option<&str>| {
            let filter = Filter { device: device.map(str::to_owned), session: session.map(str::to_owned) };
            Look::Json.line(&found(&schema::ACTIVITY, WINDOW), &filter).is_some()
        };
        assert!(passes(Some("pho"), None) && passes(None, Some("0123")) && passes(Some("pho"), Some("0")));
        assert!(!passes(Some("other"), None) && !passes(Some("pho"), Some("1")));
    }

    #[test]
    fn what_is_no_record_is_shown_as_it_is_unless_something_is_asked_of_it() {
        let foreign = found(&schema::RAW, "hello\n");
        let line = Look::Json.line(&foreign, &Filter::default()).unwrap();
        assert!(line.contains(r#""value":"hello\n""#) && line.contains("unreadable"), "{line}");
        assert!(Look::columns(&schema::RAW).line(&foreign, &Filter::default()).unwrap().contains("unreadable: "));
        assert_eq!(Look::Json.line(&foreign, &Filter { device: Some("a".to_owned()), session: None }), None);
    }
}
