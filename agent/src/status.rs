//! What the agent shows to people: phones, what they do, how much waits.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gaitway_proto::activity::Window;
use gaitway_proto::ledger::Stream;
use tokio::sync::watch;

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
    /// The agent's name in the local network, such as `attic.local`, while it is in force.
    pub local_name: watch::Sender<Option<String>>,
}

/// The agent at one moment.
#[derive(Debug, Clone, Default)]
pub struct AgentSnapshot {
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
    /// What happened to the spool before the one in use, and what to do.
    pub notice: Option<String>,
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
}

impl AgentStatus {
    /// The state now.
    pub fn snapshot(&self) -> AgentSnapshot {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
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
            let phone = now.phones.entry(heard.device).or_insert(Phone { heard: heard.at, readings: 0, running: None });
            if heard.readings > 0 {
                phone.heard = heard.at;
            }
            phone.readings += heard.readings;
            phone.running = heard.running;
        }
    }
}
