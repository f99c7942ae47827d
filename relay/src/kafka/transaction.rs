//! One transaction: records, then marks, drained, then committed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gaitway_kafka::client::{self, Context, Trouble};
use gaitway_kafka::headers::Writer;
use gaitway_kafka::{KafkaConfig, topics};
use gaitway_proto::record::Record;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext};

/// How long the coordinator may take to begin or to commit.
const COORDINATOR: Duration = Duration::from_secs(30);

/// How long what was produced may take to be acknowledged.
const DRAIN: Duration = Duration::from_secs(45);

/// Longer than all of these: only a relay that is gone leaves it to the coordinator to end its transaction.
const TRANSACTION: &str = "90000";

/// What the operator may set otherwise.
const DEFAULTS: [(&str, &str); 6] = [
    ("compression.codec", "lz4"),
    ("linger.ms", "1"),
    ("transaction.timeout.ms", TRANSACTION),
    ("queue.buffering.max.messages", "500000"),
    ("queue.buffering.max.kbytes", "262144"),
    ("delivery.timeout.ms", "40000"),
];

/// A producer that writes transactions.
pub(super) struct Producer {
    client: BaseProducer<Delivery>,
    refused: Refused,
    topics: gaitway_kafka::config::Topics,
    trouble: Trouble,
}

/// Why a transaction was not committed, or may not have been.
#[derive(Debug)]
pub(super) enum Failed {
    /// Kafka says so.
    Kafka(KafkaError, Trouble),
    /// A record that no topic takes.
    TooLarge(String),
    /// The brokers do not acknowledge.
    Slow(String),
}

/// The first record that was not taken.
type Refused = Arc<Mutex<Option<KafkaError>>>;

struct Delivery {
    context: Context,
    refused: Refused,
}

impl ClientContext for Delivery {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.context.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Delivery {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if let Err((error, _)) = result {
            self.refused.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| error.clone());
        }
    }
}

impl Producer {
    /// Fences whoever wrote transactions of this progress topic, and ends what was left open.
    pub(super) fn begin(config: &KafkaConfig) -> Result<Self, Failed> {
        let context = Context::default();
        let (trouble, refused) = (context.trouble.clone(), Refused::default());
        let mut settings = client::base(config, super::CLIENT);
        for (name, value) in DEFAULTS {
            if settings.get(name).is_none() {
                settings.set(name, value);
            }
        }
        settings
            .set("transactional.id", format!("gaitway-relay-{}", config.topics.progress))
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.max.bytes", topics::MESSAGE_BYTES.to_string())
            .set("delivery.report.only.error", "true")
            // As Java's clients do, so that a device has one partition whoever writes.
            .set("partitioner", "murmur2_random");
        let failed = |error| Failed::Kafka(error, trouble.clone());
        let delivery = Delivery { context, refused: Arc::clone(&refused) };
        let producer: BaseProducer<Delivery> = settings.create_with_context(delivery).map_err(failed)?;
        producer.init_transactions(COORDINATOR).map_err(failed)?;
        Ok(Self { client: producer, refused, topics: config.topics.clone(), trouble })
    }

    /// Commits `records` and `marks` (key, partition, value; none deletes the key) in one transaction.
    pub(super) fn commit(&self, records: &[Record<'_>], marks: &[(&str, i32, Option<&str>)]) -> Result<(), Failed> {
        self.client.begin_transaction().map_err(|error| self.failed(error))?;
        let (mut value, mut headers) = (String::new(), Writer::default());
        for record in records {
            value.clear();
            record.write_json(&mut value);
            let mut message = BaseRecord::to(self.topics.of(record.table())).payload(&value);
            message.key = record.key();
            if let Some(name) = &record.metadata.name {
                message = message.headers(headers.write(name));
            }
            self.send(message)?;
        }
        for (key, partition, value) in marks {
            let mut message = BaseRecord::to(&self.topics.progress).key(*key).partition(*partition);
            message.payload = *value;
            self.send::<str, str>(message)?;
        }
        self.drain()?;
        self.client.commit_transaction(COORDINATOR).map_err(|error| self.failed(error))
    }

    /// Serves events while nothing is sent.
    pub(super) fn poll(&self) {
        self.client.poll(Duration::ZERO);
    }

    fn send<K, P>(&self, message: BaseRecord<'_, K, P>) -> Result<(), Failed>
    where
        K: rdkafka::message::ToBytes + ?Sized,
        P: rdkafka::message::ToBytes + ?Sized,
    {
        let (mut message, begun) = (message, Instant::now());
        loop {
            message = match self.client.send(message) {
                Ok(()) => return Ok(()),
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => back,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::MessageSizeTooLarge), back)) => {
                    let bytes = back.payload.map_or(0, |value| value.to_bytes().len());
                    let topic = back.topic;
                    return Err(Failed::TooLarge(format!(
                        "a record of {bytes} bytes is too large for the topic {topic}"
                    )));
                }
                Err((error, _)) => return Err(self.failed(error)),
            };
            self.check(begun)?;
        }
    }

    fn drain(&self) -> Result<(), Failed> {
        let begun = Instant::now();
        while self.client.in_flight_count() > 0 {
            self.check(begun)?;
        }
        self.check(begun)
    }

    /// Waits a moment for the brokers.
    fn check(&self, begun: Instant) -> Result<(), Failed> {
        self.client.poll(Duration::from_millis(1));
        if let Some(error) = self.refused.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(self.failed(error));
        }
        if begun.elapsed() > DRAIN {
            let waiting = self.client.in_flight_count();
            let heard = self.trouble.take().map(|said| format!(" ({said})")).unwrap_or_default();
            return Err(Failed::Slow(format!(
                "{waiting} records are not acknowledged after {} s{heard}",
                DRAIN.as_secs()
            )));
        }
        Ok(())
    }

    fn failed(&self, error: KafkaError) -> Failed {
        // What is in the queue when the client breaks is purged, which says nothing of the reason.
        let error = match self.client.client().fatal_error() {
            Some((code, _)) => KafkaError::Global(code),
            None => error,
        };
        Failed::Kafka(error, self.trouble.clone())
    }
}
