//! The agent's page for people, at `/`; `/enter/<code>` lets a browser in. Programs are answered behind the same guards.
//!
//! - Who may look is looked at before anything is read.
//! - No script but the agent's own files, nothing of another host, and nothing that another site may frame or keep.
//! - Nothing is answered under a name that somebody else may have registered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Path, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, LOCATION, REFERRER_POLICY, SET_COOKIE};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use gaitway_proto::topic::AgentId;
use gaitway_service::clock;
use gaitway_service::server::Caller;
use maud::Markup;
use tokio::sync::watch;

use crate::api::problem::{Problem, is_for_programs};
use crate::api::shape::Status;
use crate::kept::{KeptFile, Unusable};
use crate::names::Names;
use crate::phones::{PhonesFile, Token, hash};
use crate::readers::{self, Readers, Refused};
use crate::service::door::OpenDoor;
use crate::setup::{self, Setup};
use crate::status::AgentStatus;

mod access;
mod assets;
mod live;
mod view;
mod words;

pub(crate) use access::{Viewer, is_passed_on};
pub(crate) use view::{document, still};
pub(crate) use words::duration;

/// What a page may load and do: what the agent itself serves, and nothing that stands in the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; \
                      form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

/// What programs are told that may not look.
const CLOSED: &str = "What phones do is shown to readers: programs on the machine where gaitway runs, and browsers that \
    came by a link of `gaitway agent reader add NAME` (with `--data-dir`, if the agent has one).";

/// What is said where nobody knows who may look.
const BROKEN: &str = "The list of readers cannot be used: the agent's log says why.";

/// What the page needs.
#[derive(Debug)]
pub(crate) struct Page {
    /// Who may look.
    pub(crate) readers: Arc<KeptFile<Readers>>,
    /// What phones are called.
    pub(crate) phones: Arc<PhonesFile>,
    /// What they do.
    pub(crate) status: Arc<AgentStatus>,
    /// The agent's name.
    pub(crate) agent: watch::Receiver<Option<AgentId>>,
    /// The listener.
    pub(crate) listener: SocketAddr,
    /// How commands name this agent.
    pub(crate) flag: String,
    /// The listener speaks HTTPS.
    pub(crate) is_https: bool,
    /// What phones are set up with.
    pub(crate) setup: Setup,
}

/// Why a request may see what is shown: for answers that go on.
#[derive(Debug, Clone)]
pub(crate) struct Pass {
    page: Arc<Page>,
    headers: HeaderMap,
    is_here: bool,
}

impl Pass {
    /// Whether it still may.
    pub(crate) fn holds(&self) -> bool {
        matches!(self.look(), Ok(Some(_)))
    }

    fn look(&self) -> Result<Option<Viewer>, Unusable> {
        let cookie = access::cookie_name(self.page.listener.port());
        access::viewer(&self.headers, self.is_here, &self.page.readers, &cookie, now())
    }
}

/// The routes for readers, with those `for_programs`.
pub(crate) fn router(page: Arc<Page>, for_programs: Router) -> Router {
    let guarded = Router::new()
        .route("/", get(shown))
        .merge(setup::pages())
        .with_state(page.clone())
        .merge(for_programs)
        .route_layer(middleware::from_fn_with_state(page.clone(), only_readers));
    Router::new()
        .route("/enter/{code}", get(offer).post(enter))
        .route("/E/{code}", get(short))
        .with_state(page)
        .merge(guarded)
        .merge(assets::routes())
        .layer(middleware::map_response(guard_headers))
}

/// Answers requests under other names than `names` knows with a sentence.
pub(crate) fn under_own_names(router: Router, names: Names) -> Router {
    let check = async |Extension(names): Extension<Arc<Names>>, request: Request, next: Next| match names
        .stranger(request.headers())
    {
        None => next.run(request).await,
        Some(stranger) => {
            let text = format!(
                "This agent is not known as {stranger}. If it should be, set push_host in its configuration, or use its \
                     address."
            );
            if is_for_programs(request.uri().path()) {
                return Problem::new(StatusCode::MISDIRECTED_REQUEST, text).into_response();
            }
            (StatusCode::MISDIRECTED_REQUEST, text + "\n").into_response()
        }
    };
    router.layer(middleware::from_fn(check)).layer(Extension(Arc::new(names)))
}

fn now() -> i64 {
    clock::now_micros().div_euclid(1_000_000)
}

async fn only_readers(State(page): State<Arc<Page>>, mut request: Request, next: Next) -> Response {
    let caller = request.extensions().get::<Caller>();
    // A page of this machine's browser may come by a name that a neighbour has lead here.
    let is_certain = |names: &Arc<Names>| names.is_certain(request.headers());
    let is_here =
        caller.is_some_and(Caller::is_here) && request.extensions().get::<Arc<Names>>().is_some_and(is_certain);
    let pass = Pass { page, headers: request.headers().clone(), is_here };
    let is_for_programs = is_for_programs(request.uri().path());
    match pass.look() {
        Ok(Some(viewer)) => {
            if let Some(caller) = caller {
                caller.vouch();
            }
            request.extensions_mut().insert(pass);
            request.extensions_mut().insert(viewer);
            next.run(request).await
        }
        Ok(None) if is_for_programs => Problem::new(StatusCode::FORBIDDEN, CLOSED).into_response(),
        Ok(None) => (StatusCode::FORBIDDEN, view::closed()).into_response(),
        Err(_) if is_for_programs => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, BROKEN).into_response(),
        Err(_) => broken(),
    }
}

async fn guard_headers(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (REFERRER_POLICY, "no-referrer"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

impl Page {
    /// What is shown at this moment.
    pub(crate) fn now(&self) -> Status {
        let phones = self.phones.current();
        let (agent, uplink) = (self.agent.borrow().clone(), self.status.uplink.snapshot());
        let open = OpenDoor::of(self.listener, &self.flag).said;
        let phones = phones.as_ref().map(Option::as_deref);
        Status::of(agent.as_ref(), self.status.snapshot(), &uplink, phones, &open, Instant::now())
    }
}

async fn shown(State(page): State<Arc<Page>>) -> Markup {
    live::page(&page.now())
}

/// A link that a small code holds leads to the one that is written.
async fn short(Path(code): Path<String>) -> Response {
    let link = format!("/enter/{}", readers::code_of_short(&code));
    match HeaderValue::from_str(&link) {
        Ok(link) if code.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            (StatusCode::SEE_OTHER, [(LOCATION, link)]).into_response()
        }
        _ => no_link(),
    }
}

async fn offer(State(page): State<Arc<Page>>, Path(code): Path<String>) -> Response {
    match page.readers.current() {
        Ok(Some(readers)) if readers.is_invited(&code, now()) => {
            view::enter(readers.lets_add(&code, now())).into_response()
        }
        Ok(_) => no_link(),
        Err(_) => broken(),
    }
}

async fn enter(State(page): State<Arc<Page>>, Path(code): Path<String>) -> Response {
    let in_force = match page.readers.current() {
        Ok(readers) => readers.is_some_and(|readers| readers.is_invited(&code, now())),
        Err(_) => return broken(),
    };
    if !in_force {
        return no_link();
    }
    let Ok(token) = Token::random() else {
        let text = "This machine has no random numbers for a cookie.";
        return (StatusCode::INTERNAL_SERVER_ERROR, view::sentence("Not now", text)).into_response();
    };
    let cookie = access::cookie(&access::cookie_name(page.listener.port()), token.reveal(), page.is_https);
    let (list, browser) = (Arc::clone(&page), hash(token.reveal()));
    let changed =
        tokio::task::spawn_blocking(move || list.readers.change(|readers| readers.enter(&code, &token, now()))).await;
    match changed {
        Ok(Ok(Ok(entered))) => {
            let path = if entered.may_add || entered.of_phone { "/setup" } else { "/" };
            if let Some(token) = entered.token {
                page.setup.held.hold(browser, entered.name, token, Instant::now());
            }
            (StatusCode::SEE_OTHER, [(LOCATION, path.to_owned()), (SET_COOKIE, cookie)]).into_response()
        }
        Ok(Ok(Err(Refused::NoLink))) => no_link(),
        Ok(Ok(Err(refused))) => {
            (StatusCode::FORBIDDEN, view::sentence("Not now", &refused.to_string())).into_response()
        }
        Ok(Err(error)) => {
            tracing::error!("nobody was let in by a link: {error}");
            (StatusCode::INTERNAL_SERVER_ERROR, view::sentence("Not now", setup::NOT_WRITTEN)).into_response()
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

fn no_link() -> Response {
    let text = "A link is good once and for an hour. On the machine where gaitway runs, `gaitway agent reader add NAME` \
                (with `--data-dir`, if the agent has one) makes a new one.";
    (StatusCode::FORBIDDEN, view::sentence("This link is not in force", text)).into_response()
}

/// Why is told by who watches the list, not by who asks.
fn broken() -> Response {
    (StatusCode::INTERNAL_SERVER_ERROR, view::sentence("Not now", BROKEN)).into_response()
}

#[cfg(test)]
mod tests;
