//! Where the relay is: `mqtt://HOST:PORT`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const DEFAULT_PORT: u16 = 1883;

/// The relay's address. The host is a name, an IPv4 address, or an IPv6 address in brackets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RelayAddress {
    host: String,
    port: u16,
}

/// Why a text is not a relay's address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRelayAddress {
    /// Not of the form `mqtt://HOST` or `mqtt://HOST:PORT`.
    #[error("a relay's address has the form mqtt://HOST:PORT")]
    Form(String),
    /// A scheme this program does not speak.
    #[error("this program speaks mqtt:// only; put an encrypted tunnel around it")]
    Scheme(String),
}

impl RelayAddress {
    /// The host; an IPv6 address stands in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port, 1883 unless told.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl FromStr for RelayAddress {
    type Err = BadRelayAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || BadRelayAddress::Form(text.to_owned());
        let (scheme, rest) = text.trim().split_once("://").ok_or_else(form)?;
        if scheme != "mqtt" {
            return Err(BadRelayAddress::Scheme(text.to_owned()));
        }
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let after_brackets = rest.rfind(']').map_or(0, |at| at + 1);
        let (host, port) = match rest[after_brackets..].find(':') {
            Some(colon) => {
                let (host, port) = rest.split_at(after_brackets + colon);
                (host, port[1..].parse().ok().filter(|port| *port != 0).ok_or_else(form)?)
            }
            None => (rest, DEFAULT_PORT),
        };
        let valid = if let Some(v6) = host.strip_prefix('[').and_then(|h| h.strip_suffix(']')) {
            v6.parse::<std::net::Ipv6Addr>().is_ok()
        } else {
            let of_a_name = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
            !host.is_empty() && host.bytes().all(of_a_name)
        };
        if valid { Ok(Self { host: host.to_owned(), port }) } else { Err(form()) }
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
        format!("mqtt://{address}")
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
        for (text, host, port) in [
            ("mqtt://relay.example:1999", "relay.example", 1999),
            ("mqtt://10.0.0.7", "10.0.0.7", 1883),
            ("mqtt://[::1]:1884/", "[::1]", 1884),
            ("mqtt://[fe80::1]", "[fe80::1]", 1883),
        ] {
            let address: RelayAddress = text.parse().unwrap();
            assert_eq!((address.host(), address.port()), (host, port), "{text}");
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
        assert!("mqtts://h".parse::<RelayAddress>().unwrap_err().to_string().contains("mqtt:// only"));
    }
}
