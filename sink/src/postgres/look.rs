//! Looks into a database beside its writers, and changes nothing.
//!
//! - Its transactions are read-only and see one moment each.
//! - Values come as PostgreSQL writes them as text: instants in UTC as `YYYY-MM-DD HH:MM:SS.…`, floats so that they are
//!   read back to the bit.

use gaitway_service::config::Check as _;
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode;
use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use super::commit::within;
use super::connection::Driver;
use super::options::{Options, Server};
use super::tls;
use super::trouble::Failure;

const SETTINGS: &str = "
SET default_transaction_read_only TO on;
SET default_transaction_isolation TO 'repeatable read';
SET search_path TO pg_catalog;
SET DateStyle TO ISO;
SET TIME ZONE 'UTC'";

/// A row, its values as text; a null is none.
pub type Row = Vec<Option<String>>;

/// A connection that reads. Its calls block, so they belong on a thread, not into asynchronous code. Errors are
/// sentences that name the database.
#[derive(Debug)]
pub struct Look {
    server: Server,
    options: Options,
    client: Client,
    task: JoinHandle<Result<(), tokio_postgres::Error>>,
    driver: Driver,
}

impl Look {
    /// Connects to the database that `options` name.
    pub fn open(options: &Options) -> Result<Self, String> {
        options.check().map_err(|wrong| wrong.to_string())?;
        let config = options.config().map_err(|wrong| wrong.to_string())?;
        let server = Server::of(&config);
        let driver = Driver::new().map_err(|error| format!("cannot drive a connection to PostgreSQL: {error}"))?;
        let opened = driver.run(async {
            let limit = options.connect_timeout;
            let (client, task) = if config.get_ssl_mode() == SslMode::Require {
                let tls = tls::connector(options.ca_file.as_deref()).map_err(Failure::unavailable)?;
                let (client, connection) = within(limit, config.connect(tls)).await?;
                (client, tokio::spawn(connection))
            } else {
                let (client, connection) = within(limit, config.connect(NoTls)).await?;
                (client, tokio::spawn(connection))
            };
            let limit = options.statement_timeout;
            let settings = format!("{SETTINGS}; SET statement_timeout TO {}", limit.as_millis());
            within(limit, client.batch_execute(&settings)).await?;
            Ok::<_, Failure>((client, task))
        });
        let (client, task) = opened.map_err(|failure| failure.into_ledger(&server).to_string())?;
        Ok(Self { server, options: options.clone(), client, task, driver })
    }

    /// The rows of one statement. A statement may be `BEGIN`, `FETCH` or `COMMIT` too.
    pub fn ask(&mut self, statement: &str) -> Result<Vec<Row>, String> {
        let answer = self.driver.run(within(self.options.statement_timeout, self.client.simple_query(statement)));
        let messages = answer.map_err(|failure| self.explain(failure))?;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
            _ => None,
        });
        Ok(rows.collect())
    }

    fn explain(&self, failure: Failure) -> String {
        let Server { user, .. } = &self.server;
        if failure.is_forbidden() {
            let schemas = "SCHEMA raw_data, processed_data";
            return format!(
                "{} does not let user {user} read: GRANT USAGE ON {schemas} TO {user}; \
                 GRANT SELECT ON ALL TABLES IN {schemas} TO {user}",
                self.server
            );
        }
        match failure {
            Failure::Postgres(error) if error.is_closed() => format!("the connection to {} was lost", self.server),
            failure => failure.into_ledger(&self.server).to_string(),
        }
    }
}

/// A connection that nobody speaks on is not left open.
impl Drop for Look {
    fn drop(&mut self) {
        self.task.abort();
    }
}
