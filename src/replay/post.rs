//! One phone's connection to the agent.

use std::str::FromStr;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{CONTENT_TYPE, HeaderValue};
use reqwest::{Client, Response, StatusCode, Url};

/// After this the connection or answer counts as lost; the message is sent again.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How much of an answer is looked at, bytes, and how much of it is shown, characters.
const LONGEST_ANSWER: usize = 64 * 1024;
const LONGEST_REASON: usize = 300;

/// Where messages go: an `http` URL; without a path the app's `/data`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target(Url);

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let expected = "expected a URL such as http://192.168.1.20:8000/data";
        let mut url = Url::parse(text).map_err(|error| format!("{error}; {expected}"))?;
        if url.scheme() != "http" || !url.has_host() {
            return Err(format!("not plain http; {expected}"));
        }
        if url.path() == "/" {
            url.set_path("/data");
        }
        Ok(Self(url))
    }
}

/// What became of one try to send a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is stored.
    Accepted,
    /// It will never be stored as it is.
    Refused {
        /// HTTP status.
        status: u16,
        /// The sentence that came with it.
        reason: String,
    },
    /// It may go through later: no answer, or the service is overloaded or broken.
    Failed(String),
}

/// Sends messages over one connection that is kept open.
#[derive(Debug)]
pub(super) struct Postbox {
    client: Client,
    target: Target,
}

impl Postbox {
    /// A postbox for `target`; connects with the first message.
    pub(super) fn new(target: Target) -> reqwest::Result<Self> {
        // A client wants a provider even for plain HTTP as soon as any crate of the build asks for TLS; a second one is
        // refused, and may be.
        drop(rustls::crypto::ring::default_provider().install_default());
        let client = Client::builder()
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            // Nothing goes over TLS, and a small machine may have no authorities to ask for.
            .tls_certs_only([])
            .pool_max_idle_per_host(1)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(ANSWER_TIMEOUT)
            .user_agent(concat!("gaitway-replay/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self { client, target })
    }

    /// Tries once.
    pub(super) async fn post(&self, body: Bytes) -> Answer {
        let json = HeaderValue::from_static("application/json");
        match self.client.post(self.target.0.clone()).header(CONTENT_TYPE, json).body(body).send().await {
            Ok(response) => answer(response).await,
            Err(error) => Answer::Failed(format!("no answer from {}: {}", self.authority(), root_cause(&error))),
        }
    }

    fn authority(&self) -> String {
        let port = self.target.0.port_or_known_default().unwrap_or(80);
        format!("{}:{port}", self.target.0.host_str().unwrap_or_default())
    }
}

async fn answer(mut response: Response) -> Answer {
    let status = response.status();
    let mut text = Vec::new();
    // Read to its end, the connection can be used again; what a success says beyond its status changes nothing.
    while let Ok(Some(chunk)) = response.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() > LONGEST_ANSWER {
            break;
        }
    }
    if status.is_success() {
        return Answer::Accepted;
    }
    let reason = reason(&text);
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        Answer::Failed(format!("{} {reason}", status.as_u16()))
    } else {
        Answer::Refused { status: status.as_u16(), reason }
    }
}

fn root_cause(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// The sentence of an answer: a JSON object's own, else the text itself, on one line.
fn reason(text: &[u8]) -> String {
    let sentence = serde_json::from_slice::<serde_json::Value>(text).ok().and_then(|json| {
        let keys = ["message", "reason", "error", "detail"];
        keys.iter().find_map(|key| json.get(key)?.as_str().map(str::to_owned))
    });
    let sentence = sentence.unwrap_or_else(|| String::from_utf8_lossy(text).into_owned());
    let line = sentence.split_whitespace().collect::<Vec<_>>().join(" ");
    if line.is_empty() { "without a reason".to_owned() } else { line.chars().take(LONGEST_REASON).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_is_plain_http() {
        let url = |text: &str| text.parse::<Target>().map(|target| target.0.to_string());
        assert_eq!(url("http://127.0.0.1:8000"), Ok("http://127.0.0.1:8000/data".into()));
        assert_eq!(url("http://pi/sensor-data"), Ok("http://pi/sensor-data".into()));
        for bad in ["https://pi/data", "pi:8000", "", "file:///data"] {
            assert!(url(bad).unwrap_err().contains("expected a URL"), "{bad}");
        }
    }

    #[test]
    fn a_reason_is_one_sentence() {
        assert_eq!(reason(b"wrong token:\n scan again"), "wrong token: scan again");
        assert_eq!(reason(br#"{"status":"error","message":"no deviceId"}"#), "no deviceId");
        assert_eq!(reason(br#"{"status":"error"}"#), r#"{"status":"error"}"#);
        assert_eq!(reason(b" "), "without a reason");
        assert_eq!(reason(&[0xFF; 1_000]).chars().count(), LONGEST_REASON);
    }
}
