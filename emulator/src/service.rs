//! From an HTTP request to its answer: routes, faults, identity, and the call itself.
//!
//! - A call meets its fault first, then its identity is checked, then it is done; every call is counted once.
//! - No lock is held while a body is read, decoded or parsed.

use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post, put};
use gaitway_service::clock;
use serde::Deserialize;

use crate::auth::Auth;
use crate::faults::{Fault, Met, Plan};
use crate::options::Options;
use crate::requests::{Call, Requests};
use crate::streaming::refusal::Refusal;
use crate::streaming::{PipeName, Settings, Streaming};

mod account;
mod answer;
mod pipes;

use account::Statements;
pub(crate) use answer::HangUp;
use answer::refuse;

/// No body that is longer is read to its end.
const LONGEST_BODY: usize = 64 << 20;

/// Everything that an emulator knows.
#[derive(Debug)]
pub(crate) struct Service {
    pub(crate) options: Options,
    pub(crate) port: u16,
    pub(crate) auth: Auth,
    pub(crate) clock: Clock,
    streaming: Mutex<Streaming>,
    faults: Mutex<Plan>,
    requests: Mutex<Requests>,
    statements: Mutex<Statements>,
}

/// Milliseconds since the Unix epoch. Commits follow a clock that nobody sets, tokens one that tests may set wrong.
#[derive(Debug)]
pub(crate) struct Clock {
    start_ms: u64,
    started: Instant,
    offset_ms: AtomicI64,
}

impl Clock {
    fn new() -> Self {
        let start_ms = u64::try_from(clock::now_micros() / 1_000).unwrap_or(0);
        Self { start_ms, started: Instant::now(), offset_ms: AtomicI64::new(0) }
    }

    pub(crate) fn steady(&self) -> u64 {
        self.start_ms.saturating_add(millis(self.started.elapsed()))
    }

    fn of_tokens(&self) -> u64 {
        self.steady().saturating_add_signed(self.offset_ms.load(Ordering::Relaxed))
    }

    pub(crate) fn set_offset(&self, offset_ms: i64) {
        self.offset_ms.store(offset_ms, Ordering::Relaxed);
    }
}

/// What a request is about.
#[derive(Debug)]
enum Target {
    Hostname,
    Token,
    Telemetry,
    Statement,
    Poll(String),
    PipeInfo(PipeName),
    Status(PipeName),
    Open(PipeName, String),
    Drop(PipeName, String),
    Append(PipeName, String),
    Nothing,
}

impl Target {
    fn call(&self) -> Call {
        match self {
            Self::Hostname => Call::Hostname,
            Self::Token => Call::Token,
            Self::Telemetry => Call::Telemetry,
            Self::Statement | Self::Poll(_) => Call::Statement,
            Self::PipeInfo(_) => Call::PipeInfo,
            Self::Status(_) => Call::Status,
            Self::Open(..) => Call::Open,
            Self::Drop(..) => Call::Drop,
            Self::Append(..) => Call::Append,
            Self::Nothing => Call::Other,
        }
    }

    /// The pipe and the channels that the request names.
    fn names(&self, body: &[u8]) -> Option<(&PipeName, Vec<String>)> {
        match self {
            Self::Open(pipe, channel) | Self::Drop(pipe, channel) | Self::Append(pipe, channel) => {
                Some((pipe, vec![channel.clone()]))
            }
            Self::Status(pipe) => {
                let names = serde_json::from_slice::<Names>(body).map(|names| names.channel_names);
                Some((pipe, names.unwrap_or_default()))
            }
            _ => None,
        }
    }
}

/// The body of a status call.
#[derive(Debug, Deserialize)]
struct Names {
    channel_names: Vec<String>,
}

/// What a fault changes in a call that is done all the same.
#[derive(Debug, Default)]
struct Bent {
    /// So many rows are refused.
    reject: u64,
    /// The status of a channel that was just opened.
    code: Option<String>,
    /// The statement's result is not there yet.
    pending: bool,
}

type Shared = Arc<Service>;
type PipePath = Path<(String, String, String)>;
type ChannelPath = Path<(String, String, String, String)>;

/// All routes.
pub(crate) fn router(service: Shared) -> Router {
    const CHANNEL: &str = "/databases/{database}/schemas/{schema}/pipes/{pipe}/channels/{channel}";
    Router::new()
        .route("/v2/streaming/hostname", get(|s: State<Shared>, r: Request| s.0.run(Target::Hostname, r)))
        .route("/oauth/token", post(|s: State<Shared>, r: Request| s.0.run(Target::Token, r)))
        .route("/telemetry/send/sessionless", post(|s: State<Shared>, r: Request| s.0.run(Target::Telemetry, r)))
        .route("/api/v2/statements", post(|s: State<Shared>, r: Request| s.0.run(Target::Statement, r)))
        .route(
            "/api/v2/statements/{handle}",
            get(|s: State<Shared>, Path(handle): Path<String>, r: Request| s.0.run(Target::Poll(handle), r)),
        )
        .route(
            "/v2/streaming/databases/{database}/schemas/{schema}/pipes/{pipe}",
            post(|s: State<Shared>, path: PipePath, r: Request| s.0.run(pipe_target(path), r)),
        )
        .route(
            &format!("/v2/streaming{CHANNEL}"),
            put(|s: State<Shared>, path: ChannelPath, r: Request| s.0.run(channel_target(path, Target::Open), r))
                .delete(|s: State<Shared>, path: ChannelPath, r: Request| {
                    s.0.run(channel_target(path, Target::Drop), r)
                }),
        )
        .route(
            &format!("/v2/streaming/data{CHANNEL}/rows"),
            post(|s: State<Shared>, path: ChannelPath, r: Request| s.0.run(channel_target(path, Target::Append), r)),
        )
        .fallback(|s: State<Shared>, r: Request| s.0.run(Target::Nothing, r))
        .with_state(service)
}

/// `{pipe}:{action}`.
fn pipe_target(Path((database, schema, last)): PipePath) -> Target {
    match last.rsplit_once(':') {
        Some((pipe, "pipe-info")) => Target::PipeInfo(PipeName::new(&database, &schema, pipe)),
        Some((pipe, "bulk-channel-status")) => Target::Status(PipeName::new(&database, &schema, pipe)),
        _ => Target::Nothing,
    }
}

fn channel_target(path: ChannelPath, target: fn(PipeName, String) -> Target) -> Target {
    let Path((database, schema, pipe, channel)) = path;
    target(PipeName::new(&database, &schema, &pipe), channel)
}

impl Service {
    pub(crate) fn new(options: Options, port: u16) -> anyhow::Result<Self> {
        let [lifetime, ahead] = [options.scoped_token_lifetime, options.clock_tolerance].map(millis);
        let settings = Settings {
            commit_lag_ms: millis(options.commit_lag),
            replay: options.replay,
            requests_per_second: options.requests_per_second,
        };
        Ok(Self {
            port,
            auth: Auth::new(&options.account, &options.user, &options.role, lifetime, ahead)?,
            clock: Clock::new(),
            streaming: Mutex::new(Streaming::new(settings, &options.database, options.tables.iter().cloned())),
            faults: Mutex::default(),
            requests: Mutex::default(),
            statements: Mutex::default(),
            options,
        })
    }

    pub(crate) fn streaming(&self) -> MutexGuard<'_, Streaming> {
        lock(&self.streaming)
    }

    pub(crate) fn faults(&self) -> MutexGuard<'_, Plan> {
        lock(&self.faults)
    }

    pub(crate) fn requests(&self) -> MutexGuard<'_, Requests> {
        lock(&self.requests)
    }

    async fn run(self: Arc<Self>, target: Target, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let answer = match to_bytes(body, LONGEST_BODY).await {
            Ok(body) => self.meet(&target, &parts, body).await,
            Err(_) => StatusCode::BAD_REQUEST.into_response(),
        };
        let closed = answer.extensions().get::<HangUp>().is_some();
        let status = if closed { 0 } else { answer.status().as_u16() };
        self.requests().count(target.call(), status);
        if let Target::Append(..) = target {
            let query = parts.uri.query().unwrap_or_default().as_bytes();
            let field =
                |name| form_urlencoded::parse(query).find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
            let retries = field("retryCount").and_then(|retries| retries.parse().ok());
            self.requests().note(field("requestId").unwrap_or_default(), retries, status);
        }
        answer
    }

    /// Lets the call meet its fault, and does it unless the fault forbids it.
    async fn meet(&self, target: &Target, parts: &Parts, body: Bytes) -> Response {
        let names = target.names(&body);
        let channels = names.as_ref().map_or_else(Vec::new, |(_, channels)| channels.clone());
        let met = self.faults().meet(target.call(), &channels);
        let Some(Met { fault, channel }) = met else { return self.answer(target, parts, &body, &Bent::default()) };
        let mut bent = Bent::default();
        match &fault {
            Fault::NoAnswer => {
                self.requests().count(target.call(), 0);
                return std::future::pending().await;
            }
            Fault::Slow { by } => tokio::time::sleep(*by).await,
            Fault::RejectRows { rows } => bent.reject = *rows,
            Fault::OpenNotSuccess { code } => bent.code = Some(code.clone()),
            Fault::ChannelWiped | Fault::ChannelInvalid { .. } => {
                if let Some((pipe, channels)) = names {
                    self.harm(&fault, pipe, &channel.map_or(channels, |channel| vec![channel]));
                }
            }
            Fault::StatementPending => bent.pending = true,
            Fault::ResponseLost | Fault::DoneThenUnavailable => {}
            _ => return answer::instead(&fault, channels.first().map_or("", String::as_str)),
        }
        let answer = self.answer(target, parts, &body, &bent);
        match fault {
            Fault::ResponseLost => HangUp { reset: false }.into_response(),
            Fault::DoneThenUnavailable => answer::instead(&Fault::Unavailable { retry_after: None }, ""),
            _ => answer,
        }
    }

    /// What a fault does to channels before the call is looked at.
    fn harm(&self, fault: &Fault, pipe: &PipeName, channels: &[String]) {
        let now = self.clock.steady();
        let mut streaming = self.streaming();
        for channel in channels {
            match fault {
                Fault::ChannelInvalid { code } => streaming.invalidate(pipe, channel, code),
                // A channel that is not there is as good as wiped.
                _ => drop(streaming.drop_channel(now, pipe, channel)),
            }
        }
    }

    fn answer(&self, target: &Target, parts: &Parts, body: &[u8], bent: &Bent) -> Response {
        let known = match target {
            Target::Hostname | Target::Token | Target::Telemetry | Target::Statement | Target::Poll(_) => {
                self.bearer(target, parts, "KEYPAIR_JWT", |now, jwt| self.auth.check_key_pair(now, jwt))
            }
            Target::Nothing => Ok(()),
            _ => self.bearer(target, parts, "OAUTH", |now, token| self.auth.check_scoped(now, token)),
        };
        let answer = known.and_then(|()| match target {
            Target::Hostname => Ok(self.hostname(parts)),
            Target::Token => self.token(parts, body),
            Target::Telemetry => Ok(answer::telemetry()),
            Target::Statement => self.statement(body, bent.pending),
            Target::Poll(handle) => self.poll(handle, bent.pending),
            Target::PipeInfo(pipe) => self.pipe_info(pipe),
            Target::Status(pipe) => self.status(pipe, body),
            Target::Open(pipe, channel) => self.open(pipe, channel, body, bent.code.as_deref()),
            Target::Drop(pipe, channel) => self.drop_channel(pipe, channel),
            Target::Append(pipe, channel) => self.append(pipe, channel, parts, body, bent.reject),
            Target::Nothing => Ok(answer::no_page()),
        });
        answer.unwrap_or_else(|refusal| refuse(&refusal))
    }

    /// The bearer token of a request, checked as one of the type that is asked for.
    fn bearer(
        &self,
        target: &Target,
        parts: &Parts,
        wanted: &str,
        check: impl FnOnce(u64, &str) -> Result<(), String>,
    ) -> Result<(), Refusal> {
        let refuse = |why: String| Refusal::new(401, "390144", format!("token is invalid: {why}"));
        let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
        match header("x-snowflake-authorization-token-type") {
            Some(kind) if kind == wanted => {}
            // The reference of the SQL API says that there it may be left out.
            None if matches!(target, Target::Statement | Target::Poll(_)) => {}
            kind => return Err(refuse(format!("its type is said to be {}, not {wanted}", kind.unwrap_or("none")))),
        }
        let token = header("authorization").and_then(|value| value.strip_prefix("Bearer "));
        let token = token.ok_or_else(|| refuse("there is none".into()))?;
        check(self.clock.of_tokens(), token).map_err(refuse)
    }
}

/// A test that panicked while it held the lock has failed by itself; others go on.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A body of JSON.
fn json(status: u16, value: &serde_json::Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, [("content-type", "application/json")], Body::from(value.to_string())).into_response()
}
