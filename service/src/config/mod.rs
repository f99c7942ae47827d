//! A service's configuration: defaults, then file, then environment, then flags.
//!
//! - A later layer wins, key by key; tables are merged, everything else is replaced.
//! - A key that nobody reads is an error that names where it stands and what is allowed there.
//! - A value that does not fit is an error that names where it stands, the key, the value and what it must be.
//! - No value of a secret key is ever shown.
//!
//! Keys are in `snake_case`. The environment spells them in capitals, tables divided by two underscores:
//! `GAITWAY_AGENT__HTTP__LISTEN` is `listen` in `[http]` of the agent. A variable is text, and becomes what its key
//! wants: a number, `true`, a list (`a, b` or `["a", "b"]`); an empty one unsets an optional key.
//!
//! The type to load derives `Deserialize` with `#[serde(default)]`; [`duration`] and [`bytes`] read fields like
//! `"30s"` and `"2GiB"`.

pub mod bytes;
pub mod duration;

mod deserialize;
mod environment;
mod error;
mod file;
mod flags;
mod tree;

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use error::ConfigError;
pub use tree::Origin;

use deserialize::At;
use error::Whole;
use tree::{Node, Value};

/// Where configuration is looked for when no file is named.
const DIRECTORY: &str = "/etc/gaitway";

/// The tables of a combined file.
const SECTIONS: [&str; 3] = ["agent", "relay", "sink"];

/// Loads the configuration of `service` (`agent`, `relay`, `sink`).
///
/// `file` must exist if named; else `/etc/gaitway/<service>.toml` is read if there is one. With a `section`, the file
/// is a combined one, whose tables `[agent] [relay] [sink]` are each the body of that service's file; unnamed, it is
/// `/etc/gaitway/up.toml`. `flags` is a struct of the same shape as `C` with optional fields: `None` and empty lists set
/// nothing.
pub fn load<C: DeserializeOwned>(
    service: &'static str,
    file: Option<&Path>,
    section: Option<&str>,
    flags: impl Serialize,
) -> Result<C, ConfigError> {
    let (path, named) = match file {
        Some(path) => (path.to_owned(), true),
        None => (Path::new(DIRECTORY).join(section.map_or(service, |_| "up")).with_extension("toml"), false),
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !named => None,
        Err(source) => return Err(ConfigError::File { path, source }),
    };
    Layers { service, section, path, text, variables: std::env::vars_os().collect() }.merge(flags)
}

/// What [`load`] found, read from the outside world.
struct Layers<'a> {
    service: &'static str,
    section: Option<&'a str>,
    path: PathBuf,
    text: Option<String>,
    variables: Vec<(OsString, OsString)>,
}

impl Layers<'_> {
    fn merge<C: DeserializeOwned>(self, flags: impl Serialize) -> Result<C, ConfigError> {
        let mut merged = match &self.text {
            None => Node::empty(Origin::Default),
            Some(text) => {
                let file = file::read(&self.path, text)?;
                match self.section {
                    None => file,
                    Some(section) => only(file, section)?,
                }
            }
        };
        merged = merged.overlaid(environment::read(self.service, self.variables)?);
        merged = merged.overlaid(flags::read(flags)?);
        let whole = Whole { service: self.service, section: self.section, path: &self.path };
        C::deserialize(At::top(&merged)).map_err(|fault| whole.explain(fault))
    }
}

/// The table `section` of a combined file.
fn only(file: Node, section: &str) -> Result<Node, ConfigError> {
    let origin = file.origin;
    let Value::Table(mut tables) = file.value else { return Ok(Node::empty(origin)) };
    if let Some((key, node)) = tables.iter().find(|(key, _)| !SECTIONS.contains(&key.as_str())) {
        return Err(ConfigError::UnknownKey {
            origin: node.origin.clone(),
            key: key.clone(),
            allowed: SECTIONS.map(String::from).to_vec(),
        });
    }
    Ok(tables.remove(section).unwrap_or(Node::empty(origin)))
}

#[cfg(test)]
mod tests;
