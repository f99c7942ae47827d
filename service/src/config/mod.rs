//! A service's configuration: defaults, then file, then environment, then flags.
//!
//! - A later layer wins, key by key; tables are merged, everything else is replaced.
//! - A key that nobody reads is an error that names where it stands and what is allowed there.
//! - A value that does not fit is an error that names where it stands, the key, the value and what it must be.
//! - A value that fits but makes no sense, alone or beside another, is refused in the same words: see [`Check`].
//! - No value of a secret key is ever shown.
//!
//! Keys are in `snake_case`. The environment spells them in capitals, tables divided by two underscores:
//! `GAITWAY_AGENT__HTTP__LISTEN` is `listen` in `[http]` of the agent. A variable is text, and becomes what its key
//! wants: a number, `true`, a list (`a, b` or `["a", "b"]`); an empty one unsets an optional key.
//!
//! The type to load derives `Deserialize` with `#[serde(default)]`; [`duration`], [`bytes`], [`percent`] and [`address`]
//! read fields like `"30s"`, `"2GiB"`, `5` and `"0.0.0.0:8000"`.

pub mod address;
pub mod bytes;
pub mod duration;
pub mod percent;

mod by_hand;
mod check;
mod deserialize;
mod either;
mod environment;
mod error;
mod exposed;
mod file;
mod flags;
mod given;
mod tree;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use check::{Check, Loaded, Wrong};
pub use either::{load_either, read_either};
pub use error::ConfigError;
pub use given::ConfigFile;
pub use tree::Origin;

use deserialize::At;
use error::Whole;
use tree::{Node, Value};

/// Where configuration is looked for when no file is named.
const DIRECTORY: &str = "/etc/gaitway";

/// The key of a combined file that says where `up` keeps everything.
const DATA_DIR: &str = "data_dir";

/// The tables of a combined file.
const SECTIONS: [&str; 3] = ["agent", "relay", "sink"];

/// Loads the configuration of `service` (`agent`, `relay`, `sink`) and checks it.
///
/// `file` must exist if named; else `/etc/gaitway/<service>.toml` is read if there is one. With a `section`, the file
/// is a combined one, whose tables `[agent] [relay] [sink]` are each the body of that service's file, and whose `data_dir` is `up`'s; unnamed,
/// it is `/etc/gaitway/up.toml`. `flags` is a struct of the same shape as `C` with optional fields: `None` and empty lists set
/// nothing.
pub fn load<C: DeserializeOwned + Check>(
    service: &'static str,
    file: Option<&Path>,
    section: Option<&'static str>,
    flags: impl Serialize,
) -> Result<C, ConfigError> {
    read(service, file, section, flags).map(|loaded| loaded.config)
}

/// As [`load`], for a configuration that is to be checked against others.
pub fn read<C: DeserializeOwned + Check>(
    service: &'static str,
    file: Option<&Path>,
    section: Option<&'static str>,
    flags: impl Serialize,
) -> Result<Loaded<C>, ConfigError> {
    ConfigFile::find(file, section.map_or(service, |_| "up"))?.read(service, section, flags)
}

/// As [`read`], with what a file and the environment hold at hand.
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub fn read_given<C: DeserializeOwned + Check>(
    service: &'static str,
    section: Option<&'static str>,
    text: &str,
    variables: Vec<(OsString, OsString)>,
    flags: impl Serialize,
) -> Result<Loaded<C>, ConfigError> {
    let path = PathBuf::from("given.toml");
    Layers { service, section, path, text: Some(text.to_owned()), variables }.merge(None, flags)
}

/// What [`load`] found, read from the outside world.
struct Layers {
    service: &'static str,
    section: Option<&'static str>,
    path: PathBuf,
    text: Option<String>,
    variables: Vec<(OsString, OsString)>,
}

impl Layers {
    /// `under`: what holds where the file says nothing.
    fn merge<C: DeserializeOwned + Check>(
        self,
        under: Option<Node>,
        flags: impl Serialize,
    ) -> Result<Loaded<C>, ConfigError> {
        let file = match &self.text {
            None => Node::empty(Origin::Default),
            Some(text) => {
                let file = by_hand::found(file::read(&self.path, text)?, &self.path, &self.variables);
                match self.section {
                    None => file,
                    Some(section) => only(file, section)?,
                }
            }
        };
        let mut merged = under.unwrap_or(Node::empty(Origin::Default)).overlaid(file);
        merged = merged.overlaid(environment::read(self.service, self.variables)?);
        merged = merged.overlaid(flags::read(flags)?);
        let whole = Whole { service: self.service, section: self.section, path: self.path };
        let config = C::deserialize(At::top(&merged)).map_err(|fault| whole.explain(fault))?;
        let loaded = Loaded::new(config, merged, whole);
        match loaded.config.check() {
            Ok(()) => Ok(loaded),
            Err(wrong) => Err(loaded.refuse(wrong)),
        }
    }
}

/// The table `section` of a combined file.
fn only(file: Node, section: &str) -> Result<Node, ConfigError> {
    let origin = file.origin;
    let Value::Table(mut tables) = file.value else { return Ok(Node::empty(origin)) };
    tables.remove(DATA_DIR);
    if let Some((key, node)) = tables.iter().find(|(key, _)| !SECTIONS.contains(&key.as_str())) {
        let allowed = [&SECTIONS[..], &[DATA_DIR]].concat();
        return Err(ConfigError::UnknownKey {
            origin: node.origin.clone(),
            key: key.clone(),
            nearest: error::nearest(key, &allowed),
            allowed: allowed.into_iter().map(String::from).collect(),
        });
    }
    Ok(tables.remove(section).unwrap_or(Node::empty(origin)))
}

#[cfg(test)]
mod tests;
