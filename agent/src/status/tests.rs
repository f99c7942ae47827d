use std::time::Instant;

use gaitway_proto::activity::Activity;

use super::*;

const SECOND: i64 = 1_000_000_000;

fn window(end: i64, activity: Activity) -> Window {
    let (start, end) = ((end - 10) * SECOND, end * SECOND);
    Window { start, end, count: 1000, mean: 1.0, activity, confidence: 0.5, revision: 0 }
}

/// A push of the second that begins `at`, which closes the window that ends then.
fn heard(session: &str, at: i64, activity: Activity) -> Heard {
    let sent = ["accelerometer", session].map(|name| Sent {
        name: name.to_owned(),
        count: 100,
        first: at * SECOND,
        last: (at + 1) * SECOND - SECOND / 100,
    });
    let slice = |end| Slice::of(&window(end, activity), 2 * SECOND);
    Heard {
        device: "anna".to_owned(),
        session: session.to_owned(),
        at: Instant::now(),
        readings: 200,
        running: Some(window(at + 2, activity)),
        present: vec![slice(at + 2)],
        closed: vec![Closing { window: window(at, activity), slide: 2 * SECOND, covered: 2 * SECOND }],
        sent: sent.into(),
        bins: Vec::new(),
        holes: 0,
        late: 0,
        is_silence: false,
        is_withheld: false,
    }
}

fn silence(session: &str) -> Heard {
    let heard = heard(session, 0, Activity::Walking);
    Heard {
        readings: 0,
        running: None,
        present: Vec::new(),
        closed: Vec::new(),
        sent: Vec::new(),
        is_silence: true,
        ..heard
    }
}

fn shown(status: &AgentStatus, heard: Heard) -> Arc<Phone> {
    status.tell(vec![heard], 0, Waiting::default());
    Arc::clone(&status.snapshot().phones["anna"])
}

#[test]
fn a_late_push_of_a_former_recording_is_not_shown_and_moves_nothing() {
    let status = AgentStatus::default();
    for at in (0..40).step_by(2) {
        shown(&status, heard("old", at, Activity::Running));
    }
    for at in (100..160).step_by(2) {
        let phone = shown(&status, heard("new", at, Activity::Walking));
        assert_eq!((phone.session.as_str(), phone.since), ("new", Some(98 * SECOND)), "{at}");
    }
    let (before, late) = (status.snapshot(), shown(&status, heard("old", 40, Activity::Running)));
    let before = &before.phones["anna"];
    assert_eq!((late.session.as_str(), late.since, &late.running), ("new", Some(98 * SECOND), &before.running));
    assert_eq!((late.readings, &late.sensors), (before.readings + 200, &before.sensors), "it is counted");
    let names: Vec<&str> = late.sensors.iter().map(|sensor| sensor.name.as_str()).collect();
    assert_eq!(names, ["accelerometer", "new"]);
    assert_eq!(shown(&status, heard("new", 160, Activity::Walking)).since, Some(98 * SECOND));
    assert_eq!(shown(&status, silence("old")).session, "new");
}

#[test]
fn two_recordings_at_once_each_have_their_beginning() {
    let status = AgentStatus::default();
    for at in (0..60).step_by(2) {
        assert_eq!(shown(&status, heard("one", at, Activity::Walking)).since, Some(-2 * SECOND), "{at}");
        let other = shown(&status, heard("two", at + 1, Activity::Running));
        assert_eq!((other.session.as_str(), other.since), ("two", Some(-SECOND)), "{at}");
    }
}

#[test]
fn a_recording_whose_clock_is_behind_is_shown_once_the_former_is_over_and_recordings_are_bounded() {
    let status = AgentStatus::default();
    shown(&status, heard("future", 1_000_000, Activity::Walking));
    assert_eq!(shown(&status, heard("present", 100, Activity::Walking)).session, "future");
    shown(&status, silence("future"));
    assert_eq!(shown(&status, heard("present", 102, Activity::Walking)).session, "present");
    for at in 0..50 {
        shown(&status, heard(&format!("session {at}"), 200 - at, Activity::Walking));
    }
    let known = status.known();
    assert_eq!(
        (known.behind["anna"].recordings.len(), known.shown.phones["anna"].session.as_str()),
        (RECORDINGS, "session 0")
    );
}

#[test]
fn a_recording_of_before_the_start_is_not_shown_until_it_is_heard() {
    let status = AgentStatus::default();
    let stretch = Stretch { activity: Activity::Walking, start: 0, end: 500 * SECOND, confidence: 0.5 };
    status.recall([("anna".to_owned(), Doing { session: "before".to_owned(), stretch })]);
    assert_eq!(shown(&status, heard("late", 90, Activity::Walking)).session, "late");
    let phone = shown(&status, heard("before", 502, Activity::Walking));
    assert_eq!((phone.session.as_str(), phone.since), ("before", Some(0)));
}

#[test]
fn of_a_phone_whose_readings_are_not_kept_no_sensor_and_no_bin_is_shown() {
    let status = AgentStatus::default();
    assert_eq!(shown(&status, heard("day", 0, Activity::Walking)).sensors.len(), 2);
    let phone = shown(&status, Heard { is_withheld: true, ..heard("day", 2, Activity::Walking) });
    assert!(phone.sensors.is_empty() && phone.running.is_some() && phone.since.is_some(), "{phone:?}");
    assert_eq!(phone.rate.to_bits(), 0.0_f64.to_bits(), "no negative zero");

    let _motions = status.motions();
    let body = br#"{"messageId":0,"deviceId":"d","sessionId":"s","payload":[
        {"name":"accelerometer","time":1700000000000000000,"values":{"x":1,"y":2,"z":2}}]}"#;
    let of = |keep| crate::ingest::parse_keeping(body, crate::phones::Privacy { keep, location: None }).unwrap();
    assert_eq!(status.bins(&of(Keep::All)).len(), 1);
    assert!(status.bins(&of(Keep::Activity)).is_empty());
}
