//! `gaitway audit`: what was accepted of each session, held against what is in the spool, in Kafka and in the warehouse.
//!
//! [`ask`] reads each place into a [`book`], [`mod@judge`] holds the books against each other and knows nothing of places.

mod ask;
mod book;
mod judge;
mod ranges;
mod sql;
#[cfg(test)]
mod tests;

use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::bail;
use gaitway_service::table::{Side, Table};
use serde::Serialize;

use crate::places::{Flags, Places};
use crate::warehouse::Warehouse;
use judge::{Books, Line, Report, judge};

/// Exit status if a place could not be asked.
const UNASKED: u8 = 2;

/// Hold what was accepted of each session against what is in spool, Kafka and warehouse.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits with 0 if it adds up, what is still under way included; with 1 if it does not; with 2 if a \
                        place could not be asked."
)]
pub(crate) struct Args {
    /// Only sessions whose id begins so
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Flags,
}

/// Asks, judges, shows.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { session, json, places } = args;
    let (books, unasked) = match places.find().and_then(|places| gather(&places)) {
        Ok(asked) => asked,
        Err(error) => {
            writeln!(io::stderr(), "gaitway: {error:#}")?;
            return Ok(ExitCode::from(UNASKED));
        }
    };
    let report = judge(&books, session.as_deref());
    let shown = if json { as_json(&report, &unasked)? } else { as_text(&report, &unasked, &books) };
    match io::stdout().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(match (report.mistakes.is_empty(), unasked.is_empty()) {
        (false, _) => ExitCode::FAILURE,
        (true, false) => ExitCode::from(UNASKED),
        (true, true) => ExitCode::SUCCESS,
    })
}

/// Asks every place that is there, in the order of a record's path; and why one could not be asked.
fn gather(places: &Places) -> anyhow::Result<(Books, Vec<String>)> {
    let Places { spool, kafka, warehouse, warehouse_is_named } = places;
    let (mut books, mut why) = (Books::default(), Vec::new());
    let has_warehouse = *warehouse_is_named || warehouse.may_exist();
    if !spool.exists() && kafka.is_none() && !has_warehouse {
        bail!(
            "there is neither {} nor {warehouse}, and no Kafka is configured: name the places with --config, --data-dir, \
             --kafka or --warehouse",
            spool.display()
        );
    }
    let mut marks = ask::Marks::new();
    let mut asked = None;
    if spool.exists() {
        match ask::agent(spool) {
            Ok(agent) => books.agent = Some(agent),
            Err(error) => why.push(error),
        }
    }
    if has_warehouse {
        match ask::Warehouse::open(warehouse).and_then(|mut warehouse| Ok((warehouse.marks()?, warehouse))) {
            Ok((found, warehouse)) => (marks, asked) = (found, Some(warehouse)),
            Err(error) => why.push(error),
        }
        // Only a file may be a relay's own.
        books.is_fed = !marks.is_empty() || !matches!(warehouse, Warehouse::File(_));
    }
    let mut stores = [None, None];
    if let Some(config) = kafka {
        match ask::kafka(config, &marks) {
            Ok(store) => stores[0] = Some(store),
            Err(error) => why.push(error),
        }
    } else if books.is_fed {
        why.push("the warehouse is filled from Kafka, which is not configured here: give --kafka HOST:PORT".to_owned());
    }
    if let Some(warehouse) = &mut asked {
        match warehouse.store() {
            Ok(store) => stores[1] = Some(store),
            Err(error) => why.push(error),
        }
    }
    [books.kafka, books.warehouse] = stores;
    if let Some(agent) = &mut books.agent {
        match ask::agent_again(spool) {
            Ok(later) => agent.later = later,
            Err(error) => why.push(error),
        }
    }
    Ok((books, why))
}

fn verdict(report: &Report, unasked: &[String]) -> String {
    let sum = |count: fn(&Line) -> u64| report.sessions.iter().map(count).sum::<u64>();
    if !report.mistakes.is_empty() {
        let s = if report.mistakes.len() == 1 { "" } else { "s" };
        return format!("does not add up: {} mistake{s}", report.mistakes.len());
    }
    let sessions = report.sessions.len();
    let mut parts = vec![format!("{sessions} session{}", if sessions == 1 { "" } else { "s" })];
    let accepted = sum(|line| line.accepted.unwrap_or(0));
    if accepted > 0 {
        parts.push(format!("{accepted} readings accepted"));
    }
    for (count, what) in [
        (sum(|line| line.spooled.unwrap_or(0)), "still in the spool"),
        (sum(|line| line.to_warehouse), "on their way from Kafka to the warehouse"),
        (sum(|line| line.in_gaps), "lost and told of in gaps"),
        (sum(|line| line.no_longer_kept), "no longer kept"),
        (sum(|line| line.withheld.unwrap_or(0)), "withheld as set for their phone"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {what}"));
        }
    }
    let verdict = if unasked.is_empty() { "adds up" } else { "adds up as far as it could be asked" };
    format!("{verdict}: {}", parts.join(", "))
}

fn state(line: &Line) -> String {
    let states: Vec<String> = [
        (line.missing, "missing"),
        (line.twice, "twice"),
        (line.in_gaps, "in gaps"),
        (line.no_longer_kept, "no longer kept"),
        (line.withheld.unwrap_or(0), "withheld"),
        (line.spooled.unwrap_or(0) + line.to_warehouse, "under way"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    if states.is_empty() { "ok".to_owned() } else { states.join(", ") }
}

fn as_text(report: &Report, unasked: &[String], books: &Books) -> String {
    let columns: [(&str, Side, bool); 10] = [
        ("DEVICE", Side::Left, true),
        ("SESSION", Side::Left, true),
        ("MESSAGES", Side::Right, true),
        ("LOST BY PHONE", Side::Right, true),
        ("ACCEPTED", Side::Right, books.agent.is_some()),
        ("SPOOLED", Side::Right, books.agent.is_some()),
        ("KAFKA", Side::Right, books.kafka.is_some()),
        ("WAREHOUSE", Side::Right, books.warehouse.is_some()),
        ("WINDOWS", Side::Right, true),
        ("READINGS ARE", Side::Left, true),
    ];
    let kept: Vec<(&str, Side)> = columns.iter().filter(|c| c.2).map(|(name, side, _)| (*name, *side)).collect();
    let mut table = Table::new(&kept);
    let number = |count: Option<u64>| count.map_or_else(|| "-".to_owned(), |count| count.to_string());
    for line in &report.sessions {
        let cells = [
            line.device.clone(),
            line.session.clone(),
            line.messages.to_string(),
            line.lost_by_phone.to_string(),
            number(line.accepted),
            number(line.spooled),
            number(line.kafka),
            number(line.warehouse),
            line.windows.to_string(),
            state(line),
        ];
        table.push(cells.into_iter().zip(columns).filter(|(_, c)| c.2).map(|(cell, _)| plain(&cell)).collect());
    }
    let mut text = format!("{table}\n");
    let said = report.mistakes.iter().map(|mistake| ("wrong", &mistake.said));
    let said = said.chain(report.notes.iter().map(|note| ("note", note)));
    for (kind, said) in said.chain(unasked.iter().map(|why| ("not asked", why))) {
        text.extend([kind, ": ", &plain(said), "\n"]);
    }
    text.push_str(&verdict(report, unasked));
    text.push('\n');
    text
}

/// Text that cannot move a terminal's cursor.
fn plain(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

fn as_json(report: &Report, unasked: &[String]) -> serde_json::Result<String> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Whole<'a> {
        #[serde(flatten)]
        report: &'a Report,
        not_asked: &'a [String],
        verdict: String,
    }
    let whole = Whole { report, not_asked: unasked, verdict: verdict(report, unasked) };
    serde_json::to_string_pretty(&whole).map(|json| format!("{json}\n"))
}
