//! A phone that moves as it is told.

use gaitway_service::clock;
use serde_json::{Value, json};

use crate::harness::http;

/// Mean magnitudes, m/s², well inside of their activities.
pub(crate) const STANDING: f64 = 0.4;
pub(crate) const WALKING: f64 = 4.0;
pub(crate) const RUNNING: f64 = 12.0;
pub(crate) const SPRINTING: f64 = 28.0;

const SECOND: i64 = 1_000_000_000;

/// See the module. Its clock begins a quarter of an hour ago and goes on with what it pushes.
pub(crate) struct Walker {
    pub(crate) device: String,
    push_url: String,
    next: u64,
    /// Phone time, ns.
    time: i64,
}

impl Walker {
    pub(crate) fn new(device: &str, push_url: &str) -> Self {
        let time = (clock::now_micros() / 1_000_000 - 900) * SECOND;
        Self { device: device.to_owned(), push_url: push_url.to_owned(), next: 0, time }
    }

    /// From now on its clock is so many seconds slow.
    pub(crate) fn set_clock(&mut self, slow: i64) {
        self.time = (clock::now_micros() / 1_000_000 - slow) * SECOND;
    }

    /// What its clock shows, ns.
    pub(crate) fn clock(&self) -> i64 {
        self.time
    }

    /// Nothing is pushed for so many seconds of its clock.
    pub(crate) fn rest(&mut self, seconds: i64) {
        self.time += seconds * SECOND;
    }

    /// The next push: so many seconds of `sensors`, each with so many readings a second, while it moves with this mean
    /// magnitude, two steps a second.
    pub(crate) fn body(&mut self, sensors: &[&str], seconds: i64, hertz: i64, magnitude: f64) -> String {
        let reading = |tick: i64, sensor: &&str| {
            let swing = (tick as f64 / hertz as f64 * 2.0 * std::f64::consts::TAU).sin();
            let z = magnitude * (1.0 + 0.6 * swing);
            json!({"name": sensor, "time": self.time + tick * SECOND / hertz, "values": {"x": 0.0, "y": 0.0, "z": z}})
        };
        let payload: Vec<Value> =
            (0..seconds * hertz).flat_map(|tick| sensors.iter().map(move |sensor| reading(tick, sensor))).collect();
        let body = json!({
            "messageId": self.next, "sessionId": format!("session-of-{}", self.device), "deviceId": self.device,
            "payload": payload
        });
        self.next += 1;
        self.time += seconds * SECOND;
        body.to_string()
    }

    fn post(&self, body: &str) {
        let (status, said) = http::post(&self.push_url, body).unwrap();
        assert_eq!(status, 200, "{said}");
    }

    /// Pushes a second of acceleration.
    pub(crate) fn push(&mut self, magnitude: f64) {
        let body = self.body(&["accelerometer"], 1, 50, magnitude);
        self.post(&body);
    }

    /// Pushes a second of three sensors with 100 readings each.
    pub(crate) fn push_three_sensors(&mut self, magnitude: f64) {
        let body = self.body(&["accelerometer", "gyroscope", "gravity"], 1, 100, magnitude);
        self.post(&body);
    }

    /// What the app's button for a test pushes.
    pub(crate) fn push_test(&self) {
        let test = json!({
            "messageId": 0, "sessionId": "a-test", "deviceId": self.device,
            "payload": [{"name": "test", "time": 0, "values": []}]
        });
        self.post(&test.to_string());
    }

    /// The element that shows it.
    pub(crate) fn article(&self) -> String {
        format!("article.phone[data-device=\"{}\"]", self.device)
    }

    /// Where the page shows it as `activity`.
    pub(crate) fn doing(&self, activity: &str) -> String {
        format!("{} .activity[data-activity=\"{activity}\"]", self.article())
    }
}
