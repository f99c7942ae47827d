//! What people and dashboards read: views with `snake_case` columns and times as text.
//!
//! - The views in the file are those of the program that opened it last.
//!
//! | view | a row is |
//! |---|---|
//! | `raw_readings` | a reading; to look for a time use `time_ns`, which has an index |
//! | `activity_windows` | a window as classified last: its highest revision |
//! | `sessions` | a session of a device, with its most frequent activity, from the windows |
//! | `stream_gaps` | frames that will not come |
//!
//! There is none of missing `messageId`s: a push without readings leaves no row, and retention leaves holes too, so
//! that a hole would not mean a loss. What was lost on the way is in `stream_gaps`.

use rusqlite::{Connection, OptionalExtension as _};

const VIEWS: &str = include_str!("views.sql");

/// Names and statements of all views.
fn views() -> impl Iterator<Item = (&'static str, &'static str)> {
    VIEWS.split_inclusive(';').filter_map(|piece| {
        let statement = piece[piece.find("CREATE VIEW")?..].strip_suffix(';')?;
        Some((statement.split_whitespace().nth(2)?, statement))
    })
}

/// Creates the views anew where they differ.
pub(super) fn refresh(conn: &Connection) -> rusqlite::Result<()> {
    for (name, statement) in views() {
        let found: Option<String> = conn
            .query_row("SELECT sql FROM sqlite_schema WHERE type = 'view' AND name = ?1", [name], |row| row.get(0))
            .optional()?;
        if found.as_deref() != Some(statement) {
            conn.execute_batch(&format!("DROP VIEW IF EXISTS {name}; {statement};"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_four_views_are_found() {
        let names: Vec<_> = views().map(|(name, _)| name).collect();
        assert_eq!(names, ["raw_readings", "activity_windows", "sessions", "stream_gaps"]);
        for (_, statement) in views() {
            assert!(statement.starts_with("CREATE VIEW ") && !statement.contains(';'), "{statement}");
        }
    }
}
