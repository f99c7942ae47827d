//! Any message survives encoding and decoding; any bytes are read or refused; the size is what it is meant to be.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::borrow::Cow;

use gaitway_proto::envelope::WireError;
use gaitway_proto::frame::{Builder, Claims, Frame, Packed, Plain};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::limits;
use gaitway_proto::message::{Header, MAX_MESSAGE_ID, Message, PlainReading, Reading};
use gaitway_proto::record::{Body, Origin, Record};
use gaitway_proto::value::{Fields, Value};
use proptest::prelude::*;

mod pinned;
use pinned::golden;

fn pack(message: &Message) -> Packed {
    let mut builder = Builder::new();
    builder.set_extra(message.extra.clone());
    for reading in &message.readings {
        match reading {
            Reading::Odd(value) => builder.push_odd(value),
            Reading::Plain(plain) => {
                let mut values: Vec<(Cow<'_, str>, Value)> =
                    plain.values.iter().map(|(k, v)| (Cow::Borrowed(k.as_str()), v.clone())).collect();
                let head =
                    Plain { name: &plain.name, time: plain.time, accuracy: plain.accuracy, extra: plain.extra.clone() };
                builder.push_plain(head, &mut values);
            }
        }
    }
    builder.finish()
}

fn header() -> Header {
    Header {
        device: "phone".to_owned(),
        session: "walk".to_owned(),
        user: None,
        message_id: Some(7),
        received_at: 1_760_000_000_123_456,
        clock_synced: true,
    }
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(Value::I64),
        (-1000_i64..1000).prop_map(Value::I64),
        (i64::MAX as u64 + 1..=u64::MAX).prop_map(Value::U64),
        any::<f64>().prop_filter("JSON has finite numbers only", |v| v.is_finite()).prop_map(Value::F64),
        any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| Value::F64(f64::from(v))),
        any::<f32>().prop_map(|v| f64::from(v) * 9.80665).prop_filter("finite", |v| v.is_finite()).prop_map(Value::F64),
        Just(Value::F64(-0.0)),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        4 => number(),
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        1 => ".{0,12}".prop_map(Value::Text),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|fields| Value::Object(fields.into())),
        ]
    })
}

fn fields(keys: &'static str) -> impl Strategy<Value = Fields> {
    prop::collection::btree_map(keys, value(), 0..4).prop_map(Fields::from)
}

fn axes(number: impl Strategy<Value = Value> + Clone) -> impl Strategy<Value = Fields> {
    [number.clone(), number.clone(), number]
        .prop_map(|[x, y, z]| [("x".to_owned(), x), ("y".to_owned(), y), ("z".to_owned(), z)].into())
}

fn reading() -> impl Strategy<Value = Reading> {
    let values = prop_oneof![
        4 => axes(any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| Value::F64(f64::from(v)))),
        2 => axes(number().boxed()),
        1 => fields("[a-c]"),
    ];
    let extra = prop_oneof![4 => Just(Fields::new()), 1 => fields("[p-r]")];
    let time = prop_oneof![0_i64..2_000_000_000_000_000_000, any::<i64>()];
    let plain = ("[ab]", time, prop::option::of(any::<i64>()), values, extra).prop_map(
        |(name, time, accuracy, values, extra)| Reading::Plain(PlainReading { name, time, accuracy, values, extra }),
    );
    prop_oneof![6 => plain, 1 => value().prop_map(Reading::Odd)]
}

fn message() -> impl Strategy<Value = Message> {
    let header = (
        ".{0,40}",
        ".{0,40}",
        prop::option::of(".{0,9}"),
        prop::option::of(0..=MAX_MESSAGE_ID),
        any::<i64>(),
        any::<bool>(),
    )
        .prop_map(|(device, session, user, message_id, received_at, clock_synced)| Header {
            device,
            session,
            user,
            message_id,
            received_at,
            clock_synced,
        });
    (header, fields("[u-w]"), prop::collection::vec(reading(), 0..30)).prop_map(|(header, extra, readings)| Message {
        header,
        extra,
        readings,
    })
}

/// Floats compare bit for bit, so that `-0.0` is not lost unseen.
fn same(a: &Message, b: &Message) -> bool {
    a == b && format!("{a:?}") == format!("{b:?}")
}

fn origin(agent: &gaitway_proto::topic::AgentId) -> Origin<'_> {
    Origin { agent, epoch: Epoch::from_random(5), ordinal: 1, stream: Stream::Raw, seq: 3 }
}

proptest! {
    #[test]
    fn any_message_survives(message in message()) {
        let packed = pack(&message);
        prop_assert_eq!(packed.check(), Ok(()));
        let frame = Frame::decode(&packed.seal(&message.header)).unwrap();
        prop_assert_eq!(frame.readings(), message.readings.len());
        let back = frame.to_message();
        prop_assert!(same(&back, &message), "{:?}\nbecame\n{:?}", message, back);
    }

    #[test]
    fn every_reading_is_a_record_with_its_values(message in message()) {
        let agent = "pi".parse().unwrap();
        let frame = Frame::decode(&pack(&message).seal(&message.header)).unwrap();
        let mut records = Vec::new();
        frame.records(origin(&agent), &mut records);
        prop_assert_eq!(records.len(), message.readings.len());
        for (index, (record, reading)) in records.iter().zip(&message.readings).enumerate() {
            let first_extra = if index == 0 { &message.extra } else { &Fields::new() };
            assert_tells(record, reading, first_extra);
            let json: serde_json::Value = serde_json::from_str(&record.to_json()).unwrap();
            prop_assert_eq!(json["readingIndex"].as_u64(), Some(index as u64));
            prop_assert_eq!(json["agentId"].as_str(), Some("pi"));
        }
    }

    #[test]
    fn what_a_frame_claims_is_true(message in message()) {
        let bytes = pack(&message).seal(&message.header);
        let claims = Claims::read(&bytes).unwrap();
        prop_assert_eq!(claims.readings, message.readings.len());
        prop_assert!(claims.decoded >= claims.readings, "{:?}", claims);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Frame::decode(&bytes);
        let _ = Claims::read(&bytes);
        // As version 1, so that the body is read too.
        let _ = Claims::read(&[&[1], &bytes[..]].concat());
    }

    #[test]
    fn a_damaged_frame_is_refused(message in message(), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut bytes = pack(&message).seal(&message.header);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        prop_assert!(Frame::decode(&bytes).is_err());
    }
}

/// What decoding says, which the check of what was packed must have said before.
fn checked_and_decoded(message: &Message) -> Result<usize, WireError> {
    let packed = pack(message);
    let decoded = Frame::decode(&packed.seal(&message.header)).map(|frame| frame.readings());
    assert_eq!(packed.check().err(), decoded.as_ref().err().cloned());
    decoded
}

#[test]
fn a_frame_that_would_spread_to_more_than_a_push_can_say_is_refused() {
    let plain = |name: &str, keys: usize, rows: i64| {
        let values: Fields = (0..keys).map(|key| (format!("{key:04}"), Value::Null)).collect();
        let reading = |time| PlainReading {
            name: name.to_owned(),
            time,
            accuracy: None,
            values: values.clone(),
            extra: Fields::new(),
        };
        let readings = (0..rows).map(|time| Reading::Plain(reading(time))).collect();
        let message = Message { header: header(), extra: Fields::new(), readings };
        checked_and_decoded(&message)
    };
    assert_eq!(plain("s", 400, 2_400), Ok(2_400));
    let refused = Err(WireError::TooLarge { what: "size of a frame as readings", limit: limits::MAX_BODY });
    assert_eq!(plain("s", 400, 2_800), refused);
    assert_eq!(plain(&"s".repeat(100_000), 0, 100), refused);

    let odd = |value: Value| {
        let message = Message { header: header(), extra: Fields::new(), readings: vec![Reading::Odd(value)] };
        checked_and_decoded(&message)
    };
    let floats = |count| Value::Array(vec![Value::F64(1e15); count]);
    assert_eq!(odd(floats(1_400_000)), Ok(1), "as 1e15 they fit");
    let object = Value::Object([(String::new(), Value::I64(0))].into());
    let refused = Err(WireError::TooLarge { what: "JSON in a frame", limit: limits::MAX_BODY });
    assert_eq!(odd(Value::Array(vec![object; 1_200_000])), refused);
    let beyond = |count| Value::Array(vec![Value::from("1e999"); count]);
    assert_eq!(odd(beyond(limits::MAX_BODY / 6 - 1)), Ok(1), "as 1e999 they fit");
    assert_eq!(odd(beyond(limits::MAX_BODY / 6 + 1)), refused);

    let mut header = header();
    header.device = "d".repeat(limits::MAX_ID + 1);
    let long = Frame::decode(&Builder::new().finish().seal(&header)).map(|frame| frame.readings());
    assert_eq!(long, Err(WireError::TooLarge { what: "length of an id", limit: limits::MAX_ID }));
}

/// Deeper than this no JSON is read back: whoever makes a record must not read its own.
#[test]
fn records_are_made_of_values_nested_as_deep_as_a_frame_may_hold() {
    let nested = (0..126).fold(Value::Array(vec![]), |inner, _| Value::Array(vec![inner]));
    let values: Fields = [("k".to_owned(), nested.clone())].into();
    let plain = PlainReading { name: "s".to_owned(), time: 0, accuracy: None, values, extra: Fields::new() };
    let agent = "pi".parse().unwrap();
    for reading in [Reading::Odd(nested), Reading::Plain(plain)] {
        let extra = [("later".to_owned(), Value::Null)].into();
        let message = Message { header: header(), extra, readings: vec![reading] };
        let frame = Frame::decode(&pack(&message).seal(&message.header)).unwrap();
        let mut records = Vec::new();
        frame.records(origin(&agent), &mut records);
        let Body::Raw(raw) = &records[0].body else { panic!("a frame gives raw records") };
        assert!(raw.reading.as_deref().unwrap().contains(r#""message":{"later":null}"#));
    }
}

/// The columns and `reading` of a record hold all that the reading said.
fn assert_tells(record: &Record<'_>, reading: &Reading, message_extra: &Fields) {
    let Body::Raw(raw) = &record.body else { panic!("a frame gives raw records") };
    let mut kept: Fields = raw.reading.as_deref().map(|t| serde_json::from_str(t).unwrap()).unwrap_or_default();
    if !message_extra.is_empty() {
        let key = kept.iter().map(|(key, _)| key).filter(|k| k.starts_with("message")).max().unwrap().clone();
        assert_eq!(kept.remove(&key), Some(Value::Object(message_extra.clone())));
    }
    match reading {
        Reading::Odd(Value::Object(original)) => assert_eq!(&kept, original),
        Reading::Odd(original) => assert_eq!(kept.get("original"), Some(original)),
        Reading::Plain(plain) => {
            assert_eq!(raw.sensor, Some(plain.name.as_str()));
            assert_eq!(raw.timestamp, Some(plain.time));
            assert_eq!(raw.accuracy, plain.accuracy);
            let in_columns = plain.values.len() == 3
                && ["x", "y", "z"].iter().all(|a| plain.values.get(a).is_some_and(Value::is_number));
            for (axis, column) in ["x", "y", "z"].iter().zip(raw.xyz) {
                assert_eq!(column, plain.values.get(axis).and_then(Value::as_number));
            }
            if !in_columns {
                assert_eq!(kept.remove("values"), Some(Value::Object(plain.values.clone())));
            }
            assert_eq!(kept, plain.extra);
        }
    }
}

/// A small linear congruential generator: the size must not depend on the day.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[test]
fn a_three_axis_reading_takes_at_most_15_bytes() {
    let mut noise = Noise(1);
    let sensors = [("accelerometer", 9.80665), ("gravity", 9.80665), ("gyroscope", 1.0), ("magnetometer", 1.0)];
    let mut message = Message { header: header(), extra: Fields::new(), readings: Vec::new() };
    for tick in 0..100_i64 {
        for (name, unit) in sensors {
            let jitter = (noise.next() * 4000.0) as i64;
            let mut axis = || Value::F64(f64::from((noise.next() * 4.0 - 2.0) as f32) * unit);
            let values = ["x", "y", "z"].map(|key| (key.to_owned(), axis())).into();
            message.readings.push(Reading::Plain(PlainReading {
                name: name.to_owned(),
                time: 1_760_000_000_000_000_000 + (tick * 39_062 + jitter) * 256,
                accuracy: None,
                values,
                extra: Fields::new(),
            }));
        }
    }
    let bytes = pack(&message).seal(&message.header);
    let each = bytes.len() as f64 / message.readings.len() as f64;
    assert!(each <= 15.0, "{each:.2} bytes a reading");
    assert!(same(&Frame::decode(&bytes).unwrap().to_message(), &message));
}

/// Decoding is pinned, not the compressor's choice of bytes.
#[test]
fn version_1_is_pinned() {
    let message = golden_message();
    let pinned = golden("frame-v1.bin", &pack(&message).seal(&message.header));
    assert!(same(&Frame::decode(&pinned).unwrap().to_message(), &message));
}

fn golden_message() -> Message {
    let plain = |name: &str, time, accuracy, values: &str, extra: &str| {
        Reading::Plain(PlainReading {
            name: name.to_owned(),
            time,
            accuracy,
            values: serde_json::from_str(values).unwrap(),
            extra: serde_json::from_str(extra).unwrap(),
        })
    };
    let start = 1_760_000_000_000_000_000;
    Message {
        header: Header { user: Some("participant-7".to_owned()), ..header() },
        extra: serde_json::from_str(r#"{"app":{"version":"1.63"}}"#).unwrap(),
        readings: vec![
            plain("accelerometer", start, Some(3), r#"{"x":0.5,"y":-1.25,"z":0}"#, "{}"),
            plain("gyroscope", start + 256, Some(3), r#"{"x":0.1,"y":0.2,"z":0.3}"#, "{}"),
            plain("accelerometer", start + 10_000_128, Some(3), r#"{"x":1.5,"y":2.25,"z":-3.5}"#, "{}"),
            plain("battery", start, None, r#"{"batteryLevel":0.5,"batteryState":"full","lowPowerMode":false}"#, "{}"),
            plain("pedometer", start, None, r#"{"steps":12}"#, r#"{"future":[1,null]}"#),
            plain(
                "gravity",
                start,
                None,
                &format!(r#"{{"x":{},"y":9.80665,"z":0}}"#, f64::from(0.25_f32) * 9.80665),
                "{}",
            ),
            Reading::Odd(serde_json::from_str(r#"{"name":"x","time":"soon","values":[1,"2"]}"#).unwrap()),
            Reading::Odd(Value::I64(5)),
        ],
    }
}
