use std::net::Ipv4Addr;

use proptest::prelude::*;

use super::*;

const MOST: usize = 8;

fn address(number: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, number).into()
}

/// Seats connections of `(address, doing, since)`, named by their index.
fn seated(seats: &[(u8, Doing, u64)]) -> Places<usize> {
    let mut places = Places::new(seats.len());
    for (name, (number, doing, since)) in seats.iter().enumerate() {
        let pulse = Pulse::new(0);
        pulse.mark(*doing, *since);
        places.seat(name, address(*number), Arc::new(pulse));
    }
    places
}

#[test]
fn a_newcomer_from_elsewhere_takes_the_place_of_the_crowd_s_longest_idle() {
    let places =
        seated(&[(1, Doing::Waiting, 90), (1, Doing::Waiting, 80), (1, Doing::Head, 10), (2, Doing::Waiting, 1)]);
    assert_eq!(places.admit(100, address(3)), Admission::InsteadOf(1));
    let sending = seated(&[(1, Doing::Working, 1), (1, Doing::Body, 90), (1, Doing::Head, 80), (2, Doing::Waiting, 1)]);
    assert_eq!(sending.admit(100, address(3)), Admission::InsteadOf(2));
}

#[test]
fn one_of_the_crowd_waits_for_its_like_to_settle() {
    let places = seated(&[(1, Doing::Waiting, 0), (1, Doing::Body, 0), (2, Doing::Waiting, 0)]);
    assert_eq!(places.admit(SETTLED - 1, address(1)), Admission::Full);
    assert_eq!(places.admit(SETTLED, address(1)), Admission::InsteadOf(0));
}

#[test]
fn who_is_known_gets_a_place_and_keeps_it_however_many_addresses_strangers_have() {
    let crowd: Vec<_> = (1..=MOST as u8).map(|number| (number, Doing::Waiting, 100)).collect();
    let mut places = seated(&crowd);
    assert_eq!(places.admit(100, address(99)), Admission::Full, "nobody has settled");
    places.known().lock().unwrap().prove(address(99));
    let Admission::InsteadOf(stranger) = places.admit(100, address(99)) else { panic!() };
    places.vacate(stranger);
    places.seat(99, address(99), Arc::new(Pulse::new(0)));
    for comer in 100..120 {
        let Admission::InsteadOf(stranger) = places.admit(100 + SETTLED, address(comer)) else { panic!() };
        assert_ne!(stranger, 99, "it has waited longest");
        places.vacate(stranger);
        places.seat(usize::from(comer), address(comer), Arc::new(Pulse::new(100)));
    }
}

#[test]
fn where_all_are_known_one_makes_room_as_among_strangers() {
    let places = seated(&[(1, Doing::Waiting, 0), (2, Doing::Waiting, 1)]);
    for number in [1, 2] {
        places.known().lock().unwrap().prove(address(number));
    }
    assert_eq!(places.admit(SETTLED, address(3)), Admission::InsteadOf(0));
    assert_eq!(places.admit(SETTLED - 1, address(3)), Admission::Full);
}

#[test]
fn who_says_nothing_for_long_or_a_head_too_slowly_must_leave() {
    let places = seated(&[(1, Doing::Waiting, 0), (2, Doing::Head, 0), (3, Doing::Body, 0), (4, Doing::Working, 0)]);
    assert!(places.overdue(HEAD_WITHIN).is_empty());
    assert_eq!(places.overdue(HEAD_WITHIN + 1), [1]);
    let mut all = places.overdue(WAITING_WITHIN + 1);
    all.sort_unstable();
    assert_eq!(all, [0, 1]);
}

#[test]
fn a_machine_is_one_neighbour_however_many_addresses_it_has() {
    let parsed = |text: &str| neighbour(text.parse().unwrap());
    assert_eq!(parsed("::ffff:10.0.0.7"), parsed("10.0.0.7"));
    assert_eq!(parsed("2001:db8::1"), parsed("2001:db8::2:3"));
    assert_ne!(parsed("2001:db8:0:1::1"), parsed("2001:db8::1"));
    assert_ne!(parsed("10.0.0.7"), parsed("10.0.0.8"));
}

#[derive(Debug, Clone)]
enum Step {
    Come(u8),
    Go(usize),
    Turn(usize, Doing),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => prop_oneof![3 => Just(1), 1 => 2..5_u8].prop_map(Step::Come),
        1 => any::<usize>().prop_map(Step::Go),
        2 => (any::<usize>(), prop::sample::select(&Doing::ALL[..])).prop_map(|(who, doing)| Step::Turn(who, doing)),
    ]
}

proptest! {
    #[test]
    fn the_rules_hold_however_they_come_and_go(steps in prop::collection::vec((step(), 0..2_000_u64), 1..80)) {
        let mut places = Places::new(MOST);
        let mut model: Vec<(usize, IpAddr, Arc<Pulse>)> = Vec::new();
        let mut now = 0;
        for (name, (step, passed)) in steps.into_iter().enumerate() {
            now += passed;
            match step {
                Step::Come(number) => {
                    let comer = address(number);
                    let of = |who: IpAddr| model.iter().filter(|(_, at, _)| *at == who).count();
                    let greatest = model.iter().map(|(_, at, _)| of(*at)).max().unwrap_or(0);
                    let admission = places.admit(now, comer);
                    prop_assert_eq!(admission == Admission::Free, model.len() < MOST);
                    if let Admission::InsteadOf(victim) = admission {
                        let (_, whose, pulse) = model.iter().find(|(name, ..)| *name == victim).unwrap();
                        prop_assert_ne!(pulse.read().0, Doing::Working, "nobody who waits for an answer is sent away");
                        prop_assert!(of(*whose) >= of(comer), "nobody makes room for a greater crowd");
                        prop_assert_eq!(places.vacate(victim), Some(*whose));
                        model.retain(|(name, ..)| *name != victim);
                    } else if admission == Admission::Full && of(comer) + 1 < greatest {
                        let busy = |(_, at, pulse): &(_, IpAddr, Arc<Pulse>)| {
                            of(*at) < greatest || pulse.read().0 == Doing::Working
                        };
                        prop_assert!(model.iter().all(busy), "a newcomer is seated");
                    }
                    if admission != Admission::Full {
                        let pulse = Arc::new(Pulse::new(now));
                        places.seat(name, comer, Arc::clone(&pulse));
                        model.push((name, comer, pulse));
                    }
                }
                Step::Go(_) | Step::Turn(..) if model.is_empty() => {}
                Step::Go(who) => {
                    let (name, whose, _) = model.remove(who % model.len());
                    prop_assert_eq!(places.vacate(name), Some(whose));
                    prop_assert_eq!(places.vacate(name), None);
                }
                Step::Turn(who, doing) => model[who % model.len()].2.mark(doing, now),
            }
            prop_assert!(model.len() <= MOST);
            for number in 1..5 {
                let crowd = model.iter().filter(|(_, at, _)| *at == address(number)).count();
                prop_assert_eq!(places.of(address(number)), crowd);
            }
        }
    }
}
