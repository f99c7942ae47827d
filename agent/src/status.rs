//! What the agent shows to people: phones, what they do, how much waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gaitway_proto::activity::Window;
use gaitway_proto::ledger::Stream;
use serde::Serialize;

use crate::uplink::UplinkStatus;
use crate::writer::news::Heard;

/// Phones shown at most; a phone unheard for [`FORGET`] makes room.
const MAX_PHONES: usize = 256;
const FORGET: Duration = Duration::from_secs(600);

/// The agent's present state, shared with whoever shows it.
#[derive(Debug, Default)]
pub struct AgentStatus {
    now: Mutex<AgentSnapshot>,
    /// The link to the relay.
    pub uplink: Arc<UplinkStatus>,
}

/// The agent at one moment.
#[derive(Debug, Clone)]
pub struct AgentSnapshot {
    /// When the agent started.
    pub started: Instant,
    /// By `deviceId`.
    pub phones: BTreeMap<String, Phone>,
    /// Readings accepted since the agent's start.
    pub readings: u64,
    /// Pushes since the agent's start that were accepted before.
    pub duplicates: u64,
    /// Frames that wait for an acknowledgement: raw, activity.
    pub waiting: (u64, u64),
    /// Pages of the spool in use, bytes.
    pub spool_bytes: u64,
    /// The most that the spool takes, bytes.
    pub spool_cap: u64,
    /// Since the oldest frame that waits was accepted, where the clock tells.
    pub oldest: Option<Duration>,
    /// Free on the spool's disk, bytes.
    pub disk_free: Option<u64>,
    /// Until nothing waits, at the present speed.
    pub drained_in: Option<Duration>,
    /// From which mean magnitude on, m/s², a window is walking, running, sprinting.
    pub thresholds: [f64; 3],
    /// The last push of the app's test button.
    pub test: Option<Test>,
    /// What happened to the spool before the one in use, and what to do.
    pub notice: Option<String>,
}

impl Default for AgentSnapshot {
    fn default() -> Self {
        Self {
            started: Instant::now(),
            phones: BTreeMap::new(),
            readings: 0,
            duplicates: 0,
            waiting: (0, 0),
            spool_bytes: 0,
            spool_cap: 0,
            oldest: None,
            disk_free: None,
            drained_in: None,
            thresholds: [0.0; 3],
            test: None,
            notice: None,
        }
    }
}

/// A push of the app's test button.
#[derive(Debug, Clone)]
pub struct Test {
    /// Of the phone, if the push told it.
    pub device: Option<String>,
    /// When it came.
    pub at: Instant,
}

/// What a phone sends of one sensor.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Sensor {
    /// As the app calls it.
    pub name: String,
    /// Readings per second of the phone's clock, over the last pushes.
    pub hertz: f64,
}

/// One phone.
#[derive(Debug, Clone)]
pub struct Phone {
    /// When it was last heard.
    pub heard: Instant,
    /// Readings accepted since the agent's start.
    pub readings: u64,
    /// Its running window, if it has one.
    pub running: Option<Window>,
    /// Its last recording.
    pub session: String,
    /// When the running window's activity began: nanoseconds since the Unix epoch, phone's clock.
    pub since: Option<i64>,
    /// Readings per second over the last pushes.
    pub rate: f64,
    /// What it sends, by name.
    pub sensors: Vec<Sensor>,
    /// Numbers of messages of the recording that never came.
    pub holes: u64,
    /// Readings of the recording that came too late for a window.
    pub late: u64,
}

impl Phone {
    /// One that is heard for the first time.
    pub fn new(heard: Instant) -> Self {
        Self {
            heard,
            readings: 0,
            running: None,
            session: String::new(),
            since: None,
            rate: 0.0,
            sensors: Vec::new(),
            holes: 0,
            late: 0,
        }
    }
}

impl AgentStatus {
    /// The state now.
    pub fn snapshot(&self) -> AgentSnapshot {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes a push of the app's test button, of `device` if it told that.
    pub(crate) fn tested(&self, device: Option<String>) {
        let test = Test { device, at: Instant::now() };
        self.now.lock().unwrap_or_else(PoisonError::into_inner).test = Some(test);
    }

    pub(crate) fn notice(&self, notice: String) {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).notice = Some(notice);
    }

    pub(crate) fn tell(&self, heard: Vec<Heard>, duplicates: u64, waiting: &[(Stream, u64)], spool_bytes: u64) {
        let mut now = self.now.lock().unwrap_or_else(PoisonError::into_inner);
        let readings: u64 = heard.iter().map(|heard| heard.readings).sum();
        let of = |stream| waiting.iter().find(|(s, _)| *s == stream).map_or(0, |(_, frames)| *frames);
        now.readings += readings;
        now.duplicates += duplicates;
        now.waiting = (of(Stream::Raw), of(Stream::Activity));
        now.spool_bytes = spool_bytes;
        for heard in heard {
            if now.phones.len() >= MAX_PHONES && !now.phones.contains_key(&heard.device) {
                now.phones.retain(|_, phone| heard.at.saturating_duration_since(phone.heard) < FORGET);
                if now.phones.len() >= MAX_PHONES {
                    continue;
                }
            }
            let phone = now.phones.entry(heard.device).or_insert_with(|| Phone::new(heard.at));
            if heard.readings > 0 {
                phone.heard = heard.at;
            }
            phone.readings += heard.readings;
            phone.running = heard.running;
        }
    }
}
