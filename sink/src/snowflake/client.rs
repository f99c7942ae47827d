//! The way to Snowflake that all channels share: one HTTP client, one ingest host, one scoped token.
//!
//! - A token is replaced before it ends, and once when it is not accepted; all channels use the new one (`access.rs`).
//! - No redirect is followed and nothing but HTTPS is spoken: a token goes to the host it is for.
//! - Calls block. They end with the answer, after [`Pace::answer`], or when the service stops.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use gaitway_service::clock;
use gaitway_service::secret::{self, Secret, SecretError};
use reqwest::header::{ACCEPT, CONTENT_ENCODING, CONTENT_TYPE, DATE, HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::answer::{Call, Failure, meaning};
use super::backoff::Pace;
use super::key::{BadKey, Key};
use super::options::Options;
use super::rows::Shelf;
use super::session::Session;
use super::tls;

mod access;

use access::Access;

/// The grant with which a key-pair token is exchanged for a scoped one (RFC 7523).
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// Says of which kind the bearer token is.
const TOKEN_TYPE: &str = "x-snowflake-authorization-token-type";

/// Greatest answer that is read, bytes.
const LONGEST_ANSWER: usize = 32 * 1024 * 1024;

/// The longest that a channel is left alone because the server asks for it.
const LONGEST_ASKED: Duration = Duration::from_secs(3_600);

/// How far the clock may be off before it is blamed, seconds.
const SKEW: i64 = 120;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Unreadable {
        /// Which.
        path: String,
        /// Why.
        error: std::io::Error,
    },
    /// A file with a secret cannot be used.
    #[error(transparent)]
    Secret(SecretError),
    /// There is no private key.
    #[error("there is no private key: set snowflake.private_key_file")]
    NoKey,
    /// The private key does not do.
    #[error("private key {path} {error}")]
    Key {
        /// Its file.
        path: String,
        /// Why.
        error: BadKey,
    },
    /// TLS cannot be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(String),
}

/// A way to Snowflake. Clones share it.
#[derive(Debug, Clone)]
pub struct Client(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: Options,
    key: Key,
    http: reqwest::Client,
    runtime: Handle,
    stop: CancellationToken,
    pace: Pace,
    clock: fn() -> i64,
    access: Access,
    shelf: Shelf,
}

/// One request to the ingest host.
pub(super) struct Request<'a> {
    pub(super) call: Call,
    pub(super) method: Method,
    /// Behind `/v2/streaming`.
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) id: Uuid,
    pub(super) retries: u32,
    pub(super) body: Body,
}

pub(super) enum Body {
    Json(String),
    Rows { zstd: Bytes, length: usize, since_ms: i64, session: Option<String> },
}

impl<'a> Request<'a> {
    /// A request with a body of JSON, or none.
    pub(super) fn json(call: Call, method: Method, path: &'a str, (id, retries): (Uuid, u32), body: String) -> Self {
        Self { call, method, path, query: &[], id, retries, body: Body::Json(body) }
    }
}

/// An answer with a success status.
pub(super) struct Reply {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Client {
    /// A client on the threads of `runtime`. Nothing is sent before the first call; calls come from threads outside of that
    /// runtime, and end early when `stop` is cancelled.
    pub fn new(options: Options, runtime: Handle, stop: CancellationToken) -> Result<Self, Unusable> {
        let read = |path: &Path| {
            let unreadable = |error| Unusable::Unreadable { path: path.display().to_string(), error };
            std::fs::read_to_string(path).map_err(unreadable)
        };
        let secret = |told: &Option<Secret>, file: &Option<PathBuf>| match (told, file) {
            (Some(told), _) => Ok(Some(told.clone())),
            (None, Some(file)) => secret::read(file).map(Some).map_err(Unusable::Secret),
            (None, None) => Ok(None),
        };
        let passphrase = secret(&options.private_key_passphrase, &options.private_key_passphrase_file)?;
        let key = secret(&options.private_key, &options.private_key_file)?.ok_or(Unusable::NoKey)?;
        let key = Key::read(key.reveal(), passphrase.as_ref().map(Secret::reveal)).map_err(|error| {
            let file = options.private_key_file.as_ref();
            Unusable::Key {
                path: file.map_or_else(|| "in the environment".into(), |file| file.display().to_string()),
                error,
            }
        })?;
        let authorities = options.ca_file.as_deref().map(read).transpose()?;
        let tls = tls::config(authorities.as_deref()).map_err(Unusable::Tls)?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(true)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(10))
            .user_agent(concat!("gaitway-sink/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| Unusable::Tls(error.to_string()))?;
        let (pace, clock) = (Pace::default(), clock::now_micros as fn() -> i64);
        let (access, shelf) = (Access::default(), Shelf::default());
        Ok(Self(Arc::new(Inner { options, key, http, runtime, stop, pace, clock, access, shelf })))
    }

    /// With another pace, and with a wall clock in microseconds since the Unix epoch; for tests.
    ///
    /// # Panics
    /// If the client has clones.
    #[must_use]
    pub fn paced(self, pace: Pace, clock: fn() -> i64) -> Self {
        let inner = Arc::into_inner(self.0).expect("a client is paced before it is shared");
        Self(Arc::new(Inner { pace, clock, ..inner }))
    }

    pub(super) fn options(&self) -> &Options {
        &self.0.options
    }

    pub(super) fn shelf(&self) -> &Shelf {
        &self.0.shelf
    }

    pub(super) fn pace(&self) -> Pace {
        self.0.pace
    }

    pub(super) fn now_ms(&self) -> i64 {
        (self.0.clock)() / 1_000
    }

    /// The public key's fingerprint, as `DESCRIBE USER` shows it in `RSA_PUBLIC_KEY_FP`.
    pub fn fingerprint(&self) -> &str {
        self.0.key.fingerprint()
    }

    /// Waits; false if the service stops meanwhile.
    pub(super) fn wait(&self, time: Duration) -> bool {
        self.wait_until(time, &self.0.stop)
    }

    /// As [`Self::wait`]; also false if `over` is cancelled meanwhile.
    pub(super) fn wait_until(&self, time: Duration, over: &CancellationToken) -> bool {
        self.0.runtime.block_on(async {
            tokio::select! {
                () = self.0.stop.cancelled() => false,
                () = over.cancelled() => false,
                () = tokio::time::sleep(time) => true,
            }
        })
    }

    /// Sends a request to the ingest host of `session`.
    pub(super) fn send(&self, session: &Session, request: Request<'_>) -> Result<Reply, Failure> {
        let Request { call, method, path, query, id, retries, body } = request;
        let builder = self.0.http.request(method, format!("{}/v2/streaming{path}", session.base)).query(query);
        let builder = named(builder, id, retries).bearer_auth(&session.token.text).header(TOKEN_TYPE, "OAUTH");
        let builder = match body {
            Body::Json(json) => builder.header(CONTENT_TYPE, "application/json").body(json),
            Body::Rows { zstd, length, since_ms, session } => {
                let builder = builder
                    .header(CONTENT_TYPE, "application/x-ndjson")
                    .header(CONTENT_ENCODING, "zstd")
                    .header("x-snowflake-uncompressed-content-length", length)
                    .header("x-snowflake-min-append-timestamp-ms", since_ms)
                    .body(zstd);
                match session {
                    Some(session) => builder.header("x-snowflake-session", session),
                    None => builder,
                }
            }
        };
        self.execute(call, builder).map(|(_, reply)| reply)
    }

    /// Sends a request to the account's host, with a token signed by the key. Also the status: statements have two.
    pub(super) fn account(&self, call: Call, builder: RequestBuilder) -> Result<Reply, Failure> {
        self.account_status(call, builder).map(|(_, reply)| reply)
    }

    pub(super) fn account_status(&self, call: Call, builder: RequestBuilder) -> Result<(u16, Reply), Failure> {
        let Options { role, .. } = &self.0.options;
        let role = role.as_ref().map(|role| role.to_ascii_uppercase());
        let (account, user) = (self.0.options.account_name(), self.0.options.user_name());
        let token = self.0.key.token(&account, &user, role.as_deref(), (self.0.clock)().div_euclid(1_000_000));
        self.execute(call, builder.bearer_auth(token).header(TOKEN_TYPE, "KEYPAIR_JWT"))
    }

    pub(super) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    fn execute(&self, call: Call, builder: RequestBuilder) -> Result<(u16, Reply), Failure> {
        let again = |why: String| Failure::Again { why: format!("{call}: {why}"), after: None };
        let whole = async {
            let mut response = builder.send().await.map_err(|error| again(cause(&error)))?;
            let mut body = Vec::new();
            while let Some(chunk) = response.chunk().await.map_err(|error| again(cause(&error)))? {
                if body.len() + chunk.len() > LONGEST_ANSWER {
                    return Err(Failure::Refused(format!("{call}: answer of more than {LONGEST_ANSWER} bytes")));
                }
                body.extend_from_slice(&chunk);
            }
            Ok((response.status(), response.headers().clone(), Bytes::from(body)))
        };
        let (status, headers, body) = self.0.runtime.block_on(async {
            tokio::select! {
                () = self.0.stop.cancelled() => Err(again("the service is stopping".into())),
                answered = tokio::time::timeout(self.0.pace.answer, whole) => {
                    answered.unwrap_or_else(|_| Err(again(format!("no answer for {} s", self.0.pace.answer.as_secs()))))
                }
            }
        })?;
        if status.is_success() {
            return Ok((status.as_u16(), Reply { headers, body }));
        }
        let text = |name| headers.get(&name).and_then(|value| value.to_str().ok());
        let after = text(RETRY_AFTER).and_then(asked);
        match meaning(call, status, after, &body) {
            Failure::Denied(why) => Err(Failure::Denied(self.advise(call, &why, text(DATE)))),
            failure => Err(failure),
        }
    }

    /// What to look at when Snowflake lets us not in.
    fn advise(&self, call: Call, why: &str, date: Option<&str>) -> String {
        let Options { account, user, role, database, .. } = &self.0.options;
        if let Some(ahead) = date.and_then(|date| ahead(date, (self.0.clock)()))
            && ahead.abs() > SKEW
        {
            let way = if ahead > 0 { "ahead of" } else { "behind" };
            return format!("{why}; the clock of this machine is {} s {way} Snowflake's: set it", ahead.abs());
        }
        let role = role.as_deref().map_or("the user's default role".to_owned(), |role| format!("role {role}"));
        match call {
            Call::Hostname | Call::Token | Call::Statement => format!(
                "{why}; check that account {account} and user {user} are right, that ALTER USER {user} SET RSA_PUBLIC_KEY \
                 holds the public half of the private key ({}), that {role} is the user's DEFAULT_ROLE, and that a network \
                 policy lets this machine in",
                self.fingerprint()
            ),
            Call::Open | Call::Append | Call::Status => format!(
                "{why}; {role} of user {user} must have USAGE on {database} and the table's schema, INSERT and SELECT on the \
                 table, and be the user's DEFAULT_ROLE"
            ),
        }
    }
}

/// With what every request has.
pub(super) fn named(builder: RequestBuilder, id: Uuid, retries: u32) -> RequestBuilder {
    let query = [("requestId", id.to_string()), ("retryCount", retries.to_string())];
    builder.query(&query).header(ACCEPT, "application/json")
}

/// How long to wait by a `Retry-After` in seconds; its other form, a date, is not Snowflake's.
fn asked(seconds: &str) -> Option<Duration> {
    let seconds = seconds.trim().parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_ASKED))
}

/// How many seconds a clock is ahead of the one that wrote `date` (RFC 9110).
fn ahead(date: &str, now_micros: i64) -> Option<i64> {
    let theirs = jiff::fmt::rfc2822::parse(date).ok()?.timestamp().as_second();
    Some(now_micros.div_euclid(1_000_000) - theirs)
}

fn unreadable(call: Call, body: &[u8]) -> Failure {
    let shown: String = String::from_utf8_lossy(&body[..body.len().min(100)]).escape_debug().collect();
    Failure::Again { why: format!("{call}: answer cannot be read: {shown}"), after: None }
}

/// The innermost reason: the outer ones repeat the address.
fn cause(error: &reqwest::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_server_asks_for_is_bounded() {
        assert_eq!(asked(" 30 "), Some(Duration::from_secs(30)));
        assert_eq!(asked("18446744073709551615"), Some(LONGEST_ASKED));
        assert_eq!(asked("Wed, 21 Oct 2026 07:28:00 GMT"), None);
    }

    #[test]
    fn the_date_of_an_answer_tells_how_wrong_the_clock_is() {
        let date = "Tue, 14 Nov 2023 22:13:20 GMT";
        assert_eq!(ahead(date, 1_700_000_000_999_999), Some(0));
        assert_eq!(ahead(date, 1_700_007_200_000_000), Some(7_200));
        assert_eq!(ahead(date, 1_699_999_990_000_000), Some(-10));
        assert_eq!(ahead("yesterday", 0), None);
    }
}
