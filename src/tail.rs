//! `gaitway tail`: shows records as they come, wherever they are.
//!
//! - A place is a [`Reader`].
//! - No lock is held in a place while a record is written out: a slow terminal holds up nobody.
//! - At most [`BATCH`] records wait to be shown, and as many as `-n` asks for before the first is.
//! - Ctrl-C and whoever closes the pipe end it with 0.

mod agent;
mod kafka;
mod line;
mod sql;
mod warehouse;

use std::collections::VecDeque;
use std::io::{self, IsTerminal as _, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use clap::ValueEnum;
use gaitway_proto::schema::{self, Table};
use gaitway_service::signals;
use tokio_util::sync::CancellationToken;

use crate::places::{Flags, Places};
use crate::warehouse::{Sql, Warehouse};
use line::{Filter, Found, Look};

/// Records that a reader may hand over at a time.
const BATCH: usize = 1_000;

/// How long nothing may come before a reader is asked again.
const PAUSE: Duration = Duration::from_millis(100);

/// How long an unfinished write is waited for at the end.
const PARTING: Duration = Duration::from_millis(500);

/// Show records as they come: in the agent's spool, in Kafka, in the warehouse.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Readings, classified windows, or frames that will not come
    what: What,
    /// Where to look [default: the warehouse if there is one, else Kafka if it is configured, else the agent]
    #[arg(long)]
    at: Option<At>,
    /// Begin with the oldest record that is there
    #[arg(long, conflicts_with = "last")]
    from_start: bool,
    /// Begin with the last N records
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    last: Option<u32>,
    /// End once everything that is there now has been shown
    #[arg(long)]
    no_follow: bool,
    /// Only of devices whose id begins so
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// Only of sessions whose id begins so
    #[arg(long, value_name = "ID")]
    session: Option<String>,
    /// As lines of JSON, also on a terminal
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    places: Flags,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    Raw,
    Activity,
    Gaps,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum At {
    /// Frames in the spool, until the relay has acknowledged them
    Agent,
    /// Committed records
    Kafka,
    /// Rows of the warehouse
    Warehouse,
}

impl What {
    fn table(self) -> &'static Table {
        match self {
            Self::Raw => &schema::RAW,
            Self::Activity => &schema::ACTIVITY,
            Self::Gaps => &schema::GAPS,
        }
    }
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Start {
    Now,
    Beginning,
    /// At a place from which at least so many records follow, if there are as many.
    Last(u32),
}

/// A place that records come to.
trait Reader {
    /// Appends what has come, [`BATCH`] records at most or few more; may wait for it as long as [`PAUSE`]. The error is
    /// a sentence.
    fn read(&mut self, out: &mut Vec<Found>) -> Result<(), String>;

    /// Whether all that was there at the beginning has been read.
    fn is_caught_up(&self) -> bool;

    /// Records that were gone before they could be read, since this was asked last.
    fn missed(&mut self) -> u64 {
        0
    }
}

fn open(at: At, table: &'static Table, places: &Places, start: Start) -> Result<Box<dyn Reader>, String> {
    Ok(match at {
        At::Agent if !places.spool.exists() => {
            return Err(format!("there is no spool at {}: name its folder with --data-dir", places.spool.display()));
        }
        At::Agent => Box::new(agent::Spool::open(&places.spool, table, start)?),
        At::Kafka => match &places.kafka {
            Some(config) => Box::new(kafka::Committed::open(config, table, start)?),
            None => return Err("no Kafka is configured here: give --kafka HOST:PORT, or --config".to_owned()),
        },
        At::Warehouse => match &places.warehouse {
            Warehouse::File(path) => Box::new(warehouse::Rows::open(path, table, start)?),
            Warehouse::Postgres(options) => in_sql(Sql::postgres(options)?, table, places, start)?,
            Warehouse::Snowflake(options) => in_sql(Sql::snowflake(options)?, table, places, start)?,
        },
    })
}

fn in_sql(sql: Sql, table: &'static Table, places: &Places, start: Start) -> Result<Box<dyn Reader>, String> {
    let topics = places.kafka.as_ref().map(|kafka| kafka.topics.clone()).unwrap_or_default();
    Ok(Box::new(sql::Rows::open(sql, table, topics.of(table), start)?))
}

/// Runs until everything was shown, a signal, or until nobody reads. Starts a runtime of its own.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { what, at, from_start, last, no_follow, device, session, json, places } = args;
    let places = places.find()?;
    let at = match at {
        Some(at) => at,
        None => default_place(&places)?,
    };
    let is_filtered = device.is_some() || session.is_some();
    let start = match (from_start, last) {
        (true, _) => Start::Beginning,
        // Where the last records that match are, nobody knows.
        (false, Some(_)) if is_filtered => Start::Beginning,
        (false, Some(last)) => Start::Last(last),
        (false, None) if no_follow => Start::Beginning,
        (false, None) => Start::Now,
    };
    let terminal = io::stdout().is_terminal() && !json;
    let look = if terminal { Look::columns(what.table()) } else { Look::Json };
    let filter = Filter { device, session };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("cannot start the runtime")?;
    let shown: anyhow::Result<()> = runtime.block_on(async {
        let stop = signals::shutdown()?;
        let stopped = stop.clone();
        let showing = tokio::task::spawn_blocking(move || {
            let mut reader = open(at, what.table(), &places, start).map_err(|why| anyhow!(why))?;
            let end = End { no_follow, stop };
            show(reader.as_mut(), &look, &filter, last, &end, &mut io::stdout().lock())
        });
        tokio::select! {
            shown = showing => shown?,
            () = async { stopped.cancelled().await; tokio::time::sleep(PARTING).await } => Ok(()),
        }
    });
    runtime.shutdown_background();
    shown.map(|()| ExitCode::SUCCESS)
}

/// What ends the showing.
struct End {
    no_follow: bool,
    stop: CancellationToken,
}

fn default_place(places: &Places) -> anyhow::Result<At> {
    if places.warehouse_is_named || places.warehouse.may_exist() {
        return Ok(At::Warehouse);
    }
    if places.kafka.is_some() {
        return Ok(At::Kafka);
    }
    if places.spool.exists() {
        return Ok(At::Agent);
    }
    bail!(
        "there is neither {} nor {}, and no Kafka is configured: name the place with --config, --data-dir, --kafka or \
         --warehouse",
        places.warehouse,
        places.spool.display()
    )
}

/// Shows what `reader` gives; of what is there at the beginning only the `last` records that match, if that is told.
fn show(
    reader: &mut dyn Reader,
    look: &Look,
    filter: &Filter,
    last: Option<u32>,
    end: &End,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let mut write = |line: &str| -> anyhow::Result<bool> {
        match writeln!(out, "{line}").and_then(|()| out.flush()) {
            // Whoever reads has enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            written => written.map(|()| true).context("cannot write"),
        }
    };
    if let Some(head) = look.head()
        && !write(&head)?
    {
        return Ok(());
    }
    let mut kept = last.map(|last| (last as usize, VecDeque::new()));
    let mut found = Vec::new();
    while !end.stop.is_cancelled() {
        reader.read(&mut found).map_err(|why| anyhow!(why))?;
        let caught_up = reader.is_caught_up();
        let came = !found.is_empty();
        let mut lines: Vec<String> = found.drain(..).filter_map(|found| look.line(&found, filter)).collect();
        if let Some((most, ring)) = &mut kept {
            ring.extend(lines.drain(..));
            ring.drain(..ring.len().saturating_sub(*most));
            if caught_up {
                lines.extend(ring.drain(..));
                kept = None;
            }
        }
        for line in lines {
            if end.stop.is_cancelled() || !write(&line)? {
                return Ok(());
            }
        }
        match reader.missed() {
            0 => {}
            missed => writeln!(io::stderr(), "{missed} frames were acknowledged before they could be shown")?,
        }
        if end.no_follow && caught_up {
            return Ok(());
        }
        if !came && caught_up {
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}
