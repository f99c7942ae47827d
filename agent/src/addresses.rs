//! Where a listener of this machine can be reached.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use gaitway_service::server::reachable;

use crate::config::AgentConfig;
use crate::control;
use crate::mdns::{self, Announced};
use crate::shell;

/// Push URLs for phones, without a token; otherwise as [`urls`].
pub fn push_urls(listener: SocketAddr, is_https: bool, host: Option<&str>) -> Vec<String> {
    urls(listener, is_https, host).into_iter().map(|url| format!("{url}/data")).collect()
}

/// URLs of `listener` without a path, the likeliest for the network first; loopback if there is no other. `host`: what this machine
/// is called there.
pub fn urls(listener: SocketAddr, is_https: bool, host: Option<&str>) -> Vec<String> {
    let scheme = if is_https { "https" } else { "http" };
    if let Some(host) = host {
        return vec![format!("{scheme}://{host}:{}", listener.port())];
    }
    let addresses = if listener.ip().is_unspecified() { lan_addresses(listener) } else { vec![listener.ip()] };
    addresses.into_iter().map(|ip| format!("{scheme}://{}", SocketAddr::new(ip, listener.port()))).collect()
}

/// The URL by name, without a path, of the agent of `data_dir`, if it was found in its network when it last ran: `http://attic.local:8000`;
/// none over HTTPS, as in `by_name`.
/// While it runs, [`AgentStatus::local_name`](crate::status::AgentStatus::local_name) knows.
pub fn local_url(data_dir: &Path, listener: SocketAddr, is_https: bool) -> Option<String> {
    by_name(&mdns::kept::last(data_dir)?, listener, is_https)
}

/// The URL of `listener` by the name that this machine has in its network by mDNS, if others reach it so. Over HTTPS none: phones refuse
/// a certificate without that name, and nothing says that it has it.
pub(crate) fn by_name(name: &str, listener: SocketAddr, is_https: bool) -> Option<String> {
    let name = name.trim_end_matches('.').trim_end_matches(".local");
    (Announced::is_reached(listener) && !is_https).then(|| format!("http://{name}.local:{}", listener.port()))
}

/// Where an agent listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listens {
    /// The listener.
    pub address: SocketAddr,
    /// It speaks HTTPS.
    pub is_https: bool,
    /// What this machine is called in URLs, if that is told.
    pub host: Option<String>,
}

impl Listens {
    /// [`urls`] of it.
    pub fn urls(&self) -> Vec<String> {
        urls(self.address, self.is_https, self.host.as_deref())
    }
}

/// The file in a data directory that says where its agent listens, or did when it last ran: a URL, and on a second line the host's
/// name if it is told.
const NOTE: &str = "listens";

/// Notes in `data_dir` where its agent listens: commands print its URLs.
pub fn note(data_dir: &Path, listens: &Listens) {
    let path = data_dir.join(NOTE);
    let scheme = if listens.is_https { "https" } else { "http" };
    let host = listens.host.as_ref().map_or_else(String::new, |host| format!("{host}\n"));
    if let Err(error) = std::fs::write(&path, format!("{scheme}://{}\n{host}", listens.address)) {
        tracing::warn!(%error, "{} cannot be written: `phone add` will print the configured address", path.display());
    }
}

/// Where the agent of `data_dir` listens, as it noted.
pub fn noted(data_dir: &Path) -> Option<Listens> {
    let text = std::fs::read_to_string(data_dir.join(NOTE)).ok()?;
    let mut lines = text.lines();
    let (scheme, listener) = lines.next()?.split_once("://")?;
    let host = lines.next().map(str::to_owned);
    Some(Listens { address: listener.parse().ok()?, is_https: scheme == "https", host })
}

/// How commands name the agent with this configuration: nothing where they find it by themselves.
pub fn command_flag(config: &AgentConfig) -> String {
    if control::place(config).is_some_and(|path| path == Path::new(control::STANDARD)) {
        return String::new();
    }
    data_dir_flag(&config.data_dir)
}

fn data_dir_flag(data_dir: &Path) -> String {
    let absolute = std::path::absolute(data_dir).unwrap_or_else(|_| data_dir.to_owned());
    let default = std::path::absolute(AgentConfig::default().data_dir);
    if default.is_ok_and(|default| default == absolute) {
        String::new()
    } else {
        format!(" --data-dir {}", shell::word(&absolute.display().to_string()))
    }
}

/// This machine's addresses that a phone may reach, IPv4 first.
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
        addresses.push(reachable(listener).ip());
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_on_one_address_is_there_and_one_on_all_is_somewhere() {
        let urls = |text: &str| push_urls(text.parse().unwrap(), false, None);
        let named = push_urls("0.0.0.0:8443".parse().unwrap(), true, Some("pi.example.org"));
        assert_eq!(named, ["https://pi.example.org:8443/data"]);
        assert_eq!(urls("192.168.1.9:8000"), ["http://192.168.1.9:8000/data"]);
        assert_eq!(urls("[fd00::9]:80"), ["http://[fd00::9]:80/data"]);
        for all in ["0.0.0.0:8000", "[::]:8000"] {
            let urls = urls(all);
            assert!(!urls.is_empty() && urls.iter().all(|url| !url.contains(all)), "{urls:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(noted(dir.path()), None);
        for (is_https, host) in [(false, None), (true, Some("pi.example.org".to_owned()))] {
            let listens = Listens { address: "0.0.0.0:8000".parse().unwrap(), is_https, host };
            note(dir.path(), &listens);
            assert_eq!(noted(dir.path()), Some(listens));
        }
        assert_eq!(data_dir_flag(&AgentConfig::default().data_dir), "");
        assert_eq!(data_dir_flag(Path::new("/srv/agent")), " --data-dir /srv/agent");
        assert_eq!(data_dir_flag(Path::new("/srv/Anna's data")), r" --data-dir '/srv/Anna'\''s data'");
    }
}
