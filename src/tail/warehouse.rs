//! Rows of the local warehouse, in the order in which they were stored; the place is the row's number.

use std::path::{Path, PathBuf};

use gaitway_proto::schema::{Field, FieldType, Table};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};
use serde_json::value::RawValue;

use super::{BATCH, Found, Reader, Start};
use crate::sqlite;

/// See the module.
pub(super) struct Rows {
    path: PathBuf,
    connection: Connection,
    file: Option<(u64, u64)>,
    table: &'static Table,
    /// The last row that was read.
    last: i64,
    /// The last row at the beginning.
    end: i64,
}

impl Rows {
    pub(super) fn open(path: &Path, table: &'static Table, start: Start) -> Result<Self, String> {
        let cannot =
            |error: &dyn std::fmt::Display| format!("the warehouse {} cannot be read: {error}", path.display());
        let file = sqlite::identity(path);
        let connection = sqlite::open(path).map_err(|error| cannot(&error))?;
        let end: i64 = connection
            .query_row(&format!("SELECT ifnull(max(rowid), 0) FROM {}", table.name), [], |row| row.get(0))
            .map_err(|error| cannot(&error))?;
        let last = match start {
            Start::Now => end,
            Start::Beginning => 0,
            Start::Last(count) => (end - i64::from(count)).max(0),
        };
        Ok(Self { path: path.to_owned(), connection, file, table, last, end })
    }

    fn rows(&mut self, out: &mut Vec<Found>) -> rusqlite::Result<()> {
        let columns = self.table.columns().collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT rowid, {columns} FROM {} WHERE rowid > ?1 ORDER BY rowid LIMIT ?2", self.table.name);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut rows = statement.query(params![self.last, BATCH as i64])?;
        while let Some(row) = rows.next()? {
            self.last = row.get(0)?;
            let metadata = row.get::<_, Option<String>>(1)?.unwrap_or_else(|| "{}".to_owned());
            let value = value(row, self.table.fields)?.into_bytes();
            out.push(Found { place: self.last.to_string(), metadata, value, table: self.table });
        }
        // With fewer rows than asked for, the end at the beginning is behind, whatever was deleted before it.
        if out.len() < BATCH {
            self.end = self.end.min(self.last);
        }
        Ok(())
    }
}

/// The row as the record's JSON.
fn value(row: &Row<'_>, fields: &[Field]) -> rusqlite::Result<String> {
    let mut json = String::from("{");
    for (place, field) in fields.iter().enumerate() {
        let cell = match row.get_ref(place + 2)? {
            ValueRef::Null | ValueRef::Blob(_) => serde_json::Value::Null.to_string(),
            ValueRef::Integer(number) => number.to_string(),
            ValueRef::Real(number) => serde_json::Value::from(number).to_string(),
            ValueRef::Text(text) => {
                let text = String::from_utf8_lossy(text);
                let is_json = field.kind == FieldType::Object && serde_json::from_str::<&RawValue>(&text).is_ok();
                if is_json { text.into_owned() } else { serde_json::Value::from(text.into_owned()).to_string() }
            }
        };
        let comma = if place == 0 { "" } else { "," };
        json.extend([comma, "\"", field.name, "\":", &cell]);
    }
    json.push('}');
    Ok(json)
}

impl Reader for Rows {
    fn read(&mut self, out: &mut Vec<Found>) -> Result<(), String> {
        // A file that was damaged is replaced: what is in the new one has not been shown.
        if sqlite::identity(&self.path) != self.file && self.path.exists() {
            *self = Self::open(&self.path, self.table, Start::Beginning)?;
        }
        self.rows(out).map_err(|error| format!("the warehouse {} cannot be read: {error}", self.path.display()))
    }

    fn is_caught_up(&self) -> bool {
        self.last >= self.end
    }
}
