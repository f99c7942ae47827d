use super::*;

#[test]
fn new_parameters_hold_for_windows_that_start_after_the_greatest_time_seen() {
    let (old, new) = (params(10, 2, 10), params(6, 3, 10));
    let mut windows = SessionWindows::new();
    push_with(&mut windows, &old, &[0.0, 5.0]);
    push_with(&mut windows, &new, &[7.0, 10.0]);
    let closed = windows.flush();
    let lengths: Vec<(i64, i64)> = closed
        .iter()
        .map(|closed| ((closed.window.start - DAY) / SECOND, (closed.window.end - closed.window.start) / SECOND))
        .collect();
    // Old windows start up to 5 s, new ones from 6 s on.
    assert_eq!(lengths, [(-8, 10), (-6, 10), (-4, 10), (-2, 10), (0, 10), (2, 10), (4, 10), (6, 6), (9, 6)]);
    assert_eq!(told(&closed)[6..], [(4, 3), (6, 2), (9, 1)]);
}

#[test]
fn open_windows_keep_the_classifier_they_were_opened_with() {
    let other = Params::new(10 * SECOND, 2 * SECOND, 10 * SECOND, Threshold::new(1.0, 4.0, 20.0).unwrap()).unwrap();
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    push_with(&mut windows, &other, &[3.0]);
    let labels: Vec<(i64, String, &str)> = windows
        .flush()
        .into_iter()
        .map(|closed| ((closed.window.start - DAY) / SECOND, closed.classifier.name(), closed.window.activity.as_str()))
        .collect();
    assert_eq!(labels[4], (0, "threshold".to_owned(), "walking"));
    assert_eq!(labels[5], (2, "threshold(1/4/20)".to_owned(), "running"));
}

#[test]
fn a_longer_lateness_opens_no_window_again() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    assert_eq!(push(&mut windows, &[30.0]).closed.len(), 5);
    let observed = push_with(&mut windows, &params(10, 2, 60), &[0.0, 30.0]);
    assert_eq!((observed.late, observed.closed), (1, vec![]));
    assert!(windows.flush().iter().all(|closed| closed.window.start >= DAY + 22 * SECOND));
}

#[test]
fn former_parameters_are_forgotten_with_their_last_window() {
    let mut windows = SessionWindows::new();
    for step in 0..100 {
        push_with(&mut windows, &params(10, 2, step % 7), &[f64::from(step as i32)]);
        assert!(windows.generations.len() <= 17 && SessionWindows::decode(&windows.encode()).is_ok());
    }
    windows.flush();
    assert_eq!(windows.generations.len(), 1);
}

#[test]
fn a_held_message_keeps_the_parameters_it_came_under() {
    let mut windows = SessionWindows::new();
    push_with(&mut windows, &params(10, 2, 10), &[0.0]);
    assert!(push_with(&mut windows, &params(6, 3, 10), &[7200.0, 7201.5]).held);
    let observed = push_with(&mut windows, &params(5, 5, 10), &[7204.0, 7206.0]);
    assert_eq!(told(&observed.closed).len(), 5);
    assert_eq!(told(&windows.flush()), vec![(7197, 2), (7200, 3), (7205, 1)]);
}
