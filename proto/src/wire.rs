//! Version byte, postcard body, CRC32C: the form of every payload between agent and relay.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Why a payload or frame cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Written by a version this program does not know.
    #[error("version {0} is unknown here; this program reads version {expected}", expected = VERSION)]
    Version(u8),
    /// Damaged on the way.
    #[error("checksum does not match")]
    Checksum,
    /// Not what it claims to be.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// Above a limit of [`limits`](crate::limits).
    #[error("{what} is above the limit of {limit}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

/// The version of payloads and frames.
pub const VERSION: u8 = 1;

const CRC_BYTES: usize = 4;

/// `value` as version byte, postcard body, CRC32C of both (little endian).
pub(crate) fn seal<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out =
        postcard::to_extend(value, vec![VERSION]).expect("postcard writes any value of our own types to a Vec");
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

/// The value in `payload`, checked.
pub(crate) fn open<T: DeserializeOwned>(payload: &[u8]) -> Result<T, WireError> {
    let (&version, _) = payload.split_first().ok_or(WireError::Malformed("empty"))?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let body_end = payload.len().checked_sub(CRC_BYTES).filter(|end| *end >= 1);
    let (sealed, crc) = payload.split_at(body_end.ok_or(WireError::Malformed("too short"))?);
    if crc32c::crc32c(sealed).to_le_bytes() != crc {
        return Err(WireError::Checksum);
    }
    match postcard::take_from_bytes(&sealed[1..]) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(WireError::Malformed("bytes after the end")),
        Err(_) => Err(WireError::Malformed("body does not parse")),
    }
}
