//! What people and dashboards read: the views that every warehouse has, with `snake_case` columns and times as text.
//!
//! - The views in the file are those of the program that opened it last.
//! - Somebody's table that has the name of one stays, and the view is not there.
//!
//! What a row of each is stands in `deploy/snowflake/README.md`. Some ask more of a warehouse than a local one knows: of Kafka it
//! tells only what a sink wrote, and where retention has deleted readings, `message_holes` begins after them.

use rusqlite::{Connection, OptionalExtension as _};

const VIEWS: &str = include_str!("views.sql");

/// What has the name of a view.
const FOUND: &str = "SELECT type, sql FROM sqlite_schema WHERE name = ?1 COLLATE NOCASE";

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
        let found: Option<(String, Option<String>)> =
            conn.query_row(FOUND, [name], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
        match found {
            Some((kind, _)) if kind != "view" => {
                tracing::warn!("the warehouse has no view {name}: a {kind} of that name is there; rename it");
            }
            Some((_, Some(there))) if there == statement => {}
            _ => conn.execute_batch(&format!("DROP VIEW IF EXISTS {name}; {statement};"))?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_view_is_found() {
        assert_eq!(views().count(), VIEWS.matches("CREATE VIEW").count());
        assert_eq!(views().map(|(name, _)| name).last(), Some("data_quality"));
        for (_, statement) in views() {
            assert!(statement.starts_with("CREATE VIEW ") && !statement.contains(';'), "{statement}");
        }
    }
}
