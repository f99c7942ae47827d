//! The windows against their definition, promise by promise.

mod against_reference;
mod parameters;
mod restarts;
mod state;
mod watermark;
mod wild;

use super::{Batch, Closed, Params, Sample, SessionWindows};
use crate::classify::Threshold;

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;

/// Where the tests' sessions begin: a whole number of every slide used.
const DAY: i64 = 19_723 * 24 * HOUR;

fn sample(seconds: f64) -> Sample {
    Sample { time: DAY + (seconds * 1e9) as i64, magnitude: 5.0 }
}

fn samples(seconds: &[f64]) -> Vec<Sample> {
    seconds.iter().copied().map(sample).collect()
}

/// A message of readings at these seconds of the day, under the default parameters.
fn push(windows: &mut SessionWindows, seconds: &[f64]) -> super::Observed {
    push_with(windows, &Params::default(), seconds)
}

fn push_with(windows: &mut SessionWindows, params: &Params, seconds: &[f64]) -> super::Observed {
    windows.observe(params, &Batch { median_time: None, samples: &samples(seconds) })
}

fn params(window: i64, slide: i64, lateness: i64) -> Params {
    Params::new(window * SECOND, slide * SECOND, lateness * SECOND, Threshold::default()).unwrap()
}

/// Starts and counts, seconds of the day.
fn told(closed: &[Closed]) -> Vec<(i64, u64)> {
    closed.iter().map(|closed| ((closed.window.start - DAY) / SECOND, closed.window.count)).collect()
}
