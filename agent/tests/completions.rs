//! What shells complete of `gaitway-agent`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../tests/completions/shell.rs"]
mod shell;

#[test]
fn every_command_and_flag_of_gaitway_agent_is_completed_in_bash() {
    shell::check(env!("CARGO_BIN_EXE_gaitway-agent"));
}
