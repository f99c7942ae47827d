//! What relay and sink share of Kafka. In the order in which a service meets it:
//!
//! 1. [`config`]: brokers, topic names, any property of librdkafka.
//! 2. [`client`] makes clients of it that log through tracing and remember what is wrong.
//! 3. [`topics`] creates what is missing and says what weakens the law.
//! 4. [`headers`] carry a record's name beside its JSON value.
//! 5. [`progress`] is the topic of watermarks: who owns it, how far each agent's streams are committed.
//! 6. [`records`] shows what is committed to whoever looks on.
//! 7. [`rights`] says which right is missing where brokers refuse for lack of one.
//! 8. [`checkup`] says what is missing or wrong to whoever asks.
//!
//! Calls block; a client lives on a thread of its own.

pub mod checkup;
pub mod client;
pub mod config;
pub mod headers;
pub mod progress;
pub mod records;
pub mod rights;
pub mod topics;

pub use config::KafkaConfig;
