//! Kafka between the relay and the warehouse.

use std::sync::Arc;

use anyhow::Context as _;
use gaitway_kafka::KafkaConfig;
use gaitway_proto::ledger::Ledger;
use gaitway_proto::schema::TABLES;
use gaitway_relay::RelayConfig;
use gaitway_relay::kafka::{KafkaLedger, owner_name};
use gaitway_service::config::{ConfigError, Loaded, Wrong};
use gaitway_service::health::Health;
use gaitway_service::metrics::Metrics;
use gaitway_service::tasks::Tasks;
use gaitway_sink::sqlite::Warehouse;
use gaitway_sink::{Shared, SinkConfig};
use tokio_util::sync::CancellationToken;

/// What relay and sink make of Kafka.
pub(super) struct Between {
    relay: KafkaConfig,
    sink: SinkConfig,
}

/// Kafka, if the relay is to commit to it. The sink reads from the same unless it is told otherwise.
pub(super) fn chosen(relay: &Loaded<RelayConfig>, sink: &Loaded<SinkConfig>) -> Result<Option<Between>, ConfigError> {
    let Some(kafka) = relay.config.kafka.clone() else {
        for key in ["kafka", "group", "batch", "admin"] {
            if sink.is_set(key) {
                let problem = "cannot stand here alone: the relay commits to the warehouse itself; set `relay.kafka` too, or give --kafka";
                return Err(sink.refuse(Wrong::new(key, problem)));
            }
        }
        return Ok(None);
    };
    let mut sink_config = sink.config.clone();
    if !sink.is_set("kafka") {
        sink_config.kafka = kafka.clone();
    } else if !sink.is_set("kafka.brokers") {
        let problem =
            "must have `brokers` too: it stands in the place of `relay.kafka`; without it the sink takes that";
        return Err(sink.refuse(Wrong::new("kafka", problem)));
    }
    let read = |config: &KafkaConfig| TABLES.map(|table| config.topics.of(table).to_owned());
    if read(&sink_config.kafka) != read(&kafka) {
        let problem = "must name the topics that the relay writes, those of `relay.kafka.topics`";
        return Err(sink.refuse(Wrong::new("kafka.topics", problem)));
    }
    Ok(Some(Between { relay: kafka, sink: sink_config }))
}

impl Between {
    /// Begins to bring records into `warehouse`; gives the ledger that the relay commits to.
    pub(super) fn between(
        self,
        warehouse: Warehouse,
        tasks: &mut Tasks,
        (health, metrics): (&Health, &Metrics),
        shutdown: &CancellationToken,
    ) -> anyhow::Result<Box<dyn Ledger>> {
        let Self { relay, sink } = self;
        let name = owner_name().context("the system gives no random numbers")?;
        tracing::info!(brokers = relay.brokers, "records go through Kafka");
        let ledgers = Arc::new(Shared::new(warehouse, |_| None));
        let (health, metrics, stop) = (health.clone(), metrics.clone(), shutdown.clone());
        tasks.spawn(
            "sink",
            async move { gaitway_sink::run(sink, ledgers, &health, &metrics, stop).await.context("sink") },
        );
        Ok(Box::new(KafkaLedger::new(relay, name)))
    }
}
