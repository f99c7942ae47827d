//! The table `[broker]`: a broker that is not ours, by which agents come in, and as whom the relay is its client.

use std::path::PathBuf;

use gaitway_service::broker::{Access, Keys};
use gaitway_service::config::Wrong;
use gaitway_service::mqtt_address::MqttAddress;
use gaitway_service::secret::Secret;
use serde::{Deserialize, Serialize};

/// Longest client id that every broker takes (MQTT 3.1.1, 3.1.3.1), bytes.
const LONGEST_ID: usize = 23;

const KEYS: Keys = Keys {
    ca_file: "broker.ca_file",
    certificate_file: "broker.certificate_file",
    key_file: "broker.key_file",
    username: "broker.username",
    password: "broker.password",
    password_file: "broker.password_file",
};

/// An MQTT broker and the relay as its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrokerConfig {
    /// Where the broker is: `mqtts://HOST:PORT`; `mqtt://HOST:PORT` on this machine or, by its address, in a private
    /// network. The table needs it.
    pub url: Option<MqttAddress>,
    /// The relay's client id, 1 to 23 letters, digits, `-` and `_`. Two relays with the same one end each other's
    /// connections.
    pub client_id: String,
    /// The relay's user name. If it is not set, it is the client id.
    pub username: Option<String>,
    /// The user's password. If neither this nor `password_file` is set, none is shown.
    pub password: Option<Secret>,
    /// A file that holds the password instead of `password`, and that nobody else may read.
    pub password_file: Option<PathBuf>,
    /// A file with certificates in PEM form: one of them must have signed the broker's. It must be set where `url` is
    /// `mqtts://`.
    pub ca_file: Option<PathBuf>,
    /// A file with the relay's certificate in PEM form, for brokers that ask for one. `key_file` is set too then.
    pub certificate_file: Option<PathBuf>,
    /// A file with the certificate's private key in PEM form, which nobody else may read.
    pub key_file: Option<PathBuf>,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            url: None,
            // No agent can be called so: their ids have no `_`.
            client_id: "gaitway_relay".to_owned(),
            username: None,
            password: None,
            password_file: None,
            ca_file: None,
            certificate_file: None,
            key_file: None,
        }
    }
}

impl BrokerConfig {
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let Some(url) = &self.url else {
            return Err(Wrong::new("broker.url", "must be set: mqtts://HOST:PORT of the broker"));
        };
        if !url.is_secure() && !url.is_near() {
            let problem = "must be mqtts:// unless the broker is on this machine or at a private address, or anybody on the way \
                           could read what agents send";
            return Err(Wrong::new("broker.url", problem));
        }
        let of_an_id = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if !(1..=LONGEST_ID).contains(&self.client_id.len()) || !self.client_id.bytes().all(of_an_id) {
            let problem = format!("must be 1 to {LONGEST_ID} letters, digits, '-' and '_'");
            return Err(Wrong::new("broker.client_id", problem));
        }
        self.access().check(url.is_secure(), &KEYS)
    }

    /// What the relay shows the broker and whom it trusts.
    pub(crate) fn access(&self) -> Access {
        let Self { url: _, client_id: _, username, password, password_file, ca_file, certificate_file, key_file } =
            self.clone();
        Access { ca_file, certificate_file, key_file, username, password, password_file }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(url: &str) -> BrokerConfig {
        BrokerConfig { url: Some(url.parse().unwrap()), ..BrokerConfig::default() }
    }

    #[test]
    fn a_broker_elsewhere_is_spoken_to_over_tls_and_verified() {
        for near in ["mqtt://127.0.0.1:1883", "mqtt://localhost", "mqtt://10.1.2.3", "mqtt://[fd00::1]"] {
            at(near).check().unwrap();
        }
        let refused = |config: BrokerConfig| config.check().unwrap_err().to_string();
        for far in ["mqtt://broker.example", "mqtt://8.8.8.8"] {
            assert!(refused(at(far)).contains("`broker.url` must be mqtts://"), "{far}");
        }
        assert!(refused(at("mqtts://broker.example")).contains("`broker.ca_file` must be set"));
        BrokerConfig { ca_file: Some("ca.pem".into()), ..at("mqtts://broker.example") }.check().unwrap();
        assert!(refused(BrokerConfig::default()).contains("`broker.url` must be set"));
        for id in ["", "a/b", "#", "ü", &"a".repeat(24)] {
            let config = BrokerConfig { client_id: id.to_owned(), ..at("mqtt://127.0.0.1") };
            assert!(refused(config).contains("`broker.client_id` must be"), "{id}");
        }
    }

    #[test]
    fn the_relay_is_called_as_no_agent_can_be() {
        assert!(BrokerConfig::default().client_id.parse::<gaitway_proto::topic::AgentId>().is_err());
    }
}
