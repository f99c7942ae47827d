//! Phones that push until they are answered, as a careful app would, and know what they were answered for.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Random;
use super::http;

/// Where phones push to; none while nobody listens.
pub(crate) type Url = Arc<Mutex<Option<String>>>;

/// A reading of a phone.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Reading {
    pub(crate) sensor: &'static str,
    pub(crate) time: i64,
    pub(crate) xyz: [f64; 3],
}

/// What a phone was answered 200 for, by `messageId`.
pub(crate) type Pushed = BTreeMap<u64, Vec<Reading>>;

/// One phone with one session.
#[derive(Debug, Clone)]
pub(crate) struct Phone {
    pub(crate) device: String,
    pub(crate) session: String,
    seed: u64,
    /// Phone time at which the session began, ns.
    start: i64,
    sensors: &'static [&'static str],
}

impl Phone {
    pub(crate) fn new(number: u64, seed: u64) -> Self {
        const SENSORS: [&[&str]; 3] =
            [&["accelerometer"], &["accelerometer", "gyroscope"], &["gyroscope", "accelerometer", "gravity"]];
        Self {
            device: format!("phone-{number}"),
            session: format!("session-{number}"),
            seed: Random::new(seed ^ number).bits(),
            start: 1_760_000_000_000_000_000 + number as i64 * 3_600_000_000_000,
            sensors: SENSORS[number as usize % SENSORS.len()],
        }
    }

    /// The readings of message `id`: one second at 50 Hz, some late by seconds.
    pub(crate) fn message(&self, id: u64) -> Vec<Reading> {
        let mut random = Random::new(self.seed ^ id);
        let pace = [0.3, 4.0, 12.0, 30.0][(id / 40) as usize % 4];
        let mut readings = Vec::new();
        for tick in 0..50 {
            let late = if random.below(50) == 0 { random.below(25) as i64 * 1_000_000_000 } else { 0 };
            let time = self.start + (id as i64 * 50 + tick) * 20_000_000 - late;
            for sensor in self.sensors {
                let xyz = [0; 3].map(|_| f64::from((random.share() * pace) as f32));
                readings.push(Reading { sensor, time, xyz });
            }
        }
        readings
    }

    /// The body of a push with these readings.
    pub(crate) fn body(&self, id: u64, readings: &[Reading]) -> String {
        let readings: Vec<_> = readings
            .iter()
            .map(|r| {
                let [x, y, z] = r.xyz;
                serde_json::json!({"name": r.sensor, "time": r.time, "values": {"z": z, "y": y, "x": x}})
            })
            .collect();
        let body = serde_json::json!({
            "messageId": id, "sessionId": self.session, "deviceId": self.device, "payload": readings
        });
        body.to_string()
    }

    /// Pushes message `id` until it is answered; false if `stop` came first.
    pub(crate) fn push(&self, url: &Url, id: u64, stop: &AtomicBool) -> bool {
        let body = self.body(id, &self.message(id));
        while !stop.load(Ordering::Relaxed) {
            let target = url.lock().unwrap_or_else(PoisonError::into_inner).clone();
            match target.map(|target| http::post(&target, &body)) {
                Some(Ok((200, _))) => return true,
                Some(Ok((503, _)) | Err(_)) | None => std::thread::sleep(Duration::from_millis(3)),
                Some(Ok((status, answer))) => panic!("a good push was answered {status}: {answer}"),
            }
        }
        false
    }

    /// Pushes three messages and rests, until `stop`, now and then in another order or once more; gives those that were answered.
    pub(crate) fn run(self, rest: Duration, url: &Url, stop: &AtomicBool) -> (Self, Pushed) {
        let mut order = Random::new(!self.seed);
        let mut pushed = Pushed::new();
        let mut next = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut turn = vec![next, next + 1, next + 2];
            next += 3;
            match order.below(4) {
                0 => turn.reverse(),
                1 => turn.push(order.below(next)),
                _ => {}
            }
            for id in turn {
                // A message that was begun is pushed until it is answered: only then is it known what must be there.
                assert!(self.push(url, id, &AtomicBool::new(false)), "never stops");
                pushed.insert(id, self.message(id));
            }
            std::thread::sleep(rest);
        }
        (self, pushed)
    }
}

/// Pushes messages of `phone`, each answered 200.
pub(crate) fn push(url: &str, phone: &Phone, ids: impl IntoIterator<Item = u64>, pushed: &mut Pushed) {
    let url: Url = Arc::new(Mutex::new(Some(url.to_owned())));
    for id in ids {
        assert!(phone.push(&url, id, &AtomicBool::new(false)));
        pushed.insert(id, phone.message(id));
    }
}
