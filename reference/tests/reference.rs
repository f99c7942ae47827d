//! What is committed is what the code says, and services take it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use gaitway_agent::config::AgentConfig;
use gaitway_reference::{Sources, WRITE, conffile, examples, keys, manual};
use gaitway_relay::RelayConfig;
use gaitway_service::config::{Check, ConfigError, ConfigFile, Wrong};
use gaitway_sink::SinkConfig;
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// A configuration of which only the keys, types and words are looked at, not what goes together.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
struct Unchecked<C>(C);

impl<C> Check for Unchecked<C> {
    fn check(&self) -> Result<(), Wrong> {
        Ok(())
    }
}

fn read<C: DeserializeOwned + Check>(text: &str, service: &'static str, is_up: bool) -> Result<(), ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    ConfigFile::named(file.path()).unwrap().read::<C>(service, is_up.then_some(service), ()).map(drop)
}

/// As the service takes it.
fn taken(text: &str, name: &str) -> Result<(), ConfigError> {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), text).unwrap();
    let found = ConfigFile::named(file.path()).unwrap();
    match name {
        "agent" => found.read::<AgentConfig>("agent", None, ()).map(drop),
        "relay" => found.read::<RelayConfig>("relay", None, ()).map(drop),
        "sink" => SinkConfig::check_chosen(&found.read::<SinkConfig>("sink", None, ())?),
        _ => gaitway::check_configuration(file.path()),
    }
}

#[test]
fn what_is_committed_is_what_the_code_says() {
    let outdated = gaitway_reference::outdated().unwrap();
    assert!(outdated.is_empty(), "{outdated:?}: write them anew with `{WRITE}`");
}

#[test]
fn conffiles_are_taken_as_they_are() {
    let sources = Sources::read().unwrap();
    for name in conffile::NAMES {
        let text = conffile::write(&sources, name).unwrap().text();
        taken(&text, name).unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[test]
fn every_line_of_a_conffile_fits_its_key() {
    let sources = Sources::read().unwrap();
    for name in conffile::NAMES {
        let all = conffile::write(&sources, name).unwrap().with(|_| true);
        let is_up = name == "up";
        let said = |result: Result<(), ConfigError>| result.unwrap_or_else(|error| panic!("{name}: {error}"));
        if matches!(name, "up" | "agent") {
            said(read::<Unchecked<AgentConfig>>(&all, "agent", is_up));
        }
        if matches!(name, "up" | "relay") {
            said(read::<Unchecked<RelayConfig>>(&all, "relay", is_up));
        }
        if matches!(name, "up" | "sink") {
            said(read::<Unchecked<SinkConfig>>(&all, "sink", is_up));
        }
    }
}

#[test]
fn every_key_of_a_conffile_can_be_set_with_what_belongs_to_it() {
    let sources = Sources::read().unwrap();
    let mut refused = Vec::new();
    for name in conffile::NAMES {
        let file = conffile::write(&sources, name).unwrap();
        for path in file.commented() {
            let (beside, above) = conffile::beside(name, path);
            let text = format!("{above}{}", file.with(|key| key == path || beside.iter().any(|other| other == key)));
            if let Err(error) = taken(&text, name) {
                refused.push(format!("{name}: {path}: {error}"));
            }
        }
    }
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn all_defaults_together_are_taken() {
    let sources = Sources::read().unwrap();
    for (service, _) in keys::SERVICES {
        let tables = keys::tables(&sources, service).unwrap();
        let of_defaults: BTreeSet<String> = tables
            .iter()
            .filter(|table| !table.is_optional && !table.path.starts_with("postgres"))
            .flat_map(|table| &table.keys)
            .filter(|key| key.default.is_some())
            .map(|key| key.path.clone())
            .collect();
        let text = conffile::write(&sources, service).unwrap().with(|key| of_defaults.contains(key));
        taken(&text, service).unwrap_or_else(|error| panic!("{service}: {error}"));
    }
}

#[test]
fn what_up_decides_is_refused_and_stands_in_no_file_of_its_own() {
    let cases = [
        "[agent]\ndata_dir = 'x'",
        "[agent.relay]\naddress = 'mqtt://127.0.0.1'",
        "[relay]\ndata_dir = 'x'",
        "[sink]\nwarehouse = 'postgres'",
        "[sink.sqlite]\npath = 'x'",
        "[sink.postgres]\nconnect_timeout = '10s'",
        "[sink.snowflake]\naccount = 'a'\nuser = 'u'\nprivate_key_file = 'k'",
    ];
    assert_eq!(cases.len(), conffile::UP_DECIDES.len());
    for case in cases {
        assert!(taken(case, "up").is_err(), "{case}");
    }
}

#[test]
fn every_key_is_explained_and_every_example_and_flag_is_of_a_key() {
    let sources = Sources::read().unwrap();
    let mut known = BTreeSet::new();
    for (service, _) in keys::SERVICES {
        for table in keys::tables(&sources, service).unwrap() {
            assert!(!table.doc.contains("[`") && !table.doc.is_empty(), "{service} [{}]: {}", table.path, table.doc);
            for key in table.keys {
                let is_sentence = key.doc.ends_with('.') && !key.doc.contains("[`") && !key.doc.contains("](");
                assert!(is_sentence, "{service}.{}: {}", key.path, key.doc);
                if let Some(flag) = key.flag {
                    assert!(has_flag(service, flag), "{service} has no {flag}");
                }
                known.insert((service, key.path));
            }
        }
    }
    for (service, path) in examples::all() {
        assert!(known.contains(&(service, path.to_owned())), "{service} has no {path}");
    }
}

fn has_flag(service: &str, flag: &str) -> bool {
    let command = gaitway::command();
    let command = command.find_subcommand(service).unwrap();
    command.get_arguments().any(|argument| argument.get_long() == flag.strip_prefix("--"))
}

#[test]
fn pages_and_completions_are_written_for_every_binary() {
    let dir = tempfile::tempdir().unwrap();
    let names = |paths: Vec<std::path::PathBuf>| -> BTreeSet<String> {
        paths.iter().map(|path| Path::new(path).file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    let pages = names(manual::man(dir.path()).unwrap());
    for page in [
        "gaitway.1",
        "gaitway-up.1",
        "gaitway-agent-phone-add.1",
        "gaitway-agent.1",
        "gaitway-relay.1",
        "gaitway-sink.1",
    ] {
        assert!(pages.contains(page), "no {page} in {pages:?}");
        let text = fs::read_to_string(dir.path().join(page)).unwrap();
        assert!(text.contains(".SH \"EXIT STATUS\"") && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    let completions = names(manual::completions(dir.path()).unwrap());
    for script in ["gaitway", "_gaitway-agent", "gaitway-relay.fish"] {
        assert!(completions.contains(script), "no {script} in {completions:?}");
    }
}
