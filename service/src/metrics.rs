//! The process's metrics: one registry, handed around, no globals.

use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::encoding::text::{encode, encode_eof, encode_registry};
use prometheus_client::registry::Registry;

use crate::process;

/// The registry of one process, every name below `gaitway_`. Clones share it.
#[derive(Debug, Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// Without metrics.
    pub fn new() -> Self {
        Self { registry: Arc::new(Mutex::new(Registry::with_prefix("gaitway"))) }
    }

    /// Lets a part register its metrics. Names come without `gaitway_`, unit and `_total`: the registry adds them.
    pub fn register<T>(&self, with: impl FnOnce(&mut Registry) -> T) -> T {
        with(&mut self.registry.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What parts have registered, in OpenMetrics text format 1.0.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        if let Err(error) = encode(&mut text, &self.registry.lock().unwrap_or_else(PoisonError::into_inner)) {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        text
    }

    /// The same, and what every service tells of itself at this moment: whether it is `ready`, its version, its process.
    pub fn expose(&self, ready: bool) -> String {
        let mut own = Registry::default();
        process::register(&mut own, ready);
        let mut text = String::new();
        let parts = self.registry.lock().unwrap_or_else(PoisonError::into_inner);
        let encoded = encode_registry(&mut text, &own)
            .and_then(|()| encode_registry(&mut text, &parts))
            .and_then(|()| encode_eof(&mut text));
        if let Err(error) = encoded {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::registry::Unit;

    use super::*;

    #[test]
    fn names_follow_gaitway_what_unit_total() {
        let metrics = Metrics::new();
        let received: Counter = Counter::default();
        metrics.register(|registry| {
            registry.register_with_unit("received", "Bytes received", Unit::Bytes, received.clone());
        });
        received.inc_by(3);
        assert!(metrics.clone().encode().contains("gaitway_received_bytes_total 3\n"), "{}", metrics.encode());
        assert!(metrics.encode().ends_with("# EOF\n"));
    }
}
