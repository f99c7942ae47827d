//! Version byte, postcard body, CRC32C: the form of every payload between agent and relay.

use std::marker::PhantomData;

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

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

/// Whether a payload or frame is as it was written: the checksum at its end is that of what stands before it. Its version
/// and what it says are not looked at.
pub fn is_whole(payload: &[u8]) -> bool {
    let Some(end) = payload.len().checked_sub(CRC_BYTES).filter(|end| *end >= 1) else { return false };
    let (sealed, crc) = payload.split_at(end);
    crc32c::crc32c(sealed).to_le_bytes() == crc
}

/// For `#[serde(deserialize_with)]`: a sequence of at most `MOST` elements; what is longer is refused before its
/// elements are read.
pub(crate) fn at_most<'de, const MOST: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    struct Bounded<const MOST: usize, T>(PhantomData<T>);

    impl<'de, const MOST: usize, T: Deserialize<'de>> Visitor<'de> for Bounded<MOST, T> {
        type Value = Vec<T>;

        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(formatter, "at most {MOST} elements")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            if seq.size_hint().is_some_and(|size| size > MOST) {
                return Err(A::Error::custom("too many elements"));
            }
            let mut items = Vec::new();
            while let Some(item) = seq.next_element()? {
                if items.len() == MOST {
                    return Err(A::Error::custom("too many elements"));
                }
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Bounded::<MOST, T>(PhantomData))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_is_seen_without_reading_what_is_said() {
        let payload = seal(&(7_u64, "text"));
        assert!(is_whole(&payload));
        for bit in 0..payload.len() * 8 {
            let mut damaged = payload.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!is_whole(&damaged), "bit {bit}");
        }
        assert!(!is_whole(&[]) && !is_whole(&payload[..4]) && !is_whole(&[0; 64]));
    }
}
