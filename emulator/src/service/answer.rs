//! Answers that need no state: refusals, faults, and the ways of not answering.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{HeaderValue, RETRY_AFTER};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::json;
use crate::faults::Fault;
use crate::streaming::open_in_progress;
use crate::streaming::refusal::{FAILED_OVER, NO_CHANNEL, Refusal, STALE, TOO_LARGE, TOO_MANY, UNCOMMITTED};

/// In the place of an answer: the connection is closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HangUp {
    /// With a reset rather than an orderly end.
    pub(crate) reset: bool,
}

impl IntoResponse for HangUp {
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        response.extensions_mut().insert(self);
        response
    }
}

pub(super) fn refuse(refusal: &Refusal) -> Response {
    json(refusal.status, &json!({"code": refusal.code, "message": refusal.message}))
}

pub(super) fn telemetry() -> Response {
    json(200, &json!({"data": "Log Received", "code": null, "message": null, "success": true}))
}

/// What a proxy answers that knows nothing of the service.
pub(super) fn no_page() -> Response {
    let page = "<html><body>404 Not Found</body></html>";
    (StatusCode::NOT_FOUND, [("content-type", "text/html")], page).into_response()
}

/// The answer of a fault that does not let the call be done.
pub(super) fn instead(fault: &Fault, channel: &str) -> Response {
    let injected = |status, code: &str| refuse(&Refusal::new(status, code, "injected fault"));
    match fault {
        Fault::ConnectionReset => HangUp { reset: true }.into_response(),
        Fault::StaleToken => injected(400, STALE),
        Fault::OpenHasUncommittedData => injected(409, UNCOMMITTED),
        Fault::OpenInProgress => refuse(&open_in_progress(channel)),
        Fault::TooManyRequests { retry_after } => later(injected(429, TOO_MANY), *retry_after),
        Fault::Unavailable { retry_after } => later(injected(503, "ERR_SERVICE_UNAVAILABLE"), *retry_after),
        Fault::RequestTimeout => injected(408, "ERR_TIMEOUT"),
        Fault::TooLarge => injected(413, TOO_LARGE),
        Fault::FailedOver => injected(410, FAILED_OVER),
        Fault::NotFoundPage => no_page(),
        Fault::NotFound => injected(404, NO_CHANNEL),
        Fault::Unauthorized => injected(401, "ERR_UNAUTHORIZED"),
        Fault::Forbidden => injected(403, "ERR_FORBIDDEN"),
        Fault::Answered { status, body } => {
            let status = StatusCode::from_u16(*status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            (status, *body).into_response()
        }
        _ => injected(500, "ERR_INTERNAL"),
    }
}

fn later(mut response: Response, seconds: Option<u32>) -> Response {
    if let Some(seconds) = seconds {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
