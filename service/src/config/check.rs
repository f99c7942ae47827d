//! Values that fit their keys but make no sense.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::error::{ConfigError, Whole};
use super::tree::{Node, Value};

/// A configuration that knows what makes sense in it. Pure: no file, no socket.
pub trait Check {
    /// The first value that makes no sense.
    fn check(&self) -> Result<(), Wrong>;
}

/// A value that makes no sense, or some that do not go together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    keys: Vec<&'static str>,
    named: Vec<&'static str>,
    problem: String,
}

impl Wrong {
    /// About the value of `key`, dotted; `problem` reads on behind "`key` is value, ": it says what is allowed.
    pub fn new(key: &'static str, problem: impl Into<String>) -> Self {
        Self { keys: vec![key], named: Vec::new(), problem: problem.into() }
    }

    /// The value of this key is part of it: where the keys before are not set, it is the one that is named.
    #[must_use]
    pub fn or(mut self, key: &'static str) -> Self {
        self.keys.push(key);
        self
    }

    /// The problem names this key, in backquotes: it is spelt there as it is in the file.
    #[must_use]
    pub fn naming(mut self, key: &'static str) -> Self {
        self.named.push(key);
        self
    }

    /// Unless both keys are set, or neither: `one` or `other` tells whether it is.
    pub fn unless_together(one: (&'static str, bool), other: (&'static str, bool)) -> Result<(), Self> {
        let (((set, true), (missing, false)) | ((missing, false), (set, true))) = (one, other) else { return Ok(()) };
        Err(Self::new(set, format!("must stand beside `{missing}`: set both, or neither")).naming(missing))
    }

    /// Unless `value` lies within `range`, which is shown as a person would write it.
    pub fn unless_within<T: PartialOrd + fmt::Debug>(
        key: &'static str,
        value: &T,
        range: RangeInclusive<T>,
    ) -> Result<(), Self> {
        if range.contains(value) {
            return Ok(());
        }
        Err(Self::new(key, format!("must be from {:?} to {:?}", range.start(), range.end())))
    }

    /// The same for a size in bytes.
    pub fn unless_size_within(key: &'static str, value: u64, range: RangeInclusive<u64>) -> Result<(), Self> {
        if range.contains(&value) {
            return Ok(());
        }
        let [least, greatest] = [range.start(), range.end()].map(|bytes| super::bytes::shown(*bytes));
        Err(Self::new(key, format!("must be from {least} to {greatest}")))
    }

    /// The same for a duration.
    pub fn unless_time_within(key: &'static str, value: Duration, range: RangeInclusive<Duration>) -> Result<(), Self> {
        if range.contains(&value) {
            return Ok(());
        }
        let [least, greatest] = [range.start(), range.end()].map(|time| super::duration::shown(*time));
        Err(Self::new(key, format!("must be from {least} to {greatest}")))
    }
}

/// For whoever did not load it: without the value and where it stands.
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` {}", self.keys.join("`, `"), self.problem)
    }
}

impl std::error::Error for Wrong {}

/// A configuration that knows where its values were written.
#[derive(Debug)]
pub struct Loaded<C> {
    /// The configuration.
    pub config: C,
    tree: Node,
    whole: Whole,
}

impl<C> Loaded<C> {
    pub(super) fn new(config: C, tree: Node, whole: Whole) -> Self {
        Self { config, tree, whole }
    }

    /// The error that names the value, and where it stands.
    pub fn refuse(&self, wrong: Wrong) -> ConfigError {
        let Wrong { keys, named, mut problem } = wrong;
        for key in keys.iter().chain(&named) {
            problem = problem.replace(&format!("`{key}`"), &format!("`{}`", self.whole.key(&split(key))));
        }
        let named = keys.iter().copied().find(|key| self.node(key).is_some());
        let key = named.or(keys.first().copied()).unwrap_or_default();
        // A table is named by what is set in it.
        let (mut keys, mut node) = (split(key), self.node(key));
        while let Some(Value::Table(table)) = node.map(|node| &node.value)
            && let Some((key, below)) = table.iter().next()
        {
            keys.push(key.clone());
            node = Some(below);
        }
        self.whole.refuse(&keys, node, problem)
    }

    /// Whether a value of this key, or anything in this table, is written anywhere.
    pub fn is_set(&self, key: &str) -> bool {
        self.node(key).is_some()
    }

    fn node(&self, key: &str) -> Option<&Node> {
        let found = split(key).iter().try_fold(&self.tree, |node, key| match &node.value {
            Value::Table(table) => table.get(key),
            _ => None,
        })?;
        found.value.sets().then_some(found)
    }
}

fn split(key: &str) -> Vec<String> {
    key.split('.').map(str::to_owned).collect()
}
