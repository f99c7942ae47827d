//! What a message's body is for each of the phones that play it.
//!
//! - With one phone a pushed line goes out byte for byte, JSON or not.
//! - With several, the phone's suffix is put at the end of `deviceId` and `sessionId` and nothing else changes.

use bytes::Bytes;
use gaitway_proto::value::Value;
use jiter::{Jiter, JiterError, Peek};

use super::cut::Message;
use super::reading::quoted;

/// A message before it is any phone's.
#[derive(Debug, Clone)]
pub(super) enum Body {
    /// Cut from readings.
    Cut(Message),
    /// A push body of its own.
    Line {
        /// As it stands.
        bytes: Bytes,
        /// Where a suffix is put, ascending.
        suffix_at: Vec<usize>,
    },
}

/// Whom a recording is played as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    /// `deviceId`; for pushed lines a name for people.
    pub(super) device: String,
    /// `sessionId`; for pushed lines a name for people.
    pub(super) session: String,
    /// Put behind both; empty if there is only one phone.
    pub(super) suffix: String,
}

impl Body {
    /// The bytes that `phone` sends.
    pub(super) fn of(&self, phone: &Identity) -> Bytes {
        match self {
            Self::Cut(message) => {
                let session = quoted(&format!("{}{}", phone.session, phone.suffix));
                let device = quoted(&format!("{}{}", phone.device, phone.suffix));
                let id = message.id;
                let head = format!(r#"{{"messageId":{id},"sessionId":{session},"deviceId":{device},"payload":["#);
                [head.as_bytes(), &message.payload, b"]}"].concat().into()
            }
            Self::Line { bytes, .. } if phone.suffix.is_empty() => bytes.clone(),
            Self::Line { bytes, suffix_at } => {
                let mut out = Vec::with_capacity(bytes.len() + suffix_at.len() * phone.suffix.len());
                let mut done = 0;
                for at in suffix_at {
                    out.extend_from_slice(&bytes[done..*at]);
                    out.extend_from_slice(phone.suffix.as_bytes());
                    done = *at;
                }
                out.extend_from_slice(&bytes[done..]);
                out.into()
            }
        }
    }
}

/// What a replay has to know of a push body.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Scan {
    /// Those that an agent takes from `payload`.
    pub(super) readings: u64,
    /// The greatest usable `time` among them.
    pub(super) time: Option<i64>,
    /// Device and session, to tell clocks apart.
    pub(super) session: String,
    /// Before the closing quotes of `deviceId` and `sessionId`.
    pub(super) suffix_at: Vec<usize>,
}

impl Scan {
    /// Looks through a body; one that is not the app's JSON has nothing to be known.
    pub(super) fn of(body: &[u8]) -> Self {
        let mut scan = Self::default();
        match scan.object(&mut Jiter::new(body)) {
            Ok(()) => scan,
            Err(_) => Self::default(),
        }
    }

    fn object(&mut self, json: &mut Jiter<'_>) -> Result<(), JiterError> {
        let mut key = json.next_object()?.map(Field::of);
        while let Some(field) = key {
            let peek = json.peek()?;
            match (field, peek) {
                (Field::Id, Peek::String) => {
                    self.session.push_str(json.known_str()?);
                    self.session.push('\n');
                    self.suffix_at.push(json.current_index() - 1);
                }
                (Field::Payload, _) => self.payload(json, peek)?,
                _ => json.known_skip(peek)?,
            }
            key = json.next_key()?.map(Field::of);
        }
        json.finish()
    }

    /// As an agent takes it: of several the last, and what is no list as one reading.
    fn payload(&mut self, json: &mut Jiter<'_>, peek: Peek) -> Result<(), JiterError> {
        (self.readings, self.time) = (0, None);
        match peek {
            Peek::Null => return json.known_null(),
            Peek::Array => {}
            _ => return self.element(json, peek),
        }
        let mut element = json.known_array()?;
        while let Some(peek) = element {
            self.element(json, peek)?;
            element = json.array_step()?;
        }
        Ok(())
    }

    fn element(&mut self, json: &mut Jiter<'_>, peek: Peek) -> Result<(), JiterError> {
        self.readings += 1;
        if peek == Peek::Object { self.reading(json) } else { json.known_skip(peek) }
    }

    fn reading(&mut self, json: &mut Jiter<'_>) -> Result<(), JiterError> {
        let mut is_time = json.known_object()?.map(|key| key == "time");
        while let Some(time) = is_time {
            let peek = json.peek()?;
            if time && (peek == Peek::String || peek.is_num()) {
                let text = if peek == Peek::String {
                    json.known_str()?.to_owned()
                } else {
                    String::from_utf8_lossy(json.known_number_bytes(peek)?).into_owned()
                };
                self.time = self.time.max(Value::Text(text).as_integer());
            } else {
                json.known_skip(peek)?;
            }
            is_time = json.next_key()?.map(|key| key == "time");
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Field {
    Id,
    Payload,
    Other,
}

impl Field {
    fn of(key: &str) -> Self {
        match key {
            "deviceId" | "sessionId" => Self::Id,
            "payload" => Self::Payload,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn phone(suffix: &str) -> Identity {
        Identity { device: "phone-a".into(), session: "session-a".into(), suffix: suffix.into() }
    }

    fn line(text: &[u8]) -> Body {
        Body::Line { bytes: Bytes::copy_from_slice(text), suffix_at: Scan::of(text).suffix_at }
    }

    #[test]
    fn the_suffix_is_put_behind_both_ids_and_nothing_else_changes() {
        let text = r#" {"payload":[{"deviceId":"in","time":1.76000000045e+18}], "sessionId" : "s\"é", "deviceId":""}"#;
        assert_eq!(line(text.as_bytes()).of(&phone("")), text);
        let expected =
            r#" {"payload":[{"deviceId":"in","time":1.76000000045e+18}], "sessionId" : "s\"é-2", "deviceId":"-2"}"#;
        assert_eq!(line(text.as_bytes()).of(&phone("-2")), expected);
    }

    #[test]
    fn a_cut_message_has_the_apps_shape() {
        let message = Message { id: 7, payload: Bytes::from_static(br#"{"a":1},{"b":2}"#), readings: 2, time: 0 };
        assert_eq!(
            Body::Cut(message).of(&phone("-1")),
            r#"{"messageId":7,"sessionId":"session-a-1","deviceId":"phone-a-1","payload":[{"a":1},{"b":2}]}"#
        );
    }

    #[test]
    fn a_scan_finds_readings_and_their_greatest_time() {
        let body = br#"{"deviceId":"d","payload":[{"time":5,"values":{"time":99}},7,{"time":"12"},{"time":1e1},{"time":null}]}"#;
        let scan = Scan::of(body);
        assert_eq!((scan.readings, scan.time, scan.session.as_str()), (5, Some(12), "d\n"));
        for (payload, readings, time) in [
            ("null", 0, None),
            ("[]", 0, None),
            ("7", 1, None),
            (r#"{"time":3}"#, 1, Some(3)),
            (r#"[1,{"time":9}],"payload":[{"time":3}]"#, 1, Some(3)),
        ] {
            let body = format!(r#"{{"payload":{payload}}}"#);
            let scan = Scan::of(body.as_bytes());
            assert_eq!((scan.readings, scan.time), (readings, time), "{body}");
        }
        for odd in ["", "not json", "[]", r#"{"payload":[{"time":1}]"#, r#"{"deviceId":"a"} x"#, "{\"deviceId\":\"a"] {
            assert_eq!(Scan::of(odd.as_bytes()), Scan::default(), "{odd}");
        }
    }

    proptest! {
        #[test]
        fn one_phone_sends_a_line_byte_for_byte(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(line(&bytes).of(&phone("")), bytes);
        }

        #[test]
        fn several_phones_differ_in_their_ids_alone(
            device in any::<String>(), session in any::<String>(), extra in any::<String>(), suffix in "-[1-9]{1,4}",
        ) {
            let json = |device: String, session: String| {
                serde_json::json!({"deviceId": device, "sessionId": session, "x": extra, "payload": []})
            };
            let sent = line(json(device.clone(), session.clone()).to_string().as_bytes()).of(&phone(&suffix));
            let sent: serde_json::Value = serde_json::from_slice(&sent).unwrap();
            prop_assert_eq!(sent, json(format!("{device}{suffix}"), format!("{session}{suffix}")));
        }
    }
}
