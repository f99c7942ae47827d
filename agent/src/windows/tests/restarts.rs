use super::super::LetGo;
use super::*;

fn inherited(closed: &[Closed]) -> Vec<i64> {
    closed.iter().filter(|closed| closed.inherited).map(|closed| (closed.window.start - DAY) / SECOND).collect()
}

#[test]
fn windows_that_may_have_been_opened_before_this_start_are_told_as_inherited() {
    let mut windows = SessionWindows::new();
    windows.begin_epoch(1);
    push(&mut windows, &[0.0]);
    windows.begin_epoch(1);
    assert_eq!(inherited(&push(&mut windows, &[13.0]).closed), [-8]);
    windows.begin_epoch(2);
    assert_eq!(inherited(&push(&mut windows, &[14.0]).closed), [-6]);
    windows.begin_epoch(2);
    assert_eq!(inherited(&push(&mut windows, &[17.0]).closed), [-4]);
    let closed = windows.flush();
    assert_eq!(inherited(&closed), [-2, 0, 4, 6, 8, 10, 12, 14]);
    assert_eq!(told(&closed).last(), Some(&(16, 1)));
}

#[test]
fn inherited_windows_that_are_let_go_never_open_again() {
    let mut windows = SessionWindows::new();
    windows.begin_epoch(1);
    push(&mut windows, &[0.0, 3.0]);
    windows.begin_epoch(2);
    push(&mut windows, &[5.0]);
    assert_eq!(windows.let_go(), LetGo { windows: 7, held: 0 });
    assert_eq!(windows.let_go(), LetGo::default());
    let mut windows = SessionWindows::decode(&windows.encode()).unwrap();
    push(&mut windows, &[0.5, 6.0]);
    let closed = windows.flush();
    assert_eq!((told(&closed), inherited(&closed)), (vec![(6, 1)], vec![]));
}

#[test]
fn a_held_message_from_before_this_start_is_let_go_or_told_as_inherited() {
    let mut windows = SessionWindows::new();
    windows.begin_epoch(1);
    push(&mut windows, &[0.0]);
    assert!(push(&mut windows, &[7200.0]).held);
    windows.begin_epoch(2);
    let mut told_on = windows.clone();
    assert_eq!(windows.let_go(), LetGo { windows: 5, held: 1 });
    assert!(push(&mut windows, &[7201.0]).held);

    let closed = push(&mut told_on, &[7201.0, 7203.0]).closed;
    assert_eq!(inherited(&closed), [-8, -6, -4, -2, 0]);
    assert_eq!(inherited(&told_on.flush()), [7192, 7194, 7196, 7198, 7200, 7202]);
}

#[test]
fn the_first_message_of_a_start_may_have_found_windows_open_elsewhere() {
    let mut windows = SessionWindows::new();
    windows.begin_epoch(7);
    push(&mut windows, &[0.0]);
    push(&mut windows, &[2.0]);
    assert_eq!(windows.joined(), Some(7));
    assert_eq!(windows.let_go(), LetGo { windows: 5, held: 0 });
    assert_eq!(told(&windows.flush()), [(2, 1)]);
}

#[test]
fn a_start_that_another_continues_lets_go_of_all_that_is_open() {
    let mut windows = SessionWindows::new();
    windows.begin_epoch(1);
    push(&mut windows, &[0.0]);
    push(&mut windows, &[3.0]);
    assert_eq!(windows.let_go_of_all(), LetGo { windows: 6, held: 0 });
    push(&mut windows, &[3.5, 4.0]);
    assert_eq!(told(&windows.flush()), [(4, 1)]);
}
