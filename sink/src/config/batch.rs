//! What goes into one submit, and what may wait for it.

use std::time::Duration;

use gaitway_service::config::Wrong;
use serde::{Deserialize, Serialize};

const MIB: u64 = 1024 * 1024;

/// The table `[batch]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchConfig {
    /// Most records of one submit.
    pub max_rows: usize,
    /// Most bytes of one submit, keys and values. A larger record goes alone.
    #[serde(with = "gaitway_service::config::bytes")]
    pub max_bytes: u64,
    /// How long the first record of a submit waits for others.
    #[serde(with = "gaitway_service::config::duration")]
    pub linger: Duration,
    /// What all partitions together may hold in memory: one half is read ahead from Kafka, the other waits for submits.
    /// A single record of each partition may always be held.
    #[serde(with = "gaitway_service::config::bytes")]
    pub memory: u64,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self { max_rows: 20_000, max_bytes: 4 * MIB, linger: Duration::from_millis(500), memory: 32 * MIB }
    }
}

impl BatchConfig {
    /// The first value that makes no sense.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let Self { max_rows, max_bytes, linger, memory } = self;
        Wrong::unless_within("batch.max_rows", max_rows, 1..=1_000_000)?;
        Wrong::unless_size_within("batch.max_bytes", *max_bytes, 1024..=64 * MIB)?;
        Wrong::unless_time_within("batch.linger", *linger, Duration::ZERO..=Duration::from_secs(60))?;
        Wrong::unless_size_within("batch.memory", *memory, 8 * MIB..=16 * 1024 * MIB)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_with_its_key() {
        type Change = fn(&mut BatchConfig);
        BatchConfig::default().check().unwrap();
        let cases: [(Change, &str); 5] = [
            (|c| c.max_rows = 0, "`batch.max_rows` must be from 1 to 1000000"),
            (|c| c.max_bytes = 0, "`batch.max_bytes` must be from 1KiB to 64MiB"),
            (|c| c.linger = Duration::from_secs(61), "`batch.linger` must be from 0s to 1m"),
            (|c| c.memory = MIB, "`batch.memory` must be from 8MiB to 16GiB"),
            (|c| c.memory = u64::MAX, "`batch.memory`"),
        ];
        for (change, expected) in cases {
            let mut config = BatchConfig::default();
            change(&mut config);
            let said = config.check().unwrap_err().to_string();
            assert!(said.contains(expected), "{said}");
        }
    }
}
