//! What an accepted push must have become.
//!
//! - Its frame decodes, to as many readings as were counted, and to the same values as its JSON.
//! - Every record made of the frame is JSON within the limit of a record.

use gaitway_agent::ingest::Push;
use gaitway_proto::frame::{Claims, Frame};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::limits;
use gaitway_proto::message::{Header, MAX_MESSAGE_ID, Message, Reading};
use gaitway_proto::record::{Origin, Record};
use gaitway_proto::topic::AgentId;
use gaitway_proto::value::{Fields, Value};
use serde::de::IgnoredAny;

/// Asserts all of it for `push`, which `body` was accepted as.
pub(crate) fn assert_kept(body: &[u8], push: &Push) {
    let header = Header {
        device: push.device.clone(),
        session: push.session.clone(),
        user: push.user.clone(),
        message_id: push.message_id,
        received_at: 1_760_000_000_000_000,
        clock_synced: true,
    };
    let sealed = push.packed.seal(&header);
    assert!(sealed.len() <= limits::MAX_FRAME, "a frame of {} bytes", sealed.len());
    let claims = Claims::read(&sealed).expect("what is accepted claims no more than is allowed");
    let frame = Frame::decode(&sealed).expect("what is accepted is decoded");
    assert_eq!((frame.readings(), claims.readings), (push.packed.readings() as usize, frame.readings()));
    assert!(push.samples.len() <= frame.readings());
    // A number beyond `f64` is no number to serde_json; the agent keeps it as its text.
    if let Ok(Value::Object(said)) = serde_json::from_slice(body) {
        assert_eq!(spelled(frame.to_message()), plainly(said), "what was kept, and what was said");
    }
    assert_records(&frame);
}

/// Asserts that the records of `frame` are JSON within their limit, and how many there are.
pub(crate) fn assert_records(frame: &Frame) {
    let agent: AgentId = "pi".parse().expect("pi is an agent id");
    let mut records: Vec<Record<'_>> = Vec::new();
    frame.records(
        Origin { agent: &agent, epoch: Epoch::from_random(5), ordinal: 1, stream: Stream::Raw, seq: 3 },
        &mut records,
    );
    assert_eq!(records.len(), frame.readings());
    for record in &records {
        let json = record.to_json();
        assert!(serde_json::from_str::<IgnoredAny>(&json).is_ok(), "no JSON: {json}");
    }
}

/// A message as the JSON it came from.
fn spelled(message: Message) -> Fields {
    let mut body = message.extra;
    body.insert("deviceId".to_owned(), Value::Text(message.header.device));
    body.insert("sessionId".to_owned(), Value::Text(message.header.session));
    body.extend(message.header.user.map(|user| ("userId".to_owned(), Value::Text(user))));
    body.extend(message.header.message_id.map(|id| ("messageId".to_owned(), Value::I64(id as i64))));
    let readings = message.readings.into_iter().map(|reading| match reading {
        Reading::Odd(value) => value,
        Reading::Plain(plain) => {
            let mut fields = plain.extra;
            fields.insert("name".to_owned(), Value::Text(plain.name));
            fields.insert("time".to_owned(), Value::I64(plain.time));
            fields.insert("values".to_owned(), Value::Object(plain.values));
            fields.extend(plain.accuracy.map(|accuracy| ("accuracy".to_owned(), Value::I64(accuracy))));
            Value::Object(fields)
        }
    });
    let readings = readings.map(whole_times).collect();
    body.insert("payload".to_owned(), Value::Array(readings));
    body
}

/// A body without what says nothing, its payload a list, and its integers as such.
fn plainly(mut body: Fields) -> Fields {
    for key in ["userId", "messageId"] {
        if body.get(key) == Some(&Value::Null) {
            body.remove(key);
        }
    }
    // Any other is an unknown field, which stays as it is.
    let is_one = |id: &Value| id.as_integer().is_some_and(|id| u64::try_from(id).is_ok_and(|id| id <= MAX_MESSAGE_ID));
    if let Some(id) = body.get_mut("messageId").filter(|id| is_one(id)) {
        whole(id);
    }
    let readings = match body.remove("payload") {
        None | Some(Value::Null) => Vec::new(),
        Some(Value::Array(readings)) => readings,
        Some(other) => vec![other],
    };
    body.insert("payload".to_owned(), Value::Array(readings.into_iter().map(whole_times).collect()));
    body
}

/// A reading whose time and accuracy, which may be spelled as floats, are integers.
fn whole_times(mut reading: Value) -> Value {
    if let Value::Object(fields) = &mut reading {
        for key in ["time", "accuracy"] {
            if let Some(value) = fields.get_mut(key) {
                whole(value);
            }
        }
    }
    reading
}

fn whole(value: &mut Value) {
    if let (Value::F64(_), Some(integer)) = (&*value, value.as_integer()) {
        *value = Value::I64(integer);
    }
}
