//! What a push says of a phone's motion, for whoever draws it.
//!
//! - Nothing is computed unless somebody looks.
//! - One push makes at most [`MAX_BINS`] bins, whatever times it claims.
//! - Every bin is a number, whatever magnitudes it claims.

use gaitway_proto::activity::Window;

use crate::windows::Sample;

/// Length of a bin, ns.
const BIN: i64 = 100_000_000;

/// Bins of one push: five minutes, many times the app's longest batch.
pub const MAX_BINS: usize = 3000;

/// A sample this far above its message's median is not believed, ns, as windows do not.
const WILD: i64 = 60_000_000_000;

/// The acceleration of a tenth of a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bin {
    /// Its beginning, milliseconds since the Unix epoch, phone's clock; a multiple of 100.
    pub at_ms: i64,
    /// Least magnitude, m/s².
    pub min: f32,
    /// Greatest magnitude, m/s².
    pub max: f32,
}

/// What one push did, once it is on the disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Motion {
    /// `deviceId`
    pub device: String,
    /// `sessionId`
    pub session: String,
    /// Ascending; none between two that have no sample.
    pub bins: Vec<Bin>,
    /// The running window.
    pub running: Option<Window>,
    /// The windows that it, or silence, closed, in order of their start.
    pub closed: Vec<Window>,
}

/// The bins of a push's samples, the newest [`MAX_BINS`] of them. `median`: of the times of all its readings.
pub(crate) fn bins(samples: &[Sample], median: Option<i64>) -> Vec<Bin> {
    let latest = median.map_or(i64::MAX, |median| median.saturating_add(WILD));
    let mut bins: Vec<Bin> = Vec::new();
    for sample in samples.iter().filter(|sample| sample.time <= latest) {
        // JSON has no infinity.
        let magnitude = (sample.magnitude as f32).min(f32::MAX);
        let at_ms = sample.time.div_euclid(BIN) * (BIN / 1_000_000);
        match bins.last_mut() {
            Some(last) if last.at_ms == at_ms => last.take(magnitude, magnitude),
            _ => bins.push(Bin { at_ms, min: magnitude, max: magnitude }),
        }
    }
    bins.sort_by_key(|bin| bin.at_ms);
    bins.dedup_by(|next, bin| {
        let same = next.at_ms == bin.at_ms;
        if same {
            bin.take(next.min, next.max);
        }
        same
    });
    let surplus = bins.len().saturating_sub(MAX_BINS);
    bins.drain(..surplus);
    bins
}

impl Bin {
    fn take(&mut self, min: f32, max: f32) {
        self.min = self.min.min(min);
        self.max = self.max.max(max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(ms: i64, magnitude: f64) -> Sample {
        Sample { time: ms * 1_000_000, magnitude }
    }

    #[test]
    fn samples_in_any_order_make_ascending_bins_with_least_and_greatest() {
        let samples = [sample(1250, 3.0), sample(1010, 1.0), sample(1299, 5.0), sample(1099, 0.5), sample(1201, 4.0)];
        let found = bins(&samples, Some(1_100_000_000));
        assert_eq!(found, [Bin { at_ms: 1000, min: 0.5, max: 1.0 }, Bin { at_ms: 1200, min: 3.0, max: 5.0 }]);
    }

    #[test]
    fn a_push_makes_a_bounded_number_of_bins_and_no_wild_one() {
        let mut samples: Vec<Sample> = (0..10_000).map(|n| sample(n * 100, 1.0)).collect();
        samples.push(sample(9_000_000, 1.0));
        let found = bins(&samples, Some(999_000 * 1_000_000));
        assert_eq!((found.len(), found[MAX_BINS - 1].at_ms), (MAX_BINS, 999_900));
        assert_eq!(bins(&[], None), []);
    }

    #[test]
    fn a_magnitude_that_no_phone_measures_is_still_a_number() {
        let found = bins(&[sample(0, 1e39), sample(100, 1.0), sample(101, f64::MAX)], Some(0));
        let most = f32::MAX;
        assert_eq!(found, [Bin { at_ms: 0, min: most, max: most }, Bin { at_ms: 100, min: 1.0, max: most }]);
    }
}
