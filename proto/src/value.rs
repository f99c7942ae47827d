//! A JSON value as the phone sent it.

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

mod fields;

pub use fields::Fields;

/// Any JSON value. A number is an `i64` or `u64` if it was written as an integer that fits, else an `f64`, else
/// (`1e999`) its text. Spelling and key order are not kept; of duplicate keys the last wins.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// `null`
    Null,
    /// `true` or `false`
    Bool(bool),
    /// An integer that fits `i64`.
    I64(i64),
    /// An integer above `i64::MAX` that fits `u64`.
    U64(u64),
    /// Any other finite number.
    F64(f64),
    /// A string, or the text of a number beyond `f64`.
    Text(String),
    /// An array.
    Array(Vec<Value>),
    /// An object.
    Object(Fields),
}

impl Value {
    /// The value as a finite number: numbers, and strings that spell one.
    pub fn as_number(&self) -> Option<f64> {
        let number = match self {
            Self::I64(v) => *v as f64,
            Self::U64(v) => *v as f64,
            Self::F64(v) => *v,
            Self::Text(text) => text.trim().parse().ok()?,
            _ => return None,
        };
        number.is_finite().then_some(number)
    }

    /// The value as an integer that fits `i64`: integers, integral floats, and strings that spell either.
    pub fn as_integer(&self) -> Option<i64> {
        match self {
            Self::I64(v) => Some(*v),
            Self::F64(v) => integral(*v),
            Self::Text(text) => {
                let text = text.trim();
                text.parse().ok().or_else(|| integral(text.parse().ok()?))
            }
            _ => None,
        }
    }

    /// Whether this was written as a JSON number.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::I64(_) | Self::U64(_) | Self::F64(_))
    }

    /// The value as JSON text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("a value holds no map with keys other than strings")
    }
}

/// The fewest bytes in which the same as `json` can be said. Only numbers can be said in fewer: `1e15` is kept as
/// `1000000000000000.0`; each counts as one. One beyond `f64` is kept as its text, whose quotes were not said.
pub(crate) fn spelling(json: &str) -> usize {
    let (mut bytes, mut rest) = (0, json.as_bytes());
    while let [byte, after @ ..] = rest {
        let length = match byte {
            b'"' => text_length(after),
            b'-' | b'0'..=b'9' => after.iter().take_while(|b| is_of_a_number(**b)).count(),
            _ => 0,
        };
        let (token, behind) = after.split_at(length);
        bytes += match byte {
            b'"' if is_number_beyond_f64(token) && behind.first() != Some(&b':') => length - 1,
            b'"' => 1 + length,
            _ => 1,
        };
        rest = behind;
    }
    bytes
}

/// Bytes of the JSON text that begins with `rest`, its opening quote aside and its closing one with it.
fn text_length(rest: &[u8]) -> usize {
    let mut at = 0;
    while let Some(byte) = rest.get(at) {
        at += if *byte == b'\\' { 2 } else { 1 };
        if *byte == b'"' {
            break;
        }
    }
    at.min(rest.len())
}

fn is_of_a_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'.' | b'e' | b'E' | b'+' | b'-')
}

/// Whether `token` is a number too great for an `f64` and the quote behind it.
fn is_number_beyond_f64(token: &[u8]) -> bool {
    let Some((b'"', number)) = token.split_last() else { return false };
    number.iter().all(|byte| is_of_a_number(*byte))
        && std::str::from_utf8(number).is_ok_and(|text| text.parse().is_ok_and(f64::is_infinite))
}

/// `v` as an integer, if it is one and lies in `i64`.
fn integral(v: f64) -> Option<i64> {
    // i64::MAX as f64 rounds up to 2^63, which does not fit; hence the strict upper bound.
    (v.fract() == 0.0 && v >= i64::MIN as f64 && v < i64::MAX as f64).then_some(v as i64)
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

/// As JSON.
impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(v) => serializer.serialize_bool(*v),
            Self::I64(v) => serializer.serialize_i64(*v),
            Self::U64(v) => serializer.serialize_u64(*v),
            Self::F64(v) => serializer.serialize_f64(*v),
            Self::Text(v) => serializer.serialize_str(v),
            Self::Array(items) => {
                let mut seq = serializer.serialize_seq(Some(items.len()))?;
                for item in items {
                    seq.serialize_element(item)?;
                }
                seq.end()
            }
            Self::Object(fields) => {
                let mut map = serializer.serialize_map(Some(fields.len()))?;
                for (key, value) in fields {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

/// From JSON (for tests and for JSON kept in a warehouse; pushes are parsed by the agent's own reader).
impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct JsonVisitor;

        impl<'de> Visitor<'de> for JsonVisitor {
            type Value = Value;

            fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                formatter.write_str("a JSON value")
            }
            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }
            fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
                Ok(Value::Bool(v))
            }
            fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
                Ok(Value::I64(v))
            }
            fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
                Ok(i64::try_from(v).map_or(Value::U64(v), Value::I64))
            }
            fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
                Ok(Value::F64(v))
            }
            fn visit_str<E>(self, v: &str) -> Result<Value, E> {
                Ok(Value::Text(v.to_owned()))
            }
            fn visit_string<E>(self, v: String) -> Result<Value, E> {
                Ok(Value::Text(v))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(Value::Array(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
                let mut fields = Fields::new();
                while let Some((key, value)) = map.next_entry()? {
                    fields.insert(key, value);
                }
                Ok(Value::Object(fields))
            }
        }

        deserializer.deserialize_any(JsonVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_written_as_text_count() {
        assert_eq!(Value::from("0.12").as_number(), Some(0.12));
        assert_eq!(Value::from("nan").as_number(), None);
        assert_eq!(Value::from("1e999").as_number(), None);
        assert_eq!(Value::from("").as_number(), None);
        assert_eq!(Value::from("1760000000500000000").as_integer(), Some(1_760_000_000_500_000_000));
    }

    #[test]
    fn an_integer_is_integral_and_in_range() {
        assert_eq!(Value::F64(1.760_000_000_45e18).as_integer(), Some(1_760_000_000_449_999_872));
        assert_eq!(Value::F64(0.5).as_integer(), None);
        assert_eq!(Value::F64(9.3e18).as_integer(), None);
        assert_eq!(Value::U64(u64::MAX).as_integer(), None);
        assert_eq!(Value::Bool(true).as_integer(), None);
    }

    #[test]
    fn a_number_may_have_been_spelled_in_a_byte_and_the_rest_not_in_fewer() {
        for (json, bytes) in [
            ("", 0),
            ("null", 4),
            ("-1000000000000000.0", 1),
            ("[1e-9,2.5,true]", 10),
            (r#"{"a1":{},"b\"2":"3\\"}"#, 22),
            (r#""open\"#, 6),
            (r#"["1e999","-1e999"]"#, 14),
            (r#"{"1e999":"1e9","a":"inf"}"#, 25),
            (r#"""#, 1),
        ] {
            assert_eq!(spelling(json), bytes, "{json}");
        }
    }

    #[test]
    fn json_survives_a_round_trip() {
        let json = r#"{"a":[1,-2,2.5,18446744073709551615,null,true],"b":{"c":"é\n"}}"#;
        let value: Value = serde_json::from_str(json).unwrap();
        assert_eq!(value.to_json(), json);
    }
}
