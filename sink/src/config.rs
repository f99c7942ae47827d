//! What the sink can be told, the body of `sink.toml`.

use gaitway_service::config::{Check, Wrong};
use serde::{Deserialize, Serialize};

use crate::sqlite::Options;

/// The sink's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// The local warehouse.
    pub sqlite: Options,
}

impl Check for SinkConfig {
    fn check(&self) -> Result<(), Wrong> {
        self.sqlite.check()
    }
}
