//! What gaitway can be told and what it tells, written from its code: `docs/configuration.md`, `docs/metrics.md`, the packages'
//! configuration files, man pages, completions.
//!
//! 1. `source` reads the configurations' types and their comments, [`keys`] has every key with its default from them,
//!    `bounds` asks the services' own checks between what a number must be, [`examples`] is what nobody but a person knows.
//! 2. `configuration` and [`conffile`] write them down, `metrics` what the registries hold, [`manual`] what the commands are.

mod bounds;
pub mod conffile;
mod configuration;
pub mod examples;
pub mod keys;
pub mod manual;
mod metrics;
mod source;

use std::fs;
use std::path::PathBuf;

use anyhow::Context as _;

pub use source::Sources;

/// How everything is written anew.
pub const WRITE: &str = "cargo run -p gaitway-reference -- write";

/// Every file that is committed: its path in the repository and what it must hold.
pub fn files() -> anyhow::Result<Vec<(PathBuf, String)>> {
    let sources = Sources::read()?;
    let mut files = vec![
        (PathBuf::from("docs/configuration.md"), configuration::write(&sources)?),
        (PathBuf::from("docs/metrics.md"), metrics::write()?),
    ];
    for name in conffile::NAMES {
        files.push((PathBuf::from(format!("deploy/package/etc/{name}.toml")), conffile::write(&sources, name)?.text()));
    }
    Ok(files)
}

/// Writes them; gives those that were not so before.
pub fn write() -> anyhow::Result<Vec<PathBuf>> {
    let mut changed = Vec::new();
    for (path, text) in files()? {
        let whole = source::root().join(&path);
        if fs::read_to_string(&whole).is_ok_and(|before| before == text) {
            continue;
        }
        let parent = whole.parent().context("a file without a folder")?;
        fs::create_dir_all(parent).with_context(|| format!("{} cannot be made", parent.display()))?;
        fs::write(&whole, text).with_context(|| format!("{} cannot be written", path.display()))?;
        changed.push(path);
    }
    Ok(changed)
}

/// Those that are committed and not what the code says.
pub fn outdated() -> anyhow::Result<Vec<PathBuf>> {
    let differs = |(path, text): &(PathBuf, String)| {
        fs::read_to_string(source::root().join(path)).map_or(true, |committed| committed != *text)
    };
    Ok(files()?.into_iter().filter(differs).map(|(path, _)| path).collect())
}
