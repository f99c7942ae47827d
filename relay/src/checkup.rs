//! What of a relay is not as it should be, for `gaitway doctor`. Its ledger is looked at elsewhere.
//!
//! - Nothing is made or changed: the store of identities is only read.
//! - The broker is spoken to under another client id than the relay's, so that a relay that runs is not cut off.

use std::net::SocketAddr;
use std::path::Path;

use gaitway_service::checkup::broker::{self, Broker};
use gaitway_service::checkup::folder::{self, Folder, Work};
use gaitway_service::checkup::port::{self, Own, Port};
use gaitway_service::checkup::{Checkup, certificate, reach};
use gaitway_service::clock;

use crate::RelayConfig;
use crate::identity::{self, Overview, StoreError};

/// The name of its part of what is told.
const SECTION: &str = "relay";

/// Looks at the relay that this configuration is of. `own` says whether it runs, where its data directory does not.
pub async fn examine(config: &RelayConfig, own: Option<Own>, checkup: &mut Checkup) {
    checkup.begin(SECTION);
    let wants_tls = config.broker.is_none() && config.wants_tls(config.mqtt);
    let own = own.unwrap_or(if wants_tls { Own::holding(&config.data_dir) } else { Own::Unknown });
    if let Some(configured) = &config.broker {
        let access = configured.access();
        if let Some(address) = &configured.url {
            let (client_id, table) = (configured.client_id.as_str(), "relay.broker");
            broker::examine(Broker { address, access: &access, client_id, table }, checkup).await;
        }
    } else {
        let (subject, address, key) = ("port for agents", config.mqtt, "--mqtt or the key mqtt");
        port::examine(Port { subject, address, key, own, is_http: false }, checkup).await;
    }
    if let Some(address) = config.admin {
        of_admin(address, own, checkup).await;
    }
    // A flag may have told `up` to listen with TLS.
    let path = config.data_dir.as_path();
    if wants_tls || (config.broker.is_none() && path.join(identity::CERTIFICATE).exists()) {
        folder::examine(Folder { path, min_free_percent: 0.0, below: ("", ""), work: Work::Little }, checkup);
        of_identities(path, checkup);
    }
    if let Some(public) = &config.public_address {
        of_public(public, checkup).await;
    }
}

async fn of_admin(address: SocketAddr, own: Own, checkup: &mut Checkup) {
    let (subject, key) = ("port for health", "--admin or the key admin");
    port::examine(Port { subject, address, key, own, is_http: true }, checkup).await;
}

fn of_identities(dir: &Path, checkup: &mut Checkup) {
    let store = dir.join(identity::FILE);
    if let Some(error) = folder::denied(&store, dir) {
        return checkup.warn("agents", folder::unseen(&store, &error));
    }
    let now = clock::now_micros().div_euclid(1_000_000);
    let overview = match Overview::of(dir, now) {
        Ok(overview) => overview,
        Err(StoreError::Missing(_)) => {
            return checkup
                .warn("agents", "none can have enrolled yet: the relay makes its authority when it starts first");
        }
        Err(error) => return checkup.fail("agents", format!("{:#}", anyhow::Error::from(error))),
    };
    if let Some(good) = certificate::validity(&overview.authority) {
        let renew = "move its folder away and start the relay, which makes a new one; then every agent enrols again";
        certificate::expiry("authority", "", good, renew, checkup);
    }
    let Overview { agents, codes, late, .. } = overview;
    let s = |count: usize| if count == 1 { "" } else { "s" };
    let enrolled = format!("{} with a certificate, {codes} code{} waiting to be used", agents, s(codes));
    if late.is_empty() {
        checkup.ok("agents", enrolled);
    } else {
        let said = format!(
            "{enrolled}; not renewed in time: {}. Such an agent is off, or does not reach the relay; once its certificate has ended it has to \
             enrol again",
            late.join(", ")
        );
        checkup.warn("agents", said);
    }
}

/// Where agents are told that the relay is: from here the way may be another, so that nothing fails.
async fn of_public(public: &str, checkup: &mut Checkup) {
    let Some((host, port)) = public.rsplit_once(':') else { return };
    let host = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let Ok(port) = port.parse() else { return };
    match reach::connect(host, port).await {
        Ok(reached) => checkup.ok("public address", format!("{public} answers in {} ms", reached.took.as_millis())),
        Err(error) => checkup.warn("public address", format!("{public}, as seen from here: {error}")),
    }
}
