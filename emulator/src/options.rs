//! How an emulator is set up.

use std::time::Duration;

use crate::streaming::Replay;
use crate::streaming::batch::Keep;
use crate::streaming::table::{Table, gaitway_tables};

/// In which form the ingest host and the scoped token are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyForm {
    /// Bare if Snowflake's SDK asks (by its user agent), else JSON.
    Auto,
    /// `{"hostname": …}` and `{"token": …}`, as documented.
    Json,
    /// The bare text, as Snowflake's SDK needs it.
    Bare,
}

/// An emulator's set-up; [`Options::default`] is gaitway's tables in database `ACTIVITY_DB`, with no limit on requests.
#[derive(Debug, Clone)]
pub struct Options {
    /// Account identifier; a `.` in it becomes `-` in JWTs.
    pub account: String,
    /// User whose key pair is registered.
    pub user: String,
    /// The user's default role.
    pub role: String,
    /// Rights that the role lacks, each with the full name of its object; of the rest, `SHOW GRANTS` tells. Appends do not
    /// ask for rights: see [`Fault::Forbidden`](crate::Fault::Forbidden).
    pub withheld: Vec<(String, String)>,
    /// The database that holds the tables.
    pub database: String,
    /// The tables; each has its default pipe.
    pub tables: Vec<Table>,
    /// Port on 127.0.0.1; 0: a free one.
    pub port: u16,
    /// From an append's 200 to its commit.
    pub commit_lag: Duration,
    /// What a replayed continuation token is answered.
    pub replay: Replay,
    /// Appends per channel and second; Snowflake's documented limit is 10. `None`: as many as come.
    pub requests_per_second: Option<u32>,
    /// What stays of a row.
    pub keep: Keep,
    /// Whether a key without a column makes a row invalid. Snowflake's default pipe leaves such keys out.
    pub strict_columns: bool,
    /// The form of host and token.
    pub body_form: BodyForm,
    /// The ingest host that is answered. `None`: `127.0.0.1` in the bare form, whose reader keeps its own port, and
    /// `127.0.0.1:<port>` in JSON, so that `https://<hostname>` is this emulator.
    pub hostname: Option<String>,
    /// How long a scoped token is good for.
    pub scoped_token_lifetime: Duration,
    /// How far a client's clock may be ahead; Snowflake's own tolerance is not documented.
    pub clock_tolerance: Duration,
    /// Threads that serve.
    pub worker_threads: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            account: "MYORG-MYACCT".into(),
            user: "STREAM_USER".into(),
            role: "INGEST_ROLE".into(),
            withheld: Vec::new(),
            database: "ACTIVITY_DB".into(),
            tables: gaitway_tables(),
            port: 0,
            commit_lag: Duration::from_millis(200),
            replay: Replay::Idempotent,
            requests_per_second: None,
            keep: Keep::Rows,
            strict_columns: false,
            body_form: BodyForm::Auto,
            hostname: None,
            scoped_token_lifetime: Duration::from_secs(3_600),
            clock_tolerance: Duration::from_secs(60),
            worker_threads: 2,
        }
    }
}
