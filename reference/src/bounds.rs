//! What a number, size or duration may be: asked of the service's own check, with what is too small and too large.

use std::fmt::Write as _;

use gaitway_agent::config::AgentConfig;
use gaitway_relay::RelayConfig;
use gaitway_service::config::{Check, ConfigFile};
use gaitway_sink::SinkConfig;
use serde::de::DeserializeOwned;
use syn::Type;

use crate::examples;
use crate::keys;

/// Between what the value must be; none if anything will do.
pub(crate) fn of(service: &'static str, path: &str, ty: &Type, with: Option<&str>) -> anyhow::Result<Option<String>> {
    let tries: &[&str] = match (with, keys::name(ty).as_str()) {
        (Some("duration"), _) => &["\"0s\"", "\"1ns\"", "\"1000000d\""],
        (Some("bytes"), _) => &["0", "9000000000000000000"],
        (Some("percent"), _) => &["91", "-1"],
        (_, "usize" | "u64" | "u32" | "i32") => &["0", "2000000000", "-1"],
        (_, "f64") => &["0.0", "-1.0", "1e300"],
        _ => return Ok(None),
    };
    for value in tries {
        let said = match service {
            "agent" => refusal::<AgentConfig>(service, path, value)?,
            "relay" => refusal::<RelayConfig>(service, path, value)?,
            _ => refusal::<SinkConfig>(service, path, value)?,
        };
        // A number's own type speaks of itself: that is no bound of ours.
        let of_its_type = [i32::MAX.to_string(), u64::MAX.to_string()];
        let range = said.as_deref().and_then(range).map(plain);
        if let Some(range) = range.filter(|range| !of_its_type.iter().any(|most| range.ends_with(most))) {
            return Ok(Some(range));
        }
    }
    Ok(None)
}

/// Whole numbers without a fraction.
fn plain(range: &str) -> String {
    let words = range.split(' ').map(|word| word.strip_suffix(".0").unwrap_or(word));
    words.collect::<Vec<_>>().join(" ")
}

/// `from 1 to 90`, of a sentence that ends with it.
fn range(said: &str) -> Option<&str> {
    let (_, range) = said.split_once("must be ")?;
    let range = range.strip_prefix("a whole number ").unwrap_or(range);
    (range.starts_with("from ") || range.starts_with("a multiple ")).then(|| range.lines().next().unwrap_or(range))
}

fn refusal<C: DeserializeOwned + Check>(
    service: &'static str,
    path: &str,
    value: &str,
) -> anyhow::Result<Option<String>> {
    let mut text = format!("{path} = {value}\n");
    for other in examples::beside(service, path).iter().filter(|other| **other != path) {
        if let Some(example) = examples::of(service, other) {
            writeln!(text, "{other} = {example}")?;
        }
    }
    let file = tempfile::NamedTempFile::new()?;
    std::fs::write(file.path(), text)?;
    let loaded = ConfigFile::named(file.path())?.read::<C>(service, None, ());
    Ok(loaded.err().map(|error| error.to_string()))
}
