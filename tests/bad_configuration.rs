//! What is wrong with a configuration is said with file, key, value and what is allowed, before anything is opened.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gaitway_agent::config::AgentConfig;
use gaitway_relay::RelayConfig;
use gaitway_service::config::{bytes, duration};
use gaitway_sink::SinkConfig;
use harness::PATIENCE;
use serde_json::Value;

/// One mistake: where it is made, and what must be said of it.
struct Mistake<'a> {
    command: &'a str,
    file: &'a [u8],
    variables: &'a [(&'a str, &'a str)],
    flags: &'a [&'a str],
    expected: &'a [&'a str],
}

/// A file whose text can be read once.
const PIPE: &str = "/dev/stdin";

const NONE: Mistake<'_> = Mistake { command: "up", file: b"", variables: &[], flags: &[], expected: &[] };

/// In a file for `up`.
fn file<'a>(text: &'a str, expected: &'a [&'a str]) -> Mistake<'a> {
    Mistake { file: text.as_bytes(), expected, ..NONE }
}

/// In a variable, for `up`.
fn variable<'a>(variable: &'a [(&'a str, &'a str)], expected: &'a [&'a str]) -> Mistake<'a> {
    Mistake { variables: variable, expected, ..NONE }
}

/// What the binary says of it; it must end by itself, and leave nothing behind.
fn said(dir: &Path, mistake: &Mistake<'_>) -> String {
    let (config, data_dir) = (dir.join("config.toml"), dir.join("data"));
    std::fs::write(&config, mistake.file).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gaitway"));
    command.arg(mistake.command);
    if !mistake.flags.contains(&"--config") {
        command.arg("--config").arg(&config);
    }
    if mistake.command != "sink" && !mistake.flags.contains(&"--data-dir") {
        command.arg("--data-dir").arg(&data_dir);
    }
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("GAITWAY_")) {
        command.env_remove(name);
    }
    let is_piped = mistake.flags.contains(&PIPE);
    let mut child = command
        .args(mistake.flags)
        .envs(mistake.variables.iter().copied())
        .stdin(if is_piped { Stdio::piped() } else { Stdio::null() })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if let Some(mut pipe) = child.stdin.take() {
        pipe.write_all(mistake.file).unwrap();
    }
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > end || data_dir.exists() {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it starts with {:?} {:?}", String::from_utf8_lossy(mistake.file), mistake.variables);
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{said}");
    assert!(!data_dir.exists(), "nothing is opened before the configuration is checked: {said}");
    said.replace(config.to_str().unwrap(), "FILE").replace(PIPE, "FILE")
}

fn assert_said(mistakes: &[Mistake<'_>]) {
    let dir = tempfile::tempdir().unwrap();
    for mistake in mistakes {
        let said = said(dir.path(), mistake);
        for words in mistake.expected {
            assert!(said.contains(words), "no {words:?} in: {said}");
        }
        assert!(!said.contains("panicked") && said.lines().count() < 8 && said.len() < 1_000, "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
}

#[test]
fn every_key_of_the_agent_says_what_it_allows() {
    assert_said(&[
        file("[agent]\nhttp = 'localhost:8000'", &["FILE:2: `agent.http` is \"localhost:8000\", must be an address"]),
        file("[agent]\ndata_dir = 3", &["FILE:2: `agent.data_dir` is 3, must be"]),
        file("[agent]\ndata_dir = 'x'", &["FILE:2: `agent.data_dir` is \"x\"", "give --data-dir"]),
        file(
            "[agent]\nagent_id = 'My Pi'",
            &["FILE:2: `agent.agent_id` is \"My Pi\"", "1 to 63 characters of a-z, 0-9"],
        ),
        file(
            "[agent.mdns]\nname = 'attic.local'",
            &["FILE:2: `agent.mdns.name` is \"attic.local\", must be a name without .local", "at most 55"],
        ),
        file("[agent.relay]\naddress = 'mqtts://pi'", &["FILE:2: `agent.relay.address`", "runs a relay of its own"]),
        file("[agent.spool]\nmax_bytes = 'lots'", &["FILE:2: `agent.spool.max_bytes` is \"lots\"", "a size like 2GiB"]),
        file("[agent.spool]\nmax_bytes = '2 parsecs'", &["is \"2 parsecs\"", "a size like 2GiB"]),
        file("[agent.spool]\nmax_bytes = -1", &["`agent.spool.max_bytes` is -1", "a size like 2GiB"]),
        file(
            "[agent.spool]\n\nmax_bytes = '8MiB'",
            &["FILE:3: `agent.spool.max_bytes` is \"8MiB\", must be from 9MiB to"],
        ),
        file("[agent.spool]\nmin_free_percent = nan", &["`agent.spool.min_free_percent` is NaN, must be from 0 to 90"]),
        file("[agent.spool]\nmin_free_percent = -1", &["is -1, must be from 0 to 90"]),
        file("[agent.spool]\nmin_free_percent = 100", &["is 100, must be from 0 to 90"]),
        file("[agent.spool]\nmin_free_percent = '5%'", &["is \"5%\", must be a number"]),
        file("[agent.spool]\nwhen_full = 'drop'", &["is \"drop\", must be one of `refuse`, `drop_oldest_raw`"]),
        file("[agent.spool]\nremember = '0s'", &["`agent.spool.remember` is \"0s\", must be from 1h to"]),
        file("[agent.spool]\nremember = 400", &["`agent.spool.remember` is 400, must be a duration like 30s"]),
        file(
            "[agent.windows]\nlength = '5s'",
            &["FILE:2: `agent.windows.length` is \"5s\"", "a multiple of the slide, 2s"],
        ),
        file("[agent.windows]\nslide = '3s'", &["FILE:2: `agent.windows.slide` is \"3s\"", "the length, 10s"]),
        file("[agent.windows]\nslide = '1ns'", &["`agent.windows.slide` is \"1ns\", must be a multiple of 100ms"]),
        file("[agent.windows]\nslide = '100ms'\nlength = '1h'", &["`agent.windows.slide` is", "1000 are possible"]),
        file("[agent.windows]\nlateness = '2h'", &["`agent.windows.lateness` is \"2h\", must be from 0s to 1h"]),
        file("[agent.windows]\nlateness = '-1s'", &["`agent.windows.lateness` is \"-1s\", must be a duration like"]),
        file("[agent.windows]\nlateness = '10 minuets'", &["is \"10 minuets\", must be a duration like"]),
        file("[agent.windows]\nsilence = '0s'", &["`agent.windows.silence` is \"0s\", must be from 100ms to 1d"]),
        file("[agent.windows]\nsilence = '9999years'", &["must be from 100ms to 1d"]),
        file("[agent.windows]\nthresholds = [8, 2, 20]", &["is [8, 2, 20], must be three numbers above 0"]),
        file("[agent.windows]\nthresholds = [2, nan, 20]", &["`agent.windows.thresholds` is [2, NaN, 20], must be"]),
        file("[agent.windows]\nthresholds = [2, 8]", &["`agent.windows.thresholds` is [2, 8], must be", "3"]),
        file("[agent.windows]\nthresholds = [2, 8, 'x']", &["`agent.windows.thresholds.2` is \"x\", must be a number"]),
    ]);
}

#[test]
fn an_agent_alone_says_the_same_of_its_own_file() {
    let agent =
        |text: &'static str, expected: &'static [&'static str]| Mistake { command: "agent", ..file(text, expected) };
    assert_said(&[
        agent("[relay]\naddress = 'pi:1883'", &["FILE:2: `relay.address` is \"pi:1883\"", "mqtts://HOST:PORT"]),
        agent("[relay]\naddress = 'http://pi'", &["`relay.address` is \"http://pi\"", "mqtts://"]),
        agent(
            "[relay]\naddress = 'mqtt://pi'",
            &["FILE:2: `relay.address` is \"mqtt://pi\", must be mqtts://", "enroll"],
        ),
        agent("[relay]\naddress = 'mqtt://me:hunter2@pi'", &["`relay.address` is a URL with credentials"]),
        agent("[relay]\naddress = 'mqtts://b'\n[relay.broker]\n", &["`relay.broker.ca_file`", "must be set"]),
        agent("[relay.broker]\nusername = 'x'\n", &["`relay.address` is not set, must be set beside `relay.broker`"]),
        agent(
            "[relay]\naddress = 'mqtts://b'\n[relay.broker]\nca_file = '/none.pem'\n",
            &["/none.pem cannot be read: No such file"],
        ),
        agent("[relay]\npassword = 'hunter2'", &["FILE:2: unknown key `relay.password`"]),
        agent("[agent]\nhttp = '0.0.0.0:1'", &["FILE:1: unknown key `agent`", "allowed here: `data_dir`, `http`"]),
        agent("http = 8000", &["FILE:1: `http` is 8000, must be an address", "such as 0.0.0.0:8000"]),
        Mistake { command: "agent", flags: &["--data-dir", ""], expected: &["--data-dir"], ..NONE },
        Mistake { command: "agent", flags: &["--relay", "pi"], expected: &["--relay", "mqtts://HOST:PORT"], ..NONE },
        Mistake { command: "agent", flags: &["--agent-id", "A B"], expected: &["--agent-id", "a-z, 0-9"], ..NONE },
    ]);
}

#[test]
fn every_key_of_the_relay_says_what_it_allows() {
    assert_said(&[
        file(
            "[relay]\nmqtt = '1883'",
            &["FILE:2: `relay.mqtt` is \"1883\", must be an address", "such as 0.0.0.0:8000"],
        ),
        file("[relay]\nmqtt = '0.0.0.0:1883'\ntls = false", &["FILE:3: `relay.tls` is false", "must not be off"]),
        file("[relay]\npublic_address = 'relay'", &["FILE:2: `relay.public_address` is \"relay\", must be HOST:PORT"]),
        file("[relay]\ndata_dir = '/x'", &["FILE:2: `relay.data_dir` is \"/x\", cannot stand here", "--data-dir"]),
        file(
            "[sink]\nwarehouse = 'snowflake'",
            &["FILE:2: `sink.warehouse` is \"snowflake\", must have its table `sink.snowflake`"],
        ),
        file(
            "[sink]\nwarehouse = 'postgres'",
            &["`sink.warehouse` is \"postgres\", cannot stand here", "`gaitway sink`"],
        ),
        file(
            "[sink.postgres]\nconnect_timeout = '9s'",
            &["`sink.postgres.connect_timeout`", "set `sink.warehouse` to \"postgres\""],
        ),
        file("[sink]\nwarehouse = 'mysql'", &["`sink.warehouse` is \"mysql\"", "postgres"]),
        file(
            "[sink.postgres]\nurl = 'postgres://me:hunter2@h/db'\npassword_file = '/x'",
            &["`sink.postgres.password_file` is \"/x\", cannot stand beside a password in `sink.postgres.url`"],
        ),
        file(
            "[relay.kafka.properties]\nacks = 1",
            &["`relay.kafka.properties.acks` is", "must not have acks: a record is acknowledged by all replicas"],
        ),
        file("[relay.kafka]\nbrokers = 'nowhere'", &["`relay.kafka.brokers` is \"nowhere\", must be HOST:PORT"]),
        file("[sink.kafka]\nbrokers = 'a:1'", &["`sink.kafka", "set `relay.kafka` too"]),
        file("[sink]\ngroup = 'g'", &["`sink.group` is \"g\"", "set `relay.kafka` too"]),
        file(
            "[relay.kafka]\n[sink.kafka]\ninspect = false",
            &["`sink.kafka", "must have `brokers` too", "in the place of `relay.kafka`"],
        ),
        file(
            "[relay.kafka]\n[sink.kafka]\nbrokers = 'a:1'\n[sink.kafka.topics]\nraw = 'x'",
            &["`sink.kafka.topics", "must name the topics that the relay writes"],
        ),
        file(
            "[relay.schema_registry]\nurl = 'http://r:8081'",
            &["`relay.schema_registry.url` is \"http://r:8081\", cannot stand here alone", "set `relay.kafka` too"],
        ),
        file(
            "[relay.kafka.create.settings]\n'cleanup.policy' = 'compact'",
            &["`relay.kafka.create.settings", "would make topics that the relay refuses"],
        ),
        file("[sink.sqlite]\npath = 'x'", &["`sink.sqlite.path` is \"x\", cannot stand here", "--data-dir"]),
        file(
            "[relay.broker]\nclient_id = 'r'",
            &["`relay.broker.url` is not set, must be set: mqtts://HOST:PORT of the broker"],
        ),
        file("[relay.broker]\nurl = 'mqtt://b.example'", &["FILE:2: `relay.broker.url` is", "must be mqtts:// unless"]),
        file(
            "[relay.broker]\nurl = 'b.example:8883'",
            &["`relay.broker.url` is \"b.example:8883\"", "mqtts://HOST:PORT"],
        ),
        file("[relay.broker]\nurl = 'mqtts://b.example'", &["`relay.broker.ca_file` is not set, must be set"]),
        file(
            "[relay]\ntls = true\n[relay.broker]\nurl = 'mqtt://127.0.0.1'",
            &["FILE:2: `relay.tls` is true, must not stand beside `relay.broker`"],
        ),
        file(
            "[relay.broker]\nurl = 'mqtt://127.0.0.1'\npassword = 'hunter2'\npassword_file = '/x'",
            &["`relay.broker.password_file` is \"/x\"", "must not stand beside `relay.broker.password`"],
        ),
        file("[relay]\nadmin = 9000", &["`relay.admin` is 9000, must be an address"]),
        file("[relay]\nadmin = '127.0.0.1:1883'", &["`relay.admin` is", "another address than `relay.mqtt`"]),
        file("[relay]\nsecret = 'hunter2'", &["FILE:2: unknown key `relay.secret`"]),
        file("[relay]\nmax_connections = 0", &["`relay.max_connections` is 0, must be from 1 to 100000"]),
        file("[relay]\nmax_connections = 9999999999999999", &["must be from 1 to 100000"]),
        file("[relay]\nmax_connections = 'many'", &["is \"many\", must be a whole number"]),
        file("[relay.commit]\nmax_bytes = 0", &["FILE:2: `relay.commit.max_bytes` is 0, must be from 4KiB to 64MiB"]),
        file("[relay.commit]\nmax_bytes = '1TiB'", &["is \"1TiB\", must be from 4KiB to 64MiB"]),
        file("[relay.commit]\nlinger = '1m'", &["`relay.commit.linger` is \"1m\", must be from 0s to 5s"]),
        file("[relay.commit]\nbudget = '1MiB'", &["`relay.commit.budget` is \"1MiB\", must be from 9MiB to 1GiB"]),
        file(
            "[relay.schema_registry]\nurl = 'registry:8081'",
            &["FILE:2: `relay.schema_registry.url` is \"registry:8081\", must be http://HOST:PORT"],
        ),
        file(
            "[relay.schema_registry]\nurl = 'https://me:hunter2@registry'",
            &["`relay.schema_registry.url` is a URL with credentials, must be http"],
        ),
        file(
            "[relay.schema_registry]\npassword = 'hunter2'",
            &["`relay.schema_registry.password` is a value that is not shown", "`relay.schema_registry.url`"],
        ),
        file(
            "[relay.schema_registry]\nurl = 'http://h'\ntoken = 'hunter2'\ntoken_file = '/x'",
            &["FILE:4: `relay.schema_registry.token_file` is \"/x\"", "keep one of them"],
        ),
        file(
            "[relay.schema_registry]\ncompatibility = 'forward'",
            &["FILE:2: `relay.schema_registry.compatibility` is \"forward\", must be one of", "`FORWARD_TRANSITIVE`"],
        ),
    ]);
}

#[test]
fn every_key_of_the_warehouse_says_what_it_allows() {
    assert_said(&[
        file("[sink.sqlite]\nkeep_raw = '1m'", &["FILE:2: `sink.sqlite.keep_raw` is \"1m\", must be from 1h to"]),
        file("[sink.sqlite]\nkeep_raw = true", &["`sink.sqlite.keep_raw` is true, must be a duration like"]),
        file("[sink.sqlite]\nmax_bytes = 5", &["`sink.sqlite.max_bytes` is 5, must be from 1MiB to"]),
        file(
            "[sink.sqlite]\nmin_free_percent = 91",
            &["`sink.sqlite.min_free_percent` is 91, must be a whole number from 0 to 90"],
        ),
        file("[sink.sqlite]\nmin_free_percent = 300", &["is 300, must be a whole number from 0 to 90"]),
        file("[sink.sqlite]\nmin_free_percent = 2.5", &["is 2.5, must be a whole number from 0 to 90"]),
        file("[sink.sqlite]\npath = 'x.db'", &["FILE:2: `sink.sqlite.path` is \"x.db\"", "give --data-dir"]),
        file("[sink]\nwarehouse = 'oracle'", &["`sink.warehouse` is \"oracle\"", "sqlite"]),
    ]);
}

#[test]
fn every_key_of_a_sink_alone_says_what_it_allows() {
    let sink =
        |text: &'static str, expected: &'static [&'static str]| Mistake { command: "sink", ..file(text, expected) };
    assert_said(&[
        sink("group = ''", &["FILE:1: `group` is \"\", must be 1 to 249 printable characters"]),
        sink("[kafka]\nbrokers = 'x'", &["FILE:2: `kafka.brokers` is \"x\", must be HOST:PORT"]),
        sink("[batch]\nmax_rows = 0", &["FILE:2: `batch.max_rows` is 0, must be from 1 to 1000000"]),
        sink("[batch]\nmax_bytes = 1", &["`batch.max_bytes` is 1, must be from 1KiB to 64MiB"]),
        sink("[batch]\nlinger = '2m'", &["`batch.linger` is \"2m\", must be from 0s to 1m"]),
        sink("[batch]\nmemory = '1MiB'", &["`batch.memory` is \"1MiB\", must be from 8MiB to 16GiB"]),
        sink("[sqlite]\npath = '/'", &["`sqlite.path` is \"/\", must name a file"]),
        sink("admin = 9000", &["`admin` is 9000, must be an address"]),
        sink("adopt_from_group = true", &["unknown key `adopt_from_group`"]),
    ]);
}

#[test]
fn what_the_next_hop_cannot_take_is_refused_with_both_sides() {
    assert_said(&[
        file(
            "[relay.commit]\nmax_bytes = '2MiB'\n[sink.sqlite]\nmax_bytes = '1MiB'",
            &["FILE:4: `sink.sqlite.max_bytes` is \"1MiB\"", "2MiB (`relay.commit.max_bytes`)"],
        ),
        file(
            "[agent]\nhttp = '127.0.0.1:1883'",
            &["FILE:2: `agent.http` is", "another address than where agents connect (`relay.mqtt`)"],
        ),
        file(
            "[relay]\nadmin = '127.0.0.1:8000'",
            &["FILE:2: `relay.admin` is", "0.0.0.0:8000, where phones push to (`agent.http`)"],
        ),
    ]);
}

#[test]
fn what_nobody_reads_is_named_with_what_was_perhaps_meant() {
    assert_said(&[
        file("[agent]\nhtpp = 1", &["FILE:2: unknown key `agent.htpp`, perhaps `http`; allowed here: `data_dir`"]),
        file("[agent.windows]\nlentgh = '1s'", &["`agent.windows.lentgh`, perhaps `length`"]),
        file("[agnet]\nhttp = 1", &["FILE:1: unknown key `agnet`, perhaps `agent`; allowed here: agent, relay, sink"]),
        file("http = '0.0.0.0:1'", &["FILE:1: unknown key `http`", "agent, relay, sink"]),
        file("[relay.comit]\nlinger = '1s'", &["unknown key `relay.comit`, perhaps `commit`"]),
        file(
            "[sink.mysql]\nurl = 'mysql://me:hunter2@h'",
            &["unknown key `sink.mysql`", "allowed here: `kafka`, `group`, `warehouse`, `sqlite`"],
        ),
        file("[relay]\ndata_dri = 'hunter2'", &["unknown key `relay.data_dri`, perhaps `data_dir`"]),
        variable(
            &[("GAITWAY_AGENT__SPOOL__MAX_BYTE", "1GiB")],
            &["GAITWAY_AGENT__SPOOL__MAX_BYTE", "perhaps `max_bytes`"],
        ),
        variable(&[("GAITWAY_AGNET__HTTP", "x")], &["GAITWAY_AGNET__HTTP", "perhaps GAITWAY_AGENT__"]),
        variable(&[("GAITWAY_RELAY_MQTT", "x")], &["GAITWAY_RELAY_MQTT", "two underscores"]),
        Mistake { flags: &["--htpp", "x"], expected: &["--htpp", "--http"], ..NONE },
    ]);
}

#[test]
fn a_variable_says_what_it_allows() {
    let long = "9".repeat(100_000);
    assert_said(&[
        variable(
            &[("GAITWAY_RELAY__ADMIN", "9000")],
            &["GAITWAY_RELAY__ADMIN: `relay.admin` is \"9000\", must be an address"],
        ),
        variable(
            &[("GAITWAY_RELAY__MAX_CONNECTIONS", "")],
            &["GAITWAY_RELAY__MAX_CONNECTIONS", "is \"\", must be a whole"],
        ),
        variable(&[("GAITWAY_AGENT__SPOOL__MAX_BYTES", "")], &["`agent.spool.max_bytes` is \"\", must be a size like"]),
        variable(&[("GAITWAY_AGENT__SPOOL__REMEMBER", "1 s 2")], &["must be a duration like"]),
        variable(
            &[("GAITWAY_AGENT__WINDOWS__THRESHOLDS", "8,2,20")],
            &["`agent.windows.thresholds` is \"8,2,20\", must be"],
        ),
        variable(&[("GAITWAY_AGENT__SPOOL", "x")], &["GAITWAY_AGENT__SPOOL: `agent.spool` is \"x\", must be a table"]),
        variable(&[("GAITWAY_AGENT__SPOOL__", "x")], &["GAITWAY_AGENT__SPOOL__", "lacks a key"]),
        variable(
            &[("GAITWAY_SINK__SQLITE__MAX_BYTES", &long)],
            &["GAITWAY_SINK__SQLITE__MAX_BYTES", "must be a size like"],
        ),
        variable(&[("GAITWAY_RELAY__SECRET", "hunter2")], &["GAITWAY_RELAY__SECRET: unknown key `relay.secret`"]),
    ]);
}

#[test]
fn flags_say_what_they_allow() {
    assert_said(&[
        Mistake { flags: &["--http", "8000"], expected: &["--http", "such as 0.0.0.0:8000"], ..NONE },
        Mistake { flags: &["--mqtt", "1883"], expected: &["--mqtt", "such as 0.0.0.0:8000"], ..NONE },
        Mistake { flags: &["--data-dir", ""], expected: &["--data-dir"], ..NONE },
    ]);
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_the_line_where_it_stops_making_sense() {
    assert_said(&[
        file("[agent]\nhttp = '0.0.0.0:1'\nhttp = '0.0.0.0:2'", &["FILE:3: not TOML", "duplicate"]),
        file("[agent]\n[agent]", &["FILE:2: not TOML", "duplicate"]),
        file("[agent\nhttp = 1", &["FILE:1: not TOML"]),
        file("[agent]\nhttp = 0.0.0.0:8000", &["FILE:2: not TOML"]),
        file("[agent]\nhttp = \"0.0.0.0:8000", &["FILE:2: not TOML"]),
        file("agent = 3", &["FILE:1: `agent` is 3, must be a table"]),
        Mistake { file: b"[agent]\n# caf\xe9\n", expected: &["FILE:2", "not UTF-8"], ..NONE },
        Mistake { file: b"\x00\x01\x02", expected: &["FILE:1: not TOML"], ..NONE },
        Mistake { flags: &["--config", "/no/such.toml"], expected: &["/no/such.toml", "No such file"], ..NONE },
        Mistake { flags: &["--config", "/"], expected: &["configuration file / cannot be read", "directory"], ..NONE },
        Mistake { flags: &["--config", "/dev/null/x"], expected: &["/dev/null/x cannot be read"], ..NONE },
        Mistake {
            flags: &["--config", "/dev/zero"],
            expected: &["/dev/zero cannot be read", "larger than 1 MiB"],
            ..NONE
        },
    ]);
}

#[test]
fn a_file_that_can_be_read_only_once_is_read_whole_for_every_service() {
    let piped = |command, text, flags, expected| Mistake { command, flags, ..file(text, expected) };
    let (text, flags): (_, &[&str]) = ("[relay]\ntlx = true", &["--config", PIPE]);
    let unknown: &[&str] = &["FILE:2: unknown key `relay.tlx`, perhaps `tls`"];
    assert_said(&[
        piped("up", "[agent]\nhttq = '0.0.0.0:1'", flags, &["FILE:2: unknown key `agent.httq`"]),
        piped("up", text, flags, unknown),
        piped("up", "[relay]\nmqtt = '0.0.0.0:1883'\ntls = false", flags, &["FILE:3: `relay.tls` is false"]),
        piped("up", "[sink.sqlite]\nkeep_row = '1d'", flags, &["FILE:2: unknown key `sink.sqlite.keep_row`"]),
        piped("audit", text, flags, unknown),
        piped("tail", text, &["raw", "--config", PIPE], unknown),
        piped("forget", text, &["--config", PIPE, "--device", "d", "--dry-run"], unknown),
        piped("doctor", text, flags, unknown),
        piped("doctor", "group = ''", flags, &["FILE:1: `group` is \"\""]),
    ]);
}

#[test]
fn a_certificate_that_cannot_be_used_is_named_with_its_key_before_anything_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (pem, none, key) = (dir.path().join("cert.pem"), dir.path().join("none.pem"), dir.path().join("key.pem"));
    let [made, other] = [(); 2].map(|()| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap());
    std::fs::write(&pem, made.cert.pem()).unwrap();
    std::fs::write(&key, other.signing_key.serialize_pem()).unwrap();
    let https = |table, certificate: &Path, key: &Path| {
        format!("[{table}]\ncertificate_file = {certificate:?}\nkey_file = {key:?}\n")
    };
    let up = |certificate: &Path, key: &Path| https("agent.https", certificate, key);
    let own = https("https", &pem, &none);
    let of_agent =
        Mistake { command: "agent", ..file(&own, &["FILE:3: `https.key_file` is", "none.pem cannot be read"]) };
    assert_said(&[
        file(&up(&none, &key), &["FILE:2: `agent.https.certificate_file` is", "none.pem cannot be read: No such file"]),
        file(&up(&pem, &none), &["FILE:3: `agent.https.key_file` is", "none.pem cannot be read: No such file"]),
        file(&up(&pem, &key), &["FILE:3: `agent.https.key_file` is", "chmod 600"]),
        of_agent,
        file(
            "[agent.https]\nkey_file = '/x'",
            &["FILE:2: `agent.https.key_file` is", "`agent.https.certificate_file`", "set both, or neither"],
        ),
    ]);
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
    assert_said(&[file(&up(&pem, &key), &["FILE:2: `agent.https.certificate_file` is", "cannot be used together"])]);
}

/// `README.md`'s table of keys: the key and its default, none where it is not set.
fn documented() -> BTreeMap<String, Option<String>> {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let mut documented = BTreeMap::new();
    let quoted = |cell: &str| cell.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>();
    for row in
        readme.lines().filter(|line| ["agent", "relay", "sink"].iter().any(|s| line.starts_with(&format!("| `{s}."))))
    {
        let cells: Vec<&str> = row.split('|').collect();
        let (keys, defaults) = (quoted(cells[1]), quoted(cells[2]));
        assert!(defaults.is_empty() || defaults.len() == keys.len(), "{row}");
        let (table, _) = keys[0].rsplit_once('.').unwrap();
        for (index, key) in keys.iter().enumerate() {
            let key = if key.starts_with('.') { format!("{table}{key}") } else { key.clone() };
            assert!(documented.insert(key, defaults.get(index).cloned()).is_none(), "told twice: {row}");
        }
    }
    documented
}

/// The leaves of `value` below `key`.
fn leaves(key: String, value: Value, into: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields {
                leaves(format!("{key}.{name}"), value, into);
            }
        }
        value => {
            into.insert(key, value);
        }
    }
}

#[test]
fn the_documented_defaults_are_the_real_ones_and_every_key_is_documented() {
    let mut real = BTreeMap::new();
    leaves("agent".to_owned(), serde_json::to_value(AgentConfig::default()).unwrap(), &mut real);
    leaves("relay".to_owned(), serde_json::to_value(RelayConfig::default()).unwrap(), &mut real);
    leaves("sink".to_owned(), serde_json::to_value(SinkConfig::default()).unwrap(), &mut real);
    let documented = documented();
    assert_eq!(real.keys().collect::<Vec<_>>(), documented.keys().collect::<Vec<_>>());
    for (key, documented) in documented {
        let real = &real[&key];
        let same = match (real, &documented) {
            (Value::Null, None) => true,
            (Value::Bool(flag), Some(text)) => text.parse() == Ok(*flag),
            (Value::Number(number), Some(text)) => {
                number.as_u64().is_some_and(|number| bytes::parse(text) == Ok(number))
                    || number.as_f64() == text.parse().ok()
            }
            (Value::String(real), Some(text)) => {
                real == text.trim_start_matches("./")
                    || duration::parse(real).is_ok_and(|real| Ok(real) == duration::parse(text))
            }
            (Value::Array(_), Some(text)) => serde_json::from_str::<Value>(text).is_ok_and(|text| text == *real),
            _ => false,
        };
        assert!(same, "`{key}` is {real} by default, README.md says {documented:?}");
    }
}
