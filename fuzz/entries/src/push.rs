//! A push body, as the agent reads it.

use gaitway_agent::ingest::{Refusal, parse, parse_without_id};
use gaitway_agent::phones::Privacy;

use crate::kept::assert_kept;

/// Any bytes as a push body: refused in a sentence, or kept whole, with and without its `messageId`.
pub(crate) fn push(body: &[u8]) {
    match (parse(body), parse_without_id(body, Privacy::default())) {
        (Ok(push), Ok(without)) => {
            assert_kept(body, &push);
            assert_eq!(without.message_id, None);
            assert_eq!((push.device, push.session, push.user), (without.device, without.session, without.user));
            assert_eq!((push.hash, push.bytes, push.test), (without.hash, body.len(), without.test));
            assert_eq!((push.samples, push.median_time), (without.samples, without.median_time));
            assert_eq!(push.packed.readings(), without.packed.readings());
        }
        // The id is one field more beside the payload.
        (Ok(push), Err(Refusal::TooLarge { .. })) => assert!(push.message_id.is_some()),
        (Err(refusal), Err(again)) => {
            assert_eq!(refusal, again);
            assert!(refusal.to_string().len() < 1000, "{refusal}");
        }
        (push, without) => panic!("{push:?}, but without its id {without:?}"),
    }
}
