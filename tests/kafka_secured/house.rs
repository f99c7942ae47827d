//! A broker that lets in whom it knows, over TLS alone, to do what its access lists say; and relay and sink that are known there, with topics
//! of their own.

use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use gaitway_kafka::{KafkaConfig, topics};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::harness::authority::Authority;
use crate::harness::kafka::{Broker, script, unique};
use crate::harness::process::Process;
use crate::rights::{Right, listed};

/// Who is known to the broker, and by which password.
const USERS: [(&str, &str); 3] =
    [("admin", "admin-secret-5d1c"), ("relay", "relay-secret-71f3"), ("sink", "sink-secret-0b9e")];

/// Default names and what stands for them here, behind the house's own name.
const NAMES: [(&str, &str); 6] = [
    ("raw_sensor_data", "raw"),
    ("processed_activity", "activity"),
    ("gaitway_gaps", "gaps"),
    ("gaitway_progress", "progress"),
    ("gaitway_dead_letter", "dead_letter"),
    ("gaitway-sink", "sink"),
];

/// Who speaks to Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Service {
    Relay,
    Sink,
}

impl Service {
    /// Its user, which is also its command.
    pub(crate) fn user(self) -> &'static str {
        match self {
            Self::Relay => "relay",
            Self::Sink => "sink",
        }
    }
}

/// How it proves that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Scram,
    Plain,
    /// OAUTHBEARER with tokens that nobody signed, which Kafka takes unless it is told otherwise.
    Tokens,
}

/// By which password the broker knows `user`.
pub(crate) fn password(user: &str) -> &'static str {
    USERS.iter().find(|(name, _)| *name == user).unwrap().1
}

pub(crate) fn assert_nothing_secret(log: &[Value]) {
    for event in log {
        let line = event.to_string();
        assert!(!USERS.iter().any(|(_, password)| line.contains(password)), "{line}");
    }
}

/// The broker, the authority that signed its certificate, and what its admin shows.
struct Secured {
    broker: Broker,
    ca: String,
    admin: PathBuf,
}

fn secured() -> &'static Secured {
    static SHARED: OnceLock<Secured> = OnceLock::new();
    SHARED.get_or_init(|| {
        let authority = Authority::new("authority of the broker");
        let mut admin = PathBuf::new();
        let broker = Broker::start_with(|data| {
            admin = data.join("admin.properties");
            lock(data, &authority)
        });
        Secured { broker, ca: authority.pem, admin }
    })
}

/// Options that make a broker ask who is there, with their files in `dir`.
fn lock(dir: &Path, authority: &Authority) -> Vec<OsString> {
    let [properties, scram, store, ca] =
        ["locked.properties", "users", "broker.pem", "ca.pem"].map(|name| dir.join(name));
    let (certificate, key) = authority.issue(&["127.0.0.1"]);
    std::fs::write(&store, format!("{key}{certificate}")).unwrap();
    std::fs::write(&ca, &authority.pem).unwrap();
    let of_users = |line: fn(&(&str, &str)) -> String| USERS.iter().map(line).collect::<String>();
    let users = of_users(|(name, password)| format!("SCRAM-SHA-512=[name={name},password={password}]\n"));
    std::fs::write(&scram, users).unwrap();
    let plain = of_users(|(name, password)| format!(" user_{name}=\"{password}\""));
    let text = format!(
        "listener.security.protocol.map=CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n\
         allow.everyone.if.no.acl.found=false\n\
         super.users=User:ANONYMOUS;User:admin\n\
         listener.name.client.ssl.keystore.type=PEM\n\
         listener.name.client.ssl.keystore.location={}\n\
         listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512,PLAIN,OAUTHBEARER\n\
         listener.name.client.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         listener.name.client.plain.sasl.jaas.config=\
         org.apache.kafka.common.security.plain.PlainLoginModule required{plain};\n\
         listener.name.client.oauthbearer.sasl.jaas.config=\
         org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
         unsecuredLoginStringClaim_sub=\"broker\";\n",
        store.display()
    );
    std::fs::write(&properties, text).unwrap();
    let (name, password) = USERS[0];
    let admin = format!(
        "security.protocol=SASL_SSL\nssl.truststore.type=PEM\nssl.truststore.location={}\nsasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required username=\"{name}\" \
         password=\"{password}\";\n",
        ca.display()
    );
    std::fs::write(dir.join("admin.properties"), admin).unwrap();
    vec!["--properties".into(), properties.into(), "--scram".into(), scram.into()]
}

/// Names of its own at the broker that all share, and a folder.
pub(crate) struct House {
    dir: tempfile::TempDir,
    own: String,
    secured: &'static Secured,
}

impl House {
    pub(crate) fn new() -> Self {
        let (dir, secured) = (tempfile::tempdir().unwrap(), secured());
        std::fs::write(dir.path().join("ca.pem"), &secured.ca).unwrap();
        Self { dir, own: unique("locked"), secured }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What its names begin with.
    pub(crate) fn own(&self) -> &str {
        &self.own
    }

    pub(crate) fn warehouse(&self) -> PathBuf {
        self.path("sink/warehouse.db")
    }

    /// The authority that signed the broker's certificate.
    pub(crate) fn ca(&self) -> &str {
        &self.secured.ca
    }

    /// A file of this name that holds `password` and is nobody else's.
    pub(crate) fn password_file(&self, name: &str, password: &str) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, format!("{password}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path
    }

    /// What relay and sink need, with the names of this house.
    pub(crate) fn needed(&self) -> Vec<Right> {
        self.listed(|right| right.operation != "Create")
    }

    /// What they need beside it to create topics.
    pub(crate) fn to_create(&self) -> Vec<Right> {
        self.listed(|right| right.operation == "Create")
    }

    fn listed(&self, wanted: impl Fn(&Right) -> bool) -> Vec<Right> {
        let own = |right: Right| {
            let (name, own) = NAMES.iter().find(|(name, _)| right.name.ends_with(name)).unwrap();
            Right { name: right.name.replace(name, &format!("{}-{own}", self.own)), ..right }
        };
        listed().into_iter().filter(wanted).map(own).collect()
    }

    /// Gives these rights, as the page's commands do, several topics in one where the page has them so.
    pub(crate) fn give(&self, rights: &[Right]) {
        let alike = |a: &Right, b: &Right| (&a.user, &a.operation, &a.kind) == (&b.user, &b.operation, &b.kind);
        for alike in rights.chunk_by(alike) {
            let mut arguments: Vec<String> = alike[0].arguments().into();
            for right in &alike[1..] {
                arguments.extend([format!("--{}", right.kind), right.name.clone()]);
            }
            self.acls("--add", &arguments);
        }
    }

    pub(crate) fn take(&self, right: &Right) {
        let mut arguments: Vec<String> = right.arguments().into();
        arguments.push("--force".to_owned());
        self.acls("--remove", &arguments);
    }

    fn acls(&self, what: &str, arguments: &[String]) {
        let mut command = Command::new(script());
        command.args(["acls", "--bootstrap-server", &self.secured.broker.address, "--command-config"]);
        let done = command.arg(&self.secured.admin).arg(what).args(arguments).output().unwrap();
        assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
    }

    /// The admin makes all topics.
    pub(crate) fn make_topics(&self) {
        let mut kafka = KafkaConfig { brokers: self.secured.broker.address.clone(), ..KafkaConfig::default() };
        let name = |kind: &str| format!("{}-{kind}", self.own);
        let (raw, activity, gaps) = (name("raw"), name("activity"), name("gaps"));
        kafka.topics = gaitway_kafka::config::Topics {
            raw,
            activity,
            gaps,
            progress: name("progress"),
            dead_letter: name("dead_letter"),
        };
        kafka.create.partitions = 2;
        let (user, password) = USERS[0];
        for (property, value) in [
            ("security.protocol", "SASL_SSL"),
            ("ssl.ca.location", self.path("ca.pem").to_str().unwrap()),
            ("sasl.mechanism", "SCRAM-SHA-512"),
            ("sasl.username", user),
            ("sasl.password", password),
        ] {
            kafka.properties.0.insert(property.to_owned(), value.to_owned());
        }
        let all = |kafka: &KafkaConfig, brokers| {
            let mut all = topics::written_by_relay(kafka, brokers);
            all.extend(topics::written_by_sink(kafka, brokers));
            all
        };
        let (made, _) = topics::ensure(&kafka, "test", all, &CancellationToken::new()).unwrap();
        assert_eq!(made.len(), 5);
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.path(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// The file of an agent that closes windows after this silence.
    pub(crate) fn agent_config(&self, silence: &str) -> String {
        self.write(&format!("agent-{silence}.toml"), &format!("[windows]\nsilence = \"{silence}\"\n"))
    }

    /// How `user` comes to the topics whose names begin with `own`. `settings` say what is otherwise: `protocol`, `ca` (a file), and
    /// `sasl_password` (lines in the place of the file).
    fn kafka(&self, own: &str, user: &str, mechanism: Mechanism, settings: &[(&str, &str)]) -> String {
        let setting =
            |name: &str| settings.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        let ca = setting("ca").unwrap_or_else(|| self.path("ca.pem").to_str().unwrap().to_owned());
        let protocol = setting("protocol").unwrap_or_else(|| "SASL_SSL".to_owned());
        let file = self.password_file(&format!("{user}-password"), password(user));
        let in_file = || format!("kafka.property_files.sasl_password = \"{}\"\n", file.display());
        let by_password = |mechanism| {
            let shown = setting("sasl_password").unwrap_or_else(in_file);
            format!("properties.sasl_mechanism = \"{mechanism}\"\nkafka.properties.sasl_username = \"{user}\"\n{shown}")
        };
        let shown = match mechanism {
            Mechanism::Scram => by_password("SCRAM-SHA-512"),
            Mechanism::Plain => by_password("PLAIN"),
            Mechanism::Tokens => format!(
                "properties.sasl_mechanism = \"OAUTHBEARER\"\nkafka.properties.sasl_oauthbearer_config = \"principal={user}\"\n\
                 kafka.properties.enable_sasl_oauthbearer_unsecure_jwt = true\n"
            ),
        };
        let topics = NAMES[..5].iter().map(|(_, kind)| format!("kafka.topics.{kind} = \"{own}-{kind}\"\n"));
        format!(
            "kafka.brokers = \"{}\"\nkafka.create.partitions = 2\n{}kafka.properties.security_protocol = \"{protocol}\"\n\
             kafka.properties.ssl_ca_location = \"{ca}\"\nkafka.{shown}",
            self.secured.broker.address,
            topics.collect::<String>()
        )
    }

    fn config(&self, service: Service, mechanism: Mechanism, settings: &[(&str, &str)]) -> String {
        let kafka = self.kafka(&self.own, service.user(), mechanism, settings);
        let text = match service {
            Service::Relay => format!("mqtt = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{kafka}"),
            Service::Sink => format!(
                "admin = \"127.0.0.1:0\"\ngroup = \"{}-sink\"\nbatch.linger = \"50ms\"\nsqlite.path = \"{}\"\n\
                 sqlite.min_free_percent = 0\n{kafka}",
                self.own,
                self.warehouse().display()
            ),
        };
        self.write(&format!("{}.toml", service.user()), &text)
    }

    pub(crate) fn start(&self, service: Service, mechanism: Mechanism, settings: &[(&str, &str)]) -> Process {
        self.start_in(service, mechanism, settings, &[])
    }

    /// Starts it with more in its environment.
    pub(crate) fn start_in(
        &self,
        service: Service,
        mechanism: Mechanism,
        settings: &[(&str, &str)],
        environment: &[(String, OsString)],
    ) -> Process {
        let config = self.config(service, mechanism, settings);
        let environment: Vec<_> = environment.iter().map(|(name, value)| (name.as_str(), value.clone())).collect();
        Process::start_in(&[service.user(), "--config", &config], &environment)
    }

    /// What it says where it does not start.
    pub(crate) fn refused(&self, service: Service, settings: &[(&str, &str)]) -> String {
        let config = self.config(service, Mechanism::Scram, settings);
        let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
        let ended = command.args([service.user(), "--config", &config]).output().unwrap();
        assert!(!ended.status.success());
        String::from_utf8(ended.stderr).unwrap()
    }

    /// A relay of the admin's, with topics of its own.
    pub(crate) fn other_relay(&self) -> Process {
        let kafka = self.kafka(&format!("{}-other", self.own), "admin", Mechanism::Scram, &[]);
        let config = self.write("other.toml", &format!("mqtt = \"127.0.0.1:0\"\n{kafka}"));
        Process::start(&["relay", "--config", &config])
    }
}
