//! Clients: configured alike, logging through tracing.
//!
//! - What librdkafka says of a broker that it cannot reach is remembered, so that a time-out can be explained: without what it counts and
//!   measures, so that the same trouble is the same sentence.
//! - Properties go by the names that librdkafka has them under: whoever sets one sets it for good.

use std::sync::{Arc, Mutex, PoisonError};

use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::ProducerContext;
use rdkafka::types::RDKafkaConfRes;

use crate::KafkaConfig;
use crate::config::proper;
use crate::rights::{self, Right};

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
        // Clients that nobody polls tell of errors in their log alone.
        if TELLING.contains(&facility) {
            self.trouble.note(lasting(unthreaded(message)).to_owned());
        }
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

/// What librdkafka logs connections that fail under, and topics that a transaction cannot have.
const TELLING: [&str; 2] = ["FAIL", "ADDPARTS"];

/// A line of its log, without the thread: `[thrd:main]: …`.
fn unthreaded(message: &str) -> &str {
    let behind = message.strip_prefix("[thrd:").and_then(|rest| rest.split_once("]: "));
    behind.map_or(message, |(_, said)| said)
}

/// What librdkafka says, without its measurements: `… (after 3ms in state CONNECT, 12 identical error(s) suppressed)`,
/// `… (average rtt 0.211ms)`.
fn lasting(reason: &str) -> &str {
    let end = [" (after ", " (average rtt "].into_iter().filter_map(|measured| reason.find(measured)).min();
    &reason[..end.unwrap_or(reason.len())]
}

impl ConsumerContext for Context {}

impl ProducerContext for Context {
    type DeliveryOpaque = ();

    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// The base of every client's configuration: brokers, the operator's properties, those from files as they are now, and the client's name.
pub fn base(config: &KafkaConfig, client_id: &str) -> KafkaResult<ClientConfig> {
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
    for (name, value) in config.read_files() {
        let value = value.map_err(|error| {
            let (invalid, nothing) = (RDKafkaConfRes::RD_KAFKA_CONF_INVALID, String::new());
            KafkaError::ClientConfig(invalid, error.to_string(), name.to_owned(), nothing)
        })?;
        client.set(proper(name), value.reveal());
    }
    Ok(client)
}

/// A consumer's: only what is committed, and nothing is stored for it on its own account.
pub fn reader(config: &KafkaConfig, client_id: &str) -> KafkaResult<ClientConfig> {
    let mut client = base(config, client_id)?;
    client
        .set("isolation.level", "read_committed")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("check.crcs", "true");
    Ok(client)
}

/// What to say of `error`: Kafka's own words, what its brokers were heard of, and where they are.
pub fn sentence(config: &KafkaConfig, doing: &str, error: &KafkaError, trouble: &Trouble) -> String {
    sentence_needing(config, doing, &[], error, trouble)
}

/// The same of what needs the rights of `needed`: where one is missing, which one.
pub fn sentence_needing(
    config: &KafkaConfig,
    doing: &str,
    needed: &[Right<'_>],
    error: &KafkaError,
    trouble: &Trouble,
) -> String {
    let brokers = &config.brokers;
    let heard = trouble.take();
    let code = reason_of(error, heard.as_deref());
    if let Some(said) = code.and_then(|code| rights::missing(config, code, needed, heard.as_deref())) {
        return format!("cannot {doing} at Kafka {brokers}: {said}");
    }
    let heard = heard.map(|said| format!(" ({said}{})", advice(&said))).unwrap_or_default();
    match error {
        KafkaError::ClientConfig(_, reason, name, _) => {
            let table = if config.property_files.0.contains_key(name) { "property_files" } else { "properties" };
            format!("the property {name} of librdkafka cannot be used: {reason}{}; see kafka.{table}", built(reason))
        }
        KafkaError::ClientCreation(reason) => {
            format!("no Kafka client can be made: {reason}{}; see kafka.properties", built(reason))
        }
        KafkaError::Transaction(error) => format!("cannot {doing} at Kafka {brokers}: {}{heard}", error.string()),
        error => match error.rdkafka_error_code() {
            Some(code) => format!("cannot {doing} at Kafka {brokers}: {code}{heard}"),
            None => format!("cannot {doing} at Kafka {brokers}: {error}{heard}"),
        },
    }
}

/// What to do where this build cannot do what is asked for.
fn built(reason: &str) -> &'static str {
    if !cfg!(feature = "tls") && reason.contains("build") {
        return ": TLS and SASL towards Kafka need a build with the feature kafka-tls";
    }
    ""
}

/// Why it failed. Records of a transaction that a topic's access list ends are thrown away, and say only that.
fn reason_of(error: &KafkaError, heard: Option<&str>) -> Option<RDKafkaErrorCode> {
    use RDKafkaErrorCode::{PurgeInflight, PurgeQueue, TopicAuthorizationFailed};
    match error.rdkafka_error_code() {
        Some(PurgeInflight | PurgeQueue)
            if heard.is_some_and(|heard| heard.ends_with("Topic authorization failed")) =>
        {
            Some(TopicAuthorizationFailed)
        }
        code => code,
    }
}

/// What to do about what was heard, where librdkafka does not say that itself.
pub fn advice(heard: &str) -> &'static str {
    if heard.contains("SASL authentication error") {
        return ": check sasl.username and sasl.password, or the token, and sasl.mechanism";
    }
    if heard.contains(": Disconnected") {
        return ": brokers that want TLS or SASL close on who comes without, check security.protocol";
    }
    ""
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};

    use super::*;

    #[test]
    fn the_operators_properties_go_to_every_client() {
        let mut config = KafkaConfig::default();
        config.properties.0.insert("security.protocol".to_owned(), "SASL_SSL".to_owned());
        assert_eq!(base(&config, "x").unwrap().get("security.protocol"), Some("SASL_SSL"));
        assert_eq!(reader(&config, "x").unwrap().get("isolation.level"), Some("read_committed"));
    }

    #[test]
    fn a_secret_is_read_for_each_client_and_shown_in_none_of_its_errors() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        let mut config = KafkaConfig::default();
        config.property_files.0.insert("sasl.password".to_owned(), path.clone());
        for password in ["one", "other"] {
            let mut file = std::fs::OpenOptions::new();
            let mut file = file.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
            writeln!(file, "{password}").unwrap();
            assert_eq!(base(&config, "x").unwrap().get("sasl.password"), Some(password));
        }
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        let said = sentence(&config, "read", &base(&config, "x").unwrap_err(), &Trouble::default());
        let all =
            ["the property sasl.password", "password holds a secret that other users may read", "kafka.property_files"];
        assert!(all.iter().all(|part| said.contains(part)) && !said.contains("other\n"), "{said}");
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
    fn a_topic_that_may_not_be_written_is_told_of_records_that_are_thrown_away() {
        let context = Context::default();
        let failed = "[thrd:main]: TxnCoordinator/1: Failed to add partition \"raw\" [0] to transaction: Broker: Topic authorization failed";
        context.log(RDKafkaLogLevel::Error, "ADDPARTS", failed);
        let error = KafkaError::MessageProduction(RDKafkaErrorCode::PurgeQueue);
        let needed = [Right::Write("raw"), Right::Write("gaps")];
        let said = sentence_needing(&KafkaConfig::default(), "commit", &needed, &error, &context.trouble);
        assert!(said.contains("lacks the right Write on topic raw,") && !said.contains("gaps"), "{said}");
        let said = sentence_needing(&KafkaConfig::default(), "commit", &needed, &error, &context.trouble);
        assert!(said.contains("Purged in queue"), "{said}");
    }

    #[test]
    #[cfg(not(feature = "tls"))]
    fn a_build_without_tls_says_which_one_has_it() {
        for (name, value) in [("ssl.ca.location", "/ca.pem"), ("sasl.mechanisms", "SCRAM-SHA-512")] {
            let mut config = KafkaConfig::default();
            config.properties.0.insert("security.protocol".to_owned(), "SASL_SSL".to_owned());
            config.properties.0.insert(name.to_owned(), value.to_owned());
            let made = base(&config, "x").and_then(|client| client.create_with_context(Context::default()));
            let error = made.map(|_: rdkafka::producer::BaseProducer<Context>| ()).unwrap_err();
            let said = sentence(&config, "list topics", &error, &Trouble::default());
            assert!(said.contains("a build with the feature kafka-tls"), "{said}");
        }
    }

    #[test]
    fn what_is_only_logged_is_heard_and_without_its_thread() {
        let context = Context::default();
        let failed = "[thrd:ssl://k:1/bootstrap]: ssl://k:1/bootstrap: SSL handshake failed: certificate verify failed (after 3ms in state SSL_HANDSHAKE)";
        context.log(RDKafkaLogLevel::Error, "FAIL", failed);
        context.log(RDKafkaLogLevel::Error, "OTHER", "[thrd:main]: something else");
        let heard = context.trouble.take();
        assert_eq!(heard.as_deref(), Some("ssl://k:1/bootstrap: SSL handshake failed: certificate verify failed"));
    }

    #[test]
    fn a_property_is_set_under_the_name_that_librdkafka_has_it_under() {
        let mut config = KafkaConfig::default();
        config.properties.0.insert("compression.type".to_owned(), "zstd".to_owned());
        let client = base(&config, "x").unwrap();
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
