//! Warehouses, where records rest and people read them, and the way into them from Kafka.
//!
//! One record's path through this crate:
//!
//! 1. `consume` reads it from Kafka, one partition at a time; [`run`] does that until it is told to end. In `gaitway up`
//!    without Kafka the relay takes this part instead, from its agents.
//! 2. `partition`, the pure machine, says where reading begins and what goes into a submit.
//! 3. Records and marks are handed to a [`Ledger`](gaitway_proto::ledger::Ledger) that [`Ledgers`] gives: one for each
//!    partition, or one [`Shared`] by all, such as a local file ([`sqlite`]) or a
//!    PostgreSQL database ([`postgres`]). In Snowflake each partition has a channel of its own ([`snowflake`]).
//! 4. Rows and marks go into one atomic step; each mark moves by compare-and-set, so that what comes twice, or from two
//!    owners, is stored once.
//! 5. Between submits [`tend`](gaitway_proto::ledger::Ledger::tend) keeps house: the local warehouse deletes the raw readings
//!    that its [`Options`](sqlite::Options) no longer keep, oldest first, each counted with its
//!    [`Reason`](sqlite::Reason).
//! 6. People read the views while all of this goes on.
//!
//! `gaitway_proto::ledger::conformance` holds every warehouse to the law. `checkup`, here and in each warehouse, says what is
//! missing or wrong to whoever asks.

#[cfg(feature = "kafka")]
pub mod checkup;
#[cfg(feature = "kafka")]
pub mod command;
mod config;
#[cfg(feature = "kafka")]
mod consume;
pub mod forgetting;
mod ledgers;
#[cfg(feature = "kafka")]
mod partition;
pub mod postgres;
pub mod revisions;
pub mod snowflake;
pub mod sqlite;

#[cfg(feature = "kafka")]
pub use config::BatchConfig;
pub use config::{SinkConfig, WarehouseKind};
#[cfg(feature = "kafka")]
pub use consume::{describe, run};
pub use ledgers::{Ledgers, Marks, Refuses, Shared};
