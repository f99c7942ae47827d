//! On which links the agent is told of, and with which addresses. Pure.
//!
//! - Only addresses of the listener are told, each on its own link; none of the machine itself, none of tunnels.
//! - What comes from elsewhere than the link is not heard: RFC 6762, section 11.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use if_addrs::{IfAddr, Interface};

/// More links or addresses on one than any machine of a household has are left out.
const MOST_LINKS: usize = 32;
const MOST_ADDRESSES: usize = 16;

/// One interface.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Link {
    /// Its addresses that phones reach the agent at.
    pub(super) told: Vec<IpAddr>,
    /// The address that IPv4 is sent from.
    pub(super) v4: Option<Ipv4Addr>,
    /// It has IPv6.
    pub(super) v6: bool,
    /// Its networks: an address in each, and the length of the prefix.
    near: Vec<(IpAddr, u8)>,
}

impl Link {
    /// Whether `source` is on this link.
    pub(super) fn is_near(&self, source: IpAddr) -> bool {
        match source {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => true,
            IpAddr::V4(v4) if v4.is_link_local() => true,
            _ => self.near.iter().any(|(address, prefix)| is_within(source, *address, *prefix)),
        }
    }
}

/// The links of a listener on `listener`, by the index of the interface.
pub(super) fn links(interfaces: &[Interface], listener: IpAddr) -> BTreeMap<u32, Link> {
    let mut links = BTreeMap::<u32, Link>::new();
    for interface in interfaces.iter().filter(|interface| is_usable(interface)) {
        let Some(index) = interface.index else { continue };
        if links.len() >= MOST_LINKS && !links.contains_key(&index) {
            continue;
        }
        let link = links.entry(index).or_default();
        let ip = interface.ip();
        match &interface.addr {
            IfAddr::V4(v4) => {
                // The smallest, so that another order of the same addresses changes nothing.
                link.v4 = Some(link.v4.map_or(v4.ip, |first| first.min(v4.ip)));
                link.near.push((ip, v4.prefixlen));
            }
            IfAddr::V6(v6) => {
                link.v6 = true;
                link.near.push((ip, v6.prefixlen));
            }
        }
        if is_of(ip, listener) {
            link.told.push(ip);
        }
    }
    links.retain(|_, link| !link.told.is_empty());
    for link in links.values_mut() {
        link.told.sort_unstable();
        link.told.dedup();
        link.told.truncate(MOST_ADDRESSES);
        link.near.sort_unstable();
    }
    links
}

/// Whether a listener on `listener` is reached at `ip`.
fn is_of(ip: IpAddr, listener: IpAddr) -> bool {
    if listener.is_unspecified() { ip.is_ipv4() || listener.is_ipv6() } else { ip == listener }
}

fn is_usable(interface: &Interface) -> bool {
    interface.is_oper_up() && !interface.is_loopback() && !interface.is_p2p()
}

fn is_within(source: IpAddr, network: IpAddr, prefix: u8) -> bool {
    let differ = match (source, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(a.to_bits() ^ b.to_bits()) << 96,
        (IpAddr::V6(a), IpAddr::V6(b)) => a.to_bits() ^ b.to_bits(),
        _ => return false,
    };
    differ.leading_zeros() >= u32::from(prefix)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use if_addrs::{IfOperStatus, Ifv4Addr, Ifv6Addr};

    use super::*;

    fn interface(index: u32, ip: &str, prefixlen: u8) -> Interface {
        let addr = match ip.parse().unwrap() {
            IpAddr::V4(ip) => IfAddr::V4(Ifv4Addr { ip, netmask: Ipv4Addr::UNSPECIFIED, prefixlen, broadcast: None }),
            IpAddr::V6(ip) => IfAddr::V6(Ifv6Addr { ip, netmask: Ipv6Addr::UNSPECIFIED, prefixlen, broadcast: None }),
        };
        Interface {
            name: format!("eth{index}"),
            addr,
            index: Some(index),
            oper_status: IfOperStatus::Up,
            is_p2p: index == 9,
        }
    }

    fn house() -> Vec<Interface> {
        [
            (1, "127.0.0.1", 8),
            (1, "::1", 128),
            (2, "192.168.1.9", 24),
            (2, "fe80::9", 64),
            (2, "fd00::9", 64),
            (3, "10.0.0.2", 8),
            (9, "10.9.0.1", 32),
        ]
        .map(|(index, ip, prefix)| interface(index, ip, prefix))
        .to_vec()
    }

    fn told(listener: &str) -> Vec<(u32, Vec<String>)> {
        links(&house(), listener.parse().unwrap())
            .into_iter()
            .map(|(index, link)| (index, link.told.iter().map(IpAddr::to_string).collect()))
            .collect()
    }

    fn owned(link: (u32, &[&str])) -> (u32, Vec<String>) {
        (link.0, link.1.iter().map(|&ip| ip.to_owned()).collect())
    }

    #[test]
    fn what_is_told_is_where_the_listener_is_reached() {
        assert_eq!(told("0.0.0.0"), [owned((2, &["192.168.1.9"])), owned((3, &["10.0.0.2"]))]);
        assert_eq!(told("::"), [owned((2, &["192.168.1.9", "fd00::9", "fe80::9"])), owned((3, &["10.0.0.2"]))]);
        assert_eq!(told("10.0.0.2"), [owned((3, &["10.0.0.2"]))]);
        for nowhere in ["127.0.0.1", "::1", "192.168.1.77"] {
            assert_eq!(told(nowhere), []);
        }
    }

    #[test]
    fn an_interface_that_is_down_is_no_link() {
        let mut down = interface(2, "192.168.1.9", 24);
        down.oper_status = IfOperStatus::Down;
        assert!(links(&[down], Ipv4Addr::UNSPECIFIED.into()).is_empty());
    }

    #[test]
    fn only_the_link_s_own_networks_are_near() {
        let link = &links(&house(), Ipv4Addr::UNSPECIFIED.into())[&2];
        for (source, near) in [
            ("192.168.1.200", true),
            ("192.168.2.200", false),
            ("203.0.113.9", false),
            ("169.254.1.1", true),
            ("fe80::77", true),
            ("fd00::77", true),
            ("2001:db8::1", false),
        ] {
            assert_eq!(link.is_near(source.parse().unwrap()), near, "{source}");
        }
    }

    #[test]
    fn no_machine_has_more_links_than_are_kept() {
        let many: Vec<_> = (10..1000).map(|index| interface(index, "10.0.0.2", 8)).collect();
        assert_eq!(links(&many, Ipv4Addr::UNSPECIFIED.into()).len(), MOST_LINKS);
        let same: Vec<_> = (0..=255).map(|last| interface(2, &format!("10.0.0.{last}"), 8)).collect();
        assert_eq!(links(&same, Ipv4Addr::UNSPECIFIED.into())[&2].told.len(), MOST_ADDRESSES);
    }
}
