//! A warehouse that is asked in SQL, PostgreSQL or Snowflake, for commands that look, and the one that forgets.
//!
//! - Values come as text, and are read the same way from both.
//! - `names` has what the two spell differently.

pub(crate) mod names;

use std::fmt;
use std::path::PathBuf;

use anyhow::Context as _;
use gaitway_proto::schema::Dialect;
use gaitway_sink::snowflake::{self, Client};
use gaitway_sink::{SinkConfig, WarehouseKind, postgres};
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Where rows are.
#[derive(Debug)]
pub(crate) enum Warehouse {
    /// A local warehouse's file, which may not be there.
    File(PathBuf),
    /// A PostgreSQL database.
    Postgres(postgres::Options),
    /// Snowflake.
    Snowflake(Box<snowflake::Options>),
}

impl Warehouse {
    /// The one that `config` names, if it is not a file.
    pub(crate) fn in_sql(config: &SinkConfig) -> Option<Self> {
        match config.warehouse {
            WarehouseKind::Sqlite => None,
            WarehouseKind::Postgres => Some(Self::Postgres(config.postgres.clone())),
            WarehouseKind::Snowflake => config.snowflake.clone().map(Box::new).map(Self::Snowflake),
        }
    }

    /// Whether a look may find something there: all but a file that is not there.
    pub(crate) fn may_exist(&self) -> bool {
        match self {
            Self::File(path) => path.exists(),
            Self::Postgres(_) | Self::Snowflake(_) => true,
        }
    }
}

/// As sentences name it.
impl fmt::Display for Warehouse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Postgres(options) => options.url.fmt(f),
            Self::Snowflake(options) => write!(f, "database {} of account {}", options.database, options.account),
        }
    }
}

/// A row, its values as text; a null is none.
pub(crate) type Row = Vec<Option<String>>;

/// A way to ask. Its calls block; they belong on a thread outside of any runtime's own. Errors are sentences.
pub(crate) enum Sql {
    Postgres(Box<postgres::Look>),
    Snowflake { client: Client, _runtime: Runtime },
}

impl Sql {
    /// Connects to PostgreSQL; Snowflake is reached with the first question.
    pub(crate) fn postgres(options: &postgres::Options) -> Result<Self, String> {
        postgres::Look::open(options).map(Box::new).map(Self::Postgres)
    }

    /// Nothing is sent before the first question.
    pub(crate) fn snowflake(options: &snowflake::Options) -> Result<Self, String> {
        let Snowflake { client, runtime } = snowflake(options)?;
        Ok(Self::Snowflake { client, _runtime: runtime })
    }

    pub(crate) fn dialect(&self) -> Dialect {
        match self {
            Self::Postgres(_) => Dialect::Postgres,
            Self::Snowflake { .. } => Dialect::Snowflake,
        }
    }

    /// The rows of one statement.
    pub(crate) fn ask(&mut self, statement: &str) -> Result<Vec<Row>, String> {
        match self {
            Self::Postgres(look) => look.ask(statement),
            Self::Snowflake { client, .. } => {
                let answer = client.query(statement).map_err(|error| format!("Snowflake cannot be asked: {error}"))?;
                Ok(answer.rows)
            }
        }
    }
}

/// A client for statements, and what drives it.
pub(crate) struct Snowflake {
    client: Client,
    runtime: Runtime,
}

impl Snowflake {
    /// What the client answers.
    pub(crate) fn ask<T>(&self, ask: impl FnOnce(&Client) -> T) -> T {
        ask(&self.client)
    }
}

/// A client for the account of `options`. Nothing is sent before the first statement. Its calls block.
pub(crate) fn snowflake(options: &snowflake::Options) -> Result<Snowflake, String> {
    if options.warehouse.is_none() {
        return Err(format!(
            "questions in SQL need a warehouse of Snowflake's: set snowflake.warehouse to one that {} may use, and \
             GRANT USAGE ON WAREHOUSE … TO ROLE …",
            options.user
        ));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.context("cannot start the runtime").map_err(|error| format!("{error:#}"))?;
    let client = Client::new(options.clone(), runtime.handle().clone(), CancellationToken::new());
    let client = client.map_err(|error| error.to_string())?;
    Ok(Snowflake { client, runtime })
}

/// The number in a cell.
pub(crate) fn number<T: std::str::FromStr>(row: &Row, at: usize) -> Option<T> {
    row.get(at)?.as_deref()?.parse().ok()
}

/// The text in a cell; a null is empty.
pub(crate) fn text(row: &Row, at: usize) -> String {
    row.get(at).cloned().flatten().unwrap_or_default()
}
