//! A client of the emulator as a test writes one: each call as the facts describe it, nothing retried, nothing hidden.

#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test's part, which clippy cannot see")]

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use gaitway_emulator::{ColumnType, Emulator, Options, Table};
use rcgen::KeyPair;
use reqwest::blocking::{Client, RequestBuilder, Response};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};

/// Says of which kind a bearer token is.
pub(crate) const TOKEN_TYPE: &str = "x-snowflake-authorization-token-type";

/// How long anything may take that is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The table that tests write to.
pub(crate) fn options() -> Options {
    let table = Table::new("S", "T").column("n", ColumnType::Number(19)).column("name", ColumnType::Text);
    Options { tables: vec![table], commit_lag: Duration::ZERO, ..Options::default() }
}

/// An emulator and a client that trusts its CA alone.
pub(crate) struct World {
    pub(crate) emulator: Emulator,
    pub(crate) http: Client,
    pub(crate) token: String,
}

impl World {
    pub(crate) fn new(options: Options) -> Self {
        let mut world = Self::without_token(options);
        world.token = world.scoped_token();
        world
    }

    pub(crate) fn without_token(options: Options) -> Self {
        let emulator = Emulator::start(options).unwrap();
        Self { http: client(&emulator, PATIENCE), emulator, token: String::new() }
    }

    pub(crate) fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(format!("{}{path}", self.emulator.url()))
    }

    pub(crate) fn post(&self, path: &str) -> RequestBuilder {
        self.http.post(format!("{}{path}", self.emulator.url()))
    }

    /// With the scoped token.
    fn scoped(&self, request: RequestBuilder) -> RequestBuilder {
        request.bearer_auth(&self.token).header(TOKEN_TYPE, "OAUTH")
    }

    /// A request for a scoped token with `jwt`.
    pub(crate) fn ask_token(&self, jwt: &str) -> RequestBuilder {
        let body = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&scope=127.0.0.1";
        let request = key_pair(self.post("/oauth/token"), jwt);
        request.header("content-type", "application/x-www-form-urlencoded").body(body)
    }

    pub(crate) fn scoped_token(&self) -> String {
        let answer = self.ask_token(&jwt(&self.emulator, 0)).send().unwrap();
        assert_eq!(answer.status(), 200);
        body(answer)["token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn ask_open(&self, channel: &str, body: &Value) -> RequestBuilder {
        let path = format!("/v2/streaming/databases/ACTIVITY_DB/schemas/S/pipes/T-STREAMING/channels/{channel}");
        let request = self.scoped(self.http.put(format!("{}{path}", self.emulator.url())));
        request.header("content-type", "application/json").body(body.to_string())
    }

    /// Opens a channel; its continuation token.
    pub(crate) fn open(&self, channel: &str) -> String {
        let answer = self.ask_open(channel, &json!({"fail_on_uncommitted_rows": true})).send().unwrap();
        assert_eq!(answer.status(), 200);
        body(answer)["next_continuation_token"].as_str().unwrap().to_owned()
    }

    pub(crate) fn ask_append(&self, channel: &str, token: &str, end: u64, rows: impl Into<Vec<u8>>) -> RequestBuilder {
        let path =
            format!("/v2/streaming/data/databases/activity_db/schemas/s/pipes/t-streaming/channels/{channel}/rows");
        self.scoped(self.post(&path))
            .query(&[("startOffsetToken", "0"), ("endOffsetToken", &end.to_string()), ("continuationToken", token)])
            .header("content-type", "application/x-ndjson")
            .body(rows.into())
    }

    /// Appends the row `n` under the offset `n`.
    pub(crate) fn append(&self, channel: &str, token: &str, n: u64) -> reqwest::Result<Response> {
        self.ask_append(channel, token, n, format!("{{\"n\":{n}}}\n")).send()
    }

    pub(crate) fn ask_status(&self, channels: &[&str]) -> RequestBuilder {
        let path = "/v2/streaming/databases/ACTIVITY_DB/schemas/S/pipes/T-STREAMING:bulk-channel-status";
        self.scoped(self.post(path)).body(json!({"channel_names": channels}).to_string())
    }

    pub(crate) fn status(&self, channel: &str) -> Value {
        let answer = self.ask_status(&[channel]).send().unwrap();
        assert_eq!(answer.status(), 200);
        body(answer)["channel_statuses"][channel].clone()
    }

    pub(crate) fn drop_channel(&self, channel: &str) -> Response {
        let path = format!("/v2/streaming/databases/ACTIVITY_DB/schemas/S/pipes/T-STREAMING/channels/{channel}");
        self.scoped(self.http.delete(format!("{}{path}", self.emulator.url()))).send().unwrap()
    }

    pub(crate) fn statement(&self, statement: &str) -> Response {
        let request = self.post("/api/v2/statements?requestId=1").bearer_auth(jwt(&self.emulator, 0));
        request.body(json!({"statement": statement, "schema": "S"}).to_string()).send().unwrap()
    }

    /// The committed rows' numbers.
    pub(crate) fn numbers(&self) -> Vec<u64> {
        self.emulator.rows("S", "T").iter().map(|row| row["n"].as_u64().unwrap()).collect()
    }
}

/// With a key-pair JWT.
pub(crate) fn key_pair(request: RequestBuilder, jwt: &str) -> RequestBuilder {
    request.bearer_auth(jwt).header(TOKEN_TYPE, "KEYPAIR_JWT")
}

pub(crate) fn client(emulator: &Emulator, timeout: Duration) -> Client {
    // A second installation of the same provider is refused, and may be.
    drop(rustls::crypto::ring::default_provider().install_default());
    let ca = reqwest::Certificate::from_pem(emulator.ca_pem().as_bytes()).unwrap();
    Client::builder().tls_certs_only([ca]).timeout(timeout).no_proxy().build().unwrap()
}

pub(crate) fn body(answer: Response) -> Value {
    serde_json::from_str(&answer.text().unwrap()).unwrap()
}

/// The continuation token of an append's answer.
pub(crate) fn next(answer: reqwest::Result<Response>) -> String {
    let answer = answer.unwrap();
    assert_eq!(answer.status(), 200);
    body(answer)["next_continuation_token"].as_str().unwrap().to_owned()
}

/// The status and the code of a refusal.
pub(crate) fn refusal(answer: Response) -> (u16, String) {
    (answer.status().as_u16(), body(answer)["code"].as_str().unwrap().to_owned())
}

/// A key-pair JWT of a client whose clock is off by `seconds`.
pub(crate) fn jwt(emulator: &Emulator, seconds: i64) -> String {
    let now = gaitway_service::clock::now_micros() / 1_000_000 + seconds;
    let subject = format!("{}.{}", emulator.account(), emulator.user());
    let claims = json!({"iss": emulator.issuer(), "sub": subject, "iat": now, "exp": now + 3_540});
    let key = KeyPair::from_pem(emulator.private_key_pem()).unwrap();
    let key = RsaKeyPair::from_pkcs8(&key.serialize_der()).unwrap();
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(&json!({"alg": "RS256", "typ": "JWT"})), part(&claims));
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// Waits until `done`.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
