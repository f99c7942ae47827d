//! What the sink can be told, the body of `sink.toml`.

use serde::{Deserialize, Serialize};

use crate::sqlite::Options;

/// The sink's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SinkConfig {
    /// The local warehouse.
    pub sqlite: Options,
}
