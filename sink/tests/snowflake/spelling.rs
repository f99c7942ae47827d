//! Values as other writers of Kafka spell them: what Snowflake would pass over is told before, the rest is stored as it was meant.

use gaitway_proto::ledger::{Ledger as _, LedgerError, Mark};
use gaitway_proto::record::{Body, Cells, Metadata, Place, Record};
use gaitway_proto::schema::RAW;
use serde_json::json;

use crate::support::{Account, places, position, source};

fn record<'a>(place: &'a Place<'a>, json: &'a str) -> Record<'a> {
    let (cells, _) = Cells::parse(&RAW, json.as_bytes()).unwrap();
    Record { metadata: Metadata { name: None, place: Some(place) }, body: Body::Cells(cells) }
}

#[test]
fn what_would_be_passed_over_is_refused_before() {
    let deep = format!(r#"{{"reading":{{"a":{}{}}}}}"#, "[".repeat(127), "]".repeat(127));
    for json in [r#"{"reading":{"a":"\ud800"}}"#, r#"{"reading":{"a":1e999}}"#, &deep] {
        let account = Account::new();
        let mut channel = account.channel();
        channel.recover().unwrap();
        let places = places(0, 0);
        let record = record(&places[0], json);
        let why = channel.refuses(&record).unwrap();
        assert!(why.starts_with("reading: "), "{why}");
        // Sent all the same, it would stop the partition.
        channel.submit(&[record], &[Mark { source: source(), from: None, to: 0 }]).unwrap();
        let error = loop {
            match position(&mut channel) {
                Ok(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, LedgerError::Skipped { .. }), "{error}");
    }
}

#[test]
fn a_time_that_is_spelled_otherwise_and_a_key_that_is_there_twice_are_stored_as_they_were_meant() {
    let account = Account::new();
    let mut channel = account.channel();
    channel.recover().unwrap();
    let whole = r#"{"messageId":1,"sessionId":"s","deviceId":"other","sensorType":null,"x":1,"y":2,"z":3,"accuracy":3,
        "timestamp":5,"reading":null,"readingIndex":0,"userId":null,"agentId":null,"receivedAt":"20231114T231320,5+01",
        "deviceId":"d"}"#;
    let places = places(0, 0);
    let record = record(&places[0], whole);
    assert_eq!(channel.refuses(&record), None);
    channel.submit(&[record], &[Mark { source: source(), from: None, to: 0 }]).unwrap();
    while position(&mut channel).unwrap() != Some(0) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let row = &account.emulator.rows(RAW.schema, RAW.name)[0];
    assert_eq!((&row["receivedAt"], &row["deviceId"]), (&json!("2023-11-14T22:13:20.5Z"), &json!("d")));
}
