//! What a strict reader of JSON refuses in an object that goes out as it is spelled. Each such row would be accepted, passed
//! over, and stop its partition.
//!
//! - Half a surrogate pair, a number beyond an `f64`, a key twice in one object, nesting beyond [`MAX_DEPTH`].

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Deepest nesting of an object: readers end at 127 levels, of which a row and its metadata take two. Twice what a push may have.
const MAX_DEPTH: usize = 125;

/// What is wrong with `json`, an object in valid JSON.
pub(super) fn fault(json: &str) -> Option<String> {
    let read = Strict(MAX_DEPTH).deserialize(&mut serde_json::Deserializer::from_str(json));
    read.err().map(|error| error.to_string())
}

/// A value that may nest so deep.
#[derive(Clone, Copy)]
struct Strict(usize);

impl Strict {
    fn deeper<E: Error>(self) -> Result<Self, E> {
        let left = self.0.checked_sub(1);
        left.map(Self).ok_or_else(|| E::custom(format_args!("nested deeper than {MAX_DEPTH} levels")))
    }
}

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let element = self.deeper()?;
        while seq.next_element_seed(element)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let value = self.deeper()?;
        let mut keys = HashSet::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            map.next_value_seed(value)?;
            if let Some(key) = keys.replace(key) {
                let shown: String = key.chars().take(40).collect();
                return Err(A::Error::custom(format_args!("key {shown:?} is there twice")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_strict_reader_refuses_is_found_and_nothing_else() {
        let deep = |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels - 1), "]".repeat(levels - 1));
        let row = |object: &str| format!("{{\"RECORD_METADATA\":{{\"unknown\":{object}}}}}");
        for (json, says) in [
            (r#"{"a":"\ud800"}"#, "hex escape"),
            (r#"{"a":["\udc00x"]}"#, "hex escape"),
            (r#"{"\ud800":1}"#, "hex escape"),
            (r#"{"a":1e999}"#, "out of range"),
            (r#"{"a":-1e309}"#, "out of range"),
            (r#"{"a":1,"b":{"a":2},"\u0061":3}"#, "key \"a\" is there twice"),
            (r#"{"a":[{"b":1,"b":1}]}"#, "key \"b\" is there twice"),
            (&deep(MAX_DEPTH + 1), "nested deeper"),
        ] {
            assert!(fault(json).is_some_and(|said| said.contains(says)), "{json}: {:?}", fault(json));
        }
        for json in [
            "{}",
            r#"{"a":"\ud83c\udfc3\u0000","b":[1,-2.5e300,1e-999,12345678901234567890123],"c":{"a":null,"A":true}}"#,
            &deep(MAX_DEPTH),
        ] {
            assert_eq!(fault(json), None);
            serde_json::from_str::<serde_json::Value>(&row(json)).unwrap();
        }
        serde_json::from_str::<serde_json::Value>(&row(&deep(MAX_DEPTH + 1))).unwrap_err();
    }
}
