//! Questions in SQL, for checks: `POST /api/v2/statements`, with the same key. Not for moving rows.
//!
//! - Every value comes as text, as Snowflake's SQL API has it.
//! - A result of more than one partition is refused: ask for less.

use std::time::{Duration, Instant};

use reqwest::header::CONTENT_TYPE;
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use super::answer::{Call, Failure};
use super::backoff::{Backoff, wait};
use super::client::{Client, Reply, named};

/// How long Snowflake may work on a statement, seconds.
const TIMEOUT: u64 = 120;

/// Rows of a result, as text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rows {
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The rows; a null is none.
    pub rows: Vec<Vec<Option<String>>>,
}

/// Why there is no result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SqlError {
    /// Snowflake cannot be reached, or does not answer; worth trying again.
    #[error("{0}")]
    Unavailable(String),
    /// The key, the user, the role or the clock is wrong.
    #[error("{0}")]
    Denied(String),
    /// The statement is wrong, or its object is not there for this role.
    #[error("{0}")]
    Refused(String),
}

impl From<Failure> for SqlError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Again { why, .. } | Failure::Moved(why) | Failure::Busy(why) => Self::Unavailable(why),
            Failure::Denied(why) => Self::Denied(why),
            Failure::Taken(why) | Failure::Missing(why) | Failure::TooLarge(why) | Failure::Refused(why) => {
                Self::Refused(why)
            }
        }
    }
}

#[derive(Debug, Deserialize)]
struct Answer {
    #[serde(rename = "resultSetMetaData")]
    metadata: Metadata,
    data: Vec<Vec<Option<String>>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    row_type: Vec<Column>,
    #[serde(default)]
    partition_info: Vec<serde::de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
struct Column {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pending {
    statement_handle: String,
}

impl Client {
    /// Runs one statement in the configured database, with the configured role and warehouse, and waits for its rows.
    /// Blocks, also between tries, at most as long as the client is patient, and from then on until Snowflake ends it.
    pub fn query(&self, statement: &str) -> Result<Rows, SqlError> {
        self.query_with(statement, &[])
    }

    /// [`query`](Self::query) with these texts in the places of its question marks, in their order.
    pub fn query_with(&self, statement: &str, texts: &[&str]) -> Result<Rows, SqlError> {
        let options = self.options();
        let url = format!("{}/api/v2/statements", options.account_url());
        let bindings: serde_json::Map<_, _> =
            (1..).zip(texts).map(|(at, text)| (at.to_string(), json!({"type": "TEXT", "value": text}))).collect();
        let mut body = json!({
            "statement": statement,
            "timeout": TIMEOUT,
            "database": options.database,
            "warehouse": options.warehouse,
            "role": options.role.as_ref().map(|role| role.to_ascii_uppercase()),
        });
        if !bindings.is_empty() {
            body["bindings"] = bindings.into();
        }
        let id = Uuid::new_v4();
        let mut tries = 0;
        let (status, reply) = self.insist(|| {
            tries += 1;
            let request = self.http().post(&url).header(CONTENT_TYPE, "application/json").body(body.to_string());
            self.account_status(Call::Statement, named(request, id, tries - 1))
        })?;
        if status != 202 {
            return rows(&reply);
        }
        let Pending { statement_handle: handle } = parse(&reply)?;
        if !handle.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(SqlError::Unavailable("statement answered with a handle that is none".into()));
        }
        let end = Instant::now() + Duration::from_secs(TIMEOUT) + self.pace().patience;
        for polls in 0.. {
            if Instant::now() > end || !self.wait(wait(&self.pace(), polls, 0)) {
                break;
            }
            let (status, reply) = self.insist(|| {
                let request = self.http().get(format!("{url}/{handle}"));
                self.account_status(Call::Statement, named(request, Uuid::new_v4(), 0))
            })?;
            if status != 202 {
                return rows(&reply);
            }
        }
        Err(SqlError::Unavailable(format!("statement {handle} has no result yet")))
    }

    /// Asks again as long as that may help.
    pub(super) fn insist<T>(&self, mut ask: impl FnMut() -> Result<T, Failure>) -> Result<T, Failure> {
        let mut backoff = Backoff::new(Instant::now());
        loop {
            match ask() {
                Err(Failure::Again { why, after }) => {
                    let wait = backoff.next(Instant::now(), &self.pace(), after, 0);
                    if wait.is_none_or(|wait| !self.wait(wait)) {
                        return Err(Failure::Again { why, after });
                    }
                }
                answered => return answered,
            }
        }
    }
}

fn parse<T: serde::de::DeserializeOwned>(reply: &Reply) -> Result<T, SqlError> {
    let unreadable = |error| SqlError::Unavailable(format!("statement: answer cannot be read: {error}"));
    serde_json::from_slice(&reply.body).map_err(unreadable)
}

fn rows(reply: &Reply) -> Result<Rows, SqlError> {
    let Answer { metadata, data } = parse(reply)?;
    if metadata.partition_info.len() > 1 {
        return Err(SqlError::Refused("statement has too great a result: ask for less".into()));
    }
    Ok(Rows { columns: metadata.row_type.into_iter().map(|column| column.name).collect(), rows: data })
}
