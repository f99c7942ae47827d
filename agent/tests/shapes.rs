//! Every shape that the app was seen to push is read whole: what the frame gives back is what was sent.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

use gaitway_agent::ingest::{Push, Refusal, parse, parse_without_id};
use gaitway_agent::phones::Privacy;
use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::limits;
use gaitway_proto::message::{Header, Message, Reading};
use gaitway_proto::record::Origin;
use gaitway_proto::topic::AgentId;
use gaitway_proto::value::{Fields, Value};
use proptest::prelude::*;

fn frame(push: &Push) -> Frame {
    let header = Header {
        device: push.device.clone(),
        session: push.session.clone(),
        user: push.user.clone(),
        message_id: push.message_id,
        received_at: 0,
        clock_synced: false,
    };
    Frame::decode(&push.packed.seal(&header)).unwrap()
}

fn message(push: &Push) -> Message {
    frame(push).to_message()
}

/// A message as the JSON it came from, known fields that say nothing left out.
fn body_of(message: &Message) -> Fields {
    let mut body = message.extra.clone();
    let text = |text: &str| Value::Text(text.to_owned());
    body.insert("deviceId".to_owned(), text(&message.header.device));
    body.insert("sessionId".to_owned(), text(&message.header.session));
    body.extend(message.header.user.as_deref().map(|user| ("userId".to_owned(), text(user))));
    body.extend(message.header.message_id.map(|id| ("messageId".to_owned(), Value::I64(id as i64))));
    let readings = message.readings.iter().map(|reading| match reading {
        Reading::Odd(value) => value.clone(),
        Reading::Plain(plain) => {
            let mut fields = plain.extra.clone();
            fields.insert("name".to_owned(), text(&plain.name));
            fields.insert("time".to_owned(), Value::I64(plain.time));
            fields.insert("values".to_owned(), Value::Object(plain.values.clone()));
            fields.extend(plain.accuracy.map(|a| ("accuracy".to_owned(), Value::I64(a))));
            Value::Object(fields)
        }
    });
    body.insert("payload".to_owned(), Value::Array(readings.collect()));
    body
}

/// The app's integers may be spelled as floats: `time` and `accuracy` are kept as integers then.
fn canonical(mut fields: Fields) -> Fields {
    if let Some(Value::Array(readings)) = fields.get_mut("payload") {
        for reading in readings {
            let Value::Object(reading) = reading else { continue };
            for key in ["time", "accuracy"] {
                if let Some(value) = reading.get_mut(key)
                    && let (Value::F64(_), Some(integer)) = (&*value, value.as_integer())
                {
                    *value = Value::I64(integer);
                }
            }
        }
    }
    fields
}

fn assert_whole(body: &str) -> Push {
    let push = parse(body.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal}: {body}"));
    assert_eq!(canonical(body_of(&message(&push))), canonical(serde_json::from_str(body).unwrap()));
    push
}

#[test]
fn every_shape_is_read_whole() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/samples/push-shapes.ndjson");
    let shapes = std::fs::read_to_string(path).unwrap();
    let pushes: Vec<Push> = shapes.lines().map(assert_whole).collect();
    assert_eq!(pushes.len(), 10);
    assert!(pushes[0].test && pushes[1..].iter().all(|push| !push.test));
    assert_eq!(pushes[1].samples.len(), 20, "an iPhone without accuracy");
    assert_eq!(pushes[5].samples.len(), 1, "numbers as text, time as a float");
    assert_eq!(pushes[5].samples[0].time, 1_760_000_000_449_999_872);
    assert_eq!(pushes[6].samples.len(), 1, "a null axis is not eligible");
    assert_eq!(pushes[7].packed.readings(), 0, "an empty payload");
    assert_eq!(pushes[8].user.as_deref(), Some("study-participant-7"));
}

#[test]
fn a_sensor_called_test_beside_others_is_no_test_button() {
    let body = r#"{"deviceId":"d","sessionId":"s","payload":[{"name":"test","time":1,"values":{}},{"name":"a","time":1,"values":{}}]}"#;
    assert!(!assert_whole(body).test);
}

#[test]
fn unusable_readings_are_kept_as_they_came() {
    for reading in [
        "5",
        "null",
        "[]",
        r#""text""#,
        "{}",
        r#"{"name":"accelerometer"}"#,
        r#"{"name":7,"time":1,"values":{}}"#,
        r#"{"name":"x","time":"soon","values":{}}"#,
        r#"{"name":"x","time":1.5,"values":{}}"#,
        r#"{"name":"x","time":1,"values":null}"#,
        r#"{"name":"x","time":1,"values":[1,2,3]}"#,
        r#"{"name":"x","time":1,"accuracy":"high","values":{}}"#,
        r#"{"name":"x","time":18446744073709551615,"values":{}}"#,
        r#"{"name":"x","time":-5,"values":{"a":{"b":[null,true]}},"new":{"k":1}}"#,
        r#"{"name":"accelerometer","time":1,"values":{"x":1e999,"y":0,"z":0}}"#.replace("1e999", "\"1e999\"").as_str(),
    ] {
        let push = assert_whole(&format!(r#"{{"deviceId":"d","sessionId":"s","messageId":1,"payload":[{reading}]}}"#));
        assert!(push.samples.is_empty(), "{reading}");
    }
}

#[test]
fn a_number_beyond_f64_is_kept_as_its_text() {
    let body = r#"{"deviceId":"d","sessionId":"s","payload":[{"name":"a","time":1,"values":{"x":1e999}}]}"#;
    let message = message(&parse(body.as_bytes()).unwrap());
    let Reading::Plain(reading) = &message.readings[0] else { panic!("odd") };
    assert_eq!(reading.values.get("x"), Some(&Value::from("1e999")));
}

#[test]
fn an_id_that_is_none_is_kept_among_the_unknown_fields() {
    for (id, usable) in [("7", true), ("7.0", true), ("-1", false), ("9007199254740993", false), ("\"7\"", false)] {
        let body = format!(r#"{{"deviceId":"d","sessionId":"s","messageId":{id},"payload":[]}}"#);
        let push = parse(body.as_bytes()).unwrap();
        assert_eq!(push.message_id.is_some(), usable, "{id}");
        assert_eq!(message(&push).extra.contains_key("messageId"), !usable, "{id}");
    }
    let body = br#"{"deviceId":"d","sessionId":"s","messageId":7,"payload":[1]}"#;
    let refused = message(&parse_without_id(body, Privacy::default()).unwrap());
    assert_eq!((refused.header.message_id, refused.extra.get("messageId")), (None, Some(&Value::I64(7))));
}

#[test]
fn an_error_behind_readings_printed_alike_is_told_by_its_place() {
    let reading = r#"{"name":"a","time":1,"values":{"x":1}}"#;
    let body = format!("{{\"payload\":[\n{reading},\n{reading},\n{reading},\n{{\"name\":nope");
    let Err(Refusal::NotJson(said)) = parse(body.as_bytes()) else { panic!("refused as what it is") };
    assert!(said.contains("line 5 column 10"), "{said}");
}

#[test]
fn of_duplicate_keys_the_last_wins() {
    let body = r#"{"deviceId":"a","deviceId":"d","sessionId":"s","payload":[1],"payload":[
        {"name":"x","name":"y","time":1,"values":{"k":1,"k":2}},
        {"name":"y","time":1,"values":{"k":1,"k":2}}]}"#;
    let push = parse(body.as_bytes()).unwrap();
    assert_eq!(push.device, "d");
    assert_eq!(body_of(&message(&push)), serde_json::from_str::<Fields>(body).unwrap());
    let kept = |fields: &str| {
        let body = format!(r#"{{"deviceId":"d","sessionId":"s",{fields}}}"#);
        message(&parse(body.as_bytes()).unwrap())
    };
    for (first, last) in [
        (r#""userId":"u""#, r#""userId":null"#),
        (r#""userId":"u""#, r#""userId":5"#),
        (r#""userId":5"#, r#""userId":"u""#),
        (r#""messageId":1"#, r#""messageId":null"#),
        (r#""messageId":1"#, r#""messageId":"none""#),
        (r#""messageId":"none""#, r#""messageId":1"#),
    ] {
        assert_eq!(kept(&format!("{first},{last}")), kept(last), "{first} before {last}");
    }
}

#[test]
fn what_is_no_push_is_refused_with_the_reason() {
    let refused = |body: &str| parse(body.as_bytes()).unwrap_err();
    for body in ["", "{", "nope", r#"{"a":1}x"#, r#"{"a":NaN}"#, "\u{0}", r#"{"a":"\ud800"}"#] {
        assert!(matches!(refused(body), Refusal::NotJson(_)), "{body:?}");
    }
    for body in [
        "[]",
        "1",
        "{}",
        r#"{"deviceId":"d"}"#,
        r#"{"deviceId":"","sessionId":"s"}"#,
        r#"{"deviceId":1,"sessionId":"s"}"#,
    ] {
        assert!(matches!(refused(body), Refusal::NotAPush(_)), "{body:?}");
    }
    for key in ["deviceId", "sessionId"] {
        for folder in [".", ".."] {
            let body = format!(r#"{{"deviceId":"d","sessionId":"s","{key}":"{folder}","payload":[]}}"#);
            assert!(refused(&body).to_string().contains("which is no name"), "{body:?}");
        }
        for control in ["\\u0000", "\\n", "\\u001b[2J", "\\u007f", "\u{85}"] {
            let body = format!(r#"{{"deviceId":"d","sessionId":"s","{key}":"a{control}b","payload":[]}}"#);
            let said = format!("the body is not a Sensor Logger push: its {key} has control characters in it");
            assert_eq!(refused(&body).to_string(), said, "{body:?}");
        }
    }
    let long = "x".repeat(limits::MAX_ID + 1);
    assert!(matches!(refused(&format!(r#"{{"deviceId":"{long}","sessionId":"s"}}"#)), Refusal::TooLarge { .. }));
    for nested in ["[".repeat(100_000), r#"{"a":"#.repeat(100_000)] {
        assert!(matches!(refused(&nested), Refusal::TooLarge { .. }));
        let inside = format!(r#"{{"deviceId":"d","sessionId":"s","payload":[{{"values":{nested}"#);
        assert!(matches!(refused(&inside), Refusal::TooLarge { .. }));
    }
}

#[test]
fn what_could_not_pass_a_later_hop_is_refused() {
    let image = "A".repeat(limits::MAX_RECORD);
    let body = format!(
        r#"{{"deviceId":"d","sessionId":"s","payload":[{{"name":"camera","time":1,"values":{{"image":"{image}"}}}}]}}"#
    );
    assert!(matches!(parse(body.as_bytes()), Err(Refusal::TooLarge { what: "a reading", .. })));
    let body = body.replace(&image, &image[..limits::MAX_RECORD / 2]);
    assert_eq!(parse(body.as_bytes()).unwrap().packed.readings(), 1);
}

#[test]
fn more_readings_than_a_body_of_the_apps_can_hold_are_refused() {
    let body = |readings: usize| {
        format!(r#"{{"deviceId":"d","sessionId":"s","payload":[{}]}}"#, vec!["1"; readings].join(","))
    };
    assert!(parse(body(limits::MAX_READINGS).as_bytes()).is_ok());
    let refused = parse(body(limits::MAX_READINGS + 1).as_bytes()).unwrap_err();
    assert_eq!(refused.to_string(), format!("the number of readings is above the limit of {}", limits::MAX_READINGS));
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(Into::into),
        "[ -~äñ\\n\"]{0,8}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Into::into),
            prop::collection::hash_map("name|time|accuracy|values|x|y|z|k", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Readings as an app prints them, sensors taking turns, with numbers and bytes that now and then are another's.
fn printed() -> impl Strategy<Value = String> {
    const NUMBERS: [&str; 12] = [
        "0",
        "-0",
        "-0.0",
        "3",
        "-9223372036854775808",
        "18446744073709551615",
        "1e3",
        "0.30000001192092896",
        "-1.5E-7",
        "123456789012345678901234567890123456789012345678",
        "null",
        "\"1\"",
    ];
    const LAYOUTS: [&str; 5] = [
        r#"{"name":"accelerometer","time":T,"accuracy":A,"values":{"z":V,"y":V,"x":V}}"#,
        r#"{"name":"gyroscope","time":T,"values":{"z":V,"y":V,"x":V}}"#,
        r#"{"values":{"k":V},"time":T,"name":"barometer"}"#,
        r#"{ "name" : "accelerometer", "time" : T, "values" : { "x" : V, "y" : V, "z" : V } }"#,
        r#"{"name":"gyroscope","time":T,"values":{"z":V,"y":V,"x":V,"z":V}}"#,
    ];
    let float = any::<f64>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| format!("{v:?}"));
    let axis = prop_oneof![4 => any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| format!("{v:?}")),
        2 => float, 1 => prop::sample::select(NUMBERS.to_vec()).prop_map(str::to_owned)];
    let time = prop_oneof![9 => any::<i64>().prop_map(|v| v.to_string()), 1 => Just("1760000000.5e9".to_owned())];
    let reading = (0..LAYOUTS.len(), time, 0_i64..4, prop::collection::vec(axis, 4)).prop_map(
        |(layout, time, accuracy, axes)| {
            let text = LAYOUTS[layout].replacen('T', &time, 1).replacen('A', &accuracy.to_string(), 1);
            axes.iter().fold(text, |text, axis| text.replacen('V', axis, 1))
        },
    );
    prop::collection::vec(reading, 0..40).prop_map(|readings| readings.join(","))
}

/// A body of as many bytes as may be, `element` over and over: as readings, as values of readings, or nested in a
/// reading, in one's values or unknown fields, or in those of the message.
fn crammed(place: usize, element: &str) -> String {
    let alone = |head: &str, tail: &str, most: usize, room: usize| {
        let one = format!("{head}{element}{tail}");
        vec![one.as_str(); (room / (one.len() + 1)).min(most)].join(",")
    };
    // Beside the payload as much as is taken, however much longer than what was sent it is kept.
    let room = if place < 6 { limits::MAX_BODY - 1_000 } else { limits::MAX_MESSAGE_FIELDS / 8 };
    let nested = |head: &str, tail: &str| {
        let values = element.matches([',', ':', '[', '{']).count() + 1;
        // What is kept may be longer than what was sent: `1e15`.
        let items = alone("", "", (limits::MAX_NESTED - 16) / values, (room / 2).min(limits::MAX_RECORD / 5));
        let one = format!("{head}[{items}]{tail}");
        vec![one.as_str(); room / (one.len() + 8)].join(",")
    };
    let payload = match place {
        0 => alone("", "", limits::MAX_READINGS, room),
        1 => alone(r#"{"name":"","time":0,"values":{"":"#, "}}", limits::MAX_READINGS, room),
        2 => alone(r#"{"name":"","time":0,"values":{"":null}},{"name":"","time":0,"values":{"":"#, "}}", 90_000, room),
        3 => nested("", ""),
        4 => nested(r#"{"name":"","time":0,"values":{"":"#, "}}"),
        5 => nested(r#"{"name":"","time":0,"values":{},"":"#, "}"),
        _ => return format!(r#"{{"deviceId":"d","sessionId":"s",{}}}"#, numbered(&nested("\"#\":", ""))),
    };
    format!(r#"{{"deviceId":"d","sessionId":"s","payload":[{payload}]}}"#)
}

/// Each `#` a number of its own, so that no field is there twice.
fn numbered(text: &str) -> String {
    let parts = text.split("\"#\"").enumerate();
    parts.map(|(n, part)| if n == 0 { part.to_owned() } else { format!("\"{n}\"{part}") }).collect()
}

const PLACES: usize = 7;

/// What is answered with 200 must not be refused by anybody later.
fn assert_taken(body: &str) {
    assert!(body.len() <= limits::MAX_BODY, "{}", body.len());
    let push = parse(body.as_bytes()).unwrap_or_else(|refusal| panic!("{refusal}: {body:.200}"));
    let frame = frame(&push);
    assert_eq!(frame.readings(), push.packed.readings() as usize);
    // Many readings of one body are small.
    if frame.readings() < 1_000 {
        assert_records_fit(&frame);
    }
}

/// Kafka and Snowflake take every record.
fn assert_records_fit(frame: &Frame) {
    let agent: AgentId = "pi".parse().unwrap();
    let origin = Origin { agent: &agent, epoch: Epoch::from_random(1), ordinal: 1, stream: Stream::Raw, seq: 1 };
    let mut records = Vec::new();
    frame.records(origin, &mut records);
    for record in &records {
        let bytes = record.to_json().len();
        assert!(bytes <= limits::MAX_RECORD, "a record of {bytes} bytes");
    }
}

#[test]
fn a_record_with_all_that_is_taken_at_once_fits() {
    let text = |bytes: usize| "A".repeat(bytes);
    let [id, user] = [r#"\""#, r"\u0001"].map(|letter| letter.repeat(limits::MAX_ID));
    let body = |name: usize, value: usize, extra: usize, beside: usize| {
        let (name, value, extra, beside) = (text(name), text(value), text(extra), text(beside));
        format!(
            r#"{{"deviceId":"{id}","sessionId":"{id}","userId":"{user}","new":"{beside}","payload":[{{"name":"{name}","time":1,"values":{{"v":"{value}"}},"extra":"{extra}"}}]}}"#
        )
    };
    let (third, beside) = ((limits::MAX_READING - 100) / 3, limits::MAX_MESSAGE_FIELDS - 100);
    let greatest = body(third, third, third, beside);
    assert_records_fit(&frame(&parse(greatest.as_bytes()).unwrap()));
    for beyond in
        [body(third + 200, third, third, 0), body(third, third + 200, third, 0), body(third, third, third + 200, 0)]
    {
        assert!(matches!(parse(beyond.as_bytes()), Err(Refusal::TooLarge { what: "a reading", .. })));
    }
    let beyond = body(1, 1, 1, beside + 200);
    assert!(matches!(parse(beyond.as_bytes()), Err(Refusal::TooLarge { what: "what stands beside the payload", .. })));
    // Outside the app's format the name stands in the original and in a column.
    let odd = format!(
        r#"{{"deviceId":"d","sessionId":"s","payload":[{{"name":"{}","time":"x"}}]}}"#,
        text(limits::MAX_READING / 2)
    );
    assert!(matches!(parse(odd.as_bytes()), Err(Refusal::TooLarge { what: "a reading", .. })));
}

#[test]
fn what_is_accepted_up_to_the_greatest_body_is_decoded() {
    for (place, element) in [
        (0, "[1e999]"),
        (2, "1e999"),
        (3, "1e999"),
        (3, "-1e999,1e15"),
        (4, r#""\u0001\n\ud83d\ude00""#),
        (5, "1e999"),
        (6, r#"{"":1e999}"#),
        (6, &"9".repeat(400)),
    ] {
        assert_taken(&crammed(place, element));
    }
}

#[test]
fn as_many_shapes_of_readings_as_a_body_can_hold_are_decoded() {
    let reading = |n| format!(r#"{{"name":"","time":0,"values":{{"{n:06x}":0}}}}"#);
    let most = (limits::MAX_BODY - 100) / (reading(0).len() + 1);
    let payload = (0..most).map(reading).collect::<Vec<_>>().join(",");
    assert_taken(&format!(r#"{{"deviceId":"d","sessionId":"s","payload":[{payload}]}}"#));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn whatever_is_accepted_is_decoded(
        place in 0..PLACES,
        element in prop_oneof![json().prop_map(|json| json.to_string()), r"-?[1-9][0-9]{0,3}(\.[0-9])?[eE][0-9]{1,3}"],
    ) {
        assert_taken(&crammed(place, &element));
    }
}

proptest! {
    #[test]
    fn readings_printed_alike_are_read_whole(readings in printed()) {
        assert_whole(&format!(r#"{{"deviceId":"d","sessionId":"s","payload":[{readings}],"late":1}}"#));
    }

    #[test]
    fn any_payload_is_read_whole(payload in prop::collection::vec(json(), 0..8), id in 0_u32..9) {
        let body = serde_json::json!({"deviceId": "d", "sessionId": "s", "messageId": id, "payload": payload});
        assert_whole(&body.to_string());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes);
    }
}
