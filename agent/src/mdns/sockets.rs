//! The sockets of mDNS, one for each link.
//!
//! - They are bound to the group, not to the machine: what is sent to this machine's port 5353 alone stays Avahi's.
//! - Each hears only its own link.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use socket2::{Domain, InterfaceIndexOrAddress, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::responder::PORT;

const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Hops of a packet that was sent on this link: RFC 6762, section 11.
const HOPS: u32 = 255;

/// How a link is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// IPv4, sent from this address of the interface.
    V4(Ipv4Addr),
    /// IPv6.
    V6,
}

/// A socket on the interface of this index. Needs a runtime around it.
pub(super) fn open(index: u32, way: Way) -> io::Result<UdpSocket> {
    let domain = if matches!(way, Way::V4(_)) { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if let Way::V4(address) = way {
        socket.bind(&group(index, way).into())?;
        #[cfg(target_os = "linux")]
        socket.set_multicast_all_v4(false)?;
        socket.join_multicast_v4_n(&GROUP_V4, &InterfaceIndexOrAddress::Index(index))?;
        socket.set_multicast_if_v4(&address)?;
        socket.set_multicast_ttl_v4(HOPS)?;
        socket.set_ttl_v4(HOPS)?;
    } else {
        socket.set_only_v6(true)?;
        socket.bind(&group(index, way).into())?;
        socket.join_multicast_v6(&GROUP_V6, index)?;
        socket.set_multicast_if_v6(index)?;
        socket.set_multicast_hops_v6(HOPS)?;
        socket.set_unicast_hops_v6(HOPS)?;
    }
    UdpSocket::from_std(socket.into())
}

/// Where everybody on the interface of this index hears it.
pub(super) fn group(index: u32, way: Way) -> SocketAddr {
    match way {
        Way::V4(_) => (GROUP_V4, PORT).into(),
        Way::V6 => SocketAddrV6::new(GROUP_V6, PORT, 0, index).into(),
    }
}
