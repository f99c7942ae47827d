//! Durations as text: `"30s"`, `"5m"`, `"1h 30m"`, `"400d"`. For fields of type [`Duration`] and `Option<Duration>`:
//! `#[serde(with = "gaitway_service::config::duration")]`, with `default` beside it where the field is optional.

use std::fmt;
use std::time::Duration;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serializer};

const LIKE: &str = "a duration like 30s, 5m or 400d";

/// From text; the error is a sentence. Fits clap's `value_parser`.
pub fn parse(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim()).map_err(|_| format!("{text:?} is not {LIKE}"))
}

/// As a person would write it: `1h`, `400d`.
pub fn shown(duration: Duration) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let seconds = duration.as_secs();
    match UNITS.iter().find(|(unit, _)| seconds > 0 && duration.subsec_nanos() == 0 && seconds.is_multiple_of(*unit)) {
        Some((unit, name)) => format!("{}{name}", seconds / unit),
        None if duration.is_zero() => "0s".to_owned(),
        None => humantime::format_duration(duration).to_string(),
    }
}

/// Reads a field.
pub fn deserialize<'de, D: Deserializer<'de>, T: Field>(deserializer: D) -> Result<T, D::Error> {
    T::read(deserializer)
}

/// Writes a field as text that [`parse`] reads back.
pub fn serialize<S: Serializer, T: Field>(field: &T, serializer: S) -> Result<S::Ok, S::Error> {
    match field.duration() {
        Some(duration) => serializer.collect_str(&humantime::format_duration(duration)),
        None => serializer.serialize_none(),
    }
}

/// The types of fields that hold a duration.
pub trait Field: Sized {
    /// Reads it.
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error>;

    /// What it holds.
    fn duration(&self) -> Option<Duration>;
}

impl Field for Duration {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Text::deserialize(deserializer).map(|text| text.0)
    }

    fn duration(&self) -> Option<Duration> {
        Some(*self)
    }
}

impl Field for Option<Duration> {
    fn read<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Option::<Text>::deserialize(deserializer).map(|text| text.map(|text| text.0))
    }

    fn duration(&self) -> Option<Duration> {
        *self
    }
}

struct Text(Duration);

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
    use proptest::prelude::*;
    use serde::Serialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize, Serialize)]
    struct Waits {
        #[serde(with = "super")]
        idle: Duration,
        #[serde(with = "super", default)]
        keep: Option<Duration>,
    }

    #[test]
    fn text_with_units_is_a_duration() {
        for (text, seconds) in [("30s", 30), ("5m", 300), ("1h 30m", 5_400), ("400d", 34_560_000), (" 2 h ", 7_200)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("250ms"), Ok(Duration::from_millis(250)));
    }

    #[test]
    fn a_duration_is_shown_as_it_is_written() {
        for text in ["30s", "1h", "400d", "100ms", "1h 30m"] {
            assert_eq!(parse(&shown(parse(text).unwrap())), parse(text), "{text}");
        }
        assert_eq!(shown(Duration::from_secs(86_400)), "1d");
    }

    #[test]
    fn what_is_no_duration_is_refused_with_an_example() {
        for text in ["", "30", "-5s", "five minutes", "99999999999999999999s"] {
            assert!(parse(text).unwrap_err().ends_with(LIKE), "{text}");
        }
        let error = serde_json::from_str::<Waits>(r#"{"idle": 30}"#).unwrap_err().to_string();
        assert!(error.contains("expected a duration like 30s"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(seconds in 0..1_000_000_000_u64, nanos in 0..1_000_000_000_u32, keep: bool) {
            let idle = Duration::new(seconds, nanos);
            let waits = Waits { idle, keep: keep.then_some(idle) };
            let text = serde_json::to_string(&waits).unwrap();
            prop_assert_eq!(serde_json::from_str::<Waits>(&text).unwrap(), waits);
        }

        #[test]
        fn no_text_panics(text in ".*") {
            let _ = parse(&text);
        }
    }
}
