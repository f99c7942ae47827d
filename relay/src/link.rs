//! One connection of an agent, whatever carries it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

/// The name of a connection in this process; a later one is greater.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LinkId(u64);

impl fmt::Display for LinkId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Gives out names of connections.
#[derive(Debug, Default)]
pub(crate) struct LinkIds(AtomicU64);

impl LinkIds {
    /// A name greater than all before.
    pub(crate) fn next(&self) -> LinkId {
        LinkId(self.0.fetch_add(1, Ordering::Relaxed))
    }
}
