//! A configuration file that was read.
//!
//! - Its text is read once, however many services find their settings in it: a pipe gives it to nobody else.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::either::is_combined;
use super::{Check, ConfigError, DIRECTORY, Layers, Loaded, file};

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

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is a combined one: it holds services' tables and nothing else.
    pub fn is_combined(&self) -> bool {
        self.text.as_deref().is_some_and(is_combined)
    }

    /// The configuration of `service` by this file, as [`read`](super::read) gives it.
    pub fn read<C: DeserializeOwned + Check>(
        &self,
        service: &'static str,
        section: Option<&'static str>,
        flags: impl Serialize,
    ) -> Result<Loaded<C>, ConfigError> {
        let (path, text) = (self.path.clone(), self.text.clone());
        Layers { service, section, path, text, variables: std::env::vars_os().collect() }.merge(flags)
    }

    /// As [`read`](Self::read), from the file as the service's own or as a combined one, whichever it is.
    pub fn read_either<C: DeserializeOwned + Check>(
        &self,
        service: &'static str,
        flags: impl Serialize,
    ) -> Result<Loaded<C>, ConfigError> {
        self.read(service, Some(service).filter(|_| self.is_combined()), flags)
    }
}

/// Where the file of this name is if it is not told.
pub(super) fn standard_path(name: &str) -> PathBuf {
    Path::new(DIRECTORY).join(name).with_extension("toml")
}
