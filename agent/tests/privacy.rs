//! What is kept of a phone whose owner wants less than all of it kept.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "privacy/bodies.rs"]
mod bodies;
mod spooled;

use std::path::Path;

use gaitway_agent::ingest::{Push, parse, parse_keeping, parse_without_id};
use gaitway_agent::phones::{Decimals, Keep, Privacy};
use gaitway_agent::spool::look::Look;
use gaitway_agent::writer::Accepted;
use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::message::{Header, Message, Reading};
use gaitway_proto::record::{Origin, Record};
use gaitway_proto::value::{Fields, Value};
use proptest::prelude::*;
use spooled::{SECOND, Setup, Spooled, body};

const ACTIVITY: Privacy = Privacy { keep: Keep::Activity, location: None };

fn rounding(decimals: u8) -> Privacy {
    Privacy { keep: Keep::All, location: Some(Decimals::try_from(decimals).unwrap()) }
}

fn frame(push: &Push) -> Frame {
    let header = Header {
        device: push.device.clone(),
        session: push.session.clone(),
        user: None,
        message_id: push.message_id,
        received_at: 0,
        clock_synced: false,
    };
    Frame::decode(&push.packed.seal(&header)).unwrap()
}

fn with(readings: &str) -> String {
    format!(r#"{{"deviceId":"d","sessionId":"s","messageId":1,"payload":[{readings}]}}"#)
}

/// What is kept of one reading: none, or as JSON.
fn kept(reading: &str, privacy: Privacy) -> Option<serde_json::Value> {
    let push = parse_keeping(with(reading).as_bytes(), privacy).unwrap();
    assert_eq!(push.readings, 1);
    let Message { readings, .. } = frame(&push).to_message();
    assert_eq!(readings.len() as u32, 1 - push.withheld());
    readings.first().map(|reading| match reading {
        Reading::Odd(value) => serde_json::from_str(&value.to_json()).unwrap(),
        Reading::Plain(plain) => {
            let values: serde_json::Value =
                serde_json::from_str(&Value::Object(plain.values.clone()).to_json()).unwrap();
            let mut reading = serde_json::json!({"name": plain.name, "time": plain.time, "values": values});
            for (key, value) in &plain.extra {
                reading[key] = serde_json::from_str(&value.to_json()).unwrap();
            }
            if let Some(accuracy) = plain.accuracy {
                reading["accuracy"] = accuracy.into();
            }
            reading
        }
    })
}

fn assert_withheld(reading: &str) {
    assert_eq!(kept(reading, rounding(7)), None, "{reading}");
    assert!(kept(reading, Privacy::default()).is_some(), "{reading}");
}

fn bytes_of(dir: &Path) -> Vec<u8> {
    let files = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    files.flat_map(|path| std::fs::read(path).unwrap()).collect()
}

#[test]
fn of_a_phone_that_keeps_activity_alone_windows_are_told_and_nothing_else_is_kept() {
    let push = |privacy: Privacy| {
        let dir = tempfile::tempdir().unwrap();
        let setup = Setup::default();
        let mut spooled = Spooled::start(dir.path(), &setup);
        let last = body("s", 2, 1_030, 10);
        for (id, from) in [(0, 1_000), (1, 1_015)] {
            let answer = spooled.push_keeping(&body("s", id, from, 15), privacy);
            assert_eq!(answer, Ok(Accepted { readings: 15, duplicate: false }));
        }
        // In the middle of windows.
        let before = spooled.windows();
        spooled.stop();
        let mut spooled = Spooled::start(dir.path(), &setup);
        assert_eq!(
            spooled.push_keeping(&body("s", 1, 1_015, 15), privacy),
            Ok(Accepted { readings: 15, duplicate: true })
        );
        // A known id with another body.
        let again = spooled.push_keeping(&body("s", 1, 1_016, 1), privacy);
        assert_eq!(again, Ok(Accepted { readings: 1, duplicate: false }));
        assert_eq!(spooled.push_keeping(&last, privacy), Ok(Accepted { readings: 10, duplicate: false }));
        let messages = spooled.messages();
        let metrics = spooled.metrics.encode();
        let windows = spooled.windows();
        assert!(windows.len() > before.len() && windows.starts_with(&before));
        spooled.stop();
        let told = Look::open(&dir.path().join("spool.db")).unwrap().accepted().unwrap();
        let told = &told.sessions[0];
        (messages.len(), (told.messages, told.readings, told.withheld, told.holes), windows, metrics, dir)
    };
    let (messages, told, windows, _, _) = push(Privacy::default());
    assert_eq!((messages, told), (4, (4, 41, 0, 0)));
    let (messages, told, windows_alone, metrics, dir) = push(ACTIVITY);
    assert_eq!((messages, told), (0, (4, 0, 41, 0)));
    assert_eq!(windows_alone, windows);
    assert!(metrics.contains("gaitway_agent_readings_total 11\n"), "{metrics}");
    assert!(metrics.contains("gaitway_agent_withheld_readings_total 11\n"), "{metrics}");
    let mut spooled = Spooled::start(dir.path(), &Setup::default());
    assert_eq!(spooled.waiting(Stream::Raw), [], "no frame ever had a name");
    spooled.stop();
}

#[test]
fn a_place_is_rounded_under_an_id_that_belongs_to_another_body_too() {
    let dir = tempfile::tempdir().unwrap();
    let mut spooled = Spooled::start(dir.path(), &Setup::default());
    for at in ["52.520008", "52.530008"] {
        let reading = format!(r#"{{"name":"location","time":1,"values":{{"latitude":{at}}}}}"#);
        spooled.push_keeping(&with(&reading), rounding(2)).unwrap();
    }
    let of = |message: &Message| match &message.readings[0] {
        Reading::Plain(plain) => (message.header.message_id, plain.values.get("latitude").cloned()),
        Reading::Odd(value) => panic!("{value:?}"),
    };
    let kept: Vec<_> = spooled.messages().iter().map(of).collect();
    assert_eq!(kept, [(Some(1), Some(Value::F64(52.52))), (None, Some(Value::F64(52.53)))]);
    spooled.stop();
}

#[test]
fn no_byte_of_a_reading_that_is_not_kept_is_on_the_disk() {
    // Neither packed nor computed with: text stays text.
    let secret = "wherever-i-went";
    let reading = |secret: &str| {
        format!(
            r#"{{"name":"annotation","time":{SECOND},"values":{{"text":"{secret}"}}}},{{"name":"accelerometer","time":{SECOND},"values":{{"x":1,"y":2,"z":3}}}}"#
        )
    };
    for (privacy, is_there) in [(Privacy::default(), true), (ACTIVITY, false)] {
        let dir = tempfile::tempdir().unwrap();
        let spooled = Spooled::start(dir.path(), &Setup::default());
        assert_eq!(spooled.push_keeping(&with(&reading(secret)), privacy).unwrap().readings, 2);
        // Another body under the same id is read once more.
        assert_eq!(spooled.push_keeping(&with(&reading("wherever-i-went2")), privacy).unwrap().readings, 2);
        assert!(bytes_of(dir.path()).windows(secret.len()).any(|bytes| bytes == secret.as_bytes()) == is_there);
        spooled.stop();
        assert!(bytes_of(dir.path()).windows(secret.len()).any(|bytes| bytes == secret.as_bytes()) == is_there);
    }
}

#[test]
fn a_place_is_rounded_and_what_tells_it_more_exactly_is_left_out() {
    let location = r#"{"name":"location","time":7,"accuracy":3,"values":{"latitude":52.520008,"longitude":-13.404954,
        "altitude":34.2,"altitudeAboveMeanSeaLevel":30.1,"speed":1.25,"bearing":271.5,"horizontalAccuracy":4.7,
        "verticalAccuracy":3,"speedAccuracy":0.4,"bearingAccuracy":9,"floor":2,"plusCode":"9F4MGC94+X2"},"source":"gps"}"#;
    let rounded = |latitude: f64, longitude: f64| {
        serde_json::json!({"name": "location", "time": 7, "accuracy": 3, "values":
            {"latitude": latitude, "longitude": longitude, "speed": 1.3}})
    };
    assert_eq!(kept(location, rounding(2)), Some(rounded(52.52, -13.4)));
    assert_eq!(kept(location, rounding(0)), Some(rounded(53.0, -13.0)));
    for (reading, shown) in [
        // As text, as an integer, unknown, said twice; its sensor as exports spell it.
        (
            r#"{"name":"Location Gps","time":1,"values":{"latitude":" 52.520008 ","longitude":13}}"#,
            r#"{"name":"Location Gps","time":1,"values":{"latitude":52.5,"longitude":13.0}}"#,
        ),
        (
            r#"{"name":"location","time":1,"values":{"latitude":null,"longitude":null,"speed":null}}"#,
            r#"{"name":"location","time":1,"values":{"latitude":null,"longitude":null,"speed":null}}"#,
        ),
        (
            r#"{"name":"watchlocation","time":1,"values":{"latitude":52.520008,"latitude":52.571,"lon":13.404954,"x":5}}"#,
            r#"{"name":"watchlocation","time":1,"values":{"latitude":52.6}}"#,
        ),
        // No speeds and no accuracy, whatever they are.
        (
            r#"{"name":"location","time":1,"accuracy":52520008,"values":{"latitude":52.520008,"speed":52520008}}"#,
            r#"{"name":"location","time":1,"values":{"latitude":52.5}}"#,
        ),
        (
            r#"{"name":"location","time":1,"values":{"latitude":52.520008,"speed":["52.520008"]}}"#,
            r#"{"name":"location","time":1,"values":{"latitude":52.5}}"#,
        ),
        (
            r#"{"name":"location","time":1,"values":{"latitude":52.520008,"speed":"52.51962837"}}"#,
            r#"{"name":"location","time":1,"values":{"latitude":52.5,"speed":52.5}}"#,
        ),
        // Time as text: outside the app's format.
        (
            r#"{"name":"location","time":"1760000000000000001","accuracy":"3","values":{"latitude":52.520008,"floor":1},"x":1}"#,
            r#"{"name":"location","time":1760000000000000001,"accuracy":3,"values":{"latitude":52.5}}"#,
        ),
        (
            r#"{"name":"location","time":52.520008,"accuracy":13.404954,"values":{"latitude":52.520008}}"#,
            r#"{"name":"location","values":{"latitude":52.5}}"#,
        ),
    ] {
        assert_eq!(kept(reading, rounding(1)), Some(serde_json::from_str(shown).unwrap()), "{reading}");
    }
}

#[test]
fn a_place_in_a_form_that_cannot_be_rounded_is_left_out_with_its_reading() {
    for reading in [
        r#"{"name":"location","time":1,"values":{"latitude":"52°31'12\"N"}}"#,
        r#"{"name":"location","time":1,"values":{"latitude":[52.520008],"longitude":13.4}}"#,
        r#"{"name":"location","time":1,"values":{"latitude":525200080,"longitude":134049540}}"#,
        r#"{"name":"location","time":1,"values":{"latitude":true}}"#,
        r#"{"name":"location","time":1,"values":[52.520008,13.404954]}"#,
        r#"{"name":"location","time":1,"values":{"altitude":34.2}}"#,
        r#"{"name":"location","time":1,"latitude":52.520008}"#,
        r#"{"name":"location at 52.520008","time":1,"values":{"latitude":52.520008}}"#,
        r#"{"name":"location","name":"gyroscope","time":1,"values":{"x":52.520008}}"#,
        r#"{"name":["location"],"time":1,"values":{"x":52.520008}}"#,
        r#"{"time":1,"values":{"x":52.520008}}"#,
        r"[52.520008,13.404954]",
        r#""52.520008 13.404954""#,
    ] {
        assert_withheld(reading);
    }
}

#[test]
fn a_sensor_that_is_not_known_is_left_out_whatever_it_is_called() {
    for reading in [
        r#"{"name":"coordinates","time":1,"values":{"x":52.51962837,"y":13.40694125}}"#,
        r#"{"name":"place","time":1,"values":{"x":52.51962837,"y":13.40694125}}"#,
        r#"{"name":"nmea","time":1,"values":{"sentence":"$GPGGA,101112,5231.1777,N,01324.4165,E,1,08,0.9,34,M,,,,"}}"#,
        r#"{"name":"geohash","time":1,"values":{"value":"u33dc0cppjs5"}}"#,
        r#"{"name":"address","time":1,"values":{"text":"Main Street"}}"#,
        r#"{"name":"compass 52.51962837","time":1,"values":{"magneticBearing":1}}"#,
        r#"{"name":"accelerometer²","time":1,"values":{"x":1,"y":2,"z":3}}"#,
        r#"{"name":"unheard of","time":1,"values":{}}"#,
        r#"{"name":"wifi","time":1,"values":{"bssid":"00:11:22:33:44:55"}}"#,
        r#"{"name":"bluetoothMetadata","time":1,"values":{"id":"x"}}"#,
        r#"{"name":"Network","time":1,"values":{"ipAddress":"10.0.0.7","latitude":52.520008}}"#,
        r#"{"name":"camera","time":1,"values":{"image":"AAAA"}}"#,
    ] {
        assert_withheld(reading);
    }
}

#[test]
fn a_known_sensor_with_anything_that_it_is_not_known_to_have_is_left_out() {
    for reading in [
        r#"{"name":"accelerometer","time":1,"values":{"x":1,"y":2,"z":3,"latitude":null}}"#,
        r#"{"name":"accelerometer","time":1,"values":{"x":1,"y":2,"z":3,"52.51962837":null}}"#,
        r#"{"name":"accelerometer","time":1,"values":{"x":1,"y":2,"z":3},"source":"gps"}"#,
        r#"{"name":"accelerometer","time":"soon","values":{"x":1}}"#,
        r#"{"name":"accelerometer","time":"52.51962837","values":{"x":1}}"#,
        r#"{"name":"accelerometer","time":"5.000000000000000000000000052519628","values":{"x":1}}"#,
        r#"{"name":"accelerometer","time":1,"accuracy":525196283,"values":{"x":1}}"#,
        r#"{"name":"accelerometer","time":1,"accuracy":52.51962837,"values":{"x":1}}"#,
        r#"{"name":"accelerometer","time":1,"values":[52.51962837,13.40694125]}"#,
        r#"{"name":"accelerometer","time":1}"#,
        r#"{"name":"accelerometer","time":1,"values":{"x":"52°31'12\"N"}}"#,
        r#"{"name":"accelerometer","time":1,"values":{"x":[52.51962837,13.40694125]}}"#,
        r#"{"name":"compass","time":1,"values":{"magneticBearing":1,"52.51962837":1}}"#,
        r#"{"name":"compass","time":1,"values":{"type":"Point","geometry":[13.40694125,52.51962837]}}"#,
        r#"{"name":"compass","time":1,"values":{"route":[[52.51962837,13.40694125]]}}"#,
        r#"{"name":"compass","time":1,"values":{"start":{"x":52.51962837,"y":13.40694125}}}"#,
        r#"{"name":"compass","time":1,"values":{"mLat":52.51962837,"mLon":13.40694125}}"#,
        r#"{"name":"compass","time":1,"values":{"magneticBearing":"POINT(13.40694125 52.51962837)"}}"#,
        r#"{"name":"compass","time":1,"values":{"magneticBearing":1},"at":"{\"latitude\":52.520008}"}"#,
        r#"{"name":"annotation","time":1,"values":{"text":"https://maps.example/?q=52.51962837,13.40694125"}}"#,
        r#"{"name":"annotation","time":1,"values":{"text":"52 13"}}"#,
        r#"{"name":"annotation","time":1,"values":{"text":"٥٢٫٥١"}}"#,
        r#"{"name":"annotation","time":1,"values":{"text":52.51962837}}"#,
        r#"{"name":"annotation","time":1,"values":{"address":"Main Street"}}"#,
        r#"{"name":"activity","time":1,"values":{"activity":"Main Street"}}"#,
        r#"{"name":"battery","time":1,"values":{"lowPowerMode":"52.51962837"}}"#,
        r#"{"name":"headphone","time":1,"values":{"devicelocation":"52.51962837"}}"#,
    ] {
        assert_withheld(reading);
    }
}

#[test]
fn beside_the_payload_nothing_is_kept_but_ids() {
    let beside = r#"{"deviceId":"d","sessionId":"s","home":{"lat":52.520008},"phone":"a","payload":{"lat":52.520008}}"#;
    let push = parse_keeping(beside.as_bytes(), rounding(3)).unwrap();
    assert_eq!((push.readings, push.withheld()), (1, 1));
    assert_eq!(frame(&push).to_message().extra, Fields::new());
    let beside = r#"{"deviceId":"d","sessionId":"s","userId":"u","messageId":7,"at":"52.51962837","payload":[]}"#;
    let push = parse_without_id(beside.as_bytes(), rounding(3)).unwrap();
    let extra = frame(&push).to_message().extra;
    assert_eq!((push.user.as_deref(), extra), (Some("u"), Fields::from([("messageId".to_owned(), Value::I64(7))])));
    let beside = r#"{"deviceId":"d","sessionId":"s","messageId":52.51962837,"userId":[52.51962837],"payload":[]}"#;
    let push = parse_keeping(beside.as_bytes(), rounding(3)).unwrap();
    assert_eq!(frame(&push).to_message().extra, Fields::new());
}

#[test]
fn the_accuracy_of_a_reading_that_is_like_the_one_before_is_looked_at_too() {
    let reading = |accuracy: &str, x: &str| {
        format!(r#"{{"name":"gravity","time":1,"accuracy":{accuracy},"values":{{"x":{x}}}}}"#)
    };
    let readings = [("3", "0.5"), ("2", "0.25"), ("525196283", "0.75"), ("0", "0.125")];
    let readings: Vec<_> = readings.iter().map(|(accuracy, x)| reading(accuracy, x)).collect();
    let push = parse_keeping(with(&readings.join(",")).as_bytes(), rounding(2)).unwrap();
    assert_eq!((push.readings, push.withheld()), (4, 1));
    let accuracy = |reading: &Reading| match reading {
        Reading::Plain(plain) => plain.accuracy,
        Reading::Odd(value) => panic!("{value:?}"),
    };
    let kept: Vec<_> = frame(&push).to_message().readings.iter().map(accuracy).collect();
    assert_eq!(kept, [Some(3), Some(2), Some(0)]);
}

#[test]
fn words_of_the_app_and_what_was_typed_are_kept() {
    for reading in [
        r#"{"name":"activity","time":1,"values":{"activity":"walking","confidence":"High"}}"#,
        r#"{"name":"battery","time":1,"values":{"batteryLevel":0.75,"batteryState":"unplugged","lowPowerMode":"False"}}"#,
        r#"{"name":"battery","time":1,"values":{"voltage":4.1,"chargingCurrent":-250,"health":"over_voltage","lowPowerMode":true}}"#,
        r#"{"name":"headphone","time":1,"values":{"devicelocation":"left","pitch":0.1,"accelerationX":0.2}}"#,
        r#"{"name":"annotation","time":1,"values":{"text":"lap 12, up the stairs","millisecond_press_duration":310}}"#,
        r#"{"name":"Wrist Motion","time":1,"values":{"rotationRateX":0.5,"quaternionW":1}}"#,
        r#"{"name":"accelerometer","time":"1760000000000000001","accuracy":"3","values":{"x":" 0.12 ","y":null}}"#,
        r#"{"name":"accelerometer","time":null,"values":{"x":1}}"#,
        r#"{"name":"gravity","time":1.76e18,"values":{}}"#,
        // Of values said twice the later ones count.
        r#"{"values":{"z":0.5},"name":"accelerometer","time":5,"values":{"x":55.45405577,"y":40.26386157}}"#,
    ] {
        assert_eq!(kept(reading, rounding(0)), kept(reading, Privacy::default()), "{reading}");
        assert!(kept(reading, rounding(0)).is_some());
    }
}

#[test]
fn the_recordings_and_shapes_of_the_app_are_kept_as_they_came_but_for_their_places() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/samples/push-shapes.ndjson");
    let (mut rounded, mut withheld) = (0, 0);
    for body in std::fs::read_to_string(path).unwrap().lines() {
        let (all, some) = (parse(body.as_bytes()).unwrap(), parse_keeping(body.as_bytes(), rounding(2)).unwrap());
        assert_eq!((&all.samples, all.median_time), (&some.samples, some.median_time), "windows are of all readings");
        assert_eq!((all.readings, all.hash, all.withheld()), (some.readings, some.hash, 0));
        let (came, kept) = (frame(&all).to_message().readings, frame(&some).to_message().readings);
        let whole = kept.iter().filter(|reading| came.contains(reading)).count();
        assert_eq!(whole as u32, some.readings - some.rounded - some.withheld(), "{body}");
        rounded += some.rounded;
        withheld += some.withheld();
    }
    // The test button, network, bluetooth, camera.
    assert_eq!((rounded, withheld), (1, 4));
}

/// Every number in a text, as far as it is spelled in digits.
fn numbers(text: &str) -> impl Iterator<Item = f64> + '_ {
    let is_part = |letter: char| letter.is_ascii_digit() || matches!(letter, '.' | '-' | 'e' | '+');
    text.split(move |letter| !is_part(letter)).filter_map(|number| number.parse().ok())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]

    #[test]
    fn no_coordinate_that_was_not_rounded_is_packed_whatever_the_shape_of_the_body(
        (place, readings, beside) in bodies::place().prop_flat_map(|place| {
            let readings = prop::collection::vec(bodies::reading(&place), 1..5);
            let beside = bodies::beside(&place);
            (Just(place), readings, beside)
        }),
        decimals in 0_u8..5,
        twice: bool,
    ) {
        let mut readings = readings;
        // As the app prints them, alike one after the other.
        if twice {
            readings = readings.iter().flat_map(|reading| [reading.clone(), reading.clone(), reading.clone()]).collect();
        }
        let other = r#"{"name":"gyroscope","time":5,"values":{"x":0.25,"y":0.5,"z":1}}"#;
        let payload = format!("{other},{},{other}", readings.join(","));
        let body = format!(r#"{{"deviceId":"d","sessionId":"s",{beside}"payload":[{payload}]}}"#);

        let push = parse_keeping(body.as_bytes(), rounding(decimals)).unwrap();
        let message = frame(&push);
        let mut records = Vec::new();
        let agent = "pi".parse().unwrap();
        let origin = Origin { agent: &agent, epoch: Epoch::from_random(1), ordinal: 1, stream: Stream::Raw, seq: 1 };
        message.records(origin, &mut records);
        let json: Vec<String> = records.iter().map(Record::to_json).collect();
        let json = json.join("\n");
        for shown in [json, format!("{:?}", message.to_message())] {
            for degrees in &place {
                let digits = degrees.replace('.', "");
                prop_assert!(!shown.contains(degrees) && !shown.contains(&digits), "{} in {}", degrees, shown);
                let exact = degrees.parse::<f64>().unwrap();
                for number in numbers(&shown) {
                    prop_assert!((number.abs() - exact).abs() > 1e-8, "{} in {}", number, shown);
                }
            }
        }
        let gyroscopes = message.to_message().readings.iter().filter(|reading| {
            matches!(reading, Reading::Plain(plain) if plain.name == "gyroscope" && plain.values.len() == 3)
        }).count();
        prop_assert!(gyroscopes >= 2, "other readings are kept");
        prop_assert_eq!(push.readings as usize, readings.len() + 2);
    }

    #[test]
    fn a_known_sensor_that_tells_no_place_is_kept_as_it_came(
        (name, keys) in bodies::known(),
        value in prop_oneof![
            any::<i32>().prop_map(|v| v.to_string()),
            (-1e6..1e6_f64).prop_map(|v| v.to_string()),
            (-1e6..1e6_f64).prop_map(|v| format!("\"{v}\"")),
            Just("null".to_owned()),
        ],
        accuracy in prop::option::of(-1..=3),
    ) {
        let values: Vec<_> = keys.iter().map(|key| format!("\"{key}\":{value}")).collect();
        let accuracy = accuracy.map(|accuracy| format!(r#""accuracy":{accuracy},"#)).unwrap_or_default();
        let reading = format!(r#"{{"name":"{name}","time":3,{accuracy}"values":{{{}}}}}"#, values.join(","));
        prop_assert!(kept(&reading, rounding(0)).is_some(), "{}", reading);
        prop_assert_eq!(kept(&reading, rounding(0)), kept(&reading, Privacy::default()));
        let more = reading.replace(r#""values":{"#, r#""values":{"new":null,"#);
        prop_assert_eq!(kept(&more, rounding(0)), None);
    }
}
