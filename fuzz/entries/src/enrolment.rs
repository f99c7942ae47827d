//! How an agent is let in: the code that people type, and what agent and relay then ask and answer.

use gaitway_proto::enrolment::{Answer, Ask, Code, MAX_ANSWER, MAX_ASK, announced};

use crate::envelopes::{payload, survives};

/// Any bytes as a code, as question and answer, and as the request for a certificate.
pub(crate) fn enrolment(bytes: &[u8]) {
    if let Ok(text) = std::str::from_utf8(bytes) {
        code(text);
    }
    let payload = payload(bytes);
    if let Ok(ask) = Ask::decode(&payload) {
        assert_eq!(Ask::decode(&ask.encode()).as_ref(), Ok(&ask));
        let (Ask::Enrol { request, .. } | Ask::Renew { request }) = ask;
        gaitway_relay::fuzzing::certificate_request(&request);
    }
    survives(&payload, Answer::decode, Answer::encode);
    gaitway_relay::fuzzing::certificate_request(bytes);
    if let Some(length) = bytes.first_chunk() {
        for limit in [MAX_ASK, MAX_ANSWER] {
            if let Ok(length) = announced(*length, "message", limit) {
                assert!(length <= limit);
            }
        }
    }
}

/// A code that is one is spelled in one way, and read again however it is typed.
fn code(text: &str) {
    match text.parse::<Code>() {
        Ok(code) => {
            let spelled = code.to_string();
            for typed in
                [spelled.clone(), spelled.to_lowercase().replace('-', " "), spelled.replace('0', "o").replace('1', "l")]
            {
                assert_eq!(typed.parse().as_ref(), Ok(&code), "{typed}");
            }
            let shown = format!("{:?}", code.secret);
            assert!(!spelled.split('-').any(|group| shown.contains(group)), "the secret is shown: {shown}");
        }
        Err(error) => assert!(error.to_string().len() < 200, "{error}"),
    }
}
