//! The merged layers: every value knows where it was written.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the service's default.
    Default,
    /// In a file, at a line counted from 1.
    File(Arc<Path>, usize),
    /// In the environment variable of this name.
    Variable(Arc<str>),
    /// On the command line.
    Flags,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => f.write_str(name),
            Self::Flags => f.write_str("command line"),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Bool(bool),
    Integer(i128),
    Float(f64),
    String(String),
    /// From the environment: what it is depends on what is wanted.
    Text(String),
    List(Vec<Node>),
    Table(BTreeMap<String, Node>),
}

impl Node {
    pub(super) fn empty(origin: Origin) -> Self {
        Self { value: Value::Table(BTreeMap::new()), origin }
    }

    /// `over` on top of this: tables key by key, everything else is replaced. A table that holds no value
    /// sets nothing.
    pub(super) fn overlaid(self, over: Self) -> Self {
        match (self.value, over.value) {
            (Value::Table(mut under), Value::Table(keys)) => {
                let origin = if keys.is_empty() { self.origin } else { over.origin };
                for (key, node) in keys {
                    let node = match under.remove(&key) {
                        Some(below) => below.overlaid(node),
                        None => node,
                    };
                    under.insert(key, node);
                }
                Self { value: Value::Table(under), origin }
            }
            (value, over) if !over.sets() => Self { value, origin: self.origin },
            (_, value) => Self { value, origin: over.origin },
        }
    }
}

impl Value {
    pub(super) fn sets(&self) -> bool {
        match self {
            Self::Table(keys) => keys.values().any(|node| node.value.sets()),
            _ => true,
        }
    }
}
