use proptest::prelude::*;

use super::super::StateError;
use super::*;

#[test]
fn an_unknown_version_is_an_error_that_names_it() {
    let mut bytes = SessionWindows::new().encode();
    bytes[0] = 9;
    assert_eq!(SessionWindows::decode(&bytes), Err(StateError::Version(9)));
    assert!(matches!(SessionWindows::decode(&[]), Err(StateError::Malformed(_))));
    let mut bytes = SessionWindows::new().encode();
    bytes.push(0);
    assert!(matches!(SessionWindows::decode(&bytes), Err(StateError::Malformed(_))));
}

#[test]
fn state_is_small() {
    let mut windows = SessionWindows::new();
    for second in 0..120 {
        let times: Vec<f64> = (0..100).map(|step| f64::from(second) + f64::from(step) / 100.0).collect();
        push(&mut windows, &times);
        assert!(windows.generations[0].panes.len() <= 11);
        assert!(windows.encode().len() <= 400, "{}", windows.encode().len());
    }
}

#[test]
fn a_held_message_spans_at_most_two_hours() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    let scattered: Vec<f64> = (0..400_000).map(|step| 1e6 + f64::from(step)).collect();
    assert!(push(&mut windows, &scattered).held);
    assert!(windows.encode().len() < 80_000, "{}", windows.encode().len());
    push(&mut windows, &scattered);
    windows.flush();
    assert!(windows.encode().len() <= 400);
}

#[test]
fn times_at_the_end_of_the_range_do_not_overflow() {
    let last = super::super::message::MAX_TIME;
    for params in [Params::default(), params(3600, 3600, 3600), params(1, 1, 0)] {
        let mut windows = SessionWindows::new();
        for time in [last - 2 * HOUR, last, last, i64::MAX, last] {
            let samples = [Sample { time, magnitude: 1e154 }; 3];
            windows.observe(&params, &Batch { median_time: Some(time), samples: &samples });
            windows.begin_epoch(time as u64);
            windows = SessionWindows::decode(&windows.encode()).unwrap();
        }
        let closed = windows.flush();
        assert!(!closed.is_empty() && closed.iter().all(|closed| closed.window.mean.is_finite()));
        windows.let_go();
        assert_eq!(SessionWindows::decode(&windows.encode()), Ok(windows));
    }
}

/// Whatever was decoded can be used and stored again.
fn use_all(bytes: &[u8]) {
    let Ok(mut windows) = SessionWindows::decode(bytes) else { return };
    let _ = windows.running();
    let times = [0, DAY, DAY + HOUR, DAY + 3 * HOUR, DAY + 3 * HOUR, super::super::message::MAX_TIME];
    for (ordinal, time) in times.into_iter().enumerate() {
        windows.begin_epoch(ordinal as u64 / 2);
        let samples = [Sample { time, magnitude: 1.0 }];
        let observed = windows.observe(&params(6, 3, 1), &Batch { median_time: None, samples: &samples });
        assert!(observed.closed.iter().all(|closed| closed.window.mean.is_finite()));
    }
    windows.let_go();
    windows.flush();
    SessionWindows::decode(&windows.encode()).unwrap();
}

fn lived() -> SessionWindows {
    let mut windows = SessionWindows::new();
    windows.begin_epoch(1);
    push(&mut windows, &[0.0, 1.0, 5.0, 9.0]);
    windows.flush();
    push(&mut windows, &[12.0, 14.0]);
    windows.begin_epoch(2);
    push_with(&mut windows, &params(6, 3, 5), &[16.0, 17.0, 15.0]);
    push_with(&mut windows, &params(6, 3, 5), &[1e5, 1e5 + 40.0]);
    windows
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn random_bytes_never_panic(mut bytes in prop::collection::vec(any::<u8>(), 0..200), known: bool) {
        if known && !bytes.is_empty() {
            bytes[0] = 1;
        }
        use_all(&bytes);
    }

    #[test]
    fn damaged_bytes_never_panic(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut bytes = lived().encode();
        for (place, byte) in changes {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        use_all(&bytes);
    }
}
