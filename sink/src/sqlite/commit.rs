//! One submit as one transaction.
//!
//! - Marks move first, each by compare-and-set: before a loser has written a row it knows.
//! - A mark names all rows that came with it.

use std::collections::BTreeMap;

use gaitway_proto::ledger::{LedgerError, Mark, Source, Watermark};
use gaitway_proto::record::{Metadata, Record};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::marks::{Find, Kept, Spans};
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

/// Stores records and marks; `now` stands beside the marks, for people.
pub(super) fn commit(conn: &mut Connection, records: &[Record<'_>], marks: &[Mark], now: &str) -> Result<(), Refused> {
    let transaction = Transaction::new(conn, TransactionBehavior::Immediate)?;
    move_marks(&transaction, marks, now)?;
    let rows = insert(&transaction, records)?;
    name_rows(&transaction, marks, now, &rows)?;
    transaction.commit()?;
    Ok(())
}

fn move_marks(conn: &Connection, marks: &[Mark], now: &str) -> Result<(), Refused> {
    for mark in marks {
        let kept = kept(mark, now, None);
        let moved = match mark.from {
            None => kept.insert(conn)?,
            // A position beyond i64 is nowhere in the table.
            Some(from) => match i64::try_from(from) {
                Ok(from) => kept.replace(conn, from)?,
                Err(_) => false,
            },
        };
        if !moved {
            let found = Find::new(conn)?.position(&mark.source)?;
            return Err(Refused::Ledger(LedgerError::Conflict { source_name: mark.source.clone(), found }));
        }
    }
    Ok(())
}

fn insert(conn: &Connection, records: &[Record<'_>]) -> rusqlite::Result<BTreeMap<Source, Spans>> {
    let mut rows = Rows::new(conn);
    let mut spans = BTreeMap::<Source, Spans>::new();
    let runs = records.chunk_by(|one, next| one.table().name == next.table().name && same_source(one, next));
    for run in runs {
        let mut first = None;
        for record in run {
            rows.insert(record)?;
            first.get_or_insert_with(|| conn.last_insert_rowid());
        }
        let last = conn.last_insert_rowid();
        if let Some(source) = run[0].metadata.source() {
            let span = spans.entry(source).or_default().entry(run[0].table().name.to_owned());
            span.or_insert((first.unwrap_or(last), last)).1 = last;
        }
    }
    Ok(spans)
}

fn same_source(one: &Record<'_>, next: &Record<'_>) -> bool {
    match (&one.metadata, &next.metadata) {
        (Metadata { place: Some(one), .. }, Metadata { place: Some(next), .. }) => {
            (one.topic, one.partition) == (next.topic, next.partition)
        }
        (Metadata { name: Some(one), place: None }, Metadata { name: Some(next), place: None }) => {
            (one.agent, one.epoch, one.stream) == (next.agent, next.epoch, next.stream)
        }
        _ => false,
    }
}

fn name_rows(conn: &Connection, marks: &[Mark], now: &str, rows: &BTreeMap<Source, Spans>) -> rusqlite::Result<()> {
    for mark in marks {
        if let Some(spans) = rows.get(&mark.source) {
            let json = serde_json::to_string(spans).expect("names and numbers are JSON");
            kept(mark, now, Some(json)).replace(conn, mark.to as i64)?;
        }
    }
    Ok(())
}

fn kept(mark: &Mark, now: &str, rows: Option<String>) -> Kept {
    let source = mark.source.as_str().to_owned();
    Kept { source, position: mark.to as i64, updated_at: now.to_owned(), rows }
}

/// The positions of `sources`, as one snapshot.
pub(super) fn positions(conn: &mut Connection, sources: &[Source]) -> rusqlite::Result<Watermark> {
    let snapshot = conn.transaction()?;
    let mut find = Find::new(&snapshot)?;
    let mut watermark = Watermark::new();
    for source in sources {
        if let Some(position) = find.position(source)? {
            watermark.insert(source.clone(), position);
        }
    }
    Ok(watermark)
}
