//! Adds windows that were classified anew to a warehouse that nobody writes to.
//!
//! - All of a run is one transaction: killed at any moment, it has added nothing or everything.
//! - Marks are not touched: what a mark names lies before the rows added here.

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::opening::{self, Missing};
use super::rows::Rows;
use super::{aside, trouble};
use crate::revisions::{Revised, Run};

/// A transaction that adds windows. Dropped, it has added nothing. Errors are sentences.
#[derive(Debug)]
pub struct Revise {
    path: PathBuf,
    conn: Connection,
    run: Run,
}

impl Revise {
    /// Begins in the warehouse at `path`, whose directory the caller has locked.
    pub fn begin(path: &Path) -> Result<Self, String> {
        // The log lies beside the file itself.
        let path = path.canonicalize().map_err(|error| format!("{} cannot be opened: {error}", path.display()))?;
        aside::finish(&path).map_err(|error| error.to_string())?;
        let (conn, _) = opening::open(&path, Missing::Refuse).map_err(|error| error.to_string())?;
        conn.execute_batch("BEGIN IMMEDIATE").map_err(|error| trouble::sentence(&path, &error))?;
        Ok(Self { path, conn, run: Run::new()? })
    }

    /// Adds `windows`.
    pub fn add(&mut self, windows: &[Revised<'_>]) -> Result<(), String> {
        let Self { path, conn, run } = self;
        let mut rows = Rows::new(conn);
        run.records(windows, |record| rows.insert(record)).map_err(|error| trouble::sentence(path, &error))
    }

    /// Makes it last; gives how many windows were added.
    pub fn commit(self) -> Result<u64, String> {
        let Self { path, conn, run } = self;
        conn.execute_batch("COMMIT").map_err(|error| trouble::sentence(&path, &error))?;
        Ok(run.count())
    }
}
