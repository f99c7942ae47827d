//! `gaitway relay agent`: lets agents in and throws them out, while the relay runs or not.
//!
//! - What it says on stdout is for programs too: of `add` one line, `HOST:PORT CODE`.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, ensure};
use gaitway_proto::schema::rfc3339;
use gaitway_proto::topic::AgentId;
use gaitway_service::table::{Side, Table};
use gaitway_service::{clock, config, key_file};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::RelayConfig;
use crate::config::is_host_and_port;
use crate::identity::{Line, Store};

/// What is done about agents.
#[derive(Debug, clap::Subcommand)]
pub(super) enum AgentCommand {
    /// Let an agent in: prints HOST:PORT and a code for `gaitway agent enroll`, valid for 15 minutes and once
    Add {
        /// The agent's name: a-z, 0-9 and '-'
        name: AgentId,
        /// HOST:PORT at which agents reach the relay [default: `public_address` of the configuration, else where it listens]
        #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
        address: Option<String>,
        /// Put address and code into this file, its owner's alone, and not on stdout: for `gaitway agent enroll --invitation`
        #[arg(long, value_name = "FILE")]
        invitation: Option<PathBuf>,
        #[command(flatten)]
        place: Place,
    },
    /// Show certificates and codes that wait
    List {
        /// As JSON
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: Place,
    },
    /// Throw an agent out: its certificates and codes are void, an open connection ends within seconds
    Revoke {
        /// The agent's name
        name: AgentId,
        #[command(flatten)]
        place: Place,
    },
    /// Have an agent make a new key at its next contact; the old certificate is void once the new one is in use
    Rotate {
        /// The agent's name
        name: AgentId,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the relay keeps its identities.
#[derive(Debug, clap::Args)]
pub(super) struct Place {
    /// The relay's folder; of `gaitway up` it is DIR/relay [default: ./gaitway-data/relay]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// The relay's configuration file; `up`'s will do [default: /etc/gaitway/relay.toml if it exists]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// The flags in the shape of [`RelayConfig`].
#[derive(Debug, Serialize)]
struct Flags {
    #[serde(skip_serializing_if = "Option::is_none")]
    data_dir: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    public_address: Option<String>,
}

/// One line of `list --json`. Times are RFC 3339.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown {
    agent: String,
    state: &'static str,
    serial: Option<String>,
    until: String,
    last_contact: Option<String>,
}

fn host_and_port(text: &str) -> Result<String, String> {
    if is_host_and_port(text) { Ok(text.to_owned()) } else { Err("an address is HOST:PORT".to_owned()) }
}

/// Does it. `file` and `data_dir` stand before the subcommand.
pub(super) fn run(command: AgentCommand, file: Option<PathBuf>, data_dir: Option<PathBuf>) -> anyhow::Result<ExitCode> {
    let now = clock::now_micros().div_euclid(1_000_000);
    let load = |place: Place, public_address| {
        let flags = Flags { data_dir: place.data_dir.or(data_dir), public_address };
        config::load_either::<RelayConfig>("relay", place.config.or(file).as_deref(), flags)
    };
    let said = match command {
        AgentCommand::Add { name, address, invitation, place } => {
            return add(&load(place, address)?, now, &name, invitation.as_deref());
        }
        AgentCommand::List { json, place } => {
            let lines = Store::open_existing(&load(place, None)?.data_dir, now)?.list(now)?;
            let shown = lines.iter().map(shown).collect::<Vec<_>>();
            if json { format!("{}\n", serde_json::to_string_pretty(&shown)?) } else { table(&shown) }
        }
        AgentCommand::Revoke { name, place } => {
            let (certificates, codes) = Store::open_existing(&load(place, None)?.data_dir, now)?.revoke(now, &name)?;
            ensure!(
                certificates + codes > 0,
                "agent {name} has neither a good certificate nor a code: `gaitway relay agent list` shows who has"
            );
            let counted = |count: usize, what| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
            let (certificates, codes) = (counted(certificates, "certificate"), counted(codes, "code"));
            format!("agent {name}: {certificates} revoked, {codes} dropped\n")
        }
        AgentCommand::Rotate { name, place } => {
            let certificates = Store::open_existing(&load(place, None)?.data_dir, now)?.rotate(now, &name)?;
            ensure!(
                certificates > 0,
                "agent {name} has no good certificate: let it in with `gaitway relay agent add {name}`"
            );
            format!("agent {name}: a new certificate is wanted in the place of {certificates}\n")
        }
    };
    write(&said)
}

fn add(config: &RelayConfig, now: i64, name: &AgentId, invitation: Option<&Path>) -> anyhow::Result<ExitCode> {
    ensure!(
        config.broker.is_none(),
        "agents come in by the broker of relay.broker, which lets them in: make a user or a certificate for {name} there"
    );
    let mut store = Store::open_existing(&config.data_dir, now)?;
    let (address, sure) = if let Some(address) = &config.public_address {
        (address.clone(), true)
    } else {
        let (listens, public) = store.listener()?.unwrap_or_else(|| (config.mqtt.to_string(), false));
        (reached_at(&listens), public)
    };
    let added = store.add(now, name)?;
    let code = &added.code;
    let how = match invitation {
        Some(file) => format!("--invitation {}", file.display()),
        None => format!("{address} {code}"),
    };
    let mut notes = vec![format!("On the agent's machine, within 15 minutes: gaitway agent enroll {how}\n")];
    if !sure {
        let note =
            "If agents reach this relay elsewhere, say where with --address HOST:PORT or the key public_address.\n";
        notes.push(note.to_owned());
    }
    if let Some(until) = added.certified_until {
        let until = rfc3339(until.saturating_mul(1_000_000_000));
        notes.push(format!(
            "Agent {name} has a certificate until {until}, which stays good: if it is lost, `gaitway relay agent revoke \
             {name}` first.\n"
        ));
    }
    // Whoever closed stderr does without the notes.
    let _ = io::stderr().write_all(notes.concat().as_bytes());
    let line = Zeroizing::new(format!("{address} {code}\n"));
    match invitation {
        Some(file) => key_file::write(file, line.as_bytes()).map(|()| ExitCode::SUCCESS).map_err(Into::into),
        None => write(&line),
    }
}

/// Where a listener is reached; of one on all addresses that from which this machine talks to others.
fn reached_at(listens: &str) -> String {
    let Ok(address) = listens.parse::<SocketAddr>() else { return listens.to_owned() };
    if !address.ip().is_unspecified() {
        return listens.to_owned();
    }
    // Connecting a UDP socket sends nothing: it chooses the way to an address that is nobody's (RFC 5737).
    let outward = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
        .and_then(|socket| socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).and_then(|()| socket.local_addr()));
    let ip = outward.map_or(Ipv4Addr::LOCALHOST.into(), |local| local.ip());
    SocketAddr::new(ip, address.port()).to_string()
}

fn shown(line: &Line) -> Shown {
    let state = match (&line.serial, line.revoked_at, line.rotate) {
        (None, ..) => "code waits",
        (_, Some(_), _) => "revoked",
        (_, None, true) => "to be replaced",
        (_, None, false) => "good",
    };
    let time = |seconds: i64| rfc3339(seconds.saturating_mul(1_000_000_000));
    Shown {
        agent: line.agent.to_string(),
        state,
        serial: line.serial.map(|serial| serial.to_string()),
        until: time(line.until),
        last_contact: line.seen_at.map(time),
    }
}

const COLUMNS: [(&str, Side); 5] = [
    ("AGENT", Side::Left),
    ("STATE", Side::Left),
    ("UNTIL", Side::Left),
    ("LAST CONNECTED", Side::Left),
    ("SERIAL", Side::Left),
];

fn table(lines: &[Shown]) -> String {
    if lines.is_empty() {
        return "no agent yet\n".to_owned();
    }
    let mut table = Table::new(&COLUMNS);
    for line in lines {
        table.push(vec![
            line.agent.clone(),
            line.state.to_owned(),
            line.until.clone(),
            line.last_contact.clone().unwrap_or_else(|| "-".to_owned()),
            line.serial.clone().unwrap_or_else(|| "-".to_owned()),
        ]);
    }
    table.to_string()
}

fn write(said: &str) -> anyhow::Result<ExitCode> {
    match io::stdout().write_all(said.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write to stdout"),
        _ => Ok(ExitCode::SUCCESS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_all_addresses_is_reached_at_one_of_them() {
        assert_eq!(reached_at("10.0.0.7:8883"), "10.0.0.7:8883");
        assert_eq!(reached_at("[fd00::7]:8883"), "[fd00::7]:8883");
        assert_eq!(reached_at("relay.example.org:8883"), "relay.example.org:8883");
        for all in ["0.0.0.0:8883", "[::]:8883"] {
            let one: SocketAddr = reached_at(all).parse().unwrap();
            assert!(!one.ip().is_unspecified() && one.port() == 8883);
        }
    }

    #[test]
    fn in_a_folder_where_no_relay_has_been_nothing_is_done_and_the_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("relay");
        let name = || "attic".parse::<AgentId>().unwrap();
        for folder in [dir.path(), &missing] {
            let place = || Place { data_dir: Some(folder.to_owned()), config: None };
            let commands = [
                AgentCommand::Add { name: name(), address: None, invitation: None, place: place() },
                AgentCommand::List { json: false, place: place() },
                AgentCommand::Revoke { name: name(), place: place() },
                AgentCommand::Rotate { name: name(), place: place() },
            ];
            for command in commands {
                let said = run(command, None, None).unwrap_err().to_string();
                let named = format!("no relay has kept identities in {}: give --data-dir", folder.display());
                assert!(said.contains(&named) && said.contains("start the relay there first"), "{said}");
            }
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0, "no authority is made");
    }

    #[test]
    fn agents_are_listed_with_their_state() {
        let line = |serial: bool, revoked: bool, rotate| Line {
            agent: "attic".parse().unwrap(),
            serial: serial.then(|| "4".repeat(32).parse().unwrap()),
            until: 1_800_000_000,
            revoked_at: revoked.then_some(1),
            rotate,
            seen_at: None,
        };
        let lines =
            [line(true, false, false), line(true, true, true), line(true, false, true), line(false, false, false)];
        let text = table(&lines.each_ref().map(shown));
        for (at, state) in ["AGENT", "good", "revoked", "to be replaced", "code waits"].into_iter().enumerate() {
            assert!(text.lines().nth(at).unwrap().contains(state), "{text}");
        }
        assert!(text.contains("2027-01-15T08:00:00Z"), "{text}");
        assert_eq!(table(&[]), "no agent yet\n");
    }
}
