//! What `docker compose up` starts in `deploy/compose`, started without containers: the same binaries with the same command lines,
//! environment and configuration files, beside a real Kafka, PostgreSQL and Prometheus. Paths, names of hosts and ports are this machine's.
//!
//! - What stands in compose.yaml and this test does not know fails it.
//! - Not seen: the images themselves, their networks, limits, users and read-only roots; Grafana; Kafka Connect.

#![cfg(feature = "kafka")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "compose/file.rs"]
mod file;
mod harness;
#[path = "compose/house.rs"]
mod house;
#[path = "compose/place.rs"]
mod place;
#[path = "../sink/tests/postgres_server/mod.rs"]
mod postgres_server;
#[path = "compose/theirs.rs"]
mod theirs;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use file::{Service, folder};
use harness::{await_that, python};
use house::House;
use postgres_server::Reader;

/// Images of ours, by the end of their names.
const OURS: [&str; 3] = ["agent", "relay", "sink"];

/// What the containers of others listen at, and ours.
const LISTENING: [(&str, u16); 9] = [
    ("agent", 8000),
    ("relay", 8883),
    ("relay", 9464),
    ("sink", 9465),
    ("sink-snowflake", 9465),
    ("kafka", 9092),
    ("postgres", 5432),
    ("prometheus", 9090),
    ("grafana", 3000),
];

/// Everything that is mounted: whose, what, where.
const MOUNTED: [(&str, &str, &str); 35] = [
    ("agent", "./agent.toml", "/etc/gaitway/agent.toml"),
    ("agent", "agent", "/var/lib/gaitway-agent"),
    ("connect", "./connect/worker.properties", "/etc/gaitway/worker.properties"),
    ("connect", "./connect/snowflake.properties", "/etc/gaitway/snowflake.properties"),
    ("enrol", "./agent.toml", "/etc/gaitway/agent.toml"),
    ("enrol", "agent", "/var/lib/gaitway-agent"),
    ("enrol", "invitation", "/var/lib/gaitway-invitation"),
    ("grafana", "grafana", "/var/lib/grafana"),
    ("grafana", "secrets-grafana", "/etc/grafana/gaitway"),
    ("grafana", "../grafana/dashboards", "/etc/grafana/gaitway/dashboards"),
    (
        "grafana",
        "../grafana/provisioning/datasources/postgres.yaml",
        "/etc/grafana/provisioning/datasources/postgres.yaml",
    ),
    (
        "grafana",
        "../grafana/provisioning/datasources/prometheus.yaml",
        "/etc/grafana/provisioning/datasources/prometheus.yaml",
    ),
    (
        "grafana",
        "../grafana/provisioning/dashboards/postgres.yaml",
        "/etc/grafana/provisioning/dashboards/postgres.yaml",
    ),
    (
        "grafana",
        "../grafana/provisioning/dashboards/prometheus.yaml",
        "/etc/grafana/provisioning/dashboards/prometheus.yaml",
    ),
    ("grafana", "../grafana/provisioning/alerting/postgres.yaml", "/etc/grafana/provisioning/alerting/postgres.yaml"),
    ("invite", "./relay.toml", "/etc/gaitway/relay.toml"),
    ("invite", "relay", "/var/lib/gaitway-relay"),
    ("invite", "invitation", "/var/lib/gaitway-invitation"),
    ("kafka", "kafka", "/var/lib/kafka/data"),
    ("postgres", "postgres", "/var/lib/postgresql/data"),
    ("postgres", "secrets-postgres", "/secrets"),
    ("postgres", "./postgres/init.sh", "/docker-entrypoint-initdb.d/init.sh"),
    ("postgres", "../postgres/roles.sql", "/etc/gaitway/roles.sql"),
    ("prometheus", "./prometheus/prometheus.yml", "/etc/prometheus/prometheus.yml"),
    ("prometheus", "../prometheus/rules", "/etc/prometheus/rules"),
    ("prometheus", "prometheus", "/prometheus"),
    ("relay", "./relay.toml", "/etc/gaitway/relay.toml"),
    ("relay", "relay", "/var/lib/gaitway-relay"),
    ("secrets", "./secrets.sh", "/usr/local/bin/secrets.sh"),
    ("secrets", "secrets-postgres", "/secrets/postgres"),
    ("secrets", "secrets-sink", "/secrets/sink"),
    ("secrets", "secrets-grafana", "/secrets/grafana"),
    ("sink", "./sink.toml", "/etc/gaitway/sink.toml"),
    ("sink", "secrets-sink", "/secrets"),
    ("sink-snowflake", "./sink-snowflake.toml", "/etc/gaitway/sink-snowflake.toml"),
];

fn ours(service: &Service) -> Option<&'static str> {
    let (name, _) = service.image.split_once(':').unwrap();
    OURS.into_iter().find(|binary| name == format!("gaitway-{binary}"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The part of the Dockerfile that makes the image `target`.
fn image(target: &str) -> String {
    let whole = text("deploy/images/Dockerfile");
    let stages = whole.split("\nFROM ").find(|stage| stage.lines().next().unwrap().ends_with(&format!(" AS {target}")));
    stages.unwrap_or_else(|| panic!("the Dockerfile makes no {target}")).replace("\\\n", "")
}

#[test]
#[ignore = "needs python"]
fn the_specifications_schema_takes_the_file_and_refuses_a_broken_one() {
    let dir = tempfile::tempdir().unwrap();
    let broken = dir.path().join("broken.yaml");
    let whole = std::fs::read_to_string(folder().join("compose.yaml")).unwrap();
    std::fs::write(&broken, whole.replace("condition: service_healthy", "condition: service_well")).unwrap();
    let refused = file::checked(&broken);
    assert!(!refused.status.success());
    assert!(String::from_utf8_lossy(&refused.stderr).contains("services/relay/depends_on"), "{refused:?}");
    file::read();
}

#[test]
#[ignore = "needs python"]
fn every_service_is_bounded_has_few_rights_and_is_open_only_where_a_user_needs_it() {
    let compose = file::read();
    let mut open = BTreeSet::new();
    for (name, service) in &compose.services {
        let limits = &service.deploy["resources"]["limits"];
        assert!(limits["memory"].is_string() && limits["cpus"].is_string(), "{name} has no limits");
        assert_eq!(service.logging["driver"], "json-file", "{name}");
        assert_eq!(service.cap_drop, ["ALL"], "{name}");
        assert_eq!(service.security_opt, ["no-new-privileges:true"], "{name}");
        let (_, tag) = service.image.rsplit_once(':').unwrap_or_else(|| panic!("{name} has no tag"));
        assert!(tag.contains('.') && tag != "latest", "{name}: {tag}");
        let adds: &[&str] = if name == "secrets" { &["CHOWN", "DAC_OVERRIDE"] } else { &[] };
        assert_eq!(service.cap_add, adds, "{name}");
        // The images of Kafka write into their own folders.
        assert_eq!(service.read_only, !["kafka", "connect"].contains(&name.as_str()), "{name}");
        assert_eq!(service.user.as_deref() == Some("0:0"), name == "secrets", "{name}");
        let once = service.restart == "no";
        let healthcheck = service.healthcheck.as_ref();
        assert!(once || healthcheck.is_some_and(|check| !check.disable && !check.test.is_empty()), "{name}");
        assert!(healthcheck.is_none_or(|check| check.disable == once), "{name}");
        for (needed, how) in &service.depends_on {
            let ends = compose.services[needed].restart == "no";
            assert_eq!(
                how.condition,
                if ends { "service_completed_successfully" } else { "service_healthy" },
                "{name}"
            );
            assert!(compose.services[needed].profiles.is_empty(), "{name} waits for {needed}, which may not be there");
        }
        let alone = service.network_mode.as_deref() == Some("none");
        assert_eq!(alone, service.networks.is_empty(), "{name}");
        assert!(service.networks.iter().all(|network| compose.networks.contains_key(network)), "{name}");
        for port in &service.ports {
            let (outside, inside) = port.rsplit_once(':').unwrap();
            assert!(LISTENING.contains(&(name, inside.parse().unwrap())), "{name}: {port}");
            assert!(
                service.networks.iter().any(|network| !compose.networks[network].internal),
                "{name} is not reached"
            );
            open.insert((name.as_str(), outside));
        }
        assert_image(name, service);
    }
    // Phones come from elsewhere; Grafana is for this machine.
    assert_eq!(open, BTreeSet::from([("agent", "8000"), ("grafana", "127.0.0.1:3000")]));
    assert!(compose.networks["data"].internal && !compose.services["agent"].networks.contains(&"data".to_owned()));
    let whose = |(name, service): (&'_ String, &'_ Service)| -> Vec<_> {
        let volumes = service.volumes.iter().map(file::Volume::ends);
        volumes.map(|(source, target)| (name.clone(), source.to_owned(), target.to_owned())).collect()
    };
    let mounted: Vec<_> = compose.services.iter().flat_map(whose).collect();
    assert!(
        mounted.iter().map(|(name, source, target)| (&name[..], &source[..], &target[..])).eq(MOUNTED),
        "{mounted:?}"
    );
    assert!(compose.volumes.keys().all(|volume| MOUNTED.iter().any(|(_, source, _)| source == volume)));
}

/// The image of ours is built as the Dockerfile says, and has what is run in it, and folders where volumes are mounted.
fn assert_image(name: &str, service: &Service) {
    let target = ours(service).or_else(|| service.image.starts_with("gaitway-connect:").then_some("connect"));
    let Some(target) = target else {
        assert!(service.build.is_none(), "{name}");
        return;
    };
    let build = service.build.as_ref().unwrap();
    assert_eq!((build.context.as_str(), build.dockerfile.as_str()), ("../..", "deploy/images/Dockerfile"), "{name}");
    assert_eq!(build.target, target, "{name}");
    let stage = image(target);
    if target == "connect" {
        return;
    }
    let binary = format!("/usr/bin/gaitway-{target}");
    assert!(stage.contains(&format!("ENTRYPOINT [\"{binary}\"]")), "{stage}");
    assert!(stage.contains(&format!("CMD [\"{binary}\", \"healthcheck\"]")), "{stage}");
    assert!(image("base").contains(&format!("USER {}", service.user.as_ref().unwrap())), "{name}");
    for (source, target) in service.volumes.iter().map(file::Volume::ends) {
        let is_made = stage
            .lines()
            .any(|line| line.starts_with("COPY --from=sources --chown=65532:65532") && line.ends_with(target));
        assert!(source.starts_with('.') || source.starts_with("secrets-") || is_made, "{target} is nobody's: {stage}");
    }
}

#[test]
#[ignore = "needs python"]
fn hadolint_takes_the_dockerfile_and_the_bake_file_names_its_images() {
    let dockerfile = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/images/Dockerfile");
    let hadolint = file::checker().with_file_name("hadolint");
    python::run(Command::new(&hadolint).arg(&dockerfile));
    let dir = tempfile::tempdir().unwrap();
    let wrong = dir.path().join("Dockerfile");
    std::fs::write(&wrong, "FROM debian\nRUN apt-get install curl\n").unwrap();
    assert!(!Command::new(&hadolint).arg(&wrong).output().unwrap().status.success(), "it finds nothing anywhere");
    let bake = text("deploy/images/docker-bake.hcl");
    let targets: Vec<_> =
        bake.lines().filter_map(|line| line.trim().strip_prefix("target ")?.split('"').nth(1)).collect();
    let named: Vec<_> = targets.iter().filter(|target| **target != "common").collect();
    // Each stands at its head and in its own `target = `.
    assert_eq!(named.len(), 10, "{targets:?}");
    for target in named {
        image(target);
    }
}

/// Copies what the file of the context lets through.
fn context(to: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let rules = text("deploy/images/Dockerfile.dockerignore");
    let taken: Vec<_> = rules.lines().filter_map(|line| line.strip_prefix('!')).collect();
    let files = python::run(
        Command::new("git").args(["ls-files", "--cached", "--others", "--exclude-standard"]).current_dir(root),
    );
    let is_secret = |file: &str| [".env", ".p8", ".pem"].iter().any(|end| file.ends_with(end));
    for file in files.lines().filter(|file| root.join(file).is_file() && !is_secret(file)) {
        if taken.iter().any(|path| Path::new(file).starts_with(path)) {
            std::fs::create_dir_all(to.join(file).parent().unwrap()).unwrap();
            std::fs::copy(root.join(file), to.join(file)).unwrap();
        }
    }
}

#[test]
fn what_a_build_of_images_is_given_is_what_cargo_and_the_dockerfile_need() {
    let dir = tempfile::tempdir().unwrap();
    context(dir.path());
    let told = python::run(
        Command::new(env!("CARGO"))
            .args(["metadata", "--format-version=1", "--locked", "--offline", "--no-deps"])
            .current_dir(dir.path()),
    );
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    for target in told["packages"].as_array().unwrap().iter().flat_map(|package| package["targets"].as_array().unwrap())
    {
        let source = target["src_path"].as_str().unwrap();
        assert!(Path::new(source).is_file(), "{source} is not in the context");
    }
    for line in text("deploy/images/Dockerfile").lines() {
        let Some(copied) = line.strip_prefix("COPY ").filter(|copied| !copied.starts_with("--from")) else { continue };
        let source = copied.split(' ').next().unwrap();
        assert!(dir.path().join(source).exists(), "{source} is not in the context");
    }
}

#[test]
#[ignore = "needs kafka and postgres"]
fn a_recording_that_a_phone_pushes_to_what_compose_starts_is_in_postgresql_once() {
    let compose = file::read();
    let mut house = House::new(&compose);
    for name in compose.in_order() {
        house.start(name);
    }
    house.assert_all_is_known();

    let push = format!("http://{}", house.at("agent:8000"));
    let recording = "examples/a-short-run.csv.gz";
    let played = Command::new(env!("CARGO_BIN_EXE_gaitway"))
        .args(["replay", "--to", &push, "--speed", "max", recording])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .unwrap();
    assert!(played.status.success(), "{}", String::from_utf8_lossy(&played.stderr));

    // As Grafana asks, with the user and the password that it is given.
    let reader = Reader::open(&house.postgres_url("gaitway_reader", "grafana/postgres.password"));
    await_that("every reading is there", || reader.number("SELECT count(*) FROM activity.raw_readings") >= 12_000);
    let once =
        "SELECT count(DISTINCT (message_id, session_id, sensor, time_ns, reading_index)) FROM activity.raw_readings";
    await_that("and every window", || reader.number("SELECT count(*) FROM activity.activity_windows") >= 114);
    assert_eq!(reader.number("SELECT count(*) FROM activity.raw_readings"), 12_000);
    assert_eq!(reader.number(once), 12_000);
    assert_eq!(reader.number("SELECT count(*) FROM activity.raw_readings WHERE agent_id <> 'home'"), 0);
    assert!(reader.try_run("DELETE FROM raw_data.activity_records").is_err(), "Grafana's user reads and no more");
    // What the emulator of Snowflake was brought by the sink of the profile.
    await_that("Snowflake has them too", || house.in_snowflake() >= 12_000);
    assert_eq!(house.in_snowflake(), 12_000);

    house.assert_prometheus_hears_all();
    house.assert_well();
    // As README.md lets the first phone in.
    let added = house.exec("agent", &["phone", "add", "Anna"]);
    assert!(added.contains(&format!("http://{}:", file::HOST)), "{added}");
    // `docker compose up` once more: passwords and certificate stay, and everything is well.
    house.start_again(&["secrets", "invite", "enrol"]);
    house.assert_well();
}

/// What compose.yaml puts into the environment of containers of ours.
fn assert_environment(name: &str, service: &Service) {
    let known: &[&str] = match name {
        "agent" => &["GAITWAY_AGENT__PUSH_HOST"],
        "sink" => &["GAITWAY_SINK__POSTGRES__KEEP_RAW"],
        "sink-snowflake" => &["GAITWAY_SINK__SNOWFLAKE__ACCOUNT"],
        _ => &[],
    };
    assert!(service.environment.keys().eq(known.iter()), "{name}: {:?}", service.environment);
}
