//! The door for phones: `POST /data` and `POST /sensor-data`. One push's way:
//!
//! 1. `head` refuses what no phone sends, `access` who may not push, and `quota` who pushes too much, before a byte of the
//!    body is read.
//! 2. `body` waits for room, then reads it into one piece of memory.
//! 3. It is decoded, parsed and packed outside the writer's thread, and handed over without a copy. What its phone's owner
//!    does not want kept is not packed.
//! 4. The writer says that the push is on the disk: 200. Anything else is a sentence from `refusals`.
//!
//! - 200 only after the writer says that the push is on the disk.
//! - The bytes of bodies held are bounded, for each address and for all together.
//! - A body that may become large in memory is parsed alone.

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use gaitway_service::clock;
use gaitway_service::server::{self, Allowance, Caller};
use gaitway_service::tls::Tls;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{Refusal, parse_keeping};
use crate::metrics::AgentMetrics;
use crate::names::Names;
use crate::page::is_passed_on;
use crate::phones::PhonesFile;
use crate::status::AgentStatus;
use crate::writer::{Accepted, Command, Received};

mod access;
mod body;
mod head;
mod quota;
mod refusals;

use access::Pusher;
use body::Room;
use head::Coding;
pub(crate) use head::check_origin;
pub use quota::Quotas;
use refusals::Refusals;

/// Connections at a time, and bytes of bodies that one address may hold of [`body::BODIES`].
const ALLOWANCE: Allowance = Allowance { connections: 512, share: body::SHARE };

/// A body above this size is parsed on a thread where it holds up no other connection, one at a time: in memory it may
/// become many times what it was.
const LARGE: usize = 256 * 1024;

/// What a push needs.
#[derive(Debug)]
pub struct Door {
    /// The writer.
    pub writer: mpsc::Sender<Command>,
    /// What is counted.
    pub metrics: AgentMetrics,
    /// What is shown: of the test button, and of a push's motion.
    pub status: Arc<AgentStatus>,
    /// Who may push.
    pub phones: Arc<PhonesFile>,
    /// How much each may push.
    pub quotas: Quotas,
    /// By which names browsers may reach this machine.
    pub names: Names,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    door: Door,
    room: Room,
    large: Arc<Semaphore>,
    refusals: Refusals,
}

/// The routes for pushes.
pub fn router(door: Door) -> Router {
    let shared =
        Shared { door, room: Room::default(), large: Arc::new(Semaphore::new(1)), refusals: Refusals::default() };
    Router::new()
        .route("/data", pushes())
        .route("/data/{token}", pushes())
        .route("/sensor-data", pushes())
        .route("/sensor-data/{token}", pushes())
        .fallback(elsewhere)
        .with_state(Arc::new(shared))
}

/// Serves `router` until `shutdown`, then finishes what is under way.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    server::serve(listener, router, ALLOWANCE, tls, shutdown).await
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

async fn push(State(shared): State<Arc<Shared>>, token: Option<Path<String>>, request: Request) -> Response {
    let token = token.map(|Path(token)| token);
    match take(&shared, token.as_deref(), request).await {
        Ok(Accepted { readings, .. }) => success(readings),
        Err(refusal) => {
            shared.door.metrics.refuse(refusal.reason());
            shared.refusals.say(&refusal);
            if let Some(said) = refusals::for_the_page(&refusal) {
                shared.door.status.refused(said);
            }
            refusal.into_response()
        }
    }
}

async fn take(shared: &Shared, token: Option<&str>, request: Request) -> Result<Accepted, Refusal> {
    let coding = head::check(request.headers(), &shared.door.names)?;
    let pusher = access::pusher(&shared.door.phones, request.headers(), token)?;
    let is_known = matches!(pusher, Pusher::Phone(_));
    let caller = request.extensions().get::<Caller>().cloned();
    let is_here = caller.as_ref().is_some_and(Caller::is_here) && !is_passed_on(request.headers());
    let who = shared.door.quotas.who(&pusher, caller.as_ref().map(Caller::address), is_here);
    who.as_ref().map_or(Ok(()), |who| shared.door.quotas.admit(who, Instant::now()))?;
    let (body, _held) = shared.room.read(request.into_body(), coding, caller.as_ref()).await?;
    if let Some(caller) = &caller {
        caller.has_asked();
    }
    let (received_at, clock_synced) = (clock::now_micros(), clock::synchronised());
    let privacy = pusher.privacy();
    let large = coding == Coding::Gzip || body.len() > LARGE;
    let work = move || {
        let body = match coding {
            Coding::Plain => body,
            Coding::Gzip => body::gunzip(&body)?,
        };
        parse_keeping(&body, privacy).map(|push| (push, body))
    };
    let (push, body) = if large {
        let turn = shared.large.clone().acquire_owned().await.map_err(|_| Refusal::Closing)?;
        // The turn lasts as long as the work, whoever still waits for it.
        let work = move || {
            let _turn = turn;
            work()
        };
        tokio::task::spawn_blocking(work).await.map_err(|_| Refusal::Closing)??
    } else {
        work()?
    };
    if push.test {
        shared.door.status.tested(Some(push.device));
        return Ok(Accepted { readings: 0, duplicate: false });
    }

    access::admit(&shared.door.phones, pusher, &push.device).await?;
    if is_known && let Some(caller) = &caller {
        caller.vouch();
    }
    if let Some(who) = &who {
        shared.door.quotas.charge(who, body.len(), &push.session, Instant::now())?;
    }

    let bytes = body.len() as u64;
    let bins = shared.door.status.bins(&push);
    let (answer, answered) = oneshot::channel();
    let received = Box::new(Received { push, body, received_at, clock_synced, bins, lost: Vec::new() });
    shared.door.writer.send(Command::Push(received, answer)).await.map_err(|_| Refusal::Closing)?;
    let accepted = answered.await.map_err(|_| Refusal::Closing)??;
    if !accepted.duplicate {
        shared.door.metrics.received.inc_by(bytes);
    }
    Ok(accepted)
}

fn success(readings: u32) -> Response {
    let body = format!(r#"{{"status":"success","processed_readings":{readings}}}"#);
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
