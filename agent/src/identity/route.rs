//! Where the relay is and how it is spoken to, from what is configured and what the agent has enrolled for. Pure.

use std::fmt;
use std::sync::Arc;

use gaitway_service::broker::Access;
use rustls::ClientConfig;

use super::Identity;
use crate::uplink::RelayAddress;

/// See the module.
#[derive(Clone)]
pub struct Route {
    /// The relay.
    pub relay: RelayAddress,
    /// How it is spoken to.
    pub security: Security,
    /// When the certificate that it is shown ends, seconds since the Unix epoch.
    pub until: Option<i64>,
}

/// How a relay is spoken to.
#[derive(Clone)]
pub enum Security {
    /// As anybody, in plain text.
    Plain,
    /// Over TLS, with the agent's certificate.
    Tls(Arc<ClientConfig>),
    /// Over TLS, but the agent has not enrolled.
    Missing,
    /// By a broker that is not ours, which lets the agent in as it is configured.
    Broker(Arc<Access>),
}

impl Route {
    /// By the broker at `relay`.
    pub fn by_broker(relay: RelayAddress, access: Access) -> Self {
        Self { relay, security: Security::Broker(Arc::new(access)), until: None }
    }

    /// What is configured goes before where the agent enrolled; without either the relay is on this machine.
    pub fn choose(configured: Option<&RelayAddress>, identity: Option<&Identity>) -> Self {
        let without = |relay, security| Self { relay, security, until: None };
        match (configured, identity) {
            (Some(relay), _) if !relay.is_secure() => without(relay.clone(), Security::Plain),
            (relay, Some(identity)) => Self {
                relay: relay.unwrap_or(&identity.relay).clone(),
                security: Security::Tls(identity.mqtt.clone()),
                until: Some(identity.validity.1),
            },
            (Some(relay), None) => without(relay.clone(), Security::Missing),
            (None, None) => without(RelayAddress::here(), Security::Plain),
        }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let security = match self.security {
            Security::Plain => "plain",
            Security::Tls(_) => "tls",
            Security::Missing => "not enrolled",
            Security::Broker(_) => "broker",
        };
        f.debug_struct("Route")
            .field("relay", &self.relay)
            .field("security", &security)
            .field("until", &self.until)
            .finish()
    }
}
