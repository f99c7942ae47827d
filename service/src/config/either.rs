//! For commands that look at what services do: their file, or the combined one of `up`, whichever is given.

use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue};

use super::{Check, ConfigError, ConfigFile, DATA_DIR, Loaded, SECTIONS};

/// Keys of the agent's own table `relay`, which the combined file's table of that name does not have.
const AGENTS_RELAY: [&str; 1] = ["address"];

/// Loads the configuration of `service` as [`load`](super::load) does, from its own file or from the combined one. Unnamed, it is
/// the service's own if that exists, else the combined one.
pub fn load_either<C: DeserializeOwned + Check>(
    service: &'static str,
    file: Option<&Path>,
    flags: impl Serialize,
) -> Result<C, ConfigError> {
    read_either(service, file, flags).map(|loaded| loaded.config)
}

/// As [`load_either`], for whoever must know which keys are set.
pub fn read_either<C: DeserializeOwned + Check>(
    service: &'static str,
    file: Option<&Path>,
    flags: impl Serialize,
) -> Result<Loaded<C>, ConfigError> {
    ConfigFile::find_either(file, service)?.read_either(service, flags)
}

/// Whether a file holds services' tables and nothing else. One that is not TOML is whoever's asks for it.
pub(super) fn is_combined(text: &str) -> bool {
    let Ok(table) = DeTable::parse(text) else { return false };
    let table = table.get_ref();
    let agents = |key: &str, value: &DeValue<'_>| match value {
        DeValue::Table(table) if key == "relay" => table.keys().any(|key| AGENTS_RELAY.contains(&&**key.get_ref())),
        _ => false,
    };
    let sections: Vec<&str> = table.keys().map(|key| &**key.get_ref()).filter(|key| *key != DATA_DIR).collect();
    !sections.is_empty()
        && sections.iter().all(|key| SECTIONS.contains(key))
        && (sections.len() > 1 || !table.iter().any(|(key, value)| agents(key.get_ref(), value.get_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_combined_file_is_told_from_an_agents_own() {
        for (text, combined) in [
            ("[agent]\nhttp = \"0.0.0.0:1\"\n[relay]\n", true),
            ("[relay]\nmqtt = \"0.0.0.0:1\"\n", true),
            ("[sink.sqlite]\nkeep_raw = \"1d\"\n", true),
            ("[relay]\naddress = \"mqtt://a:1\"\n", false),
            ("[kafka]\nbrokers = \"a:1\"\n", false),
            ("data_dir = \"/srv\"\n[agent]\n[relay]\n", true),
            ("data_dir = \"/srv\"\n[relay]\naddress = \"mqtt://a:1\"\n", false),
            ("data_dir = \"/srv\"\n", false),
            ("", false),
            ("no TOML", false),
        ] {
            assert_eq!(is_combined(text), combined, "{text}");
        }
    }
}
