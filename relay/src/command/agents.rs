//! `gaitway relay agents`: asks a running relay, and Kafka for agents that it has not heard of since its start.
//!
//! - The relay must answer. Kafka may not: then that is said, and what the relay knows is shown.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use gaitway_kafka::progress::{self, Progress, agent_of};
use gaitway_proto::schema::rfc3339;
use gaitway_service::clock;
use gaitway_service::server::reachable;
use gaitway_service::table::{Side, Table};
use tokio_util::sync::CancellationToken;

use crate::RelayConfig;
use crate::agents::{Answer, Shown, State, seconds};
use crate::http_client;

/// How long the relay may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

const CLIENT: &str = "gaitway-relay-agents";

/// Asks and shows.
pub(super) async fn run(config: RelayConfig, json: bool) -> anyhow::Result<ExitCode> {
    let admin = config.admin.context(
        "where the relay serves health and metrics is not known: give --admin, as the relay has it in its key admin",
    )?;
    let Answer { kafka, mut agents } = ask(reachable(admin)).await?;
    // A relay that commits to Kafka says which; its properties stand in its configuration.
    let kafka = match (config.kafka, kafka) {
        (Some(config), _) => Some(config),
        (None, told) => told.map(|brokers| gaitway_kafka::KafkaConfig { brokers, ..Default::default() }),
    };
    if let Some(kafka) = kafka {
        let read =
            tokio::task::spawn_blocking(move || progress::read(&kafka, CLIENT, &CancellationToken::new())).await?;
        match read {
            Ok(progress) => agents.extend(unheard(&agents, &progress, clock::now_micros())),
            Err(why) => {
                writeln!(io::stderr(), "agents from before the relay's start cannot be told: {why}")?;
            }
        }
    }
    agents.sort_by(|one, other| one.agent.cmp(&other.agent));
    let shown = if json { format!("{}\n", serde_json::to_string_pretty(&agents)?) } else { table(&agents) };
    match io::stdout().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}

async fn ask(admin: SocketAddr) -> anyhow::Result<Answer> {
    let client = http_client::plain()?.timeout(ANSWER_WITHIN).no_proxy().build()?;
    let answer = client.get(format!("http://{admin}/agents")).send().await.with_context(|| {
        format!("no relay answers at {admin}: is it running, and does it serve health and metrics there (key admin)?")
    })?;
    ensure!(
        answer.status().is_success(),
        "what answers at {admin} does not know of agents ({}): give the address of relay.admin",
        answer.status()
    );
    answer.json().await.with_context(|| format!("what answers at {admin} is no relay that this program knows"))
}

/// Agents of which Kafka has something and the relay has not heard.
fn unheard(heard: &[Shown], progress: &Progress, now: i64) -> Vec<Shown> {
    let mut last: BTreeMap<&str, i64> = BTreeMap::new();
    for (source, kept) in &progress.positions {
        let at = last.entry(agent_of(source)).or_insert(kept.at);
        *at = kept.at.max(*at);
    }
    let is_heard = |agent: &str| heard.iter().any(|shown| shown.agent == agent);
    let unheard = last.into_iter().filter(|(agent, _)| !is_heard(agent));
    unheard
        .map(|(agent, at)| Shown {
            agent: agent.to_owned(),
            state: State::Unheard,
            last_contact: rfc3339(at.saturating_mul(1_000_000)),
            silent_seconds: seconds(now, at.saturating_mul(1000)),
            backlog_frames: None,
            backlog_seconds: None,
            software: None,
        })
        .collect()
}

const COLUMNS: [(&str, Side); 6] = [
    ("AGENT", Side::Left),
    ("STATE", Side::Left),
    ("LAST CONTACT", Side::Left),
    ("BACKLOG", Side::Right),
    ("BACKLOG AGE", Side::Left),
    ("SOFTWARE", Side::Left),
];

fn table(agents: &[Shown]) -> String {
    if agents.is_empty() {
        return "no agent yet\n".to_owned();
    }
    let mut table = Table::new(&COLUMNS);
    for shown in agents {
        table.push(vec![
            plain(&shown.agent),
            shown.state.as_str().to_owned(),
            format!("{} ago", span(shown.silent_seconds)),
            shown.backlog_frames.map_or_else(|| "?".to_owned(), |frames| frames.to_string()),
            shown.backlog_seconds.map_or_else(|| "-".to_owned(), span),
            shown.software.as_deref().map_or_else(|| "-".to_owned(), plain),
        ]);
    }
    table.to_string()
}

/// What somebody else said, without what a terminal would take for a command.
fn plain(said: &str) -> String {
    said.chars().map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// A span of time in its two greatest units.
fn span(seconds: u64) -> String {
    const UNITS: [(u64, &str); 4] = [(86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")];
    let greatest = UNITS.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(UNITS.len() - 1);
    let mut rest = seconds;
    let parts = UNITS.iter().skip(greatest).take(2).map(|(unit, name)| {
        let count = rest / unit;
        rest %= unit;
        (count, name)
    });
    let told: Vec<_> = parts.filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count}{name}")).collect();
    if told.is_empty() { "0s".to_owned() } else { told.join(" ") }
}

#[cfg(test)]
mod tests {
    use gaitway_kafka::progress::Kept;

    use super::*;

    fn shown(agent: &str, state: State, frames: Option<u64>) -> Shown {
        Shown {
            agent: agent.to_owned(),
            state,
            last_contact: "1970-01-01T00:00:01Z".to_owned(),
            silent_seconds: 3_725,
            backlog_frames: frames,
            backlog_seconds: frames,
            software: None,
        }
    }

    #[test]
    fn agents_that_only_kafka_knows_are_told_with_their_last_commit() {
        let mut progress = Progress::default();
        for (source, at) in [("attic/01/raw", 5_000), ("attic/02/activity", 7_000), ("pi/01/raw", 9_000)] {
            progress.positions.insert(source.into(), Kept { position: 1, at });
        }
        let told = unheard(&[shown("pi", State::Here, Some(0))], &progress, 67_000_000);
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].agent.as_str(), told[0].state, told[0].silent_seconds), ("attic", State::Unheard, 60));
        assert_eq!((told[0].last_contact.as_str(), told[0].backlog_frames), ("1970-01-01T00:00:07Z", None));
    }

    #[test]
    fn what_nobody_knows_is_a_question_mark() {
        let text = table(&[shown("attic", State::Away, Some(7)), shown("pi", State::Unheard, None)]);
        let lines: Vec<_> = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(lines[1], "attic away 1h 2m ago 7 7s -");
        assert_eq!(lines[2], "pi unheard 1h 2m ago ? - -");
        assert_eq!(table(&[]), "no agent yet\n");
    }

    #[test]
    fn what_an_agent_calls_itself_does_not_command_the_terminal() {
        let mut hostile = shown("pi", State::Here, None);
        hostile.software = Some("\u{1b}]0;root\u{7}\u{9b}2J\r\n gaitway".to_owned());
        hostile.agent = "pi\u{1b}[2J".to_owned();
        let text = table(&[hostile]);
        assert!(text.contains("]0;root") && text.lines().count() == 2, "{text:?}");
        assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    }

    #[test]
    fn a_span_has_two_units_at_most() {
        let spans = [0, 59, 61, 3_600, 90_061, 864_000].map(span);
        assert_eq!(spans, ["0s", "59s", "1m 1s", "1h", "1d 1h", "10d"]);
    }
}
