//! The thresholds that fit labelled windows best.
//!
//! - The search is exact over thresholds that are multiples of 1/[`STEPS`] m/s² up to [`MOST`] of them. What is sought is a sum of one term an
//!   activity, and an activity's depends on the two thresholds around it alone: so the best way through pairs of
//!   neighbours is the best of all, and takes the square of their number.
//! - A threshold is fitted if both activities that it divides were labelled; another stays as it is.
//! - Of equally good ones those are taken that are nearest to the present ones, by ratio.

use gaitway_agent::classify::Threshold;

use super::figures::{Figures, Sample, has_sprinting, place};

/// Steps of a threshold in 1 m/s².
const STEPS: f64 = 20.0;

/// The greatest threshold, in steps: 40 m/s².
const MOST: u32 = 800;

/// What is to be as great as can be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Aim {
    /// Mean of the activities' F1: each counts the same, however often it was labelled
    #[default]
    MacroF1,
    /// Share of right labels
    Accuracy,
}

impl Aim {
    /// How great it is.
    pub(super) fn of(self, figures: &Figures) -> f64 {
        match self {
            Self::MacroF1 => figures.macro_f1(),
            Self::Accuracy => figures.accuracy(),
        }
    }
}

/// The best of `present` and what else `samples` suggest.
pub(super) fn fit(samples: &[Sample], present: Threshold, aim: Aim) -> Threshold {
    Search::new(samples, present, aim).best().unwrap_or(present)
}

/// A threshold that may be chosen, and how many windows of each activity are below it.
#[derive(Debug, Clone, Copy)]
struct Place {
    threshold: f64,
    below: [u64; 4],
    /// From the present one, by ratio.
    far: f64,
}

/// How good a choice is so far.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Score {
    good: f64,
    far: f64,
}

impl Score {
    fn is_better(self, than: Self) -> bool {
        self.good > than.good || (self.good >= than.good && self.far < than.far)
    }
}

struct Search {
    /// What may be chosen, for each threshold that divides labels; ascending.
    choices: Vec<Vec<Place>>,
    totals: [u64; 4],
    labelled: f64,
    aim: Aim,
    present: Threshold,
}

impl Search {
    fn new(samples: &[Sample], present: Threshold, aim: Aim) -> Self {
        let mut totals = [0; 4];
        let mut means: [Vec<f64>; 4] = Default::default();
        for sample in samples {
            totals[place(sample.truth)] += 1;
            means[place(sample.truth)].push(sample.mean);
        }
        for means in &mut means {
            means.sort_by(f64::total_cmp);
        }
        let at = |threshold: f64, present: f64| Place {
            threshold,
            below: std::array::from_fn(|of| means[of].partition_point(|mean| *mean < threshold) as u64),
            far: (threshold / present).ln().abs(),
        };
        // Without sprinting among the labels the last threshold divides nothing.
        let dividing = if has_sprinting(samples) { 3 } else { 2 };
        let choices = (0..dividing).map(|of| {
            let now = present.bounds()[of];
            if totals[of] == 0 || totals[of + 1] == 0 {
                return vec![at(now, now)];
            }
            let mut grid: Vec<Place> = (1..=MOST).map(|step| at(f64::from(step) / STEPS, now)).collect();
            grid.push(at(now, now));
            grid.sort_by(|one, other| one.threshold.total_cmp(&other.threshold));
            // One that is not fitted is above all those that are.
            grid.retain(|place| dividing == 3 || place.threshold < present.bounds()[2]);
            grid
        });
        let choices = choices.collect();
        let labelled = totals.iter().filter(|total| **total > 0).count() as f64;
        Self { choices, totals, labelled, aim, present }
    }

    /// What an activity that lies between two thresholds adds.
    fn term(&self, of: usize, from: [u64; 4], to: [u64; 4]) -> f64 {
        if self.totals[of] == 0 {
            return 0.0;
        }
        let right = to[of] - from[of];
        match self.aim {
            Aim::Accuracy => right as f64 / self.totals.iter().sum::<u64>() as f64,
            Aim::MacroF1 => {
                let called: u64 = to.iter().zip(&from).map(|(to, from)| to - from).sum();
                2.0 * right as f64 / (called + self.totals[of]) as f64 / self.labelled
            }
        }
    }

    fn best(&self) -> Option<Threshold> {
        // For each threshold and choice: the best way to it, and the choice before.
        let mut ways: Vec<Vec<Option<(Score, usize)>>> = Vec::new();
        for (of, choices) in self.choices.iter().enumerate() {
            let way = |to: &Place| -> Option<(Score, usize)> {
                let Some(before) = ways.last() else {
                    return Some((Score { good: self.term(of, [0; 4], to.below), far: to.far }, 0));
                };
                let mut best: Option<(Score, usize)> = None;
                for (at, (from, way)) in self.choices[of - 1].iter().zip(before).enumerate() {
                    if from.threshold >= to.threshold {
                        break;
                    }
                    let Some((so_far, _)) = way else { continue };
                    let good = so_far.good + self.term(of, from.below, to.below);
                    let score = Score { good, far: so_far.far + to.far };
                    if best.is_none_or(|(best, _)| score.is_better(best)) {
                        best = Some((score, at));
                    }
                }
                best
            };
            let ways_of: Vec<_> = choices.iter().map(way).collect();
            ways.push(ways_of);
        }
        let mut best: Option<(Score, usize)> = None;
        let last = self.choices.len() - 1;
        for (at, (from, way)) in self.choices[last].iter().zip(&ways[last]).enumerate() {
            let Some((so_far, _)) = way else { continue };
            let score = Score { good: so_far.good + self.term(last + 1, from.below, self.totals), far: so_far.far };
            if best.is_none_or(|(best, _)| score.is_better(best)) {
                best = Some((score, at));
            }
        }
        let mut at = best?.1;
        let mut bounds = self.present.bounds();
        for of in (0..=last).rev() {
            bounds[of] = self.choices[of][at].threshold;
            at = ways[of][at]?.1;
        }
        Threshold::new(bounds[0], bounds[1], bounds[2]).ok()
    }
}

/// What thresholds promise for people whom they have not seen: each subject is labelled by thresholds that were fitted to
/// the others. None of a single subject.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct HeldOut {
    pub(super) figures: Figures,
    pub(super) subjects: usize,
    /// The least and the greatest of each threshold.
    pub(super) ranges: [(f64, f64); 3],
}

pub(super) fn held_out(samples: &[Sample], present: Threshold, aim: Aim) -> Option<HeldOut> {
    let subjects: std::collections::BTreeSet<usize> = samples.iter().map(|sample| sample.subject).collect();
    if subjects.len() < 2 {
        return None;
    }
    let sprinting = has_sprinting(samples);
    let mut ranges = [(f64::INFINITY, f64::NEG_INFINITY); 3];
    let mut figures = Figures::default();
    for subject in &subjects {
        let (of, others): (Vec<Sample>, Vec<Sample>) = samples.iter().partition(|sample| sample.subject == *subject);
        let rule = fit(&others, present, aim);
        for (range, bound) in ranges.iter_mut().zip(rule.bounds()) {
            *range = (range.0.min(bound), range.1.max(bound));
        }
        figures.add(&of, rule, sprinting);
    }
    Some(HeldOut { figures, subjects: subjects.len(), ranges })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::figures::ALL;
    use super::*;

    fn sample((mean, truth, subject): (f64, usize, usize)) -> Sample {
        Sample { mean, fill: 1.0, truth: ALL[truth], subject }
    }

    fn score(samples: &[Sample], rule: Threshold, aim: Aim) -> f64 {
        aim.of(&Figures::of(samples, rule))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Against every pair of thresholds on the same grid.
        #[test]
        fn no_other_thresholds_are_better(
            raw in prop::collection::vec((0.0..16.0_f64, 0_usize..3, 0_usize..3), 1..40), accuracy: bool,
        ) {
            let aim = if accuracy { Aim::Accuracy } else { Aim::MacroF1 };
            let samples: Vec<Sample> = raw.into_iter().map(sample).collect();
            let present = Threshold::default();
            let found = score(&samples, fit(&samples, present, aim), aim);
            prop_assert!(found + 1e-12 >= score(&samples, present, aim));
            let is_labelled = |of: usize| samples.iter().any(|sample| sample.truth == ALL[of]);
            let fits = |of: usize| is_labelled(of) && is_labelled(of + 1);
            let grid = |of: usize| -> Vec<f64> {
                if fits(of) { (1..=320).step_by(2).map(|step| f64::from(step) / STEPS).collect() } else { vec![present.bounds()[of]] }
            };
            for low in grid(0) {
                for high in grid(1).into_iter().filter(|high| *high > low) {
                    let other = Threshold::new(low, high, present.bounds()[2]).unwrap();
                    prop_assert!(found + 1e-12 >= score(&samples, other, aim), "{low} {high}");
                }
            }
        }

        #[test]
        fn the_order_of_windows_changes_nothing(
            raw in prop::collection::vec((0.0..30.0_f64, 0_usize..4, 0_usize..3), 2..60), turn in 0_usize..60,
        ) {
            let mut samples: Vec<Sample> = raw.into_iter().map(sample).collect();
            let before = fit(&samples, Threshold::default(), Aim::MacroF1);
            let turn = turn % samples.len();
            samples.rotate_left(turn);
            prop_assert_eq!(fit(&samples, Threshold::default(), Aim::MacroF1), before);
        }
    }

    #[test]
    fn labels_that_can_be_told_apart_are() {
        let raw = [(0.5, 0), (0.8, 0), (3.0, 1), (6.0, 1), (9.4, 1), (11.0, 2), (15.0, 2), (26.0, 3), (30.0, 3)];
        let samples: Vec<Sample> = raw.iter().map(|(mean, truth)| sample((*mean, *truth, 0))).collect();
        let rule = fit(&samples, Threshold::default(), Aim::MacroF1);
        assert!((score(&samples, rule, Aim::MacroF1) - 1.0).abs() < 1e-12, "{rule:?}");
        let [stationary, walking, running] = rule.bounds();
        assert_eq!((stationary, running), (2.0, 20.0), "those that were right stay");
        assert!(walking > 9.4 && walking <= 9.45, "the nearest that is right: {walking}");
    }

    #[test]
    fn a_threshold_between_activities_that_nobody_labelled_stays() {
        let samples: Vec<Sample> = [(9.0, 1, 0), (12.0, 2, 0), (25.0, 2, 0)].into_iter().map(sample).collect();
        let [stationary, walking, running] = fit(&samples, Threshold::default(), Aim::MacroF1).bounds();
        assert_eq!((stationary, running), (2.0, 20.0));
        assert!(walking > 9.0 && walking <= 12.0);
        assert_eq!(fit(&[], Threshold::default(), Aim::MacroF1), Threshold::default());
    }

    #[test]
    fn whoever_is_judged_was_not_learnt_from() {
        // Of two subjects each would be right with thresholds of its own, and is wrong with the other's.
        let raw = [(1.0, 0, 0), (3.0, 1, 0), (4.0, 0, 1), (6.0, 1, 1)];
        let samples: Vec<Sample> = raw.into_iter().map(sample).collect();
        let HeldOut { figures, subjects, .. } = held_out(&samples, Threshold::default(), Aim::Accuracy).unwrap();
        assert_eq!(subjects, 2);
        assert!((figures.accuracy() - 0.5).abs() < 1e-12, "{figures:?}");
        assert_eq!(held_out(&samples[..2], Threshold::default(), Aim::Accuracy), None);
    }
}
