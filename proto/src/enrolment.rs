//! How an agent gets its certificate from the relay: one question and one answer over TLS, on the relay's own port.
//!
//! - The connection says [`ALPN_ENROL`]; one that says [`ALPN_MQTT`], or nothing, is MQTT's and needs a certificate.
//! - Each is a length (two bytes, big endian) and a sealed payload as on MQTT: version byte, postcard body, CRC32C.
//! - A question is at most [`MAX_ASK`], an answer at most [`MAX_ANSWER`]: what is longer is not read.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::topic::AgentId;
use crate::wire::{WireError, open, seal};

mod code;

pub use code::{BadCode, Code, CodeSecret, Fingerprint};

/// What a connection for certificates says that it is (RFC 7301).
pub const ALPN_ENROL: &[u8] = b"gaitway-enroll/1";

/// What a connection for MQTT says that it is.
pub const ALPN_MQTT: &[u8] = b"mqtt";

/// The name in every relay's certificate: agents trust the relay's own authority, which certifies relays under this
/// name and nothing else, so where the relay is reached makes no difference.
pub const RELAY_NAME: &str = "relay.gaitway.internal";

/// Greatest question, bytes: a certificate request of an ECDSA key takes some 300.
pub const MAX_ASK: usize = 4 * 1024;

/// Greatest answer, bytes: two certificates of some 600 each.
pub const MAX_ANSWER: usize = 8 * 1024;

/// How long a code can be used.
pub const CODE_LIFE: Duration = Duration::from_secs(15 * 60);

/// How long a certificate lasts.
pub const CERTIFICATE_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);

/// How long before it is made a certificate begins: clocks differ.
pub const BACKDATED: Duration = Duration::from_secs(24 * 3600);

/// What an agent asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// For a first certificate, with a code.
    Enrol {
        /// Of the code.
        secret: CodeSecret,
        /// PKCS#10 request in DER; of what it says only the key and its signature count.
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
    /// For the next certificate, over a connection that shows the present one.
    Renew {
        /// As in `Enrol`; the key is a new one.
        #[serde(with = "serde_bytes")]
        request: Vec<u8>,
    },
}

/// What the relay answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// Here it is.
    Issued(Issued),
    /// There is none.
    Refused(Refusal),
}

/// A certificate, and what an agent has to know of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// Whose it is: also its MQTT client id and its topics.
    pub agent: AgentId,
    /// The certificate in DER.
    #[serde(with = "serde_bytes")]
    pub certificate: Vec<u8>,
    /// The authority's own in DER.
    #[serde(with = "serde_bytes")]
    pub authority: Vec<u8>,
    /// Its first second, of the Unix epoch.
    pub not_before: i64,
    /// Its last second, of the Unix epoch.
    pub not_after: i64,
}

/// Why there is no certificate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// No such code, or another than the one that begins alike; then so many tries are left for that one.
    #[error("the relay knows no such code{}", what_is_left(*.tries_left))]
    WrongCode {
        /// None if no code begins like this one.
        tries_left: Option<u8>,
    },
    /// It made a certificate already.
    #[error("this code was used already: make a new one on the relay's machine")]
    Used,
    /// It is too old.
    #[error("this code is older than {} minutes: make a new one on the relay's machine", CODE_LIFE.as_secs() / 60)]
    Expired,
    /// It was tried wrongly too often.
    #[error("this code was tried wrongly too often: make a new one on the relay's machine")]
    Exhausted,
    /// Too many come at this moment.
    #[error("too much is asked of the relay right now: try again in {seconds} s")]
    TooMany {
        /// How long to wait.
        seconds: u32,
    },
    /// The request is none that it signs.
    #[error("the relay does not sign such a request: it wants a PKCS#10 request of an ECDSA P-256 key")]
    Request,
    /// To renew a certificate one must show it.
    #[error("the relay was shown no certificate to renew, or one that it does not honour: enrol again with a new code")]
    NoCertificate,
    /// Its own fault: it could not keep what it would have issued.
    #[error("the relay cannot issue certificates right now: its log says why")]
    Unable,
}

fn what_is_left(tries: Option<u8>) -> String {
    let tries = match tries {
        None => String::new(),
        Some(0) => return ", and that was the last try: make a new one on the relay's machine".to_owned(),
        Some(1) => ", 1 more try".to_owned(),
        Some(more) => format!(", {more} more tries"),
    };
    format!("{tries}: look at it again, or make a new one on the relay's machine")
}

impl Ask {
    /// As a payload, which may hold a secret.
    pub fn encode(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(seal(self))
    }

    /// From a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        bounded(payload, "question", MAX_ASK)?;
        open(payload)
    }
}

impl Answer {
    /// As a payload.
    pub fn encode(&self) -> Vec<u8> {
        seal(self)
    }

    /// From a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        bounded(payload, "answer", MAX_ANSWER)?;
        open(payload)
    }
}

fn bounded(payload: &[u8], what: &'static str, limit: usize) -> Result<(), WireError> {
    if payload.len() > limit { Err(WireError::TooLarge { what, limit }) } else { Ok(()) }
}

/// `payload` with its length before it.
pub fn framed(payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(payload.len()).expect("questions and answers are far below 64 KiB");
    [&length.to_be_bytes(), payload].concat()
}

/// The length that two bytes announce, if it is at most `limit`.
pub fn announced(bytes: [u8; 2], what: &'static str, limit: usize) -> Result<usize, WireError> {
    let length = usize::from(u16::from_be_bytes(bytes));
    if length > limit { Err(WireError::TooLarge { what, limit }) } else { Ok(length) }
}

const _: () = assert!(MAX_ANSWER <= u16::MAX as usize, "two bytes tell the length of what is longest");

/// When a certificate is to be replaced: at two thirds of its life. Both in seconds of the Unix epoch.
pub fn renew_at(not_before: i64, not_after: i64) -> i64 {
    let life = not_after.saturating_sub(not_before).max(0);
    not_after.saturating_sub(life / 3)
}
