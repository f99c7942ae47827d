//! What is answered at each path. What is said above each is said in the document of the API, too.

use std::sync::Arc;

use axum::Extension;
use axum::extract::{Path, RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use gaitway_proto::schema;
use gaitway_service::clock;
use gaitway_service::server::Caller;
use serde::Serialize;

use super::Api;
use super::events;
use super::openapi::DOCUMENT;
#[cfg(test)]
use super::openapi::made::{Guarded, OfHistory, OfPhone, OfViewers};
use super::problem::Problem;
use super::query::{Asked, LIMIT};
use super::shape::{Activities, SessionWindow, ShownPhones, ShownWindow, Windows};
#[cfg(test)]
use super::shape::{SeenPhone, Status};
use crate::page::Pass;
use crate::recent::Recent;

const SECOND: i64 = 1_000_000_000;

fn json(shown: &impl Serialize) -> Response {
    let text = serde_json::to_vec(shown).expect("what is shown is text and numbers");
    ([(CONTENT_TYPE, "application/json")], text).into_response()
}

/// The agent now: its phones, what waits for the relay, and what should not be so.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/status",
    responses((status = 200, description = "The agent now", body = Status), Guarded)
))]
pub(super) async fn status(State(api): State<Arc<Api>>) -> Response {
    json(&api.page.now())
}

/// The phones heard since the agent's start, the last heard first.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/phones",
    responses((status = 200, description = "The phones", body = ShownPhones), Guarded)
))]
pub(super) async fn phones(State(api): State<Arc<Api>>) -> Response {
    json(&ShownPhones { phones: api.page.now().phones })
}

/// One phone, if it was heard since the agent's start.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/phones/{deviceId}",
    params(("deviceId" = String, Path, description = "As the phone tells it")),
    responses((status = 200, description = "The phone", body = SeenPhone), Guarded, OfPhone)
))]
pub(super) async fn phone(State(api): State<Arc<Api>>, Path(device): Path<String>) -> Result<Response, Problem> {
    if let Some(phone) = api.page.now().phones.into_iter().find(|phone| phone.device_id == device) {
        return Ok(json(&phone));
    }
    let shown = device.clone();
    // Where the history cannot be read, nobody knows of it either.
    let is_kept = api.read(move |recent| recent.newest(&device)).await.is_ok_and(|newest| newest.is_some());
    Err(if is_kept { Problem::unheard_phone(&shown) } else { Problem::unknown_phone(&shown) })
}

/// A phone's closed windows, in the order of their ends; of the last 48 hours.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/phones/{deviceId}/windows",
    params(
        ("deviceId" = String, Path, description = "As the phone tells it"),
        ("from" = Option<String>, Query, format = DateTime,
            description = "Windows that end then or later, phone's clock; five minutes before to, if it is not told"),
        ("to" = Option<String>, Query, format = DateTime,
            description = "Windows that end then or earlier, phone's clock; the last that there is, if it is not told"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 5000,
            description = "The most of them, 500 if it is not told; those that end at the same moment stay together")
    ),
    responses((status = 200, description = "The windows", body = Windows), Guarded, OfPhone, OfHistory)
))]
pub(super) async fn windows(
    State(api): State<Arc<Api>>,
    Path(device): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let asked = Asked::read(query.as_deref(), true)?;
    let is_seen = api.is_seen(&device);
    let shown = device.clone();
    let read = move |recent: &Recent| {
        let newest = recent.newest(&device)?;
        let (from, to) = asked.span(newest.unwrap_or(0), 5 * 60 * SECOND);
        let limit = asked.limit.unwrap_or(LIMIT);
        let windows = recent.windows(&device, from, to, limit)?;
        let after = windows.last().filter(|_| windows.len() >= limit).and_then(|(_, last)| last.end.checked_add(1));
        let next = match after {
            Some(after) if !recent.windows(&device, after, to, 1)?.is_empty() => Some(after),
            _ => None,
        };
        Ok((newest.is_some(), windows, next))
    };
    let (is_kept, windows, next) = api.read(read).await?;
    if !is_seen && !is_kept {
        return Err(Problem::unknown_phone(&shown));
    }
    let shown = |(session_id, window): (String, _)| SessionWindow { window: ShownWindow::of(&window), session_id };
    Ok(json(&Windows { windows: windows.into_iter().map(shown).collect(), next: next.map(schema::rfc3339) }))
}

/// What a phone's owner did, neighbouring windows of one activity together; of the last 48 hours.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/phones/{deviceId}/activities",
    params(
        ("deviceId" = String, Path, description = "As the phone tells it"),
        ("from" = Option<String>, Query, format = DateTime,
            description = "Beginning of the span, phone's clock; 24 hours before to, if it is not told"),
        ("to" = Option<String>, Query, format = DateTime,
            description = "End of the span, phone's clock; now, if it is not told, or the end of a last window after that")
    ),
    responses((status = 200, description = "The activities, in order", body = Activities), Guarded, OfPhone, OfHistory)
))]
pub(super) async fn activities(
    State(api): State<Arc<Api>>,
    Path(device): Path<String>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let asked = Asked::read(query.as_deref(), false)?;
    let is_seen = api.is_seen(&device);
    let shown = device.clone();
    let now = clock::now_micros().saturating_mul(1_000);
    let read = move |recent: &Recent| {
        let newest = recent.newest(&device)?;
        let (from, to) = asked.span(newest.map_or(now, |newest| newest.max(now)), 24 * 3600 * SECOND);
        // Nothing is between a time and itself or an earlier one.
        let stretches = if from < to { recent.activities(&device, from, to)? } else { Vec::new() };
        Ok((newest.is_some(), stretches))
    };
    let (is_kept, stretches) = api.read(read).await?;
    if !is_seen && !is_kept {
        return Err(Problem::unknown_phone(&shown));
    }
    Ok(json(&Activities::of(&stretches)))
}

/// What changes, as it does: `event: status` with a `Status` at once, after each change at most once a second, and every
/// 5 s anyway; `event: motion` with a `Motion` after each push that is on the disk. Who reads slowly misses motions, never
/// the newest status.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/events",
    responses(
        (status = 200, description = "Server-sent events", body = String, content_type = "text/event-stream"),
        Guarded,
        OfViewers
    )
))]
pub(super) async fn follow(
    State(api): State<Arc<Api>>,
    caller: Option<Extension<Caller>>,
    pass: Option<Extension<Pass>>,
) -> Result<Response, Problem> {
    let (caller, pass) = (caller.map(|Extension(caller)| caller), pass.map(|Extension(pass)| pass));
    let place = api.viewers.admit(caller.as_ref().map(Caller::address))?;
    Ok(events::stream(api.live.listen(), place, pass, caller, api.shutdown.clone()))
}

/// This document.
#[cfg_attr(test, utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    responses((status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"), Guarded)
))]
pub(super) async fn document() -> Response {
    ([(CONTENT_TYPE, "application/json")], DOCUMENT).into_response()
}
