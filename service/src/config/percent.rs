//! How much of a disk stays free, per cent: from 0 to [`MOST`]. For fields of type `f64` and `u8`:
//! `#[serde(with = "gaitway_service::config::percent")]`.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Above it there is hardly a disk left to use.
pub const MOST: u8 = 90;

/// Reads a field.
pub fn deserialize<'de, D: Deserializer<'de>, T: Field>(deserializer: D) -> Result<T, D::Error> {
    T::of(f64::deserialize(deserializer)?).map_err(D::Error::custom)
}

/// Writes a field.
pub fn serialize<S: Serializer, T: Serialize>(field: &T, serializer: S) -> Result<S::Ok, S::Error> {
    field.serialize(serializer)
}

/// The types of fields that hold a percentage.
pub trait Field: Sized {
    /// From a number; the error says what it must be.
    fn of(percent: f64) -> Result<Self, String>;
}

impl Field for f64 {
    fn of(percent: f64) -> Result<Self, String> {
        if (0.0..=Self::from(MOST)).contains(&percent) { Ok(percent) } else { Err(format!("must be from 0 to {MOST}")) }
    }
}

impl Field for u8 {
    fn of(percent: f64) -> Result<Self, String> {
        match f64::of(percent) {
            Ok(percent) if percent.fract() == 0.0 => Ok(percent as Self),
            _ => Err(format!("must be a whole number from 0 to {MOST}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_is_from_0_to_90() {
        assert_eq!((f64::of(0.0), f64::of(90.0), f64::of(0.5)), (Ok(0.0), Ok(90.0), Ok(0.5)));
        assert_eq!((u8::of(0.0), u8::of(90.0)), (Ok(0), Ok(90)));
        for not in [f64::NAN, -0.1, 90.1, 100.0, f64::INFINITY] {
            assert_eq!(f64::of(not).unwrap_err(), "must be from 0 to 90", "{not}");
        }
        assert_eq!(u8::of(5.5).unwrap_err(), "must be a whole number from 0 to 90");
    }
}
