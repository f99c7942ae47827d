//! Deletes one device's rows from Snowflake's tables, beside the channels that append to them, which know nothing of it: a
//! token is a channel's, not a table's.
//!
//! - What goes is told before it goes, stream by stream up to the seq that was there; done again after an interruption it is
//!   not told again. What a channel appends meanwhile has later seqs: it stays, and the next run finds it.

use gaitway_proto::schema::{Dialect, Table};

use super::client::Client;
use super::sql::{Rows, SqlError};
use crate::forgetting::{Held, TABLES, count, delete_nameless, delete_up_to, streams, tell_up_to};

impl Client {
    /// What there is of `device`. The error is a sentence.
    pub fn held_of(&self, device: &str) -> Result<Held, String> {
        let mut held = Held::default();
        for table in TABLES {
            let rows = self.query_with(&count(Dialect::Snowflake, table, "?"), &[device]);
            *held.of(table) =
                rows.and_then(|rows| number(&rows)).map_err(|error| self.cannot("read", table, &error))?;
        }
        Ok(held)
    }

    /// Deletes everything of `device`; gives what there was. The error is a sentence.
    pub fn forget_device(&self, device: &str) -> Result<Held, String> {
        let mut held = Held::default();
        for table in TABLES {
            *held.of(table) =
                self.forget_in(table, device).map_err(|error| self.cannot("deleted from", table, &error))?;
        }
        Ok(held)
    }

    fn forget_in(&self, table: &Table, device: &str) -> Result<u64, SqlError> {
        let mut deleted = 0;
        for stream in self.query_with(&streams(table), &[device])?.rows {
            let bound: Vec<&str> = stream.iter().map(|cell| cell.as_deref().unwrap_or_default()).collect();
            let bound = [&[device], bound.as_slice()].concat();
            self.query_with(&tell_up_to(table), &bound)?;
            deleted += number(&self.query_with(&delete_up_to(table), &bound)?)?;
        }
        Ok(deleted + number(&self.query_with(&delete_nameless(table), &[device])?)?)
    }

    fn cannot(&self, what: &str, table: &Table, error: &SqlError) -> String {
        let name = table.sql_name(Dialect::Snowflake);
        let said = format!("{name} of database {} cannot be {what}: {error}", self.options().database);
        match error {
            SqlError::Refused(_) | SqlError::Denied(_) => format!(
                "{said}; where a right is missing, run what --sql prints as a role that has it, or name that role and its \
                 user (snowflake.role, snowflake.user): GRANT SELECT, DELETE ON TABLE {name}, INSERT ON TABLE RAW_DATA.GAPS"
            ),
            SqlError::Unavailable(_) => said,
        }
    }
}

/// The one number of an answer: of a `COUNT(*)`, or how many rows a statement changed.
fn number(rows: &Rows) -> Result<u64, SqlError> {
    let text = rows.rows.first().and_then(|row| row.first().cloned().flatten()).unwrap_or_default();
    text.parse().map_err(|_| SqlError::Refused(format!("statement answered {text:?} where a number was asked for")))
}
