//! The sink's counters, `gaitway_sink_…`.

use gaitway_service::metrics::Metrics;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use super::taken::Refusal;

/// Labels `topic` and `partition`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Of {
    pub topic: String,
    pub partition: i32,
}

/// Label `reason`.
pub(super) type Reason = [(&'static str, &'static str); 1];

/// See the module. Clones count together.
#[derive(Debug, Clone)]
pub(super) struct SinkMetrics {
    pub rows: Counter,
    pub batches: Counter,
    pub bytes: Counter,
    pub submit_seconds: Histogram,
    pub dead_letters: Family<Reason, Counter>,
    pub owned: Gauge,
    pub stopped: Gauge,
    pub lag: Family<Of, Gauge>,
    pub ledger_errors: Counter,
    pub committed_at: Gauge,
    pub held: Gauge,
    pub prefetched: Gauge,
}

/// Registers all that a sink tells of itself, for those who describe it: of each metric there is at least one line.
pub fn describe(metrics: &Metrics) {
    let counters = SinkMetrics::register(metrics);
    drop(counters.dead_letters.get_or_create(&[("reason", "")]));
    drop(counters.lag.get_or_create(&Of { topic: String::new(), partition: 0 }));
}

impl SinkMetrics {
    /// Counters that start at 0, registered with `metrics`.
    pub(super) fn register(metrics: &Metrics) -> Self {
        let new = Self {
            rows: Counter::default(),
            batches: Counter::default(),
            bytes: Counter::default(),
            submit_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 14)),
            dead_letters: Family::default(),
            owned: Gauge::default(),
            stopped: Gauge::default(),
            lag: Family::default(),
            ledger_errors: Counter::default(),
            committed_at: Gauge::default(),
            held: Gauge::default(),
            prefetched: Gauge::default(),
        };
        metrics.register(|registry| new.name(registry.sub_registry_with_prefix("sink")));
        new
    }

    fn name(&self, to: &mut Registry) {
        to.register("rows", "Records that the warehouse accepted", self.rows.clone());
        to.register("batches", "Submits that the warehouse accepted", self.batches.clone());
        to.register_with_unit("stored", "Keys and values that the warehouse accepted", Unit::Bytes, self.bytes.clone());
        to.register_with_unit("submit", "Time a submit took", Unit::Seconds, self.submit_seconds.clone());
        to.register(
            "dead_letters",
            "Records set aside in the topic of dead letters, by reason",
            self.dead_letters.clone(),
        );
        // A rate sees nothing of the first count of a series that was not there at 0.
        for kind in Refusal::KINDS {
            drop(self.dead_letters.get_or_create(&[("reason", kind)]));
        }
        to.register("partitions_owned", "Partitions that this sink reads or has stopped", self.owned.clone());
        to.register("partitions_stopped", "Partitions that wait for somebody to look", self.stopped.clone());
        to.register("lag", "Offsets between what is stored and the end of the partition", self.lag.clone());
        to.register("ledger_errors", "Failures of the warehouse", self.ledger_errors.clone());
        let help = "When the warehouse last committed something, since the Unix epoch";
        to.register_with_unit("last_commit_timestamp", help, Unit::Seconds, self.committed_at.clone());
        to.register_with_unit("held", "Records that wait for their submit", Unit::Bytes, self.held.clone());
        to.register_with_unit("prefetched", "Records read ahead from Kafka", Unit::Bytes, self.prefetched.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_of_dead_letters_is_there_at_0() {
        let metrics = Metrics::new();
        let _sink = SinkMetrics::register(&metrics);
        let text = metrics.encode();
        for why in [Refusal::Unreadable, Refusal::Refused, Refusal::PassedOver] {
            let line = format!("gaitway_sink_dead_letters_total{{reason=\"{}\"}} 0", why(String::new()).kind());
            assert!(text.lines().any(|found| found == line), "{line}: {text}");
        }
        assert_eq!(text.matches("gaitway_sink_dead_letters_total{").count(), Refusal::KINDS.len());
    }
}
