//! How well labels and confidences fit what was so.
//!
//! - Only activities that somebody labelled are judged. Where nobody labelled sprinting, what is called so counts as running.

use gaitway_agent::classify::Threshold;
use gaitway_proto::activity::Activity;

/// The activities, from still to fast.
pub(super) const ALL: [Activity; 4] = [Activity::Stationary, Activity::Walking, Activity::Running, Activity::Sprinting];

/// Bins of the calibration error.
const BINS: usize = 10;

/// Where an activity stands among [`ALL`].
pub(super) fn place(activity: Activity) -> usize {
    match activity {
        Activity::Stationary => 0,
        Activity::Walking => 1,
        Activity::Running => 2,
        Activity::Sprinting => 3,
    }
}

/// A window whose label is known.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// Mean magnitude, m/s².
    pub(super) mean: f64,
    /// Share of its readings that it has, 0 to 1.
    pub(super) fill: f64,
    pub(super) truth: Activity,
    /// Whose it is: all of one are held out together.
    pub(super) subject: usize,
}

/// Windows by what they are and what was said.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Figures {
    /// `[truth][said]`
    pub(super) confusion: [[u64; 4]; 4],
    /// Sum of confidence − right, by bins of confidence.
    bins: [f64; BINS],
}

/// Of one activity.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Of {
    pub(super) activity: Activity,
    pub(super) windows: u64,
    /// Share of what was called so that is so; 0 if nothing was.
    pub(super) precision: f64,
    /// Share of what is so that was called so.
    pub(super) recall: f64,
    pub(super) f1: f64,
}

/// Whether anybody labelled sprinting.
pub(super) fn has_sprinting(samples: &[Sample]) -> bool {
    samples.iter().any(|sample| sample.truth == Activity::Sprinting)
}

impl Figures {
    /// Adds `samples` as `rule` labels them. `sprinting`: whether that is a label among all of them.
    pub(super) fn add<'s>(&mut self, samples: impl IntoIterator<Item = &'s Sample>, rule: Threshold, sprinting: bool) {
        for sample in samples {
            let said = match rule.label(sample.mean) {
                Activity::Sprinting if !sprinting => Activity::Running,
                said => said,
            };
            self.confusion[place(sample.truth)][place(said)] += 1;
            let confidence = rule.confidence(sample.mean, sample.fill);
            let bin = ((confidence * BINS as f64) as usize).min(BINS - 1);
            self.bins[bin] += confidence - f64::from(u8::from(said == sample.truth));
        }
    }

    pub(super) fn of(samples: &[Sample], rule: Threshold) -> Self {
        let mut figures = Self::default();
        figures.add(samples, rule, has_sprinting(samples));
        figures
    }

    fn windows(&self) -> u64 {
        self.confusion.iter().flatten().sum()
    }

    /// Share of right labels; 0 without windows.
    pub(super) fn accuracy(&self) -> f64 {
        share((0..4).map(|of| self.confusion[of][of]).sum(), self.windows())
    }

    /// Mean of the F1 of all activities that were labelled; 0 without windows.
    pub(super) fn macro_f1(&self) -> f64 {
        let all = self.by_activity();
        if all.is_empty() { 0.0 } else { all.iter().map(|of| of.f1).sum::<f64>() / all.len() as f64 }
    }

    /// Expected calibration error of the confidence over [`BINS`] bins of equal width, weighted by their windows.
    pub(super) fn calibration_error(&self) -> f64 {
        let windows = self.windows();
        if windows == 0 { 0.0 } else { self.bins.iter().map(|sum| sum.abs()).sum::<f64>() / windows as f64 }
    }

    /// Those that were labelled.
    pub(super) fn by_activity(&self) -> Vec<Of> {
        let of = |activity: Activity| {
            let at = place(activity);
            let right = self.confusion[at][at];
            let windows: u64 = self.confusion[at].iter().sum();
            let called: u64 = self.confusion.iter().map(|row| row[at]).sum();
            let f1 = share(2 * right, windows + called);
            Of { activity, windows, precision: share(right, called), recall: share(right, windows), f1 }
        };
        ALL.into_iter().map(of).filter(|of| of.windows > 0).collect()
    }
}

fn share(part: u64, all: u64) -> f64 {
    if all == 0 { 0.0 } else { part as f64 / all as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(mean: f64, truth: Activity) -> Sample {
        Sample { mean, fill: 1.0, truth, subject: 0 }
    }

    #[test]
    fn figures_are_those_of_the_textbook() {
        use Activity::{Running, Stationary, Walking};
        let samples = [
            sample(0.5, Stationary),
            sample(3.0, Stationary),
            sample(5.0, Walking),
            sample(5.5, Walking),
            sample(9.0, Walking),
            sample(12.0, Running),
            sample(25.0, Running),
        ];
        let figures = Figures::of(&samples, Threshold::default());
        assert_eq!(figures.confusion, [[1, 1, 0, 0], [0, 2, 1, 0], [0, 0, 2, 0], [0; 4]]);
        assert!((figures.accuracy() - 5.0 / 7.0).abs() < 1e-12);
        let f1 = [2.0 / 3.0, 2.0 / 3.0, 4.0 / 5.0];
        assert!((figures.macro_f1() - f1.iter().sum::<f64>() / 3.0).abs() < 1e-12);
        let [still, walking, running] = figures.by_activity()[..] else { panic!("three were labelled") };
        assert_eq!((still.precision, still.recall, still.windows), (1.0, 0.5, 2));
        assert_eq!((walking.precision, walking.recall), (2.0 / 3.0, 2.0 / 3.0));
        assert_eq!((running.precision, running.recall), (2.0 / 3.0, 1.0));
        assert!(Figures::default().accuracy().abs() < 1e-12);
        assert!(Figures::default().macro_f1().abs() < 1e-12);
    }

    #[test]
    fn a_confidence_that_is_the_share_of_right_labels_has_no_error() {
        let rule = Threshold::default();
        // At a mean of 0 the probability is 1, and all are right.
        let right = Figures::of(&[sample(0.0, Activity::Stationary); 8], rule);
        assert!(right.calibration_error() < 1e-12);
        let wrong = Figures::of(&[sample(0.0, Activity::Walking); 8], rule);
        assert!((wrong.calibration_error() - 1.0).abs() < 1e-12);
    }
}
