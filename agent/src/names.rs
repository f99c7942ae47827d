//! By which names browsers may reach the agent. Pure.
//!
//! - A web page can have its own name lead to this machine (DNS rebinding), and what its browser then sends looks as if it were asked of
//!   the page's own site. So a name that somebody else may have registered is answered with a sentence.
//! - Addresses, names without a dot and names below domains that nobody can register lead here because somebody in this network
//!   said so: to whom a cookie was given under that name is answered under it.
//! - Whoever needs no cookie, for it is on this machine, is answered under names alone that nobody else in the network can have lead
//!   here: a neighbour may answer for any `.local`.

use std::net::Ipv6Addr;

use axum::http::header::HOST;
use axum::http::{HeaderMap, HeaderValue};

/// Domains below which nobody can register a name: RFC 6761, RFC 6762, RFC 8375, ICANN's for private use; and two that home
/// routers use and that are not delegated.
const PRIVATE: [&str; 6] = ["localhost", "local", "home.arpa", "internal", "lan", "home"];

/// What this machine is called.
#[derive(Debug, Clone, Default)]
pub struct Names(Vec<String>);

impl Names {
    /// This machine's own, beside `push_host` of the configuration.
    pub fn of_this_machine(push_host: Option<&str>) -> Self {
        let own = gethostname::gethostname().into_string().ok();
        Self(push_host.map(str::to_owned).into_iter().chain(own).map(|name| plain(&name)).collect())
    }

    /// The host that `headers` name, if it may be somebody else's. Where there is none no browser asks.
    pub fn stranger(&self, headers: &HeaderMap) -> Option<String> {
        headers.get_all(HOST).iter().find(|host| !self.is_ours(host)).map(shown)
    }

    /// Whether nobody else can have had the host that `headers` name lead here: it is an address, or what this machine calls itself.
    pub fn is_certain(&self, headers: &HeaderMap) -> bool {
        let is_own = |name: &String| is_address(name) || name == "localhost" || self.0.contains(name);
        headers.get_all(HOST).iter().all(|host| name(host).is_some_and(|name| is_own(&name)))
    }

    fn is_ours(&self, host: &HeaderValue) -> bool {
        name(host).is_some_and(|name| is_address(&name) || is_private(&name) || self.0.contains(&name))
    }
}

/// The name in it, if it has the form of a host.
fn name(host: &HeaderValue) -> Option<String> {
    host.to_str().ok().and_then(without_port).map(plain)
}

/// Without a port, if it has the form of a host.
fn without_port(host: &str) -> Option<&str> {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let name = match host.rsplit_once(':') {
        Some((name, port)) if is_port(port) && (name.ends_with(']') || !name.contains(':')) => name,
        _ => host,
    };
    let inner = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    let is_named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'%');
    (!inner.is_empty() && inner.bytes().all(is_named)).then_some(name)
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

fn is_address(name: &str) -> bool {
    match name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(v6) => v6.split('%').next().is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()),
        None => name.parse::<std::net::Ipv4Addr>().is_ok(),
    }
}

fn is_private(name: &str) -> bool {
    let ends_so = |domain: &str| name.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'));
    !name.contains(['.', ':', '[']) || PRIVATE.iter().any(|domain| ends_so(domain))
}

/// Enough of a header to recognise it.
fn shown(host: &HeaderValue) -> String {
    String::from_utf8_lossy(host.as_bytes()).chars().filter(|c| !c.is_control()).take(60).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stranger(host: &str) -> Option<String> {
        let names = Names(vec!["pi.example.org".to_owned()]);
        names.stranger(&HeaderMap::from_iter([(HOST, HeaderValue::from_str(host).unwrap())]))
    }

    #[test]
    fn names_that_somebody_in_this_network_gave_are_ours() {
        for host in [
            "192.168.1.9:8000",
            "127.0.0.1",
            "[::1]:8000",
            "[fd00::9]",
            "[fe80::1%25eth0]:8000",
            "localhost:8000",
            "pi",
            "Pi:8000",
            "gaitway.local:8000",
            "gaitway.local.:8000",
            "pi.fritz.home.arpa",
            "agent.internal",
            "pi.lan",
            "PI.example.org:80",
        ] {
            assert_eq!(stranger(host), None, "{host}");
        }
        assert_eq!(Names::default().stranger(&HeaderMap::new()), None);
    }

    #[test]
    fn a_name_that_a_neighbour_may_answer_for_is_not_certain() {
        let names = Names(vec!["pi".to_owned(), "pi.example.org".to_owned()]);
        let is_certain =
            |host: &'static str| names.is_certain(&HeaderMap::from_iter([(HOST, HeaderValue::from_static(host))]));
        for host in ["127.0.0.1:8000", "[::1]", "192.168.1.9", "localhost:8000", "Pi:8000", "pi.example.org."] {
            assert!(is_certain(host), "{host}");
        }
        for host in ["evil.local", "evil", "pi.local:8000", "pi.lan", "x.localhost", "evil.home", "", "a b"] {
            assert!(!is_certain(host), "{host}");
        }
        let two = [(HOST, HeaderValue::from_static("pi")), (HOST, HeaderValue::from_static("evil.local"))];
        assert!(!names.is_certain(&two.into_iter().collect()));
        assert!(Names::default().is_certain(&HeaderMap::new()), "no browser asks so");
    }

    #[test]
    fn names_that_somebody_else_may_have_registered_are_not() {
        for host in [
            "evil.example",
            "evil.example:8000",
            "pi.example.org.evil.example",
            "xpi.example.org",
            "local.evil.example",
            "evillocal.example",
            "127.0.0.1.evil.example",
            "192.168.1.9.nip.io:8000",
            "1.2.3.4.5",
            "[evil.example]",
            "[::1].evil.example",
            "a b",
            "",
            ":8000",
            "evil.example:80:80",
        ] {
            assert!(stranger(host).is_some(), "{host:?}");
        }
        let two = [(HOST, HeaderValue::from_static("pi")), (HOST, HeaderValue::from_static("evil.example"))];
        assert!(Names::default().stranger(&two.into_iter().collect()).is_some());
    }

    proptest! {
        #[test]
        fn what_is_ours_has_no_dot_before_a_foreign_domain(
            name in "[a-z0-9.:\\[\\]-]{0,20}", domain in "(com|org|example|io|de)", port in "(:[0-9]{1,5})?",
        ) {
            let host = format!("{name}.{domain}{port}");
            prop_assert!(stranger(&host).is_some(), "{}", host);
        }

        #[test]
        fn no_header_panics(host in prop::collection::vec(any::<u8>(), 0..100)) {
            let Ok(host) = HeaderValue::from_bytes(&host) else { return Ok(()) };
            let _ = Names::default().stranger(&HeaderMap::from_iter([(HOST, host)]));
        }
    }
}
