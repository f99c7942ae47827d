//! What tells a place, and what is kept of it where places are rounded.
//!
//! - A reading is a location's by its sensor's name, or by a latitude or longitude among its values. Of it are kept time,
//!   accuracy, speed, and latitude and longitude rounded: nothing else, known or not.
//! - A reading that tells a place in another way, or in a form that cannot be rounded, is left out whole; likewise one
//!   that does not say of which sensor it is.
//! - Every other reading is kept as it came.
//! - Which of these a reading is, its name, its keys and what is no number in it decide, never its numbers. Only whether a
//!   coordinate is one is a number's to say.

use std::borrow::Cow;

use gaitway_proto::value::{Fields, Value};

use crate::phones::Decimals;

/// Parts of names of sensors that measure a place.
const LOCATIONS: [&str; 5] = ["location", "position", "gps", "gnss", "latitude"];

/// Parts of names of sensors from whose readings others look a place up, or see it.
const SURROUNDINGS: [&str; 8] = ["wifi", "wlan", "bluetooth", "beacon", "network", "cell", "camera", "nfc"];

/// Parts of keys whose values tell a place.
const TELLING: [&str; 15] = [
    "latitude",
    "longitude",
    "latlon",
    "latlng",
    "lonlat",
    "lnglat",
    "coordinate",
    "coords",
    "geohash",
    "pluscode",
    "gps",
    "gnss",
    "nmea",
    "address",
    "ssid",
];

/// Such keys, as a whole.
const TELLING_WHOLE: [&str; 8] = ["lat", "lon", "lng", "long", "location", "position", "place", "geo"];

/// Beyond it a number is no longitude, whichever way it is counted.
const GREATEST: f64 = 360.0;

/// What is kept of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Whole,
    Rounded,
    Nothing,
}

/// What a value of a location's reading is.
enum Part {
    Coordinate,
    Speed,
    Other,
}

/// Makes of a reading in the app's format what is kept of it.
pub(super) fn of_plain(
    name: &str,
    values: &mut Vec<(Cow<'static, str>, Value)>,
    extra: &mut Fields,
    decimals: Decimals,
) -> Kept {
    let sensor = plain(name);
    if any_in(&sensor, &SURROUNDINGS) {
        return Kept::Nothing;
    }
    let has_coordinate = values.iter().any(|(key, _)| matches!(Part::of(key), Part::Coordinate));
    if has_coordinate || any_in(&sensor, &LOCATIONS) {
        *extra = Fields::new();
        return if says_number(name) || !round(values, decimals) { Kept::Nothing } else { Kept::Rounded };
    }
    let tells =
        values.iter().any(|(key, value)| tells(key, value)) || extra.iter().any(|(key, value)| tells(key, value));
    if tells { Kept::Nothing } else { Kept::Whole }
}

/// Makes of a reading outside the app's format what is kept of it.
pub(super) fn of_odd(original: &mut Value, decimals: Decimals) -> Kept {
    let Value::Object(fields) = original else { return Kept::Nothing };
    let Some(Value::Text(name)) = fields.get("name") else { return Kept::Nothing };
    let name = name.clone();
    let mut values: Vec<_> = match fields.get("values") {
        Some(Value::Object(values)) => values.iter().map(|(k, v)| (Cow::Owned(k.clone()), v.clone())).collect(),
        _ => Vec::new(),
    };
    let mut rest: Fields =
        fields.iter().filter(|(key, _)| *key != "name").map(|(key, value)| (key.clone(), value.clone())).collect();
    let kept = of_plain(&name, &mut values, &mut rest, decimals);
    if kept == Kept::Rounded {
        let mut rounded = Fields::from([("name".to_owned(), Value::Text(name))]);
        for key in ["time", "accuracy"] {
            let integer = fields.get(key).and_then(Value::as_integer);
            rounded.extend(integer.map(|integer| (key.to_owned(), Value::I64(integer))));
        }
        let values = values.into_iter().map(|(key, value)| (key.into_owned(), value)).collect();
        rounded.insert("values".to_owned(), Value::Object(values));
        *fields = rounded;
    }
    kept
}

/// Leaves out what tells a place beside a message's payload.
pub(super) fn leave_out(fields: &mut Fields) {
    let kept = std::mem::take(fields).into_iter().filter(|(key, value)| !tells(key, value));
    *fields = kept.collect();
}

/// Whether all coordinates could be rounded, and there is one.
fn round(values: &mut Vec<(Cow<'static, str>, Value)>, decimals: Decimals) -> bool {
    let (mut coordinates, mut all) = (0, true);
    values.retain_mut(|(key, value)| match Part::of(key) {
        Part::Coordinate => {
            coordinates += 1;
            match value.as_number() {
                Some(degrees) if degrees.abs() <= GREATEST => *value = Value::F64(decimals.round(degrees)),
                // A phone that does not know where it is.
                None if *value == Value::Null => {}
                _ => all = false,
            }
            true
        }
        Part::Speed => value.is_number() || *value == Value::Null,
        Part::Other => false,
    });
    all && coordinates > 0
}

impl Part {
    fn of(key: &str) -> Self {
        match plain(key).as_str() {
            "latitude" | "longitude" | "lat" | "lon" | "lng" | "long" => Self::Coordinate,
            "speed" => Self::Speed,
            _ => Self::Other,
        }
    }
}

/// Whether what stands under `key` tells a place, or something nested in it does.
fn tells(key: &str, value: &Value) -> bool {
    if matches!(value, Value::Null | Value::Bool(_)) {
        return false;
    }
    let key = plain(key);
    let nests = matches!(value, Value::Array(_) | Value::Object(_));
    TELLING_WHOLE.contains(&key.as_str())
        || any_in(&key, &TELLING)
        || (nests && any_in(&key, &LOCATIONS))
        || within(value)
}

fn within(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(within),
        Value::Object(fields) => fields.iter().any(|(key, value)| tells(key, value)),
        // JSON as text.
        Value::Text(text) => any_in(&plain(text), &["latitude", "longitude"]),
        _ => false,
    }
}

/// Whether a text holds a numeral of any script.
fn says_number(text: &str) -> bool {
    text.chars().any(char::is_numeric)
}

/// A name without what spells it in one way or another: `GPS-Location` is `gpslocation`.
fn plain(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn any_in(text: &str, parts: &[&str]) -> bool {
    parts.iter().any(|part| text.contains(part))
}
