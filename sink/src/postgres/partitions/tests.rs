use super::*;

#[test]
fn house_is_kept_when_partitions_may_be_dropped_again_and_not_at_once_when_they_may() {
    let (mut house, now) = (House::default(), Instant::now());
    assert_eq!((house.next(now, true), house.next(now, false)), (now + EVERY, now + AGAIN));
    house.dropping.failed(now);
    house.dropping.failed(now);
    assert_eq!((house.next(now, true), house.next(now, false)), (now + 2 * AGAIN, now + AGAIN));
    // Its time has come, and something else failed: not at every call.
    let later = now + 2 * AGAIN;
    assert_eq!((house.next(later, true), house.next(later, false)), (later + EVERY, later + AGAIN));
    for _ in 0..9 {
        house.dropping.failed(now);
    }
    assert_eq!(house.next(now, true), now + EVERY);
}

#[test]
fn it_is_due_too_when_what_people_need_is_tried_again() {
    let now = Instant::now();
    let mut house = House { due: Some(now + EVERY), ..House::default() };
    house.serving.failed(now);
    assert!(!house.is_due(now) && house.is_due(now + AGAIN));
    house.is_served = true;
    assert!(!house.is_due(now + AGAIN) && house.is_due(now + EVERY));
}

#[test]
fn a_bound_is_a_moment_or_an_end_of_time_or_not_known() {
    let read = [("MINVALUE", None), ("'-infinity'", None), ("'2026-11-27 00:00:00+00'", Some(7)), ("MAXVALUE", None)];
    let read = read.map(|(written, seconds)| edge(written, seconds));
    assert_eq!(read, [Some(i64::MIN), Some(i64::MIN), Some(7), Some(i64::MAX)]);
    assert_eq!((edge("'infinity'", None), edge("", None), edge("'Fri 27 Nov'", None)), (Some(i64::MAX), None, None));
}
