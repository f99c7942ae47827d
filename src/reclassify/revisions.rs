//! Stores what differs as the windows' next revision: one transaction, in a local warehouse or in PostgreSQL.
//!
//! - A local warehouse has one writer: its directory is locked, so gaitway must be stopped.
//! - PostgreSQL is written beside its sinks.

use anyhow::{Context as _, bail};
use gaitway_service::lock::{DataDir, Locked};
use gaitway_sink::revisions::Revised;
use gaitway_sink::{postgres, sqlite};

use super::compare::Change;
use super::history::{Key, unread};
use crate::warehouse::Warehouse;

/// Windows that are handed over at a time.
const CHUNK: usize = 4096;

pub(super) enum Revisions {
    File { revise: sqlite::Revise, _locked: Locked },
    Postgres(Box<postgres::Revise>),
}

impl Revisions {
    pub(super) fn begin(warehouse: &Warehouse) -> anyhow::Result<Self> {
        match warehouse {
            Warehouse::File(path) => {
                let path = path.canonicalize().with_context(|| format!("{} cannot be opened", path.display()))?;
                let directory = path.parent().context("the warehouse lies in no directory")?;
                let locked = DataDir::lock(directory).context(
                    "nothing was written: stop gaitway first, which owns the warehouse, and start it again after",
                )?;
                let revise = sqlite::Revise::begin(&path).map_err(anyhow::Error::msg)?;
                Ok(Self::File { revise, _locked: locked })
            }
            Warehouse::Postgres(options) => {
                let revise = postgres::Revise::begin(options).map_err(anyhow::Error::msg)?;
                Ok(Self::Postgres(Box::new(revise)))
            }
            Warehouse::Snowflake(_) => bail!(unread(warehouse)),
        }
    }

    pub(super) fn add(&mut self, key: &Key, changes: &[Change], classifier: &str) -> anyhow::Result<()> {
        let Key { device, session, agent } = key;
        for chunk in changes.chunks(CHUNK) {
            let rows: Vec<Revised<'_>> = chunk
                .iter()
                .map(|change| Revised {
                    device: device.as_deref(),
                    session: session.as_deref(),
                    agent: agent.as_deref(),
                    window: change.new.clone(),
                    classifier,
                })
                .collect();
            let added = match self {
                Self::File { revise, .. } => revise.add(&rows),
                Self::Postgres(revise) => revise.add(&rows),
            };
            added.map_err(anyhow::Error::msg)?;
        }
        Ok(())
    }

    /// Makes it last; gives how many windows were written.
    pub(super) fn commit(self) -> anyhow::Result<u64> {
        let committed = match self {
            // The directory is locked until the file is closed.
            Self::File { revise, _locked } => revise.commit(),
            Self::Postgres(revise) => revise.commit(),
        };
        committed.map_err(anyhow::Error::msg)
    }
}
