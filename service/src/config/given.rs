//! A configuration file that was read.
//!
//! - Its text is read once, however many services find their settings in it: a pipe gives it to nobody else.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::deserialize::At;
use super::either::is_combined;
use super::error::Whole;
use super::tree::{Node, Origin, Value};
use super::{Check, ConfigError, DATA_DIR, DIRECTORY, Layers, Loaded, file};

/// A configuration file and what stands in it; nothing, if it was not named and is not there.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    text: Option<String>,
}

impl ConfigFile {
    /// The one at `path`, which must be there.
    pub fn named(path: &Path) -> Result<Self, ConfigError> {
        Ok(Self { path: path.to_owned(), text: file::text(path, true)? })
    }

    /// The one at `file`, which must be there; if none is named `/etc/gaitway/<standard>.toml`, which need not.
    pub fn find(file: Option<&Path>, standard: &str) -> Result<Self, ConfigError> {
        if let Some(path) = file {
            return Self::named(path);
        }
        let path = standard_path(standard);
        let text = file::text(&path, false)?;
        Ok(Self { path, text })
    }

    /// The one at `file`, which must be there; if none is named `/etc/gaitway/<service>.toml` if that is there, else the combined one.
    pub fn find_either(file: Option<&Path>, service: &str) -> Result<Self, ConfigError> {
        let is_there = |name: &&str| standard_path(name).exists();
        Self::find(file, [service, UP].into_iter().find(is_there).unwrap_or(service))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Whether it is a combined one: it holds services' tables and nothing else.
    pub fn is_combined(&self) -> bool {
        self.text.as_deref().is_some_and(is_combined)
    }

    /// Whether it is `up`'s, whatever stands in it.
    pub fn is_ups(&self) -> bool {
        self.is_combined() || self.path == standard_path(UP)
    }

    /// The configuration of `service` by this file, as [`read`](super::read) gives it.
    pub fn read<C: DeserializeOwned + Check>(
        &self,
        service: &'static str,
        section: Option<&'static str>,
        flags: impl Serialize,
    ) -> Result<Loaded<C>, ConfigError> {
        self.layers(service, section).merge(None, flags)
    }

    fn layers(&self, service: &'static str, section: Option<&'static str>) -> Layers {
        let (path, text) = (self.path.clone(), self.text.clone());
        Layers { service, section, path, text, variables: std::env::vars_os().collect() }
    }

    /// Where `up` keeps everything, as a combined file says.
    pub fn data_dir(&self) -> Result<Option<PathBuf>, ConfigError> {
        Ok(self.data_dir_node()?.map(|(dir, _)| dir))
    }

    fn data_dir_node(&self) -> Result<Option<(PathBuf, Origin)>, ConfigError> {
        let Some(text) = &self.text else { return Ok(None) };
        let Value::Table(mut tables) = file::read(&self.path, text)?.value else { return Ok(None) };
        let Some(node) = tables.remove(DATA_DIR) else { return Ok(None) };
        let origin = node.origin.clone();
        let alone = Node { value: Value::Table([(DATA_DIR.to_owned(), node)].into()), origin: origin.clone() };
        let whole = Whole { service: "up", section: None, path: self.path.clone() };
        let Up { data_dir } = Up::deserialize(At::top(&alone)).map_err(|fault| whole.explain(fault))?;
        Ok(Some((data_dir, origin)))
    }

    /// As [`read`](Self::read), from the file as the service's own or as a combined one, whichever it is. Of a combined one with a
    /// `data_dir` the service's own places are below that.
    pub fn read_either<C: DeserializeOwned + Check>(
        &self,
        service: &'static str,
        flags: impl Serialize,
    ) -> Result<Loaded<C>, ConfigError> {
        if !self.is_ups() {
            return self.read(service, None, flags);
        }
        let places = self.data_dir_node()?.map(|(dir, origin)| places(service, &dir, &origin));
        self.layers(service, Some(service)).merge(places, flags)
    }
}

/// Whose combined file in `/etc/gaitway` is.
pub(super) const UP: &str = "up";

/// What the combined file says itself.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Up {
    data_dir: PathBuf,
}

/// Where `up` keeps what is `service`'s.
fn places(service: &str, dir: &Path, origin: &Origin) -> Node {
    let table = |key: &str, value| {
        let node = Node { value, origin: origin.clone() };
        Value::Table([(key.to_owned(), node)].into())
    };
    let path = |name: &str| Value::String(dir.join(name).display().to_string());
    let value = match service {
        "sink" => table("sqlite", table("path", path("warehouse.db"))),
        other => table(DATA_DIR, path(other)),
    };
    Node { value, origin: origin.clone() }
}

/// Where the file of this name is if it is not told.
pub(super) fn standard_path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name).with_extension("toml")
}
