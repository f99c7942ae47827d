//! `gaitway forget`: deletes what one device sent, wherever it can be reached, and says where it cannot.
//!
//! - Nothing is deleted before it was shown and confirmed, nor while a service of this machine may write it anew.
//! - It may be run again: what came since is deleted then, what was interrupted is finished.
//! - The exit status is 0 only if all that could be found is gone.
//!
//! [`place`] is a place and how it forgets; [`beyond`] says what stays where nothing here reaches.

mod beyond;
mod place;

use std::collections::BTreeSet;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use gaitway_proto::limits::MAX_ID;
use gaitway_service::lock::{DataDir, Locked};
use gaitway_sink::forgetting;

use crate::places::{Flags, Places};
use crate::warehouse::Warehouse;
use place::{Held, Place};

/// Delete what one device sent, in spool and warehouse, and say where else it may be.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Stop the services of this machine first. Exits with 0 if everything that was found is gone; with 1 if \
                        something is left, or could not be reached; with 2 if it is not known where to look."
)]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
pub(crate) struct Args {
    /// The phone's id: `deviceId` of its records; `gaitway agent phone list` and `gaitway audit` show it
    #[arg(long, value_name = "ID", value_parser = device, allow_hyphen_values = true)]
    device: String,
    /// Show what there is and delete nothing; services may run
    #[arg(long)]
    dry_run: bool,
    /// Do not ask
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Delete also whole files that were set aside after damage and in which the device stands, whoever else's data they hold
    #[arg(long)]
    set_aside: bool,
    /// Only print what deletes the device's rows in PostgreSQL or Snowflake, for somebody who may
    #[arg(long, conflicts_with_all = ["dry_run", "yes", "set_aside"])]
    sql: bool,
    #[command(flatten)]
    places: Flags,
}

/// Exit status if it is not known where to look.
const UNASKED: u8 = 2;

fn device(text: &str) -> Result<String, String> {
    match text.len() {
        0 => Err("it has at least one character".to_owned()),
        1..=MAX_ID => Ok(text.to_owned()),
        _ => Err(format!("it has at most {MAX_ID} bytes")),
    }
}

/// Shows, asks, deletes, tells.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args { device, dry_run, yes, set_aside, sql, places } = args;
    let found = places.find().and_then(|places| if sql { Ok((places, Vec::new(), Vec::new())) } else { whole(places) });
    let (places, there, absent) = match found {
        Ok(found) => found,
        Err(error) => {
            writeln!(io::stderr(), "gaitway: {error:#}")?;
            return Ok(ExitCode::from(UNASKED));
        }
    };
    if sql {
        return print_sql(&places.warehouse, &device);
    }
    if !dry_run && !yes && !io::stdin().is_terminal() {
        bail!("nothing was deleted: there is no terminal on which to confirm it; give --yes");
    }
    let _locked = if dry_run { Vec::new() } else { lock(&there)? };
    let looked: Vec<(Place, Result<Held, String>)> = there
        .into_iter()
        .map(|place| {
            let held = place.look(&device);
            (place, held)
        })
        .collect();
    let phones: Vec<String> =
        looked.iter().filter_map(|(_, held)| held.as_ref().ok()).flat_map(|held| held.phones.clone()).collect();
    let mut out = io::stdout();
    for line in beyond::order(&places, &phones) {
        writeln!(out, "{line}")?;
    }
    writeln!(out, "What there is of device {device:?}:")?;
    for (place, held) in &looked {
        match held {
            Ok(held) => writeln!(out, "  {place}: {held}")?,
            Err(why) => writeln!(out, "  {place}: cannot be looked at: {why}")?,
        }
    }
    for place in &absent {
        writeln!(out, "  {place}: not there, nothing looked at")?;
    }
    let is_reached = looked.iter().all(|(_, held)| held.is_ok());
    let is_nothing = looked.iter().all(|(_, held)| held.as_ref().is_ok_and(Held::is_nothing));
    if dry_run {
        if is_nothing {
            writeln!(out, "\n{}", nothing_of(&device))?;
        }
        writeln!(out, "\nNothing was deleted: this only shows.")?;
        cannot(&mut out, &places, &phones)?;
        let is_unfinished = looked.iter().any(|(_, held)| held.as_ref().is_ok_and(|held| held.is_unfinished));
        return Ok(if is_reached && !is_unfinished { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    if !is_nothing && !yes && !confirm()? {
        writeln!(out, "Nothing was deleted.")?;
        return Ok(ExitCode::FAILURE);
    }
    let mut is_all_gone = is_reached;
    let mut done = Vec::new();
    for (place, held) in looked.iter().filter_map(|(place, held)| Some((place, held.as_ref().ok()?))) {
        // Also where there is nothing: bytes of what went before may be left.
        match place.forget(&device, set_aside) {
            Ok(gone) => {
                done.push(format!("{place}: {gone}"));
                for left in held.left().filter(|_| !set_aside) {
                    is_all_gone = false;
                    done.push(format!("left: {left}"));
                }
            }
            Err(why) => {
                is_all_gone = false;
                done.push(format!("{place}: FAILED: {why}"));
            }
        }
    }
    for (place, why) in looked.iter().filter_map(|(place, held)| Some((place, held.as_ref().err()?))) {
        done.push(format!("{place}: NOT REACHED, nothing was deleted there: {why}"));
    }
    if is_nothing && is_all_gone {
        writeln!(out, "\n{}", nothing_of(&device))?;
    } else {
        writeln!(out, "\nWhat was done:")?;
        for line in done {
            writeln!(out, "  {line}")?;
        }
    }
    cannot(&mut out, &places, &phones)?;
    if !is_all_gone {
        writeln!(out, "\nNot everything is gone: see FAILED, NOT REACHED and left above, and run this again.")?;
    }
    Ok(if is_all_gone { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn nothing_of(device: &str) -> String {
    format!("There is nothing of device {device:?}; `gaitway agent phone list` and `gaitway audit` show the ids.")
}

/// Says what is left where nothing here reaches.
fn cannot(out: &mut io::Stdout, places: &Places, phones: &[String]) -> io::Result<()> {
    writeln!(out, "\nWhat this cannot delete:")?;
    beyond::said(places, phones).iter().try_for_each(|said| writeln!(out, "  {said}"))
}

/// The places that are there, in the order of a record's path, and those that are not.
fn whole(places: Places) -> anyhow::Result<(Places, Vec<Place>, Vec<Place>)> {
    if let (Warehouse::File(path), true) = (&places.warehouse, places.warehouse_is_named)
        && !path.exists()
    {
        bail!("there is no warehouse {}", path.display());
    }
    let (there, absent) = Place::all(&places);
    if there.is_empty() {
        bail!(
            "there is neither {} nor {}, and no other warehouse is configured: name the places with --config, --data-dir or \
             --warehouse",
            places.spool.display(),
            places.warehouse
        );
    }
    Ok((places, there, absent))
}

/// Locks every directory in which something is deleted.
fn lock(there: &[Place]) -> anyhow::Result<Vec<Locked>> {
    let directories: BTreeSet<PathBuf> = there.iter().flat_map(Place::directories).collect();
    let lock = |directory: PathBuf| {
        DataDir::lock(directory).context(
            "nothing was deleted: stop gaitway first, so that it does not bring back what is deleted here, and start it \
             again after",
        )
    };
    directories.into_iter().map(lock).collect()
}

fn confirm() -> anyhow::Result<bool> {
    write!(io::stdout(), "\nDelete all of it for good? Type yes: ")?;
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().eq_ignore_ascii_case("yes"))
}

fn print_sql(warehouse: &Warehouse, device: &str) -> anyhow::Result<ExitCode> {
    let script = match warehouse {
        Warehouse::Postgres(_) => forgetting::postgres_script(device),
        Warehouse::Snowflake(options) => forgetting::snowflake_script(&options.database, device),
        Warehouse::File(path) => {
            bail!("the warehouse is the file {}, which `gaitway forget` writes itself: leave --sql out", path.display())
        }
    };
    io::stdout().write_all(script.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
