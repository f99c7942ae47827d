//! Configurations that make sense each for itself, but not together. Pure.

use std::net::SocketAddr;

use gaitway_agent::config::AgentConfig;
use gaitway_relay::RelayConfig;
use gaitway_service::config::{ConfigError, Loaded, Wrong, bytes};
use gaitway_sink::{SinkConfig, WarehouseKind};

/// Refuses what one service cannot take from the other, and what `up` decides itself.
pub(super) fn check(
    agent: &Loaded<AgentConfig>,
    relay: &Loaded<RelayConfig>,
    sink: &Loaded<SinkConfig>,
) -> Result<(), ConfigError> {
    if agent.is_set("relay") {
        let problem = "cannot stand here: `up` runs a relay of its own; remove it, or use `gaitway agent`";
        return Err(agent.refuse(Wrong::new("relay", problem)));
    }
    if agent.is_set("data_dir") {
        let problem = "cannot stand here: `up` keeps everything in one folder; remove it, and give --data-dir";
        return Err(agent.refuse(Wrong::new("data_dir", problem)));
    }
    if relay.is_set("data_dir") {
        let problem = "cannot stand here: `up` keeps everything in one folder; remove it, and give --data-dir";
        return Err(relay.refuse(Wrong::new("data_dir", problem)));
    }
    if sink.is_set("sqlite.path") {
        let problem = "cannot stand here: `up` keeps everything in one folder; remove it, and give --data-dir";
        return Err(sink.refuse(Wrong::new("sqlite.path", problem)));
    }
    if sink.config.warehouse != WarehouseKind::Sqlite {
        let problem = "cannot stand here: `up` keeps its records in a file; for another warehouse run `gaitway relay` and `gaitway sink`";
        return Err(sink.refuse(Wrong::new("warehouse", problem)));
    }
    SinkConfig::check_chosen(sink)?;
    let http = agent.config.http;
    let mqtt = Some(relay.config.mqtt).filter(|_| relay.config.broker.is_none());
    for (key, address) in [("mqtt", mqtt), ("admin", relay.config.admin)] {
        if address.is_some_and(|address| clash(address, http)) {
            let problem = format!("must be another address than {http}, where phones push to (`agent.http`)");
            return Err(if relay.is_set(key) {
                relay.refuse(Wrong::new(key, problem))
            } else {
                let problem = format!("must be another address than where agents connect (`relay.{key}`)");
                agent.refuse(Wrong::new("http", problem))
            });
        }
    }
    let (commit, warehouse) = (relay.config.commit.max_bytes, sink.config.sqlite.max_bytes);
    if warehouse < commit {
        let [commit, warehouse] = [commit, warehouse].map(bytes::shown);
        return Err(if sink.is_set("sqlite.max_bytes") {
            let problem = format!("must be at least one commit of the relay, {commit} (`relay.commit.max_bytes`)");
            sink.refuse(Wrong::new("sqlite.max_bytes", problem))
        } else {
            let problem = format!("must be at most what the warehouse keeps, {warehouse} (`sink.sqlite.max_bytes`)");
            relay.refuse(Wrong::new("commit.max_bytes", problem))
        });
    }
    Ok(())
}

/// Whether only one of the two can be listened on.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let overlap = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    overlap && one.port() == other.port() && one.port() != 0
}
