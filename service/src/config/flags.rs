//! The layer of the command line.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value as Json;

use super::error::ConfigError;
use super::tree::{Node, Origin, Value};

/// The tree of those flags that are given.
pub(super) fn read(flags: impl Serialize) -> Result<Node, ConfigError> {
    let json = serde_json::to_value(flags).map_err(|error| ConfigError::Flags(error.to_string()))?;
    match node(json) {
        None => Ok(Node::empty(Origin::Flags)),
        Some(node) if matches!(node.value, Value::Table(_)) => Ok(node),
        Some(_) => Err(ConfigError::Flags("they are not a table".into())),
    }
}

/// None where nothing is given: null, an empty list, a table of such.
fn node(json: Json) -> Option<Node> {
    let value = match json {
        Json::Null => return None,
        Json::Bool(flag) => Value::Bool(flag),
        Json::Number(number) => match (number.as_i128(), number.as_f64()) {
            (Some(whole), _) => Value::Integer(whole),
            (None, Some(float)) => Value::Float(float),
            (None, None) => Value::String(number.to_string()),
        },
        Json::String(text) => Value::String(text),
        Json::Array(items) if items.is_empty() => return None,
        Json::Array(items) => Value::List(items.into_iter().filter_map(node).collect()),
        Json::Object(fields) => {
            let table: BTreeMap<_, _> = fields.into_iter().filter_map(|(key, json)| Some((key, node(json)?))).collect();
            if table.is_empty() {
                return None;
            }
            Value::Table(table)
        }
    };
    Some(Node { value, origin: Origin::Flags })
}
