//! Sizes in bytes: `"2GiB"` (powers of 1024), `"500MB"` (powers of 1000), `1048576`. For fields of type `u64` and
//! `Option<u64>`: `#[serde(with = "gaitway_service::config::bytes")]`, with `default` beside it where the field is
//! optional.

use std::fmt;

use bytesize::ByteSize;
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

const LIKE: &str = "a size like 2GiB, 500MB or a number of bytes";

/// From text, in bytes; the error is a sentence. Fits clap's `value_parser`.
pub fn parse(text: &str) -> Result<u64, String> {
    text.trim().parse::<ByteSize>().map(|size| size.0).map_err(|_| format!("{text:?} is not {LIKE}"))
}

/// As a person would write it: `9MiB`, in bytes where no unit fits.
pub fn shown(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.iter().find(|(power, _)| bytes > 0 && bytes.is_multiple_of(1 << power)) {
        Some((power, unit)) => format!("{}{unit}", bytes >> power),
        None => format!("{bytes}B"),
    }
}

/// Reads a field.
pub fn deserialize<'de, D: Deserializer<'de>, T: Field>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// Writes a field as a number of bytes.
pub fn serialize<S: Serializer, T: Field>(field: &T, serializer: S) -> Result<S::Ok, S::Error> {
    match field.bytes() {
        Some(bytes) => serializer.serialize_u64(bytes),
        None => serializer.serialize_none(),
    }
}

/// The types of fields that hold a size.
pub trait Field: Sized {
    /// Reads it.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// What it holds, in bytes.
    fn bytes(&self) -> Option<u64>;
}

impl Field for u64 {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Size::deserialize(deserializer).map(|size| size.0)
    }

    fn bytes(&self) -> Option<u64> {
        Some(*self)
    }
}

impl Field for Option<u64> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<Size>::deserialize(deserializer).map(|size| size.map(|size| size.0))
    }

    fn bytes(&self) -> Option<u64> {
        *self
    }
}

struct Size(u64);

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextOrNumber;

        impl Visitor<'_> for TextOrNumber {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(LIKE)
            }

            fn visit_i64<E: Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::invalid_value(Unexpected::Signed(bytes), &self))
            }

            fn visit_u64<E: Error>(self, bytes: u64) -> Result<Size, E> {
                Ok(Size(bytes))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Size, E> {
                parse(text).map(Size).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_any(TextOrNumber)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Caps {
        #[serde(with = "super")]
        spool: u64,
        #[serde(with = "super", default)]
        keep: Option<u64>,
    }

    #[test]
    fn text_with_units_is_a_size() {
        for (text, bytes) in [
            ("2GiB", 2 << 30),
            ("500MB", 500_000_000),
            ("1.5 KiB", 1536),
            ("4096", 4096),
            ("0", 0),
            (" 8 mib ", 8 << 20),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn a_size_is_shown_as_it_is_written() {
        for text in ["9MiB", "2GiB", "1TiB", "3KiB", "1025B", "0B"] {
            assert_eq!(shown(parse(text).unwrap()), text);
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_an_example() {
        for text in ["", "-5", "-5MB", "much", "5 bananas", "NaN"] {
            assert!(parse(text).unwrap_err().ends_with(LIKE), "{text}");
        }
        for json in [r#"{"spool": -1}"#, r#"{"spool": true}"#, r#"{"spool": "x"}"#] {
            let error = serde_json::from_str::<Caps>(json).unwrap_err().to_string();
            assert!(error.contains(LIKE), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(spool: u64, keep: Option<u64>) {
            let caps = Caps { spool, keep };
            let text = serde_json::to_string(&caps).unwrap();
            prop_assert_eq!(serde_json::from_str::<Caps>(&text).unwrap(), caps);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse(&text);
        }
    }
}
