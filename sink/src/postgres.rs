//! PostgreSQL as a warehouse.
//!
//! - Rows and marks are one transaction; `submit` returns `Ok` after PostgreSQL's fsync. A server with `fsync=off` is
//!   refused.
//! - A mark that is not where its owner left it undoes the whole submit.
//! - A commit whose outcome is not known is an error; the marks tell, once they can be read again.
//! - A record that no table can hold is told by `refuses`, before the server sees it.
//!
//! Tables and columns are the contract's, in the schemas `raw_data` and `processed_data`; the watermark is
//! `raw_data.gaitway_progress`. People read the views in the schema `activity`. `record_metadata` and `reading` are
//! `jsonb`: numbers are kept to the digit, spelling and order of keys are not. Instants are `timestamp` in UTC, to the
//! microsecond. Where the database has the extension TimescaleDB, the tables of readings and of windows become
//! hypertables; where not, a new table of readings is in partitions by when they were stored.
//!
//! [`recover`](Ledger::recover) creates what is missing, if the user may: it needs `CREATE` on the database, and for
//! partitions to own the table of readings. The least
//! that it needs where an administrator has run `gaitway sink ddl --dialect postgres`:
//!
//! ```sql
//! GRANT CONNECT ON DATABASE gaitway TO sink;
//! GRANT USAGE ON SCHEMA raw_data, processed_data TO sink;
//! GRANT INSERT ON raw_data.activity_records, raw_data.gaps, processed_data.user_activity_processed TO sink;
//! GRANT SELECT, INSERT, UPDATE ON raw_data.gaitway_progress TO sink;
//! ```
//!
//! [`Look`] reads beside the writers; whoever looks needs `SELECT` on the tables. [`Forget`] deletes what one device sent,
//! which needs `DELETE` besides: a right that the sink's own user should not have. [`Revise`] adds windows that were classified
//! anew, which needs no more than looking and the sink's own `INSERT`.
//!
//! A pooler between gaitway and PostgreSQL must pool sessions, not transactions.

mod checkup;
mod commit;
mod connection;
mod dates;
mod forget;
mod json;
mod layout;
mod look;
mod options;
mod partitions;
mod refusal;
mod revise;
mod rows;
mod session_index;
mod setup;
mod timescale;
mod tls;
mod trouble;

use std::io;
use std::time::Instant;

use gaitway_proto::ledger::{self, Ledger, LedgerError, Mark, Source, Watermark};
use gaitway_proto::record::Record;
use gaitway_service::config::{Check as _, Wrong};

pub use checkup::examine;
pub use forget::Forget;
pub use look::{Look, Row};
pub use options::{Address, Options};
pub use revise::Revise;

use connection::{Driver, Session};
use options::Server;
use partitions::House;
use setup::Told;

/// Why no table here can hold `record`, if that is so.
pub fn refuses(record: &Record<'_>) -> Option<String> {
    refusal::of(record)
}

/// The SQL that makes tables, indexes and views, and may be run again. Partitions beside the default one are made by the
/// sink, or by whoever runs what it asks for.
pub fn script() -> String {
    setup::script()
}

/// Why a warehouse cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A value of the options makes no sense.
    #[error("{0}")]
    Options(#[from] Wrong),
    /// The system refuses what driving a connection needs.
    #[error("cannot drive a connection to PostgreSQL: {0}")]
    System(#[from] io::Error),
}

/// A ledger in a PostgreSQL database. Its calls block, so they belong on a thread, not into asynchronous code.
#[derive(Debug)]
pub struct Warehouse {
    options: Options,
    server: Server,
    /// None before the first recovery and after a failure.
    session: Option<Session>,
    driver: Driver,
    told: Told,
    house: House,
}

impl Warehouse {
    /// A warehouse in the database that `options` name. It is connected to by [`recover`](Ledger::recover).
    pub fn new(options: &Options) -> Result<Self, OpenError> {
        options.check()?;
        let server = Server::of(&options.config()?);
        let (told, house) = (Told::default(), House::default());
        Ok(Self { options: options.clone(), server, session: None, driver: Driver::new()?, told, house })
    }

    fn take_session(&mut self) -> Result<Session, LedgerError> {
        let closed = || LedgerError::Unavailable(format!("{} is not connected", self.server));
        self.session.take().ok_or_else(closed)
    }
}

impl Ledger for Warehouse {
    /// Connects anew, and creates what is missing.
    fn recover(&mut self) -> Result<(), LedgerError> {
        let Self { options, server, session, driver, told, house } = self;
        // Closed before the new one is opened: its transaction may hold marks.
        *session = None;
        let opened = driver.run(Session::open(options, server, told, house));
        *session = Some(opened.map_err(|failure| failure.into_ledger(server))?);
        Ok(())
    }

    fn submit(&mut self, records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError> {
        ledger::check(records, marks)?;
        if marks.is_empty() {
            return Ok(());
        }
        if let Some(why) = records.iter().find_map(refusal::of) {
            return Err(LedgerError::Rejected(why));
        }
        let mut session = self.take_session()?;
        let limit = self.options.statement_timeout;
        let outcome = self.driver.run(commit::commit(&mut session.client, &session.statements, records, marks, limit));
        match outcome {
            Ok(()) => {
                self.session = Some(session);
                Ok(())
            }
            Err(trouble::Failure::Ledger(conflict @ LedgerError::Conflict { .. })) => {
                self.session = Some(session);
                Err(conflict)
            }
            Err(failure) => Err(self.driver.run(session.close(failure, &self.server))),
        }
    }

    fn committed(&mut self, sources: &[Source]) -> Result<Watermark, LedgerError> {
        let session = self.take_session()?;
        let limit = self.options.statement_timeout;
        let positions = commit::positions(&session.client, &session.statements, sources);
        match self.driver.run(commit::within(limit, positions)) {
            Ok(positions) => {
                self.session = Some(session);
                Ok(positions)
            }
            Err(failure) => Err(self.driver.run(session.close(failure, &self.server))),
        }
    }

    fn refuses(&self, record: &Record<'_>) -> Option<String> {
        refusal::of(record)
    }

    fn marked_at(&mut self, source: &Source) -> Result<Option<i64>, LedgerError> {
        let session = self.take_session()?;
        let limit = self.options.statement_timeout;
        match self.driver.run(commit::within(limit, commit::moved_at(&session.client, source))) {
            Ok(time) => {
                self.session = Some(session);
                Ok(time)
            }
            Err(failure) => Err(self.driver.run(session.close(failure, &self.server))),
        }
    }

    /// Makes partitions ahead and drops old ones, and makes views where they could not be made, now and then.
    fn tend(&mut self) -> Result<(), LedgerError> {
        if self.house.is_due(Instant::now()) { self.look_after() } else { Ok(()) }
    }
}

impl Warehouse {
    /// What [`tend`](Ledger::tend) does now and then, at once; see [`Options::keep_raw`].
    pub fn keep_house(&mut self) -> Result<(), LedgerError> {
        self.house.hurry();
        self.look_after()
    }

    fn look_after(&mut self) -> Result<(), LedgerError> {
        let Some(mut session) = self.session.take() else { return Ok(()) };
        let Self { options, server, driver, told, house, .. } = self;
        match driver.run(setup::tend(&mut session.client, options, server, told, house)) {
            Ok(()) => {
                self.session = Some(session);
                Ok(())
            }
            Err(failure) => Err(self.driver.run(session.close(failure, &self.server))),
        }
    }
}
