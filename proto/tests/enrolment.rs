//! Enrolment's words survive, damage and excess are refused, version 1 is pinned byte for byte.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use gaitway_proto::enrolment::{
    Answer, Ask, CodeSecret, Issued, MAX_ANSWER, MAX_ASK, Refusal, announced, framed, renew_at,
};
use gaitway_proto::envelope::WireError;
use proptest::prelude::*;

mod pinned;
use pinned::golden;

fn asks() -> [Ask; 2] {
    let request = vec![0x30, 0x82, 1];
    let secret = CodeSecret::from_random(0x1_2345_6789_abcd);
    [Ask::Enrol { secret, request: request.clone() }, Ask::Renew { request }]
}

fn answers() -> Vec<Answer> {
    let issued = Issued {
        agent: "attic".parse().unwrap(),
        certificate: vec![0x30, 1],
        authority: vec![0x30, 2],
        not_before: 1_700_000_000,
        not_after: 1_707_776_000,
    };
    let refusals = [
        Refusal::WrongCode { tries_left: Some(4) },
        Refusal::Used,
        Refusal::Expired,
        Refusal::Exhausted,
        Refusal::TooMany { seconds: 6 },
        Refusal::Request,
        Refusal::NoCertificate,
        Refusal::Unable,
    ];
    let refused = refusals.into_iter().map(Answer::Refused);
    std::iter::once(Answer::Issued(issued)).chain(refused).collect()
}

#[test]
fn version_1_of_enrolment_is_pinned() {
    for (index, ask) in asks().into_iter().enumerate() {
        assert_eq!(golden(&format!("ask-{index}-v1.bin"), &ask.encode()), *ask.encode());
        assert_eq!(Ask::decode(&ask.encode()), Ok(ask));
    }
    for (index, answer) in answers().into_iter().enumerate() {
        assert_eq!(golden(&format!("answer-{index}-v1.bin"), &answer.encode()), answer.encode());
        assert_eq!(Answer::decode(&answer.encode()), Ok(answer));
    }
}

#[test]
fn a_wrong_code_says_how_often_it_may_still_be_tried_and_after_the_last_time_to_make_another() {
    let said = |tries_left| Refusal::WrongCode { tries_left }.to_string();
    let rest = ": look at it again, or make a new one on the relay's machine";
    assert_eq!(said(None), format!("the relay knows no such code{rest}"));
    assert_eq!(said(Some(4)), format!("the relay knows no such code, 4 more tries{rest}"));
    assert_eq!(said(Some(1)), format!("the relay knows no such code, 1 more try{rest}"));
    assert_eq!(
        said(Some(0)),
        "the relay knows no such code, and that was the last try: make a new one on the relay's machine"
    );
}

#[test]
fn what_is_longer_than_the_limits_is_not_read() {
    let long = Ask::Renew { request: vec![0; MAX_ASK] }.encode();
    assert!(matches!(Ask::decode(&long), Err(WireError::TooLarge { limit: MAX_ASK, .. })));
    assert!(announced([0xff, 0xff], "question", MAX_ASK).is_err());
    assert!(matches!(Answer::decode(&vec![1; MAX_ANSWER + 1]), Err(WireError::TooLarge { .. })));
    let whole = framed(&asks()[0].encode());
    assert_eq!(announced([whole[0], whole[1]], "question", MAX_ASK).unwrap(), whole.len() - 2);
}

#[test]
fn a_certificate_is_replaced_at_two_thirds_of_its_life() {
    assert_eq!(renew_at(0, 90), 60);
    assert_eq!(renew_at(100, 50), 50, "one that never was is to be replaced at once");
    assert_eq!(renew_at(i64::MIN, i64::MAX), i64::MAX - i64::MAX / 3);
}

#[test]
fn every_refusal_says_what_to_do() {
    for answer in answers() {
        let Answer::Refused(refusal) = answer else { continue };
        let said = refusal.to_string();
        assert!(said.contains(':'), "{said}");
    }
}

proptest! {
    #[test]
    fn any_bytes_of_enrolment_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = (Ask::decode(&bytes), Answer::decode(&bytes));
    }

    #[test]
    fn one_wrong_byte_of_a_question_is_noticed(at in 0_usize..40, flip in 1_u8..) {
        let mut payload = asks()[0].encode();
        let at = at % payload.len();
        payload[at] ^= flip;
        prop_assert!(Ask::decode(&payload).is_err());
    }
}
