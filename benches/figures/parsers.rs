//! JSON parsers for Rust, each reading a push body into the same values the fastest way it has.

use jiter::{Jiter, Peek};
use serde::Deserialize;

/// A push body, borrowed from its text.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Message<'a> {
    #[serde(rename = "messageId")]
    pub(crate) id: u64,
    #[serde(rename = "sessionId")]
    pub(crate) session: &'a str,
    #[serde(rename = "deviceId")]
    pub(crate) device: &'a str,
    #[serde(borrow)]
    pub(crate) payload: Vec<Reading<'a>>,
}

/// One reading.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Reading<'a> {
    pub(crate) name: &'a str,
    pub(crate) time: i64,
    pub(crate) accuracy: Option<i64>,
    pub(crate) values: Axes,
}

/// Its axes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
pub(crate) struct Axes {
    pub(crate) z: f64,
    pub(crate) y: f64,
    pub(crate) x: f64,
}

/// A parser's name and what it makes of a body; simd-json writes into the text.
pub(crate) type Parser = (&'static str, for<'a> fn(&'a mut [u8], &mut simd_json::Buffers) -> Message<'a>);

/// All of them.
pub(crate) const PARSERS: [Parser; 4] = [
    ("sonic-rs", |body, _| sonic_rs::from_slice(body).unwrap()),
    ("simd-json", |body, buffers| simd_json::serde::from_slice_with_buffers(body, buffers).unwrap()),
    ("serde_json", |body, _| serde_json::from_slice(body).unwrap()),
    ("jiter", |body, _| pulled(&mut Jiter::new(body))),
];

/// jiter has no derive: its pull parser, told what comes. Keys are matched before the next token invalidates them.
fn pulled<'a>(json: &mut Jiter<'a>) -> Message<'a> {
    let mut message = Message { id: 0, session: "", device: "", payload: Vec::new() };
    let mut key = json.next_object().unwrap();
    while let Some(name) = key {
        match name {
            "messageId" => message.id = integer(json) as u64,
            "sessionId" => message.session = text(json),
            "deviceId" => message.device = text(json),
            "payload" => {
                let mut next = json.next_array().unwrap();
                while next.is_some() {
                    message.payload.push(reading(json));
                    next = json.array_step().unwrap();
                }
            }
            _ => json.next_skip().unwrap(),
        }
        key = json.next_key().unwrap();
    }
    json.finish().unwrap();
    message
}

fn reading<'a>(json: &mut Jiter<'a>) -> Reading<'a> {
    let mut reading = Reading { name: "", time: 0, accuracy: None, values: Axes::default() };
    let mut key = json.known_object().unwrap();
    while let Some(name) = key {
        match name {
            "name" => reading.name = text(json),
            "time" => reading.time = integer(json),
            "accuracy" => reading.accuracy = Some(integer(json)),
            "values" => reading.values = axes(json),
            _ => json.next_skip().unwrap(),
        }
        key = json.next_key().unwrap();
    }
    reading
}

fn axes(json: &mut Jiter<'_>) -> Axes {
    let mut axes = Axes::default();
    let mut key = json.next_object().unwrap();
    while let Some(name) = key {
        let axis = match name {
            "x" => &mut axes.x,
            "y" => &mut axes.y,
            "z" => &mut axes.z,
            other => panic!("no axis is called {other}"),
        };
        *axis = json.next_float().unwrap();
        key = json.next_key().unwrap();
    }
    axes
}

/// Out of its digits: jiter itself makes a big integer of every number with 19.
fn integer(json: &mut Jiter<'_>) -> i64 {
    let digits = json.next_number_bytes().unwrap();
    std::str::from_utf8(digits).unwrap().parse().unwrap()
}

/// The text of a string without escapes, out of the body itself.
fn text<'a>(json: &mut Jiter<'a>) -> &'a str {
    assert_eq!(json.peek().unwrap(), Peek::String);
    let start = json.current_index();
    json.known_bytes().unwrap();
    let quoted = json.slice_to_current(start);
    std::str::from_utf8(&quoted[1..quoted.len() - 1]).unwrap()
}
