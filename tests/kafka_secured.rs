//! The whole path through a real Kafka that asks who is there: TLS, SASL, and the rights of `deploy/kafka/README.md`, which are read from
//! that page, given as it says, and taken away one at a time.
//!
//! Needs the feature `kafka-tls`; without it there is nothing here.

#![cfg(feature = "kafka-tls")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;
#[path = "kafka_secured/house.rs"]
mod house;
#[path = "kafka_secured/rights.rs"]
mod rights;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use harness::authority::Authority;
use harness::await_that;
use harness::house::{admin, readiness};
use harness::phone::{Phone, Pushed, push};
use harness::process::Process;
use harness::proxy::Proxy;
use harness::warehouse::{assert_exact, assert_no_duplicates, await_drained, count};
use house::{House, Mechanism, Service, assert_nothing_secret, password};
use nix::sys::signal::Signal;
use rights::Right;

/// Pushes through agent, relay, Kafka and sink; every reading and window is stored once, and the gap of what another relay acknowledged.
fn assert_whole_path(house: &House, mechanism: Mechanism) {
    let proxy = Proxy::new();
    // However slow the machine, no pause between two pushes is a silence.
    let talking = house.agent_config("1h");
    let mut agent = Process::agent(&house.path("agent"), &proxy.url(), &["--config", &talking]);
    let url = agent.agent_push_url();
    let spool = house.path("agent/spool.db");
    let mut other = house.other_relay();
    proxy.point(Some(&other.mqtt_address()));
    push(&url, &Phone::new(9, 9), 0..3, &mut Pushed::new());
    await_that("the other relay has all frames", || {
        count(&spool, "SELECT (SELECT count(*) FROM raw) + (SELECT count(*) FROM activity)") == 0
    });
    assert!(other.terminate(Signal::SIGTERM).success());
    proxy.point(None);

    let (phone, mut pushed) = (Phone::new(1, 53), Pushed::new());
    push(&url, &phone, 0..4, &mut pushed);
    let mut relay = house.start(Service::Relay, mechanism, &[]);
    proxy.point(Some(&relay.mqtt_address()));
    let sink = house.start(Service::Sink, mechanism, &[]);
    push(&url, &phone, 4..12, &mut pushed);
    assert_nothing_secret(&agent.log());
    assert!(agent.terminate(Signal::SIGTERM).success());
    let agent = Process::agent(&house.path("agent"), &proxy.url(), &["--config", &house.agent_config("300ms")]);
    await_drained(&spool);
    let warehouse = house.warehouse();
    let readings = pushed.values().map(Vec::len).sum::<usize>() as i64;
    await_that("every reading, window and gap is stored", || {
        warehouse.exists()
            && count(&warehouse, "SELECT count(*) FROM sqlite_master WHERE name = 'GAPS'") == 1
            && count(&warehouse, "SELECT count(*) FROM ACTIVITY_RECORDS") >= readings
            && count(&warehouse, "SELECT count(*) FROM USER_ACTIVITY_PROCESSED") > 0
            && count(&warehouse, "SELECT count(*) FROM GAPS") > 0
    });
    for process in [agent, relay, sink] {
        assert_nothing_secret(&process.log());
        assert!(process.terminate(Signal::SIGTERM).success());
    }
    assert_no_duplicates(&warehouse);
    assert_exact(&warehouse, &phone, &pushed);
}

#[test]
#[ignore = "needs kafka"]
fn with_scram_and_the_listed_rights_alone_every_accepted_reading_is_stored_once() {
    let house = House::new();
    house.make_topics();
    house.give(&house.needed());
    assert_whole_path(&house, Mechanism::Scram);
}

#[test]
#[ignore = "needs kafka"]
fn with_plain_and_the_right_to_create_missing_topics_are_made() {
    let house = House::new();
    house.give(&house.needed());
    house.give(&house.to_create());
    assert_whole_path(&house, Mechanism::Plain);
}

#[test]
#[ignore = "needs kafka"]
fn with_tokens_every_accepted_reading_is_stored_once() {
    let house = House::new();
    house.make_topics();
    house.give(&house.needed());
    assert_whole_path(&house, Mechanism::Tokens);
}

/// What `/readyz` says once it says `expected`.
fn await_said(admin: &str, expected: &[&str]) -> String {
    let mut said = String::new();
    await_that(&format!("/readyz says {expected:?}"), || {
        let (status, body) = readiness(admin);
        said = body;
        status == 503 && expected.iter().all(|part| said.contains(part))
    });
    said
}

fn await_ready(admin: &str) {
    await_that("it is ready", || readiness(admin).0 == 200);
}

#[test]
#[ignore = "needs kafka"]
fn without_any_one_of_the_listed_rights_it_is_named_and_waited_for() {
    let house = House::new();
    house.make_topics();
    let needed = house.needed();
    house.give(&needed);
    assert_eq!(needed.len(), 11, "{needed:?}");
    for right in &needed {
        house.take(right);
        let mut process = house.start(right.service(), Mechanism::Scram, &[]);
        let admin = admin(&mut process);
        let Right { user, operation, kind, name } = right;
        let named = format!("user {user} lacks the right {operation} on {} {name}, which", kind.replace('-', " "));
        let command = format!("--allow-principal 'User:{user}' --operation {operation} --{kind} {name} gives");
        await_said(&admin, &[&named, &command]);
        house.give(std::slice::from_ref(right));
        await_ready(&admin);
        assert!(process.terminate(Signal::SIGTERM).success());
    }
}

#[test]
#[ignore = "needs kafka"]
fn a_topic_that_may_be_seen_and_not_written_is_named() {
    let house = House::new();
    house.make_topics();
    house.give(&house.needed());
    let raw =
        house.needed().into_iter().find(|right| right.operation == "Write" && right.name.ends_with("raw")).unwrap();
    house.take(&raw);
    house.give(&[Right { operation: "Describe".to_owned(), ..raw.clone() }]);
    let mut relay = house.start(Service::Relay, Mechanism::Scram, &[]);
    let agent_config = house.agent_config("300ms");
    let address = format!("mqtt://{}", relay.mqtt_address());
    let mut agent = Process::agent(&house.path("agent"), &address, &["--config", &agent_config]);
    let url = agent.agent_push_url();
    push(&url, &Phone::new(1, 1), 0..1, &mut Pushed::new());
    let named = format!("user relay lacks the right Write on topic {}, which", raw.name);
    relay.logged("the missing right", |event| event["error"].as_str()?.contains(&named).then_some(()));
    house.give(std::slice::from_ref(&raw));
    await_drained(&house.path("agent/spool.db"));
}

#[test]
#[ignore = "needs kafka"]
fn a_right_to_create_that_is_missing_is_named() {
    let house = House::new();
    house.give(&house.needed());
    for service in [Service::Relay, Service::Sink] {
        let mut process = house.start(service, Mechanism::Scram, &[]);
        let user = service.user();
        let named = format!("user {user} lacks the right Create on topic {}", house.own());
        await_said(&admin(&mut process), &["cannot create the topic", &named]);
    }
}

#[test]
#[ignore = "needs kafka"]
fn a_wrong_password_is_named_and_a_right_one_taken_without_a_restart() {
    let house = House::new();
    house.make_topics();
    house.give(&house.needed());
    for service in [Service::Relay, Service::Sink] {
        for mechanism in [Mechanism::Scram, Mechanism::Plain] {
            let file = house.password_file("replaced", "not-the-password");
            let shown = format!("kafka.property_files.sasl_password = \"{}\"\n", file.display());
            let mut process = house.start(service, mechanism, &[("sasl_password", &shown)]);
            let admin = admin(&mut process);
            let said = await_said(&admin, &["SASL authentication error", "check sasl.username and sasl.password"]);
            assert!(!said.contains("not-the-password"), "{said}");
            house.password_file("replaced", password(service.user()));
            await_ready(&admin);
            assert_nothing_secret(&process.log());
            assert!(process.terminate(Signal::SIGTERM).success());
        }
    }
}

#[test]
#[ignore = "needs kafka"]
fn a_wrong_authority_is_named_and_a_right_one_taken_without_a_restart() {
    let house = House::new();
    house.make_topics();
    house.give(&house.needed());
    let ca = house.path("another-ca.pem");
    for service in [Service::Relay, Service::Sink] {
        std::fs::write(&ca, Authority::new("another").pem).unwrap();
        let mut process = house.start(service, Mechanism::Scram, &[("ca", ca.to_str().unwrap())]);
        let admin = admin(&mut process);
        await_said(&admin, &["certificate could not be verified", "ssl.ca.location"]);
        std::fs::write(&ca, house.ca()).unwrap();
        await_ready(&admin);
        assert!(process.terminate(Signal::SIGTERM).success());
    }
}

#[test]
#[ignore = "needs kafka"]
fn a_client_that_speaks_otherwise_than_the_broker_is_told_what_to_look_at() {
    let house = House::new();
    house.make_topics();
    house.give(&house.needed());
    for service in [Service::Relay, Service::Sink] {
        for protocol in ["PLAINTEXT", "SASL_PLAINTEXT", "SSL"] {
            let mut process = house.start(service, Mechanism::Scram, &[("protocol", protocol)]);
            await_said(&admin(&mut process), &["want TLS or SASL", "check security.protocol"]);
            assert!(process.ended().is_none());
        }
    }
}

#[test]
#[ignore = "needs kafka"]
fn secrets_come_from_files_variables_and_credentials_and_no_file_that_others_may_read() {
    let house = House::new();
    house.make_topics();
    house.give(&house.needed());
    let variable =
        |service: Service| format!("GAITWAY_{}__KAFKA__PROPERTIES__SASL_PASSWORD", service.user().to_uppercase());
    for service in [Service::Relay, Service::Sink] {
        let known = password(service.user());
        let none = [("sasl_password", "")];
        let credentials = house.path("credentials");
        std::fs::create_dir_all(&credentials).unwrap();
        let file = credentials.join("kafka");
        std::fs::write(&file, known).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o440)).unwrap();
        let named = "kafka.property_files.sasl_password = \"$CREDENTIALS_DIRECTORY/kafka\"\n";
        let by_variable = vec![(variable(service), known.into())];
        let by_credential = vec![("CREDENTIALS_DIRECTORY".to_owned(), credentials.clone().into_os_string())];
        for (settings, environment) in [(none, by_variable), ([("sasl_password", named)], by_credential)] {
            let mut process = house.start_in(service, Mechanism::Scram, &settings, &environment);
            await_ready(&admin(&mut process));
            assert_nothing_secret(&process.log());
            assert!(process.terminate(Signal::SIGTERM).success());
        }
        let shown = format!("kafka.property_files.sasl_password = \"{}\"\n", file.display());
        let said = house.refused(service, &[("sasl_password", &shown)]);
        assert!(said.contains("sasl.password") && said.contains("chmod 600") && !said.contains(known), "{said}");
    }
    assert!(Path::new(&house.path("credentials/kafka")).exists());
}
