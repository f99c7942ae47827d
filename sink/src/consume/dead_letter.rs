//! The topic of dead letters: what cannot be stored is kept whole, and somebody may look.
//!
//! - A letter is acknowledged by Kafka before the mark passes its record, so it comes at least once.
//! - Its key is `topic/partition/offset`, its value the original's; headers say why, and what key, headers and time the
//!   original had.
//! - What is too great for the topic leaves a letter that says so: first without the value, then with place and reason
//!   alone. So no record can keep its partition from going on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gaitway_kafka::client::{self, Trouble};
use gaitway_kafka::rights::Right;
use gaitway_kafka::{KafkaConfig, topics};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use tokio_util::sync::CancellationToken;

use super::taken::{Refusal, Taken};

/// How long letters may take to be acknowledged.
const PATIENCE: Duration = Duration::from_secs(30);

/// Longest reason in a header, bytes.
const MAX_REASON: usize = 1024;

/// What a letter has of its record; each form is smaller than the one before. A letter is written in another form when it
/// is the last one that has no outcome, so it is then in a batch of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// In one batch with others, of which any may be too great.
    Together,
    Whole,
    WithoutValue,
    PlaceAlone,
}

impl Form {
    fn smaller(self) -> Option<Self> {
        match self {
            Self::Together => Some(Self::Whole),
            Self::Whole => Some(Self::WithoutValue),
            Self::WithoutValue => Some(Self::PlaceAlone),
            Self::PlaceAlone => None,
        }
    }
}

/// Letters under way at a time.
const CHUNK: usize = 1_000;

/// Writes letters. Clones share the producer.
#[derive(Clone)]
pub(super) struct DeadLetters {
    config: Arc<KafkaConfig>,
    client_id: Arc<str>,
    producer: Arc<Mutex<Option<BaseProducer<Acks>>>>,
}

/// What came of a letter.
type Outcome = Arc<Mutex<Option<Result<(), RDKafkaErrorCode>>>>;

#[derive(Clone, Default)]
struct Acks(client::Context);

impl ClientContext for Acks {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.0.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.0.error(error, reason);
    }
}

impl ProducerContext for Acks {
    type DeliveryOpaque = Box<Outcome>;

    fn delivery(&self, result: &DeliveryResult<'_>, outcome: Box<Outcome>) {
        let told = match result {
            Ok(_) => Ok(()),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Fail)),
        };
        *outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }
}

impl DeadLetters {
    pub(super) fn new(config: Arc<KafkaConfig>, client_id: &str) -> Self {
        Self { config, client_id: client_id.into(), producer: Arc::default() }
    }

    /// Writes a letter for each of `refused`, records of `partition` of `topic`, and waits until all are acknowledged. The
    /// error is a sentence; some may be written then.
    pub(super) fn write(&self, topic: &str, partition: i32, refused: &[(&Taken, Refusal)]) -> Result<(), String> {
        if refused.is_empty() {
            return Ok(());
        }
        let mut kept = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        let producer = match kept.take() {
            Some(producer) => producer,
            None => self.producer()?,
        };
        let trouble = producer.context().0.trouble.clone();
        for chunk in refused.chunks(CHUNK) {
            let letters: Vec<Letter<'_>> =
                chunk.iter().map(|(taken, why)| Letter::of(topic, partition, taken, why)).collect();
            self.deliver(&producer, &trouble, &letters)?;
        }
        // After an error another producer is made.
        *kept = Some(producer);
        Ok(())
    }

    fn producer(&self) -> Result<BaseProducer<Acks>, String> {
        let context = Acks::default();
        let trouble = context.0.trouble.clone();
        let made = client::base(&self.config, &self.client_id).and_then(|mut settings| {
            settings
                .set("enable.idempotence", "true")
                .set("acks", "all")
                .set("queue.buffering.max.ms", "0")
                .set("compression.codec", "lz4")
                // The topic's own limit is the one that counts.
                .set("message.max.bytes", "1000000000")
                .set("message.timeout.ms", (PATIENCE.as_millis() - 5_000).to_string())
                .create_with_context(context)
        });
        made.map_err(|error| client::sentence(&self.config, "make a producer of dead letters", &error, &trouble))
    }

    fn deliver(&self, producer: &BaseProducer<Acks>, trouble: &Trouble, letters: &[Letter<'_>]) -> Result<(), String> {
        let end = Instant::now() + PATIENCE;
        let mut waiting: Vec<(&Letter<'_>, Form, Outcome)> = Vec::with_capacity(letters.len());
        for letter in letters {
            waiting.push((letter, Form::Together, self.send(producer, trouble, letter, Form::Together, end)?));
        }
        while let Some((letter, form, outcome)) = waiting.pop() {
            loop {
                let told = *outcome.lock().unwrap_or_else(PoisonError::into_inner);
                match (told, form.smaller()) {
                    (Some(Ok(())), _) => break,
                    (Some(Err(code)), Some(smaller)) if is_too_great(code) => {
                        waiting.push((letter, smaller, self.send(producer, trouble, letter, smaller, end)?));
                        break;
                    }
                    (Some(Err(code)), _) => return Err(self.sentence(&KafkaError::MessageProduction(code), trouble)),
                    (None, _) if Instant::now() >= end => {
                        let code = RDKafkaErrorCode::MessageTimedOut;
                        return Err(self.sentence(&KafkaError::MessageProduction(code), trouble));
                    }
                    (None, _) => producer.poll(Duration::from_millis(5)),
                }
            }
        }
        Ok(())
    }

    fn send(
        &self,
        producer: &BaseProducer<Acks>,
        trouble: &Trouble,
        letter: &Letter<'_>,
        form: Form,
        end: Instant,
    ) -> Result<Outcome, String> {
        let outcome = Outcome::default();
        loop {
            let mut record =
                BaseRecord::with_opaque_to(&self.config.topics.dead_letter, Box::new(Arc::clone(&outcome)))
                    .key(letter.key.as_bytes())
                    .headers(letter.headers(form));
            if let (Form::Together | Form::Whole, Some(value)) = (form, letter.taken.value()) {
                record = record.payload(value);
            }
            match producer.send(record) {
                Ok(()) => return Ok(outcome),
                Err((error, _)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    if Instant::now() >= end {
                        return Err(self.sentence(&error, trouble));
                    }
                    producer.poll(Duration::from_millis(5));
                }
                Err((error, _)) => return Err(self.sentence(&error, trouble)),
            }
        }
    }

    fn sentence(&self, error: &KafkaError, trouble: &Trouble) -> String {
        let topic = &self.config.topics.dead_letter;
        let doing = format!("write dead letters to {topic}");
        client::sentence_needing(&self.config, &doing, &[Right::Write(topic)], error, trouble)
    }
}

/// Creates the topic if it is missing and may be created. The error is a sentence.
pub(super) fn ensure(config: &KafkaConfig, client_id: &str, stop: &CancellationToken) -> Result<(), String> {
    let (created, findings) = topics::ensure(config, client_id, topics::written_by_sink, stop)?;
    for topic in created {
        tracing::info!(topic = topic.name, partitions = topic.partitions, "topic of dead letters created");
    }
    for finding in findings {
        tracing::warn!("{finding}");
    }
    Ok(())
}

/// A letter about a record.
struct Letter<'a> {
    key: String,
    taken: &'a Taken,
    why: &'a Refusal,
}

impl<'a> Letter<'a> {
    fn of(topic: &str, partition: i32, taken: &'a Taken, why: &'a Refusal) -> Self {
        Self { key: format!("{topic}/{partition}/{}", taken.offset), taken, why }
    }

    /// `reason` and `detail`; `original-key`, `original-timestamp` (milliseconds) where there are such; the original's
    /// headers behind `original-header-`; `left-out` where something does not fit or cannot be kept.
    fn headers(&self, form: Form) -> OwnedHeaders {
        let Self { taken, why, .. } = self;
        let text = |headers: OwnedHeaders, key: &str, value: &str| headers.insert(Header { key, value: Some(value) });
        let mut headers = text(OwnedHeaders::new(), "reason", why.kind());
        let said = why.said();
        let short = said
            .char_indices()
            .map_while(|(at, c)| (at + c.len_utf8() <= MAX_REASON).then_some(at + c.len_utf8()))
            .last();
        headers = text(headers, "detail", &said[..short.unwrap_or_default()]);
        if let Some(timestamp) = taken.timestamp() {
            headers = text(headers, "original-timestamp", &timestamp.to_string());
        }
        let bytes = taken.value().map_or(0, <[u8]>::len);
        if form == Form::PlaceAlone {
            let left_out = format!("key, headers and value of {bytes} bytes, too great for this topic");
            return text(headers, "left-out", &left_out);
        }
        if let Some(key) = taken.key() {
            headers = headers.insert(Header { key: "original-key", value: Some(key) });
        }
        for (key, value) in taken.headers() {
            let key = format!("original-header-{key}");
            headers = headers.insert(Header { key: &key, value: value.as_deref() });
        }
        if !taken.is_legible() {
            headers = text(headers, "left-out", "headers, of which a name is not UTF-8");
        }
        if form == Form::WithoutValue {
            headers = text(headers, "left-out", &format!("value of {bytes} bytes, too great for this topic"));
        }
        headers
    }
}

/// Whether Kafka says that a record is too great for its topic: for its messages, or for its segments.
fn is_too_great(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::MessageBatchTooLarge)
}
