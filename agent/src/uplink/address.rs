//! Where the relay is: `mqtts://HOST:PORT`, or `mqtt://HOST:PORT` without TLS.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Ports that go with the two schemes (IANA).
const PORT: u16 = 1883;
const SECURE_PORT: u16 = 8883;

/// The relay's address. The host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelayAddress {
    host: String,
    port: u16,
    secure: bool,
}

/// Why a text is not a relay's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRelayAddress {
    /// Not of the form `mqtts://HOST` or `mqtts://HOST:PORT`.
    #[error("a relay's address has the form mqtts://HOST:PORT")]
    Form(String),
    /// A scheme this program does not speak.
    #[error("this program speaks mqtts:// and, on this machine, mqtt://")]
    Scheme(String),
}

impl RelayAddress {
    /// The relay on this machine, without TLS.
    pub fn here() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: PORT, secure: false }
    }

    /// The relay at `HOST:PORT`, with TLS.
    pub fn secure(host_and_port: &str) -> Result<Self, BadRelayAddress> {
        format!("mqtts://{host_and_port}").parse()
    }

    /// The host; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The host without brackets.
    pub fn bare_host(&self) -> &str {
        self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&self.host)
    }

    /// Whether it is spoken to over TLS.
    pub fn is_secure(&self) -> bool {
        self.secure
    }

    /// Whether it is this machine.
    pub fn is_here(&self) -> bool {
        let host = self.bare_host();
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// The port; unless told 8883, without TLS 1883.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for RelayAddress {
    type Err = BadRelayAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || BadRelayAddress::Form(text.to_owned());
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(form)?;
        let secure = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(BadRelayAddress::Scheme(text.to_owned())),
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let after_brackets = rest.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match rest[after_brackets..].find(':') {
            Some(colon) => {
                let (host, port) = rest.split_at(after_brackets + colon);
                (host, port[1..].parse().ok().filter(|port| *port != 0).ok_or_else(form)?)
            }
            None => (rest, if secure { SECURE_PORT } else { PORT }),
        };
        let valid = if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            v6.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            let of_a_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            !host.is_empty() && host.bytes().all(of_a_name)
        };
        if valid { Ok(Self { host: host.to_owned(), port, secure }) } else { Err(form()) }
    }
}

impl TryFrom<String> for RelayAddress {
    type Error = BadRelayAddress;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<RelayAddress> for String {
    fn from(address: RelayAddress) -> Self {
        format!("{}://{address}", if address.secure { "mqtts" } else { "mqtt" })
    }
}

/// `HOST:PORT`
impl fmt::Display for RelayAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for (text, host, port, secure) in [
            ("mqtts://relay.example:1999", "relay.example", 1999, true),
            ("mqtts://10.0.0.7", "10.0.0.7", 8883, true),
            ("mqtt://[::1]:1884/", "[::1]", 1884, false),
            ("mqtt://[fe80::1]", "[fe80::1]", 1883, false),
        ] {
            let address: RelayAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port(), address.is_secure()), (host, port, secure), "{text}");
            assert_eq!(String::from(address.clone()).parse(), Ok(address));
        }
    }

    #[test]
    fn anything_else_is_refused_with_a_sentence() {
        for bad in [
            "",
            "relay:1883",
            "mqtt://",
            "mqtt://:1",
            "mqtt://h:0",
            "mqtt://h:x",
            "mqtt://h:70000",
            "mqtt://u@h",
            "mqtt://h/x",
            "mqtt://[::1",
            "mqtt://[x]:1",
            "mqtt://]é",
            "mqtt://::1",
        ] {
            assert_eq!(bad.parse::<RelayAddress>(), Err(BadRelayAddress::Form(bad.to_owned())), "{bad}");
        }
        assert!("http://h".parse::<RelayAddress>().unwrap_err().to_string().contains("mqtts://"));
    }

    #[test]
    fn this_machine_is_known_by_its_addresses_and_name() {
        let here = |text: &str| text.parse::<RelayAddress>().unwrap().is_here();
        assert!(here("mqtt://127.0.0.1") && here("mqtt://[::1]:9") && here("mqtts://localhost"));
        assert!(!here("mqtt://10.0.0.7") && !here("mqtt://relay.example") && !here("mqtt://[fe80::1]"));
        let one: RelayAddress = "mqtts://[::1]".parse().unwrap();
        assert_eq!(one.bare_host(), "::1");
    }
}
