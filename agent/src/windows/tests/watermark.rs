use super::*;

fn tenths(range: std::ops::Range<u32>) -> Vec<f64> {
    range.map(|tenth| f64::from(tenth) / 10.0).collect()
}

#[test]
fn a_window_is_told_when_the_watermark_reaches_its_end() {
    let mut windows = SessionWindows::new();
    assert_eq!(told(&push(&mut windows, &[0.0, 1.0, 9.9]).closed), vec![]);
    // Watermark 1.9 s, then 2 s: the window [-8, 2) ends there.
    assert_eq!(told(&push(&mut windows, &[11.9]).closed), vec![]);
    assert_eq!(told(&push(&mut windows, &[12.0]).closed), vec![(-8, 2)]);
    assert_eq!(
        told(&windows.flush()),
        vec![(-6, 2), (-4, 2), (-2, 2), (0, 3), (2, 2), (4, 3), (6, 3), (8, 3), (10, 2), (12, 1)]
    );
}

#[test]
fn windows_are_half_open_and_aligned_to_the_epoch() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[10.0]);
    let starts: Vec<i64> = told(&windows.flush()).into_iter().map(|(start, _)| start).collect();
    assert_eq!(starts, [2, 4, 6, 8, 10]);
    let mut windows = SessionWindows::new();
    windows.observe(&Params::default(), &Batch { median_time: None, samples: &[Sample { time: 0, magnitude: 1.0 }] });
    let starts: Vec<i64> = windows.flush().iter().map(|closed| closed.window.start / SECOND).collect();
    assert_eq!(starts, [-8, -6, -4, -2, 0]);
}

#[test]
fn a_late_reading_is_left_out_of_the_windows_already_told_only() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    assert_eq!(told(&push(&mut windows, &[14.0]).closed), vec![(-8, 1), (-6, 1)]);
    // At 1 s: [-8, 2) and [-6, 4) are told; the other three still take it.
    let observed = push(&mut windows, &[1.0]);
    assert_eq!((observed.late, observed.closed), (1, vec![]));
    assert_eq!(told(&windows.flush())[..3], [(-4, 2), (-2, 2), (0, 2)]);
    assert_eq!(push(&mut windows, &[2.0]).late, 1);
    assert_eq!(windows.flush(), vec![], "late for all of its windows");
}

#[test]
fn the_watermark_before_a_message_decides_what_is_late_in_it() {
    let mut windows = SessionWindows::new();
    let observed = push(&mut windows, &[40.0, 0.0]);
    assert_eq!(observed.late, 0);
    assert_eq!(told(&observed.closed), vec![(-8, 1), (-6, 1), (-4, 1), (-2, 1), (0, 1)]);
}

#[test]
fn a_window_without_readings_does_not_exist() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    let observed = push(&mut windows, &[1000.0]);
    assert_eq!(told(&observed.closed).len(), 5);
    assert_eq!(told(&windows.flush()).len(), 5);
    assert!(!windows.has_open());
    assert_eq!(windows.flush(), vec![]);
}

#[test]
fn silence_raises_the_watermark_for_good() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    assert_eq!(told(&windows.flush()).len(), 5);
    let mut windows = SessionWindows::decode(&windows.encode()).unwrap();
    // [0, 10) was told; of the windows of 3 s, [2, 12) was not.
    let observed = push(&mut windows, &[3.0]);
    assert_eq!((observed.late, told(&observed.closed)), (1, vec![]));
    assert_eq!(told(&windows.flush()), vec![(2, 1)]);
}

#[test]
fn the_running_window_is_the_youngest_that_is_nearly_full() {
    let mut windows = SessionWindows::new();
    assert_eq!(windows.running(), None);
    let walk = tenths(0..300);
    for second in walk.chunks(10) {
        push(&mut windows, second);
    }
    let running = windows.running().unwrap();
    // Of [20, 30), [22, 32), [24, 34) with 10, 8 and 6 s of readings.
    assert_eq!(((running.end - DAY) / SECOND, running.count), (32, 80));
    push(&mut windows, &tenths(300..316));
    assert_eq!((windows.running().unwrap().end - DAY) / SECOND, 34);
    windows.flush();
    assert_eq!(windows.running(), None);
}

#[test]
fn windows_with_few_readings_for_the_rate_are_less_sure() {
    let mut windows = SessionWindows::new();
    let walk = tenths(0..300);
    let mut closed = push(&mut windows, &walk).closed;
    closed.extend(windows.flush());
    let full = Threshold::default().probability(5.0);
    for Closed { window, .. } in closed {
        if window.count == 100 {
            assert!((window.confidence - full).abs() < 1e-12);
        } else {
            assert!(window.confidence < full - 1e-4, "{window:?}");
        }
    }
}

#[test]
fn a_burst_does_not_make_the_rest_of_the_session_unsure() {
    let mut windows = SessionWindows::new();
    let mut walk = tenths(0..400);
    walk.extend([20.0; 2000]);
    push(&mut windows, &walk);
    let last_full = windows.flush().into_iter().rfind(|closed| closed.window.count == 100).unwrap();
    assert!((last_full.window.confidence - Threshold::default().probability(5.0)).abs() < 1e-12);
}
