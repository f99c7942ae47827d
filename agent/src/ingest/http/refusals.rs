//! What is answered to a push that is not accepted, and what the log says of it.
//!
//! - Each refusal has its status and one sentence.
//! - The log says so once a minute for each reason, and never more than a line.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use gaitway_proto::value::Value;

use crate::ingest::Refusal;

/// The status whose text the app shows to the person who holds the phone.
const SHOWN_ON_PHONE: u16 = 499;

const SAY_EVERY: Duration = Duration::from_secs(60);

/// Longest sentence that is logged, characters.
const MAX_LOGGED: usize = 300;

/// When which refusal was last said.
#[derive(Debug, Default)]
pub(super) struct Refusals(Mutex<HashMap<&'static str, Instant>>);

impl Refusals {
    pub(super) fn say(&self, refusal: &Refusal) {
        let now = Instant::now();
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let last = said.get(refusal.reason());
        if last.is_none_or(|last| now.saturating_duration_since(*last) >= SAY_EVERY) {
            said.insert(refusal.reason(), now);
            drop(said);
            let sentence: String = refusal.to_string().chars().take(MAX_LOGGED).collect();
            tracing::warn!(reason = refusal.reason(), refusal = sentence, "pushes are refused");
        }
    }
}

/// What people who look at the page are told, if they can do something about it that the page does not say already.
pub(super) fn for_the_page(refusal: &Refusal) -> Option<String> {
    let what = match refusal {
        Refusal::NoRoom(why) => return Some(format!("pushes are refused: {why}")),
        Refusal::NoToken => "pushes without a token are",
        Refusal::UnknownToken => "pushes with a token that is not in force are",
        Refusal::OtherPhone(name) => {
            return Some(format!("pushes of another phone with the token of {name} are refused: add that phone"));
        }
        _ => return None,
    };
    Some(format!("{what} refused: add that phone, and set it up with its code"))
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut retry_after = None;
        let status = match &self {
            Self::NotJson(_) | Self::NotAPush(_) | Self::Encoding(_) => StatusCode::BAD_REQUEST,
            Self::Foreign(_) => StatusCode::FORBIDDEN,
            Self::Slow(_) => StatusCode::REQUEST_TIMEOUT,
            Self::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooMany { wait, .. } => {
                retry_after = Some([(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1))]);
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Unsupported(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Closing | Self::Busy => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoRoom(_) | Self::NoToken | Self::UnknownToken | Self::OtherPhone(_) | Self::NoList => {
                let shown = StatusCode::from_u16(SHOWN_ON_PHONE).expect("499 is a status");
                return (shown, self.to_string()).into_response();
            }
        };
        let message = Value::from(self.to_string().as_str()).to_json();
        let body = format!(r#"{{"status":"error","message":{message}}}"#);
        (status, retry_after, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    }
}
