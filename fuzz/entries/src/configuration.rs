//! What a service is told by its file and its environment.
//!
//! - What is refused is refused in words, however long the value.
//! - What is taken and told again as flags is the same configuration.
//! - What is taken can be made use of.
//! - No secret is shown.

use std::ffi::OsString;
use std::fmt::Debug;

use gaitway_agent::config::AgentConfig;
use gaitway_agent::ingest::http::Quotas;
use gaitway_relay::RelayConfig;
use gaitway_service::config::{Check, read_given};
use gaitway_sink::SinkConfig;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// In no corpus: where it is seen, it was shown.
const SECRET: &str = "Zk7vQ2mXw9RtL4bN";

/// A service, and the variable of a secret of it.
struct Service {
    name: &'static str,
    secret: Option<&'static str>,
}

/// Any text as a configuration. The first byte says whose, whether it is the combined file, and whether there is a secret in the
/// environment; behind a NUL stand variables, one a line.
pub(crate) fn configuration(bytes: &[u8]) {
    let Some((&what, text)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    let (text, variables) = text.split_once('\0').unwrap_or((text, ""));
    let variables = variables.lines().filter_map(|line| line.split_once('='));
    let mut variables: Vec<(String, String)> =
        variables.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let (combined, secret) = (what & 4 != 0, what & 8 != 0);
    let mut told = |service: Service| {
        if secret {
            variables.extend(service.secret.map(|name| (name.to_owned(), SECRET.to_owned())));
        }
        let variables = variables.iter().map(|(name, value)| (name.into(), value.into())).collect();
        Told { name: service.name, section: combined.then_some(service.name), text, variables }
    };
    match what & 3 {
        0 => {
            let Some(config) = told(Service { name: "agent", secret: None }).load::<AgentConfig>() else { return };
            // What makes sense can be made use of.
            let _ = Quotas::new(&config.limits);
            config.windows.params().expect("what is taken are windows");
        }
        1 => {
            let secret = Some("GAITWAY_RELAY__SCHEMA_REGISTRY__PASSWORD");
            told(Service { name: "relay", secret }).load::<RelayConfig>();
        }
        _ => {
            let secret = Some("GAITWAY_SINK__SNOWFLAKE__PRIVATE_KEY_PASSPHRASE");
            told(Service { name: "sink", secret }).load::<SinkConfig>();
        }
    }
}

struct Told<'a> {
    name: &'static str,
    section: Option<&'static str>,
    text: &'a str,
    variables: Vec<(OsString, OsString)>,
}

impl Told<'_> {
    fn load<C: DeserializeOwned + Serialize + Check + Debug>(self) -> Option<C> {
        let Self { name, section, text, variables } = self;
        let config = match read_given::<C>(name, section, text, variables, ()) {
            Ok(loaded) => loaded.config,
            Err(error) => {
                show(&error.to_string());
                show(&format!("{error:?}"));
                return None;
            }
        };
        show(&format!("{config:?}"));
        let spelled = whole(serde_json::to_value(&config).expect("a configuration can be told"));
        let again = read_given::<C>(name, None, "", Vec::new(), &spelled).expect("what was taken is taken again");
        assert_eq!(serde_json::to_value(again.config).map(whole).ok(), Some(spelled));
        Some(config)
    }
}

/// With a secret wherever one was left out.
fn whole(mut told: Value) -> Value {
    match &mut told {
        Value::String(text) if text == "…" => SECRET.clone_into(text),
        Value::Array(items) => items.iter_mut().for_each(|item| *item = whole(item.take())),
        Value::Object(fields) => fields.values_mut().for_each(|field| *field = whole(field.take())),
        _ => {}
    }
    told
}

fn show(said: &str) {
    assert!(!said.contains(SECRET), "a secret is shown: {said}");
}
