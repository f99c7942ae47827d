//! Every key of every service: what it is, what it may be, what it is if nobody says anything.

use anyhow::{Context as _, bail};
use gaitway_agent::config::AgentConfig;
use gaitway_kafka::KafkaConfig;
use gaitway_relay::{BrokerConfig, RelayConfig};
use gaitway_service::broker::Access;
use gaitway_service::config::{bytes, duration};
use gaitway_sink::SinkConfig;
use serde::Serialize;
use serde_json::Value;
use syn::Type;

use crate::bounds;
use crate::examples;
use crate::source::{Field, Shape, Sources};

/// The services and the types of their configurations.
pub const SERVICES: [(&str, &str); 3] = [("agent", "AgentConfig"), ("relay", "RelayConfig"), ("sink", "SinkConfig")];

/// Flags that set a key.
const FLAGS: [(&str, &str, &str); 9] = [
    ("agent", "data_dir", "--data-dir"),
    ("agent", "http", "--http"),
    ("agent", "agent_id", "--agent-id"),
    ("agent", "relay.address", "--relay"),
    ("relay", "mqtt", "--mqtt"),
    ("relay", "data_dir", "--data-dir"),
    ("relay", "kafka.brokers", "--kafka"),
    ("relay", "admin", "--admin"),
    ("sink", "kafka.brokers", "--kafka"),
];

/// A table of a configuration.
#[derive(Debug)]
pub struct Table {
    /// Dotted; empty for what stands above every table.
    pub path: String,
    /// What it is for.
    pub doc: String,
    /// Whether there may be none, which is not the same as an empty one.
    pub is_optional: bool,
    /// Its keys.
    pub keys: Vec<Key>,
}

/// A key.
#[derive(Debug)]
pub struct Key {
    /// The key inside its table.
    pub name: String,
    /// Dotted, with its table.
    pub path: String,
    /// What it is for.
    pub doc: String,
    /// What it must be.
    pub kind: String,
    /// Words that it may be, each with what that does.
    pub words: Vec<(String, String)>,
    /// As TOML; none if it is not set.
    pub default: Option<String>,
    /// As TOML: what it could be.
    pub example: Option<&'static str>,
    /// The variable that sets it.
    pub variable: String,
    /// The flag that sets it.
    pub flag: Option<&'static str>,
}

impl Key {
    /// What stands behind the key where it is shown.
    pub fn shown(&self) -> anyhow::Result<&str> {
        let shown = self.default.as_deref().or(self.example);
        shown
            .with_context(|| format!("`{}` has no default: give it an example in reference/src/examples.rs", self.path))
    }
}

/// The tables of a service, in the order of its types.
pub fn tables(sources: &Sources, service: &'static str) -> anyhow::Result<Vec<Table>> {
    let (_, name) = SERVICES.into_iter().find(|(found, _)| *found == service).context("no such service")?;
    let (defaults, doc) = match service {
        "agent" => (serde_json::to_value(AgentConfig::default())?, "What the agent is told."),
        "relay" => (serde_json::to_value(RelayConfig::default())?, "What the relay is told."),
        _ => (serde_json::to_value(SinkConfig::default())?, "What the sink is told."),
    };
    let (shape, krate) = sources.named(service, &[name.to_owned()])?;
    let mut walk = Walk { sources, service, tables: Vec::new() };
    walk.table(&krate, shape, (String::new(), doc.to_owned(), false), &defaults)?;
    Ok(walk.tables)
}

struct Walk<'a> {
    sources: &'a Sources,
    service: &'static str,
    tables: Vec<Table>,
}

impl Walk<'_> {
    fn table(
        &mut self,
        krate: &str,
        shape: Shape,
        (path, doc, is_optional): (String, String, bool),
        defaults: &Value,
    ) -> anyhow::Result<()> {
        let Shape::Table(fields) = shape else { bail!("`{path}` of {} is no table", self.service) };
        let place = self.tables.len();
        self.tables.push(Table { path: path.clone(), doc, is_optional, keys: Vec::new() });
        for field in fields {
            let (shape, home) = self.sources.shape(krate, &field.ty)?;
            let below = if path.is_empty() { field.name.clone() } else { format!("{path}.{}", field.name) };
            let value = defaults.get(&field.name).cloned().unwrap_or(Value::Null);
            match shape {
                Shape::Table(_) => {
                    let value = if value.is_null() { self.alone(&below)? } else { value };
                    let about = (below, field.doc, field.is_optional || is_optional);
                    self.table(&home, shape, about, &value)?;
                }
                Shape::Choice(words) => {
                    let key = self.key(&field, below, words, &value)?;
                    self.tables[place].keys.push(key);
                }
                Shape::Leaf => {
                    let key = self.key(&field, below, Vec::new(), &value)?;
                    self.tables[place].keys.push(key);
                }
            }
        }
        Ok(())
    }

    /// What an optional table holds where it stands and says nothing.
    fn alone(&self, path: &str) -> anyhow::Result<Value> {
        Ok(match (self.service, path) {
            ("agent", "relay.broker") => serde_json::to_value(Access::default())?,
            ("relay", "broker") => serde_json::to_value(BrokerConfig::default())?,
            ("relay", "kafka") => serde_json::to_value(KafkaConfig::default())?,
            ("sink", "snowflake") => {
                let mut told = serde_json::to_value(gaitway_sink::snowflake::Options::new("", "", ""))?;
                for key in ["account", "user", "private_key_file"] {
                    told[key] = Value::Null;
                }
                told
            }
            (service, path) => {
                bail!("what `{path}` of {service} holds by default is not known to reference/src/keys.rs")
            }
        })
    }

    fn key(&self, field: &Field, path: String, words: Vec<(String, String)>, value: &Value) -> anyhow::Result<Key> {
        let (service, with) = (self.service, field.with.as_deref());
        let mut kind =
            if words.is_empty() { kind(&path, &field.ty, with)? } else { "one of the words below".to_owned() };
        if let Some(range) = bounds::of(service, &path, &field.ty, with)? {
            kind = format!("{kind}, {range}");
        }
        Ok(Key {
            name: field.name.clone(),
            doc: field.doc.clone(),
            kind,
            words,
            default: toml(value, with)?,
            example: examples::of(service, &path),
            variable: variable(service, &path),
            flag: FLAGS.into_iter().find(|(of, key, _)| *of == service && *key == path).map(|(.., flag)| flag),
            path,
        })
    }
}

/// The variable that sets a key.
fn variable(service: &str, path: &str) -> String {
    format!("GAITWAY_{service}__{}", path.replace('.', "__")).to_uppercase()
}

/// The last name of a type.
pub(crate) fn name(ty: &Type) -> String {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|last| last.ident.to_string()).unwrap_or_default(),
        Type::Array(_) => "[]".to_owned(),
        _ => String::new(),
    }
}

fn kind(path: &str, ty: &Type, with: Option<&str>) -> anyhow::Result<String> {
    let kind = match (with, name(ty).as_str()) {
        (Some("duration"), _) => "a duration, such as `30s`, `5m` or `400d`",
        (Some("bytes"), _) => "a size, in bytes or such as `64MiB`",
        (Some("percent"), "u8") => "a whole number, percent",
        (Some("percent"), _) => "a number, percent",
        (Some("address"), _) => "an address, `IP:PORT`",
        (_, "bool") => "`true` or `false`",
        (_, "String") => "text",
        (_, "PathBuf") => "a path",
        (_, "Secret") => "text, a secret",
        (_, "usize" | "u64" | "u32" | "u16" | "i32") => "a whole number",
        (_, "f64") => "a number",
        (_, "[]") => "a list of three numbers",
        (_, "AgentId") => "a name of small letters, digits and dashes",
        (_, "RelayAddress" | "MqttAddress") => "an address, `mqtts://HOST:PORT` or `mqtt://HOST:PORT`",
        (_, "Address") => "a PostgreSQL connection, a URL or `key=value` pairs",
        (_, "Properties") => "a table of names with their values",
        (_, "PropertyFiles") => "a table of names with paths",
        (_, other) => bail!("what a {other} is, as `{path}` is one, is not known to reference/src/keys.rs"),
    };
    Ok(kind.to_owned())
}

/// As TOML, spelled as people do.
fn toml(value: &Value, with: Option<&str>) -> anyhow::Result<Option<String>> {
    Ok(Some(match (value, with) {
        (Value::Null, _) => return Ok(None),
        (Value::String(text), Some("duration")) => {
            let shown = duration::parse(text).map(duration::shown).map_err(anyhow::Error::msg)?;
            format!("\"{shown}\"")
        }
        (Value::Number(number), Some("bytes")) => {
            format!("\"{}\"", bytes::shown(number.as_u64().context("a size is a whole number")?))
        }
        (Value::Object(table), _) if table.is_empty() => "{}".to_owned(),
        // JSON's text, numbers, lists and booleans are TOML's.
        (Value::String(_) | Value::Number(_) | Value::Bool(_) | Value::Array(_), _) => json(value)?,
        (other, _) => bail!("how {other} is written in TOML is not known to reference/src/keys.rs"),
    }))
}

fn json<T: Serialize>(value: &T) -> anyhow::Result<String> {
    Ok(serde_json::to_string(value)?.replace(',', ", "))
}
