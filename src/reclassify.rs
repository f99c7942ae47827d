//! `gaitway reclassify`: computes the windows of a warehouse anew with the agent's own code, shows what differs from what it
//! has, and with `--write` stores it as the next revision.
//!
//! - Nothing is written without `--write`; with it all of a run or nothing, and a second run finds nothing to do.
//! - A session is compared at a time: its readings are streamed, its windows are in memory.
//!
//! One session's path: [`history`] streams its readings into [`recompute`], [`mod@compare`] holds the windows against those that
//! the warehouse has, [`report`] counts, and [`revisions`] stores.

pub(crate) mod compare;
pub(crate) mod history;
pub(crate) mod recompute;
mod report;
mod revisions;
mod span;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::str::FromStr;

use anyhow::{Context as _, bail};
use gaitway_agent::classify::Threshold;
use gaitway_agent::windows::Params;

use crate::places::{Flags, Places};
use crate::warehouse::Warehouse;
use compare::{compare, latest};
use history::{History, Key, Wanted};
use recompute::Recompute;
use report::Report;
use revisions::Revisions;
use span::Instant;

/// Exit status if the warehouse could not be asked, or not written to.
const UNASKED: u8 = 2;

/// Compute a warehouse's windows anew and show what differs from those that it has.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Windows whose readings are not kept any more are labelled by their stored mean. Exits with 0 if nothing \
                  differs, or all that does was written; with 1 if something differs; with 2 if the warehouse could not be \
                  asked or written."
)]
pub(crate) struct Args {
    /// Mean magnitudes in m/s² below which a window is stationary, walking, running [default: as the agent is configured]
    #[arg(long, value_name = "A/B/C", value_parser = thresholds)]
    thresholds: Option<Threshold>,
    /// Only the phone of this id
    #[arg(long, value_name = "ID", allow_hyphen_values = true)]
    device: Option<String>,
    /// Only sessions whose id begins so
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// Only windows that end then or later: 2026-01-31, 2026-01-31T09:00, UTC
    #[arg(long, value_name = "TIME")]
    from: Option<Instant>,
    /// Only windows that end before then
    #[arg(long, value_name = "TIME")]
    to: Option<Instant>,
    /// Store what differs as the windows' next revision; of a local warehouse, stop gaitway first
    #[arg(long)]
    write: bool,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Flags,
}

fn thresholds(text: &str) -> Result<Threshold, String> {
    let bounds: Vec<f64> = text.split('/').map(f64::from_str).collect::<Result<_, _>>().map_err(|_| expected())?;
    let [stationary, walking, running] = bounds[..] else { return Err(expected()) };
    Threshold::new(stationary, walking, running).map_err(|error| error.to_string())
}

fn expected() -> String {
    "three numbers with / between them are expected, such as 2/8/20".to_owned()
}

/// Compares, shows, writes.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let (json, writes) = (args.json, args.write);
    let report = match reclassify(args) {
        Ok(report) => report,
        Err(error) => {
            writeln!(io::stderr(), "gaitway: {error:#}")?;
            return Ok(ExitCode::from(UNASKED));
        }
    };
    let shown = if json { report.to_json()? } else { report.to_string() };
    match io::stdout().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Err(error.into()),
        _ => {}
    }
    Ok(if writes || report.changes() == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn reclassify(args: Args) -> anyhow::Result<Report> {
    let Args { thresholds, device, session, from, to, write, json: _, places } = args;
    let Places { warehouse, windows, .. } = places.find()?;
    let params = windows.params().context("`agent.windows`")?;
    let rule = thresholds.unwrap_or(params.classifier());
    let params = Params::new(params.window(), params.slide(), params.lateness(), rule)?;
    let span = from.map_or(i64::MIN, Instant::nanoseconds)..to.map_or(i64::MAX, Instant::nanoseconds);
    if let Warehouse::File(path) = &warehouse
        && !path.exists()
    {
        bail!("there is no warehouse {}: name it with --config, --data-dir or --warehouse", path.display());
    }
    // Before anything is read: nobody else writes, or writes revisions, from here on.
    let mut revisions = if write { Some(Revisions::begin(&warehouse)?) } else { None };
    let mut history = History::open(&warehouse).map_err(anyhow::Error::msg)?;
    let wanted = Wanted { device, session };
    let mut report = Report::new(warehouse.to_string(), &params);
    for session in history.sessions(&wanted).map_err(anyhow::Error::msg)? {
        if session.is_outside(&span) {
            continue;
        }
        let mut recompute = Recompute::new(&params, windows.silence);
        history.readings(&session, &mut |reading| recompute.take(reading)).map_err(anyhow::Error::msg)?;
        let recomputed = recompute.finish();
        let (rows, other) = history.windows(&session.key).map_err(anyhow::Error::msg)?;
        let told = latest(&rows, session.key.agent.as_deref());
        drop(rows);
        let mut outcome = compare(&recomputed, &told, &params, &span);
        outcome.other += other;
        report.add(&session.key, &recomputed, &outcome);
        if let Some(revisions) = &mut revisions {
            revisions.add(&session.key, &outcome.changes, &rule.name())?;
        }
    }
    if let Some(revisions) = revisions {
        report.written = Some(revisions.commit()?);
    }
    Ok(report)
}

/// A session as people name it.
fn shown(key: &Key) -> [&str; 2] {
    [&key.device, &key.session].map(|id| id.as_deref().unwrap_or("(none)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_read_as_they_are_named() {
        assert_eq!(thresholds("1/9.5/20"), Ok(Threshold::new(1.0, 9.5, 20.0).unwrap()));
        for wrong in ["", "1/2", "1/2/3/4", "a/b/c", "1,2,3"] {
            assert!(thresholds(wrong).unwrap_err().contains("such as 2/8/20"), "{wrong}");
        }
        assert!(thresholds("3/2/1").unwrap_err().contains("each greater than the one before"));
    }
}
