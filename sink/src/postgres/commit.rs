//! One submit as one transaction.
//!
//! - Marks move first, each by compare-and-set: before a loser has sent a row it knows.
//! - Rows go by binary COPY, table by table, in the order in which they came.
//! - Every step has its time; one that takes longer ends the connection.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use gaitway_proto::ledger::{LedgerError, Mark, Source, Watermark};
use gaitway_proto::record::Record;
use gaitway_proto::schema::{TABLES, Table};
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Statement, Transaction};

use super::rows;
use super::trouble::Failure;

/// Bytes of rows that are sent at a time.
const CHUNK: usize = 256 * 1024;

/// Where no mark is.
const NOWHERE: i64 = -1;

const REGISTER: &str = "INSERT INTO raw_data.gaitway_progress (source, position, updated_at)
    SELECT source, position, now() FROM unnest($1::text[], $2::bigint[]) AS new (source, position)
    ON CONFLICT (source) DO NOTHING RETURNING source";

const MOVE: &str = "UPDATE raw_data.gaitway_progress AS held SET position = new.position, updated_at = now()
    FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS new (source, position, found)
    WHERE held.source = new.source AND held.position = new.found RETURNING held.source";

const POSITIONS: &str = "SELECT source, position FROM raw_data.gaitway_progress WHERE source = ANY($1::text[])";

const MOVED_AT: &str = "SELECT (extract(epoch FROM updated_at) * 1000000)::bigint FROM raw_data.gaitway_progress
    WHERE source = $1";

/// What a connection has prepared.
#[derive(Debug)]
pub(super) struct Statements {
    register: Statement,
    advance: Statement,
    positions: Statement,
    copies: Vec<(&'static Table, Statement)>,
}

impl Statements {
    pub(super) async fn prepare(client: &Client) -> Result<Self, Failure> {
        let mut copies = Vec::with_capacity(TABLES.len());
        for table in TABLES {
            copies.push((table, client.prepare(&rows::statement(table)).await?));
        }
        Ok(Self {
            register: client.prepare(REGISTER).await?,
            advance: client.prepare(MOVE).await?,
            positions: client.prepare(POSITIONS).await?,
            copies,
        })
    }
}

/// `step`, unless it takes longer than `limit`.
pub(super) async fn within<T, E: Into<Failure>>(
    limit: Duration,
    step: impl Future<Output = Result<T, E>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(limit, step).await {
        Ok(outcome) => outcome.map_err(Into::into),
        Err(_) => Err(Failure::Silent(limit)),
    }
}

/// Stores records and marks; each step within `limit`. After a [`LedgerError::Conflict`] the transaction is ended; after
/// another failure the connection must be.
pub(super) async fn commit(
    client: &mut Client,
    statements: &Statements,
    records: &[Record<'_>],
    marks: &[Mark],
    limit: Duration,
) -> Result<(), Failure> {
    let transaction = within(limit, client.transaction()).await?;
    if let Some(conflict) = within(limit, move_marks(&transaction, statements, marks)).await? {
        within(limit, transaction.rollback()).await?;
        return Err(conflict.into());
    }
    for (table, statement) in &statements.copies {
        let mut of_table = records.iter().filter(|record| record.table().name == table.name).peekable();
        if of_table.peek().is_some() {
            within(limit, copy(&transaction, statement, of_table)).await?;
        }
    }
    within(limit, transaction.commit()).await
}

/// Moves `marks`, or tells the first that is not where its owner left it.
async fn move_marks(
    transaction: &Transaction<'_>,
    statements: &Statements,
    marks: &[Mark],
) -> Result<Option<LedgerError>, Failure> {
    // In one order everywhere, so that two owners seldom wait for each other.
    let sorted: BTreeMap<&str, &Mark> = marks.iter().map(|mark| (mark.source.as_str(), mark)).collect();
    let (mut fresh, mut known) = ((Vec::new(), Vec::new()), (Vec::new(), Vec::new(), Vec::new()));
    for (source, mark) in &sorted {
        let to = mark.to as i64;
        match mark.from {
            None => {
                fresh.0.push(*source);
                fresh.1.push(to);
            }
            Some(from) => {
                known.0.push(*source);
                known.1.push(to);
                // A position beyond i64 is nowhere in the table.
                known.2.push(i64::try_from(from).unwrap_or(NOWHERE));
            }
        }
    }
    let mut moved = Vec::with_capacity(marks.len());
    if !known.0.is_empty() {
        moved.extend(transaction.query(&statements.advance, &[&known.0, &known.1, &known.2]).await?);
    }
    if !fresh.0.is_empty() {
        moved.extend(transaction.query(&statements.register, &[&fresh.0, &fresh.1]).await?);
    }
    if moved.len() == marks.len() {
        return Ok(None);
    }
    let mut stale = sorted;
    for row in &moved {
        stale.remove(row.try_get::<_, &str>(0)?);
    }
    let Some(mark) = stale.values().next() else { return Ok(None) };
    let sources = [mark.source.as_str()];
    let row = transaction.query_opt(&statements.positions, &[&&sources[..]]).await?;
    let found = row.map(|row| row.try_get(1)).transpose()?.and_then(|position: i64| u64::try_from(position).ok());
    Ok(Some(LedgerError::Conflict { source_name: mark.source.clone(), found }))
}

async fn copy<'r>(
    transaction: &Transaction<'_>,
    statement: &Statement,
    records: impl Iterator<Item = &'r Record<'r>>,
) -> Result<(), Failure> {
    let mut sink = std::pin::pin!(transaction.copy_in::<_, Bytes>(statement).await?);
    let mut chunk = BytesMut::with_capacity(CHUNK + 4096);
    chunk.extend_from_slice(rows::HEADER);
    for record in records {
        rows::push(&mut chunk, record);
        if chunk.len() >= CHUNK {
            sink.send(chunk.split().freeze()).await?;
            chunk.reserve(CHUNK + 4096);
        }
    }
    chunk.extend_from_slice(rows::TRAILER);
    sink.send(chunk.freeze()).await?;
    sink.finish().await?;
    Ok(())
}

/// The positions of `sources`, as one snapshot.
pub(super) async fn positions(
    client: &Client,
    statements: &Statements,
    sources: &[Source],
) -> Result<Watermark, Failure> {
    let names: Vec<&str> = sources.iter().map(Source::as_str).collect();
    let parameters: [&(dyn ToSql + Sync); 1] = [&names];
    let rows = client.query(&statements.positions, &parameters).await?;
    let mut found = BTreeMap::new();
    for row in &rows {
        let (source, position): (&str, i64) = (row.try_get(0)?, row.try_get(1)?);
        let position = u64::try_from(position).map_err(|_| {
            Failure::unavailable(format!("gaitway_progress has {source} at {position}: somebody changed it by hand"))
        })?;
        found.insert(source, position);
    }
    let known = sources.iter().filter_map(|source| found.get(source.as_str()).map(|at| (source.clone(), *at)));
    Ok(known.collect())
}

/// When the mark of `source` was moved, microseconds since the Unix epoch. Asked seldom, so it is not prepared.
pub(super) async fn moved_at(client: &Client, source: &Source) -> Result<Option<i64>, Failure> {
    let row = client.query_opt(MOVED_AT, &[&source.as_str()]).await?;
    Ok(row.map(|row| row.try_get(0)).transpose()?)
}
