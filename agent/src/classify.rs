//! A window's label and the probability that it is right.
//!
//! - The label depends on the mean magnitude and the thresholds alone.
//! - The confidence is the probability of the label given, so it may fall below one half near a threshold.
//! - Lack of readings never raises the confidence.
//!
//! The probabilities are logistic fits in the logarithm of the mean over labelled recordings of trouser pockets
//! and hands (`MotionSense`, WISDM 2019, `MobiFall`), left out subject by subject: expected calibration error .037 at
//! the default thresholds and .022 at 1.0/9.5.

use gaitway_proto::activity::Activity;
use serde::{Deserialize, Serialize};

/// At the default thresholds: P(moving) = σ(4.01·ln(m/0.908)), P(running | moving) = σ(9.31·ln(m/7.75)).
const FITTED: [Logistic; 2] = [Logistic { slope: 4.01, midpoint: 0.908 }, Logistic { slope: 9.31, midpoint: 7.75 }];

/// At other thresholds t: σ(slope·ln(m/t)), fitted at 1.0 and 9.5.
const SLOPES: [f64; 2] = [3.7, 6.8];

/// What is known without any reading: one of three coarse classes.
const PRIOR: f64 = 1.0 / 3.0;

/// The share of a window's readings at which half of what they tell is left, but for the normalisation in [`weight`].
///
/// Fitted on runs of .005 to .8 of the readings, cut from every 10 s window of the recordings: how much of the
/// accuracy above chance remains (least squares .0009) and which weight gives the least log loss (.001) agree.
/// A fifth of a window says nearly as much as the whole (.99), a hundredth still .9 of it.
const HALF: f64 = 0.001;

#[derive(Debug, Clone, Copy)]
struct Logistic {
    slope: f64,
    midpoint: f64,
}

impl Logistic {
    fn probability(self, mean: f64) -> f64 {
        1.0 / (1.0 + (-self.slope * (mean / self.midpoint).ln()).exp())
    }
}

/// Thresholds that cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error(
    "thresholds {stationary} {walking} {running} of the classifier must be above 0 and each greater than the one before"
)]
pub struct ThresholdError {
    stationary: f64,
    walking: f64,
    running: f64,
}

/// The classifier `threshold`: labels by the mean magnitude, m/s².
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Bounds")]
pub struct Threshold {
    stationary: f64,
    walking: f64,
    running: f64,
}

/// A [`Threshold`] as written, not yet checked.
#[derive(Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Bounds {
    stationary: f64,
    walking: f64,
    running: f64,
}

impl Default for Bounds {
    fn default() -> Self {
        let Threshold { stationary, walking, running } = Threshold::default();
        Self { stationary, walking, running }
    }
}

impl TryFrom<Bounds> for Threshold {
    type Error = ThresholdError;

    fn try_from(bounds: Bounds) -> Result<Self, ThresholdError> {
        Self::new(bounds.stationary, bounds.walking, bounds.running)
    }
}

impl Default for Threshold {
    fn default() -> Self {
        Self { stationary: 2.0, walking: 8.0, running: 20.0 }
    }
}

impl Threshold {
    /// Means below `stationary` are stationary, below `walking` walking, below `running` running, others sprinting.
    pub fn new(stationary: f64, walking: f64, running: f64) -> Result<Self, ThresholdError> {
        let ascending = 0.0 < stationary && stationary < walking && walking < running;
        if ascending && running.is_finite() {
            Ok(Self { stationary, walking, running })
        } else {
            Err(ThresholdError { stationary, walking, running })
        }
    }

    /// From which mean on, m/s², a window is walking, running, sprinting.
    pub fn bounds(&self) -> [f64; 3] {
        [self.stationary, self.walking, self.running]
    }

    /// Name of the rule as records tell it: `threshold`, with its bounds where they are not the default ones.
    pub fn name(&self) -> String {
        if *self == Self::default() {
            "threshold".to_owned()
        } else {
            format!("threshold({}/{}/{})", self.stationary, self.walking, self.running)
        }
    }

    /// The label of a window with this mean magnitude, m/s².
    pub fn label(&self, mean: f64) -> Activity {
        if mean < self.stationary {
            Activity::Stationary
        } else if mean < self.walking {
            Activity::Walking
        } else if mean < self.running {
            Activity::Running
        } else {
            Activity::Sprinting
        }
    }

    /// Probability that [`label`](Self::label) is right for a window with all its readings. `mean` ≥ 0.
    pub fn probability(&self, mean: f64) -> f64 {
        let [moving, running] = self.logistics().map(|logistic| logistic.probability(mean));
        match self.label(mean) {
            Activity::Stationary => 1.0 - moving,
            Activity::Walking => moving * (1.0 - running),
            Activity::Running | Activity::Sprinting => moving * running,
        }
    }

    /// [`probability`](Self::probability), shrunk towards the prior for a window that holds only the share `fill`
    /// (0 to 1) of the readings that its session's rate would give it.
    pub fn confidence(&self, mean: f64, fill: f64) -> f64 {
        let probability = self.probability(mean);
        let weight = weight(fill);
        probability.min(weight * probability + (1.0 - weight) * PRIOR)
    }

    fn logistics(&self) -> [Logistic; 2] {
        let default = Self::default();
        if (Self { running: default.running, ..*self }) == default {
            FITTED
        } else {
            [
                Logistic { slope: SLOPES[0], midpoint: self.stationary },
                Logistic { slope: SLOPES[1], midpoint: self.walking },
            ]
        }
    }
}

/// How much of what a full window would tell is left in the share `fill` of its readings: 0 at none, 1 at all.
fn weight(fill: f64) -> f64 {
    let fill = fill.clamp(0.0, 1.0);
    fill * (1.0 + HALF) / (fill + HALF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn near(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-12
    }

    #[test]
    fn the_label_depends_on_the_mean_and_the_thresholds_alone() {
        let default = Threshold::default();
        let labels = [0.0, 1.999, 2.0, 7.999, 8.0, 19.999, 20.0, 1e154].map(|mean| default.label(mean).as_str());
        let expected =
            ["stationary", "stationary", "walking", "walking", "running", "running", "sprinting", "sprinting"];
        assert_eq!(labels, expected);
        assert_eq!(Threshold::new(1.0, 9.5, 20.0).unwrap().label(9.0), Activity::Walking);
    }

    #[test]
    fn the_confidence_is_the_probability_of_the_label_given() {
        let default = Threshold::default();
        assert!(near(default.probability(0.0), 1.0));
        let moving = |mean: f64| 1.0 / (1.0 + (mean / 0.908_f64).powf(-4.01));
        let running = |mean: f64| 1.0 / (1.0 + (mean / 7.75_f64).powf(-9.31));
        assert!(near(default.probability(1.5), 1.0 - moving(1.5)));
        assert!(default.probability(1.5) < 0.5, "below one half near a threshold");
        assert!(near(default.probability(5.0), moving(5.0) * (1.0 - running(5.0))));
        assert!(near(default.probability(12.0), moving(12.0) * running(12.0)));
        assert!(near(default.probability(30.0), moving(30.0) * running(30.0)));
        let other = Threshold::new(1.0, 9.5, 20.0).unwrap();
        assert!(near(other.probability(1.0), 0.5 * (1.0 - 1.0 / (1.0 + 9.5_f64.powf(6.8)))));
    }

    #[test]
    fn the_sprinting_threshold_keeps_the_fitted_probabilities() {
        let other = Threshold::new(2.0, 8.0, 25.0).unwrap();
        assert!(near(other.probability(5.0), Threshold::default().probability(5.0)));
        assert_eq!(other.name(), "threshold(2/8/25)");
    }

    #[test]
    fn the_name_tells_thresholds_that_are_not_the_default() {
        assert_eq!(Threshold::default().name(), "threshold");
        assert_eq!(Threshold::new(1.0, 9.5, 20.0).unwrap().name(), "threshold(1/9.5/20)");
    }

    #[test]
    fn thresholds_must_be_finite_ascending_and_above_zero() {
        let bad = [
            (0.0, 8.0, 20.0),
            (-1.0, 8.0, 20.0),
            (8.0, 8.0, 20.0),
            (2.0, 20.0, 8.0),
            (2.0, 8.0, f64::INFINITY),
            (f64::NAN, 8.0, 20.0),
            (2.0, f64::NAN, 20.0),
        ];
        for (stationary, walking, running) in bad {
            assert!(Threshold::new(stationary, walking, running).is_err());
        }
        assert!(serde_json::from_str::<Threshold>(r#"{"stationary":9}"#).is_err());
        let partly: Threshold = serde_json::from_str(r#"{"walking":9.5}"#).unwrap();
        assert_eq!(partly, Threshold::new(2.0, 9.5, 20.0).unwrap());
    }

    proptest! {
        #[test]
        fn lack_of_readings_never_raises_the_confidence(
            mean in 0.0..40.0_f64, less in 0.0..=1.0_f64, more in 0.0..=1.0_f64, fitted: bool,
        ) {
            let rule = if fitted { Threshold::default() } else { Threshold::new(1.0, 9.5, 20.0).unwrap() };
            let (less, more) = if less <= more { (less, more) } else { (more, less) };
            let (low, high) = (rule.confidence(mean, less), rule.confidence(mean, more));
            prop_assert!((0.0..=1.0).contains(&low));
            prop_assert!(low <= high + 1e-12, "{low} at {less}, {high} at {more}");
            prop_assert!(high <= rule.probability(mean));
            prop_assert!(near(rule.confidence(mean, 1.0), rule.probability(mean)));
        }

        #[test]
        fn any_mean_has_a_probability(mean in prop_oneof![Just(0.0), Just(5e-324), Just(f64::MAX), 0.0..1e6], low in 1e-300..1e300_f64) {
            let rule = Threshold::new(low, low * 2.0, low * 3.0).unwrap();
            prop_assert!((0.0..=1.0).contains(&rule.probability(mean)));
        }
    }
}
