//! What compose starts that is not ours, as far as this machine has it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gaitway_emulator::Emulator;

use crate::file::Service;
use crate::harness::kafka::{Broker, script};
use crate::harness::{PATIENCE, http};
use crate::place::{Place, Words};
use crate::postgres_server::{Reader, Server};
use crate::text;

/// What `kafka.sh` says of its own broker, for it has other ports and folders.
const KAFKAS_OWN: [(&str, &str); 10] = [
    ("KAFKA_NODE_ID", "1"),
    ("KAFKA_PROCESS_ROLES", "broker,controller"),
    ("KAFKA_LISTENERS", "CLIENT://0.0.0.0:9092,CONTROLLER://127.0.0.1:9093"),
    ("KAFKA_ADVERTISED_LISTENERS", "CLIENT://kafka:9092"),
    ("KAFKA_LISTENER_SECURITY_PROTOCOL_MAP", "CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT"),
    ("KAFKA_INTER_BROKER_LISTENER_NAME", "CLIENT"),
    ("KAFKA_CONTROLLER_LISTENER_NAMES", "CONTROLLER"),
    ("KAFKA_CONTROLLER_QUORUM_VOTERS", "1@127.0.0.1:9093"),
    ("KAFKA_LOG_DIRS", "/var/lib/kafka/data"),
    ("KAFKA_HEAP_OPTS", "-Xms256m -Xmx512m"),
];

/// What it is given as compose has it.
const KAFKAS_PROPERTIES: [&str; 8] = [
    "KAFKA_AUTO_CREATE_TOPICS_ENABLE",
    "KAFKA_MESSAGE_MAX_BYTES",
    "KAFKA_OFFSETS_TOPIC_REPLICATION_FACTOR",
    "KAFKA_REPLICA_FETCH_MAX_BYTES",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_MIN_ISR",
    "KAFKA_SHARE_COORDINATOR_STATE_TOPIC_REPLICATION_FACTOR",
    "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR",
    "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR",
];

/// A broker with the settings that compose gives it.
pub(crate) fn kafka(service: &Service) -> Broker {
    let mut given = service.environment.clone();
    assert_eq!(given.remove("CLUSTER_ID").map(|id| id.len()), Some(22), "an id is 16 bytes in base64");
    for (variable, value) in KAFKAS_OWN {
        assert_eq!(given.remove(variable).as_deref(), Some(value), "{variable}");
    }
    assert_eq!(service.volumes.iter().map(|volume| volume.ends().1).collect::<Vec<_>>(), ["/var/lib/kafka/data"]);
    // As the image makes properties of variables.
    let property = |variable: &str| variable.strip_prefix("KAFKA_").unwrap().to_lowercase().replace('_', ".");
    assert!(given.keys().eq(KAFKAS_PROPERTIES.iter()), "this test does not know all of {given:?}");
    let properties: Vec<_> = given.iter().map(|(name, value)| format!("{}={value}\n", property(name))).collect();
    Broker::start_with(|dir| {
        let file = dir.join("compose.properties");
        fs::write(&file, properties.concat()).unwrap();
        vec!["--properties".into(), file.into()]
    })
}

/// What `kafka-broker-api-versions.sh` runs.
pub(crate) fn kafka_answers(arguments: &[String], broker: &str) -> bool {
    assert_eq!(arguments, ["--bootstrap-server", broker]);
    let jars = Command::new(script()).arg("jars").output().unwrap();
    let jars = String::from_utf8(jars.stdout).unwrap();
    let asked = Command::new("java")
        .args(["-cp", &format!("{}/*", jars.trim()), "org.apache.kafka.tools.BrokerApiVersionsCommand"])
        .args(arguments)
        .stdout(Stdio::null())
        .status();
    asked.unwrap().success()
}

/// Runs what the image runs when it makes the database.
pub(crate) fn set_up_postgres(service: &Service, place: &Place, words: &Words, server: &Server) {
    let known = ["GAITWAY_ROLES", "GAITWAY_SECRETS", "POSTGRES_DB", "POSTGRES_INITDB_ARGS", "POSTGRES_PASSWORD_FILE"];
    assert!(service.environment.keys().eq(known), "{:?}", service.environment);
    let value = |name: &str| words.of(&service.environment[name]);
    assert_eq!(
        value("POSTGRES_INITDB_ARGS"),
        "--encoding=UTF8 --no-locale --auth=scram-sha-256",
        "as the test's server"
    );
    assert!(!fs::read_to_string(value("POSTGRES_PASSWORD_FILE")).unwrap().is_empty());
    let database = value("POSTGRES_DB");
    Reader::open(&server.url("postgres")).run(&format!("CREATE DATABASE {database}"));
    let targets: BTreeSet<_> = service.volumes.iter().map(|volume| volume.ends().1).collect();
    let init = "/docker-entrypoint-initdb.d/init.sh";
    assert_eq!(targets, BTreeSet::from(["/var/lib/postgresql/data", "/secrets", init, "/etc/gaitway/roles.sql"]));
    let mut made = Command::new("sh");
    made.arg(place.mounted("postgres", init)).env("PGHOST", "127.0.0.1").env("PGPORT", server.port().to_string());
    made.env("PGPASSWORD", "secret").envs(known.map(|name| (name, value(name))));
    let made = made.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// A real one, of Debian's package, that ends with the test.
pub(crate) struct Prometheus {
    child: Child,
    address: String,
}

impl Prometheus {
    pub(crate) fn start(service: &Service, words: &Words, address: &str) -> Self {
        assert!(service.environment.is_empty());
        let child = Command::new("prometheus")
            .args(words.of_all(&service.command))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus of Debian's package");
        Self { child, address: address.to_owned() }
    }

    /// Waits until it has heard each of `services` once, and no other.
    pub(crate) fn assert_hears(&self, services: &[&str]) {
        let answer = |path: &str| -> Option<serde_json::Value> {
            let (_, body) = http::get(&format!("http://{}/api/v1/{path}", self.address)).ok()?;
            serde_json::from_str(&body[body.find('{')?..=body.rfind('}')?]).ok()
        };
        let heard = || -> Option<Vec<(String, String)>> {
            let found = answer("targets?state=active")?;
            let targets = found["data"]["activeTargets"].as_array()?;
            let told = targets.iter().map(|target| {
                let word = |of: &serde_json::Value| of.as_str().unwrap_or_default().to_owned();
                (word(&target["labels"]["service"]), word(&target["health"]))
            });
            Some(told.collect())
        };
        let wanted: BTreeSet<_> = services.iter().map(|name| ((*name).to_owned(), "up".to_owned())).collect();
        let end = Instant::now() + PATIENCE;
        while heard().is_none_or(|told| told.into_iter().collect::<BTreeSet<_>>() != wanted) {
            assert!(Instant::now() < end, "Prometheus hears {:?}", answer("targets?state=active"));
            sleep(Duration::from_millis(100));
        }
        let rules = answer("rules").unwrap();
        assert!(rules["data"]["groups"].as_array().is_some_and(|groups| groups.len() > 1), "{rules}");
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What Grafana's environment holds beside the variables of its provisioning.
const GRAFANAS_OWN: [&str; 5] = [
    "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES",
    "GF_ANALYTICS_CHECK_FOR_UPDATES",
    "GF_ANALYTICS_REPORTING_ENABLED",
    "GF_PLUGINS_PREINSTALL_DISABLED",
    "GF_SECURITY_ADMIN_PASSWORD__FILE",
];

/// There is no Grafana here: its files are read as it reads them, and what they name must be there.
pub(crate) fn read_as_grafana(service: &Service, words: &Words, place: &Place) {
    let (own, given): (BTreeMap<_, _>, BTreeMap<_, _>) =
        service.environment.iter().partition(|(name, _)| name.starts_with("GF_"));
    assert!(own.keys().map(|name| name.as_str()).eq(GRAFANAS_OWN), "{own:?}");
    let password = words.of(own[&"GF_SECURITY_ADMIN_PASSWORD__FILE".to_owned()]);
    assert!(!fs::read_to_string(password).unwrap().is_empty());
    let mut used = BTreeSet::new();
    for (source, target) in service.volumes.iter().map(crate::file::Volume::ends) {
        if !target.starts_with("/etc/grafana/provisioning/") {
            continue;
        }
        assert_eq!(Path::new(source).file_name(), Path::new(target).file_name());
        let written = fs::read_to_string(place.mounted("grafana", target)).unwrap();
        for variable in named(&written, "${") {
            assert!(given.contains_key(&variable.to_owned()), "{target} asks for {variable}");
            used.insert(variable.to_owned());
        }
        for file in named(&written, "$__file{") {
            assert!(Path::new(file).is_file(), "{target} reads {file}");
        }
        for folder in written.lines().filter_map(|line| line.trim().strip_prefix("path: ")) {
            let boards = fs::read_dir(folder).unwrap_or_else(|error| panic!("{target} reads {folder}: {error}"));
            assert!(boards.count() > 0, "{folder}");
        }
    }
    assert!(given.keys().all(|name| used.contains(*name)), "nothing asks for all of {given:?}");
    // What it is told of others leads there.
    for (name, here) in [("GAITWAY_POSTGRES_ADDRESS", "postgres:5432"), ("GAITWAY_PROMETHEUS_URL", "prometheus:9090")] {
        assert!(words.of(given[&name.to_owned()]).ends_with(place.port(here)), "{name}");
    }
    let check = &service.healthcheck.as_ref().unwrap().test;
    assert_eq!(check.last().unwrap(), "http://127.0.0.1:3000/api/health");
}

/// What stands between `before` and the next closing bracket. In what alert rules say, `${…}` follows another `$`.
fn named<'a>(text: &'a str, before: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter(|line| !line.trim_start().starts_with('#')).flat_map(move |line| {
        let parts = line.split(before).skip(1);
        parts.filter_map(|part| part.split('}').next()).filter(|name| !name.contains(['{', ' ']))
    })
}

/// The worker's settings are those of `deploy/connectors`, which are tried there with a worker, but for one broker.
pub(crate) fn assert_connect(service: &Service) {
    assert_eq!(service.command, ["/etc/gaitway/worker.properties"]);
    assert!(service.environment.keys().eq(["KAFKA_HEAP_OPTS"]));
    let mounted: Vec<_> = service.volumes.iter().map(crate::file::Volume::ends).collect();
    let settings = ["worker", "snowflake"]
        .map(|name| (format!("./connect/{name}.properties"), format!("/etc/gaitway/{name}.properties")));
    assert!(mounted.into_iter().eq(settings.iter().map(|(source, target)| (source.as_str(), target.as_str()))));
    let lines = |path: &str| -> BTreeSet<String> {
        text(path).lines().filter(|line| line.contains('=') && !line.starts_with('#')).map(str::to_owned).collect()
    };
    let theirs = lines("deploy/connectors/worker.properties");
    let one_broker = theirs.iter().map(|line| line.replace("replication.factor=3", "replication.factor=1")).collect();
    assert_eq!(lines("deploy/compose/connect/worker.properties"), one_broker);
}

/// Readings in the emulated account.
pub(crate) fn rows(emulator: &Emulator) -> usize {
    emulator.rows("RAW_DATA", "ACTIVITY_RECORDS").len()
}
