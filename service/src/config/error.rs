//! What is wrong with a configuration, in words for the person who wrote it.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde::de;

use super::environment::variable;
use super::tree::{Node, Origin, Value};

/// Longest value that is shown, characters.
const MAX_SHOWN: usize = 60;

/// Longest explanation that is shown, characters: it may repeat the value.
const MAX_PROBLEM: usize = 300;

/// Longest list that is shown, items.
const MAX_ITEMS: usize = 4;

/// How alike a key and the one that was meant must be, by Jaro's measure from 0 to 1.
const ALIKE: f64 = 0.7;

/// Parts of a key that make its value a secret; of properties that are handed on nobody here knows which are.
const SECRET: [&str; 6] = ["secret", "password", "passphrase", "token", "private_key", "properties"];

/// Why a configuration is refused. Keys are dotted, as in `http.listen`, behind the section of a combined file.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read, or one that was named does not exist.
    #[error("configuration file {} cannot be read", .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is not TOML.
    #[error("{}:{line}: not TOML: {problem}", .path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// What the parser says.
        problem: String,
    },
    /// Nobody reads this key. Its value is not shown: it may be a secret whose name is misspelt.
    #[error("{origin}: unknown key `{key}`{}; allowed here: {}", meant(.nearest.as_ref()), .allowed.join(", "))]
    UnknownKey {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The key that was perhaps meant.
        nearest: Option<String>,
        /// What may stand in its place.
        allowed: Vec<String>,
    },
    /// The value does not fit its key.
    #[error("{origin}: `{key}` is {value}, {problem}")]
    Value {
        /// Where it stands.
        origin: Origin,
        /// The key.
        key: String,
        /// The value as far as it may be shown.
        value: String,
        /// What it must be.
        problem: String,
    },
    /// A key without a default is not set.
    #[error("`{key}` is not set: set it in {}, or as {variable} in the environment", .path.display())]
    Missing {
        /// The key.
        key: String,
        /// The file where it could stand.
        path: PathBuf,
        /// The variable that could hold it.
        variable: String,
    },
    /// An environment variable cannot be read as a key.
    #[error("environment variable {name}: {problem}")]
    Variable {
        /// The variable.
        name: String,
        /// Why.
        problem: String,
    },
    /// The flags cannot be read as keys.
    #[error("command line: {0}")]
    Flags(String),
}

/// What the deserializer found wrong, before it is known which service it is about.
#[derive(Debug)]
pub(super) struct Fault(Box<(Problem, Option<Place>)>);

#[derive(Debug)]
pub(super) enum Problem {
    Unknown(&'static [&'static str]),
    Missing(&'static str),
    Expected(String),
    Other(String),
}

#[derive(Debug)]
struct Place {
    keys: Vec<String>,
    origin: Origin,
    value: String,
}

impl Fault {
    pub(super) fn new(problem: Problem) -> Self {
        Self(Box::new((problem, None)))
    }

    pub(super) fn expected(what: impl Into<String>) -> Self {
        Self::new(Problem::Expected(what.into()))
    }

    pub(super) fn one_of(names: &[&str]) -> Self {
        match names {
            [one] => Self::expected(format!("`{one}`")),
            many => Self::expected(format!("one of {}", quoted(many).join(", "))),
        }
    }

    /// The innermost place counts.
    pub(super) fn at(mut self, node: &Node, keys: impl FnOnce() -> Vec<String>) -> Self {
        self.0.1.get_or_insert_with(|| Place { keys: keys(), origin: node.origin.clone(), value: shown(&node.value) });
        self
    }
}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(problem: T) -> Self {
        Self::new(Problem::Other(problem.to_string()))
    }

    fn invalid_type(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::expected(expected.to_string())
    }

    fn invalid_value(_: de::Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::expected(expected.to_string())
    }

    fn invalid_length(_: usize, expected: &dyn de::Expected) -> Self {
        Self::expected(expected.to_string())
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::one_of(expected)
    }

    fn unknown_field(_: &str, expected: &'static [&'static str]) -> Self {
        Self::new(Problem::Unknown(expected))
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Problem::Missing(field))
    }
}

impl de::StdError for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Which configuration a fault is about.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) service: &'static str,
    pub(super) section: Option<&'static str>,
    pub(super) path: PathBuf,
}

impl Whole {
    pub(super) fn explain(&self, fault: Fault) -> ConfigError {
        let (problem, place) = *fault.0;
        let mut place =
            place.unwrap_or_else(|| Place { keys: Vec::new(), origin: Origin::Default, value: String::new() });
        let secret = place.keys.iter().any(|key| is_secret(key));
        let (key, origin) = (self.key(&place.keys), place.origin);
        let value = if secret { "a value that is not shown".into() } else { place.value };
        match problem {
            Problem::Unknown(allowed) => {
                let nearest = place.keys.last().and_then(|key| nearest(key, allowed));
                ConfigError::UnknownKey { origin, key, nearest, allowed: quoted(allowed) }
            }
            Problem::Missing(field) => {
                place.keys.push(field.into());
                let (key, variable) = (self.key(&place.keys), variable(self.service, &place.keys));
                ConfigError::Missing { key, path: self.path.clone(), variable }
            }
            Problem::Expected(what) => ConfigError::Value { origin, key, value, problem: format!("must be {what}") },
            Problem::Other(problem) if secret || has_credentials(&problem) => {
                ConfigError::Value { origin, key, value, problem: "does not fit".into() }
            }
            Problem::Other(problem) => {
                ConfigError::Value { origin, key, value, problem: problem.chars().take(MAX_PROBLEM).collect() }
            }
        }
    }

    /// What a check found wrong with the value at `keys`, which stands at `node` if it is set.
    pub(super) fn refuse(&self, keys: &[String], node: Option<&Node>, problem: String) -> ConfigError {
        let secret = keys.iter().any(|key| is_secret(key));
        let value = match node {
            _ if secret => "a value that is not shown".into(),
            Some(node) => shown(&node.value),
            None => "not set".into(),
        };
        let origin = node.map_or(Origin::Default, |node| node.origin.clone());
        ConfigError::Value { origin, key: self.key(keys), value, problem }
    }

    /// As it is spelt in the file.
    pub(super) fn key(&self, keys: &[String]) -> String {
        self.section.into_iter().chain(keys.iter().map(String::as_str)).collect::<Vec<_>>().join(".")
    }
}

/// The one of `names` that `key` is most like, if it is like any.
pub(super) fn nearest(key: &str, names: &[&str]) -> Option<String> {
    let alike = |name: &&str| (strsim::jaro(&key.to_lowercase(), name), (*name).to_owned());
    let (likeness, name) = names.iter().map(alike).max_by(|(a, _), (b, _)| a.total_cmp(b))?;
    (likeness > ALIKE).then_some(name)
}

fn meant(nearest: Option<&String>) -> String {
    nearest.map_or_else(String::new, |name| format!(", perhaps `{name}`"))
}

fn quoted(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("`{name}`")).collect()
}

pub(super) fn is_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    // A file that holds a secret is none.
    !key.ends_with("_file") && SECRET.iter().any(|part| key.contains(part))
}

fn shown(value: &Value) -> String {
    match value {
        Value::Bool(flag) => flag.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::String(text) | Value::Text(text) if has_credentials(text) => "a URL with credentials".into(),
        Value::String(text) | Value::Text(text) if text.chars().count() > MAX_SHOWN => {
            format!("{:?}…", text.chars().take(MAX_SHOWN).collect::<String>())
        }
        Value::String(text) | Value::Text(text) => format!("{text:?}"),
        Value::List(items) if items.len() <= MAX_ITEMS => {
            format!("[{}]", items.iter().map(|item| shown(&item.value)).collect::<Vec<_>>().join(", "))
        }
        Value::List(_) => "a list".into(),
        Value::Table(_) => "a table".into(),
    }
}

fn has_credentials(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| rest.contains('@'))
}
