//! The relay's counters, `gaitway_relay_…`.

use gaitway_service::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::agents::Agents;

/// One label, `reason`.
pub(crate) type Reason = [(&'static str, &'static str); 1];

/// See the module. Clones count together.
#[derive(Debug, Clone)]
pub(crate) struct RelayMetrics {
    pub connections: Gauge,
    pub closed: Family<Reason, Counter>,
    pub broker_up: Gauge,
    pub broker_connections: Counter,
    pub broker_dropped: Family<Reason, Counter>,
    pub sessions: Gauge,
    pub held: Gauge,
    pub batches: Counter,
    pub refused: Counter,
    pub duplicates: Counter,
    pub rewinds: Counter,
    pub gaps: Counter,
    pub unreadable: Counter,
    pub frames: Counter,
    pub readings: Counter,
    pub windows: Counter,
    pub bytes: Counter,
    pub commits: Counter,
    pub commit_seconds: Histogram,
    pub committed_at: Gauge,
    pub ledger_errors: Counter,
}

/// Registers all that a relay tells, for those who describe it: of each metric there is at least one line.
pub fn describe(metrics: &Metrics) {
    let counters = RelayMetrics::register(metrics);
    drop(counters.closed.get_or_create(&[("reason", "")]));
    drop(counters.broker_dropped.get_or_create(&[("reason", "")]));
    Agents::described(metrics);
}

impl RelayMetrics {
    /// Counters that start at 0, registered with `metrics`.
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let new = Self {
            connections: Gauge::default(),
            closed: Family::default(),
            broker_up: Gauge::default(),
            broker_connections: Counter::default(),
            broker_dropped: Family::default(),
            sessions: Gauge::default(),
            held: Gauge::default(),
            batches: Counter::default(),
            refused: Counter::default(),
            duplicates: Counter::default(),
            rewinds: Counter::default(),
            gaps: Counter::default(),
            unreadable: Counter::default(),
            frames: Counter::default(),
            readings: Counter::default(),
            windows: Counter::default(),
            bytes: Counter::default(),
            commits: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            committed_at: Gauge::default(),
            ledger_errors: Counter::default(),
        };
        metrics.register(|registry| new.name(registry.sub_registry_with_prefix("relay")));
        new
    }

    /// Counts a connection's end.
    pub(crate) fn count_closed(&self, reason: &'static str) {
        self.closed.get_or_create(&[("reason", reason)]).inc();
    }

    /// Counts a publish of the broker that was dropped.
    pub(crate) fn count_dropped(&self, reason: &'static str) {
        self.broker_dropped.get_or_create(&[("reason", reason)]).inc();
    }

    fn name(&self, to: &mut Registry) {
        to.register("connections", "MQTT connections open; agents behind a broker", self.connections.clone());
        to.register("closed_connections", "Connections refused or ended, by reason", self.closed.clone());
        to.register("broker_up", "1 while the relay is connected to its broker", self.broker_up.clone());
        to.register("broker_connections", "Times the relay reached its broker", self.broker_connections.clone());
        let dropped = self.broker_dropped.clone();
        to.register("broker_dropped_publishes", "Publishes of the broker that were dropped, by reason", dropped);
        to.register("sessions", "Agents welcomed and connected", self.sessions.clone());
        to.register_with_unit("held", "Taken from agents and not committed", Unit::Bytes, self.held.clone());
        to.register("batches", "Batches that arrived", self.batches.clone());
        to.register("refusals", "Words of agents that could not be taken", self.refused.clone());
        to.register("duplicates", "Items dropped because they were taken before", self.duplicates.clone());
        to.register("rewinds", "Times an agent was asked for a missing seq", self.rewinds.clone());
        to.register("gaps", "Gap records committed", self.gaps.clone());
        to.register("unreadable_frames", "Frames that could not be read, committed as gaps", self.unreadable.clone());
        to.register("frames", "Frames committed", self.frames.clone());
        to.register("readings", "Readings committed", self.readings.clone());
        to.register("windows", "Classified windows committed", self.windows.clone());
        to.register_with_unit("committed", "Frames committed", Unit::Bytes, self.bytes.clone());
        to.register("commits", "Commits", self.commits.clone());
        to.register_with_unit("commit", "Time a commit took", Unit::Seconds, self.commit_seconds.clone());
        let help = "When the ledger last committed something, since the Unix epoch; 0 before that";
        to.register_with_unit("last_commit_timestamp", help, Unit::Seconds, self.committed_at.clone());
        to.register("ledger_errors", "Failures of the ledger", self.ledger_errors.clone());
    }
}
