//! Windows against those that Apache Spark computed over the same readings, number for number.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use gaitway_agent::windows::{Batch, Closed, Params, Sample, SessionWindows, lower_median};
use gaitway_proto::activity::Window;

mod recordings;

const SECOND: i64 = 1_000_000_000;

/// One row of `windows.csv`.
#[derive(Debug)]
struct Golden {
    activity: String,
    mean: f64,
    count: u64,
}

/// By session and end of the window, ns. `timestamp,sessionId,deviceId,activity,avg_magnitude,sample_count`
fn golden(set: &str) -> BTreeMap<(String, i64), Golden> {
    let csv = recordings::text(&recordings::data(&format!("golden/{set}/windows.csv")));
    let rows = csv.lines().skip(1).map(|line| {
        let row: Vec<&str> = line.split(',').collect();
        let end: jiff::civil::DateTime = row[0].parse().unwrap();
        let end = end.to_zoned(jiff::tz::TimeZone::UTC).unwrap().timestamp().as_second() * SECOND;
        assert_eq!(row[1].strip_prefix("session-"), row[2].strip_prefix("phone-"));
        let golden =
            Golden { activity: row[3].to_owned(), mean: row[4].parse().unwrap(), count: row[5].parse().unwrap() };
        ((row[1].to_owned(), end), golden)
    });
    rows.collect()
}

fn assert_same(mut told: BTreeMap<(String, i64), Window>, golden: &BTreeMap<(String, i64), Golden>) {
    for (key, golden) in golden {
        let window = told.remove(key).unwrap_or_else(|| panic!("window {key:?} is missing"));
        assert_eq!(window.count, golden.count, "{key:?}");
        assert_eq!(window.activity.as_str(), golden.activity, "{key:?}");
        assert!((window.mean - golden.mean).abs() <= 1e-9 * golden.mean, "{key:?}: {} {}", window.mean, golden.mean);
    }
    assert_eq!(told.len(), 0, "windows that Spark does not have: {told:?}");
}

#[derive(Default)]
struct Told(BTreeMap<(String, i64), Window>);

impl Told {
    fn add(&mut self, session: &str, closed: Vec<Closed>) {
        for Closed { window, .. } in closed {
            let former = self.0.insert((session.to_owned(), window.end), window);
            assert_eq!(former, None, "told twice");
        }
    }
}

fn observe(windows: &mut SessionWindows, samples: &[Sample]) -> Vec<Closed> {
    let median_time = lower_median(&mut samples.iter().map(|sample| sample.time).collect::<Vec<_>>());
    let observed = windows.observe(&Params::default(), &Batch { median_time, samples });
    assert_eq!((observed.wild, observed.unusable, observed.held), (0, 0, false));
    *windows = SessionWindows::decode(&windows.encode()).unwrap();
    observed.closed
}

#[test]
fn recordings_of_pockets_give_the_windows_of_spark() {
    let mut sessions: BTreeMap<String, SessionWindows> = BTreeMap::new();
    let mut told = Told::default();
    for trial in recordings::trials("motionsense") {
        let session = format!("session-{}", trial.subject);
        let windows = sessions.entry(session.clone()).or_default();
        for message in trial.samples.chunk_by(|a, b| a.time / SECOND == b.time / SECOND) {
            told.add(&session, observe(windows, message));
        }
    }
    for (session, windows) in &mut sessions {
        told.add(session, windows.flush());
    }
    assert_same(told.0, &golden("motionsense"));
}

#[test]
fn late_and_shuffled_messages_give_the_windows_of_spark() {
    let pushes = recordings::text(&recordings::data("golden/late/pushes.ndjson"));
    let mut windows = SessionWindows::new();
    let mut told = Told::default();
    for push in pushes.lines() {
        let push: serde_json::Value = serde_json::from_str(push).unwrap();
        let readings = push["payload"].as_array().unwrap().iter().map(|reading| {
            assert_eq!(reading["name"], "accelerometer");
            let axes = ["x", "y", "z"].map(|axis| reading["values"][axis].as_f64().unwrap());
            Sample::from_axes(reading["time"].as_i64().unwrap(), axes).unwrap()
        });
        let samples: Vec<Sample> = readings.collect();
        told.add(push["sessionId"].as_str().unwrap(), observe(&mut windows, &samples));
    }
    assert_same(told.0, &golden("late"));
}
