//! Adds windows that were classified anew to a database, beside its writers.
//!
//! - All of a run is one transaction: killed at any moment, it has added nothing or everything.
//! - Two runs never add at the same time: the second is refused before it has read anything.
//! - Marks are not touched, and no writer waits for it.

use bytes::{Bytes, BytesMut};
use futures_util::SinkExt as _;
use gaitway_proto::ledger::LedgerError;
use gaitway_proto::schema::ACTIVITY;
use gaitway_service::config::Check as _;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Statement};

use super::commit::within;
use super::connection::{Driver, connect};
use super::options::{Options, Server};
use super::rows;
use super::trouble::Failure;
use crate::revisions::{Revised, Run};

/// It takes the time that it takes, and its commit waits for the disk, whatever the server's default is.
const SETTINGS: &str = "
SET search_path TO pg_catalog;
SET statement_timeout TO 0;
SET idle_in_transaction_session_timeout TO 0;
SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') IN ('off', 'local', 'remote_write')";

/// By which runs know of each other: `gaitrecl` in ASCII.
const LOCK: i64 = 0x6761_6974_7265_636c;

/// A transaction that adds windows. Dropped, it has added nothing. Its calls block, so they belong on a thread, not into
/// asynchronous code. Errors are sentences that name the database.
#[derive(Debug)]
pub struct Revise {
    server: Server,
    client: Client,
    statement: Statement,
    task: JoinHandle<Result<(), tokio_postgres::Error>>,
    driver: Driver,
    run: Run,
}

impl Revise {
    /// Begins in the database that `options` name.
    pub fn begin(options: &Options) -> Result<Self, String> {
        options.check().map_err(|wrong| wrong.to_string())?;
        let config = options.config().map_err(|wrong| wrong.to_string())?;
        let server = Server::of(&config);
        let driver = Driver::new().map_err(|error| format!("cannot drive a connection to PostgreSQL: {error}"))?;
        let run = Run::new()?;
        let limit = options.statement_timeout;
        let opened = driver.run(async {
            let (client, task) = connect(options, &server).await?;
            within(limit, client.batch_execute(SETTINGS)).await?;
            within(limit, client.batch_execute("BEGIN")).await?;
            let locked = within(limit, client.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&LOCK])).await?;
            let is_free = locked.try_get::<_, bool>(0)?;
            let statement = within(limit, client.prepare(&rows::statement(&ACTIVITY))).await?;
            Ok::<_, Failure>((client, task, is_free, statement))
        });
        let (client, task, is_free, statement) = opened.map_err(|failure| explain(&server, failure))?;
        if !is_free {
            task.abort();
            return Err(format!("another run writes revisions into {server} now: wait for its end"));
        }
        Ok(Self { server, client, statement, task, driver, run })
    }

    /// Adds `windows`.
    pub fn add(&mut self, windows: &[Revised<'_>]) -> Result<(), String> {
        let Self { server, client, statement, driver, run, .. } = self;
        let mut bytes = BytesMut::from(rows::HEADER);
        run.records(windows, |record| {
            rows::push(&mut bytes, record);
            Ok::<_, String>(())
        })?;
        bytes.extend_from_slice(rows::TRAILER);
        let copied = driver.run(async {
            let mut sink = std::pin::pin!(client.copy_in::<_, Bytes>(statement).await?);
            sink.send(bytes.freeze()).await?;
            sink.finish().await
        });
        copied.map(drop).map_err(|error| explain(server, error.into()))
    }

    /// Makes it last; gives how many windows were added.
    pub fn commit(self) -> Result<u64, String> {
        match self.driver.run(self.client.batch_execute("COMMIT")) {
            Ok(()) => Ok(self.run.count()),
            Err(error) => Err(explain(&self.server, error.into())),
        }
    }
}

fn explain(server: &Server, failure: Failure) -> String {
    if failure.is_forbidden() {
        let Server { user, .. } = server;
        return format!(
            "{server} does not let user {user} add windows: GRANT USAGE ON SCHEMA processed_data TO {user}; GRANT SELECT, \
             INSERT ON processed_data.user_activity_processed TO {user}"
        );
    }
    match failure {
        Failure::Postgres(error) if error.is_closed() => {
            format!(
                "the connection to {server} was lost, and nobody knows whether anything was written: run this again"
            )
        }
        failure => match failure.into_ledger(server) {
            LedgerError::Unavailable(said) => said,
            error => error.to_string(),
        },
    }
}

/// A connection that nobody speaks on is not left open.
impl Drop for Revise {
    fn drop(&mut self) {
        self.task.abort();
    }
}
