//! Envelopes survive, foreign versions and damage are refused, version 1 is pinned byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use bytes::Bytes;
use gaitway_proto::activity::{Activity, ActivityFrame, Window};
use gaitway_proto::envelope::{Ack, Batch, Down, Gap, Granted, Hello, Item, Offer, Welcome, WireError};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::limits;
use proptest::prelude::*;

mod pinned;
use pinned::golden;

fn hello() -> Hello {
    let epoch = Epoch::from_random(0x1234_5678_9abc_def0);
    let offer = |stream, first, next| Offer { epoch, ordinal: 3, stream, first, next };
    Hello {
        session: 42,
        software: "0.1.0".to_owned(),
        epoch,
        ancestors: vec![Epoch::from_random(7), Epoch::from_random(5)],
        streams: vec![offer(Stream::Activity, 1, 1), offer(Stream::Raw, 5, 9)],
    }
}

fn batch() -> Batch {
    let gap = Gap { span: 3, messages: 3, readings: 300, reason: "spool full".to_owned(), noticed_at: 1 };
    let items = vec![Item::Frame(Bytes::from_static(b"frame")), Item::Gap(gap)];
    Batch { session: 42, epoch: Epoch::from_random(7), stream: Stream::Raw, first: 5, items }
}

fn downs() -> Vec<Down> {
    let epoch = Epoch::from_random(7);
    let streams = vec![Granted { epoch, stream: Stream::Raw, committed: 4, grant: 65536 }];
    vec![
        Down::Welcome(Welcome { session: 42, forked: None, streams }),
        Down::Ack(Ack { session: 42, epoch, stream: Stream::Activity, up_to: 9, grant: 1 }),
        Down::Rewind { session: 42, epoch, stream: Stream::Raw, next: 5 },
        Down::HelloAgain { session: 42 },
        Down::Refused { session: 0, reason: "version 9 is unknown here".to_owned() },
        Down::Welcome(Welcome { session: 42, forked: Some(epoch), streams: vec![] }),
        Down::Renew,
    ]
}

fn windows() -> ActivityFrame {
    let window = Window {
        start: 1_700_000_000_000_000_000,
        end: 1_700_000_010_000_000_000,
        count: 500,
        mean: 5.25,
        activity: Activity::Walking,
        confidence: 0.875,
        revision: 0,
    };
    ActivityFrame {
        device: "phone".to_owned(),
        session: "walk".to_owned(),
        classifier: "threshold".to_owned(),
        windows: vec![window],
    }
}

#[test]
fn version_1_is_pinned() {
    assert_eq!(golden("hello-v1.bin", &hello().encode()), hello().encode());
    assert_eq!(golden("batch-v1.bin", &batch().encode()), batch().encode());
    assert_eq!(golden("activity-v1.bin", &windows().encode()), windows().encode());
    for (index, down) in downs().into_iter().enumerate() {
        assert_eq!(golden(&format!("down-{index}-v1.bin"), &down.encode()), down.encode());
    }
}

#[test]
fn envelopes_survive() {
    assert_eq!(Hello::decode(&hello().encode()), Ok(hello()));
    assert_eq!(Batch::decode(&batch().encode()), Ok(batch()));
    assert_eq!(ActivityFrame::decode(&windows().encode()), Ok(windows()));
    for down in downs() {
        assert_eq!(Down::decode(&down.encode()), Ok(down.clone()));
    }
}

#[test]
fn an_unknown_version_is_refused_with_its_number() {
    let mut payload = hello().encode();
    payload[0] = 9;
    assert_eq!(Hello::decode(&payload), Err(WireError::Version(9)));
    assert!(WireError::Version(9).to_string().contains('9'));
}

#[test]
fn impossible_positions_are_refused() {
    let mut bad = hello();
    bad.streams[1].next = 4;
    assert!(Hello::decode(&bad.encode()).is_err());
    let mut bad = batch();
    bad.first = u64::MAX - 1;
    assert!(Batch::decode(&bad.encode()).is_err());
    bad.items.clear();
    bad.first = 1;
    assert!(Batch::decode(&bad.encode()).is_err());
}

#[test]
fn an_epoch_that_no_ledger_could_keep_is_refused() {
    let name = |bits: u64| serde_json::from_value::<Epoch>(bits.into());
    assert_eq!(name(i64::MAX as u64).unwrap(), Epoch::from_random(u64::MAX));
    assert!(name(i64::MAX as u64 + 1).unwrap_err().to_string().contains("not the name of an agent start"));
}

#[test]
fn more_than_the_limits_is_refused() {
    let mut bad = hello();
    bad.streams = vec![bad.streams[0]; limits::MAX_HELLO_STREAMS + 1];
    assert!(Hello::decode(&bad.encode()).is_err());
    bad.streams.pop();
    assert!(Hello::decode(&bad.encode()).is_ok());
    bad.ancestors = (0..=limits::MAX_ANCESTORS as u64).map(Epoch::from_random).collect();
    assert!(Hello::decode(&bad.encode()).is_err());
    bad.ancestors.pop();
    bad.software = "s".repeat(limits::MAX_SOFTWARE);
    assert!(Hello::decode(&bad.encode()).is_ok());
    bad.software.push('s');
    assert!(Hello::decode(&bad.encode()).is_err());
    let mut bad = batch();
    bad.items = vec![bad.items[0].clone(); limits::MAX_BATCH_ITEMS + 1];
    assert!(Batch::decode(&bad.encode()).is_err());
    bad.items.pop();
    assert!(Batch::decode(&bad.encode()).is_ok());
}

#[test]
fn limits_follow_each_other() {
    const {
        assert!(limits::MAX_BODY < limits::MAX_FRAME);
        assert!(limits::MAX_FRAME < limits::MAX_PAYLOAD);
        assert!(limits::MAX_PAYLOAD < limits::MAX_PACKET);
        assert!(limits::MAX_RECORD < limits::MAX_BODY);
        assert!(Stream::ALL.len() * (1 + limits::MAX_ANCESTORS) < limits::MAX_HELLO_STREAMS);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = (Hello::decode(&bytes), Batch::decode(&bytes), Down::decode(&bytes), ActivityFrame::decode(&bytes));
    }

    #[test]
    fn one_wrong_byte_is_noticed(at in 0_usize..40, flip in 1_u8..) {
        let mut payload = batch().encode();
        let at = at % payload.len();
        payload[at] ^= flip;
        prop_assert!(Batch::decode(&payload).is_err());
    }
}
