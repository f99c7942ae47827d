//! Random sessions: messages out of order, late, repeated, wild, held; silences, restarts, restored copies, new
//! parameters; the state stored and read between any two steps.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::reference::Reference;
use super::*;

#[derive(Debug, Clone)]
enum Step {
    Message { advance: i64, samples: Vec<(i64, f64)>, median_off: Option<i64>, repeat: bool },
    Silence,
    Start,
    Restored,
    Configured(usize),
}

const MILLISECOND: i64 = 1_000_000;

fn message() -> impl Strategy<Value = Step> {
    let advance = prop_oneof![
        12 => 0..3_000_i64,
        3 => -20_000..40_000_i64,
        1 => 3_000_000..4_200_000_i64,
        1 => 7_000_000..7_300_000_i64,
        1 => Just(400_000_000_000_i64),
    ];
    let offset = prop_oneof![
        20 => 0..1_000_i64,
        4 => -30_000..5_000_i64,
        1 => 55_000..65_000_i64,
        1 => -4_000_000..4_000_000_i64,
    ];
    // Eighths add up exactly, so that the order of summing cannot move a mean across a threshold.
    let magnitude = (0..240_u32).prop_map(|eighths| f64::from(eighths) / 8.0);
    let median_off = prop::option::weighted(0.1, prop_oneof![-70_000..70_000_i64, Just(5_000_000_i64)]);
    (advance, prop::collection::vec((offset, magnitude), 0..12), median_off, prop::bool::weighted(0.1))
        .prop_map(|(advance, samples, median_off, repeat)| Step::Message { advance, samples, median_off, repeat })
}

fn step(configured: u32) -> impl Strategy<Value = Step> {
    prop_oneof![
        30 => message(),
        2 => Just(Step::Silence),
        1 => Just(Step::Start),
        1 => Just(Step::Restored),
        configured => (0..6_usize).prop_map(Step::Configured),
    ]
}

fn configurations() -> [Params; 6] {
    let other = Threshold::new(1.0, 9.5, 20.0).unwrap();
    let odd = Params::new(4_500 * MILLISECOND, 900 * MILLISECOND, 2_500 * MILLISECOND, other).unwrap();
    let far = Params::new(10 * SECOND, 2 * SECOND, 10 * SECOND, other).unwrap();
    [Params::default(), params(5, 5, 0), params(6, 3, 40), odd, far, params(120, 10, 1)]
}

fn same(a: &Closed, b: &Closed) -> bool {
    let near = |a: f64, b: f64| (a - b).abs() <= 1e-12 * a.abs().max(1e-300);
    let fitting = Closed {
        window: super::super::Window { mean: b.window.mean, confidence: b.window.confidence, ..a.window.clone() },
        ..a.clone()
    };
    fitting == *b && near(a.window.mean, b.window.mean) && near(a.window.confidence, b.window.confidence)
}

fn play(steps: &[Step], count_late: bool) {
    let configurations = configurations();
    let mut params = &configurations[0];
    let (mut windows, mut reference) = (SessionWindows::new(), Reference::new());
    let (mut clock, mut ordinal) = (DAY, 1);
    let mut told: Vec<Closed> = Vec::new();
    for step in steps {
        windows = SessionWindows::decode(&windows.encode()).unwrap();
        windows.begin_epoch(ordinal);
        reference.begin_epoch(ordinal);
        match step {
            Step::Message { advance, samples, median_off, repeat } => {
                // A jump of years comes back: the phone's clock was wrong for one message.
                let now = clock + advance * MILLISECOND;
                if *advance < 100_000_000 {
                    clock = now;
                }
                let mut samples: Vec<Sample> = samples
                    .iter()
                    .map(|(offset, magnitude)| Sample { time: now + offset * MILLISECOND, magnitude: *magnitude })
                    .collect();
                if *repeat {
                    samples.extend_from_within(..);
                }
                let median_time = median_off.map(|off| now + off * MILLISECOND);
                let batch = Batch { median_time, samples: &samples };
                let (mut got, mut wanted) = (windows.observe(params, &batch), reference.observe(params, &batch));
                told.append(&mut got.closed);
                wanted.closed.clear();
                if !count_late {
                    (got.late, wanted.late) = (0, 0);
                }
                assert_eq!(got, wanted);
            }
            Step::Silence => {
                told.extend(windows.flush());
                reference.flush();
                assert!(!windows.has_open());
            }
            Step::Start => ordinal += 1,
            Step::Restored => assert_eq!(windows.let_go(), reference.let_go()),
            Step::Configured(index) => params = &configurations[*index],
        }
        assert_eq!(windows.has_open(), reference.has_open());
        assert_eq!(windows.running().is_some(), windows.has_open());
    }
    told.extend(windows.flush());
    reference.flush();
    assert_eq!(told.len(), reference.told().len());
    for (got, wanted) in told.iter().zip(reference.told()) {
        assert!(same(got, wanted), "got {got:?}, wanted {wanted:?}");
    }
    let starts: BTreeSet<i64> = told.iter().map(|closed| closed.window.start).collect();
    assert_eq!(starts.len(), told.len(), "a window is told once");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn windows_are_those_of_their_definition(steps in prop::collection::vec(step(0), 1..60)) {
        let restored = steps.iter().any(|step| matches!(step, Step::Restored));
        play(&steps, !restored);
    }

    #[test]
    fn windows_are_those_of_their_definition_under_changing_parameters(steps in prop::collection::vec(step(6), 1..60)) {
        play(&steps, false);
    }

    #[test]
    fn the_order_of_readings_within_a_message_does_not_matter(
        (one, other) in prop::collection::vec((0..30_000_i64, 0..240_u32), 1..50)
            .prop_flat_map(|samples| (Just(samples.clone()), Just(samples).prop_shuffle())),
    ) {
        let tell = |samples: &[(i64, u32)]| {
            let samples: Vec<Sample> = samples
                .iter()
                .map(|(time, eighths)| Sample { time: DAY + time * MILLISECOND, magnitude: f64::from(*eighths) / 8.0 })
                .collect();
            let mut windows = SessionWindows::new();
            let observed = windows.observe(&Params::default(), &Batch { median_time: None, samples: &samples });
            (observed, windows.flush(), windows.encode())
        };
        prop_assert_eq!(tell(&one), tell(&other));
    }
}
