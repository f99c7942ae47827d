//! The door for phones: `POST /data` and `POST /sensor-data`.
//!
//! - 200 only after the writer says that the push is on the disk.
//! - A body is decoded, parsed and packed outside the writer's thread; it is never copied.
//! - A connection that sends its head or body too slowly, or leaves an answer unread, ends; their number and the bytes of
//!   bodies held are bounded.

use std::collections::HashMap;
use std::io::Read as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use bytes::Bytes;
use gaitway_proto::limits;
use gaitway_service::clock;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use hyper::body::Body as _;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, SemaphorePermit, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;

use super::{Refusal, parse};
use crate::metrics::AgentMetrics;
use crate::writer::{Accepted, Command, Received};

/// The status whose text the app shows to the person who holds the phone.
const SHOWN_ON_PHONE: u16 = 499;

/// Connections at most; beyond it new ones wait in the system's queue.
const CONNECTIONS: usize = 512;

const HEAD_WITHIN: Duration = Duration::from_secs(10);
const BODY_WITHIN: Duration = Duration::from_secs(30);

/// How long a client may leave an answer unread.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of bodies held at a time; beyond it pushes wait for room, as long as a body may take to arrive.
const BODIES: usize = 32 * 1024 * 1024;

/// A body above this size is parsed on a thread where it holds up no other connection, one at a time: in memory it may
/// become many times what it was.
const LARGE: usize = 256 * 1024;

const SAY_EVERY: Duration = Duration::from_secs(60);

/// How long answers under way may take once the agent shuts down.
const GRACE: Duration = Duration::from_secs(5);

/// What a push needs.
#[derive(Debug, Clone)]
pub struct Door {
    /// The writer.
    pub writer: mpsc::Sender<Command>,
    /// What is counted.
    pub metrics: AgentMetrics,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    door: Door,
    /// One permit a byte.
    bodies: Semaphore,
    large: Semaphore,
    refusals: Refusals,
}

/// The routes for pushes.
pub fn router(door: Door) -> Router {
    let shared =
        Shared { door, bodies: Semaphore::new(BODIES), large: Semaphore::new(1), refusals: Refusals::default() };
    Router::new()
        .route("/data", pushes())
        .route("/sensor-data", pushes())
        .fallback(elsewhere)
        .with_state(Arc::new(shared))
}

async fn elsewhere() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "Nothing is here. Sensor Logger pushes to /data on this address.\n")
}

fn pushes() -> MethodRouter<Arc<Shared>> {
    let explain = async || {
        let text = "Sensor Logger pushes to this address. Set it as the push URL in the app's settings.\n";
        (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, HeaderValue::from_static("POST"))], text)
    };
    post(push).fallback(explain)
}

/// Serves `router` until `shutdown`, then finishes what is under way.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = accept(&listener, &places) => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, place)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                connections.spawn(async move {
                    connection(stream, router, shutdown).await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    drop(listener);
    let finished = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, finished).await.is_err() {
        tracing::warn!(connections = connections.len(), "connections were still busy and are dropped");
        connections.shutdown().await;
    }
    Ok(())
}

/// The next connection, once there is a place for it.
async fn accept(listener: &TcpListener, places: &Arc<Semaphore>) -> std::io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    Ok((listener.accept().await?.0, place))
}

async fn connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection cannot be made to answer at once");
    }
    let mut stream = Box::pin(TimeoutStream::new(stream));
    stream.as_mut().set_write_timeout_pinned(Some(ANSWER_WITHIN));
    let service = TowerToHyperService::new(router);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_WITHIN)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = shutdown.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection failed");
    }
}

async fn push(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match take(&shared, request).await {
        Ok(Accepted { readings, .. }) => success(readings),
        Err(refusal) => {
            shared.door.metrics.refuse(refusal.reason());
            shared.refusals.say(&refusal);
            refusal.into_response()
        }
    }
}

async fn take(shared: &Shared, request: Request) -> Result<Accepted, Refusal> {
    let gzip = is_gzip(&request)?;
    let told = request.body().size_hint().exact().filter(|_| !gzip);
    let _held = reserve(&shared.bodies, told).await?;
    let body = read_body(request.into_body()).await?;
    let (received_at, clock_synced) = (clock::now_micros(), clock::synchronised());
    let large = gzip || body.len() > LARGE;
    let work = move || {
        let body = if gzip { gunzip(&body)? } else { body };
        parse(&body).map(|push| (push, body))
    };
    let (push, body) = if large {
        let _turn = shared.large.acquire().await.map_err(|_| Refusal::Closing)?;
        tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Closing)??
    } else {
        work()?
    };
    if push.test {
        return Ok(Accepted { readings: 0, duplicate: false });
    }

    let bytes = body.len() as u64;
    let (answer, answered) = oneshot::channel();
    let received = Box::new(Received { push, body, received_at, clock_synced });
    shared.door.writer.send(Command::Push(received, answer)).await.map_err(|_| Refusal::Closing)?;
    let accepted = answered.await.map_err(|_| Refusal::Closing)??;
    if !accepted.duplicate {
        shared.door.metrics.received.inc_by(bytes);
    }
    Ok(accepted)
}

/// Room for a body: as much as it says it has, all that it may have where it does not say.
async fn reserve(bodies: &Semaphore, told: Option<u64>) -> Result<SemaphorePermit<'_>, Refusal> {
    let told = told.unwrap_or(limits::MAX_BODY as u64);
    if told > limits::MAX_BODY as u64 {
        return Err(Refusal::too_large("the body", limits::MAX_BODY));
    }
    match tokio::time::timeout(BODY_WITHIN, bodies.acquire_many(told as u32)).await {
        Ok(Ok(held)) => Ok(held),
        Ok(Err(_)) => Err(Refusal::Closing),
        Err(_) => Err(Refusal::Busy),
    }
}

/// Says once a minute for each reason that pushes are refused.
#[derive(Debug, Default)]
struct Refusals(Mutex<HashMap<&'static str, Instant>>);

impl Refusals {
    fn say(&self, refusal: &Refusal) {
        let now = Instant::now();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = said.get(refusal.reason());
        if last.is_none_or(|last| now.saturating_duration_since(*last) >= SAY_EVERY) {
            said.insert(refusal.reason(), now);
            tracing::warn!(reason = refusal.reason(), %refusal, "pushes are refused");
        }
    }
}

/// The bytes of a body, at most [`limits::MAX_BODY`].
async fn read_body(body: Body) -> Result<Bytes, Refusal> {
    let collected = tokio::time::timeout(BODY_WITHIN, Limited::new(body, limits::MAX_BODY).collect()).await;
    match collected {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(Refusal::too_large("the body", limits::MAX_BODY)),
        Ok(Err(error)) => Err(Refusal::Encoding(format!("the body did not arrive whole: {error}"))),
        Err(_) => Err(Refusal::Slow(BODY_WITHIN)),
    }
}

fn is_gzip(request: &Request) -> Result<bool, Refusal> {
    let Some(encoding) = request.headers().get(header::CONTENT_ENCODING) else { return Ok(false) };
    match encoding.as_bytes().to_ascii_lowercase().as_slice() {
        b"" | b"identity" => Ok(false),
        b"gzip" | b"x-gzip" => Ok(true),
        _ => Err(Refusal::Encoding("the body's Content-Encoding is neither gzip nor identity".to_owned())),
    }
}

/// The decoded body, at most [`limits::MAX_BODY`].
fn gunzip(body: &[u8]) -> Result<Bytes, Refusal> {
    let mut decoded = Vec::with_capacity(limits::MAX_BODY.min(body.len() * 8));
    let limit = limits::MAX_BODY as u64 + 1;
    flate2::read::MultiGzDecoder::new(body)
        .take(limit)
        .read_to_end(&mut decoded)
        .map_err(|error| Refusal::Encoding(format!("the body is not gzip: {error}")))?;
    if decoded.len() > limits::MAX_BODY {
        return Err(Refusal::too_large("the decoded body", limits::MAX_BODY));
    }
    Ok(Bytes::from(decoded))
}

fn success(readings: u32) -> Response {
    let body = format!(r#"{{"status":"success","processed_readings":{readings}}}"#);
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::NotJson(_) | Self::NotAPush(_) | Self::Encoding(_) => StatusCode::BAD_REQUEST,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::Closing | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoRoom(sentence) => {
                let shown = StatusCode::from_u16(SHOWN_ON_PHONE).expect("499 is a status");
                return (shown, sentence.clone()).into_response();
            }
        };
        let message = gaitway_proto::value::Value::from(self.to_string().as_str()).to_json();
        let body = format!(r#"{{"status":"error","message":{message}}}"#);
        (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
