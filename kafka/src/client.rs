//! Clients: configured alike, logging through tracing.
//!
//! - What librdkafka says of a broker that it cannot reach is remembered, so that a time-out can be explained: without what it counts and
//!   measures, so that the same trouble is the same sentence.
//! - Properties go by the names that librdkafka has them under: whoever sets one sets it for good.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use crate::KafkaConfig;
use crate::config::proper;

/// What a client last heard of its brokers. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Trouble(Arc<Mutex<Option<String>>>);

impl Trouble {
    /// The last thing that was wrong, which is forgotten then.
    pub fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn note(&self, said: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(said);
    }
}

/// The context of clients without callbacks of their own; others hand on to it.
#[derive(Debug, Clone, Default)]
pub struct Context {
    /// What is wrong.
    pub trouble: Trouble,
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                tracing::error!(target: "librdkafka", facility, "{message}");
            }
            // Brokers that are away are told of once a minute by whoever waits for them.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
                tracing::debug!(target: "librdkafka", facility, "{message}");
            }
            RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
                tracing::trace!(target: "librdkafka", facility, "{message}");
            }
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(target: "librdkafka", %error, reason, "client error");
        if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) {
            self.trouble.note(lasting(reason).to_owned());
        }
    }
}

/// What librdkafka says, without its measurements: `… (after 3ms in state CONNECT, 12 identical error(s) suppressed)`,
/// `… (average rtt 0.211ms)`.
fn lasting(reason: &str) -> &str {
    let end = [" (after ", " (average rtt "].into_iter().filter_map(|measured| reason.find(measured)).min();
    &reason[..end.unwrap_or(reason.len())]
}

impl ConsumerContext for Context {}

/// The base of every client's configuration: brokers, the operator's properties, and the client's name.
pub fn base(config: &KafkaConfig, client_id: &str) -> ClientConfig {
    let mut client = ClientConfig::new();
    client
        .set("bootstrap.servers", &config.brokers)
        .set("client.id", client_id)
        .set("socket.keepalive.enable", "true")
        .set("reconnect.backoff.max.ms", "2000")
        .set("log.connection.close", "false")
        .set("allow.auto.create.topics", "false");
    for (name, value) in &config.properties.0 {
        client.set(proper(name), value);
    }
    client
}

/// A consumer's: only what is committed, and nothing is stored for it on its own account.
pub fn reader(config: &KafkaConfig, client_id: &str) -> ClientConfig {
    let mut client = base(config, client_id);
    client
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true");
    client
}

/// What to say of `error`: Kafka's own words, what its brokers were heard of, and where they are.
pub fn sentence(config: &KafkaConfig, doing: &str, error: &KafkaError, trouble: &Trouble) -> String {
    let brokers = &config.brokers;
    let heard = trouble.take().map(|said| format!(" ({said})")).unwrap_or_default();
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => {
            format!("the property {name} of librdkafka cannot be used: {reason}; see kafka.properties")
        }
        KafkaError::ClientCreation(reason) => format!("no Kafka client can be made: {reason}; see kafka.properties"),
        KafkaError::Transaction(error) => format!("cannot {doing} at Kafka {brokers}: {}{heard}", error.string()),
        error => match error.rdkafka_error_code() {
            Some(code) => format!("cannot {doing} at Kafka {brokers}: {code}{heard}"),
            None => format!("cannot {doing} at Kafka {brokers}: {error}{heard}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_properties_go_to_every_client() {
        let mut config = KafkaConfig::default();
        config.properties.0.insert("security.protocol".to_owned(), "SASL_SSL".to_owned());
        assert_eq!(base(&config, "x").get("security.protocol"), Some("SASL_SSL"));
        assert_eq!(reader(&config, "x").get("isolation.level"), Some("read_committed"));
    }

    #[test]
    fn the_same_trouble_is_the_same_sentence_whatever_was_measured() {
        let context = Context::default();
        let error = || KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure);
        for (said, lasts) in [
            (
                "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 0ms in state CONNECT)",
                "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused",
            ),
            (
                "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused (after 3ms in state CONNECT, 12 identical error(s) suppressed)",
                "127.0.0.1:9/bootstrap: Connect to ipv4#127.0.0.1:9 failed: Connection refused",
            ),
            (
                "k:1/1: 1 request(s) timed out: disconnect (average rtt 0.211ms) (after 60042ms in state UP)",
                "k:1/1: 1 request(s) timed out: disconnect",
            ),
            ("k:1/1: Failed to resolve 'k:1': unknown", "k:1/1: Failed to resolve 'k:1': unknown"),
        ] {
            context.error(error(), said);
            assert_eq!(context.trouble.take().as_deref(), Some(lasts));
        }
    }

    #[test]
    fn a_property_is_set_under_the_name_that_librdkafka_has_it_under() {
        let mut config = KafkaConfig::default();
        config.properties.0.insert("compression.type".to_owned(), "zstd".to_owned());
        let client = base(&config, "x");
        assert_eq!((client.get("compression.codec"), client.get("compression.type")), (Some("zstd"), None));
    }

    #[test]
    fn a_sentence_says_where_and_what_was_heard() {
        let trouble = Trouble::default();
        trouble.note("connection refused".to_owned());
        let error = KafkaError::MetadataFetch(RDKafkaErrorCode::BrokerTransportFailure);
        let said = sentence(&KafkaConfig::default(), "list topics", &error, &trouble);
        assert!(said.starts_with("cannot list topics at Kafka 127.0.0.1:9092: "), "{said}");
        assert!(said.ends_with("(connection refused)"), "{said}");
        assert!(trouble.take().is_none());
    }
}
