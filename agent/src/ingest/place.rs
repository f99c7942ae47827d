//! What is kept of a reading where places are rounded: what is known to tell no place, and places rounded.
//!
//! - A sensor, a field or a form that is not known is not kept: nobody can list all that tells a place.
//! - A reading of a known sensor that tells no place is kept as it came if all in it is known, else left out whole.
//! - Of a location's reading are kept time, accuracy class, speed to 0.1 m/s, and latitude and longitude rounded: nothing
//!   else, known or not. One whose place cannot be rounded is left out whole.
//! - Beside the payload nothing is kept but the app's own ids.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use gaitway_proto::value::{Fields, Value};

use super::known::{Sensor, spelled};
use crate::phones::Decimals;

/// The app's sensors that measure a place.
const LOCATIONS: [&str; 4] = ["location", "locationgps", "locationnetwork", "watchlocation"];

/// What Android says of a sensor's accuracy, from no contact to high.
const CLASSES: RangeInclusive<i64> = -1..=3;

/// Beyond it a number is no longitude, whichever way it is counted.
const GREATEST: f64 = 360.0;

/// Beyond it a number is no speed, m/s.
const FASTEST: f64 = 1000.0;

/// What is kept of a reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    Whole,
    Rounded,
    Nothing,
}

/// Whether an accuracy is one of the classes.
pub(super) fn is_class(accuracy: i64) -> bool {
    CLASSES.contains(&accuracy)
}

/// Makes of a reading in the app's format what is kept of it.
pub(super) fn of_plain(
    name: &str,
    values: &mut Vec<(Cow<'static, str>, Value)>,
    accuracy: &mut Option<i64>,
    extra: &mut Fields,
    decimals: Decimals,
) -> Kept {
    if LOCATIONS.contains(&spelled(name).as_str()) {
        *extra = Fields::new();
        *accuracy = accuracy.filter(|class| is_class(*class));
        return if round(values, decimals) { Kept::Rounded } else { Kept::Nothing };
    }
    let knows = |sensor: Sensor| values.iter().all(|(key, value)| sensor.has(key, value));
    let is_known = Sensor::named(name).is_some_and(knows) && extra.is_empty() && accuracy.is_none_or(is_class);
    if is_known { Kept::Whole } else { Kept::Nothing }
}

/// Makes of a reading outside the app's format what is kept of it.
pub(super) fn of_odd(original: &mut Value, decimals: Decimals) -> Kept {
    let Value::Object(fields) = original else { return Kept::Nothing };
    let (Some(Value::Text(name)), Some(Value::Object(values))) = (fields.get("name"), fields.get("values")) else {
        return Kept::Nothing;
    };
    let name = name.clone();
    let mut values: Vec<_> = values.iter().map(|(key, value)| (Cow::Owned(key.clone()), value.clone())).collect();
    let [time, mut accuracy] = ["time", "accuracy"].map(|key| fields.get(key).and_then(integer));
    let is_integer = |key: &str| fields.get(key).is_none_or(|value| *value == Value::Null || integer(value).is_some());
    let are_integers = is_integer("time") && is_integer("accuracy");
    let is_extra = |key: &str| !["name", "time", "accuracy", "values"].contains(&key);
    let mut extra: Fields =
        fields.iter().filter(|(key, _)| is_extra(key)).map(|(key, value)| (key.clone(), value.clone())).collect();
    match of_plain(&name, &mut values, &mut accuracy, &mut extra, decimals) {
        Kept::Whole if !are_integers => Kept::Nothing,
        Kept::Rounded => {
            let values = values.into_iter().map(|(key, value)| (key.into_owned(), value)).collect();
            let mut rounded =
                Fields::from([("name".to_owned(), Value::Text(name)), ("values".to_owned(), Value::Object(values))]);
            for (key, integer) in [("time", time), ("accuracy", accuracy)] {
                rounded.extend(integer.map(|integer| (key.to_owned(), Value::I64(integer))));
            }
            *fields = rounded;
            Kept::Rounded
        }
        kept => kept,
    }
}

/// Leaves out what stands beside a message's payload, but for a number that another body has as its `messageId`.
pub(super) fn leave_out(fields: &mut Fields) {
    let is_id = |key: &str, value: &Value| key == "messageId" && integer(value).is_some();
    *fields = std::mem::take(fields).into_iter().filter(|(key, value)| is_id(key, value)).collect();
}

/// Whether all coordinates could be rounded, and there is one.
fn round(values: &mut Vec<(Cow<'static, str>, Value)>, decimals: Decimals) -> bool {
    let (mut coordinates, mut all) = (0, true);
    values.retain_mut(|(key, value)| match &**key {
        "latitude" | "longitude" => {
            coordinates += 1;
            match value.as_number() {
                Some(degrees) if degrees.abs() <= GREATEST => *value = Value::F64(decimals.round(degrees)),
                // A phone that does not know where it is.
                None if *value == Value::Null => {}
                _ => all = false,
            }
            true
        }
        "speed" => match value.as_number() {
            Some(speed) if speed.abs() <= FASTEST => {
                *value = Value::F64((speed * 10.0).round() / 10.0 + 0.0);
                true
            }
            _ => *value == Value::Null,
        },
        _ => false,
    });
    all && coordinates > 0
}

/// An integer, or text that spells one without a fraction.
fn integer(value: &Value) -> Option<i64> {
    if let Value::Text(text) = value { text.parse().ok() } else { value.as_integer() }
}
