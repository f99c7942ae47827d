//! An instant as people write it on a command line.

use std::str::FromStr;

/// Nanoseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Instant(i64);

impl Instant {
    pub(super) fn nanoseconds(self) -> i64 {
        self.0
    }
}

/// RFC 3339; without an offset UTC, without a time midnight.
impl FromStr for Instant {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let civil = |text: &str| text.parse::<jiff::civil::DateTime>().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok();
        let found = text.parse::<jiff::Timestamp>().ok().or_else(|| civil(text).map(|zoned| zoned.timestamp()));
        let nanoseconds = found.and_then(|at| i64::try_from(at.as_nanosecond()).ok());
        nanoseconds.map(Self).ok_or_else(|| "a time such as 2026-01-31T09:00 is expected, in UTC".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_utc_unless_they_say_otherwise() {
        let at = |text: &str| text.parse::<Instant>().map(Instant::nanoseconds);
        assert_eq!(at("2023-11-14T22:13:20Z"), Ok(1_700_000_000_000_000_000));
        assert_eq!(at("2023-11-14T22:13:20"), Ok(1_700_000_000_000_000_000));
        assert_eq!(at("2023-11-14 23:13:20+01:00"), Ok(1_700_000_000_000_000_000));
        assert_eq!(at("2023-11-14"), Ok(1_699_920_000_000_000_000));
        for wrong in ["", "yesterday", "9999-01-01"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }
}
