//! Where phones push to, and where the data lies.

use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// Prints it on a terminal, logs it otherwise.
pub(super) fn show(terminal: bool, listener: SocketAddr, data_dir: &Path) -> std::io::Result<()> {
    let addresses = if listener.ip().is_unspecified() { lan_addresses(listener) } else { vec![listener.ip()] };
    let urls: Vec<String> =
        addresses.into_iter().map(|ip| format!("http://{}/data", SocketAddr::new(ip, listener.port()))).collect();
    let data_dir = std::path::absolute(data_dir)?;
    if !terminal {
        for url in urls {
            tracing::info!(url, "phones push to this address");
        }
        tracing::info!(warehouse = %data_dir.join("warehouse.db").display(), "readings and windows are kept here");
        return Ok(());
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "Set one of these as the push URL in Sensor Logger, the phone being in the same network:")?;
    for url in urls {
        writeln!(out, "  {url}")?;
    }
    writeln!(out, "Readings and windows are kept in {}", data_dir.join("warehouse.db").display())?;
    writeln!(out, "Ctrl-C ends it; nothing accepted is lost.\n")?;
    out.flush()
}

/// This machine's addresses that a phone may reach, IPv4 first; loopback if there is no other.
fn lan_addresses(listener: SocketAddr) -> Vec<IpAddr> {
    let interfaces = if_addrs::get_if_addrs().unwrap_or_else(|error| {
        tracing::warn!(%error, "this machine's addresses cannot be listed");
        Vec::new()
    });
    let mut addresses: Vec<IpAddr> = interfaces
        .iter()
        .filter(|interface| !interface.is_loopback() && !interface.is_link_local())
        .map(if_addrs::Interface::ip)
        .filter(|ip| ip.is_ipv4() || listener.is_ipv6())
        .collect();
    addresses.sort_by_key(|ip| (ip.is_ipv6(), *ip));
    addresses.dedup();
    if addresses.is_empty() {
        addresses.push(super::reachable(listener).ip());
    }
    addresses
}
