//! What shells complete of `gaitway-sink`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]
#![cfg(feature = "kafka")]

#[path = "../../tests/completions/shell.rs"]
mod shell;

#[test]
fn every_command_and_flag_of_gaitway_sink_is_completed_in_bash() {
    shell::check(env!("CARGO_BIN_EXE_gaitway-sink"));
}
