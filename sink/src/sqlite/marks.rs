//! The watermark: one row a source.
//!
//! - A mark is believed only with its checksum: SQLite's pages have none, and a mark that a flipped bit moved ahead
//!   would have frames dropped that were never stored.
//! - A mark names all rows that were stored with it, so that it can be held against the rows of its file.

use std::collections::BTreeMap;

use gaitway_proto::ledger::Source;
use rusqlite::types::Type;
use rusqlite::{CachedStatement, Connection, Error, OptionalExtension as _, Result, Row, params};

pub(super) const TABLE: &str = "
CREATE TABLE gaitway_progress (source TEXT PRIMARY KEY, position INTEGER NOT NULL, updatedAt TEXT NOT NULL, lastRows TEXT, checksum INTEGER NOT NULL) WITHOUT ROWID;
";

pub(super) const COLUMNS: [&str; 5] = ["source", "position", "updatedAt", "lastRows", "checksum"];

/// The rows of one commit: first and last rowid by table. As JSON: `{"ACTIVITY_RECORDS":[121,150],"GAPS":[3,3]}`.
pub(super) type Spans = BTreeMap<String, (i64, i64)>;

/// A row of `gaitway_progress`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Kept {
    pub(super) source: String,
    pub(super) position: i64,
    /// When it was committed.
    pub(super) updated_at: String,
    /// The rows that were stored with it, [`Spans`] as JSON; none where there were none, or nobody noted them.
    pub(super) rows: Option<String>,
}

#[derive(Debug, thiserror::Error)]
#[error("the mark of {0} does not fit its checksum")]
struct WrongChecksum(String);

impl Kept {
    fn checksum(&self) -> i64 {
        let Self { source, position, updated_at, rows } = self;
        let text = format!("{source}\n{position}\n{updated_at}\n{}", rows.as_deref().unwrap_or_default());
        i64::from(crc32c::crc32c(text.as_bytes()))
    }

    /// From [`COLUMNS`].
    fn read(row: &Row<'_>) -> Result<Self> {
        let kept = Self { source: row.get(0)?, position: row.get(1)?, updated_at: row.get(2)?, rows: row.get(3)? };
        if kept.checksum() == row.get::<_, i64>(4)? {
            return Ok(kept);
        }
        Err(Error::FromSqlConversionFailure(4, Type::Integer, Box::new(WrongChecksum(kept.source))))
    }

    /// Adds it where its source has no mark; whether that was so.
    pub(super) fn insert(&self, conn: &Connection) -> Result<bool> {
        let sql = "INSERT INTO gaitway_progress VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT DO NOTHING";
        let values = params![self.source, self.position, self.updated_at, self.rows, self.checksum()];
        Ok(conn.prepare_cached(sql)?.execute(values)? > 0)
    }

    /// Puts it in the place of the mark of its source that is at `from`; whether there is one.
    pub(super) fn replace(&self, conn: &Connection, from: i64) -> Result<bool> {
        let sql = "UPDATE gaitway_progress SET position = ?2, updatedAt = ?3, lastRows = ?4, checksum = ?5
                   WHERE source = ?1 AND position = ?6";
        let values = params![self.source, self.position, self.updated_at, self.rows, self.checksum(), from];
        Ok(conn.prepare_cached(sql)?.execute(values)? > 0)
    }
}

/// Rewrites the table of version 1, which had neither rows nor checksums.
pub(super) fn migrate(conn: &Connection) -> Result<()> {
    let mut statement = conn.prepare("SELECT source, position, updatedAt FROM gaitway_progress")?;
    let read =
        |row: &Row<'_>| Ok(Kept { source: row.get(0)?, position: row.get(1)?, updated_at: row.get(2)?, rows: None });
    let marks: Vec<Kept> = statement.query_map([], read)?.collect::<Result<_>>()?;
    drop(statement);
    conn.execute_batch("DROP TABLE gaitway_progress")?;
    conn.execute_batch(TABLE)?;
    for kept in marks {
        kept.insert(conn)?;
    }
    Ok(())
}

/// Finds marks by their source.
pub(super) struct Find<'c>(CachedStatement<'c>);

impl<'c> Find<'c> {
    pub(super) fn new(conn: &'c Connection) -> Result<Self> {
        conn.prepare_cached(&format!("SELECT {} FROM gaitway_progress WHERE source = ?1", COLUMNS.join(", "))).map(Self)
    }

    /// Where `source` is, if it is known.
    pub(super) fn position(&mut self, source: &Source) -> Result<Option<u64>> {
        let Some(kept) = self.0.query_row([source.as_str()], Kept::read).optional()? else { return Ok(None) };
        u64::try_from(kept.position).map(Some).map_err(|_| Error::IntegralValueOutOfRange(1, kept.position))
    }

    /// When the mark of `source` was moved, microseconds since the Unix epoch.
    pub(super) fn moved_at(&mut self, source: &Source) -> Result<Option<i64>> {
        let kept = self.0.query_row([source.as_str()], Kept::read).optional()?;
        let time = kept.and_then(|kept| kept.updated_at.parse::<jiff::Timestamp>().ok());
        Ok(time.map(jiff::Timestamp::as_microsecond))
    }
}

/// Every mark in the order of the sources' names, or against it; what cannot be read is an error in its place.
pub(super) fn each(conn: &Connection, backwards: bool, mut visit: impl FnMut(Result<Kept>)) -> Result<()> {
    let (columns, order) = (COLUMNS.join(", "), if backwards { "DESC" } else { "ASC" });
    let mut statement = conn.prepare(&format!("SELECT {columns} FROM gaitway_progress ORDER BY source {order}"))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        visit(Kept::read(row));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_believed_only_with_its_checksum() {
        let conn = Connection::open_in_memory().unwrap();
        conn.execute_batch(TABLE).unwrap();
        let source = Source::partition("raw_sensor_data", 3);
        let kept = Kept {
            source: source.as_str().to_owned(),
            position: 7,
            updated_at: "2026-01-01T00:00:00Z".to_owned(),
            rows: Some(r#"{"GAPS":[2,2]}"#.to_owned()),
        };
        assert!(kept.insert(&conn).unwrap());
        assert!(!kept.insert(&conn).unwrap());
        let position = || Find::new(&conn).unwrap().position(&source);
        assert_eq!(position().unwrap(), Some(7));
        for (damage, repair) in [
            ("position = position + 1024", "position = position - 1024"),
            (r#"lastRows = '{"GAPS":[2,3]}'"#, r#"lastRows = '{"GAPS":[2,2]}'"#),
            ("updatedAt = '2026-01-01T00:00:01Z'", "updatedAt = '2026-01-01T00:00:00Z'"),
        ] {
            conn.execute(&format!("UPDATE gaitway_progress SET {damage}"), []).unwrap();
            let error = position().unwrap_err();
            assert!(error.to_string().contains("checksum"), "{error}");
            conn.execute(&format!("UPDATE gaitway_progress SET {repair}"), []).unwrap();
            assert_eq!(position().unwrap(), Some(7));
        }
    }
}
