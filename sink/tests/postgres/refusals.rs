//! What is refused beforehand, the server refuses; what is not, it stores.

use std::borrow::Cow;

use gaitway_proto::ledger::{Ledger as _, LedgerError, Mark, Source};
use gaitway_proto::record::{Body, Metadata, Place, Raw, Record};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use crate::postgres_server::Reader;
use crate::stored::Home;
use crate::support::{SESSION, Walk};

fn raw<'a>(metadata: Metadata<'a>, sensor: &'a str, reading: &'a str, xyz: [f64; 3]) -> Record<'a> {
    Record {
        metadata,
        body: Body::Raw(Raw {
            message_id: Some(1),
            session: SESSION,
            device: "phone",
            sensor: Some(sensor),
            xyz: xyz.map(Some),
            accuracy: None,
            timestamp: Some(i64::MIN),
            reading: Some(Cow::Borrowed(reading)),
            reading_index: 0,
            user: None,
            received_at: i64::MAX,
        }),
    }
}

/// The server alone, without this crate's opinion.
fn server_takes(reader: &Reader, text: &str, json: &str) -> bool {
    let literal = |text: &str| format!("'{}'", text.replace('\'', "''"));
    !text.contains('\0') && reader.try_run(&format!("SELECT {}::text, {}::jsonb", literal(text), literal(json))).is_ok()
}

fn json() -> impl Strategy<Value = String> {
    let number = (any::<i64>(), prop_oneof![-20_000..20_000_i64, -140_000..140_000_i64, any::<i64>()])
        .prop_map(|(digits, exponent)| format!("{digits}e{exponent}"));
    let edge = prop_oneof![
        Just("1e131071"),
        Just("1e131072"),
        Just("0.01e131073"),
        Just("0.01e131074"),
        Just("10e131071"),
        Just("1e-16383"),
        Just("1e-16384"),
        Just("1.5e-16383"),
        Just("0e-16384"),
        Just("0e200000"),
        Just("0e1073741823"),
        Just("0e1073741822"),
        Just("-0.0"),
        Just("1E+5"),
    ]
    .prop_map(str::to_owned);
    let unit = prop_oneof![
        Just("\\u0000"),
        Just("\\ud83c"),
        Just("\\udfc3"),
        Just("\\\\u0000"),
        Just("\\\""),
        Just("\\n"),
        Just("é"),
        Just("a"),
        Just("'"),
        Just("\\uFFFF"),
        Just("\\u00e9"),
    ];
    let text = prop::collection::vec(unit, 0..4).prop_map(|units| format!("\"{}\"", units.concat()));
    let leaf = prop_oneof![number, edge, text.clone(), Just("null".to_owned()), Just("true".to_owned())];
    leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(|items| format!("[{}]", items.join(", "))),
            (text.clone(), inner).prop_map(|(key, value)| format!("{{{key} : {value}}}")),
        ]
    })
    .prop_map(|value| format!("{{\"values\":{value}}}"))
}

#[test]
#[ignore = "needs postgres"]
fn refuses_agrees_with_the_server() {
    let mut home = Home::new();
    home.warehouse.recover().unwrap();
    let reader = home.database.reader();
    let walk = Walk::new();
    let source = Source::partition("raw_sensor_data", 0);
    let (mut position, mut refused) = (None, 0);
    let sensors = prop_oneof![8 => "[a-z'é🏃]{0,4}", 1 => Just("a\0b".to_owned())];
    let floats = [any::<f64>(), any::<f64>(), any::<f64>()];
    let mut runner = TestRunner::new(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) });
    let warehouse = std::cell::RefCell::new((&mut home.warehouse, &mut position, &mut refused));
    runner
        .run(&(sensors, json(), floats), |(sensor, json, xyz)| {
            let (warehouse, position, refused) = &mut *warehouse.borrow_mut();
            let metadata = walk.origin(gaitway_proto::ledger::Stream::Raw).metadata(0, None);
            let record = raw(metadata, &sensor, &json, xyz);
            let taken = server_takes(&reader, &sensor, &json);
            prop_assert_eq!(warehouse.refuses(&record).is_none(), taken, "{} {}", sensor, json);
            let mark = Mark { source: source.clone(), from: **position, to: position.map_or(1, |at| at + 1) };
            let outcome = warehouse.submit(&[record], std::slice::from_ref(&mark));
            if taken {
                prop_assert!(outcome.is_ok(), "{outcome:?}: {json}");
                **position = Some(mark.to);
            } else {
                prop_assert!(matches!(outcome, Err(LedgerError::Rejected(_))), "{outcome:?}: {json}");
                **refused += 1;
            }
            Ok(())
        })
        .unwrap();
    assert!(refused > 20 && position > Some(20), "{refused} refused, {position:?} taken");
}

#[test]
#[ignore = "needs postgres"]
fn what_is_at_the_limits_is_stored() {
    let mut home = Home::new();
    home.warehouse.recover().unwrap();
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(511), "]".repeat(511));
    let deeper = format!("{{\"a\":{}{}}}", "[".repeat(512), "]".repeat(512));
    let many = format!("[{}1]", "1,".repeat((16 * 1024 * 1024 - 12) / 2 - 1));
    let many = format!("{{\"a\":{many}}}");
    let place = Place { topic: "t", partition: 0, offset: 0, key: Some("k\0"), written: None, unknown: None };
    let nameless = Metadata { name: None, place: None };
    let unnamed = |key| Metadata { name: None, place: key };
    let long = "x".repeat(3000);
    let mut records = vec![
        raw(nameless.clone(), "s", &deep, [f64::MIN_POSITIVE, -0.0, f64::MAX]),
        raw(nameless.clone(), "s", &many, [0.0; 3]),
    ];
    if let Body::Raw(raw) = &mut records[0].body {
        raw.user = Some(&long);
    }
    for record in &records {
        assert_eq!(home.warehouse.refuses(record), None);
    }
    let mark = Mark { source: Source::partition("t", 0), from: None, to: 1 };
    home.warehouse.submit(&records, &[mark]).unwrap();
    let zero = home.database.reader().rows("SELECT y FROM raw_data.activity_records ORDER BY x LIMIT 1");
    assert!(home.database.reader().number("SELECT count(*) FROM raw_data.activity_records") == 2 && !zero.is_empty());
    let signs = home.database.reader().rows("SELECT y FROM raw_data.activity_records");
    assert!(signs.iter().any(|row| row.get::<_, f64>(0).to_bits() == (-0.0_f64).to_bits()), "the sign of zero is kept");

    let mut by_index = raw(nameless.clone(), "s", "{}", [0.0; 3]);
    if let Body::Raw(raw) = &mut by_index.body {
        raw.session = &long;
    }
    let with_null = Record { metadata: unnamed(Some(&place)), ..raw(nameless.clone(), "s", "{}", [0.0; 3]) };
    for record in [by_index, with_null, raw(nameless, "s", &deeper, [0.0; 3])] {
        assert!(home.warehouse.refuses(&record).is_some());
    }
}
