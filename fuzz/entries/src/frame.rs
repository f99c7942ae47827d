//! A frame, as relay and warehouse read it: from somebody who has an agent's identity, or from a damaged disk.

use std::borrow::Cow;

use gaitway_proto::frame::{Builder, Claims, Frame, Packed, Plain};
use gaitway_proto::limits;
use gaitway_proto::message::{Message, Reading};
use gaitway_proto::value::Value;

use crate::envelopes::checksummed;
use crate::kept::assert_records;

/// Any bytes as a frame. The first says what stands behind it: 0 a frame as it is, 1 one whose checksum is still to be
/// made, others the columns of one that says it holds as many readings as the second byte.
pub(crate) fn frame(bytes: &[u8]) {
    let frame = match bytes {
        [] => return,
        [0, frame @ ..] => frame.to_owned(),
        [1, frame @ ..] => checksummed(frame),
        [_, columns @ ..] => of_columns(columns),
    };
    let claims = Claims::read(&frame);
    let Ok(decoded) = Frame::decode(&frame) else { return };
    assert_eq!(claims.map(|claims| claims.readings), Ok(decoded.readings()));
    assert!(decoded.readings() <= limits::MAX_READINGS);
    assert_records(&decoded);

    let message = decoded.to_message();
    let packed = pack(&message);
    // Somebody else's frame may hold what no push can have said.
    if packed.check().is_ok() {
        let again = Frame::decode(&packed.seal(&message.header)).expect("what passes the check is decoded");
        // By their text, so that a number that is none equals itself.
        assert_eq!(format!("{:?}", again.to_message()), format!("{message:?}"));
    }
    let without = Frame::without_id(&frame).expect("what is decoded can be told without its id");
    let without = Frame::decode(&without).expect("and is decoded again");
    assert_eq!((without.header.message_id, without.readings()), (None, decoded.readings()));
}

fn of_columns(bytes: &[u8]) -> Vec<u8> {
    let (readings, columns) = bytes.split_first().map_or((0, bytes), |(first, rest)| (*first, rest));
    let packed = zstd::bulk::compress(columns, 1).expect("any bytes can be compressed");
    let header = ("d", "s", None::<&str>, Some(7_u64), 0_i64, true);
    let body = postcard::to_stdvec(&(header, u32::from(readings), columns.len() as u32, packed))
        .expect("postcard writes any value to a Vec");
    checksummed(&[&[gaitway_proto::envelope::VERSION][..], &body].concat())
}

fn pack(message: &Message) -> Packed {
    let mut builder = Builder::new();
    builder.set_extra(message.extra.clone());
    for reading in &message.readings {
        match reading {
            Reading::Odd(value) => builder.push_odd(value),
            Reading::Plain(plain) => {
                let mut values: Vec<(Cow<'_, str>, Value)> =
                    plain.values.iter().map(|(key, value)| (Cow::Borrowed(key.as_str()), value.clone())).collect();
                let head =
                    Plain { name: &plain.name, time: plain.time, accuracy: plain.accuracy, extra: plain.extra.clone() };
                builder.push_plain(head, &mut values);
            }
        }
    }
    builder.finish()
}
