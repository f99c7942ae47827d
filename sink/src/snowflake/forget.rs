//! Deletes one device's rows from Snowflake's tables, beside the channels that append to them, which know nothing of it: a
//! token is a channel's, not a table's.
//!
//! - What goes is told before it goes; done again after an interruption it is not told again.

use gaitway_proto::schema::{Dialect, Table};

use super::client::Client;
use super::sql::{Rows, SqlError};
use crate::forgetting::{Held, TABLES, count, delete, tell};

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
            let deleted = self
                .query_with(&tell(table, "?"), &[device])
                .and_then(|_| self.query_with(&delete(table, "?"), &[device]))
                .and_then(|rows| number(&rows));
            *held.of(table) = deleted.map_err(|error| self.cannot("deleted from", table, &error))?;
        }
        Ok(held)
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
