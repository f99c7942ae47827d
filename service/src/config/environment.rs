//! The layer of the environment: `GAITWAY_<SERVICE>__SECTION__KEY`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::error::ConfigError;
use super::tree::{Node, Origin, Value};

/// The variable of a key of `service`, as `GAITWAY_AGENT__HTTP__LISTEN` for `http.listen`.
pub(super) fn variable(service: &str, keys: &[String]) -> String {
    keys.iter().fold(format!("GAITWAY_{service}"), |name, key| format!("{name}__{key}")).to_uppercase()
}

/// The tree of those variables that belong to `service`.
pub(super) fn read(service: &str, variables: Vec<(OsString, OsString)>) -> Result<Node, ConfigError> {
    let prefix = variable(service, &[]) + "__";
    let mut own: Vec<_> = variables
        .into_iter()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
        .filter(|(name, _)| name.starts_with(&prefix))
        .collect();
    own.sort();
    let mut table = BTreeMap::new();
    for (name, value) in own {
        let refused = |problem| ConfigError::Variable { name: name.clone(), problem };
        let value = value.into_string().map_err(|_| refused("its value is not UTF-8"))?;
        let keys: Vec<_> = name[prefix.len()..].split("__").map(str::to_lowercase).collect();
        if keys.iter().any(String::is_empty) {
            return Err(refused("its name lacks a key between or behind two underscores"));
        }
        let node = Node { value: Value::Text(value), origin: Origin::Variable(name.as_str().into()) };
        insert(&mut table, &keys, node).map_err(refused)?;
    }
    Ok(Node { value: Value::Table(table), origin: Origin::Default })
}

fn insert(table: &mut BTreeMap<String, Node>, keys: &[String], node: Node) -> Result<(), &'static str> {
    const BOTH: &str = "a table that holds it is itself set by another variable, keep one of them";
    let [first, rest @ ..] = keys else { return Err(BOTH) };
    if rest.is_empty() {
        return table.insert(first.clone(), node).map_or(Ok(()), |_| Err(BOTH));
    }
    let below = table.entry(first.clone()).or_insert_with(|| Node::empty(node.origin.clone()));
    match &mut below.value {
        Value::Table(below) => insert(below, rest, node),
        _ => Err(BOTH),
    }
}
