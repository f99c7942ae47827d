//! The door for phones: `POST /data` and `POST /sensor-data`.
//!
//! - 200 only after the writer says that the push is on the disk.
//! - A body is decoded, parsed and packed outside the writer's thread; it is never copied.
//! - A connection that sends its head or body too slowly ends; their number is bounded.

use std::io::Read as _;
use std::sync::Arc;
use std::time::Duration;

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
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
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

/// A body above this size is parsed on a thread where it holds up no other connection.
const LARGE: usize = 256 * 1024;

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

/// The routes for pushes.
pub fn router(door: Door) -> Router {
    Router::new().route("/data", pushes()).route("/sensor-data", pushes()).with_state(Arc::new(door))
}

fn pushes() -> MethodRouter<Arc<Door>> {
    let explain = async || {
        let text = "Sensor Logger pushes to this address. Set it as the push URL in the app's settings.\n";
        (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, HeaderValue::from_static("POST"))], text)
    };
    post(push).fallback(explain)
}

/// Serves `router` until `shutdown`, then finishes what is under way.
pub async fn serve(listener: TcpListener, router: Router, shutdown: CancellationToken) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let place = places.clone().acquire_owned().await?;
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (router, shutdown) = (router.clone(), shutdown.clone());
                tokio::spawn(async move {
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
    let all = u32::try_from(CONNECTIONS)?;
    if tokio::time::timeout(GRACE, places.acquire_many(all)).await.is_err() {
        tracing::warn!("connections were still busy and are dropped");
    }
    Ok(())
}

async fn connection(stream: TcpStream, router: Router, shutdown: CancellationToken) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a connection cannot be made to answer at once");
    }
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

async fn push(State(door): State<Arc<Door>>, request: Request) -> Response {
    match take(&door, request).await {
        Ok(Accepted { readings, .. }) => success(readings),
        Err(refusal) => {
            door.metrics.refuse(refusal.reason());
            tracing::debug!(%refusal, "push refused");
            refusal.into_response()
        }
    }
}

async fn take(door: &Door, request: Request) -> Result<Accepted, Refusal> {
    let gzip = is_gzip(&request)?;
    let body = read_body(request.into_body()).await?;
    let (received_at, clock_synced) = (clock::now_micros(), clock::synchronised());
    let large = gzip || body.len() > LARGE;
    let work = move || {
        let body = if gzip { gunzip(&body)? } else { body };
        parse(&body).map(|push| (push, body))
    };
    let (push, body) =
        if large { tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Closing)?? } else { work()? };
    if push.test {
        return Ok(Accepted { readings: 0, duplicate: false });
    }

    let bytes = body.len() as u64;
    let (answer, answered) = oneshot::channel();
    let received = Box::new(Received { push, body, received_at, clock_synced });
    door.writer.send(Command::Push(received, answer)).await.map_err(|_| Refusal::Closing)?;
    let accepted = answered.await.map_err(|_| Refusal::Closing)??;
    if !accepted.duplicate {
        door.metrics.received.inc_by(bytes);
    }
    Ok(accepted)
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
            Self::Closing => StatusCode::SERVICE_UNAVAILABLE,
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
