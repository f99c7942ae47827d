//! `gaitway replay`: plays recordings to an agent as phones would.
//!
//! The path of a reading: [`source`] finds out what the files are and opens them as runs of readings; [`merge`] puts
//! the runs of one session in order of time; [`cut`] makes push messages of them, and [`pace`] says when each is due;
//! [`body`] makes them one phone's; [`phone`] sends them over its [`post`] with [`patience`], and [`report`] counts.
//! [`play`] holds threads and tasks together. Only `source` touches files, only `post` the network.

mod body;
mod cut;
mod merge;
#[cfg(feature = "kafka")]
mod offline;
mod pace;
mod patience;
mod phone;
mod play;
mod post;
mod progress;
mod reading;
mod report;
mod source;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;

#[cfg(feature = "kafka")]
pub(crate) use self::offline::{labelled, open, recordings};
use self::pace::Speed;
use self::play::Options;
use self::post::Target;
use self::progress::Progress;
use self::report::Report;

/// Exit code after Ctrl-C: 128 + SIGINT.
const INTERRUPTED: u8 = 130;

/// Play recordings to an agent as phones would.
#[derive(Debug, clap::Args)]
#[allow(clippy::doc_markdown, reason = "the help shows the text as it stands")]
#[command(after_help = "Exits with 0 if everything was accepted, 1 if anything was not, 130 after Ctrl-C.")]
pub(crate) struct Args {
    /// The push URL, http and not https; without a path, /data
    #[arg(long, value_name = "URL")]
    to: Target,
    /// How fast phone time passes: 1 is real time, max as fast as messages are answered
    #[arg(long, value_name = "FACTOR|max", default_value = "1")]
    speed: Speed,
    /// Play every recording as N phones with ids of their own
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    phones: u64,
    /// The app's batch period, milliseconds
    #[arg(long, value_name = "MS", default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// How long a phone keeps trying when nothing succeeds, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    give_up: u64,
    /// Recordings and folders of recordings
    ///
    /// Push bodies one a line (.ndjson, .ndjson.gz), sent as they stand; labelled recordings (.csv, .csv.gz) with the
    /// columns time_ns, x, y, z and subject, one session for each subject; Sensor Logger's JSON or zip export; folders,
    /// which are searched for .csv.gz, .ndjson, .ndjson.gz, .json and .zip. Every session plays as a phone of its own,
    /// all at the same time.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// Runs the command to its end and prints what came of it. Starts a runtime of its own: not to be called from within
/// one.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let recordings = source::gather(&args.files)?;
    let options = Options {
        target: args.to,
        speed: args.speed,
        phones: args.phones,
        batch: Duration::from_millis(args.batch),
        give_up: Duration::from_secs(args.give_up),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("cannot start the runtime")?;
    let report = runtime.block_on(play::play(recordings, &options, Progress::on_stderr(), interrupt()))?;
    write!(std::io::stdout(), "{report}").context("cannot print the report")?;
    Ok(exit_code(&report))
}

/// Completes with Ctrl-C; never, where it cannot be noticed.
async fn interrupt() {
    if tokio::signal::ctrl_c().await.is_err() {
        std::future::pending::<()>().await;
    }
}

fn exit_code(report: &Report) -> ExitCode {
    match () {
        () if report.interrupted => ExitCode::from(INTERRUPTED),
        () if report.complete() => ExitCode::SUCCESS,
        () => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests;
