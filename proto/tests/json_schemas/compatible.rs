//! What may change from one version of a schema to the next.

use serde_json::{Map, Value};

/// Whether readers that know `old` can read everything that is valid after `new`, and find every key where it was: keys may only be
/// added, nullable and not required. The error has a sentence for each key that breaks it.
pub(crate) fn compatible(old: &Value, new: &Value) -> Result<(), Vec<String>> {
    let mut broken = Vec::new();
    for keyword in ["$schema", "title", "type", "additionalProperties"] {
        if old[keyword] != new[keyword] {
            broken.push(format!("{keyword} was {} and is {}", old[keyword], new[keyword]));
        }
    }
    let (before, after) = (properties(old), properties(new));
    for (name, property) in &before {
        match after.get(name) {
            None => broken.push(format!("{name} is gone or renamed")),
            Some(now) if meaning(now) != meaning(property) => broken.push(format!("{name} has another type")),
            Some(_) => {}
        }
    }
    let (required_before, required_after) = (required(old), required(new));
    for name in &required_before {
        if !required_after.contains(name) {
            broken.push(format!("{name} is no longer required"));
        }
    }
    for name in &required_after {
        if !required_before.contains(name) {
            broken.push(format!("{name} is required now"));
        }
    }
    for (name, property) in after.iter().filter(|(name, _)| !before.contains_key(*name)) {
        let nullable = property["type"].as_array().is_some_and(|kinds| kinds.contains(&"null".into()));
        if !nullable {
            broken.push(format!("{name} is added and cannot be null"));
        }
    }
    if broken.is_empty() { Ok(()) } else { Err(broken) }
}

fn properties(schema: &Value) -> Map<String, Value> {
    schema["properties"].as_object().cloned().unwrap_or_default()
}

fn required(schema: &Value) -> Vec<&str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect()
}

/// A property without what only people read.
fn meaning(property: &Value) -> Value {
    let mut property = property.clone();
    if let Some(keywords) = property.as_object_mut() {
        keywords.remove("description");
    }
    property
}
