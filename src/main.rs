//! `gaitway`: see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    gaitway::main()
}
