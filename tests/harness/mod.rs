//! Real processes of this package's own binary, phones that push to them, and what they left in the warehouse.

#![allow(dead_code, reason = "every test file uses its own part")]

pub(crate) mod authority;
pub(crate) mod browser;
pub(crate) mod certificate;
pub(crate) mod crowd;
pub(crate) mod house;
pub(crate) mod http;
pub(crate) mod kafka;
pub(crate) mod phone;
pub(crate) mod process;
pub(crate) mod proxy;
pub(crate) mod pushes;
pub(crate) mod python;
pub(crate) mod small_disk;
pub(crate) mod topic;
pub(crate) mod warehouse;

use std::path::PathBuf;
use std::time::{Duration, Instant};

/// How long anything may take that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Waits until `holds`, which names what it waits for.
pub(crate) fn await_that(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "waited {PATIENCE:?} in vain until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A number from the environment.
pub(crate) fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

/// A file of `tests/data`.
pub(crate) fn data(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A small generator of random numbers whose seed is enough to see a failure again.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits, by `SplitMix64`.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.bits() % end
    }

    /// From 0 up to 1.
    pub(crate) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1_u64 << 53) as f64
    }
}
