//! `gaitway doctor`: what of Kafka and of the warehouse is missing or wrong, one line each with what to do.
//!
//! [`configured`] finds what this machine uses; each crate looks at its own things and changes nothing.

mod configured;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use gaitway_kafka::checkup::{self, Seen, Users};
use gaitway_kafka::topics::Survey;
use gaitway_proto::schema::TABLES;
use gaitway_service::checkup::{Checkup, Grade};
use gaitway_sink::{Marks, postgres, snowflake, sqlite};
use serde::Serialize;
use tokio::runtime::Handle;

use configured::{Brokers, Configured, Fed, Warehouse};

/// Exit status if it is not known what to look at.
const UNASKED: u8 = 2;

/// Look at Kafka and the warehouse and say what is missing or wrong.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Changes nothing. Exits with 0 if nothing fails, warnings included; with 1 if something does; with 2 \
                        if the configuration cannot be read."
)]
pub(crate) struct Args {
    /// Configuration file of a relay, of a sink, or of up [default: those in /etc/gaitway if they exist, else what up does
    /// without]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Brokers, divided by commas [default: as configured]
    #[arg(long, value_name = "HOST:PORT")]
    kafka: Option<String>,
    /// Data directory of up [default: ./gaitway-data]
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// As JSON
    #[arg(long)]
    json: bool,
}

/// Looks, shows. Starts a runtime of its own.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { config, kafka, data_dir, json } = args;
    let configured = match Configured::find(config.as_deref(), kafka, data_dir) {
        Ok(configured) => configured,
        Err(error) => {
            writeln!(io::stderr(), "gaitway: {error:#}")?;
            return Ok(ExitCode::from(UNASKED));
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let checkup = look(&configured, runtime.handle());
    runtime.shutdown_background();
    let shown = if json { as_json(&checkup)? } else { format!("{checkup}\n{}\n", verdict(&checkup)) };
    match io::stdout().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(if checkup.worst() == Some(Grade::Fail) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn look(configured: &Configured, runtime: &Handle) -> Checkup {
    let mut checkup = Checkup::new();
    let mut seen = Vec::new();
    for brokers in &configured.kafka {
        let users = Users { relay: brokers.relay, group: brokers.group.as_deref() };
        if let Some(found) = checkup::examine(&brokers.config, users, &mut checkup) {
            seen.push((brokers, found));
        }
    }
    for (warehouse, fed) in &configured.warehouses {
        let marks = match warehouse {
            Warehouse::Sqlite(path, options) => sqlite::examine(path, options, &mut checkup),
            Warehouse::Postgres(options) => postgres::examine(options, &mut checkup),
            Warehouse::Snowflake(options) => {
                let feeds: Vec<_> = seen
                    .iter()
                    .flat_map(|(Brokers { config, .. }, found)| {
                        TABLES.iter().map(|table| feed(table, config.topics.of(table), &found.survey))
                    })
                    .collect();
                snowflake::examine(options, &feeds, runtime.clone(), &mut checkup);
                None
            }
        };
        if let (Some(fed), Some(marks)) = (fed, marks) {
            hold_against(fed, &seen, &marks, &mut checkup);
        }
    }
    checkup
}

/// Holds a warehouse's marks against the partitions that its sink reads.
fn hold_against(fed: &Fed, seen: &[(&Brokers, Seen)], marks: &Marks, checkup: &mut Checkup) {
    let own = |brokers: &Brokers| brokers.config == fed.kafka && brokers.group.as_ref() == Some(&fed.group);
    let Some((_, Seen { partitions, .. })) = seen.iter().find(|(brokers, _)| own(brokers)) else { return };
    if partitions.is_empty() {
        return;
    }
    match checkup::ends(&fed.kafka, partitions) {
        Ok(ends) => gaitway_sink::checkup::judge(partitions.iter().zip(ends), marks, fed.adopt, checkup),
        Err(said) => checkup.warn("stored so far", said),
    }
}

fn feed<'a>(table: &'static gaitway_proto::schema::Table, topic: &'a str, survey: &Survey) -> snowflake::Feed<'a> {
    let partitions = survey.topics.get(topic).map_or(0, |found| found.partitions);
    snowflake::Feed { table, topic, partitions }
}

fn verdict(checkup: &Checkup) -> String {
    let [fails, warnings, fine] = [Grade::Fail, Grade::Warn, Grade::Ok].map(|grade| checkup.count(grade));
    match (fails, warnings) {
        (0, 0) => format!("nothing is wrong: {fine} looked at"),
        (0, _) => format!("nothing fails: {warnings} to know of, {fine} fine"),
        _ => format!("{fails} to mend, {warnings} to know of, {fine} fine"),
    }
}

fn as_json(checkup: &Checkup) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Whole<'a> {
        checks: &'a Checkup,
        worst: Option<Grade>,
    }
    let whole = Whole { checks: checkup, worst: checkup.worst() };
    serde_json::to_string_pretty(&whole).map(|json| format!("{json}\n"))
}
