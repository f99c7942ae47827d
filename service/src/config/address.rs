//! Addresses to listen on: `"0.0.0.0:8000"`, `"[::]:8000"`. For fields of type [`SocketAddr`] and `Option<SocketAddr>`:
//! `#[serde(with = "gaitway_service::config::address")]`, with `default` beside it where the field is optional.

use std::fmt;
use std::net::SocketAddr;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

const LIKE: &str = "an address to listen on as IP:PORT, such as 0.0.0.0:8000";

/// From text; the error is a sentence. Fits clap's `value_parser`.
pub fn parse(text: &str) -> Result<SocketAddr, String> {
    text.trim().parse().map_err(|_| format!("{text:?} is not {LIKE}"))
}

/// Reads a field.
pub fn deserialize<'de, D: Deserializer<'de>, T: Field>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// Writes a field as text that [`parse`] reads back.
pub fn serialize<S: Serializer, T: Field>(field: &T, serializer: S) -> Result<S::Ok, S::Error> {
    match field.address() {
        Some(address) => serializer.collect_str(&address),
        None => serializer.serialize_none(),
    }
}

/// The types of fields that hold an address.
pub trait Field: Sized {
    /// Reads it.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// What it holds.
    fn address(&self) -> Option<SocketAddr>;
}

impl Field for SocketAddr {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|text| text.0)
    }

    fn address(&self) -> Option<SocketAddr> {
        Some(*self)
    }
}

impl Field for Option<SocketAddr> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<Text>::deserialize(deserializer).map(|text| text.map(|text| text.0))
    }

    fn address(&self) -> Option<SocketAddr> {
        *self
    }
}

struct Text(SocketAddr);

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AsText;

        impl Visitor<'_> for AsText {
            type Value = Text;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(LIKE)
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text, E> {
                parse(text).map(Text).map_err(|_| E::invalid_value(Unexpected::Str(text), &self))
            }
        }

        deserializer.deserialize_str(AsText)
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Doors {
        #[serde(with = "super")]
        http: SocketAddr,
        #[serde(with = "super", default)]
        admin: Option<SocketAddr>,
    }

    #[test]
    fn what_is_no_address_is_refused_with_an_example() {
        for text in ["", "8000", ":8000", "localhost:8000", "0.0.0.0", "0.0.0.0:70000", "1.2.3:80", "http://0.0.0.0:80"]
        {
            assert!(parse(text).unwrap_err().ends_with(LIKE), "{text}");
        }
        let error = serde_json::from_str::<Doors>(r#"{"http": 8000}"#).unwrap_err().to_string();
        assert!(error.contains(LIKE), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(http: (IpAddr, u16), admin: Option<(IpAddr, u16)>) {
            let doors = Doors { http: http.into(), admin: admin.map(SocketAddr::from) };
            let text = serde_json::to_string(&doors).unwrap();
            prop_assert_eq!(serde_json::from_str::<Doors>(&text).unwrap(), doors);
        }
    }
}
