//! How many readings of a session are not kept because its phone's owner wants it so.

use rusqlite::{Result, params};

use super::rows::Rows;

/// Whether anything was ever withheld here.
pub(crate) const EXISTS: &str = "SELECT EXISTS(SELECT 1 FROM sqlite_schema WHERE name = 'withheld')";

impl Rows<'_> {
    /// Counts readings of the session of a row. Few files ever need the table: it is made for those.
    pub fn note_withheld(&self, session: i64, readings: u64) -> Result<()> {
        self.0.execute_batch(
            "CREATE TABLE IF NOT EXISTS withheld(session INTEGER PRIMARY KEY, readings INTEGER NOT NULL)",
        )?;
        let sql = "INSERT INTO withheld VALUES(?1, ?2) ON CONFLICT(session) DO UPDATE SET readings = readings + ?2";
        self.0.prepare_cached(sql)?.execute(params![session, readings as i64]).map(drop)
    }

    /// Forgets the session of a row.
    pub(super) fn forget_withheld(&self, session: i64) -> Result<()> {
        if self.0.query_row(EXISTS, [], |row| row.get::<_, bool>(0))? {
            self.0.execute("DELETE FROM withheld WHERE session = ?1", [session])?;
        }
        Ok(())
    }
}
