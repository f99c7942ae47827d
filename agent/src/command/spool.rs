//! `gaitway agent spool`: for people whose spool was hurt.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use gaitway_proto::ledger::Stream;
use gaitway_proto::topic::AgentId;
use gaitway_service::lock::DataDir;
use gaitway_service::{clock, config};
use serde::Serialize;

use crate::config::AgentConfig;
use crate::service::kept_id;
use crate::spool::check::{self, Hold, Report};
use crate::spool::export::export;
use crate::spool::quarantine::spool_of;
use crate::spool::rows::Rows;
use crate::spool::salvage::bring::{Brought, bring};
use crate::spool::salvage::found::Found;
use crate::spool::salvage::source::Files;
use crate::spool::schema;

/// Looks into the spool, and gets out of a damaged one what can be got out.
#[derive(Debug, clap::Subcommand)]
pub(super) enum SpoolCommand {
    /// Tells what is in a spool and whether it is whole; exit status 1 if it is not. An agent may be using it
    Check {
        /// The spool's file [default: spool.db of the data directory]
        file: Option<PathBuf>,
        /// The agent's data directory [default: as configured]
        #[arg(long, value_name = "DIR", conflicts_with = "file")]
        data_dir: Option<PathBuf>,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Brings what can be got out of a damaged, moved or copied spool into the agent's, under its own names. The agent
    /// must be stopped; FILE is only read
    Salvage {
        /// The damaged file; its log lies beside it
        file: PathBuf,
        /// The agent's data directory [default: as configured]
        #[arg(long, value_name = "DIR")]
        data_dir: Option<PathBuf>,
    },
    /// Writes what can be got out of a spool as lines of JSON, one a record
    Export {
        /// The spool's file; its log lies beside it
        file: PathBuf,
        /// Only this stream
        #[arg(long, value_name = "raw|activity", value_parser = stream)]
        stream: Option<Stream>,
        /// Where to write [default: standard output]
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Serialize)]
struct NoFlags {}

fn stream(text: &str) -> Result<Stream, String> {
    let known = Stream::ALL.into_iter().find(|stream| stream.as_str() == text);
    known.ok_or_else(|| "a stream is raw or activity".to_owned())
}

/// Runs one of them.
pub(super) fn run(
    command: SpoolCommand,
    config_file: Option<&Path>,
    of_agent: Option<PathBuf>,
) -> anyhow::Result<ExitCode> {
    let data_dir = |told: Option<PathBuf>| match told.or(of_agent) {
        Some(told) => Ok(told),
        None => config::load_either::<AgentConfig>("agent", config_file, NoFlags {}).map(|config| config.data_dir),
    };
    match command {
        SpoolCommand::Check { file: Some(file), json, .. } => check(&whole(file), json),
        SpoolCommand::Check { file: None, data_dir: dir, json } => check(&data_dir(dir)?.join("spool.db"), json),
        SpoolCommand::Salvage { file, data_dir: dir } => salvage(&whole(file), &data_dir(dir)?),
        SpoolCommand::Export { file, stream, output } => write_out(&whole(file), stream, output.as_deref()),
    }
}

/// Whoever names a log means its spool.
fn whole(file: PathBuf) -> PathBuf {
    spool_of(&file).unwrap_or(file)
}

fn check(file: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let report = check::check(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        print(&report, &mut out)?;
    }
    Ok(if report.is_whole() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

const COLUMNS: usize = 11;

const HEAD: [&str; COLUMNS] =
    ["start", "epoch", "stream", "frames", "messages", "readings", "bytes", "waiting", "damaged", "missing", "gaps"];

fn print(report: &Report, out: &mut impl Write) -> io::Result<()> {
    let unknown = || "unknown".to_owned();
    writeln!(out, "{}: {} bytes, log {} bytes", report.file.display(), report.bytes, report.log_bytes)?;
    let version = report.version.map_or_else(unknown, |version| version.to_string());
    let agent = report.agent.clone().unwrap_or_else(unknown);
    writeln!(out, "agent {agent}, version {version}, {} sessions\n", report.sessions)?;
    let mut lines = vec![HEAD.map(str::to_owned).to_vec()];
    for s in &report.streams {
        let counts = [s.frames, s.messages, s.readings, s.bytes, s.waiting, s.damaged, s.missing, s.gaps];
        let names = [s.ordinal.to_string(), s.epoch.clone().unwrap_or_else(unknown), s.stream.to_owned()];
        lines.push(names.into_iter().chain(counts.map(|count| count.to_string())).collect());
    }
    let widths: [usize; COLUMNS] =
        std::array::from_fn(|column| lines.iter().map(|line| line[column].len()).max().unwrap_or(0));
    for line in &lines {
        let cells = line.iter().zip(widths).map(|(cell, width)| format!("{cell:>width$}"));
        writeln!(out, "{}", cells.collect::<Vec<_>>().join("  "))?;
    }
    writeln!(out)?;
    for problem in &report.problems {
        writeln!(out, "damaged: {problem}")?;
    }
    if let Some(why) = &report.unchecked {
        writeln!(out, "not checked in full: {why}")?;
    }
    if report.is_whole() {
        writeln!(out, "{}", if report.unchecked.is_some() { "whole, as far as it was checked" } else { "whole" })?;
    } else if is_own(&report.file) {
        writeln!(
            out,
            "start the agent: it sets aside what it cannot use, and says how to get out what can be got out"
        )?;
    } else {
        let file = report.file.display();
        writeln!(out, "`gaitway agent spool salvage {file}` brings what can be got out into a whole spool")?;
    }
    Ok(())
}

fn salvage(file: &Path, data_dir: &Path) -> anyhow::Result<ExitCode> {
    let files = Files::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let path = data_dir.join("spool.db");
    if is_same(file, &path) {
        bail!(
            "{} is the agent's own spool: start the agent, it sets aside what it cannot use and says how to salvage it; \
             then give that file",
            file.display()
        );
    }
    if !path.exists() && kept_id::read(data_dir).is_none() {
        bail!(
            "{} is no agent's data directory: give the right one, or start the agent there once and stop it",
            data_dir.display()
        );
    }
    let _locked = DataDir::lock(data_dir)?;
    let image = files.image();
    let found = Found::gather(&image);
    let mut connection = schema::open(&path)?;
    let told = found.agent.as_ref().and_then(|id| id.parse().ok());
    let rows = Rows(&connection);
    let kept = match kept_id::read(data_dir).or(told) {
        Some(id) => rows.agent(|| id)?,
        None if rows.has_agent()? => rows.agent(unknown)?,
        None => bail!("{} has no agent's id yet: start the agent once, stop it, and salvage then", data_dir.display()),
    };
    kept_id::keep(data_dir, &kept)?;
    match &found.agent {
        Some(agent) if *agent != kept.as_str() => bail!(
            "{} is the spool of agent {agent}, {} of agent {kept}: the relay knows frames by their agent; salvage it \
             into a data directory of its own",
            file.display(),
            path.display()
        ),
        None if file.parent().map(Path::canonicalize).and_then(Result::ok) != data_dir.canonicalize().ok() => bail!(
            "whose spool {} is cannot be read: move it into {} if it is agent {kept}'s",
            file.display(),
            data_dir.display()
        ),
        _ => {}
    }
    let brought = bring(&mut connection, &image, &found, clock::now_micros())
        .with_context(|| format!("nothing was brought into {}", path.display()))?;
    tell(&brought, file, &path, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn tell(brought: &Brought, file: &Path, path: &Path, out: &mut impl Write) -> io::Result<()> {
    let Brought { raw, readings, activity, known, accepted_again, lost, unnamed, sessions, doubtful_sessions } =
        brought;
    writeln!(out, "{} → {}", file.display(), path.display())?;
    writeln!(out, "brought: {raw} pushes with {readings} readings, {activity} frames of windows")?;
    writeln!(out, "there before: {known} frames; under another name: {accepted_again} frames")?;
    writeln!(out, "lost, noted as gaps: {lost} frames")?;
    if *unnamed > 0 {
        writeln!(
            out,
            "without a name: {unnamed} frames; `gaitway agent spool export {}` writes what is in them",
            file.display()
        )?;
    }
    write!(out, "messages that were accepted before: noted for {sessions} sessions")?;
    match doubtful_sessions {
        0 => writeln!(out),
        some => writeln!(out, ", in part for {some} more or less damaged ones"),
    }
}

fn write_out(file: &Path, only: Option<Stream>, output: Option<&Path>) -> anyhow::Result<ExitCode> {
    let _hold = Hold::of(file);
    let files = Files::open(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let image = files.image();
    let found = Found::gather(&image);
    let streams = only.map_or(vec![Stream::Raw, Stream::Activity], |stream| vec![stream]);
    let unknown = unknown();
    let exported = match output {
        Some(output) => {
            let to = File::create_new(output).with_context(|| format!("{} cannot be made", output.display()))?;
            export(&image, &found, &streams, &unknown, &mut BufWriter::new(to))
        }
        None => export(&image, &found, &streams, &unknown, &mut BufWriter::new(io::stdout().lock())),
    };
    let exported = match exported {
        // Whoever reads has enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(ExitCode::SUCCESS),
        exported => exported.context("not everything was written")?,
    };
    let mut said = io::stderr().lock();
    writeln!(
        said,
        "{} records of {} frames; {} frames are damaged",
        exported.records, exported.frames, exported.damaged
    )?;
    Ok(ExitCode::SUCCESS)
}

fn is_same(one: &Path, other: &Path) -> bool {
    matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// Whether an agent uses it, or did when it ran last.
fn is_own(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name == "spool.db") && file.with_file_name("agent-id").exists()
}

/// Stands where nothing tells an agent's id.
fn unknown() -> AgentId {
    "unknown".parse().expect("letters make an agent's id")
}
