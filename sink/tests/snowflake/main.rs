//! Snowflake's ledger against the emulator: every fault ends in exactly once, or in a stop that says why.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod checkup;
mod faults;
mod keys;
mod laws;
mod redrive;
mod spelling;
mod sql;
mod stops;
mod support;
mod takeover;
