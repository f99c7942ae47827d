//! What a warehouse keeps, and for how long.

use std::path::PathBuf;
use std::time::Duration;

use gaitway_service::config::{Wrong, percent};
use serde::{Deserialize, Serialize};

use super::retention::Policy;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);
const MIB: u64 = 1024 * 1024;

/// What a warehouse keeps. Activity and gaps are always kept; the limits below are for raw readings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Options {
    /// The file in which a sink of its own keeps the warehouse. One process at a time uses its folder.
    pub path: PathBuf,
    /// How long raw readings are kept after they were stored.
    #[serde(with = "gaitway_service::config::duration")]
    pub keep_raw: Duration,
    /// Above this much data the oldest raw readings are deleted. The write-ahead log beside the file comes on top.
    #[serde(with = "gaitway_service::config::bytes")]
    pub max_bytes: u64,
    /// Below this much free space on the file's disk the oldest raw readings are deleted. 0 is no such limit.
    #[serde(with = "percent")]
    pub min_free_percent: u8,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            path: "gaitway-data/warehouse.db".into(),
            keep_raw: 30 * DAY,
            max_bytes: 20 * 1024 * MIB,
            min_free_percent: 5,
        }
    }
}

impl Options {
    /// What retention goes by.
    pub(super) fn policy(&self) -> Policy {
        Policy { max_bytes: self.max_bytes, min_free_percent: self.min_free_percent }
    }

    /// The first value that makes no sense.
    pub(crate) fn check(&self) -> Result<(), Wrong> {
        let Self { path, keep_raw, max_bytes, min_free_percent } = self;
        if path.file_name().is_none() {
            return Err(Wrong::new("sqlite.path", "must name a file"));
        }
        Wrong::unless_time_within("sqlite.keep_raw", *keep_raw, HOUR..=CENTURY)?;
        Wrong::unless_size_within("sqlite.max_bytes", *max_bytes, MIB..=1 << 50)?;
        Wrong::unless_within("sqlite.min_free_percent", min_free_percent, 0..=percent::MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_read_durations_and_sizes() {
        let options: Options = serde_json::from_str(r#"{"keep_raw":"12h","max_bytes":"2GiB"}"#).unwrap();
        assert_eq!(options.keep_raw, 12 * HOUR);
        assert_eq!(options.max_bytes, 2048 * MIB);
        assert_eq!(options.min_free_percent, 5);
        assert!(serde_json::from_str::<Options>(r#"{"keep_everything":true}"#).is_err());
    }

    #[test]
    fn options_without_sense_are_refused() {
        assert_eq!(Options::default().check(), Ok(()));
        let bad = [
            Options { path: "/".into(), ..Options::default() },
            Options { keep_raw: Duration::from_secs(59 * 60), ..Options::default() },
            Options { keep_raw: Duration::MAX, ..Options::default() },
            Options { max_bytes: 0, ..Options::default() },
            Options { min_free_percent: 91, ..Options::default() },
        ];
        for options in bad {
            assert!(options.check().is_err(), "{options:?}");
        }
    }
}
