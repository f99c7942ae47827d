use super::*;

#[test]
fn a_wild_reading_does_not_move_the_watermark() {
    let mut windows = SessionWindows::new();
    let observed = push(&mut windows, &[0.0, 0.1, 0.2, 60.3, 1e9]);
    assert_eq!((observed.wild, observed.closed), (2, vec![]));
    let all = windows.observe(&Params::default(), &Batch { median_time: Some(DAY), samples: &samples(&[70.0]) });
    assert_eq!((all.wild, all.closed), (1, vec![]), "the median of all readings decides");
}

#[test]
fn a_jump_waits_for_the_next_message_to_confirm_it() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    let held = push(&mut windows, &[3601.0]);
    assert!(held.held && held.closed.is_empty());
    let mut windows = SessionWindows::decode(&windows.encode()).unwrap();
    // Within an hour of the held one, on either side; the held one is observed first.
    let observed = push(&mut windows, &[3600.5]);
    assert_eq!(told(&observed.closed), vec![(-8, 1), (-6, 1), (-4, 1), (-2, 1), (0, 1)]);
    assert_eq!((observed.held, observed.wild), (false, 0));
    assert_eq!(told(&windows.flush())[4], (3600, 2));
}

#[test]
fn an_hour_is_not_yet_a_jump() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    let observed = push(&mut windows, &[3600.0]);
    assert_eq!((observed.held, observed.closed.len()), (false, 5));
}

#[test]
fn a_jump_that_is_not_confirmed_is_wild() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    assert!(push(&mut windows, &[1e6, 1e6]).held);
    let back = push(&mut windows, &[1.0]);
    assert_eq!((back.held, back.wild, back.closed), (false, 2, vec![]));
    assert_eq!(told(&windows.flush()), vec![(-8, 2), (-6, 2), (-4, 2), (-2, 2), (0, 2)]);
}

#[test]
fn of_two_jumps_that_disagree_the_later_one_is_held() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    assert!(push(&mut windows, &[1e6]).held);
    let other = push(&mut windows, &[2e6]);
    assert_eq!((other.held, other.wild), (true, 1));
    let confirmed = push(&mut windows, &[2e6 + 1.0]);
    assert_eq!((confirmed.held, confirmed.wild, confirmed.closed.len()), (false, 0, 5));
}

#[test]
fn a_message_without_samples_decides_nothing_about_a_held_one() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    assert!(push(&mut windows, &[1e6]).held);
    assert_eq!(push(&mut windows, &[]), super::super::Observed::default());
    let wild = windows.observe(&Params::default(), &Batch { median_time: Some(DAY), samples: &samples(&[90.0]) });
    assert_eq!(wild.wild, 1);
    assert_eq!(push(&mut windows, &[1e6]).wild, 0);
}

#[test]
fn silence_leaves_a_held_message_held() {
    let mut windows = SessionWindows::new();
    push(&mut windows, &[0.0]);
    assert!(push(&mut windows, &[1e6]).held);
    assert_eq!(windows.flush().len(), 5);
    assert!(!windows.has_open());
    assert_eq!(push(&mut windows, &[1e6 + 1.0]).wild, 0);
    assert_eq!(told(&windows.flush())[4], (1_000_000, 2));
}

#[test]
fn a_message_with_nothing_to_be_compared_with_spans_at_most_two_hours() {
    let mut windows = SessionWindows::new();
    let scattered: Vec<f64> = (0..2001).map(|step| f64::from(step - 1000) * 100.0).collect();
    let first = windows
        .observe(&Params::default(), &Batch { median_time: Some(DAY + 200 * HOUR), samples: &samples(&scattered) });
    assert_eq!(first.wild, 2001 - 73);
    assert_eq!(first.closed.len() + windows.flush().len(), 73 * 5);
}
