//! One transaction: records, then marks, drained, then committed.
//!
//! - Once the service stops, no coordinator is waited for to begin, and a commit no longer than the intake waits for it.

use std::cell::OnceCell;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gaitway_kafka::client::{self, Context, Trouble};
use gaitway_kafka::config::TRANSACTION_TIMEOUT;
use gaitway_kafka::headers::Writer;
use gaitway_kafka::progress::STOPPED;
use gaitway_kafka::{KafkaConfig, topics};
use gaitway_proto::record::Record;
use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, NoCustomPartitioner, Producer as _, ProducerContext};
use tokio_util::sync::CancellationToken;

use crate::intake::FINISH_WITHIN;

#[cfg(test)]
mod classes;

/// How long the coordinator may take to begin or to commit.
const COORDINATOR: Duration = Duration::from_secs(30);

/// How long what was produced may take to be acknowledged.
const DRAIN: Duration = Duration::from_secs(45);

/// How long it is waited for at a time, before it is looked whether the service stops. librdkafka goes on with what timed out, and then
/// says what it last heard, or that it timed out: both as worth trying again.
const SLICE: Duration = Duration::from_millis(500);

/// Between slices.
const PAUSE: Duration = Duration::from_millis(5);

/// What the operator may set otherwise, under the names that librdkafka has them under.
const DEFAULTS: [(&str, &str); 5] = [
    ("compression.codec", "lz4"),
    ("queue.buffering.max.ms", "1"),
    ("queue.buffering.max.messages", "500000"),
    ("queue.buffering.max.kbytes", "262144"),
    ("message.timeout.ms", "40000"),
];

/// A producer that writes transactions.
pub(super) struct Producer {
    client: BaseProducer<Delivery>,
    refused: Refused,
    topics: gaitway_kafka::config::Topics,
    trouble: Trouble,
    stop: CancellationToken,
    /// When it was noticed that the service stops.
    stops: OnceCell<Instant>,
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

/// Made of the progress topic's name, so that a second relay on it fences the first.
pub(super) fn transactional_id(config: &KafkaConfig) -> String {
    format!("gaitway-relay-{}", config.topics.progress)
}

fn settings(config: &KafkaConfig) -> KafkaResult<ClientConfig> {
    let mut settings = client::base(config, super::CLIENT)?;
    let timeout = config.transaction_timeout().as_millis().to_string();
    for (name, value) in DEFAULTS.into_iter().chain([(TRANSACTION_TIMEOUT, timeout.as_str())]) {
        if settings.get(name).is_none() {
            settings.set(name, value);
        }
    }
    settings
        .set("transactional.id", transactional_id(config))
        .set("enable.idempotence", "true")
        .set("request.required.acks", "all")
        .set("message.max.bytes", topics::MESSAGE_BYTES.to_string())
        .set("delivery.report.only.error", "true")
        // As Java's clients do, so that a device has one partition whoever writes.
        .set("partitioner", "murmur2_random");
    Ok(settings)
}

/// Has the coordinator do what `ask` asks for, in slices, within [`COORDINATOR`] or until `gives_up`.
fn coordinate(ask: impl Fn(Duration) -> Result<(), KafkaError>, gives_up: impl Fn() -> bool) -> Result<(), KafkaError> {
    let begun = Instant::now();
    loop {
        match ask(SLICE) {
            Err(KafkaError::Transaction(error))
                if error.is_retriable() && begun.elapsed() < COORDINATOR && !gives_up() =>
            {
                std::thread::sleep(PAUSE);
            }
            done => return done,
        }
    }
}

impl Producer {
    /// Fences whoever wrote transactions of this progress topic, and ends what was left open.
    pub(super) fn begin(config: &KafkaConfig, stop: &CancellationToken) -> Result<Self, Failed> {
        let context = Context::default();
        let (trouble, refused) = (context.trouble.clone(), Refused::default());
        let failed = |error| Failed::Kafka(error, trouble.clone());
        let delivery = Delivery { context, refused: Arc::clone(&refused) };
        let producer: BaseProducer<Delivery> =
            settings(config).and_then(|settings| settings.create_with_context(delivery)).map_err(failed)?;
        coordinate(|slice| producer.init_transactions(slice), || stop.is_cancelled()).map_err(failed)?;
        let (topics, stop) = (config.topics.clone(), stop.clone());
        Ok(Self { client: producer, refused, topics, trouble, stop, stops: OnceCell::new() })
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
        coordinate(|slice| self.client.commit_transaction(slice), || self.gives_up())
            .map_err(|error| self.failed(error))
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
        if self.gives_up() {
            return Err(Failed::Slow(STOPPED.to_owned()));
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

    /// Whether the service stops and nobody waits any more for what is under way.
    fn gives_up(&self) -> bool {
        self.stop.is_cancelled() && self.stops.get_or_init(Instant::now).elapsed() >= FINISH_WITHIN
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
