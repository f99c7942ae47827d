//! What is answered below `/api` that is not what was asked: RFC 9457's problem details.
//!
//! - Whatever goes wrong is told so, also by what stands before the handlers.

use axum::extract::Request;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// Its media type.
pub(crate) const PROBLEM: &str = "application/problem+json";

/// When a viewer who finds no place may come again, seconds.
const AGAIN: u16 = 10;

/// What went wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(utoipa::ToSchema))]
pub(crate) struct Problem {
    /// `about:blank`: the status says of what kind the problem is.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The status in words.
    title: &'static str,
    /// The HTTP status.
    #[cfg_attr(test, schema(minimum = 400, maximum = 599))]
    status: u16,
    /// What happened, to which thing, and what to do.
    detail: String,
}

impl Problem {
    /// Answered with `status`; `detail` is a sentence.
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self { kind: "about:blank", title, status: status.as_u16(), detail: detail.into() }
    }

    /// The query cannot be read.
    pub(super) fn query(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, detail)
    }

    /// No such phone was heard.
    pub(super) fn unknown_phone(device: &str) -> Self {
        let shown: String = device.chars().filter(|c| !c.is_control()).take(60).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            format!(
                "No phone with the deviceId {shown:?} was heard since the agent's start, nor is anything kept of it: \
                 /api/v1/phones lists those that were heard."
            ),
        )
    }

    /// This phone was not heard since the agent's start, but of earlier ones something is kept.
    pub(super) fn unheard_phone(device: &str) -> Self {
        let shown: String = device.chars().filter(|c| !c.is_control()).take(60).collect();
        Self::new(
            StatusCode::NOT_FOUND,
            format!(
                "The phone with the deviceId {shown:?} was not heard since the agent's start; its windows of the last 48 h are \
                 at /api/v1/phones/{{deviceId}}/windows, what it did at /api/v1/phones/{{deviceId}}/activities."
            ),
        )
    }

    /// The history cannot be read.
    pub(super) fn no_history() -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "The history of phones cannot be read at present: the agent's log says why.",
        )
    }

    /// Its status.
    fn code(&self) -> StatusCode {
        StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let text = serde_json::to_vec(&self).expect("a problem is text and a number");
        let mut response = (self.code(), [(CONTENT_TYPE, PROBLEM)], text).into_response();
        if matches!(self.code(), StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE) {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(AGAIN));
        }
        response
    }
}

/// Whether programs ask for `path`.
pub(crate) fn is_for_programs(path: &str) -> bool {
    path == "/api" || path.starts_with("/api/")
}

/// Nothing is at this path.
pub(super) async fn nothing_here() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "Nothing is at this path: /api/v1/openapi.json lists what there is.")
}

/// Tells what the router itself refuses as problems.
pub(super) async fn told_as_problems(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    let is_told = response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == PROBLEM);
    if is_told || !(status.is_client_error() || status.is_server_error()) {
        return response;
    }
    let detail = match status {
        StatusCode::METHOD_NOT_ALLOWED => "This path is only read: use GET or HEAD.",
        StatusCode::BAD_REQUEST => {
            "The path cannot be read: a deviceId in it must be UTF-8, encoded with percent signs."
        }
        _ => "The request cannot be answered.",
    };
    let mut told = Problem::new(status, detail).into_response();
    for (name, value) in response.headers() {
        if name != CONTENT_TYPE && name != axum::http::header::CONTENT_LENGTH {
            told.headers_mut().insert(name, value.clone());
        }
    }
    told
}
