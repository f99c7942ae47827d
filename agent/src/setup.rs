//! The set-up page, `/setup`: a link and QR codes that set Sensor Logger up, what to do by hand, and a light that says
//! that the phone is heard.
//!
//! - It is shown to readers. A phone's token is shown to the browser that came by the phone's own link, and to the one
//!   that makes it.
//! - A token is made for programs on this machine and for browsers whose link said so, and only from the page itself:
//!   nothing that another site has a browser send.
//! - Without a list of phones there are no tokens, and the page says that anybody may push.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::http::header::{HOST, LOCATION, ORIGIN, REFERRER_POLICY, USER_AGENT};
use axum::http::{HeaderMap, HeaderName, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use gaitway_proto::schema;
use gaitway_service::clock;
use gaitway_service::server::Caller;
use tokio::sync::watch;

use crate::addresses;
use crate::api::shape::sentence;
use crate::ingest::http::check_origin;
use crate::names::Names;
use crate::page::{Page, Viewer};
use crate::phones::{Refused, Token};

mod code;
mod held;
mod light;
mod link;
mod terminal;
mod view;

pub use code::Code;
use held::Held;
pub use terminal::beside;

use light::{LATELY, Light};
use link::{Sensors, link};
use view::{For, Links, Shown};

/// Of the form's body: a name and a choice.
const LONGEST_FORM: usize = 4 << 10;
const FORM_WITHIN: Duration = Duration::from_secs(10);

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// A form names its site to it: without a word of where it comes from, a browser says that it comes from nowhere.
const REFERRERS: (HeaderName, &str) = (REFERRER_POLICY, "same-origin");

/// What the set-up page needs beside the page.
#[derive(Debug)]
pub(crate) struct Setup {
    /// What this machine is called in push URLs, if that is told.
    pub(crate) push_host: Option<String>,
    /// Its name in the network by mDNS, such as `pi.local`, while it has one.
    pub(crate) local: watch::Receiver<Option<String>>,
    /// Tokens that are being shown.
    pub(crate) held: Held,
}

impl Setup {
    /// One that shows no token yet.
    pub(crate) fn new(push_host: Option<String>, local: watch::Receiver<Option<String>>) -> Self {
        Self { push_host, local, held: Held::default() }
    }
}

/// The routes for readers.
pub(crate) fn pages() -> Router<Arc<Page>> {
    Router::new().route("/setup", get(shown).post(add))
}

async fn shown(
    State(page): State<Arc<Page>>,
    Extension(viewer): Extension<Viewer>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let sensors = Sensors::said(field(uri.query().unwrap_or_default().as_bytes(), "sensors").as_deref());
    show(&page, &viewer, &headers, (StatusCode::OK, None), sensors)
}

async fn add(
    State(page): State<Arc<Page>>,
    Extension(viewer): Extension<Viewer>,
    Extension(names): Extension<Arc<Names>>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    let refused =
        |status, why: &str| show(&page, &viewer, &headers, (status, Some(why.to_owned())), Sensors::default());
    let is_of_a_page = headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE);
    if !is_of_a_page || check_origin(&headers, &names).is_err() {
        return refused(StatusCode::FORBIDDEN, "A phone is added by this page's own form, not from another site.");
    }
    if !viewer.may_add {
        return refused(StatusCode::FORBIDDEN, "This browser may not add phones.");
    }
    let caller = request.extensions().get::<Caller>().cloned();
    let body = tokio::time::timeout(FORM_WITHIN, axum::body::to_bytes(request.into_body(), LONGEST_FORM)).await;
    let Ok(Ok(body)) = body else {
        return refused(StatusCode::BAD_REQUEST, "The form did not come whole.");
    };
    caller.iter().for_each(Caller::has_asked);
    let sensors = Sensors::said(field(&body, "sensors").as_deref());
    let name = field(&body, "name").unwrap_or_default().trim().to_owned();
    let Ok(token) = Token::random() else {
        return refused(StatusCode::INTERNAL_SERVER_ERROR, "This machine has no random numbers for a token.");
    };
    let (phones, added, given) = (Arc::clone(&page.phones), name.clone(), token.clone());
    let now = schema::rfc3339(clock::now_micros().div_euclid(1_000_000) * 1_000_000_000);
    let changed = tokio::task::spawn_blocking(move || phones.change(|phones| phones.add(&added, &given, now))).await;
    match changed {
        Ok(Ok(Ok(()))) => {
            tracing::info!(phone = %name, "a phone was added on the set-up page");
            if let Some(browser) = &viewer.browser {
                page.setup.held.hold(browser.token_sha256.clone(), name, token, Instant::now());
                let back = format!("/setup?sensors={}", sensors.as_str());
                return (StatusCode::SEE_OTHER, [(LOCATION, back)]).into_response();
            }
            let links = links(&page, &headers, Some(&token), sensors);
            let whose = For::Phone { name: &name, ago: 0, once: true };
            respond(&page, &viewer, StatusCode::OK, (whose, Some(links), None), sensors)
        }
        Ok(Ok(Err(why))) => {
            let status = if matches!(why, Refused::BadName) { StatusCode::BAD_REQUEST } else { StatusCode::CONFLICT };
            show(&page, &viewer, &headers, (status, Some(sentence(&why.to_string()))), sensors)
        }
        Ok(Err(error)) => {
            tracing::error!("no phone was added on the set-up page: {error}");
            refused(StatusCode::INTERNAL_SERVER_ERROR, NOT_WRITTEN)
        }
        Err(_) => StatusCode::SERVICE_UNAVAILABLE.into_response(),
    }
}

/// What is said where a list was to be changed.
pub(crate) const NOT_WRITTEN: &str = "The list could not be written: nothing was changed. The agent's log says why.";

const UNUSABLE: &str = "The list of phones cannot be used, so nobody may push: the agent's log says why.";

/// What there is to see for `viewer` when nothing was added.
fn show(
    page: &Page,
    viewer: &Viewer,
    headers: &HeaderMap,
    (status, problem): (StatusCode, Option<String>),
    sensors: Sensors,
) -> Response {
    let listed = page.phones.current();
    let browser = viewer.browser.as_ref();
    let held = browser.and_then(|browser| page.setup.held.of(&browser.token_sha256, Instant::now()));
    // What was taken out of force since is of no use to anybody.
    let held =
        held.filter(|(_, token, _)| matches!(&listed, Ok(Some(phones)) if phones.with_token(token.reveal()).is_some()));
    let (whose, links, problem) = match (&listed, &held) {
        (Err(_), _) => (For::Nobody, None, problem.or_else(|| Some(UNUSABLE.to_owned()))),
        (_, Some((name, token, ago))) => (
            For::Phone { name, ago: ago.as_secs(), once: false },
            Some(links(page, headers, Some(token), sensors)),
            problem,
        ),
        (Ok(None), None) => (For::Anybody, Some(links(page, headers, None, sensors)), problem),
        (Ok(Some(_)), None) if viewer.may_add => (For::Adding, None, problem),
        (Ok(Some(_)), None) => match browser.and_then(|browser| browser.of_phone.as_deref()) {
            Some(name) => (For::Forgotten(name), None, problem),
            None => (For::Nobody, None, problem),
        },
    };
    respond(page, viewer, status, (whose, links, problem), sensors)
}

fn respond(
    page: &Page,
    viewer: &Viewer,
    status: StatusCode,
    (whose, links, problem): (For<'_>, Option<Links>, Option<String>),
    sensors: Sensors,
) -> Response {
    let awaited = match whose {
        For::Phone { name, ago, .. } => Some((Some(name), ago)),
        For::Forgotten(name) => Some((Some(name), LATELY)),
        For::Anybody => Some((None, LATELY)),
        // There is no phone yet that could be heard.
        For::Adding | For::Nobody => None,
    };
    let shown = Shown {
        light: awaited.map(|(name, ago)| Light::of(&page.now(), name, ago)),
        whose,
        links,
        sensors,
        may_add: viewer.may_add,
        flag: &page.flag,
        // A name is given where something else passes phones on.
        is_for_this_machine: page.listener.ip().is_loopback() && page.setup.push_host.is_none(),
        port: page.listener.port(),
        problem,
    };
    (status, [REFERRERS], view::page(&shown)).into_response()
}

/// Links for a phone that pushes with `token`, or without one where there are none.
fn links(page: &Page, headers: &HeaderMap, token: Option<&Token>, sensors: Sensors) -> Links {
    let token = token.map(Token::reveal);
    let Setup { push_host, local, .. } = &page.setup;
    let mut urls = addresses::push_urls(page.listener, page.is_https, push_host.as_deref());
    // Of several addresses the one by which this page was reached is reached by the phone too.
    let asked = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if let Some(at) = urls.iter().position(|url| url.ends_with(&format!("://{asked}/data"))) {
        urls.swap(0, at);
    }
    let local = local.borrow().clone();
    let local = local.filter(|_| push_host.is_none());
    let by_address = urls.first().cloned().unwrap_or_default();
    let by_name = local.and_then(|name| addresses::by_name(&name, page.listener, page.is_https));
    let by_name = by_name.map(|url| format!("{url}/data"));
    let push_urls = by_name.iter().chain(&urls).map(|url| match token {
        Some(token) => format!("{url}/{token}"),
        None => url.clone(),
    });
    let user_agent = headers.get(USER_AGENT).and_then(|agent| agent.to_str().ok()).unwrap_or_default();
    Links {
        push_urls: push_urls.collect(),
        ios: link(by_name.as_ref().unwrap_or(&by_address), token, sensors),
        android: link(&by_address, token, sensors),
        is_ios: ["iPhone", "iPad", "iPod"].iter().any(|device| user_agent.contains(device)),
    }
}

/// A field of a query or of a form.
fn field(text: &[u8], name: &str) -> Option<String> {
    form_urlencoded::parse(text).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

#[cfg(test)]
mod tests;
