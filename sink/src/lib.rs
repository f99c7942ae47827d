//! Warehouses: where records rest, and where people read them.
//!
//! One record's path through this crate, today into a local file:
//!
//! 1. Whoever reads a stream in order hands records and marks to a [`Ledger`](gaitway_proto::ledger::Ledger). Here that
//!    is a [`Warehouse`](sqlite::Warehouse).
//! 2. Rows and marks go into one transaction; each mark moves by compare-and-set, so that what comes twice, or from two
//!    owners, is stored once. Only after the fsync does `submit` return.
//! 3. Between commits [`tend`](gaitway_proto::ledger::Ledger::tend) deletes the raw readings that the
//!    [`Options`](sqlite::Options) no longer keep, oldest first, a few at a time, each counted with its
//!    [`Reason`](sqlite::Reason).
//! 4. People read the views, with `sqlite3` or whatever else, while all of this goes on.
//!
//! `gaitway_proto::ledger::conformance` holds the warehouse to the law.

mod config;
pub mod snowflake;
pub mod sqlite;

pub use config::SinkConfig;
