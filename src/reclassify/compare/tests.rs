//! The comparison, promise by promise.

use std::collections::BTreeMap;

use gaitway_proto::activity::Activity;
use proptest::prelude::*;

use super::*;

const ALL_TIME: std::ops::Range<i64> = i64::MIN..i64::MAX;
const SLIDE: i64 = 2 * SECOND;

fn params(rule: Threshold) -> Params {
    Params::new(10 * SECOND, SLIDE, 10 * SECOND, rule).unwrap()
}

fn other() -> Threshold {
    Threshold::new(1.0, 9.5, 20.0).unwrap()
}

/// Window `n` of a session, as `rule` labels it.
fn window(n: i64, count: u64, mean: f64, rule: Threshold) -> Window {
    let start = n * SLIDE;
    let confidence = rule.confidence(mean, 1.0);
    Window { start, end: start + 10 * SECOND, count, mean, activity: rule.label(mean), confidence, revision: 0 }
}

fn row(window: &Window, rule: &str) -> Row {
    Row {
        agent: Some("pi".into()),
        start: window.start,
        end: window.end,
        count: Some(window.count),
        mean: Some(window.mean),
        confidence: Some(window.confidence),
        activity: Some(window.activity.as_str().into()),
        classifier: Some(rule.into()),
        revision: window.revision,
    }
}

fn recomputed(closed: Vec<Window>) -> Recomputed {
    let starts = closed.iter().flat_map(|window| (0..5).map(|slide| window.start + slide * SLIDE));
    let slides: std::collections::BTreeSet<i64> = starts.collect();
    Recomputed { closed, slides: slides.into_iter().collect(), ..Recomputed::default() }
}

fn told(rows: &[Row]) -> Vec<Told> {
    latest(rows, Some("pi"))
}

fn starts(outcome: &Outcome) -> Vec<i64> {
    outcome.changes.iter().map(|change| change.new.start / SLIDE).collect()
}

#[test]
fn of_a_windows_rows_the_latest_of_its_agent_counts_and_the_highest_of_all_is_topped() {
    let rule = Threshold::default();
    let of = |agent: &str, revision: u32, mean: f64| Row {
        agent: Some(agent.into()),
        revision,
        ..row(&window(1, 500, mean, rule), "threshold")
    };
    let rows = [of("pi", 0, 1.0), of("other", 4, 9.0), of("pi", 2, 3.0), of("pi", 1, 2.0)];
    let found = told(&rows);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].row.mean, found[0].highest), (Some(3.0), 4));
    let outcome = compare(&recomputed(vec![window(1, 500, 3.0, other())]), &found, &params(other()), &ALL_TIME);
    assert_eq!(outcome.changes[0].new.revision, 5);
    assert_eq!(latest(&rows, None), []);
}

#[test]
fn a_window_without_all_its_readings_is_labelled_by_its_stored_mean() {
    let rule = Threshold::default();
    let stored: Vec<Window> = (0..12).map(|n| window(n, 500, 1.5, rule)).collect();
    let rows: Vec<Row> = stored.iter().map(|window| row(window, "threshold")).collect();
    // The first three have no reading left, the fourth a few.
    let mut left: Vec<Window> = (3..12).map(|n| window(n, 500, 1.5, other())).collect();
    left[0] = window(3, 40, 25.0, other());
    let outcome = compare(&recomputed(left), &told(&rows), &params(other()), &ALL_TIME);
    assert_eq!((outcome.windows, outcome.by_mean, outcome.changes.len()), (12, 4, 12));
    for change in &outcome.changes {
        let is_gone = change.new.start / SLIDE < 4;
        assert_eq!(change.basis, if is_gone { Basis::StoredMean } else { Basis::Readings });
        assert_eq!((change.new.count, change.new.activity), (500, Activity::Walking));
        assert!((change.new.mean - 1.5).abs() < 1e-12 && !change.is_measured_anew() && change.is_relabelled());
        assert!((change.new.confidence - other().confidence(1.5, 1.0)).abs() < 1e-12);
    }
    // By the rule that it has, nothing is known better.
    let outcome = compare(&recomputed(Vec::new()), &told(&rows), &params(rule), &ALL_TIME);
    assert_eq!((outcome.by_mean, outcome.changes.len()), (12, 0));
}

#[test]
fn a_confidence_alone_is_left_behind_a_place_where_readings_are_missing() {
    let rule = Threshold::default();
    let stored: Vec<Window> = (0..40).map(|n| window(n, 500, 1.5, rule)).collect();
    let rows: Vec<Row> = stored.iter().map(|window| row(window, "threshold")).collect();
    let left: Vec<Window> = (8..40).map(|n| Window { confidence: 0.123, ..window(n, 500, 1.5, rule) }).collect();
    let outcome = compare(&recomputed(left.clone()), &told(&rows), &params(rule), &ALL_TIME);
    // Window 7 ends with slide 11; sixteen slides with readings later the rate is known: those that hold slide 27.
    assert_eq!(starts(&outcome), (23..40).collect::<Vec<_>>());
    let whole: Vec<Window> = (0..8).map(|n| window(n, 500, 1.5, rule)).chain(left).collect();
    let outcome = compare(&recomputed(whole), &told(&rows), &params(rule), &ALL_TIME);
    assert_eq!(starts(&outcome), (8..40).collect::<Vec<_>>());
}

#[test]
fn a_window_that_silence_alone_would_close_is_the_agents_until_the_warehouse_has_it() {
    let rule = Threshold::default();
    let mut session = recomputed(vec![window(0, 500, 1.5, rule)]);
    session.open = vec![window(1, 500, 1.5, rule), window(2, 300, 1.5, rule)];
    let rows = [row(&window(1, 500, 1.5, rule), "threshold")];
    let outcome = compare(&session, &told(&rows), &params(rule), &ALL_TIME);
    assert_eq!((outcome.windows, outcome.open, starts(&outcome)), (2, 1, vec![0]));
    assert_eq!((&outcome.changes[0].old, outcome.changes[0].new.revision), (&None, 1));
}

#[test]
fn what_other_readings_made_is_measured_anew_and_what_cannot_be_compared_is_left() {
    let rule = Threshold::default();
    let rows = [
        row(&window(0, 400, 1.4, rule), "threshold"),
        Row { end: 5 * SECOND + SLIDE, ..row(&window(1, 500, 1.5, rule), "threshold") },
        Row { mean: None, ..row(&window(2, 500, 1.5, rule), "threshold") },
    ];
    let session = recomputed((0..3).map(|n| window(n, 500, 1.5, rule)).collect());
    let outcome = compare(&session, &told(&rows), &params(rule), &ALL_TIME);
    assert_eq!((outcome.windows, outcome.other, starts(&outcome)), (1, 2, vec![0]));
    assert!(outcome.changes[0].is_measured_anew() && !outcome.changes[0].is_relabelled());
}

#[test]
fn a_window_in_which_readings_lie_and_none_counts_is_told() {
    let rule = Threshold::default();
    let rows = [row(&window(1, 500, 1.5, rule), "threshold"), row(&window(50, 500, 1.5, rule), "threshold")];
    let session = Recomputed { slides: vec![3 * SLIDE], ..Recomputed::default() };
    let outcome = compare(&session, &told(&rows), &params(rule), &ALL_TIME);
    assert_eq!((outcome.by_mean, outcome.only_there), (2, 1));
}

#[test]
fn the_share_of_readings_is_that_of_the_windows_around() {
    let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
    assert!(near(fill(500, [500; 9].into_iter(), 10 * SECOND), 1.0));
    assert!(near(fill(250, [500, 500, 500, 500, 250].into_iter(), 10 * SECOND), 0.5));
    assert!(near(fill(20, [20; 5].into_iter(), 10 * SECOND), 0.2), "no session is slower than ten a second");
    assert!(near(fill(700, [500; 9].into_iter(), 10 * SECOND), 1.0));
    assert!(near(fill(50, std::iter::empty(), 10 * SECOND), 0.5));
}

/// A window of the warehouse, of a recomputation, or of both.
#[derive(Debug, Clone)]
struct Case {
    mean: f64,
    stored: Option<u64>,
    counted: Option<u64>,
    is_new_rule: bool,
}

fn case() -> impl Strategy<Value = Case> {
    let count = || prop::option::weighted(0.8, prop_oneof![Just(500_u64), 100_u64..600]);
    (0.1..30.0_f64, count(), count(), any::<bool>()).prop_map(|(mean, stored, counted, is_new_rule)| Case {
        mean,
        stored,
        counted,
        is_new_rule,
    })
}

proptest! {
    /// What is written makes the next run find nothing; each window is written at most once, above what was there.
    #[test]
    fn a_second_run_has_nothing_to_do(cases in prop::collection::vec(case(), 0..60), span in 0_i64..60, length in 0_i64..80) {
        let (rule, before) = (other(), Threshold::default());
        let (mut rows, mut closed) = (Vec::new(), Vec::new());
        for (n, case) in (0..).zip(&cases) {
            if let Some(count) = case.stored {
                let (rule, name) = if case.is_new_rule { (rule, rule.name()) } else { (before, before.name()) };
                rows.push(row(&window(n, count, case.mean, rule), &name));
            }
            closed.extend(case.counted.map(|count| window(n, count, case.mean, rule)));
        }
        let span = span * SLIDE..(span + length) * SLIDE;
        let (session, params) = (recomputed(closed), params(rule));
        let outcome = compare(&session, &told(&rows), &params, &span);
        let mut by_start: BTreeMap<i64, &Change> = BTreeMap::new();
        for change in &outcome.changes {
            prop_assert!(span.contains(&change.new.end));
            prop_assert_eq!(change.new.activity, rule.label(change.new.mean), "the label is the mean's");
            prop_assert_eq!(change.new.revision, 1);
            prop_assert!(by_start.insert(change.new.start, change).is_none());
        }
        // By the definition, window by window.
        for (n, case) in (0..).zip(&cases) {
            let end = n * SLIDE + 10 * SECOND;
            let found = by_start.get(&(n * SLIDE));
            let is_due = span.contains(&end) && match (case.stored, case.counted) {
                (None, None) => false,
                (None, Some(_)) => true,
                (Some(_), None) => !case.is_new_rule,
                (Some(stored), Some(counted)) => !case.is_new_rule || counted > stored,
            };
            prop_assert_eq!(found.is_some(), is_due, "window {} {:?}", n, case);
            if let Some(change) = found {
                let stays = case.stored.filter(|stored| case.counted.is_none_or(|counted| counted < *stored));
                prop_assert_eq!(change.basis == Basis::StoredMean, stays.is_some());
                prop_assert_eq!(Some(change.new.count), stays.or(case.counted));
            }
        }
        rows.extend(outcome.changes.iter().map(|change| row(&change.new, &rule.name())));
        rows.sort_by_key(|row| (row.start, std::cmp::Reverse(row.revision)));
        let again = compare(&session, &told(&rows), &params, &span);
        prop_assert_eq!(again.changes, Vec::new());
        prop_assert_eq!(again.windows, outcome.windows);
    }
}
