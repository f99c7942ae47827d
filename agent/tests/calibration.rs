//! The confidence against what the people in the recordings did: of windows told with probability p, the share p of the
//! labels is right.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use gaitway_agent::classify::Threshold;
use gaitway_agent::windows::{Batch, Closed, Params, Sample, SessionWindows};
use gaitway_proto::activity::{Activity, Window};

use recordings::Trial;

mod recordings;

const SECOND: i64 = 1_000_000_000;

/// The three classes that the recordings can judge.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Coarse {
    Stationary,
    Walking,
    Running,
}

fn truth(label: &str) -> Coarse {
    match label {
        "sitting" | "standing" | "lying" | "typing" | "writing" => Coarse::Stationary,
        "walking" | "upstairs" | "downstairs" | "stairs" => Coarse::Walking,
        "jogging" | "running" => Coarse::Running,
        other => panic!("label {other}"),
    }
}

fn said(activity: Activity) -> Coarse {
    match activity {
        Activity::Stationary => Coarse::Stationary,
        Activity::Walking => Coarse::Walking,
        Activity::Running | Activity::Sprinting => Coarse::Running,
    }
}

fn trials() -> Vec<Trial> {
    ["motionsense", "wisdm2019"].into_iter().flat_map(recordings::trials).collect()
}

fn windows_of(trial: &Trial, classifier: Threshold) -> Vec<Window> {
    let params = Params::new(10 * SECOND, 2 * SECOND, 10 * SECOND, classifier).unwrap();
    let mut windows = SessionWindows::new();
    let mut told: Vec<Closed> = Vec::new();
    for message in trial.samples.chunk_by(|a, b| a.time / SECOND == b.time / SECOND) {
        told.extend(windows.observe(&params, &Batch { median_time: None, samples: message }).closed);
    }
    told.extend(windows.flush());
    told.into_iter().map(|closed| closed.window).collect()
}

fn within(window: &Window, trial: &Trial) -> bool {
    window.start >= trial.samples[0].time && window.end <= trial.samples[trial.samples.len() - 1].time
}

/// Mean distance of confidence and share of right labels over bins of equal width, weighted by their windows.
fn calibration_error(windows: &[(f64, bool)], bins: usize) -> f64 {
    let mut sums = vec![0.0; bins];
    for (confidence, right) in windows {
        let bin = ((confidence * bins as f64) as usize).min(bins - 1);
        sums[bin] += confidence - f64::from(u8::from(*right));
    }
    sums.iter().map(|sum| f64::abs(*sum)).sum::<f64>() / windows.len() as f64
}

fn judged(classifier: Threshold) -> Vec<(f64, bool)> {
    let judge = |trial: &Trial| -> Vec<(f64, bool)> {
        let told = windows_of(trial, classifier);
        let inside = told.iter().filter(|window| within(window, trial));
        inside.map(|window| (window.confidence, said(window.activity) == truth(&trial.label))).collect()
    };
    trials().iter().flat_map(judge).collect()
}

#[test]
fn confidence_is_calibrated_on_the_recordings() {
    for classifier in [Threshold::default(), Threshold::new(1.0, 9.5, 20.0).unwrap()] {
        let windows = judged(classifier);
        assert!(windows.len() > 5000);
        for bins in [10, 15] {
            let error = calibration_error(&windows, bins);
            assert!(error <= 0.06, "{}: error {error:.4} over {bins} bins", classifier.name());
        }
    }
}

#[test]
fn partial_windows_are_less_sure_than_full_ones() {
    let rule = Threshold::default();
    let (mut full_windows, mut partial_windows) = (0, 0);
    for trial in trials() {
        for window in windows_of(&trial, rule) {
            let lost = rule.probability(window.mean) - window.confidence;
            if within(&window, &trial) {
                full_windows += 1;
                assert!((0.0..1e-3).contains(&lost), "{window:?} loses {lost}");
            } else if rule.probability(window.mean) > 0.5 {
                partial_windows += 1;
                assert!(lost > 0.0, "{window:?} loses nothing");
            }
        }
    }
    assert!(full_windows > 5000 && partial_windows > 1000, "{full_windows} {partial_windows}");
}

/// How much of the accuracy above chance is left in a run of the share `fill` of each window's readings.
fn kept(trials: &[Trial], rule: Threshold, fill: f64) -> f64 {
    let accuracy = |fill: f64| {
        let (mut right, mut runs) = (0.0, 0.0);
        for trial in trials {
            let windows = trial.samples.chunk_by(|a, b| a.time / (10 * SECOND) == b.time / (10 * SECOND));
            for window in windows.filter(|window| window.len() >= 190) {
                let length = ((window.len() as f64 * fill).round() as usize).max(1);
                for run in window.chunks_exact(length) {
                    let sum: f64 = run.iter().map(|sample: &Sample| sample.magnitude).sum();
                    let share = length as f64 / window.len() as f64;
                    runs += share;
                    right += share * f64::from(u8::from(said(rule.label(sum / length as f64)) == truth(&trial.label)));
                }
            }
        }
        right / runs
    };
    (accuracy(fill) - 1.0 / 3.0) / (accuracy(1.0) - 1.0 / 3.0)
}

#[test]
fn the_confidence_shrinks_as_the_recordings_tell_less() {
    let trials = trials();
    for rule in [Threshold::default(), Threshold::new(1.0, 9.5, 20.0).unwrap()] {
        for fill in [0.8, 0.4, 0.2, 0.1, 0.05, 0.02, 0.01] {
            // At a mean of 0 the probability is 1, so what is left above the prior is the weight.
            let weight = (rule.confidence(0.0, fill) - 1.0 / 3.0) / (1.0 - 1.0 / 3.0);
            let kept = kept(&trials, rule, fill);
            assert!((weight - kept).abs() < 0.05, "{}: {fill} keeps {kept:.3}, given {weight:.3}", rule.name());
        }
    }
}
