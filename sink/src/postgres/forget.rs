//! Deletes one device's rows from a database, beside its writers.
//!
//! - All of it is one transaction. Marks are not touched, and no writer waits for it.
//! - A deletion takes the time that it takes: no statement is cut off.

use gaitway_proto::ledger::LedgerError;
use gaitway_proto::schema::Dialect;
use gaitway_service::config::Check as _;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Row};

use super::commit::within;
use super::connection::{Driver, connect};
use super::options::{Options, Server};
use super::trouble::Failure;
use crate::forgetting::{Held, TABLES, count, delete_and_tell};

const SETTINGS: &str = "SET search_path TO pg_catalog; SET statement_timeout TO 0";

/// A connection that deletes. Its calls block, so they belong on a thread, not into asynchronous code. Errors are
/// sentences that name the database.
#[derive(Debug)]
pub struct Forget {
    server: Server,
    client: Client,
    task: JoinHandle<Result<(), tokio_postgres::Error>>,
    driver: Driver,
}

impl Forget {
    /// Connects to the database that `options` name.
    pub fn open(options: &Options) -> Result<Self, String> {
        options.check().map_err(|wrong| wrong.to_string())?;
        let config = options.config().map_err(|wrong| wrong.to_string())?;
        let server = Server::of(&config);
        let driver = Driver::new().map_err(|error| format!("cannot drive a connection to PostgreSQL: {error}"))?;
        let opened = driver.run(async {
            let (client, task) = connect(options, &server).await?;
            within(options.statement_timeout, client.batch_execute(SETTINGS)).await?;
            Ok::<_, Failure>((client, task))
        });
        let (client, task) = opened.map_err(|failure| failure.into_ledger(&server).to_string())?;
        Ok(Self { server, client, task, driver })
    }

    /// What there is of `device`.
    pub fn look(&mut self, device: &str) -> Result<Held, String> {
        let mut held = Held::default();
        for table in TABLES {
            let sql = count(Dialect::Postgres, table, "$1");
            let row = self.driver.run(self.client.query_one(&sql, &[&device]));
            *held.of(table) = row.and_then(|row| number(&row)).map_err(|error| self.explain(error))?;
        }
        Ok(held)
    }

    /// Deletes everything of `device`; gives what there was.
    pub fn delete(&mut self, device: &str) -> Result<Held, String> {
        let Self { client, driver, .. } = self;
        let deleted = driver.run(async {
            let transaction = client.transaction().await?;
            let mut held = Held::default();
            for table in TABLES {
                let row = transaction.query_one(&delete_and_tell(table, "$1"), &[&device]).await?;
                *held.of(table) = number(&row)?;
            }
            transaction.commit().await?;
            Ok(held)
        });
        deleted.map_err(|error| self.explain(error))
    }

    fn explain(&self, error: tokio_postgres::Error) -> String {
        let failure = Failure::from(error);
        if failure.is_forbidden() {
            let Server { user, .. } = &self.server;
            return format!(
                "{} does not let user {user} delete: let the tables' owner run what --sql prints; or GRANT SELECT, DELETE ON \
                 raw_data.activity_records, processed_data.user_activity_processed TO {user}, and INSERT ON raw_data.gaps",
                self.server
            );
        }
        match failure {
            Failure::Postgres(error) if error.is_closed() => {
                format!(
                    "the connection to {} was lost, and nothing is known of what was deleted: run this again",
                    self.server
                )
            }
            failure => match failure.into_ledger(&self.server) {
                LedgerError::Unavailable(said) => said,
                error => error.to_string(),
            },
        }
    }
}

fn number(row: &Row) -> Result<u64, tokio_postgres::Error> {
    row.try_get::<_, i64>(0).map(i64::cast_unsigned)
}

/// A connection that nobody speaks on is not left open.
impl Drop for Forget {
    fn drop(&mut self) {
        self.task.abort();
    }
}
