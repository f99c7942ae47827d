//! The records that reach Kafka and the warehouses.

use std::borrow::Cow;

use crate::schema::{self, Cell, FieldType, Table};
use crate::spelling;

mod consumed;
mod metadata;

pub use consumed::{Cells, Parsed, Parser, Unreadable};
pub use metadata::{Metadata, NAME_KEYS, Name, Origin, Place, Written};

/// One record of any type.
#[derive(Debug, Clone, PartialEq)]
pub struct Record<'a> {
    /// Its name.
    pub metadata: Metadata<'a>,
    /// What it says.
    pub body: Body<'a>,
}

/// What a record says.
#[derive(Debug, Clone, PartialEq)]
pub enum Body<'a> {
    /// A reading.
    Raw(Raw<'a>),
    /// A classified window.
    Activity(Activity<'a>),
    /// Frames that will not come.
    Gap(GapNotice),
    /// Any of these, read back from Kafka.
    Cells(Cells<'a>),
}

/// A reading; see [`schema::RAW`] for the fields.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "schema::RAW documents each")]
pub struct Raw<'a> {
    pub message_id: Option<u64>,
    pub session: &'a str,
    pub device: &'a str,
    pub sensor: Option<&'a str>,
    pub xyz: [Option<f64>; 3],
    pub accuracy: Option<i64>,
    pub timestamp: Option<i64>,
    pub reading: Option<Cow<'a, str>>,
    pub reading_index: u32,
    pub user: Option<&'a str>,
    /// Microseconds since the Unix epoch.
    pub received_at: i64,
}

/// A classified window; see [`schema::ACTIVITY`] for the fields.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "schema::ACTIVITY documents each")]
pub struct Activity<'a> {
    pub session: &'a str,
    pub device: &'a str,
    pub activity: &'a str,
    pub confidence: f64,
    pub avg_magnitude: f64,
    /// Nanoseconds since the Unix epoch.
    pub window_start: i64,
    /// Nanoseconds since the Unix epoch.
    pub window_end: i64,
    pub sample_count: u64,
    pub classifier: &'a str,
    pub revision: u32,
}

/// Frames that will not come; see [`schema::GAPS`] for the fields. Its first seq is the metadata's.
#[derive(Debug, Clone, PartialEq)]
#[allow(missing_docs, reason = "schema::GAPS documents each")]
pub struct GapNotice {
    pub to_seq: u64,
    pub messages: Option<u64>,
    pub readings: Option<u64>,
    pub reason: String,
    /// Microseconds since the Unix epoch.
    pub noticed_at: i64,
}

impl<'a> Record<'a> {
    /// The table it belongs to.
    pub fn table(&self) -> &'static Table {
        match &self.body {
            Body::Raw(_) => &schema::RAW,
            Body::Activity(_) => &schema::ACTIVITY,
            Body::Gap(_) => &schema::GAPS,
            Body::Cells(row) => row.table,
        }
    }

    /// The Kafka key: the device; the agent for a gap; none if nobody gave it one.
    pub fn key(&self) -> Option<&str> {
        match &self.body {
            Body::Raw(raw) => Some(raw.device),
            Body::Activity(activity) => Some(activity.device),
            Body::Gap(_) => self.metadata.name.as_ref().map(|name| name.agent.as_str()),
            Body::Cells(_) => self.metadata.place.and_then(|place| place.key),
        }
    }

    /// Calls `visit` with every value after `RECORD_METADATA`, in the order of the table's fields.
    pub fn visit_cells(&self, mut visit: impl FnMut(Cell<'_>)) {
        let int = |v: Option<i64>| v.map_or(Cell::Null, Cell::Int);
        let float = |v: Option<f64>| v.map_or(Cell::Null, Cell::Float);
        let text = |v: &'a str| Cell::Text(Cow::Borrowed(v));
        let name = self.metadata.name.as_ref();
        let agent = || name.map_or(Cell::Null, |name| text(name.agent.as_str()));
        match &self.body {
            Body::Raw(raw) => {
                visit(int(raw.message_id.map(|id| id as i64)));
                visit(text(raw.session));
                visit(text(raw.device));
                visit(raw.sensor.map_or(Cell::Null, text));
                for axis in raw.xyz {
                    visit(float(axis));
                }
                visit(int(raw.accuracy));
                visit(int(raw.timestamp));
                visit(raw.reading.as_deref().map_or(Cell::Null, |json| Cell::Object(Cow::Borrowed(json))));
                visit(Cell::Int(i64::from(raw.reading_index)));
                visit(raw.user.map_or(Cell::Null, text));
                visit(agent());
                visit(micros(raw.received_at));
            }
            Body::Activity(window) => {
                visit(Cell::Instant(window.window_end));
                visit(text(window.session));
                visit(text(window.device));
                visit(text(window.activity));
                visit(Cell::Float(window.confidence));
                visit(Cell::Float(window.avg_magnitude));
                visit(Cell::Instant(window.window_start));
                visit(Cell::Instant(window.window_end));
                visit(Cell::Int(window.sample_count as i64));
                visit(text(window.classifier));
                visit(Cell::Int(i64::from(window.revision)));
                visit(agent());
            }
            Body::Gap(gap) => {
                visit(agent());
                visit(name.map_or(Cell::Null, |name| Cell::Text(Cow::Owned(name.epoch.to_string()))));
                visit(name.map_or(Cell::Null, |name| text(name.stream.as_str())));
                visit(name.map_or(Cell::Null, |name| Cell::Int(name.seq as i64)));
                visit(Cell::Int(gap.to_seq as i64));
                visit(int(gap.messages.map(|v| v as i64)));
                visit(int(gap.readings.map(|v| v as i64)));
                visit(Cell::Text(Cow::Borrowed(&gap.reason)));
                visit(micros(gap.noticed_at));
            }
            Body::Cells(row) => row.cells.iter().for_each(|cell| visit(cell.clone())),
        }
    }

    /// The record's JSON value, without its metadata: every key of the table, null where unknown.
    pub fn to_json(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write_json(&mut out);
        out
    }

    /// Appends [`to_json`](Self::to_json) to `out`.
    pub fn write_json(&self, out: &mut String) {
        if let Body::Cells(Cells { json: Some(json), .. }) = &self.body {
            out.push_str(json);
            return;
        }
        let mut opening = '{';
        let mut fields = self.table().fields.iter();
        self.visit_cells(|cell| {
            let field = fields.next().expect("visit_cells follows the table's fields");
            out.push(std::mem::replace(&mut opening, ','));
            out.push('"');
            out.push_str(field.name);
            out.push_str("\":");
            push_json(out, field.kind, &cell);
        });
        out.push('}');
    }
}

/// Microseconds as a cell, held inside what nanoseconds can tell.
fn micros(v: i64) -> Cell<'static> {
    Cell::Instant(v.saturating_mul(1000))
}

/// Appends `cell`, of a field of this kind, as JSON.
pub fn push_json(out: &mut String, kind: FieldType, cell: &Cell<'_>) {
    match cell {
        Cell::Null => out.push_str("null"),
        Cell::Int(v) => spelling::push_int(out, *v),
        Cell::Float(v) => spelling::push_float(out, *v),
        Cell::Text(v) => spelling::push_text(out, v),
        Cell::Object(v) => out.push_str(v),
        Cell::Instant(v) => {
            out.push('"');
            schema::push_instant(out, kind, *v);
            out.push('"');
        }
    }
}
