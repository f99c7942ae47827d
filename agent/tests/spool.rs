//! The writer on its one dependency: a real SQLite file.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use gaitway_agent::ingest::Refusal;
use gaitway_agent::spool::cap::{SpoolConfig, WhenFull};
use gaitway_agent::spool::damage::Loss;
use gaitway_agent::writer::Ended;
use gaitway_proto::activity::ActivityFrame;
use gaitway_proto::envelope::Item;
use gaitway_proto::ledger::Stream;
use gaitway_proto::value::Value;

mod spooled;
use spooled::{SECOND, Setup, Spooled, body};

fn fresh(setup: &Setup) -> (tempfile::TempDir, Spooled) {
    let dir = tempfile::tempdir().unwrap();
    let spooled = Spooled::start(dir.path(), setup);
    (dir, spooled)
}

#[test]
fn the_same_message_three_times_is_stored_once() {
    let (_dir, mut agent) = fresh(&Setup::default());
    let push = body("walk", 0, 100, 3);
    let answers: Vec<_> = (0..3).map(|_| agent.push(&push).unwrap()).collect();
    assert_eq!(answers.iter().map(|a| a.duplicate).collect::<Vec<_>>(), [false, true, true]);
    assert!(answers.iter().all(|a| a.readings == 3));
    assert_eq!(agent.messages().len(), 1);
}

#[test]
fn messages_reversed_and_sessions_interleaved_are_all_stored() {
    let (_dir, mut agent) = fresh(&Setup::default());
    for id in (0..20).rev() {
        for session in ["a", "b"] {
            assert!(!agent.push(&body(session, id, 100 + id as i64, 1)).unwrap().duplicate);
        }
    }
    let names: HashSet<_> = agent.messages().into_iter().map(|m| (m.header.session, m.header.message_id)).collect();
    assert_eq!(names.len(), 40);
}

#[test]
fn an_id_reused_with_other_content_is_stored_under_its_hash() {
    let (_dir, mut agent) = fresh(&Setup::default());
    agent.push(&body("walk", 7, 100, 1)).unwrap();
    assert!(!agent.push(&body("walk", 7, 200, 2)).unwrap().duplicate);
    assert!(agent.push(&body("walk", 7, 200, 2)).unwrap().duplicate);
    let messages = agent.messages();
    assert_eq!(messages.len(), 2);
    assert_eq!(messages[1].header.message_id, None);
    assert_eq!(messages[1].extra.get("messageId"), Some(&Value::I64(7)));
}

#[test]
fn messages_without_an_id_are_known_by_their_body() {
    let (_dir, mut agent) = fresh(&Setup::default());
    let bodies =
        [r#"{"deviceId":"d","sessionId":"s","payload":[1]}"#, r#"{"deviceId":"d","sessionId":"s","payload":[2]}"#];
    for (push, duplicate) in [(bodies[0], false), (bodies[1], false), (bodies[0], true)] {
        assert_eq!(agent.push(push).unwrap().duplicate, duplicate);
    }
    assert_eq!(agent.messages().len(), 2);
}

#[test]
fn a_log_or_file_cut_in_use_is_noticed_before_an_answer_and_nothing_of_it_is_moved_into_the_file() {
    for (name, keep) in [("spool.db-wal", 0), ("spool.db-wal", 9_000), ("spool.db", 2_000)] {
        for pushes in [true, false] {
            let (dir, agent) = fresh(&Setup::default());
            for id in 0..3 {
                agent.push(&body("walk", id, 100 + id as i64, 20)).unwrap();
            }
            let file = std::fs::File::options().write(true).open(dir.path().join(name)).unwrap();
            assert!(file.metadata().unwrap().len() > keep);
            file.set_len(keep).unwrap();
            let before = std::fs::read(dir.path().join("spool.db")).unwrap();
            let answer = pushes.then(|| agent.send(&body("walk", 3, 103, 1)));
            let ended = agent.closed();
            let Ended::Lost { loss: Loss::Damaged(what), .. } = &ended else { panic!("{name} {keep}: {ended:?}") };
            assert!(what.contains("cut short"), "{what}");
            drop(ended);
            assert!(answer.is_none_or(|answer| answer.blocking_recv().is_err()), "nobody was answered");
            assert_eq!(std::fs::read(dir.path().join("spool.db")).unwrap(), before, "{name} {keep}");
            assert_eq!(std::fs::metadata(dir.path().join(name)).unwrap().len(), keep);
        }
    }
}

#[test]
fn what_was_seen_is_known_after_a_restart() {
    let (dir, agent) = fresh(&Setup::default());
    agent.push(&body("walk", 0, 100, 1)).unwrap();
    agent.push(&body("walk", 1, 101, 1)).unwrap();
    agent.stop();
    let mut agent = Spooled::start(dir.path(), &Setup::default());
    assert!(agent.push(&body("walk", 1, 101, 1)).unwrap().duplicate);
    assert!(!agent.push(&body("walk", 2, 102, 1)).unwrap().duplicate);
    assert_eq!(agent.messages().len(), 3);
    let epochs: HashSet<_> = agent.state.borrow().streams.iter().map(|offer| offer.epoch).collect();
    assert_eq!(epochs.len(), 2, "a start has an epoch of its own");
}

#[test]
fn silence_closes_once_also_across_restarts() {
    let silent = Setup { silence: Duration::from_millis(50), ..Setup::default() };
    let (dir, agent) = fresh(&Setup::default());
    agent.push(&body("walk", 0, 100, 5)).unwrap();
    agent.stop();

    let mut agent = Spooled::start(dir.path(), &silent);
    agent.await_state(|state| state.streams.iter().any(|o| o.stream == Stream::Activity && o.next > o.first));
    let closed = agent.windows();
    // Readings at 100 to 104 s: windows start from 92 to 104 s.
    assert_eq!(closed.iter().map(|w| w.start / SECOND).collect::<Vec<_>>(), [92, 94, 96, 98, 100, 102, 104]);
    agent.stop();

    let mut agent = Spooled::start(dir.path(), &silent);
    agent.push(&body("other", 0, 100, 1)).unwrap();
    agent.await_state(|state| {
        let here = state.epoch;
        state.streams.iter().any(|o| o.epoch == here && o.stream == Stream::Activity && o.next > o.first)
    });
    let ours = agent.windows().len();
    assert_eq!(ours, 7 + 5, "the first session's windows were closed once");

    agent.push(&body("walk", 1, 108, 20)).unwrap();
    let went_on = |agent: &mut Spooled| agent.windows().len() > ours + 10;
    let end = Instant::now() + Duration::from_secs(20);
    while !went_on(&mut agent) {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut starts: Vec<i64> = agent.windows()[ours..].iter().map(|w| w.start / SECOND).collect();
    starts.sort_unstable();
    assert_eq!(starts.first(), Some(&106), "a session that speaks again goes on after what was closed");
    starts.dedup();
    assert_eq!(starts.len(), agent.windows().len() - ours);
}

#[test]
fn a_wild_time_a_wrong_clock_and_two_speeds_hurt_nobody_else() {
    let (_dir, mut agent) = fresh(&Setup::default());
    let wild = |id: u64, at: i64| {
        let right = body("wild", id, at, 2);
        let year_2100 = r#"{"name":"accelerometer","time":4102444800000000000,"values":{"x":1,"y":1,"z":1}}"#;
        right.replace(r#""payload":["#, &format!(r#""payload":[{year_2100},"#))
    };
    for step in 0..40_u64 {
        let at = 1000 + 2 * step as i64;
        agent.push(&wild(step, at)).unwrap();
        // A phone whose clock says 1970, and one whose clock runs ten times as fast.
        agent.push(&body("wrong", step, 2 * step as i64, 2)).unwrap();
        agent.push(&body("fast", step, 5_000 + 20 * step as i64, 20)).unwrap();
    }
    let frames = agent.waiting(Stream::Activity).into_iter().map(|(_, item)| match item {
        Item::Frame(bytes) => ActivityFrame::decode(&bytes).unwrap(),
        Item::Gap(_) => panic!("no activity is ever dropped"),
    });
    let mut counts: std::collections::BTreeMap<String, Vec<u64>> = std::collections::BTreeMap::new();
    for frame in frames {
        counts.entry(frame.session).or_default().extend(frame.windows.iter().map(|window| window.count));
    }
    // Once the first ones are past, every window holds ten readings: one a second, none wild, none late.
    for (session, windows) in [("wild", 34), ("wrong", 34), ("fast", 394)] {
        let counts = &counts[session];
        assert_eq!(counts.len(), windows, "{session}");
        assert_eq!(counts[..4], [2, 4, 6, 8], "{session}");
        assert!(counts[4..].iter().all(|count| *count == 10), "{session}: {counts:?}");
    }
    assert_eq!(agent.messages().len(), 120, "all of it is kept raw");
}

#[test]
fn acknowledged_frames_leave_the_spool_and_the_file_gives_space_back() {
    let (dir, mut agent) = fresh(&Setup::default());
    for id in 0..100 {
        agent.push(&fill(id, 100_000)).unwrap();
    }
    let file = dir.path().join("spool.db");
    let size = || std::fs::metadata(&file).unwrap().len();
    let epoch = agent.state.borrow().epoch;
    agent.acknowledge(epoch, Stream::Raw, 60);
    agent.await_state(|state| state.streams.iter().any(|o| o.stream == Stream::Raw && o.first == 61));
    assert_eq!(agent.messages().len(), 40);
    agent.acknowledge(epoch, Stream::Raw, 100);
    let end = Instant::now() + Duration::from_secs(20);
    while size() == 0 || size() > 3 * 1024 * 1024 {
        assert!(Instant::now() < end, "the file still has {} bytes", size());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(agent.messages().is_empty());
}

#[test]
fn what_was_acknowledged_is_deleted_also_by_the_next_start() {
    let (dir, agent) = fresh(&Setup::default());
    for id in 0..3 {
        agent.push(&body("walk", id, 100, 1)).unwrap();
    }
    agent.stop();
    let file = rusqlite::Connection::open(dir.path().join("spool.db")).unwrap();
    // As if killed between the mark and the deletion.
    file.execute("INSERT INTO stream VALUES(1, 'raw', 2, 2)", []).unwrap();
    let _agent = Spooled::start(dir.path(), &Setup::default());
    let rows = || file.query_row("SELECT count(*) FROM raw", [], |row| row.get::<_, i64>(0)).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while rows() != 1 {
        assert!(Instant::now() < end, "{} rows", rows());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A cap that holds a few dozen of these.
fn capped(when_full: WhenFull) -> Setup {
    let spool = SpoolConfig { max_bytes: 512 * 1024, min_free_percent: 0.0, when_full, ..SpoolConfig::default() };
    Setup { spool, ..Setup::default() }
}

/// A push with one reading of `letters` that do not compress well.
fn fill(id: u64, letters: usize) -> String {
    let mut x = id.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let next = || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        char::from(b'a' + (x % 26) as u8)
    };
    let text: String = std::iter::repeat_with(next).take(letters).collect();
    let reading = format!(r#"{{"name":"n","time":1,"values":{{"v":"{text}"}}}}"#);
    format!(r#"{{"messageId":{id},"deviceId":"d","sessionId":"s","payload":[{reading}]}}"#)
}

#[test]
fn a_full_spool_refuses_with_a_sentence_and_loses_nothing() {
    let (_dir, mut agent) = fresh(&capped(WhenFull::Refuse));
    let mut accepted = 0;
    let refusal = loop {
        match agent.push(&fill(accepted, 5_000)) {
            Ok(_) => accepted += 1,
            Err(refusal) => break refusal,
        }
        assert!(accepted < 10_000);
    };
    let Refusal::NoRoom(sentence) = refusal else { panic!("{refusal}") };
    assert!(sentence.contains("spool is full"), "{sentence}");
    assert_eq!(agent.messages().len() as u64, accepted);

    let epoch = agent.state.borrow().epoch;
    agent.acknowledge(epoch, Stream::Raw, accepted);
    agent.acknowledge(epoch, Stream::Activity, u64::MAX);
    let end = Instant::now() + Duration::from_secs(20);
    while agent.push(&fill(accepted, 5_000)).is_err() {
        assert!(Instant::now() < end, "no room although everything is acknowledged");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn only_frames_never_sent_are_dropped_and_a_gap_takes_their_seqs() {
    let (dir, mut agent) = fresh(&capped(WhenFull::DropOldestRaw));
    for id in 0..5 {
        agent.push(&fill(id, 5_000)).unwrap();
    }
    assert_eq!(agent.messages().len(), 5, "reading marks them as sent");
    agent.stop();

    let mut agent = Spooled::start(dir.path(), &capped(WhenFull::DropOldestRaw));
    for id in 5..400 {
        agent.push(&fill(id, 5_000)).unwrap();
    }
    let gaps = agent.gaps();
    let [(first, gap)] = gaps.as_slice() else { panic!("one gap, not {gaps:?}") };
    assert_eq!(*first, 1, "the oldest of the present start");
    assert_eq!((gap.messages, gap.readings), (gap.span, gap.span));
    let counted = format!("gaitway_agent_dropped_messages_total {}\n", gap.messages);
    assert!(agent.metrics.encode().contains(&counted), "every drop is counted once");
    let messages = agent.messages();
    assert_eq!(messages.len() as u64 + gap.messages, 400);
    let kept: Vec<u64> = messages.iter().map(|m| m.header.message_id.unwrap()).collect();
    let expected: Vec<u64> = (0..5).chain(5 + gap.messages..400).collect();
    assert_eq!(kept, expected, "what was sent before is still there");
}

#[test]
fn a_copy_lets_go_of_windows_opened_before_its_start() {
    let (dir, agent) = fresh(&Setup::default());
    agent.push(&body("walk", 0, 100, 15)).unwrap();
    agent.stop();
    let mut agent = Spooled::start(dir.path(), &Setup::default());
    let told = agent.windows();
    assert_eq!(told.len(), 2, "told by the start before, under its names");
    // Windows that start before 115 s may have been opened before; some close now, some stay open.
    agent.push(&body("walk", 1, 115, 15)).unwrap();
    assert!(agent.windows().len() > told.len());
    agent.copied(1);
    assert_eq!(agent.windows(), told, "what this start closed of them is let go of");
    assert!(!agent.metrics.encode().contains("gaitway_agent_let_go_windows_total 0\n"), "and counted");
    agent.push(&body("walk", 2, 130, 60)).unwrap();
    let starts: Vec<i64> = agent.windows()[told.len()..].iter().map(|w| w.start / SECOND).collect();
    assert_eq!(starts.first(), Some(&130), "what its first message may not have found open is told: {starts:?}");
    assert_eq!(agent.messages().len(), 3);
}

#[test]
fn what_starts_without_a_relay_closed_is_let_go_unless_it_is_in_common() {
    // Ordinal of the last start in common, whether start 2 was welcomed, and the last start whose windows are kept.
    for (common, welcomed, kept) in [(1, false, 1), (0, false, 0), (2, false, 2), (1, true, 2)] {
        let (dir, agent) = fresh(&Setup::default());
        agent.push(&body("walk", 0, 100, 15)).unwrap();
        agent.stop();
        let mut agent = Spooled::start(dir.path(), &Setup::default());
        let first = agent.windows();
        agent.push(&body("walk", 1, 115, 15)).unwrap();
        let second = agent.windows();
        assert!(second.len() > first.len());
        if welcomed {
            agent.welcomed();
        }
        agent.stop();
        let mut agent = Spooled::start(dir.path(), &Setup::default());
        agent.push(&body("walk", 2, 130, 15)).unwrap();
        assert!(agent.windows().len() > second.len());
        agent.copied(common);
        let case = format!("common {common}, welcomed {welcomed}");
        assert_eq!(agent.windows(), [vec![], first, second][kept], "{case}");
        assert_eq!(agent.messages().len(), 3, "{case}");
        let epoch = agent.state.borrow().epoch;
        agent.stop();
        let agent = Spooled::start(dir.path(), &Setup::default());
        assert_eq!(agent.state.borrow().ancestors, [epoch], "a copy's welcome is kept with what it let go of: {case}");
    }
}

#[test]
fn a_hello_names_the_starts_back_to_the_last_one_welcomed() {
    let (dir, agent) = fresh(&Setup::default());
    let present = |agent: &Spooled| {
        let state = agent.state.borrow();
        let offered: BTreeSet<u64> = state.streams.iter().map(|offer| offer.ordinal).collect();
        (state.epoch, state.ancestors.clone(), offered.into_iter().collect::<Vec<_>>())
    };
    let again = |agent: Spooled| {
        agent.stop();
        Spooled::start(dir.path(), &Setup::default())
    };
    let (first, ancestors, _) = present(&agent);
    assert_eq!(ancestors, []);
    let agent = again(agent);
    let (second, ancestors, _) = present(&agent);
    assert_eq!(ancestors, [first]);
    let agent = again(agent);
    let (third, ancestors, offered) = present(&agent);
    assert_eq!((ancestors, offered), (vec![second, first], vec![1, 2, 3]));

    agent.welcomed();
    let file = rusqlite::Connection::open(dir.path().join("spool.db")).unwrap();
    let number = |sql: &str| file.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    let end = Instant::now() + Duration::from_secs(20);
    while number("SELECT welcomed FROM start WHERE ordinal = 3") == 0 {
        assert!(Instant::now() < end, "the welcome is not kept though nothing else happens");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(present(&agent).1, [second, first], "as long as this start lasts");
    let agent = again(agent);
    let (fourth, ancestors, _) = present(&agent);
    assert_eq!(ancestors, [third]);
    let end = Instant::now() + Duration::from_secs(20);
    while number("SELECT count(*) FROM start") > 2 {
        assert!(Instant::now() < end, "starts that nobody names are kept");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(present(&again(agent)).1, [fourth, third]);
}

#[test]
fn pushes_that_wait_share_a_transaction() {
    let (dir, agent) = fresh(&Setup::default());
    let answers: Vec<_> = (0..500).map(|id| agent.send(&body("walk", id, 100 + id as i64, 1))).collect();
    for answer in answers {
        answer.blocking_recv().unwrap().unwrap();
    }
    agent.stop();
    let mut agent = Spooled::start(dir.path(), &Setup::default());
    let messages = agent.messages();
    let ids: Vec<u64> = messages.iter().filter_map(|m| m.header.message_id).collect();
    assert_eq!(ids, (0..500).collect::<Vec<_>>(), "names are in the order of commit");
}

#[test]
fn what_was_never_sent_is_dropped_also_after_the_link_was_up() {
    let (_dir, mut agent) = fresh(&capped(WhenFull::DropOldestRaw));
    agent.push(&fill(0, 5_000)).unwrap();
    assert_eq!(agent.messages().len(), 1, "sent over a link that is down from now on");
    for id in 1..400 {
        agent.push(&fill(id, 5_000)).unwrap();
    }
    let gaps = agent.gaps();
    assert_eq!(gaps.iter().map(|(first, _)| *first).collect::<Vec<_>>(), [2]);
}

/// 400 days and more after the pushes of these tests.
const MUCH_LATER: i64 = 1_800_000_000_000_000;

#[test]
fn a_session_in_use_is_never_forgotten_and_a_refused_push_makes_none() {
    let later = Setup { wall_clock: || Some(MUCH_LATER), ..capped(WhenFull::Refuse) };
    let (dir, agent) = fresh(&later);
    let old = body("old", 0, 100, 1);
    agent.push(&old).unwrap();
    let mut accepted = 0;
    while agent.push(&fill(accepted, 5_000)).is_ok() {
        accepted += 1;
    }
    assert!(agent.push(&old).unwrap().duplicate, "it is in use");
    let large = fill(0, 5_000).replace(r#""sessionId":"s""#, r#""sessionId":"new""#);
    assert!(agent.push(&large).is_err());
    let file = rusqlite::Connection::open(dir.path().join("spool.db")).unwrap();
    let sessions = |name: &str| {
        file.query_row("SELECT count(*) FROM session WHERE session = ?1", [name], |row| row.get::<_, i64>(0)).unwrap()
    };
    assert_eq!((sessions("old"), sessions("new")), (1, 0));
    agent.stop();

    file.execute("UPDATE session SET open = 0", []).unwrap();
    let agent = Spooled::start(dir.path(), &later);
    agent.await_state(|_| sessions("old") == 0);
    assert!(!agent.push(&old).is_ok_and(|accepted| accepted.duplicate), "forgotten when its time had come");
}

#[test]
fn a_session_heard_under_a_clock_that_was_not_set_is_not_forgotten_when_it_is() {
    let (dir, agent) = fresh(&Setup::default());
    let push = body("walk", 0, 100, 1);
    agent.send_at(&push, 5_000_000, false).blocking_recv().unwrap().unwrap();
    agent.stop();
    let file = rusqlite::Connection::open(dir.path().join("spool.db")).unwrap();
    file.execute("UPDATE session SET open = 0", []).unwrap();
    let agent = Spooled::start(dir.path(), &Setup { wall_clock: || Some(MUCH_LATER), ..Setup::default() });
    let dated = || file.query_row("SELECT heardAt FROM session", [], |row| row.get::<_, i64>(0)).unwrap();
    agent.await_state(|_| dated() == MUCH_LATER);
    assert!(agent.push(&push).unwrap().duplicate);
}

#[test]
fn a_failed_transaction_refuses_pushes_with_a_sentence_and_the_rest_is_tried_again() {
    let (dir, mut agent) = fresh(&Setup::default());
    agent.push(&body("walk", 0, 100, 1)).unwrap();
    let other = rusqlite::Connection::open(dir.path().join("spool.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let Err(Refusal::NoRoom(sentence)) = agent.push(&body("walk", 1, 101, 1)) else { panic!("not refused") };
    assert!(sentence.contains("locked by another program"), "{sentence}");
    let (done, mut is_done) = tokio::sync::oneshot::channel();
    let copied = gaitway_agent::writer::Command::Copied { common: 0, done };
    agent.commands.blocking_send(copied).unwrap();
    assert!(agent.push(&body("walk", 2, 102, 1)).is_err());
    assert!(is_done.try_recv().is_err());

    other.execute_batch("ROLLBACK").unwrap();
    is_done.blocking_recv().unwrap();
    assert!(!agent.push(&body("walk", 1, 101, 1)).unwrap().duplicate, "nothing of it was remembered");
    let ids: Vec<_> = agent.messages().iter().filter_map(|m| m.header.message_id).collect();
    assert_eq!(ids, [0, 1]);
}

#[test]
fn a_damaged_session_hurts_nobody_else() {
    let (dir, agent) = fresh(&Setup::default());
    agent.push(&body("damaged", 0, 100, 5)).unwrap();
    agent.stop();
    let file = rusqlite::Connection::open(dir.path().join("spool.db")).unwrap();
    file.execute("UPDATE session SET windows = x'01ff'", []).unwrap();
    let mut agent = Spooled::start(dir.path(), &Setup::default());
    assert!(!agent.push(&body("sound", 0, 100, 5)).unwrap().duplicate);
    assert!(agent.push(&body("damaged", 0, 100, 5)).unwrap().duplicate, "what was seen is known");
    agent.push(&body("damaged", 1, 105, 5)).unwrap();
    agent.push(&body("damaged", 2, 110, 21)).unwrap();
    assert_eq!(agent.messages().len(), 4);
    let starts: Vec<i64> = agent.windows().iter().map(|w| w.start / SECOND).collect();
    assert_eq!(starts, [110], "it goes on with what cannot have been told: {starts:?}");
}
