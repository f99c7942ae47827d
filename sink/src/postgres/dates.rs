//! When a row was stored: the column that says so, in tables that are there without it.
//!
//! - It is added at once, whatever the table holds: a change of the catalogue. What is there already counts as stored then.
//! - Records do not need it. Where this user may not alter a table it is told what its owner must run.

use gaitway_proto::schema::TABLES;
use tokio_postgres::{Client, GenericClient};

use super::options::Server;
use super::setup::{self, LOCK, PATIENCE, Told};
use super::trouble::Failure;

const UNDATED: &str = "SELECT n.nspname || '.' || c.relname
    FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname || '.' || c.relname = ANY($1) AND c.relkind IN ('r', 'p')
        AND NOT EXISTS (SELECT FROM pg_attribute AS a
            WHERE a.attrelid = c.oid AND a.attname = 'stored_at' AND NOT a.attisdropped)";

/// The statements that add it where it is missing.
pub(super) async fn missing(client: &impl GenericClient) -> Result<Vec<String>, tokio_postgres::Error> {
    let dated = TABLES.into_iter().filter(|table| table.is_dated());
    let dated: Vec<_> = dated.map(|table| (format!("{}.{}", table.schema, table.name).to_lowercase(), table)).collect();
    let names: Vec<&str> = dated.iter().map(|(name, _)| name.as_str()).collect();
    let mut statements = Vec::new();
    for row in client.query(UNDATED, &[&names]).await? {
        let undated: &str = row.try_get(0)?;
        statements.extend(dated.iter().filter(|(name, _)| name == undated).map(|(_, table)| table.ddl_of_date()));
    }
    Ok(statements)
}

/// Adds it where it is missing; whether it is there then.
pub(super) async fn add(client: &mut Client, server: &Server, told: &mut Told) -> Result<bool, Failure> {
    if missing(client).await?.is_empty() {
        return Ok(true);
    }
    let transaction = client.transaction().await?;
    transaction.batch_execute(PATIENCE).await?;
    transaction.execute("SELECT pg_advisory_xact_lock($1)", &[&LOCK]).await?;
    let statements = missing(&transaction).await?.join("; ");
    let added = transaction.batch_execute(&statements).await;
    match setup::end(transaction, added).await {
        Err(failure) if failure.is_forbidden() => {
            told.once(format!(
                "rows do not say when they were stored, and views that read it cannot be made: user {} may not alter the \
                 tables; let their owner run: {statements}",
                server.user
            ));
            Ok(false)
        }
        Err(failure) => Err(failure),
        Ok(()) => Ok(true),
    }
}
