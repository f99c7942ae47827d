//! The way to the relay: the agent's identity, the name, the route, the port, TLS; or to the broker in its place.
//!
//! - Towards a relay hands are shaken and nothing is sent: a CONNECT under the agent's name would end the connection of the agent that runs.

use std::io;
use std::path::Path;
use std::sync::Arc;

use gaitway_proto::enrolment::RELAY_NAME;
use gaitway_service::checkup::broker::{self, Broker};
use gaitway_service::checkup::{Checkup, certificate, folder, quoted, reach};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::config::AgentConfig;
use crate::identity::{self, Identity, Route, Security, explain};
use crate::service::kept_id;

/// How an agent gets another certificate.
const RENEW: &str =
    "the agent does so by itself while its relay answers; else enrol again with a new code, gaitway agent enroll";

/// Looks at it.
pub(super) async fn examine(config: &AgentConfig, checkup: &mut Checkup) {
    let dir = config.data_dir.as_path();
    if let Some((address, access)) = config.relay.address.as_ref().zip(config.relay.broker.as_ref()) {
        let id = config.agent_id.clone().or_else(|| kept_id::read(dir));
        let Some(id) = id.map(String::from).or_else(|| access.username.clone()) else {
            let said =
                "not asked: the agent's name, by which the broker knows it, is made at the first start; set agent_id";
            return checkup.warn(format!("broker {address}"), said);
        };
        return broker::examine(Broker { address, access, client_id: &id, table: "relay.broker" }, checkup).await;
    }
    let path = dir.join(identity::FILE);
    if let Some(error) = folder::denied(&path, dir) {
        return checkup.warn("identity", folder::unseen(&path, &error));
    }
    let identity = match Identity::load(dir) {
        Ok(identity) => identity,
        Err(error) => return checkup.fail("identity", format!("{:#}", anyhow::Error::from(error))),
    };
    of_identity(config, identity.as_ref(), checkup);
    let Route { relay, security, until: _ } = Route::choose(config.relay.address.as_ref(), identity.as_ref());
    let subject = format!("relay {relay}");
    if matches!(security, Security::Missing) {
        checkup.fail("identity", not_enrolled(&relay.to_string(), dir));
    }
    let reached = match reach::connect(relay.bare_host(), relay.port()).await {
        Ok(reached) => reached,
        Err(error) => return checkup.fail(subject, error.to_string()),
    };
    checkup.ok(&subject, format!("{} answers in {} ms", reached.address, reached.took.as_millis()));
    if let Security::Tls(tls) = security {
        of_tls(reached.stream, tls, &subject, checkup).await;
    }
}

fn of_identity(config: &AgentConfig, identity: Option<&Identity>, checkup: &mut Checkup) {
    let Some(identity) = identity else { return };
    certificate::expiry("identity", &format!("{} to its relay, ", identity.agent), identity.validity, RENEW, checkup);
    if let Some(configured) = config.agent_id.as_ref().filter(|configured| **configured != identity.agent) {
        let enrolled = &identity.agent;
        let said = format!(
            "agent_id is {configured}, but this agent has enrolled as {enrolled}: remove agent_id, or enrol again with a code for {configured}"
        );
        checkup.fail("identity", said);
    }
    if let Some(good) = certificate::validity(identity.authority()) {
        certificate::expiry(
            "relay's authority",
            "",
            good,
            "make a new one at the relay, and enrol every agent again",
            checkup,
        );
    }
}

fn not_enrolled(relay: &str, dir: &Path) -> String {
    format!(
        "this agent has not enrolled at {relay}: make a code on that machine with gaitway relay agent add NAME, and bring it here with \
         gaitway agent enroll {relay} CODE --data-dir {}",
        quoted(dir)
    )
}

async fn of_tls(stream: TcpStream, config: Arc<ClientConfig>, subject: &str, checkup: &mut Checkup) {
    let name = ServerName::try_from(RELAY_NAME).expect("a constant that is a DNS name");
    match reach::handshake(stream, config, name).await {
        Ok(mut secured) => {
            // The relay need not take it for an accident.
            let _ = secured.stream.shutdown().await;
            checkup.ok(subject, "it is the relay that this agent knows, and lets it in; no word of MQTT was spoken");
            if let Some(good) = secured.chain.first().and_then(certificate::validity) {
                let renew =
                    "the relay does so by itself while it runs: restart it, and look at the clock of its machine";
                certificate::expiry("relay's certificate", "", good, renew, checkup);
            }
        }
        Err(error) => checkup.fail(subject, trouble(&error)),
    }
}

fn trouble(error: &io::Error) -> String {
    explain(error).unwrap_or_else(|| match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => {
            "what answers there hangs up during the TLS handshake: is it a gaitway relay with TLS, and is the port right?".to_owned()
        }
        io::ErrorKind::TimedOut => "what answers there does not shake hands: is it a gaitway relay with TLS?".to_owned(),
        _ => format!("the TLS handshake failed: {error}"),
    })
}
