//! `gaitway-reference`: see the library.

use std::io::{self, Write as _};
use std::path::PathBuf;

use clap::Parser as _;

/// Writes what is made from the code.
#[derive(Debug, clap::Parser)]
enum Command {
    /// Write what is committed: docs/configuration.md, docs/metrics.md, deploy/package/etc/*.toml
    Write,
    /// Write man pages
    Man {
        /// Where to; it is made if it is not there
        dir: PathBuf,
    },
    /// Write completions for bash, zsh and fish
    Completions {
        /// Where to; it is made if it is not there
        dir: PathBuf,
    },
}

fn main() -> anyhow::Result<()> {
    let written = match Command::parse() {
        Command::Write => gaitway_reference::write()?,
        Command::Man { dir } => gaitway_reference::manual::man(&dir)?,
        Command::Completions { dir } => gaitway_reference::manual::completions(&dir)?,
    };
    let mut out = io::stdout().lock();
    for path in written {
        writeln!(out, "{}", path.display())?;
    }
    Ok(())
}
