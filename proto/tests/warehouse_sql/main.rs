//! The SQL that is run elsewhere agrees with the list of fields: `deploy/snowflake/`, and the views of PostgreSQL and
//! SQLite.
//!
//! Snowflake itself is not asked: files are parsed by a parser that knows its dialect. What that parser does not know
//! is listed, each with its reason, and the list is exact.

mod columns;
mod files;
mod set_up;
mod views;
