//! `docs/metrics.md`: what the registries hold, as they encode it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use anyhow::{Context as _, ensure};
use gaitway_service::metrics::Metrics;

use crate::WRITE;
use crate::source;

/// Where the words of a label stand that no registry holds before something happens: metric, label, file, function.
const WORDS: [(&str, &str, &str, &str); 10] = [
    ("gaitway_agent_certificate_expiry_timestamp_seconds", "certificate", "agent/src/metrics/now.rs", "certificates"),
    ("gaitway_relay_closed_connections_total", "reason", "relay/src/listener/connection.rs", "label"),
    ("gaitway_relay_closed_connections_total", "reason", "relay/src/listener/enrol.rs", "label"),
    ("gaitway_relay_closed_connections_total", "reason", "relay/src/listener/tls.rs", "label"),
    ("gaitway_relay_closed_connections_total", "reason", "relay/src/broker/queues.rs", "Cut::label"),
    ("gaitway_relay_closed_connections_total", "reason", "relay/src/listener.rs", "count_closed"),
    ("gaitway_relay_closed_connections_total", "reason", "relay/src/intake.rs", "count_closed"),
    ("gaitway_relay_broker_dropped_publishes_total", "reason", "relay/src/broker.rs", "whose"),
    ("gaitway_relay_broker_dropped_publishes_total", "reason", "relay/src/broker/queues.rs", "Why::label"),
    ("gaitway_sink_dead_letters_total", "reason", "sink/src/consume/taken.rs", "kind"),
];

/// Labels that may be anything, and what they are.
const FREE: [(&str, &str); 5] = [
    ("agent", "the agent's name"),
    ("topic", "the topic's name"),
    ("partition", "the partition's number"),
    ("version", "the version"),
    ("le", ""),
];

/// A title, and what registers the metrics below it.
type Part = (&'static str, fn(&Metrics));

#[derive(Debug, Default)]
struct Metric {
    help: String,
    kind: String,
    unit: String,
    labels: BTreeMap<String, BTreeSet<String>>,
}

pub(crate) fn write() -> anyhow::Result<String> {
    let mut out = format!(
        "# Metrics\n\n\
         <!-- Written by `{WRITE}` from the code: change it there. -->\n\n\
         Every metric of every service, as `/metrics` tells it in OpenMetrics text. The agent serves it where phones push to, \
         relay and sink at their `admin` address. `gaitway up` tells those of agent, relay and local warehouse, and with Kafka \
         of the sink, at the agent's address.\n\n\
         - A counter begins at 0 when its process begins, and only grows.\n\
         - A gauge is what holds at the moment it is asked for.\n\
         - A histogram `NAME` has the series `NAME_bucket`, `NAME_sum` and `NAME_count`.\n"
    );
    let parts: [Part; 4] = [
        ("Agent", gaitway_agent::metrics::describe),
        ("Relay", gaitway_relay::describe),
        ("Sink", gaitway_sink::describe),
        ("Local warehouse", gaitway_sink::sqlite::describe),
    ];
    let empty = Metrics::new();
    section(&mut out, "Every service", &empty.expose(true))?;
    for (title, describe) in parts {
        let metrics = Metrics::new();
        describe(&metrics);
        section(&mut out, title, &metrics.encode())?;
    }
    Ok(out)
}

fn section(out: &mut String, title: &str, text: &str) -> anyhow::Result<()> {
    write!(
        out,
        "\n## {title}\n\n| Metric | Type | Unit | Labels | What it tells |\n| --- | --- | --- | --- | --- |\n"
    )?;
    for (name, metric) in parse(text)? {
        let labels: Vec<String> =
            metric.labels.iter().map(|(label, values)| shown(&name, label, values)).collect::<anyhow::Result<_>>()?;
        let unit = if metric.unit.is_empty() { "–" } else { &metric.unit };
        let labels = if labels.is_empty() { "–".to_owned() } else { labels.join("; ") };
        writeln!(out, "| `{name}` | {} | {unit} | {labels} | {} |", metric.kind, metric.help.trim_end_matches('.'))?;
    }
    Ok(())
}

fn shown(name: &str, label: &str, seen: &BTreeSet<String>) -> anyhow::Result<String> {
    if let Some((_, what)) = FREE.iter().find(|(free, _)| *free == label) {
        return Ok(format!("`{label}`: {what}"));
    }
    let mut values: BTreeSet<String> = seen.iter().filter(|value| !value.is_empty()).cloned().collect();
    for (_, _, file, function) in WORDS.iter().filter(|(of, with, ..)| *of == name && *with == label) {
        values.extend(source::words(file, function)?);
    }
    ensure!(!values.is_empty(), "what label {label} of {name} may be is not known to reference/src/metrics.rs");
    let values: Vec<String> = values.into_iter().map(|value| format!("`{value}`")).collect();
    Ok(format!("`{label}`: {}", values.join(", ")))
}

/// By the names under which Prometheus keeps them, in the order of the text.
fn parse(text: &str) -> anyhow::Result<Vec<(String, Metric)>> {
    let mut found: Vec<(String, Metric)> = Vec::new();
    for line in text.lines().filter(|line| *line != "# EOF") {
        let Some(said) = line.strip_prefix("# ") else {
            let (_, metric) = found.last_mut().with_context(|| format!("{line} belongs to no metric"))?;
            for (label, value) in labels(line) {
                if label != "le" {
                    metric.labels.entry(label.to_owned()).or_default().insert(value.to_owned());
                }
            }
            continue;
        };
        let mut words = said.splitn(3, ' ');
        let (what, name, value) = (words.next(), words.next(), words.next().unwrap_or_default());
        let name = name.with_context(|| format!("{line} names no metric"))?;
        if found.last().is_none_or(|(last, _)| last != name) {
            found.push((name.to_owned(), Metric::default()));
        }
        let (_, metric) = found.last_mut().context("no metric")?;
        match what {
            Some("HELP") => value.clone_into(&mut metric.help),
            Some("TYPE") => value.clone_into(&mut metric.kind),
            Some("UNIT") => value.clone_into(&mut metric.unit),
            _ => {}
        }
    }
    let suffixed = found.into_iter().map(|(name, metric)| {
        let suffix = match metric.kind.as_str() {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        (format!("{name}{suffix}"), metric)
    });
    Ok(suffixed.collect())
}

/// The labels of a line; no value of ours holds a comma or a quotation mark.
fn labels(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let inside = line.split_once('{').and_then(|(_, rest)| rest.split_once('}')).map_or("", |(inside, _)| inside);
    inside.split(',').filter_map(|pair| pair.split_once('=')).map(|(label, value)| (label, value.trim_matches('"')))
}
