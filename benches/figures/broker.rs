//! What the rows with Kafka in them share: a broker, topics of a row's own, and services on these.
//!
//! - The broker is the one of `GAITWAY_TEST_KAFKA`, or one that ends with the bench; its files lie in the system's
//!   temporary folder. It runs on the same cores as what is measured.
//! - Without one, a row says why and is left out.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use gaitway_kafka::KafkaConfig;

use super::harness::process::Process;
use super::harness::{self, kafka};
use super::table::Figure;
use super::{memory, serve};

/// The figures of `measure`, which is given a broker; where there is none, `what` with the reason.
pub(crate) fn with(what: &str, measure: impl FnOnce(&'static str) -> Vec<Figure>) -> Vec<Figure> {
    static MISSING: OnceLock<Option<String>> = OnceLock::new();
    match MISSING.get_or_init(missing) {
        None => measure(kafka::broker()),
        Some(why) => vec![Figure::new(what, format!("skipped: {why}"))],
    }
}

/// What a broker of the bench's own would need.
fn missing() -> Option<String> {
    if std::env::var_os("GAITWAY_TEST_KAFKA").is_some() {
        return None;
    }
    let java = std::env::var("JAVA_HOME").map_or_else(|_| "java".to_owned(), |home| format!("{home}/bin/java"));
    let runs = Command::new(&java).arg("-version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !runs.is_ok_and(|status| status.success()) {
        return Some(format!("{java} is missing, install a JDK of version 17 or newer"));
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/dev/kafka.sh");
    let jars = Command::new(script).arg("jars").output().unwrap();
    let said = String::from_utf8_lossy(&jars.stderr);
    (!jars.status.success()).then(|| format!("Kafka is not there, {}", said.lines().last().unwrap_or_default()))
}

/// Topics that nobody else has.
pub(crate) fn topics(broker: &str) -> KafkaConfig {
    let mut config = KafkaConfig { brokers: broker.to_owned(), ..KafkaConfig::default() };
    let name = kafka::unique("figures");
    let topics = &mut config.topics;
    for topic in
        [&mut topics.raw, &mut topics.activity, &mut topics.gaps, &mut topics.progress, &mut topics.dead_letter]
    {
        *topic = format!("{name}-{topic}");
    }
    config
}

/// A relay or a sink on Kafka, its defaults changed by nothing but where everything is.
pub(crate) struct Service {
    pub(crate) process: Process,
    metrics: String,
}

impl Service {
    /// `gaitway relay` on free ports, once it owns its topics; `more` stands above the tables of its file.
    pub(crate) fn relay(folder: &Path, kafka: &KafkaConfig, more: &str) -> Self {
        let mut relay = Self::start("relay", folder, &format!("mqtt = \"127.0.0.1:0\"\n{more}"), kafka, "");
        let owns = |event: &serde_json::Value| (event["message"] == "owner of the progress topic").then_some(());
        relay.process.logged("its topics", owns);
        relay
    }

    /// `gaitway sink`; `keys` and `tables` say where records go.
    pub(crate) fn sink(folder: &Path, kafka: &KafkaConfig, keys: &str, tables: &str) -> Self {
        Self::start("sink", folder, keys, kafka, tables)
    }

    fn start(command: &str, folder: &Path, keys: &str, kafka: &KafkaConfig, tables: &str) -> Self {
        let KafkaConfig { brokers, topics, .. } = kafka;
        let named = topics.all().map(|(key, name)| format!("{} = \"{name}\"\n", key.rsplit_once('.').unwrap().1));
        let admin = memory::free_address();
        let text = format!(
            "admin = \"{admin}\"\n{keys}\n[kafka]\nbrokers = \"{brokers}\"\n[kafka.topics]\n{}{tables}",
            named.concat()
        );
        let file = folder.join(format!("{command}.toml"));
        std::fs::write(&file, text).unwrap();
        let process = Process::start(&[command, "--config", file.to_str().unwrap()]);
        let metrics = format!("http://{admin}/metrics");
        harness::await_that("the metrics are served", || harness::http::get(&metrics).is_ok());
        Self { process, metrics }
    }

    /// A metric without labels.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let (status, text) = harness::http::get(&self.metrics).unwrap();
        assert_eq!(status, 200);
        serve::metric(&text, name)
    }
}
