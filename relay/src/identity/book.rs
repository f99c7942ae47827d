//! Which certificates are honoured: what the listener looks at, made anew whenever the store has changed.
//!
//! - A certificate that does not stand in the book is not honoured, whoever signed it. So a store that was lost lets
//!   nobody in who had been thrown out.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use gaitway_proto::topic::AgentId;

/// A certificate's serial number: 126 random bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Serial(u128);

impl Serial {
    /// Made of random bits. The first byte is neither 0 nor above 127, so that DER spells all in sixteen bytes.
    pub(crate) fn from_random(bits: u128) -> Self {
        Self(bits & (u128::MAX >> 2) | 1 << 126)
    }

    /// As DER spells it.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// Of the bytes of a certificate; none if the authority makes none like that.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(u128::from_be_bytes).map(Self)
    }
}

/// In 32 hexadecimal digits.
impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl FromStr for Serial {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        u128::from_str_radix(text, 16).map(Self)
    }
}

/// What is known of one certificate. Times are seconds of the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    /// Whose it is.
    pub agent: AgentId,
    /// Its last second.
    pub not_after: i64,
    /// It was revoked.
    pub revoked: bool,
    /// Another is wanted in its place.
    pub rotate: bool,
}

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Book {
    entries: HashMap<Serial, Entry>,
}

/// How a certificate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing<'a> {
    /// It is this agent's and good.
    Good {
        /// Whose.
        agent: &'a AgentId,
        /// Another is wanted in its place.
        rotate: bool,
    },
    /// It was revoked.
    Revoked,
    /// It has ended.
    Ended,
    /// Nothing is known of it.
    Unknown,
}

impl Book {
    /// Of what the store holds.
    pub(crate) fn new(entries: impl IntoIterator<Item = (Serial, Entry)>) -> Self {
        Self { entries: entries.into_iter().collect() }
    }

    /// How the certificate with this number stands at `now`.
    pub(crate) fn standing(&self, now: i64, serial: Serial) -> Standing<'_> {
        match self.entries.get(&serial) {
            None => Standing::Unknown,
            Some(entry) if entry.revoked => Standing::Revoked,
            Some(entry) if entry.not_after < now => Standing::Ended,
            Some(entry) => Standing::Good { agent: &entry.agent, rotate: entry.rotate },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_honoured_if_it_stands_in_the_book_and_is_neither_revoked_nor_over() {
        let agent: AgentId = "attic".parse().unwrap();
        let entry = |revoked| Entry { agent: agent.clone(), not_after: 100, revoked, rotate: false };
        let [good, bad, other] = [1, 2, 3].map(Serial::from_random);
        let book = Book::new([(good, entry(false)), (bad, entry(true))]);
        assert_eq!(book.standing(100, good), Standing::Good { agent: &agent, rotate: false });
        assert_eq!(book.standing(101, good), Standing::Ended);
        assert_eq!(book.standing(0, bad), Standing::Revoked);
        assert_eq!(book.standing(0, other), Standing::Unknown);
    }

    #[test]
    fn a_serial_is_spelled_in_sixteen_bytes_and_survives() {
        for bits in [0, u128::MAX, 1 << 127, 12_345] {
            let serial = Serial::from_random(bits);
            assert!((1..128).contains(&serial.to_bytes()[0]), "{serial}");
            assert_eq!(Serial::from_bytes(&serial.to_bytes()), Some(serial));
            assert_eq!(serial.to_string().parse(), Ok(serial));
        }
        assert_eq!(Serial::from_bytes(&[1; 15]), None);
        assert_eq!(Serial::from_bytes(&[0; 17]), None);
    }
}
