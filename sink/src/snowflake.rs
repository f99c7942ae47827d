//! Snowflake as a warehouse, by Snowpipe Streaming's REST interface (high-performance architecture). Checked against the
//! emulator and what Snowflake's own SDK sends, not against an account.
//!
//! One batch of a Kafka partition on its way:
//!
//! 1. [`Client::channel`] gives the partition its [`Channel`], a [`Ledger`](gaitway_proto::ledger::Ledger) of one source. All
//!    channels share the client's connection, host and token (`client.rs`, `session.rs`, `key.rs`).
//! 2. `recover` opens it; the token in the answer is the offset from which to read Kafka. Opening fences a former owner.
//! 3. `submit` writes the records as lines (`rows.rs`), cuts them into appends and sends one after the other. What each answer
//!    means stands in `answer.rs`; what follows from it is decided by `machine.rs`, which has neither socket nor clock.
//! 4. `committed` reads the token from the channel's status. A 200 to an append is no commit.
//! 5. Rows that Snowflake accepted and passed over stop the partition; [`Redrive`] appends them again.
//!
//! [`Client::query`] asks in SQL, for checks; [`Client::forget_device`] deletes what one device sent; [`examine`] holds an account against what the sink needs.

mod answer;
mod backoff;
mod channel;
mod checkup;
mod client;
mod forget;
mod key;
mod machine;
mod options;
mod redrive;
mod rows;
mod session;
pub mod sql;
mod status;
mod strict;
mod tls;

pub use backoff::Pace;
pub use channel::Channel;
pub use checkup::{Feed, examine};
pub use client::{Client, Unusable};
pub use key::BadKey;
pub use options::Options;
pub use redrive::{Redrive, Standing};
