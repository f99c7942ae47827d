//! One push of a phone, row by row. The agent itself goes from JSON to columns; this form is the meaning of a frame.

use serde::{Deserialize, Serialize};

use crate::value::{Fields, Value};

/// One push body.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// Who sent it and when.
    pub header: Header,
    /// Fields of the body that the app's format does not know.
    pub extra: Fields,
    /// In the order of `payload`.
    pub readings: Vec<Reading>,
}

/// What stands at the head of a message, outside its readings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// `deviceId`: one phone.
    pub device: String,
    /// `sessionId`: one recording.
    pub session: String,
    /// `userId`, in studies only.
    pub user: Option<String>,
    /// `messageId`, an integer 0…2⁵³; none if the body is known by its hash.
    pub message_id: Option<u64>,
    /// When the agent had the whole body: microseconds since the Unix epoch, wall clock.
    pub received_at: i64,
    /// Whether the wall clock was synchronised then.
    pub clock_synced: bool,
}

/// One element of `payload`.
#[derive(Debug, Clone, PartialEq)]
pub enum Reading {
    /// An object of the app's format.
    Plain(PlainReading),
    /// Anything else, as it came.
    Odd(Value),
}

/// A reading whose `name` is a string, `time` an integer, `accuracy` absent or an integer and `values` an object.
#[derive(Debug, Clone, PartialEq)]
pub struct PlainReading {
    /// The sensor's name.
    pub name: String,
    /// Nanoseconds since the Unix epoch, phone's clock.
    pub time: i64,
    /// 0–3, Android only.
    pub accuracy: Option<i64>,
    /// The measured fields.
    pub values: Fields,
    /// Fields beside the known four.
    pub extra: Fields,
}

/// The greatest usable `messageId`: beyond it a JavaScript number does not count up by one.
pub const MAX_MESSAGE_ID: u64 = 1 << 53;
