//! Everything that compose starts, as processes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs;
use std::process::{Command, Output};

use gaitway_emulator::{self as emulator, Emulator};

use crate::file::{Compose, Service};
use crate::harness::kafka::Broker;
use crate::harness::process::Process;
use crate::harness::{await_that, http};
use crate::place::{Place, Words};
use crate::postgres_server::Server;
use crate::theirs::{self, Prometheus};
use crate::{LISTENING, assert_environment, ours};

pub(crate) struct House<'a> {
    compose: &'a Compose,
    dir: tempfile::TempDir,
    place: Place,
    running: BTreeMap<String, Process>,
    broker: Option<Broker>,
    postgres: Option<Server>,
    prometheus: Option<Prometheus>,
    emulator: Emulator,
    started: BTreeSet<String>,
}

impl<'a> House<'a> {
    pub(crate) fn new(compose: &'a Compose) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::new(dir.path().to_owned(), &LISTENING);
        let emulator = Emulator::start(emulator::Options::default()).unwrap();
        let (running, started) = (BTreeMap::new(), BTreeSet::new());
        Self { compose, dir, place, running, broker: None, postgres: None, prometheus: None, emulator, started }
    }

    /// Where a container's port is.
    pub(crate) fn at(&self, port: &str) -> &str {
        self.place.port(port)
    }

    fn service(&self, name: &str) -> (&'a Service, Words) {
        let service = &self.compose.services[name];
        (service, self.place.words(self.compose, name, service))
    }

    /// Starts it, and waits until it is well, or has ended.
    pub(crate) fn start(&mut self, name: &str) {
        let (service, words) = self.service(name);
        match name {
            "secrets" => self.secrets(service, &words),
            "kafka" => {
                let broker = theirs::kafka(service);
                self.place.set_port("kafka:9092", &broker.address);
                self.broker = Some(broker);
            }
            "postgres" => {
                let server = Server::start(&[]);
                self.place.set_port("postgres:5432", &format!("127.0.0.1:{}", server.port()));
                theirs::set_up_postgres(service, &self.place, &words, &server);
                self.postgres = Some(server);
            }
            "prometheus" => self.prometheus = Some(Prometheus::start(service, &words, self.at("prometheus:9090"))),
            "grafana" => theirs::read_as_grafana(service, &words, &self.place),
            "connect" => theirs::assert_connect(service),
            "sink-snowflake" => self.sink_into_snowflake(service, &words),
            _ if service.restart == "no" => {
                let done = self.ours(name, &words, &service.command).output().unwrap();
                assert_done(name, &done);
                assert!(done.stdout.is_empty() || name == "enrol", "{name} says {done:?}");
            }
            _ => {
                let process = Process::of(self.ours(name, &words, &service.command));
                self.running.insert(name.to_owned(), process);
            }
        }
        self.started.insert(name.to_owned());
        if !matches!(name, "grafana" | "connect") && service.restart != "no" {
            await_that(&format!("{name} is well"), || self.is_well(name));
        }
    }

    /// Our binary with these arguments, in the service's environment.
    fn ours(&self, name: &str, words: &Words, arguments: &[String]) -> Command {
        let service = &self.compose.services[name];
        assert_environment(name, service);
        assert!(service.entrypoint.is_empty(), "{name}");
        let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
        command.arg(ours(service).unwrap_or_else(|| panic!("this test does not know {name}")));
        command.args(words.of_all(arguments));
        command.envs(service.environment.iter().map(|(key, value)| (key, words.of(value))));
        if name == "sink-snowflake" {
            command.envs(self.account());
        }
        command
    }

    fn secrets(&self, service: &Service, words: &Words) {
        let (program, arguments) = service.entrypoint.split_first().unwrap();
        let root = self.dir.path().join("secrets");
        assert!(service.command.is_empty() && service.environment.keys().eq(["GAITWAY_SECRETS"]));
        assert_eq!(service.environment["GAITWAY_SECRETS"], "/secrets");
        let mut made = Command::new(program);
        let made = made.args(words.of_all(arguments)).env("GAITWAY_SECRETS", &root).output().unwrap();
        assert_done("secrets", &made);
    }

    /// There is no account: the emulator of Snowflake is in its place.
    fn sink_into_snowflake(&mut self, service: &Service, words: &Words) {
        assert_eq!(service.secrets, ["sink.p8"]);
        assert_eq!(self.compose.secrets["sink.p8"]["file"], "./snowflake/sink.p8");
        self.emulator.write_ca(&self.dir.path().join("ca.pem")).unwrap();
        self.emulator.write_key(&self.place.mounted("sink-snowflake", "/run/secrets/sink.p8")).unwrap();
        assert!(service.environment.keys().eq(["GAITWAY_SINK__SNOWFLAKE__ACCOUNT"]));
        let process = Process::of(self.ours("sink-snowflake", words, &service.command));
        self.running.insert("sink-snowflake".to_owned(), process);
    }

    /// What `.env` would say, and where the emulator is.
    fn account(&self) -> [(&'static str, OsString); 4] {
        [
            ("GAITWAY_SINK__SNOWFLAKE__ACCOUNT", self.emulator.account().into()),
            ("GAITWAY_SINK__SNOWFLAKE__USER", self.emulator.user().into()),
            ("GAITWAY_SINK__SNOWFLAKE__URL", self.emulator.url().into()),
            ("GAITWAY_SINK__SNOWFLAKE__CA_FILE", self.dir.path().join("ca.pem").into()),
        ]
    }

    /// What its healthcheck says.
    fn is_well(&self, name: &str) -> bool {
        let (service, words) = self.service(name);
        let test = &service.healthcheck.as_ref().unwrap().test;
        let (how, test) = test.split_first().unwrap();
        assert_eq!(how, "CMD", "{name}");
        let (program, arguments) = test.split_first().unwrap();
        let arguments = words.of_all(arguments);
        let address = |of| self.at(of).to_owned();
        match program.as_str() {
            "wget" => http::get(arguments.last().unwrap()).is_ok_and(|(status, _)| status == 200),
            "pg_isready" => {
                let (_, port) = self.at("postgres:5432").rsplit_once(':').unwrap();
                Command::new(program).args(arguments).env("PGPORT", port).output().unwrap().status.success()
            }
            "/opt/kafka/bin/kafka-broker-api-versions.sh" => theirs::kafka_answers(&arguments, &address("kafka:9092")),
            binary => {
                assert_eq!(binary, format!("/usr/bin/gaitway-{}", ours(service).unwrap()), "{name}");
                self.ours(name, &words, test.split_first().unwrap().1).output().unwrap().status.success()
            }
        }
    }

    /// As `docker compose exec` does it, beside what runs.
    pub(crate) fn exec(&self, name: &str, arguments: &[&str]) -> String {
        let (service, words) = self.service(name);
        let arguments: Vec<_> = arguments.iter().map(|word| (*word).to_owned()).collect();
        let done = self.ours(name, &words, &[&service.command[..], &arguments].concat()).output().unwrap();
        assert_done(name, &done);
        String::from_utf8(done.stdout).unwrap()
    }

    pub(crate) fn assert_well(&mut self) {
        for (name, process) in &mut self.running {
            assert!(process.ended().is_none(), "{name} has ended");
        }
        for name in self.running.keys().map(String::as_str).chain(["kafka", "postgres", "prometheus"]) {
            assert!(self.is_well(name), "{name}");
        }
    }

    /// Runs what ends by itself once more: what it made before stays.
    pub(crate) fn start_again(&self, names: &[&str]) {
        let made = || {
            let passwords = ["sink/postgres.password", "grafana/admin.password"];
            let paths = passwords.map(|name| self.dir.path().join("secrets").join(name));
            let certificate = self.place.volume("agent").join("identity.json");
            paths.into_iter().chain([certificate]).map(|path| fs::read(path).unwrap()).collect::<Vec<_>>()
        };
        let before = made();
        for name in names {
            let (service, words) = self.service(name);
            match *name {
                "secrets" => self.secrets(service, &words),
                name => assert_done(name, &self.ours(name, &words, &service.command).output().unwrap()),
            }
        }
        assert!(before == made());
    }

    pub(crate) fn assert_all_is_known(&self) {
        assert!(self.compose.services.keys().all(|name| self.started.contains(name)));
        let named: BTreeSet<_> = self.compose.services.keys().map(String::as_str).collect();
        assert!(LISTENING.iter().all(|(name, _)| named.contains(name)));
    }

    pub(crate) fn postgres_url(&self, user: &str, password: &str) -> String {
        let password = fs::read_to_string(self.dir.path().join("secrets").join(password)).unwrap();
        format!("postgres://{user}:{}@{}/gaitway", password.trim(), self.at("postgres:5432"))
    }

    pub(crate) fn in_snowflake(&self) -> usize {
        theirs::rows(&self.emulator)
    }

    pub(crate) fn assert_prometheus_hears_all(&self) {
        self.prometheus.as_ref().unwrap().assert_hears(&["agent", "relay", "sink"]);
    }
}

fn assert_done(name: &str, output: &Output) {
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
}
