//! The layer of the environment: `GAITWAY_<SERVICE>__SECTION__KEY`.

use std::collections::BTreeMap;
use std::ffi::OsString;

use super::error::{ConfigError, nearest};
use super::tree::{Node, Origin, Value};

/// The variable of a key of `service`, as `GAITWAY_AGENT__HTTP__LISTEN` for `http.listen`.
pub(super) fn variable(service: &str, keys: &[String]) -> String {
    keys.iter().fold(format!("GAITWAY_{service}"), |name, key| format!("{name}__{key}")).to_uppercase()
}

/// Most keys in a name: each is a table in the one before it, and who goes down there needs stack for each.
const DEEPEST: usize = 16;

/// Services that variables may be for.
const SERVICES: [&str; 3] = super::SECTIONS;

/// The tree of those variables that belong to `service`. One that looks like a key but is for no service is refused:
/// whoever set it would wait in vain for its effect.
pub(super) fn read(service: &str, variables: Vec<(OsString, OsString)>) -> Result<Node, ConfigError> {
    let prefix = variable(service, &[]) + "__";
    let mut own = Vec::new();
    for (name, value) in variables {
        let Ok(name) = name.into_string() else { continue };
        if name.starts_with(&prefix) {
            own.push((name, value));
        } else if let Some(problem) = stray(&name) {
            return Err(ConfigError::Variable { name, problem });
        }
    }
    own.sort();
    let mut table = BTreeMap::new();
    for (name, value) in own {
        let refused = |problem: &str| ConfigError::Variable { name: name.clone(), problem: problem.to_owned() };
        let value = value.into_string().map_err(|_| refused("its value is not UTF-8"))?;
        let keys: Vec<_> = name[prefix.len()..].split("__").map(str::to_lowercase).collect();
        if keys.len() > DEEPEST {
            return Err(refused("its name has more keys than any setting"));
        }
        if keys.iter().any(String::is_empty) {
            return Err(refused("its name lacks a key between or behind two underscores"));
        }
        let node = Node { value: Value::Text(value), origin: Origin::Variable(name.as_str().into()) };
        insert(&mut table, &keys, node).map_err(refused)?;
    }
    Ok(Node { value: Value::Table(table), origin: Origin::Default })
}

/// What is wrong with a variable of ours that belongs to no service.
fn stray(name: &str) -> Option<String> {
    let rest = name.strip_prefix("GAITWAY_")?;
    let of = |service: &str| rest.strip_prefix(&service.to_uppercase()).is_some_and(|rest| rest.starts_with('_'));
    match rest.split_once("__") {
        Some((service, _)) if SERVICES.contains(&service.to_lowercase().as_str()) => None,
        Some((service, _)) => {
            let meant = nearest(service, &SERVICES);
            let perhaps = meant.map_or_else(String::new, |name| format!(", perhaps GAITWAY_{}__", name.to_uppercase()));
            Some(format!("there is no service of this name{perhaps}; there are {}", SERVICES.join(", ")))
        }
        None if SERVICES.iter().any(|service| of(service)) => {
            Some("two underscores stand between the service and its key, and between a table and its key".to_owned())
        }
        None => None,
    }
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
