//! `gaitway agent reader`: who may look at the agent's page.

use std::fmt::{self, Write};
use std::net::SocketAddr;

use gaitway_proto::schema;
use gaitway_service::clock;
use gaitway_service::table::{Side, Table};
use serde::{Deserialize, Serialize};

use super::Said;
use super::place::{Of, Place};
use crate::kept::KeptFile;
use crate::readers::{self, Link, Readers, Right};

/// Says which browsers may look at the agent's page. It is in force at once, also while the agent runs.
#[derive(Debug, Serialize, Deserialize, clap::Subcommand)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ReaderCommand {
    /// Prints a link for a browser, good once and for an hour, in the place of an unused one of that name. On the agent's own machine
    /// none is needed
    Add {
        /// What to call it, such as the name of its owner
        name: String,
        /// Lets it add phones on the agent's set-up page
        #[arg(long)]
        may_add_phones: bool,
        #[command(flatten)]
        #[serde(skip)]
        of: Of,
        /// Where the agent is reached [default: where it listens, or did when it last ran; else as configured]
        #[arg(long, value_name = "ADDR", value_parser = super::address)]
        http: Option<SocketAddr>,
    },
    /// Shows the browsers that may look
    List {
        #[command(flatten)]
        #[serde(skip)]
        of: Of,
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Lets the browsers that came by links of this name look no more
    Revoke {
        /// Its name
        name: String,
        #[command(flatten)]
        #[serde(skip)]
        of: Of,
    },
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    name: &'a str,
    since: String,
    may_add_phones: bool,
}

impl ReaderCommand {
    /// Which agent it is for, as it was told.
    pub(super) fn of(&mut self) -> &mut Of {
        match self {
            Self::Add { of, .. } | Self::List { of, .. } | Self::Revoke { of, .. } => of,
        }
    }
}

/// Runs one of them.
pub(super) fn run(command: ReaderCommand, place: &Place<'_>, said: &mut Said) -> anyhow::Result<()> {
    let out = &mut said.out;
    match command {
        ReaderCommand::Add { name, may_add_phones, http, .. } => {
            let name = name.trim();
            let right = if may_add_phones { Right::AddPhones } else { Right::Look };
            let link = Link { name: name.to_owned(), right };
            let (code, replaced) = readers::invite(&place.dir, &link)?;
            writeln!(out, "Open one of these in the browser of {name:?}; the link is good once and for an hour:")?;
            for url in place.urls(http) {
                writeln!(out, "  {url}{}", readers::path(&code))?;
            }
            if replaced {
                writeln!(out, "The link of that name that nobody had used is not in force any more.")?;
            }
            place.warn_of_nobody(said)?;
        }
        ReaderCommand::List { json, .. } => {
            let list = KeptFile::<Readers>::new(&place.dir);
            place.must_have(list.path())?;
            let list = list.current()?;
            let now = clock::now_micros().div_euclid(1_000_000);
            let shown: Vec<Shown<'_>> = list.iter().flat_map(|readers| readers.iter(now)).map(Shown::of).collect();
            if json {
                writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
            } else if shown.is_empty() {
                writeln!(
                    said.notes,
                    "no browser has come by a link yet: `reader add NAME` makes one; this machine's own need none"
                )?;
            } else {
                show(out, &shown)?;
            }
        }
        ReaderCommand::Revoke { name, .. } => {
            let list = KeptFile::<Readers>::new(&place.dir);
            place.must_have(list.path())?;
            let readers = list.change(|readers| readers.revoke(&name))??;
            let name = name.trim();
            match readers {
                0 => writeln!(out, "the link of {name:?} is not in force any more; nobody had used it")?,
                1 => writeln!(out, "the browser of {name:?} may not look any more")?,
                more => writeln!(out, "{more} browsers of {name:?} may not look any more")?,
            }
        }
    }
    Ok(())
}

impl<'a> Shown<'a> {
    fn of(reader: &'a readers::Reader) -> Self {
        let since = schema::rfc3339(reader.since.saturating_mul(1_000_000_000));
        Self { name: &reader.name, since, may_add_phones: reader.may_add }
    }
}

fn show(out: &mut impl Write, readers: &[Shown<'_>]) -> fmt::Result {
    let mut table = Table::new(&[("reader", Side::Left), ("since", Side::Left), ("may", Side::Left)]);
    for reader in readers {
        let may = if reader.may_add_phones { "look, add phones" } else { "look" };
        table.push(vec![reader.name.to_owned(), reader.since.clone(), may.to_owned()]);
    }
    write!(out, "{table}")
}
