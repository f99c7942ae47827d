//! What is kept of a phone's pushes, where its owner wants less than all of it.

use serde::{Deserialize, Serialize};

/// Most decimals of a place: a centimetre, which no phone measures.
const MOST_DECIMALS: u8 = 7;

/// What is kept of a phone. The default is everything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Privacy {
    /// Readings and windows, or windows alone.
    pub keep: Keep,
    /// To how many decimals a place is kept; none: as it came.
    pub location: Option<Decimals>,
}

/// Whether readings are kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Keep {
    /// Readings and activity
    #[default]
    All,
    /// Activity alone: windows and their labels are computed as ever, readings are neither stored nor sent
    Activity,
}

/// Decimals of a degree, 0 to 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u8")]
pub struct Decimals(u8);

/// A number of decimals that is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a place has 0 to {MOST_DECIMALS} decimals")]
pub struct NoDecimals;

impl Privacy {
    /// Whether it is the default.
    pub fn keeps_everything(self) -> bool {
        self == Self::default()
    }
}

/// As `phone list` shows it.
impl std::fmt::Display for Privacy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self { keep: Keep::Activity, .. } => f.write_str("activity"),
            Self { location: None, .. } => f.write_str("all"),
            Self { location: Some(Decimals(n)), .. } => write!(f, "all, location to {n} decimals"),
        }
    }
}

impl Decimals {
    /// `degrees`, which are within ±360, to so many decimals.
    pub fn round(self, degrees: f64) -> f64 {
        let scale = 10_f64.powi(i32::from(self.0));
        // A negative zero would tell the side of the meridian.
        (degrees * scale).round() / scale + 0.0
    }
}

impl TryFrom<u8> for Decimals {
    type Error = NoDecimals;

    fn try_from(decimals: u8) -> Result<Self, NoDecimals> {
        if decimals <= MOST_DECIMALS { Ok(Self(decimals)) } else { Err(NoDecimals) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_place_is_rounded_to_the_nearest_of_its_decimals() {
        let round = |n, degrees| Decimals::try_from(n).unwrap().round(degrees);
        let texts = [0, 1, 2, 7].map(|n| round(n, 52.520_008_15).to_string());
        assert_eq!(texts, ["53", "52.5", "52.52", "52.5200082"]);
        assert_eq!([0, 3].map(|n| round(n, -0.000_4)).map(f64::to_bits), [0.0_f64.to_bits(); 2]);
        assert_eq!(Decimals::try_from(8), Err(NoDecimals));
    }

    proptest! {
        #[test]
        fn what_was_rounded_is_spelled_in_so_many_decimals(n in 0..=MOST_DECIMALS, degrees in -360.0..360.0_f64) {
            let rounded = Decimals(n).round(degrees);
            let text = rounded.to_string();
            prop_assert!(text.split_once('.').map_or(0, |(_, decimals)| decimals.len()) <= usize::from(n), "{}", text);
            prop_assert!((rounded - degrees).abs() <= 0.500_001 / 10_f64.powi(i32::from(n)));
            prop_assert_eq!(Decimals(n).round(rounded).to_bits(), rounded.to_bits());
        }
    }
}
