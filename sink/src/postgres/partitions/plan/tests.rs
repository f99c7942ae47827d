use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_795_791_600;

fn at(now: i64, keep: Option<i64>) -> Standing {
    Standing { now, here: now, keep, ..Standing::default() }
}

fn apply(standing: &mut Standing, plan: Plan) {
    for part in plan.shorten.into_iter().chain(plan.drop) {
        standing.names.remove(&part.name);
        standing.parts.retain(|held| *held != part);
    }
    for part in plan.make {
        assert!(standing.names.insert(part.name.clone()), "{part:?} has a name that is taken");
        standing.parts.push(part);
    }
}

fn is_covered(standing: &Standing, at: i64) -> bool {
    standing.parts.iter().any(|part| part.from <= at && at < part.to)
}

fn are_apart(parts: &[Part]) -> bool {
    let mut parts: Vec<_> = parts.iter().map(|part| (part.from, part.to)).collect();
    parts.sort_unstable();
    parts.iter().all(|(from, to)| from < to) && parts.windows(2).all(|pair| pair[0].1 <= pair[1].0)
}

#[test]
fn a_span_follows_from_what_is_kept() {
    let days = |days: i64| span(Some(days * DAY));
    assert_eq!((span(Some(HOUR)), span(Some(30 * HOUR)), span(Some(31 * HOUR))), (HOUR, HOUR, 2 * HOUR));
    assert_eq!((days(7), days(30), days(90), days(900), days(36_600)), (6 * HOUR, DAY, 3 * DAY, 30 * DAY, 30 * DAY));
    assert_eq!((span(None), ahead(None), ahead(Some(HOUR))), (30 * DAY, 60 * DAY, 6 * HOUR));
}

#[test]
fn an_empty_table_gets_what_covers_now_and_is_ahead() {
    let made = plan(&at(NOW, Some(30 * DAY))).make;
    let names: Vec<_> = made.iter().map(|part| part.name.as_str()).collect();
    assert_eq!(names, ["raw_20261127", "raw_20261128", "raw_20261129"]);
    assert_eq!(shown(made[0].from), "2026-11-27 00:00:00+00");
    let hours = plan(&at(NOW, Some(HOUR))).make;
    assert_eq!((hours.len(), hours[0].name.as_str()), (6, "raw_2026112715"));
}

#[test]
fn rows_in_the_default_partition_are_left_behind() {
    let strays = Standing { strays: true, ..at(NOW + 60, Some(30 * DAY)) };
    let made = plan(&strays).make;
    assert_eq!((made[0].from, made[0].name.as_str()), (NOW + 2 * HOUR, "raw_2026112717"));
    assert_eq!(made[0].to % DAY, 0);
}

#[test]
fn a_name_that_is_taken_is_told_and_the_rest_is_made() {
    let mut standing = at(NOW, Some(30 * DAY));
    standing.names.insert("raw_20261128".to_owned());
    let Plan { make, notices, .. } = plan(&standing);
    assert_eq!(make.len(), 2);
    assert!(notices.len() == 1 && notices[0].contains("raw_data.raw_20261128"), "{notices:?}");
}

#[test]
fn where_a_bound_cannot_be_read_nothing_is_made_or_dropped() {
    let mut standing = at(NOW, Some(DAY));
    let made = plan(&standing);
    apply(&mut standing, made);
    standing.now += 40 * DAY;
    standing.here = standing.now;
    standing.unreadable.push("raw_data.mine (FOR VALUES FROM ('x') TO ('y'))".to_owned());
    let Plan { make, drop, notices, .. } = plan(&standing);
    assert!(make.is_empty() && drop.is_empty());
    assert!(notices.len() == 1 && notices[0].contains("raw_data.mine (FOR VALUES FROM ('x')"), "{notices:?}");
    assert!(notices[0].contains("DETACH PARTITION"), "{notices:?}");
}

#[test]
fn a_hole_ahead_is_known_and_the_end_of_what_is_made_is_none() {
    let mut standing = at(NOW, Some(30 * DAY));
    assert_eq!(hole(&standing), None);
    let made = plan(&standing);
    apply(&mut standing, made);
    assert_eq!(hole(&standing), None);
    let gone = standing.parts.remove(1);
    assert_eq!(hole(&standing), Some((gone.from, gone.to)));
    let far = standing.parts[1].to + 300 * DAY;
    standing.parts.insert(1, gone);
    standing.parts.push(Part { from: far, to: far + DAY, ..standing.parts[0].clone() });
    assert_eq!(hole(&standing), None, "it is made in time");
    standing.now = standing.parts[0].from - DAY;
    assert_eq!(hole(&standing), Some((standing.now, standing.parts[0].from)));
}

#[test]
fn what_lies_ahead_empty_is_shortened_and_what_has_rows_is_told() {
    let mut standing = at(NOW, None);
    let made = plan(&standing);
    apply(&mut standing, made);
    assert_eq!(plan(&standing), Plan::default());
    let names = |parts: &[Part]| parts.iter().map(|part| part.name.clone()).collect::<Vec<_>>();
    let [first, second, third] = &names(&standing.parts)[..] else { panic!("{:?}", standing.parts) };
    standing.parts[0].empty = false;
    // Somebody's own, and one whose rows lie in the future.
    standing.parts[1].empty = false;
    standing.keep = Some(7 * DAY);
    let shorter = plan(&standing);
    assert_eq!((names(&shorter.shorten), shorter.drop.len()), (vec![third.clone()], 0));
    for (change, wrong) in [(true, false), (false, true)] {
        let mut standing = Standing { strays: change, ..standing.clone() };
        standing.here += if wrong { 2 * HOUR } else { 0 };
        assert!(plan(&standing).shorten.is_empty());
    }
    let told = kept_longer(&standing).unwrap();
    let until = format!("raw_data.{first} until {}", shown(standing.parts[0].to + 7 * DAY));
    assert!(told.contains(&until) && told.contains(second) && !told.contains(third), "{told}");
    standing.parts[1].empty = true;
    standing.parts[2].ours = false;
    let shorter = plan(&standing);
    assert_eq!(names(&shorter.shorten), vec![second.clone()]);
    apply(&mut standing, shorter);
    // As after the second look.
    standing.names.retain(|name| name == first || name == third);
    let made = plan(&standing);
    assert!(made.shorten.is_empty() && made.make.iter().all(|part| part.to - part.from <= 6 * HOUR));
    apply(&mut standing, made);
    assert!(are_apart(&standing.parts) && is_covered(&standing, NOW + ahead(Some(7 * DAY)) - 1));
    assert_eq!(plan(&standing), Plan::default());
    standing.keep = None;
    assert_eq!((plan(&standing).shorten, kept_longer(&standing)), (vec![], None));
}

#[test]
fn a_clock_that_jumps_loses_nothing() {
    let mut standing = at(NOW, Some(DAY));
    let made = plan(&standing);
    apply(&mut standing, made);
    standing.now += 4000 * DAY;
    let ahead = plan(&standing);
    assert!(ahead.drop.is_empty() && ahead.notices[0].contains("no old readings are dropped"), "{ahead:?}");
    assert!(!ahead.make.is_empty());
    standing.now = 0;
    let behind = plan(&standing);
    assert!(behind.make.is_empty() && behind.notices[0].contains("hours behind"), "{behind:?}");
    // Made while the server's clock was wrong, and it is right by now.
    standing.here = 0;
    assert!(!plan(&standing).make.is_empty());
}

#[test]
fn a_clock_that_server_and_sink_share_may_jump_too() {
    let mut standing = at(NOW, Some(30 * DAY));
    let run = |standing: &mut Standing, days: i64| {
        let mut dropped = 0;
        for _ in 0..days * 24 {
            standing.now += HOUR;
            standing.here = standing.now;
            let made = plan(standing);
            dropped += made.drop.len();
            apply(standing, made);
        }
        dropped
    };
    assert_eq!(run(&mut standing, 20), 0);
    standing.now += 4000 * DAY;
    standing.here = standing.now;
    let jumped = plan(&standing);
    assert!(jumped.drop.is_empty() && jumped.notices[0].contains("for 72 hours in a row"), "{jumped:?}");
    // Somebody notices within two days and sets it right.
    let mut righted = standing.clone();
    assert_eq!(run(&mut righted, 2), 0);
    righted.now -= 4000 * DAY;
    righted.here = righted.now;
    assert_eq!(run(&mut righted, 5), 0);
    assert_eq!(run(&mut righted, 10), 7, "those that are older than what is kept");
    // Or it is right at last.
    assert!(run(&mut standing, 4) >= 20);
}

prop_compose! {
    fn foreign()(from in -40_i64..80, hours in 1_i64..40, off in prop::sample::select(vec![0, 0, 0, 1234])) -> (i64, i64) {
        (NOW + from * HOUR + off, NOW + (from + hours) * HOUR + off)
    }
}

fn keeps() -> impl Strategy<Value = Option<i64>> {
    prop::option::of(HOUR..2000 * DAY)
}

proptest! {
    /// Among whatever partitions somebody made, ours lie apart from them and leave less than an hour at an edge.
    #[test]
    fn what_no_partition_covers_is_made_once(
        held in prop::collection::vec(foreign(), 0..6), keep in keeps(), now in NOW..NOW + DAY, strays: bool
    ) {
        let mut standing = Standing { strays, ..at(now, keep) };
        for (place, (from, to)) in held.into_iter().enumerate() {
            let part = Part { name: format!("mine_{place}"), from, to, ours: false, empty: true };
            let apart = [standing.parts.as_slice(), std::slice::from_ref(&part)].concat();
            if are_apart(&apart) {
                standing.parts.push(part);
            }
        }
        let made = plan(&standing);
        prop_assert!(made.drop.is_empty());
        prop_assert!(made.make.iter().all(|part| part.from % HOUR == 0 && part.to % HOUR == 0));
        prop_assert!(!strays || made.make.iter().all(|part| part.from >= now + HOUR));
        apply(&mut standing, made);
        prop_assert!(are_apart(&standing.parts), "{:?}", standing.parts);
        let edges: Vec<i64> = standing.parts.iter().flat_map(|part| [part.from, part.to]).collect();
        let begin = if strays { now + 2 * HOUR } else { now };
        for moment in (begin..now + ahead(keep)).step_by(600) {
            let at_edge = edges.iter().any(|edge| edge % HOUR != 0 && edge.abs_diff(moment) < HOUR as u64);
            prop_assert!(is_covered(&standing, moment) || at_edge, "{} of {standing:?}", shown(moment));
        }
        prop_assert_eq!(plan(&standing), Plan::default());
    }

    /// However the server's clock goes, nothing younger than what is kept is dropped, and nobody's but ours.
    #[test]
    fn only_what_is_older_is_dropped(
        keep in HOUR..60 * DAY, steps in prop::collection::vec((0_i64..3 * DAY, -100 * DAY..100 * DAY, any::<bool>()), 1..80)
    ) {
        let mut standing = at(NOW, Some(keep));
        let (name, to) = ("mine".to_owned(), NOW - 90 * DAY);
        standing.parts.push(Part { name, from: i64::MIN, to, ours: false, empty: false });
        for (passed, off, jumps) in steps {
            standing.here += passed;
            standing.now = standing.here + if jumps { off } else { 0 };
            let made = plan(&standing);
            for part in &made.drop {
                prop_assert!(part.ours && part.to <= standing.here + HOUR - keep, "{part:?}");
            }
            apply(&mut standing, made);
            prop_assert!(are_apart(&standing.parts));
            if !jumps {
                prop_assert!(is_covered(&standing, standing.now) || standing.parts.iter().any(|part| part.from > standing.now));
            }
        }
    }

    /// A sink that runs has a bounded number of partitions, and one for every moment.
    #[test]
    fn few_are_alive(keep in HOUR..840 * DAY) {
        let mut standing = at(NOW, Some(keep));
        for _ in 0..400 {
            let made = plan(&standing);
            apply(&mut standing, made);
            prop_assert!(is_covered(&standing, standing.now));
            prop_assert!(standing.parts.len() <= 38, "{}", standing.parts.len());
            standing.now += span(Some(keep)) / 2 + 17;
            standing.here = standing.now;
        }
    }
}
