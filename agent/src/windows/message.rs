//! What windows read of one message: the readings whose times can be believed.
//!
//! - A time counts as Spark reads it, so that a reading next to a window's bound falls on the same side ([`event_time`]).
//! - A reading more than 60 s above its message's median is wild.
//! - A message that has nothing to be compared with is taken to span at most an hour to either side of its own readings'
//!   median; what lies beyond is wild. So one message makes a bounded number of windows.
//! - No time and no number of a reading can overflow what is computed with it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::params::SECOND;

/// A reading this far above its message's median is wild, ns.
const SKEW: i64 = 60 * SECOND;

/// A message whose median is further than this past the session's greatest time has to be confirmed, ns.
pub(super) const JUMP: i64 = 3600 * SECOND;

/// Greatest usable time: windows, lateness and jumps still fit above it.
pub(super) const MAX_TIME: i64 = i64::MAX - (1 << 50);

/// Greatest usable magnitude: the root of the greatest finite square. Sums of these stay finite.
pub(super) const MAX_MAGNITUDE: f64 = 1.340_780_792_994_259_6e154;

/// An eligible reading: linear acceleration with three finite axes and an integer time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// Nanoseconds since the Unix epoch, phone's clock, as the phone sent it.
    pub time: i64,
    /// sqrt(x² + y² + z²), m/s².
    pub magnitude: f64,
}

impl Sample {
    /// The reading of axes x y z (m/s²) at `time` (ns), unless no window can use it.
    pub fn from_axes(time: i64, [x, y, z]: [f64; 3]) -> Option<Self> {
        let sample = Self { time, magnitude: (x * x + y * y + z * z).sqrt() };
        sample.is_usable().then_some(sample)
    }

    /// Whether a window can use it.
    pub(super) fn is_usable(&self) -> bool {
        is_usable_time(self.time) && (0.0..=MAX_MAGNITUDE).contains(&self.magnitude)
    }
}

/// Whether windows and medians can use a reading's time, ns.
pub fn is_usable_time(time: i64) -> bool {
    (0..=MAX_TIME).contains(&time)
}

/// A usable time as Spark's `(time / 1e9).cast("timestamp")` reads it, ns: seconds in f64, cut to whole microseconds.
/// Monotone; a reading less than 128 ns before a whole second of our days counts for that second.
pub fn event_time(time: i64) -> i64 {
    ((time as f64 / 1e9 * 1e6) as i64).saturating_mul(1000).min(MAX_TIME)
}

/// One message, as far as windows are concerned.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Batch<'a> {
    /// [`lower_median`] of the times of all readings of the message that have a usable one, whatever their sensor.
    /// Where it is missing, that of `samples` counts.
    pub median_time: Option<i64>,
    /// The eligible readings, in any order.
    pub samples: &'a [Sample],
}

/// The lower median; reorders `times`.
pub fn lower_median(times: &mut [i64]) -> Option<i64> {
    let middle = times.len().checked_sub(1)? / 2;
    Some(*times.select_nth_unstable(middle).1)
}

/// Readings of one pane, summed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) total: f64,
}

impl Sum {
    pub(super) fn plus(self, other: Self) -> Self {
        Self { count: self.count + other.count, total: self.total + other.total }
    }
}

/// Sums by the start of their pane, ns. Only panes with readings.
pub(super) type Panes = BTreeMap<i64, Sum>;

/// The believable readings of one message.
///
/// Times are [`event_time`]s.
pub(super) struct Message {
    pub(super) median: i64,
    pub(super) greatest: i64,
    samples: Vec<Sample>,
}

/// Readings that no window gets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) wild: u64,
    pub(super) unusable: u64,
}

impl Message {
    /// `batch` without what is wild or unusable, if anything is left; and how much was not.
    pub(super) fn read(batch: &Batch<'_>) -> (Option<Self>, Refused) {
        let usable = batch.samples.iter().filter(|sample| sample.is_usable());
        let mut samples: Vec<Sample> =
            usable.map(|sample| Sample { time: event_time(sample.time), ..*sample }).collect();
        let usable = samples.len();
        let stated = batch.median_time.filter(|time| is_usable_time(*time)).map(event_time);
        let Some(median) = stated.or_else(|| median_of(&samples)) else {
            return (None, Refused { wild: 0, unusable: batch.samples.len() as u64 });
        };
        samples.retain(|sample| sample.time <= median + SKEW);
        let refused =
            Refused { wild: (usable - samples.len()) as u64, unusable: (batch.samples.len() - usable) as u64 };
        (Self::of(median, samples), refused)
    }

    fn of(median: i64, samples: Vec<Sample>) -> Option<Self> {
        let greatest = samples.iter().map(|sample| sample.time).max()?;
        Some(Self { median, greatest, samples })
    }

    /// Keeps the readings within an hour of their own median; returns how many others there were.
    pub(super) fn drop_scattered(&mut self) -> u64 {
        let Some(middle) = median_of(&self.samples) else { return 0 };
        let before = self.samples.len();
        self.samples.retain(|sample| sample.time.abs_diff(middle) <= JUMP.unsigned_abs());
        self.greatest = self.samples.iter().map(|sample| sample.time).max().unwrap_or(middle);
        (before - self.samples.len()) as u64
    }

    /// The readings summed by panes of `pane` ns.
    pub(super) fn panes(&self, pane: i64) -> Panes {
        let mut panes = Panes::new();
        // Neighbours mostly share a pane: one look into the map for a run of them.
        for run in self.samples.chunk_by(|a, b| a.time.div_euclid(pane) == b.time.div_euclid(pane)) {
            let start = run[0].time.div_euclid(pane) * pane;
            let sum = panes.entry(start).or_default();
            for sample in run {
                *sum = sum.plus(Sum { count: 1, total: sample.magnitude });
            }
        }
        panes
    }
}

fn median_of(samples: &[Sample]) -> Option<i64> {
    lower_median(&mut samples.iter().map(|sample| sample.time).collect::<Vec<_>>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lower_median_of_an_even_number_is_the_lower_one() {
        assert_eq!(lower_median(&mut []), None);
        assert_eq!(lower_median(&mut [4, 1, 3, 2]), Some(2));
        assert_eq!(lower_median(&mut [5, 1, 3]), Some(3));
    }

    #[test]
    fn no_time_and_no_number_overflows() {
        assert_eq!(Sample::from_axes(0, [3.0, 4.0, 0.0]), Some(Sample { time: 0, magnitude: 5.0 }));
        assert_eq!(Sample::from_axes(-1, [0.0; 3]), None);
        assert_eq!(Sample::from_axes(i64::MAX, [0.0; 3]), None);
        assert_eq!(Sample::from_axes(0, [f64::NAN, 0.0, 0.0]), None);
        assert_eq!(Sample::from_axes(0, [1e200, 0.0, 0.0]), None);
        assert!(Sample::from_axes(0, [MAX_MAGNITUDE, 0.0, 0.0]).is_some());
        assert!((MAX_MAGNITUDE * u64::MAX as f64).is_finite());
    }

    #[test]
    fn a_time_counts_as_spark_reads_it() {
        let second = 1_700_259_614_000_000_000;
        assert_eq!(event_time(second), second);
        assert_eq!(event_time(second - 1), second);
        assert_eq!(event_time(second - 127), second);
        assert_eq!(event_time(second - 129), second - 1000);
        assert_eq!(event_time(second + 500), second);
        assert_eq!(event_time(0), 0);
        assert_eq!(event_time(MAX_TIME), MAX_TIME);
    }

    #[test]
    fn a_reading_a_minute_above_the_median_is_still_believed() {
        let sample = |time| Sample { time, magnitude: 1.0 };
        let samples = [sample(0), sample(SKEW), sample(SKEW + 1000)];
        let (message, refused) = Message::read(&Batch { median_time: Some(0), samples: &samples });
        assert_eq!(message.map(|message| message.greatest), Some(SKEW));
        assert_eq!(refused, Refused { wild: 1, unusable: 0 });
        let none = Message::read(&Batch { median_time: Some(0), samples: &samples[2..] });
        assert!(none.0.is_none());
    }

    #[test]
    fn readings_of_unusable_time_or_number_are_left_out() {
        let samples = [
            Sample { time: -1, magnitude: 1.0 },
            Sample { time: i64::MAX, magnitude: 1.0 },
            Sample { time: 1, magnitude: f64::NAN },
            Sample { time: 1, magnitude: f64::INFINITY },
            Sample { time: 1, magnitude: -1.0 },
        ];
        for median_time in [None, Some(i64::MAX), Some(i64::MIN), Some(5)] {
            let (message, refused) = Message::read(&Batch { median_time, samples: &samples });
            assert!(message.is_none());
            assert_eq!(refused, Refused { wild: 0, unusable: 5 });
        }
    }
}
