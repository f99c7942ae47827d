//! The published JSON Schemas are what the list of fields says, each version goes on from the one before, and every record that
//! is written is valid.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use gaitway_proto::schema::{FieldType, TABLES, Table, json_schema, published_json_schemas};
use serde_json::{Value, json};

mod compatible;
mod records;

use compatible::compatible;

/// All versions of `table`'s schema, oldest first.
fn versions(table: &Table) -> Vec<Value> {
    published_json_schemas(table).iter().map(|text| serde_json::from_str(text).unwrap()).collect()
}

fn newest(table: &Table) -> Value {
    versions(table).pop().unwrap()
}

#[test]
fn the_newest_version_is_what_the_list_of_fields_says() {
    for table in TABLES {
        let published = published_json_schemas(table);
        let (topic, version) = (table.topic, published.len());
        assert!(
            published.last().is_some_and(|text| *text == json_schema(table, version as u32)),
            "the fields of {topic} are not those of proto/schemas/{topic}.v{version}.json: publish the next version as \
             proto/schemas/README.md says"
        );
    }
}

#[test]
fn every_file_is_a_published_version() {
    let mut names: Vec<_> = std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "README.md")
        .collect();
    names.sort();
    let mut published: Vec<_> = TABLES
        .iter()
        .flat_map(|table| (1..=versions(table).len()).map(|version| format!("{}.v{version}.json", table.topic)))
        .collect();
    published.sort();
    assert_eq!(names, published);
    for table in TABLES {
        for (schema, version) in versions(table).iter().zip(1..) {
            assert_eq!(schema["$id"], format!("urn:gaitway:{}:v{version}", table.topic));
        }
    }
}

#[test]
fn from_one_version_to_the_next_a_key_may_only_be_added() {
    for table in TABLES {
        let versions = versions(table);
        for (version, pair) in (1..).zip(versions.windows(2)) {
            compatible(&pair[0], &pair[1])
                .unwrap_or_else(|broken| panic!("{} from version {version} on: {broken:?}", table.topic));
        }
    }
}

#[test]
fn every_key_is_described_with_its_type_and_may_be_null() {
    for table in TABLES {
        let schema = newest(table);
        let properties = schema["properties"].as_object().unwrap();
        assert_eq!(properties.len(), table.fields.len());
        for field in table.fields {
            let property = &properties[field.name];
            let expected = match field.kind {
                FieldType::Int => "integer",
                FieldType::Float => "number",
                FieldType::Object => "object",
                FieldType::Text | FieldType::Instant | FieldType::SeedInstant => "string",
            };
            assert_eq!(property["type"], json!([expected, "null"]), "{}", field.name);
            assert_eq!(property["description"], field.doc);
        }
    }
}

#[test]
fn the_tutorials_keys_are_required_and_no_other_of_their_topics() {
    let required = |table: usize| newest(TABLES[table])["required"].clone();
    assert_eq!(
        required(0),
        json!(["messageId", "sessionId", "deviceId", "sensorType", "x", "y", "z", "accuracy", "timestamp"])
    );
    assert_eq!(required(1), json!(["timestamp", "sessionId", "deviceId", "activity", "confidence", "avg_magnitude"]));
    assert_eq!(required(2).as_array().unwrap().len(), TABLES[2].fields.len(), "nobody else writes it");
}

#[test]
fn a_key_that_is_added_nullable_and_not_required_is_compatible() {
    for table in TABLES {
        let old = newest(table);
        let mut new = old.clone();
        new["$id"] = "urn:gaitway:next".into();
        new["description"] = "in other words".into();
        new["properties"]["agentId"]["description"] = "in other words".into();
        new["properties"]["heartRate"] = json!({"type": ["integer", "null"], "description": "beats per minute"});
        assert_eq!(compatible(&old, &new), Ok(()), "{}", table.topic);
    }
}

#[test]
fn what_breaks_a_reader_is_incompatible_and_named() {
    type Change = fn(&mut Value);
    let old = newest(TABLES[0]);
    let broken = |change: Change| {
        let mut new = old.clone();
        change(&mut new);
        compatible(&old, &new).unwrap_err()
    };
    let cases: [(Change, &[&str]); 12] = [
        (|new| drop(properties(new).remove("userId")), &["userId is gone or renamed"]),
        (
            |new| {
                let x = properties(new).remove("readingIndex").unwrap();
                properties(new).insert("index".into(), x);
            },
            &["readingIndex is gone or renamed"],
        ),
        (|new| new["properties"]["x"]["type"][0] = "string".into(), &["x has another type"]),
        (|new| new["properties"]["x"]["type"] = "number".into(), &["x has another type"]),
        (|new| new["properties"]["x"]["type"][0] = "integer".into(), &["x has another type"]),
        (|new| new["properties"]["accuracy"]["maximum"] = 3.into(), &["accuracy has another type"]),
        (|new| new["properties"]["receivedAt"]["format"] = "date".into(), &["receivedAt has another type"]),
        (|new| required(new).push("userId".into()), &["userId is required now"]),
        (|new| drop(required(new).pop()), &["timestamp is no longer required"]),
        (
            |new| {
                properties(new).insert("added".into(), json!({"type": "string"}));
                required(new).push("added".into());
            },
            &["added is required now", "added is added and cannot be null"],
        ),
        (|new| new["additionalProperties"] = false.into(), &["additionalProperties was true and is false"]),
        (|new| new["type"] = "array".into(), &["type was \"object\" and is \"array\""]),
    ];
    for (change, expected) in cases {
        assert_eq!(broken(change), expected);
    }
}

fn properties(schema: &mut Value) -> &mut serde_json::Map<String, Value> {
    schema["properties"].as_object_mut().unwrap()
}

fn required(schema: &mut Value) -> &mut Vec<Value> {
    schema["required"].as_array_mut().unwrap()
}
