//! How the uplink does: for the live view, `/readyz` and `/metrics`.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use gaitway_service::health::Part;
use gaitway_service::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;
use tokio::sync::watch;

use super::session::{Tally, Uplink};

/// The uplink's present state, shared with whoever shows it.
#[derive(Debug, Default)]
pub struct UplinkStatus {
    now: Mutex<UplinkSnapshot>,
    changed: Arc<watch::Sender<()>>,
}

/// The uplink at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UplinkSnapshot {
    /// The relay has welcomed the present session: frames move.
    pub welcomed: bool,
    /// When it last did.
    pub last_welcome: Option<Instant>,
    /// Frames acknowledged since the agent's start.
    pub committed_frames: u64,
    /// Bytes sent and not acknowledged.
    pub in_flight_bytes: usize,
    /// Why frames do not move.
    pub waiting: Option<String>,
}

impl UplinkStatus {
    /// One that tells `changed` of every change.
    pub(crate) fn telling(changed: Arc<watch::Sender<()>>) -> Self {
        Self { now: Mutex::default(), changed }
    }

    /// The state now.
    pub fn snapshot(&self) -> UplinkSnapshot {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, snapshot: UplinkSnapshot) {
        *self.now.lock().unwrap_or_else(PoisonError::into_inner) = snapshot;
        self.changed.send_replace(());
    }
}

/// Keeps status, health and metrics in step with the machine.
#[derive(Debug)]
pub(super) struct Gauges {
    status: std::sync::Arc<UplinkStatus>,
    health: Part,
    shown: UplinkSnapshot,
    counted: Tally,
    counters: UplinkMetrics,
}

/// The uplink's metrics. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct UplinkMetrics {
    welcomed: Gauge,
    in_flight: Gauge,
    hellos: Counter,
    welcomes: Counter,
    batches: Counter,
    frames: Counter,
    bytes: Counter,
    acknowledged: Counter,
    rewinds: Counter,
    ignored: Counter,
    stale_reads: Counter,
    disconnects: Counter,
}

impl UplinkMetrics {
    /// Registers them.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("agent_uplink");
            registry.register("welcomed", "1 while the relay takes frames", self.welcomed.clone());
            let in_flight = "Bytes sent and not acknowledged";
            registry.register_with_unit("in_flight", in_flight, Unit::Bytes, self.in_flight.clone());
            registry.register("hellos", "Sessions begun", self.hellos.clone());
            registry.register("welcomes", "Sessions that the relay welcomed", self.welcomes.clone());
            registry.register("batches", "Batches sent, repetitions included", self.batches.clone());
            registry.register("frames", "Frames sent, repetitions included", self.frames.clone());
            registry.register_with_unit("sent", "Bytes of frames sent", Unit::Bytes, self.bytes.clone());
            registry.register("acknowledged_frames", "Frames acknowledged by the relay", self.acknowledged.clone());
            registry.register("rewinds", "Times a stream went back to a missing frame", self.rewinds.clone());
            registry.register("ignored", "Words of the relay that fit no session or frame", self.ignored.clone());
            registry.register("stale_reads", "Reads of the spool overtaken by events", self.stale_reads.clone());
            registry.register("disconnects", "Connections that failed or were given up", self.disconnects.clone());
        });
    }

    fn advance(&self, from: &Tally, to: &Tally) {
        self.hellos.inc_by(to.hellos - from.hellos);
        self.welcomes.inc_by(to.welcomes - from.welcomes);
        self.batches.inc_by(to.batches - from.batches);
        self.frames.inc_by(to.frames - from.frames);
        self.bytes.inc_by(to.bytes - from.bytes);
        self.acknowledged.inc_by(to.acknowledged - from.acknowledged);
        self.rewinds.inc_by(to.rewinds - from.rewinds);
        self.ignored.inc_by(to.ignored - from.ignored);
        self.stale_reads.inc_by(to.stale_reads - from.stale_reads);
    }
}

impl Gauges {
    pub(super) fn new(status: std::sync::Arc<UplinkStatus>, health: Part, counters: UplinkMetrics) -> Self {
        Self { status, health, shown: UplinkSnapshot::default(), counted: Tally::default(), counters }
    }

    /// The link was lost.
    pub(super) fn disconnected(&self) {
        self.counters.disconnects.inc();
    }

    /// Shows the machine's state; `waiting` is why there is no welcome.
    pub(super) fn show(&mut self, uplink: &Uplink, now: Instant, waiting: &str) {
        let tally = uplink.tally();
        let welcomed = uplink.is_welcomed();
        let new_welcome = tally.welcomes != self.counted.welcomes;
        let waiting = match uplink.trouble() {
            Some(trouble) => Some(trouble.to_owned()),
            None => (!welcomed).then(|| waiting.to_owned()),
        };
        let snapshot = UplinkSnapshot {
            welcomed,
            last_welcome: if new_welcome { Some(now) } else { self.shown.last_welcome },
            committed_frames: tally.acknowledged,
            in_flight_bytes: uplink.in_flight(),
            waiting,
        };
        if snapshot.waiting != self.shown.waiting || welcomed != self.shown.welcomed {
            match &snapshot.waiting {
                Some(why) => self.health.not_ready(why),
                None => self.health.ready(),
            }
        }
        self.counters.welcomed.set(i64::from(welcomed));
        self.counters.in_flight.set(snapshot.in_flight_bytes as i64);
        self.counters.advance(&self.counted, &tally);
        self.counted = tally;
        if snapshot != self.shown {
            self.status.set(snapshot.clone());
            self.shown = snapshot;
        }
    }
}
