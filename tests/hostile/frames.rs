//! Frames that no phone could have made, and words with damage in them.

use gaitway_proto::activity::{Activity, ActivityFrame, Window};
use gaitway_proto::frame::{Builder, Plain};
use gaitway_proto::message::Header;
use gaitway_proto::value::{Fields, Value};

use crate::harness::Random;

/// Its encoding takes [`HEADER`] bytes.
fn header() -> Header {
    Header {
        device: "d".to_owned(),
        session: "s".to_owned(),
        user: None,
        message_id: None,
        received_at: 0,
        clock_synced: false,
    }
}

const HEADER: usize = 8;

fn odd(readings: impl Iterator<Item = Value>) -> Vec<u8> {
    let mut builder = Builder::new();
    readings.for_each(|reading| builder.push_odd(&reading));
    builder.finish().seal(&header())
}

/// `payload` with the checksum that its bytes ask for.
pub(crate) fn reseal(mut payload: Vec<u8>) -> Vec<u8> {
    let end = payload.len() - 4;
    let crc = crc32c::crc32c(&payload[..end]).to_le_bytes();
    payload[end..].copy_from_slice(&crc);
    payload
}

/// A frame as good as any, of `readings` readings.
pub(crate) fn plain(readings: i64) -> Vec<u8> {
    let mut builder = Builder::new();
    for time in 0..readings {
        let mut values: Vec<_> =
            ["x", "y", "z"].into_iter().map(|axis| (axis.into(), Value::F64(time as f64 * 0.37))).collect();
        let head = Plain { name: "accelerometer", time, accuracy: None, extra: Fields::new() };
        builder.push_plain(head, &mut values);
    }
    builder.finish().seal(&header())
}

pub(crate) fn activity() -> Vec<u8> {
    // The ends of time are told as well.
    let window = |start| Window {
        start,
        end: start,
        count: u64::MAX,
        mean: 1.0,
        activity: Activity::Walking,
        confidence: 0.5,
        revision: u32::MAX,
    };
    let windows = [0, i64::MIN, i64::MAX].map(window).to_vec();
    ActivityFrame { device: "d".to_owned(), session: "s".to_owned(), classifier: "c".to_owned(), windows }.encode()
}

/// Few bytes on the wire, as much as can be once unpacked: each with its name and its frame.
pub(crate) fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let most = gaitway_proto::limits::MAX_READINGS;
    let text = Value::Text("a".repeat(31 << 20));
    let object = || Value::Object([(String::new(), Value::I64(0))].into());
    let objects = |count| Value::Array((0..count).map(|_| object()).collect());
    let mut lies = odd(std::iter::repeat_n(Value::Null, 4_000));
    // After version and header: readings, a varint of two bytes, then the decoded size, of three.
    lies[1 + HEADER..][..5].copy_from_slice(&[0xff, 0x7f, 0xff, 0xff, 0x7f]);
    let mut wide = Builder::new();
    for time in 0..4_000 {
        let mut values: Vec<_> = (0..2_000).map(|key| (format!("{key}").into(), Value::Null)).collect();
        wide.push_plain(Plain { name: "s", time, accuracy: None, extra: Fields::new() }, &mut values);
    }
    vec![
        ("as many readings as may be", odd(std::iter::repeat_n(Value::Null, most))),
        ("more readings than may be", odd(std::iter::repeat_n(Value::Null, most + 1))),
        ("one long text", odd(std::iter::once(text))),
        ("a million objects in one reading", odd(std::iter::once(objects(1 << 20)))),
        ("another number of readings than claimed", reseal(lies)),
        ("few values, many keys in many rows", wide.finish().seal(&header())),
    ]
}

/// `payload` with damage at random: bits, bytes, counts, pieces.
pub(crate) fn damaged(mut payload: Vec<u8>, random: &mut Random) -> Vec<u8> {
    for _ in 0..=random.below(4) {
        if payload.is_empty() {
            break;
        }
        let at = random.below(payload.len() as u64) as usize;
        match random.below(6) {
            0 => payload[at] ^= 1 << random.below(8),
            1 => payload[at] = random.bits() as u8,
            2 => payload.truncate(at),
            3 => {
                payload.remove(at);
            }
            // As a count or a length: as great as can be.
            4 => drop(payload.splice(at..=at, [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1])),
            _ => {
                let piece = payload[at..].to_vec();
                payload.extend(piece);
            }
        }
    }
    // Three of four reach what is behind the checksum.
    if payload.len() > 5 && random.below(4) > 0 {
        payload[0] = 1;
        payload = reseal(payload);
    }
    payload
}
