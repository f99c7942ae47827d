//! The connection, and the runtime that drives it.
//!
//! - The runtime is the warehouse's own and has one thread, the caller's: a ledger lives on a thread of its own, and
//!   nothing has to happen between its calls.
//! - A connection after a failure is closed at once, without a word to the server: its transaction ends there.

use std::io;

use gaitway_proto::ledger::LedgerError;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls};

use super::commit::{Statements, within};
use super::options::{Options, Server};
use super::partitions::House;
use super::setup::{self, Told};
use super::tls;
use super::trouble::Failure;

/// Settings of the session. Commits wait for the disk; a server whose client is gone without a word notices within a
/// minute, so that a transaction does not keep its marks from the next owner. Where a stronger `synchronous_commit` is
/// set, it stays.
const SETTINGS: &str = "
SET synchronous_commit TO on;
SET tcp_keepalives_idle TO 30;
SET tcp_keepalives_interval TO 10;
SET tcp_keepalives_count TO 3;
SET search_path TO pg_catalog;
SET TIME ZONE 'UTC';
SET DateStyle TO 'ISO'";

/// Drives what is asynchronous.
#[derive(Debug)]
pub(super) struct Driver(Option<Runtime>);

impl Driver {
    pub(super) fn new() -> io::Result<Self> {
        Builder::new_current_thread().enable_all().build().map(|runtime| Self(Some(runtime)))
    }

    pub(super) fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.0.as_ref().expect("the runtime goes with the driver").block_on(work)
    }
}

/// A look-up of a name that hangs does not keep the warehouse from ending.
impl Drop for Driver {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// A connection whose database is as it must be.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    pub(super) statements: Statements,
    task: JoinHandle<Result<(), tokio_postgres::Error>>,
}

impl Session {
    /// Connects, and sets up what is missing.
    pub(super) async fn open(
        options: &Options,
        server: &Server,
        told: &mut Told,
        house: &mut House,
    ) -> Result<Self, Failure> {
        let (mut client, task) = connect(options, server).await?;
        let limit = options.statement_timeout;
        let prepared = async {
            let stronger = within(limit, client.query_one("SELECT current_setting('synchronous_commit')", &[])).await?;
            let stronger = stronger.try_get::<_, &str>(0)? == "remote_apply";
            let settings =
                if stronger { SETTINGS.replace("commit TO on", "commit TO remote_apply") } else { SETTINGS.into() };
            // A sink that is frozen keeps its connection, and must not keep the marks of its partitions with it.
            let limit_ms = limit.as_millis();
            let timeout = format!(
                "{settings}; SET statement_timeout TO {limit_ms}; SET idle_in_transaction_session_timeout TO {limit_ms}"
            );
            within(limit, client.batch_execute(&timeout)).await?;
            setup::set_up(&mut client, options, server, told, house).await?;
            within(limit, Statements::prepare(&client)).await
        };
        match prepared.await {
            Ok(statements) => Ok(Self { client, statements, task }),
            Err(failure) => {
                task.abort();
                Err(failure)
            }
        }
    }

    /// Closes it; tells the reason if it was the server that closed it.
    pub(super) async fn close(mut self, failure: Failure, server: &Server) -> LedgerError {
        let ended = self.task.is_finished();
        self.task.abort();
        // The socket is closed when this returns.
        let last = (&mut self.task).await;
        let failure = match (failure, last) {
            (Failure::Postgres(error), Ok(Err(reason))) if ended && error.is_closed() && reason.code().is_some() => {
                Failure::Postgres(reason)
            }
            (failure, _) => failure,
        };
        failure.into_ledger(server)
    }
}

/// A connection and the task that drives it, nothing said on it yet.
pub(super) async fn connect(
    options: &Options,
    server: &Server,
) -> Result<(Client, JoinHandle<Result<(), tokio_postgres::Error>>), Failure> {
    let wrong = |what: String| Failure::unavailable(format!("{server} cannot be used: {what}"));
    let config = options.config().map_err(|error| wrong(error.to_string()))?;
    let connect_timeout = options.connect_timeout;
    if config.get_ssl_mode() == SslMode::Require {
        let tls = tls::connector(options.ca_file.as_deref()).map_err(wrong)?;
        let (client, connection) = within(connect_timeout, config.connect(tls)).await?;
        return Ok((client, tokio::spawn(connection)));
    }
    let (client, connection) = within(connect_timeout, config.connect(NoTls)).await?;
    Ok((client, tokio::spawn(connection)))
}

/// A connection that nobody speaks on is not left open.
impl Drop for Session {
    fn drop(&mut self) {
        self.task.abort();
    }
}
