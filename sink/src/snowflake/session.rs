//! The ingest host and the scoped token for it: reading the answers, and knowing when a token should be replaced. Pure.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use reqwest::Url;
use serde::Deserialize;

/// The life of a token that does not say it: as documented, an hour.
const USUAL_LIFE: Duration = Duration::from_secs(3_600);

/// A host and the right to write there.
#[derive(Debug, Clone)]
pub(super) struct Session {
    /// `https://host[:port]`
    pub(super) base: String,
    /// The host alone, the scope of its tokens.
    pub(super) scope: String,
    pub(super) token: Token,
    /// Counts hosts: one that was found anew is another.
    pub(super) generation: u64,
}

/// A scoped token. It is not shown.
#[derive(Clone)]
pub(super) struct Token {
    pub(super) text: String,
    replace: Instant,
    ends: Instant,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

impl Token {
    /// From the answer of the token exchange: the bare token, or `{"token": …}`.
    pub(super) fn read(body: &[u8], now: Instant) -> Option<Self> {
        let text = text(body, "token")?;
        let life = life(&text).unwrap_or(USUAL_LIFE);
        Some(Self { text, replace: now + life.mul_f64(0.75), ends: now + life })
    }

    /// Whether it is time for another.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        now >= self.replace
    }

    /// Whether it is still good.
    pub(super) fn is_good(&self, now: Instant) -> bool {
        now < self.ends
    }
}

/// The ingest host, from the answer of the host discovery: bare, or `{"hostname": …}`; its base address and its scope.
/// Where the account is reached at a port of its own, so is a host that names none.
pub(super) fn read_host(body: &[u8], account_url: &str) -> Option<(String, String)> {
    let host = text(body, "hostname")?.replace('_', "-");
    let mut url = Url::parse(&format!("https://{host}")).ok()?;
    if url.path() != "/" || url.query().is_some() || !url.username().is_empty() {
        return None;
    }
    if url.port().is_none()
        && let Some(port) = Url::parse(account_url).ok()?.port()
    {
        url.set_port(Some(port)).ok()?;
    }
    let scope = url.host_str()?.to_owned();
    Some((url.as_str().trim_end_matches('/').to_owned(), scope))
}

/// The text of a body that is bare, a JSON string, or an object with `key`.
fn text(body: &[u8], key: &str) -> Option<String> {
    let body = std::str::from_utf8(body).ok()?.trim();
    let text = match serde_json::from_str::<serde_json::Value>(body) {
        Ok(serde_json::Value::Object(object)) => object.get(key)?.as_str()?.to_owned(),
        Ok(serde_json::Value::String(text)) => text,
        _ => body.to_owned(),
    };
    let plain = !text.is_empty() && text.len() < 16 * 1024 && text.chars().all(|c| c.is_ascii_graphic());
    plain.then_some(text)
}

/// How long a token lives that is a JWT and says so; its own clock counts, not this machine's.
fn life(token: &str) -> Option<Duration> {
    #[derive(Deserialize)]
    struct Claims {
        iat: u64,
        exp: u64,
    }
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?).ok()?;
    let Claims { iat, exp } = serde_json::from_slice(&claims).ok()?;
    Some(Duration::from_secs(exp.checked_sub(iat)?).clamp(Duration::from_secs(1), USUAL_LIFE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "https://org-acct.snowflakecomputing.com";

    #[test]
    fn a_host_is_read_in_either_form() {
        let found = Some(("https://a-b.snowflakecomputing.com".to_owned(), "a-b.snowflakecomputing.com".to_owned()));
        for body in [
            "a_b.snowflakecomputing.com\n",
            r#"{"hostname":"a_b.snowflakecomputing.com"}"#,
            r#""a-b.snowflakecomputing.com""#,
        ] {
            assert_eq!(read_host(body.as_bytes(), ACCOUNT), found, "{body}");
        }
        for body in ["", "{}", "a b", "<html>", "host/path", "user@host", r#"{"hostname":7}"#] {
            assert_eq!(read_host(body.as_bytes(), ACCOUNT), None, "{body}");
        }
    }

    #[test]
    fn a_port_of_the_account_is_the_hosts_too() {
        let local = "https://127.0.0.1:4711";
        let found = Some((local.to_owned(), "127.0.0.1".to_owned()));
        assert_eq!(read_host(b"127.0.0.1", local), found);
        assert_eq!(read_host(b"{\"hostname\":\"127.0.0.1:4711\"}", ACCOUNT), found);
    }

    #[test]
    fn a_token_is_replaced_before_it_ends_by_its_own_clock() {
        let now = Instant::now();
        let claims = URL_SAFE_NO_PAD.encode(r#"{"iat":1000,"exp":1100}"#);
        let jwt = format!("e30.{claims}.sig");
        for body in [jwt.clone(), format!("{{\"token\":\"{jwt}\"}}")] {
            let token = Token::read(body.as_bytes(), now).unwrap();
            assert_eq!(token.text, jwt);
            assert!(!token.is_due(now + Duration::from_secs(74)) && token.is_due(now + Duration::from_secs(75)));
            assert!(token.is_good(now + Duration::from_secs(99)) && !token.is_good(now + Duration::from_secs(100)));
            assert_eq!(format!("{token:?}"), "Token");
        }
        let opaque = Token::read(b"opaque", now).unwrap();
        assert!(opaque.is_due(now + USUAL_LIFE.mul_f64(0.75)) && !opaque.is_due(now + USUAL_LIFE / 2));
        assert!(Token::read(b"", now).is_none() && Token::read(b"{}", now).is_none());
    }
}
