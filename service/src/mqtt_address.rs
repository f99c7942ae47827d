//! Where a relay or a broker is: `mqtts://HOST:PORT`, or `mqtt://HOST:PORT` without TLS.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Ports that go with the two schemes (IANA).
const PORT: u16 = 1883;
const SECURE_PORT: u16 = 8883;

/// The address of a relay or broker. The host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MqttAddress {
    host: String,
    port: u16,
    secure: bool,
}

/// Why a text is not such an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadMqttAddress {
    /// Not of the form `mqtts://HOST` or `mqtts://HOST:PORT`.
    #[error("the address of a relay or broker has the form mqtts://HOST:PORT")]
    Form(String),
    /// A scheme this program does not speak.
    #[error("this program speaks mqtts:// and, where nobody else listens, mqtt://")]
    Scheme(String),
}

impl MqttAddress {
    /// On this machine, without TLS.
    pub fn here() -> Self {
        Self { host: "127.0.0.1".to_owned(), port: PORT, secure: false }
    }

    /// At `HOST:PORT`, with TLS.
    pub fn secure(host_and_port: &str) -> Result<Self, BadMqttAddress> {
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
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Whether only this machine and a network of one's own are on the way: the host is this machine, or an address that is
    /// private (RFC 1918, RFC 4193) or local to the link.
    pub fn is_near(&self) -> bool {
        match self.bare_host().parse::<IpAddr>() {
            Ok(IpAddr::V4(v4)) => v4.is_loopback() || v4.is_private() || v4.is_link_local(),
            Ok(IpAddr::V6(v6)) => v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local(),
            Err(_) => self.is_here(),
        }
    }

    /// The port; unless told 8883, without TLS 1883.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for MqttAddress {
    type Err = BadMqttAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || BadMqttAddress::Form(text.to_owned());
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(form)?;
        let secure = match scheme {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(BadMqttAddress::Scheme(text.to_owned())),
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

impl TryFrom<String> for MqttAddress {
    type Error = BadMqttAddress;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<MqttAddress> for String {
    fn from(address: MqttAddress) -> Self {
        format!("{}://{address}", if address.secure { "mqtts" } else { "mqtt" })
    }
}

/// `HOST:PORT`
impl fmt::Display for MqttAddress {
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
            let address: MqttAddress = text.parse().unwrap();
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
            assert_eq!(bad.parse::<MqttAddress>(), Err(BadMqttAddress::Form(bad.to_owned())), "{bad}");
        }
        assert!("http://h".parse::<MqttAddress>().unwrap_err().to_string().contains("mqtts://"));
    }

    #[test]
    fn this_machine_is_known_by_its_addresses_and_name() {
        let here = |text: &str| text.parse::<MqttAddress>().unwrap().is_here();
        assert!(here("mqtt://127.0.0.1") && here("mqtt://[::1]:9") && here("mqtts://localhost"));
        assert!(!here("mqtt://10.0.0.7") && !here("mqtt://relay.example") && !here("mqtt://[fe80::1]"));
        let near = |text: &str| text.parse::<MqttAddress>().unwrap().is_near();
        assert!(
            near("mqtt://10.0.0.7")
                && near("mqtt://[fe80::1]")
                && near("mqtt://localhost")
                && near("mqtt://192.168.1.1")
        );
        assert!(!near("mqtt://relay.example") && !near("mqtt://8.8.8.8") && !near("mqtt://[2001:db8::1]"));
        let one: MqttAddress = "mqtts://[::1]".parse().unwrap();
        assert_eq!(one.bare_host(), "::1");
    }
}
