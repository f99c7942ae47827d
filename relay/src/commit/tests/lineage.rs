//! Which starts hear of a fork.

use super::*;

/// A new link for the next start; `displacing`: the link whose seat it takes while the start there is alive.
fn take_seat(bench: &mut Bench, displacing: Option<LinkId>) -> LinkId {
    let link = bench.links.next();
    if let Some(older) = displacing {
        bench.machine.handle_gone(older, &bench.agent.clone(), Some(link));
    }
    link
}

/// Start `start` says hello on `link`.
fn greet_on(bench: &mut Bench, link: LinkId, start: u64, ancestors: &[u64]) -> Option<u64> {
    forked(&bench.hello(link, hello(start, start, ancestors, 1)))
}

#[test]
fn of_the_starts_that_continue_a_start_one_at_most_is_welcomed_without_hearing_of_the_fork() {
    let mut bench = Bench::new(WIDE);
    assert_eq!(greet(&mut bench, 1, &[]), None);
    assert_eq!(greet(&mut bench, 2, &[1]), None, "the first heir");
    assert_eq!(greet(&mut bench, 2, &[1]), None, "again");
    assert_eq!(greet(&mut bench, 3, &[1]), Some(1), "another heir");
    assert_eq!(greet(&mut bench, 4, &[3]), None, "an heir of the copy");
    assert_eq!(greet(&mut bench, 5, &[2]), None, "an heir of the original");
}

#[test]
fn a_backup_of_a_start_is_a_copy_though_the_next_start_never_reached_a_relay() {
    let mut bench = Bench::new(WIDE);
    assert_eq!(greet(&mut bench, 1, &[]), None);
    assert_eq!(greet(&mut bench, 3, &[2, 1]), None, "start 2 was never heard of");
    assert_eq!(greet(&mut bench, 12, &[1]), Some(1), "a backup made during start 1");
    assert_eq!(greet(&mut bench, 13, &[12]), None, "the copy's own line goes on");
    assert_eq!(greet(&mut bench, 4, &[3]), None, "and the original's");
}

#[test]
fn the_copy_too_may_have_starts_that_never_reached_a_relay() {
    let mut bench = Bench::new(WIDE);
    assert_eq!(greet(&mut bench, 1, &[]), None);
    assert_eq!(greet(&mut bench, 2, &[1]), None);
    assert_eq!(greet(&mut bench, 14, &[13, 12, 1]), Some(1));
    assert_eq!(greet(&mut bench, 15, &[14, 13, 12, 1]), Some(1), "killed before it took note of the fork");
    assert_eq!(greet(&mut bench, 16, &[15]), None);
}

#[test]
fn a_copy_of_a_start_that_was_never_welcomed_has_that_start_in_common() {
    let mut bench = Bench::new(WIDE);
    assert_eq!(greet(&mut bench, 1, &[]), None);
    // Both begin from start 2, which never reached a relay.
    assert_eq!(greet(&mut bench, 3, &[2, 1]), None);
    assert_eq!(greet(&mut bench, 13, &[2, 1]), Some(2));
    assert_eq!(greet(&mut bench, 14, &[23, 2, 1]), Some(2));
    // Of a copy's own start there may be copies in turn: what was open in start 1 is still the original's.
    assert_eq!(greet(&mut bench, 24, &[23, 2, 1]), Some(2));
    assert_eq!(greet(&mut bench, 33, &[1]), Some(1));
}

#[test]
fn a_start_killed_between_its_registration_and_taking_note_of_it_is_continued() {
    let mut bench = Bench::new(WIDE);
    assert_eq!(greet(&mut bench, 1, &[]), None);
    assert_eq!(greet(&mut bench, 2, &[1]), None);
    assert_eq!(greet(&mut bench, 3, &[2, 1]), None, "start 1 has an heir, which is of this line");
    assert_eq!(greet(&mut bench, 4, &[3, 2, 1]), None);
    assert_eq!(greet(&mut bench, 13, &[2, 1]), Some(2), "a copy made before");
}

#[test]
fn a_start_that_a_copy_of_it_continued_hears_of_the_fork() {
    let mut bench = Bench::new(WIDE);
    assert_eq!(greet(&mut bench, 1, &[]), None);
    assert_eq!(greet(&mut bench, 2, &[1]), None);
    assert_eq!(greet(&mut bench, 3, &[2, 1]), None, "a copy made while start 2 was running");
    assert_eq!(greet(&mut bench, 2, &[1]), Some(2), "start 2 itself, on a new connection");
    // The same of a start that had not reached a relay when it was copied.
    assert_eq!(greet(&mut bench, 5, &[4, 3]), None);
    assert_eq!(greet(&mut bench, 4, &[3]), Some(4));
}

#[test]
fn a_copy_that_displaces_its_running_start_hears_of_the_fork_and_the_original_goes_on() {
    let mut bench = Bench::new(WIDE);
    let original = take_seat(&mut bench, None);
    assert_eq!(greet_on(&mut bench, original, 1, &[]), None);
    let copy = take_seat(&mut bench, Some(original));
    assert_eq!(greet_on(&mut bench, copy, 2, &[1]), Some(1));
    assert_eq!(greet_on(&mut bench, copy, 2, &[1]), Some(1), "a later hello of the same link");
    assert_eq!(bench.commits.len(), 0, "nothing is registered");

    let original = take_seat(&mut bench, Some(copy));
    assert_eq!(greet_on(&mut bench, original, 1, &[]), None, "the original displaces the copy");
    let copy = take_seat(&mut bench, Some(original));
    assert_eq!(greet_on(&mut bench, copy, 2, &[1]), Some(1), "and the copy the original");
    assert_eq!(greet(&mut bench, 3, &[1]), None, "the original's next start");
    assert_eq!(greet(&mut bench, 12, &[2]), None, "and the copy's");
}

#[test]
fn a_restart_beside_a_dead_connection_of_the_start_before_is_its_heir() {
    let mut bench = Bench::new(WIDE);
    let older = take_seat(&mut bench, None);
    assert_eq!(greet_on(&mut bench, older, 1, &[]), None);
    bench.machine.handle_gone(older, &bench.agent.clone(), None);
    let newer = take_seat(&mut bench, None);
    assert_eq!(greet_on(&mut bench, newer, 2, &[1]), None);
    assert_eq!(bench.ledger.position(&Source::heir(&bench.agent, epoch(1))), Some(2));
}

#[test]
fn a_displaced_link_that_never_said_hello_tells_nothing() {
    let mut bench = Bench::new(WIDE);
    assert_eq!(greet(&mut bench, 1, &[]), None);
    let silent = take_seat(&mut bench, None);
    let link = take_seat(&mut bench, Some(silent));
    assert_eq!(greet_on(&mut bench, link, 2, &[1]), None);
}

#[test]
fn that_a_start_was_alive_is_forgotten_with_the_link_that_displaced_it() {
    let mut bench = Bench::new(WIDE);
    let original = take_seat(&mut bench, None);
    assert_eq!(greet_on(&mut bench, original, 1, &[]), None);
    let passing = take_seat(&mut bench, Some(original));
    bench.machine.handle_gone(passing, &bench.agent.clone(), None);
    assert!(bench.machine.presence.is_empty());
    assert_eq!(greet(&mut bench, 2, &[1]), None, "the restart of an original that died since");
}

#[test]
fn the_running_start_is_known_though_the_ledger_failed_meanwhile() {
    let mut bench = Bench::new(WIDE);
    let original = take_seat(&mut bench, None);
    assert_eq!(greet_on(&mut bench, original, 1, &[]), None);
    bench.machine.handle_failed(bench.now, &LedgerError::Unavailable("gone".to_owned()));
    let copy = take_seat(&mut bench, Some(original));
    bench.machine.handle_hello(bench.now, copy, &bench.agent.clone(), hello(2, 2, &[1], 1));
    bench.rest();
    assert_eq!(bench.told(), [Down::HelloAgain { session: 1 }]);
    bench.now = bench.machine.poll_timeout().unwrap();
    bench.machine.handle_timeout(bench.now);
    bench.rest();
    assert_eq!(forked(&bench.told()), Some(1));
}

#[test]
fn of_a_running_start_and_its_heir_one_goes_on() {
    let mut bench = Bench::new(WIDE);
    assert_eq!(greet(&mut bench, 1, &[]), None);
    assert_eq!(greet(&mut bench, 2, &[1]), None, "a copy, while nobody knew that start 1 runs");
    let original = take_seat(&mut bench, None);
    assert_eq!(greet_on(&mut bench, original, 1, &[]), Some(1));
    let copy = take_seat(&mut bench, Some(original));
    assert_eq!(greet_on(&mut bench, copy, 2, &[1]), None, "start 1 has heard of the fork");
    let other = take_seat(&mut bench, Some(copy));
    assert_eq!(greet_on(&mut bench, other, 3, &[1]), Some(1), "another copy is nobody's heir");
}

#[test]
fn an_older_fork_comes_before_the_running_start() {
    let mut bench = Bench::new(WIDE);
    assert_eq!(greet(&mut bench, 1, &[]), None);
    assert_eq!(greet(&mut bench, 2, &[1]), None);
    let copy = take_seat(&mut bench, None);
    assert_eq!(greet_on(&mut bench, copy, 11, &[1]), Some(1));
    let copy_of_copy = take_seat(&mut bench, Some(copy));
    assert_eq!(greet_on(&mut bench, copy_of_copy, 12, &[11, 1]), Some(1), "copied before it noted the fork");
    assert_eq!(greet(&mut bench, 13, &[11]), None, "the copy's next start");
}
