//! One submit as one transaction.
//!
//! - Marks move first, each by compare-and-set: before a loser has written a row it knows.
//! - A position never goes back, a source moves once in a submit, and records never come without a mark.

use std::collections::BTreeSet;

use gaitway_proto::ledger::{LedgerError, Mark, Source, Watermark};
use gaitway_proto::record::Record;
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, Transaction, TransactionBehavior};

use super::rows::Rows;

/// Why a submit was not stored.
#[derive(Debug)]
pub(super) enum Refused {
    Ledger(LedgerError),
    Sqlite(rusqlite::Error),
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// Whether records and marks are what a caller may submit.
pub(super) fn check(records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError> {
    let wrong =
        |what: String| Err(LedgerError::Unavailable(format!("nothing was stored, the submit is wrong: {what}")));
    if marks.is_empty() && !records.is_empty() {
        return wrong(format!("{} records have no mark", records.len()));
    }
    let mut sources = BTreeSet::new();
    for Mark { source, from, to } in marks {
        if !sources.insert(source) {
            return wrong(format!("{source} has two marks"));
        }
        if i64::try_from(*to).is_err() {
            return wrong(format!("position {to} of {source} is beyond {}", i64::MAX));
        }
        if from.is_some_and(|from| from >= *to) {
            return wrong(format!("{source} goes back to {to}"));
        }
    }
    Ok(())
}

/// Stores records and marks; `now` stands beside the marks, for people.
pub(super) fn commit(conn: &mut Connection, records: &[Record<'_>], marks: &[Mark], now: &str) -> Result<(), Refused> {
    let transaction = Transaction::new(conn, TransactionBehavior::Immediate)?;
    move_marks(&transaction, marks, now)?;
    let mut rows = Rows::new(&transaction);
    for record in records {
        rows.insert(record)?;
    }
    drop(rows);
    transaction.commit()?;
    Ok(())
}

fn move_marks(conn: &Connection, marks: &[Mark], now: &str) -> Result<(), Refused> {
    let mut insert = conn.prepare_cached(
        "INSERT INTO gaitway_progress (source, position, updatedAt) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
    )?;
    let mut update = conn.prepare_cached(
        "UPDATE gaitway_progress SET position = ?2, updatedAt = ?3 WHERE source = ?1 AND position = ?4",
    )?;
    let mut find = find(conn)?;
    for Mark { source, from, to } in marks {
        let moved = match from {
            None => insert.execute((source.as_str(), *to as i64, now))?,
            // A position beyond i64 is nowhere in the table.
            Some(from) => match i64::try_from(*from) {
                Ok(from) => update.execute((source.as_str(), *to as i64, now, from))?,
                Err(_) => 0,
            },
        };
        if moved == 0 {
            let found = position(&mut find, source)?;
            return Err(Refused::Ledger(LedgerError::Conflict { source_name: source.clone(), found }));
        }
    }
    Ok(())
}

/// The positions of `sources`, as one snapshot.
pub(super) fn positions(conn: &mut Connection, sources: &[Source]) -> rusqlite::Result<Watermark> {
    let snapshot = conn.transaction()?;
    let mut find = find(&snapshot)?;
    let mut watermark = Watermark::new();
    for source in sources {
        if let Some(position) = position(&mut find, source)? {
            watermark.insert(source.clone(), position);
        }
    }
    Ok(watermark)
}

fn find(conn: &Connection) -> rusqlite::Result<CachedStatement<'_>> {
    conn.prepare_cached("SELECT position FROM gaitway_progress WHERE source = ?1")
}

fn position(find: &mut CachedStatement<'_>, source: &Source) -> rusqlite::Result<Option<u64>> {
    let read = |row: &rusqlite::Row<'_>| {
        let position: i64 = row.get(0)?;
        u64::try_from(position).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(0, position))
    };
    find.query_row([source.as_str()], read).optional()
}
