//! An emulator of Snowpipe Streaming (high-performance architecture, REST) for tests: what Snowflake documents and what
//! its own SDK insists on, over HTTPS on 127.0.0.1, with faults on demand. It is checked against Snowflake's SDK, not
//! against an account.
//!
//! One append's way through it:
//!
//! 1. `listener` accepts the connection and speaks TLS with a certificate of `tls`'s test CA.
//! 2. `service` finds the call, counts it in [`Requests`], and lets it meet its [`Fault`].
//! 3. `auth` checks who calls; `service/account.rs` gave out the scoped token before.
//! 4. `service/pipes.rs` decodes the body, [`streaming::batch`] parses the rows, each checked against its
//!    [`streaming::table`].
//! 5. [`streaming`], the pure machine, takes the batch, and commits it after the lag. A status call tells so.
//!
//! ```no_run
//! use gaitway_emulator::{Emulator, Fault, Options};
//!
//! let emulator = Emulator::start(Options::default())?;
//! emulator.inject(Fault::ResponseLost.times(2).channel("home_raw_sensor_data_0"));
//! // … a client at emulator.url(), which trusts emulator.ca_pem() and signs with emulator.private_key_pem() …
//! assert_eq!(emulator.rows("RAW_DATA", "ACTIVITY_RECORDS").len(), 3);
//! # anyhow::Ok(())
//! ```

mod auth;
mod change;
mod emulator;
mod faults;
mod listener;
mod options;
mod requests;
pub mod sdk;
mod search;
mod service;
mod sql;
pub mod streaming;
mod tls;

pub use emulator::Emulator;
pub use faults::{Fault, FaultId, Injection};
pub use options::{BodyForm, Options};
pub use requests::{Append, Call, Requests};
pub use streaming::batch::{Keep, Look};
pub use streaming::channel::ChannelStatus;
pub use streaming::table::{Column, ColumnType, Row, Table, gaitway_tables};
pub use streaming::{ChannelView, Replay};
