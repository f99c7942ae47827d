//! The agent's state as JSON: what `/api/v1` answers and the page shows.

use std::time::{Duration, Instant};

use gaitway_proto::{schema, topic::AgentId};
use serde::Serialize;

use crate::kept::Unusable;
use crate::phones::Phones;
use crate::status::{AgentSnapshot, Phone, Sensor};
use crate::uplink::UplinkSnapshot;

mod history;

pub(crate) use history::{Activities, Motion, SessionWindow, ShownWindow, Windows};

/// The agent at one moment.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Status {
    /// The agent's name, once it has one.
    pub(crate) agent: Option<String>,
    /// Of the program.
    pub(crate) version: &'static str,
    /// Since the agent's start.
    pub(crate) uptime_seconds: u64,
    /// What should not be so, and what to do, a sentence each; the worst first.
    pub(crate) notices: Vec<String>,
    /// Anybody in the network may push: there is no list of phones.
    pub(crate) is_open: bool,
    /// Readings accepted since the agent's start.
    pub(crate) readings: u64,
    /// Pushes since the agent's start that were accepted before.
    pub(crate) duplicates: u64,
    /// The last push of the app's test button.
    pub(crate) test: Option<Test>,
    /// What waits for the relay.
    pub(crate) spool: Spool,
    /// The link to the relay.
    pub(crate) relay: Relay,
    /// The classifier's thresholds.
    pub(crate) thresholds: Thresholds,
    /// Phones heard since the agent's start, the last heard first.
    pub(crate) phones: Vec<SeenPhone>,
}

/// A push of the app's test button.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Test {
    /// Of the phone, if the push told it.
    pub(crate) device_id: Option<String>,
    /// Since it came.
    pub(crate) seconds_ago: u64,
}

/// What waits for the relay.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Spool {
    /// Frames: messages of readings, and sets of windows.
    pub(crate) frames: u64,
    /// Pages of the file in use.
    pub(crate) bytes: u64,
    /// The most that it takes.
    pub(crate) max_bytes: u64,
    /// Since the oldest frame was accepted.
    pub(crate) oldest_seconds: Option<u64>,
    /// Free on its disk.
    pub(crate) disk_free_bytes: Option<u64>,
    /// Until nothing waits, at the present speed; none if nothing waits, or if what waits does not become less.
    pub(crate) drained_in_seconds: Option<u64>,
}

/// The link to the relay.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Relay {
    /// It takes frames.
    pub(crate) is_linked: bool,
    /// Why it does not.
    pub(crate) waiting_for: Option<String>,
    /// Frames acknowledged since the agent's start.
    pub(crate) committed_frames: u64,
}

/// From which mean magnitude on, m/s², a window has each label; below the first it is stationary.
#[derive(Debug, Clone, Copy, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Thresholds {
    pub(crate) walking: f64,
    pub(crate) running: f64,
    pub(crate) sprinting: f64,
}

/// The phones.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct ShownPhones {
    /// Phones heard since the agent's start, the last heard first.
    pub(crate) phones: Vec<SeenPhone>,
}

/// One phone.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct SeenPhone {
    /// As the phone tells it.
    pub(crate) device_id: String,
    /// What people call it, if it has a token.
    pub(crate) name: Option<String>,
    /// Its last recording.
    pub(crate) session_id: String,
    /// Of its running window; none between recordings.
    #[cfg_attr(test, schema(schema_with = crate::api::openapi::made::activity_or_none))]
    pub(crate) activity: Option<&'static str>,
    /// Probability that the activity is right.
    pub(crate) confidence: Option<f64>,
    /// Mean magnitude of its acceleration in the running window, m/s².
    pub(crate) magnitude: Option<f64>,
    /// When the activity began, phone's clock, RFC 3339.
    #[cfg_attr(test, schema(format = DateTime))]
    pub(crate) since: Option<String>,
    /// Since it was last heard.
    pub(crate) seconds_ago: u64,
    /// Accepted since the agent's start.
    pub(crate) readings: u64,
    /// Over the last pushes, of the sensors that are shown; 0 once it is silent.
    pub(crate) readings_per_second: f64,
    /// What it sends, by name; nothing of a phone whose readings are not kept (`--keep activity`).
    pub(crate) sensors: Vec<Sensor>,
    /// Numbers of messages of this recording that never came.
    pub(crate) holes: u64,
    /// Readings of this recording that came too late for a window.
    pub(crate) late_readings: u64,
}

impl Status {
    /// What these tell; `open` is what to say of a door without a list of phones.
    pub(crate) fn of(
        agent: Option<&AgentId>,
        status: AgentSnapshot,
        uplink: &UplinkSnapshot,
        phones: Result<Option<&Phones>, &Unusable>,
        open: &str,
        now: Instant,
    ) -> Self {
        let since = |at: Instant| now.saturating_duration_since(at).as_secs();
        let mut notices = Vec::new();
        match phones {
            Ok(None) => notices.push(open.to_owned()),
            Ok(Some(_)) => {}
            Err(unusable) => notices.push(format!("Nobody may push: {unusable}")),
        }
        let is_recent = |at: &Instant| now.saturating_duration_since(*at) < REFUSED_FOR;
        notices.extend(status.refused.filter(|(_, at)| is_recent(at)).map(|(said, _)| said));
        notices.extend(status.notice);
        notices.extend(uplink.waiting.as_ref().map(|why| format!("Nothing is forwarded: {why}")));
        let name = |device: &str| {
            let phones = phones.ok()??;
            phones.iter().find(|phone| phone.device.as_deref() == Some(device)).map(|phone| phone.name.clone())
        };
        let mut shown: Vec<SeenPhone> = status
            .phones
            .into_iter()
            .map(|(device, phone)| SeenPhone::of(name(&device), device, &phone, now))
            .collect();
        shown.sort_by_key(|phone| phone.seconds_ago);
        let frames = status.waiting.0 + status.waiting.1;
        Self {
            agent: agent.map(ToString::to_string),
            version: env!("CARGO_PKG_VERSION"),
            uptime_seconds: since(status.started),
            notices: notices.iter().map(|notice| sentence(notice)).collect(),
            is_open: matches!(phones, Ok(None)),
            readings: status.readings,
            duplicates: status.duplicates,
            test: status.test.map(|test| Test { device_id: test.device, seconds_ago: since(test.at) }),
            spool: Spool {
                frames,
                bytes: status.spool_bytes,
                max_bytes: status.spool_cap,
                oldest_seconds: status.oldest.map(|age| age.as_secs()),
                disk_free_bytes: status.disk_free,
                drained_in_seconds: status.drained_in.map(|left| left.as_secs()),
            },
            relay: Relay {
                is_linked: uplink.welcomed,
                waiting_for: uplink.waiting.clone(),
                committed_frames: uplink.committed_frames,
            },
            thresholds: Thresholds {
                walking: status.thresholds[0],
                running: status.thresholds[1],
                sprinting: status.thresholds[2],
            },
            phones: shown,
        }
    }
}

impl SeenPhone {
    fn of(name: Option<String>, device_id: String, phone: &Phone, now: Instant) -> Self {
        let silent = now.saturating_duration_since(phone.heard);
        let running = phone.running.as_ref();
        Self {
            device_id,
            name,
            session_id: phone.session.clone(),
            activity: running.map(|window| window.activity.as_str()),
            confidence: running.map(|window| window.confidence),
            magnitude: running.map(|window| window.mean),
            since: phone.since.filter(|_| running.is_some()).map(schema::rfc3339),
            seconds_ago: silent.as_secs(),
            readings: phone.readings,
            readings_per_second: if silent < SILENT { phone.rate } else { 0.0 },
            sensors: phone.sensors.clone(),
            holes: phone.holes,
            late_readings: phone.late,
        }
    }
}

/// What a log says, as pages say it: with a capital and a stop.
pub(crate) fn sentence(said: &str) -> String {
    let mut letters = said.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    let stop = if said.ends_with(['.', '!', '?']) { "" } else { "." };
    first.chain(letters).chain(stop.chars()).collect()
}

/// A refused push is told of for so long: phones push every few seconds.
const REFUSED_FOR: Duration = Duration::from_secs(60);

/// A phone that sent nothing for so long sends nothing: twice the app's longest batch period.
const SILENT: Duration = Duration::from_secs(10);
