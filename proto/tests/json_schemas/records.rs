//! Records against the newest schemas, by a validator that knows formats.

use std::borrow::Cow;

use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::record::{Activity, Body, Cells, GapNotice, Origin, Raw, Record};
use gaitway_proto::schema::{TABLES, Table};
use gaitway_proto::topic::AgentId;
use jsonschema::Validator;
use proptest::prelude::*;
use serde_json::{Value, json};

fn validator(table: &Table) -> Validator {
    let schema = super::newest(table);
    assert!(jsonschema::meta::is_valid(&schema), "{} is a JSON Schema", table.topic);
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

/// The record's JSON value, which the validator takes.
fn written(body: Body<'_>) -> (&'static Table, Value) {
    let agent: AgentId = "attic-4711".parse().unwrap();
    let stream = if matches!(body, Body::Activity(_)) { Stream::Activity } else { Stream::Raw };
    let origin = Origin { agent: &agent, epoch: Epoch::from_random(5), ordinal: 1, stream, seq: 17 };
    let record = Record { metadata: origin.metadata(0, Some(true)), body };
    (record.table(), serde_json::from_str(&record.to_json()).unwrap())
}

fn assert_valid(body: Body<'_>) {
    let (table, value) = written(body);
    let errors: Vec<_> = validator(table).iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{value}: {errors:?}");
}

fn finite() -> impl Strategy<Value = f64> {
    any::<f64>().prop_filter("the columns hold finite numbers only", |v| v.is_finite())
}

prop_compose! {
    fn raw()(
        message_id in proptest::option::of(0..=1_u64 << 53),
        texts in any::<[String; 2]>(),
        optional in any::<[Option<String>; 2]>(),
        xyz in [proptest::option::of(finite()), proptest::option::of(finite()), proptest::option::of(finite())],
        integers in any::<(Option<i64>, Option<i64>, u32, i64)>(),
        reading in proptest::option::of(any::<(String, i64)>()),
    ) -> (Option<u64>, [String; 2], [Option<String>; 2], [Option<f64>; 3], (Option<i64>, Option<i64>, u32, i64), Option<String>) {
        let reading = reading.map(|(key, value)| json!({key: value, "nested": {"list": [null, "x", 1.5]}}).to_string());
        (message_id, texts, optional, xyz, integers, reading)
    }
}

proptest! {
    #[test]
    fn every_reading_that_is_written_is_valid((message_id, texts, optional, xyz, integers, reading) in raw()) {
        let (accuracy, timestamp, reading_index, received_at) = integers;
        assert_valid(Body::Raw(Raw {
            message_id,
            session: &texts[0],
            device: &texts[1],
            sensor: optional[0].as_deref(),
            xyz,
            accuracy,
            timestamp,
            reading: reading.map(Cow::Owned),
            reading_index,
            user: optional[1].as_deref(),
            received_at,
        }));
    }

    #[test]
    fn every_window_that_is_written_is_valid(
        texts in any::<[String; 4]>(),
        confidence in 0.0..=1.0,
        avg_magnitude in finite(),
        window in any::<(i64, i64)>(),
        sample_count in 0..=i64::MAX as u64,
        revision: u32,
    ) {
        let [session, device, activity, classifier] = texts.each_ref().map(String::as_str);
        let (window_start, window_end) = window;
        assert_valid(Body::Activity(Activity {
            session,
            device,
            activity,
            confidence,
            avg_magnitude,
            window_start,
            window_end,
            sample_count,
            classifier,
            revision,
        }));
    }

    #[test]
    fn every_gap_that_is_written_is_valid(
        to_seq in 0..=i64::MAX as u64,
        counts in any::<(Option<u32>, Option<u32>)>(),
        reason: String,
        noticed_at: i64,
    ) {
        let (messages, readings) = (counts.0.map(u64::from), counts.1.map(u64::from));
        assert_valid(Body::Gap(GapNotice { to_seq, messages, readings, reason, noticed_at }));
    }
}

/// One whole record a table.
fn samples() -> [(&'static Table, Value); 3] {
    let raw = Raw {
        message_id: Some(7),
        session: "walk",
        device: "phone",
        sensor: Some("accelerometer"),
        xyz: [Some(0.5), Some(-1.0), Some(9.806_65)],
        accuracy: Some(3),
        timestamp: Some(1_700_000_000_000_000_001),
        reading: Some(Cow::Borrowed(r#"{"values":{"x":"1.5"}}"#)),
        reading_index: 4,
        user: Some("p17"),
        received_at: 1_700_000_000_123_456,
    };
    let activity = Activity {
        session: "walk",
        device: "phone",
        activity: "walking",
        confidence: 0.75,
        avg_magnitude: 3.5,
        window_start: 1_700_000_000_000_000_000,
        window_end: 1_700_000_010_000_000_000,
        sample_count: 500,
        classifier: "threshold",
        revision: 0,
    };
    let gap = GapNotice {
        to_seq: 20,
        messages: Some(4),
        readings: Some(1_600),
        reason: "spool is full".to_owned(),
        noticed_at: 1_700_000_000_000_000,
    };
    [Body::Raw(raw), Body::Activity(activity), Body::Gap(gap)].map(written)
}

#[test]
fn a_value_of_another_type_is_invalid_for_every_key_and_null_is_valid() {
    let values = [json!(true), json!("text"), json!(1.5), json!([1]), json!({"a": 1})];
    let mut refused = 0;
    for (table, record) in samples() {
        let validator = validator(table);
        for field in table.fields {
            let mut changed = record.clone();
            changed[field.name] = Value::Null;
            assert!(validator.is_valid(&changed), "{} may be null", field.name);
            for value in &values {
                changed[field.name] = value.clone();
                // What the reader of the sink refuses is invalid, and the other way round.
                let readable = Cells::parse(table, changed.to_string().as_bytes()).is_ok();
                assert_eq!(validator.is_valid(&changed), readable, "{}: {value}", field.name);
                refused += usize::from(!readable);
            }
        }
    }
    assert!(refused > 100, "{refused}");
}

#[test]
fn values_beyond_their_range_and_times_that_are_none_are_invalid() {
    let [raw, activity, _] = samples();
    for ((table, record), key, value) in [
        (&raw, "timestamp", json!(9_223_372_036_854_775_808_u64)),
        (&raw, "receivedAt", json!("2023-11-14 22:13")),
        (&raw, "receivedAt", json!("2023-13-14T22:13:20Z")),
        (&activity, "timestamp", json!("2023-11-14T22:13:20Z")),
        (&activity, "timestamp", json!("2023-13-14 22:13:20")),
        (&activity, "timestamp", json!("2023-11-14 24:13:20")),
        (&activity, "windowStart", json!("yesterday")),
    ]
    .map(|(sample, key, value)| (sample.clone(), key, value))
    {
        let mut changed = record;
        changed[key] = value;
        assert!(!validator(table).is_valid(&changed), "{key} {}", changed[key]);
    }
}

#[test]
fn a_record_needs_the_required_keys_and_may_have_more() {
    for (table, record) in samples() {
        let (validator, schema) = (validator(table), super::newest(table));
        assert!(validator.is_valid(&record));
        let mut more = record.clone();
        more["ofANewerWriter"] = json!({"any": ["thing"]});
        assert!(validator.is_valid(&more));
        for field in table.fields {
            let mut less = record.clone();
            less.as_object_mut().unwrap().remove(field.name);
            let required = schema["required"].as_array().unwrap().contains(&field.name.into());
            assert_eq!(validator.is_valid(&less), !required, "{}", field.name);
        }
    }
    assert!(!validator(TABLES[0]).is_valid(&json!([])));
}
