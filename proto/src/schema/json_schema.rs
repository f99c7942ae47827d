//! The records' JSON Schemas, for whoever reads the topics: what a value of a record is.
//!
//! - A key is described by its field: its type, null where unknown, its doc.
//! - The tutorial's keys are required. So are all keys of a table of which the tutorial knows nothing: only gaitway writes it.
//! - Further keys are allowed: a newer writer may add some, and readers pass over what they do not know.
//! - A version that was published stays as it is. A field that is added makes the next one.
//!
//! They are written in [draft-07](https://json-schema.org/draft-07), which every schema registry takes; the later drafts
//! say the same of what is used here. Where JSON Schema is coarser than the reader ([`Cells`](crate::record::Cells)) is
//! that 1.0 is an integer and years have no bounds.

use serde::ser::{Serialize, Serializer};

use super::{Field, FieldType, Table};

/// Every version of the schema of `table`'s records, oldest first, as it was published; the last is what
/// [`json_schema`] makes. Each is in `proto/schemas/`.
pub fn published_json_schemas(table: &Table) -> &'static [&'static str] {
    match table.topic {
        "raw_sensor_data" => &[include_str!("../../schemas/raw_sensor_data.v1.json")],
        "processed_activity" => &[include_str!("../../schemas/processed_activity.v1.json")],
        "gaitway_gaps" => &[include_str!("../../schemas/gaitway_gaps.v1.json")],
        _ => &[],
    }
}

/// Version `version` of the JSON Schema of `table`'s records, made of its fields: text that ends with a new line.
pub fn json_schema(table: &Table, version: u32) -> String {
    let written_by_others = table.fields.iter().any(|field| field.seed);
    let document = Document {
        dialect: "http://json-schema.org/draft-07/schema#",
        id: format!("urn:gaitway:{}:v{version}", table.topic),
        title: table.topic,
        description: table.doc,
        kind: "object",
        properties: Properties(table.fields),
        required: table
            .fields
            .iter()
            .filter(|field| field.seed || !written_by_others)
            .map(|field| field.name)
            .collect(),
        additional_properties: true,
    };
    let mut text = serde_json::to_string_pretty(&document).expect("text, numbers and lists serialise");
    text.push('\n');
    text
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    #[serde(rename = "$schema")]
    dialect: &'a str,
    #[serde(rename = "$id")]
    id: String,
    title: &'a str,
    description: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    properties: Properties<'a>,
    required: Vec<&'a str>,
    additional_properties: bool,
}

/// In the order of the fields.
struct Properties<'a>(&'a [Field]);

impl Serialize for Properties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|field| (field.name, Property::of(field))))
    }
}

#[derive(Default, serde::Serialize)]
struct Property<'a> {
    description: &'a str,
    #[serde(rename = "type")]
    kinds: [&'a str; 2],
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pattern: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minimum: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    maximum: Option<i64>,
}

/// What [`seed_time`](super::seed_time) writes.
const SEED_TIME: &str = "^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01]) ([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]$";

impl Property<'static> {
    fn of(field: &Field) -> Self {
        let of_type = |kind| Self { description: field.doc, kinds: [kind, "null"], ..Self::default() };
        match field.kind {
            FieldType::Int => Self { minimum: Some(i64::MIN), maximum: Some(i64::MAX), ..of_type("integer") },
            FieldType::Float => of_type("number"),
            FieldType::Text => of_type("string"),
            FieldType::Object => of_type("object"),
            FieldType::Instant => Self { format: Some("date-time"), ..of_type("string") },
            FieldType::SeedInstant => Self { pattern: Some(SEED_TIME), ..of_type("string") },
        }
    }
}
