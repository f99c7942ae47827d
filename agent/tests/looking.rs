//! What people see of what a writer has: since when a phone does what it does, what it sends, what waits; and that nobody who
//! looks costs the writer anything.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use gaitway_agent::recent::{FILE, Recent};
use gaitway_agent::status::Phone;
use gaitway_proto::activity::Activity;
use gaitway_proto::ledger::Stream;

mod spooled;
use spooled::{SECOND, Setup, Spooled};

const NOON: i64 = 1_760_000_000;
const RECEIVED: i64 = NOON * 1_000_000;

/// A second of `session` from `at` (seconds after noon): ten accelerometer readings of this magnitude, one place.
fn second(device: &str, session: &str, id: u64, at: i64, magnitude: f64) -> String {
    let mut payload =
        format!(r#"{{"name":"location","time":{},"values":{{"latitude":1.5,"longitude":2.5}}}}"#, (NOON + at) * SECOND);
    for tenth in 0..10 {
        let time = (NOON + at) * SECOND + tenth * SECOND / 10;
        write!(payload, r#",{{"name":"accelerometer","time":{time},"values":{{"x":{magnitude},"y":0,"z":0}}}}"#)
            .unwrap();
    }
    format!(r#"{{"messageId":{id},"deviceId":"{device}","sessionId":"{session}","payload":[{payload}]}}"#)
}

/// Walks from second 0, runs from 60.
fn walk_then_run(at: i64) -> f64 {
    if at < 60 { 5.0 } else { 12.0 }
}

fn push(agent: &Spooled, seconds: std::ops::Range<i64>) {
    for at in seconds {
        agent.push(&second("anna", "day", at.cast_unsigned(), at, walk_then_run(at))).unwrap();
    }
}

fn anna(agent: &Spooled) -> Phone {
    Phone::clone(&agent.status.snapshot().phones["anna"])
}

/// Seconds after noon.
fn since(agent: &Spooled) -> Option<i64> {
    anna(agent).since.map(|since| since / SECOND - NOON)
}

fn looked_at() -> Setup {
    Setup { keeps_today: true, ..Setup::default() }
}

#[test]
fn an_activity_began_where_its_unbroken_row_of_windows_does_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &looked_at());
    push(&agent, 0..50);
    let walking = since(&agent).unwrap();
    assert_eq!(anna(&agent).running.unwrap().activity, Activity::Walking);
    // The first window holds the first reading alone and stands for two seconds up to its end.
    assert!((-2..=2).contains(&walking), "{walking}");
    push(&agent, 50..62);
    assert_eq!(since(&agent), Some(walking), "a second of running makes no running window");
    push(&agent, 62..100);
    let running = since(&agent).unwrap();
    assert_eq!(anna(&agent).running.unwrap().activity, Activity::Running);
    // A window of ten seconds is running once the mean of its seconds is.
    assert!((60..=70).contains(&running), "{running}");
    agent.stop();

    let agent = Spooled::start(dir.path(), &looked_at());
    assert!(agent.status.snapshot().phones.is_empty(), "nothing is shown of who was not heard");
    push(&agent, 100..101);
    assert_eq!(since(&agent), Some(running));
    push(&agent, 101..140);
    assert_eq!(since(&agent), Some(running));
    // Another recording is another beginning.
    agent.push(&second("anna", "evening", 0, 141, 12.0)).unwrap();
    assert!(since(&agent).unwrap() >= 139, "{:?}", since(&agent));
    agent.stop();
    // What was shown is what the day tells.
    let day = Recent::of(dir.path()).activities("anna", i64::MIN, i64::MAX).unwrap();
    assert_eq!(day.iter().map(|s| s.activity).collect::<Vec<_>>(), [Activity::Walking, Activity::Running]);
    assert_eq!(day.iter().map(|s| s.start / SECOND - NOON).collect::<Vec<_>>(), [walking, running]);
}

#[test]
fn what_a_kill_kept_from_the_day_does_not_break_what_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &looked_at());
    push(&agent, 0..100);
    let running = since(&agent);
    agent.stop();
    // As after a kill: windows of the last seconds were told and never came to the file.
    let agent = Spooled::start(dir.path(), &Setup::default());
    push(&agent, 100..108);
    agent.stop();
    let agent = Spooled::start(dir.path(), &looked_at());
    push(&agent, 108..120);
    assert_eq!(since(&agent), running);
    agent.stop();
    assert_eq!(Recent::of(dir.path()).doings().unwrap()[0].1.stretch.start / SECOND - NOON, running.unwrap());
}

#[test]
fn a_recording_that_silence_closed_has_no_activity_and_the_next_one_is_not_ended_by_it() {
    let dir = tempfile::tempdir().unwrap();
    // Nothing is silent until the agent starts anew: however long the pushes take.
    let agent = Spooled::start(dir.path(), &looked_at());
    push(&agent, 0..20);
    assert!(anna(&agent).running.is_some());
    agent.stop();
    let setup = Setup { silence: Duration::from_millis(700), ..looked_at() };
    let agent = Spooled::start(dir.path(), &setup);
    let mut changes = agent.status.changes();
    agent.push(&second("anna", "next", 0, 3600, 5.0)).unwrap();
    agent.push(&second("ben", "his", 0, 0, 5.0)).unwrap();
    agent.await_that(|agent| agent.status.snapshot().phones.values().all(|phone| phone.running.is_none()));
    assert!(changes.has_changed().unwrap());
    changes.borrow_and_update();
    let phone = anna(&agent);
    assert_eq!((phone.session.as_str(), phone.since, phone.readings), ("next", None, 11));
    agent.stop();
    let recent = Recent::of(dir.path());
    let sessions: Vec<String> =
        recent.windows("anna", i64::MIN, i64::MAX, 100).unwrap().into_iter().map(|(session, _)| session).collect();
    assert_eq!(sessions.iter().filter(|session| *session == "next").count(), 5);
    assert!(sessions.len() > 10);
    // Each ends with its last reading.
    let day = recent.activities("anna", i64::MIN, i64::MAX).unwrap();
    let tenths: Vec<i64> = day.iter().map(|stretch| (stretch.end - NOON * SECOND) * 10 / SECOND).collect();
    assert_eq!(tenths, [199, 36_009]);
}

#[test]
fn a_phone_shows_what_it_sends_and_what_never_came() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &Setup::default());
    push(&agent, 0..20);
    push(&agent, 23..30);
    agent.push(&second("anna", "day", 20, 1, 5.0)).unwrap();
    let phone = anna(&agent);
    let sensors: Vec<(&str, f64)> =
        phone.sensors.iter().map(|s| (s.name.as_str(), (s.hertz * 10.0).round() / 10.0)).collect();
    assert_eq!(sensors[0].0, "accelerometer");
    assert!((7.0..10.0).contains(&sensors[0].1) && sensors[1].0 == "location", "{sensors:?}");
    assert!((sensors[0].1 + sensors[1].1 - phone.rate).abs() < 0.2, "{sensors:?} {}", phone.rate);
    assert_eq!((phone.holes, phone.late), (2, 10), "messages 21 and 22 are missing");
    // In another recording nothing of that counts.
    agent.push(&second("anna", "evening", 0, 100, 5.0)).unwrap();
    let phone = anna(&agent);
    assert_eq!((phone.holes, phone.late, phone.readings), (0, 0, 29 * 11));
    agent.stop();
}

#[test]
fn names_of_sensors_are_bounded_whatever_a_stranger_sends() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &Setup::default());
    let payload: Vec<String> = (0..1000)
        .map(|n| format!(r#"{{"name":"{n}{}","time":{},"values":{{"x":1}}}}"#, "ö".repeat(500), NOON * SECOND))
        .collect();
    let body = format!(r#"{{"messageId":0,"deviceId":"d","sessionId":"s","payload":[{}]}}"#, payload.join(","));
    agent.push(&body).unwrap();
    let sensors = &agent.status.snapshot().phones["d"].sensors;
    assert!(sensors.len() <= 64 && sensors.iter().all(|sensor| sensor.name.len() <= 64));
    agent.stop();
}

#[test]
fn a_motion_comes_once_its_push_is_on_the_disk_and_nothing_is_made_while_nobody_looks() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &Setup::default());
    agent.push(&second("anna", "day", 0, 0, 5.0)).unwrap();
    let mut motions = agent.status.motions();
    assert!(motions.try_recv().is_err(), "what came before was made for nobody");
    for at in 1..30_i64 {
        agent.push(&second("anna", "day", at.cast_unsigned(), at, 3.0 + at as f64 / 10.0)).unwrap();
        let motion = motions.try_recv().unwrap();
        assert_eq!((motion.device.as_str(), motion.session.as_str()), ("anna", "day"));
        let times: Vec<i64> = motion.bins.iter().map(|bin| bin.at_ms).collect();
        let first = (NOON + at) * 1000;
        assert_eq!(times, (0..10).map(|n| first + n * 100).collect::<Vec<_>>());
        let magnitude = (3.0 + at as f64 / 10.0) as f32;
        assert!(motion.bins.iter().all(|bin| (bin.min, bin.max) == (magnitude, magnitude)));
        assert_eq!(motion.running, anna(&agent).running);
        assert!(at < 20 || at % 2 == 1 || motion.closed.len() == 1, "a window closes every two seconds");
    }
    // A push that is known already moved nothing.
    agent.push(&second("anna", "day", 3, 3, 3.3)).unwrap();
    assert!(motions.try_recv().is_err());
    drop(motions);
    agent.push(&second("anna", "day", 30, 30, 5.0)).unwrap();
    assert!(agent.status.motions().try_recv().is_err());
    agent.stop();
}

#[test]
fn the_oldest_frame_is_as_old_as_it_is_also_one_that_an_earlier_start_took() {
    const LATER: i64 = 90;
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup { wall_clock: || Some(RECEIVED + LATER * 1_000_000), ..Setup::default() };
    let agent = Spooled::start(dir.path(), &setup);
    assert_eq!(agent.status.snapshot().oldest, None);
    agent.send_at(&second("anna", "day", 0, 0, 5.0), RECEIVED, true).blocking_recv().unwrap().unwrap();
    let age = agent.status.snapshot().oldest.unwrap();
    assert!(age < Duration::from_secs(60), "this start knows by itself: {age:?}");
    agent.stop();

    let agent = Spooled::start(dir.path(), &setup);
    agent.push(&second("anna", "day", 1, 1, 5.0)).unwrap();
    let age = agent.status.snapshot().oldest.unwrap();
    assert!((LATER as u64..LATER as u64 + 60).contains(&age.as_secs()), "{age:?}");
    let snapshot = agent.status.snapshot();
    assert!(snapshot.disk_free.unwrap() > 0 && snapshot.spool_bytes > 0);
    agent.stop();

    // Without a clock nobody can tell.
    let agent = Spooled::start(dir.path(), &Setup::default());
    agent.push(&second("anna", "day", 2, 2, 5.0)).unwrap();
    assert_eq!(agent.status.snapshot().oldest, None);
    // Once what earlier starts took is acknowledged, this one knows again.
    let state = agent.state.borrow().clone();
    for offer in state.streams.iter().filter(|offer| offer.ordinal < 3) {
        agent.acknowledge(offer.epoch, offer.stream, offer.next - 1);
    }
    agent.await_state(|state| state.streams.iter().all(|o| o.ordinal == 3 || o.first == o.next));
    agent.push(&second("anna", "day", 3, 3, 5.0)).unwrap();
    assert!(agent.status.snapshot().oldest.unwrap() < Duration::from_secs(60));
    assert_eq!(agent.status.snapshot().waiting.0, 2);
    assert!(agent.state.borrow().streams.iter().any(|offer| offer.stream == Stream::Raw));
    agent.stop();
}

#[test]
fn a_store_that_cannot_be_written_costs_no_push_and_a_flood_of_devices_stays_small() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join(FILE)).unwrap();
    let agent = Spooled::start(dir.path(), &looked_at());
    push(&agent, 0..40);
    agent.stop();

    let dir = tempfile::tempdir().unwrap();
    let agent = Spooled::start(dir.path(), &Setup { silence: Duration::from_millis(300), ..looked_at() });
    for number in 0..600 {
        let device = format!("{number}-{}", "d".repeat(200));
        agent.push(&second(&device, &"s".repeat(256), 0, 0, 5.0)).unwrap();
    }
    assert_eq!(agent.status.snapshot().phones.len(), 256);
    agent.await_that(|agent| agent.status.snapshot().phones.values().all(|phone| phone.running.is_none()));
    agent.stop();
    assert!(size(dir.path()) < 2 << 20, "{}", size(dir.path()));
    assert!(Recent::of(dir.path()).doings().unwrap().len() <= 256);
}

fn size(dir: &Path) -> u64 {
    let name = |entry: &std::fs::DirEntry| entry.file_name().to_string_lossy().starts_with(FILE);
    let entries = std::fs::read_dir(dir).unwrap().map(Result::unwrap).filter(name);
    entries.map(|entry| entry.metadata().unwrap().len()).sum()
}
