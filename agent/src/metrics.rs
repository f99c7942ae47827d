//! What the agent counts, below `gaitway_agent_`.

use gaitway_proto::activity::Activity;
use gaitway_proto::ledger::Stream;
use gaitway_service::metrics::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Unit;

use crate::ingest::Refusal;
use crate::status::Waiting;
use crate::uplink::UplinkMetrics;
use crate::writer::news::News;

pub(crate) mod now;

use now::Now;

type Label = [(&'static str, &'static str); 1];

/// The agent's metrics.
#[derive(Debug, Clone, Default)]
pub struct AgentMetrics {
    messages: Counter,
    readings: Counter,
    withheld: Counter,
    rounded: Counter,
    /// Bytes of accepted bodies.
    pub received: Counter,
    duplicates: Counter,
    conflicts: Counter,
    late: Counter,
    wild: Counter,
    held: Counter,
    windows: Family<Label, Counter>,
    refused: Family<Label, Counter>,
    let_go: Counter,
    dropped_messages: Counter,
    dropped_readings: Counter,
    damaged_frames: Counter,
    /// Spools that were damaged, removed or replaced while in use.
    pub lost_spools: Counter,
    /// Windows that are missing in what is shown of today.
    pub(crate) forgone_windows: Counter,
    /// Transactions that could not be written.
    pub failed_transactions: Counter,
    waiting: Family<Label, Gauge>,
    spool: Gauge,
}

/// Registers all that an agent tells, for those who describe it: of each metric there is at least one line.
pub fn describe(metrics: &Metrics) {
    let (agent, uplink) = (AgentMetrics::default(), UplinkMetrics::default());
    agent.register(metrics);
    uplink.register(metrics);
    for activity in [Activity::Stationary, Activity::Walking, Activity::Running, Activity::Sprinting] {
        drop(agent.windows.get_or_create(&[("activity", activity.as_str())]));
    }
    agent.tell(&News::default(), &Waiting::default());
    Now::described().register(metrics);
}

impl AgentMetrics {
    /// Registers them.
    pub fn register(&self, metrics: &Metrics) {
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("agent");
            registry.register("messages", "Pushes accepted", self.messages.clone());
            registry.register("readings", "Readings accepted", self.readings.clone());
            let withheld = "Readings accepted that are not kept, as is set for their phone";
            registry.register("withheld_readings", withheld, self.withheld.clone());
            let rounded = "Readings accepted whose place was rounded, as is set for their phone";
            registry.register("rounded_readings", rounded, self.rounded.clone());
            registry.register_with_unit("received", "Bodies accepted", Unit::Bytes, self.received.clone());
            registry.register("duplicates", "Pushes accepted before", self.duplicates.clone());
            registry.register("conflicts", "Pushes whose id belongs to another body", self.conflicts.clone());
            registry.register("late_readings", "Readings left out of a window", self.late.clone());
            registry.register("wild_readings", "Readings whose time is not believed", self.wild.clone());
            registry.register("held_messages", "Pushes that wait to be confirmed", self.held.clone());
            registry.register("windows", "Windows closed", self.windows.clone());
            registry.register("refused_pushes", "Pushes refused", self.refused.clone());
            // A rate sees nothing of the first count of a series that was not there at 0.
            for reason in Refusal::REASONS {
                drop(self.refused.get_or_create(&[("reason", reason)]));
            }
            let let_go = self.let_go.clone();
            registry.register("let_go_windows", "Windows not told because another may have told them", let_go);
            registry.register("dropped_messages", "Pushes dropped by the spool's cap", self.dropped_messages.clone());
            registry.register("dropped_readings", "Readings dropped by the spool's cap", self.dropped_readings.clone());
            let damaged = self.damaged_frames.clone();
            registry.register("damaged_frames", "Frames of the spool whose checksum did not hold", damaged);
            let lost = "Spools damaged, removed or replaced, each followed by a new one";
            registry.register("lost_spools", lost, self.lost_spools.clone());
            let forgone = "Windows missing in what is shown of today, and kept for the relay";
            registry.register("forgone_windows", forgone, self.forgone_windows.clone());
            let failed = self.failed_transactions.clone();
            registry.register("failed_transactions", "Transactions that could not be written", failed);
            registry.register("waiting_frames", "Frames that wait for the relay", self.waiting.clone());
            registry.register_with_unit("spool", "Pages of the spool in use", Unit::Bytes, self.spool.clone());
        });
    }

    /// Counts a refused push.
    pub fn refuse(&self, reason: &'static str) {
        self.refused.get_or_create(&[("reason", reason)]).inc();
    }

    pub(crate) fn tell(&self, news: &News, waiting: &Waiting) {
        self.messages.inc_by(news.messages);
        self.readings.inc_by(news.readings);
        self.withheld.inc_by(news.withheld);
        self.rounded.inc_by(news.rounded);
        self.duplicates.inc_by(news.duplicates);
        self.conflicts.inc_by(news.conflicts);
        self.late.inc_by(news.late);
        self.wild.inc_by(news.wild);
        self.held.inc_by(news.held);
        self.let_go.inc_by(news.let_go);
        self.dropped_messages.inc_by(news.dropped_messages);
        self.dropped_readings.inc_by(news.dropped_readings);
        self.damaged_frames.inc_by(news.damaged);
        for closing in news.heard.iter().flat_map(|heard| &heard.closed) {
            self.windows.get_or_create(&[("activity", closing.window.activity.as_str())]).inc();
        }
        for (stream, frames) in [(Stream::Raw, waiting.raw), (Stream::Activity, waiting.activity)] {
            self.waiting.get_or_create(&[("stream", stream.as_str())]).set(frames as i64);
        }
        self.spool.set(waiting.spool_bytes as i64);
    }
}
