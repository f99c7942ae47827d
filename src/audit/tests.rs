//! Losses and duplicates that are put in are found and named, and nothing else is.

use std::collections::BTreeMap;

use gaitway_proto::ledger::{Epoch, Stream};
use proptest::prelude::*;

use super::book::{Agent, Forgotten, Gap, Key, Record, Spooled, Store, StreamName};
use super::judge::{Books, Kind, Report, judge};

const PI: &str = "pi";

fn raw() -> StreamName {
    StreamName { agent: PI.to_owned(), epoch: Epoch::from_random(7), stream: Stream::Raw }
}

fn key(session: usize) -> Key {
    Key { device: format!("phone-{session}"), session: format!("s{session}") }
}

/// Frames in the order of their seqs: session and readings.
type Frames = Vec<(usize, u32)>;

fn agent(frames: &Frames, spooled_from: usize) -> Agent {
    let mut agent = Agent { id: PI.to_owned(), ..Agent::default() };
    for (at, (session, readings)) in frames.iter().enumerate() {
        let told = agent.sessions.entry(key(*session)).or_default();
        told.messages += 1;
        told.readings += u64::from(*readings);
        if at >= spooled_from {
            let (seq, readings) = (at as u64 + 1, u64::from(*readings));
            agent.spooled.push(Spooled { name: raw(), seq, key: key(*session), readings });
        }
    }
    agent.later = agent.sessions.iter().map(|(key, told)| (key.clone(), told.readings)).collect();
    agent
}

/// Every record of the first `until` frames: (seq, index, session).
fn records(frames: &Frames, until: usize) -> Vec<(u64, u32, usize)> {
    let all = frames.iter().take(until).enumerate();
    all.flat_map(|(at, (session, readings))| (0..*readings).map(move |index| (at as u64 + 1, index, *session)))
        .collect()
}

fn store(records: &[(u64, u32, usize)], due: usize) -> Store {
    let mut store = Store::default();
    for (at, (seq, index, session)) in records.iter().enumerate() {
        let (name, key, message_id) = (raw(), key(*session), Some(*seq));
        store.take(Record { name, seq: *seq, index: *index, key, message_id, is_due: at < due });
    }
    store
}

fn counts(report: &Report, kind: Kind) -> BTreeMap<String, u64> {
    let of_kind = report.mistakes.iter().filter(|mistake| mistake.kind == kind);
    of_kind.filter_map(|mistake| Some((mistake.session.clone()?, mistake.count))).collect()
}

fn by_session(records: &[(u64, u32, usize)]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for (.., session) in records {
        *counts.entry(format!("s{session}")).or_default() += 1;
    }
    counts
}

fn frames() -> impl Strategy<Value = Frames> {
    prop::collection::vec((0_usize..4, 1_u32..6), 1..30)
}

/// Places in a list, by share.
fn picks(most: usize) -> impl Strategy<Value = Vec<prop::sample::Index>> {
    prop::collection::vec(any::<prop::sample::Index>(), 0..most)
}

/// Takes the records at `lost` out and puts those at `again` in once more; what was lost, what is there again.
type Spoiled = (Vec<(u64, u32, usize)>, Vec<(u64, u32, usize)>, Vec<(u64, u32, usize)>);

fn spoil(all: &[(u64, u32, usize)], lost: &[prop::sample::Index], again: &[prop::sample::Index]) -> Spoiled {
    let mut at: Vec<usize> = lost.iter().filter(|_| !all.is_empty()).map(|index| index.index(all.len())).collect();
    at.sort_unstable();
    at.dedup();
    let gone: Vec<_> = at.iter().map(|at| all[*at]).collect();
    let mut there: Vec<_> = all.iter().filter(|record| !gone.contains(record)).copied().collect();
    let again: Vec<_> =
        again.iter().filter(|_| !there.is_empty()).map(|index| there[index.index(there.len())]).collect();
    there.extend(&again);
    (there, gone, again)
}

proptest! {
    #[test]
    fn every_loss_and_every_duplicate_on_the_way_from_the_agent_is_found_and_named(
        frames in frames(), spooled: prop::sample::Index, lost in picks(6), again in picks(6),
    ) {
        let until = spooled.index(frames.len() + 1);
        let (there, gone, again) = spoil(&records(&frames, until), &lost, &again);
        let books = Books {
            agent: Some(agent(&frames, until)),
            warehouse: Some(store(&there, 0)),
            ..Books::default()
        };
        let report = judge(&books, None);
        // A frame of which nothing is there but which waits in the spool is none of them: only what was sent was spoiled.
        prop_assert_eq!(counts(&report, Kind::Missing), by_session(&gone));
        prop_assert_eq!(counts(&report, Kind::Twice), by_session(&again));
        prop_assert_eq!(report.mistakes.iter().any(|m| m.kind == Kind::Foreign), false);
        prop_assert_eq!(report.mistakes.is_empty(), gone.is_empty() && again.is_empty());
    }

    #[test]
    fn what_the_warehouse_has_read_and_does_not_have_is_found_and_what_it_has_not_read_is_under_way(
        frames in frames(), read: prop::sample::Index, lost in picks(6), again in picks(6),
    ) {
        let all = records(&frames, frames.len());
        let due = read.index(all.len() + 1);
        let (there, gone, again) = spoil(&all[..due], &lost, &again);
        let books = Books {
            agent: Some(agent(&frames, frames.len())),
            kafka: Some(store(&all, due)),
            warehouse: Some(store(&there, 0)),
            is_fed: true,
        };
        let report = judge(&books, None);
        prop_assert_eq!(counts(&report, Kind::NotStored), by_session(&gone));
        prop_assert_eq!(counts(&report, Kind::Twice), by_session(&again));
        prop_assert_eq!(counts(&report, Kind::Missing), BTreeMap::new());
        let under_way: u64 = report.sessions.iter().map(|line| line.to_warehouse).sum();
        prop_assert_eq!(under_way, (all.len() - due) as u64);
    }

    #[test]
    fn of_an_agent_that_is_elsewhere_missing_frames_are_named(frames in frames(), lost: prop::sample::Index) {
        let seq = lost.index(frames.len()) as u64 + 1;
        let there: Vec<_> = records(&frames, frames.len()).into_iter().filter(|record| record.0 != seq).collect();
        let report = judge(&Books { kafka: Some(store(&there, 0)), ..Books::default() }, None);
        let is_last = seq as usize == frames.len();
        let said: Vec<_> = report.mistakes.iter().map(|mistake| mistake.said.clone()).collect();
        let expected = if is_last { vec![] } else { vec![format!("frame {seq} of pi/0000000000000007/raw is not in Kafka")] };
        prop_assert_eq!(said, expected);
    }
}

#[test]
fn losses_that_gaps_tell_of_and_what_is_no_longer_kept_are_no_mistakes() {
    let frames: Frames = vec![(0, 3), (0, 4), (1, 5)];
    let mut gapped = store(&[(1, 0, 0), (1, 1, 0), (1, 2, 0)], 0);
    gapped.take_gap(raw(), 2, Gap { to: 2, readings: Some(4), reason: Some("lost".to_owned()) });
    let mut agent = agent(&frames, 2);
    let report = judge(&Books { agent: Some(agent.clone()), warehouse: Some(gapped), ..Books::default() }, None);
    assert_eq!((report.mistakes.len(), report.sessions[0].in_gaps), (0, 4));
    assert_eq!(
        report.notes,
        ["the warehouse tells of a gap: pi/0000000000000007/raw seq 2 to 2, 4 readings, reason: lost"]
    );

    agent.spooled.clear();
    let mut shorter = store(&[(2, 3, 0), (3, 0, 1), (3, 1, 1), (3, 2, 1), (3, 3, 1), (3, 4, 1)], 0);
    shorter.retired = 6;
    let report = judge(&Books { agent: Some(agent), warehouse: Some(shorter), ..Books::default() }, None);
    assert_eq!((report.mistakes, report.sessions[0].no_longer_kept), (vec![], 6));
}

#[test]
fn what_kafka_does_not_keep_any_more_is_looked_for_in_the_warehouse() {
    let frames = vec![(0, 3), (1, 4), (0, 2)];
    let all = records(&frames, 3);
    let report = |stored: &[(u64, u32, usize)], retired: u64| {
        let (mut kafka, mut warehouse) = (store(&all[7..], 2), store(stored, 0));
        (kafka.is_shortened, warehouse.retired) = (true, retired);
        let (kafka, warehouse) = (Some(kafka), Some(warehouse));
        judge(&Books { agent: Some(agent(&frames, 3)), kafka, warehouse, is_fed: true }, None)
    };
    assert_eq!(report(&all, 0).mistakes, []);
    // A reading that neither has, of a session that Kafka has forgotten.
    let lost = report(&[&all[..4], &all[5..]].concat(), 0);
    assert_eq!(counts(&lost, Kind::Missing), [("s1".to_owned(), 1)].into());
    // A warehouse that deletes its oldest proves nothing either.
    assert_eq!(counts(&report(&all[5..], 5), Kind::Missing), BTreeMap::new());
}

#[test]
fn what_comes_while_partitions_are_read_one_after_another_leaves_no_holes() {
    let frames = vec![(0, 2); 6];
    let mut all = records(&frames, 6);
    // The third and the fifth frame came to a partition that had been read.
    all.retain(|(seq, ..)| *seq != 3 && *seq != 5);
    let holes = |settled: Option<u64>| {
        let mut kafka = store(&all, 0);
        kafka.settled = Some(BTreeMap::new());
        if let Some(seq) = settled {
            kafka.settle(raw(), seq);
        }
        let report = judge(&Books { kafka: Some(kafka), ..Books::default() }, None);
        report.mistakes.iter().map(|mistake| mistake.said.clone()).collect::<Vec<_>>()
    };
    assert_eq!(holes(None), [""; 0]);
    assert_eq!(holes(Some(2)), [""; 0]);
    assert_eq!(holes(Some(4)), [format!("frame 3 of {} is not in Kafka", raw())]);
    assert_eq!(holes(Some(6)).len(), 2);
}

#[test]
fn what_moves_while_it_is_asked_is_no_mistake() {
    let frames: Frames = vec![(0, 3), (0, 4)];
    // The second frame was in the spool and is stored by now; a third one was accepted and stored meanwhile.
    let mut agent = agent(&frames, 1);
    agent.later.insert(key(0), 9);
    let all = records(&vec![(0, 3), (0, 4), (0, 2)], 3);
    let report =
        judge(&Books { agent: Some(agent.clone()), warehouse: Some(store(&all, 0)), ..Books::default() }, None);
    assert_eq!((report.mistakes, report.sessions[0].spooled), (vec![], Some(0)));
    agent.later.insert(key(0), 8);
    let report = judge(&Books { agent: Some(agent), warehouse: Some(store(&all, 0)), ..Books::default() }, None);
    let said = "1 reading of session s0 (phone-0) is in the warehouse and the agent did not accept them";
    assert_eq!(report.mistakes.iter().map(|m| m.said.as_str()).collect::<Vec<_>>(), [said]);
}

#[test]
fn what_a_phone_s_owner_does_not_want_kept_is_told_and_not_missed() {
    let frames: Frames = vec![(0, 3), (1, 2)];
    let mut agent = agent(&frames, 2);
    agent.sessions.get_mut(&key(1)).unwrap().withheld = 7;
    let windows_alone = Key { device: "phone-9".to_owned(), session: "s9".to_owned() };
    let told = super::book::Accepted { messages: 4, readings: 0, withheld: 40, holes: 0 };
    agent.sessions.insert(windows_alone, told);
    let books = |records: &[(u64, u32, usize)]| Books {
        agent: Some(agent.clone()),
        warehouse: Some(store(records, 0)),
        ..Books::default()
    };
    let all = records(&frames, 2);
    let report = judge(&books(&all), None);
    assert_eq!(report.mistakes, []);
    let lines: Vec<_> = report.sessions.iter().map(|line| (line.accepted, line.withheld, super::state(line))).collect();
    let line = |accepted, withheld, state: &str| (Some(accepted), Some(withheld), state.to_owned());
    assert_eq!(lines, [line(3, 0, "ok"), line(9, 7, "7 withheld"), line(40, 40, "40 withheld")]);
    let said = "adds up: 3 sessions, 52 readings accepted, 47 withheld as set for their phone";
    assert_eq!(super::verdict(&report, &[]), said);
    let report = judge(&books(&all[..4]), None);
    assert_eq!(counts(&report, Kind::Missing), [("s1".to_owned(), 1)].into(), "what is lost of the rest is found");
}

#[test]
fn a_session_can_be_asked_alone_and_others_mistakes_are_not_its_own() {
    let frames: Frames = vec![(0, 2), (1, 2)];
    let books = Books {
        agent: Some(agent(&frames, 2)),
        warehouse: Some(store(&[(1, 0, 0), (1, 1, 0), (2, 0, 1)], 0)),
        ..Books::default()
    };
    assert_eq!(judge(&books, Some("s0")).mistakes, []);
    let report = judge(&books, Some("s1"));
    let said =
        "1 reading of session s1 (phone-1) was accepted by the agent, and neither its spool nor the warehouse has it";
    assert_eq!((report.sessions.len(), report.mistakes[0].said.as_str()), (1, said));
}

#[test]
fn what_was_deleted_on_request_is_not_missing_and_hides_no_more_than_that() {
    // s1 was forgotten: the agent does not know it, Kafka still has it, the warehouse tells how much went.
    let frames: Frames = vec![(0, 2), (1, 3), (0, 2), (1, 3), (0, 1)];
    let all = records(&frames, 5);
    let report = |stored: &[(u64, u32, usize)], kafka: Option<Store>| {
        let mut agent = agent(&frames, 5);
        agent.sessions.remove(&key(1));
        agent.later.remove(&key(1));
        let mut warehouse = store(stored, 0);
        warehouse.forget(raw(), Forgotten { from: 2, to: 4, frames: 2, rows: 6 });
        let is_fed = kafka.is_some();
        judge(&Books { agent: Some(agent), warehouse: Some(warehouse), kafka, is_fed }, None)
    };
    let left: Vec<_> = all.iter().copied().filter(|(.., session)| *session == 0).collect();
    let direct = report(&left, None);
    assert_eq!(direct.mistakes, []);
    assert!(direct.notes.iter().any(|note| note.contains("6 rows of 2 frames")), "{:?}", direct.notes);
    let kafka = store(&all, all.len());
    let fed = report(&left, Some(kafka.clone()));
    assert_eq!((fed.mistakes.clone(), fed.sessions[1].forgotten), (vec![], 6));
    // Frame 3 is another's.
    let less: Vec<_> = left.iter().copied().filter(|(seq, ..)| *seq != 3).collect();
    let lost = report(&less, None);
    assert!(lost.mistakes.iter().any(|mistake| mistake.kind == Kind::Hole), "{:?}", lost.mistakes);
    assert!(report(&less, Some(kafka)).mistakes.iter().any(|mistake| mistake.kind == Kind::NotStored));
}

#[test]
fn who_has_rows_left_where_another_was_deleted_lost_its_own_otherwise() {
    // s0 was forgotten, by the agent too; of s1 the last two readings are gone, without a hole.
    let frames: Frames = vec![(0, 9), (1, 3), (0, 9), (1, 3), (2, 1), (1, 2)];
    let all = records(&frames, 6);
    let mut agent = agent(&frames, 6);
    agent.sessions.remove(&key(0));
    agent.later.remove(&key(0));
    let report = |of: &[usize], only: Option<&str>, kafka: Option<Store>| {
        let stored: Vec<_> = all.iter().copied().filter(|(seq, _, session)| *seq < 6 && of.contains(session)).collect();
        let mut warehouse = store(&stored, 0);
        warehouse.forget(raw(), Forgotten { from: 1, to: 3, frames: 2, rows: 18 });
        let is_fed = kafka.is_some();
        judge(&Books { agent: Some(agent.clone()), warehouse: Some(warehouse), kafka, is_fed }, only)
    };
    let kafka = store(&all, all.len());
    for only in [None, Some("s1")] {
        let lost = report(&[1, 2], only, None);
        assert_eq!(counts(&lost, Kind::Missing), [("s1".to_owned(), 2)].into(), "{only:?}");
        assert!(lost.sessions.iter().all(|line| line.forgotten == 0), "{only:?}");
        let lost = report(&[1, 2], only, Some(kafka.clone()));
        assert_eq!(counts(&lost, Kind::NotStored), [("s1".to_owned(), 2)].into(), "{only:?}");
        // Where the whole of s1 is gone too, holes tell that more is gone than was deleted.
        let lost = report(&[2], only, None);
        assert!(!lost.mistakes.is_empty(), "{only:?}");
    }
    // Who came after what was deleted has lost its own, too.
    let mut kafka = kafka;
    let of_late = |index| Record { name: raw(), seq: 7, index, key: key(3), message_id: Some(7), is_due: true };
    kafka.take(of_late(0));
    assert_eq!(counts(&report(&[1, 2], None, Some(kafka)), Kind::NotStored).get("s3"), Some(&1));
}

#[test]
fn a_device_that_was_deleted_and_pushed_on_is_not_missed_when_another_is_deleted_after_it() {
    let frames: Frames = vec![(0, 4), (1, 3), (0, 2), (1, 2), (2, 1)];
    let all = records(&frames, 5);
    let stored: Vec<_> = all.iter().copied().filter(|(seq, ..)| [3, 5].contains(seq)).collect();
    let mut warehouse = store(&stored, 0);
    warehouse.forget(raw(), Forgotten { from: 1, to: 1, frames: 1, rows: 4 });
    warehouse.forget(raw(), Forgotten { from: 2, to: 4, frames: 2, rows: 5 });
    let kafka = Some(store(&all, all.len()));
    let books = Books { kafka, warehouse: Some(warehouse), is_fed: true, ..Books::default() };
    let report = judge(&books, None);
    assert_eq!(report.mistakes, []);
    assert_eq!(report.sessions.iter().map(|line| line.forgotten).collect::<Vec<_>>(), [4, 5, 0]);
}
