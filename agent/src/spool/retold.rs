//! Names that frames had in a spool that was lost before anybody was answered, and that a new one tells under others.
//!
//! - They are noted in the transaction that keeps the push again: what the lost file holds under them comes from here.

use gaitway_proto::ledger::{Epoch, Stream};
use rusqlite::{Result, params};

use super::rows::Rows;

/// Seqs of one stream of one start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "a frame's name, and the last one's seq")]
pub struct Names {
    pub epoch: Epoch,
    pub stream: Stream,
    pub first: u64,
    pub last: u64,
}

impl Names {
    /// Whether a frame of these has `seq`.
    pub fn holds(&self, stream: Stream, seq: u64) -> bool {
        self.stream == stream && (self.first..=self.last).contains(&seq)
    }
}

impl Rows<'_> {
    /// Notes that this spool tells what those frames of a lost one held. Few files ever need the table: it is made for
    /// those.
    pub fn note_retold(&self, names: Names) -> Result<()> {
        let Names { epoch, stream, first, last } = names;
        self.0.execute_batch(
            "CREATE TABLE IF NOT EXISTS retold(
               epoch INTEGER NOT NULL, stream TEXT NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL
             )",
        )?;
        let noted = params![epoch.get() as i64, stream.as_str(), first as i64, last as i64];
        self.0.execute("INSERT INTO retold VALUES(?1, ?2, ?3, ?4)", noted).map(drop)
    }

    /// What this spool tells of a lost one's start.
    pub fn retold(&self, epoch: Epoch) -> Result<Vec<Names>> {
        let table = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE name = 'retold')";
        if !self.0.query_row(table, [], |row| row.get::<_, bool>(0))? {
            return Ok(Vec::new());
        }
        let mut names = Vec::new();
        let mut statement = self.0.prepare("SELECT stream, first, last FROM retold WHERE epoch = ?1")?;
        let mut rows = statement.query([epoch.get() as i64])?;
        while let Some(row) = rows.next()? {
            let told: String = row.get(0)?;
            let (first, last) = (row.get::<_, i64>(1)? as u64, row.get::<_, i64>(2)? as u64);
            let streams = Stream::ALL.into_iter().filter(|stream| stream.as_str() == told);
            names.extend(streams.map(|stream| Names { epoch, stream, first, last }));
        }
        Ok(names)
    }
}
