//! `gaitway tune`: how well the thresholds fit recordings of which somebody said what they are, and which would fit best.
//!
//! - Nothing is changed: it prints the lines for the configuration.
//! - The same recordings give the same answer.
//! - What it promises is held out: each phone is judged by thresholds that were fitted to the others.
//!
//! [`gather`] makes windows of recordings or of a warehouse's annotated sessions, [`labels`] says what is known of each,
//! [`mod@fit`] seeks, [`figures`] judges, [`report`] shows.

mod figures;
mod fit;
mod gather;
mod labels;
mod report;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::places::{Flags, Places};
use crate::reclassify::history::{History, Wanted};
use crate::warehouse::Warehouse;
use figures::Figures;
use fit::{Aim, fit, held_out};
use gather::Gathered;
use report::{Counts, Report};

/// Find the thresholds that fit recordings of which somebody said what they are.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Words that are known, whatever their case: stationary still stand(ing) sit(ting) lie lying rest(ing) typing \
                  writing; walk(ing) stroll stairs upstairs downstairs hike hiking; run(ning) jog(ging); sprint(ing). stop end \
                  pause none other end what was before. On the phone, sensorlogger://annotate/walk annotates a recording."
)]
pub(crate) struct Args {
    /// Recordings as `gaitway replay` takes them: labelled CSV, or pushes and exports with annotations [default: the
    /// annotated sessions of the warehouse]
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What is to be as great as can be
    #[arg(long, value_enum, default_value_t)]
    maximise: Aim,
    /// Of a warehouse, only the phone of this id
    #[arg(long, value_name = "ID", allow_hyphen_values = true, conflicts_with = "files")]
    device: Option<String>,
    /// Of a warehouse, only sessions whose id begins so
    #[arg(long, value_name = "ID", conflicts_with = "files")]
    session: Option<String>,
    /// As JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Flags,
}

/// Gathers, fits, shows.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { files, maximise: aim, device, session, json, places } = args;
    let Places { warehouse, windows, .. } = places.find()?;
    let params = windows.params().context("`agent.windows`")?;
    let gathered = if files.is_empty() {
        if let Warehouse::File(path) = &warehouse
            && !path.exists()
        {
            bail!("there is no warehouse {}: name it, or recordings", path.display());
        }
        let mut history = History::open(&warehouse).map_err(anyhow::Error::msg)?;
        Gathered::from_warehouse(&mut history, &Wanted { device, session }, &params, &windows)
            .map_err(anyhow::Error::msg)?
    } else {
        Gathered::from_files(&files, &params)?
    };
    let Gathered { samples, subjects, are_sessions, sessions, mixed, unlabelled, silent, unknown, .. } = gathered;
    if samples.is_empty() {
        let words: Vec<String> = unknown.keys().map(|word| format!("{word:?}")).collect();
        let unknown = if words.is_empty() { String::new() } else { format!("; not known: {}", words.join(", ")) };
        bail!(
            "no window has a label{unknown}: annotate a recording on the phone (sensorlogger://annotate/walk), or give \
             labelled files"
        );
    }
    let present = params.classifier();
    let best = fit(&samples, present, aim);
    let counts = Counts {
        sessions,
        sessions_without_labels: silent,
        subjects,
        subjects_are_sessions: are_sessions,
        windows: samples.len() as u64,
        mixed,
        unlabelled,
        unknown_words: unknown,
    };
    let report = Report {
        counts,
        present: (present, Figures::of(&samples, present)),
        best: (best, Figures::of(&samples, best)),
        held_out: held_out(&samples, present, aim),
        aim,
    };
    let shown = if json { report.to_json()? } else { report.to_string() };
    match io::stdout().write_all(shown.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(ExitCode::SUCCESS),
    }
}
