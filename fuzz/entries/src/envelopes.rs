//! What agent and relay say to each other.

use std::fmt::Debug;

use gaitway_proto::activity::ActivityFrame;
use gaitway_proto::envelope::{Batch, Down, Hello, Item, VERSION, WireError, is_whole};
use gaitway_proto::limits;

/// `payload` with the checksum that it needs.
pub(crate) fn checksummed(payload: &[u8]) -> Vec<u8> {
    [payload, &crc32c::crc32c(payload).to_le_bytes()].concat()
}

/// Any bytes as an agent's words: hello, batch, and the windows in one. The first byte says whether the version and the
/// checksum are still to be put around the rest.
pub(crate) fn envelopes(bytes: &[u8]) {
    let payload = payload(bytes);
    if let Some(hello) = survives(&payload, Hello::decode, Hello::encode) {
        assert!(hello.streams.len() <= limits::MAX_HELLO_STREAMS && hello.ancestors.len() <= limits::MAX_ANCESTORS);
    }
    if let Some(batch) = survives(&payload, Batch::decode, Batch::encode) {
        assert!(batch.items.len() <= limits::MAX_BATCH_ITEMS);
        let end = batch.items.iter().map(Item::span).try_fold(batch.first, u64::checked_add);
        assert!(end.is_some_and(|end| i64::try_from(end).is_ok()), "positions beyond a ledger's");
    }
    survives(&payload, ActivityFrame::decode, ActivityFrame::encode);
}

/// Any bytes as the relay's words: first as one payload, then as a conversation with an agent's uplink.
pub(crate) fn acks(bytes: &[u8]) {
    survives(&payload(bytes), Down::decode, Down::encode);
    gaitway_agent::uplink::fuzzing::converse(bytes);
}

/// A payload: behind a first 0 its version and checksum are still to be put around it.
pub(crate) fn payload(bytes: &[u8]) -> Vec<u8> {
    match bytes {
        [0, body @ ..] => checksummed(&[&[VERSION], body].concat()),
        _ => bytes.to_owned(),
    }
}

/// What `payload` says, if it says something; said again it is the same.
pub(crate) fn survives<T: PartialEq + Debug>(
    payload: &[u8],
    decode: fn(&[u8]) -> Result<T, WireError>,
    encode: fn(&T) -> Vec<u8>,
) -> Option<T> {
    let said = decode(payload).inspect_err(|error| assert!(error.to_string().len() < 200, "{error}")).ok()?;
    assert!(is_whole(payload));
    let again = encode(&said);
    assert!(again.len() <= payload.len(), "{} bytes said in {}", payload.len(), again.len());
    assert_eq!(decode(&again).as_ref(), Ok(&said));
    Some(said)
}
