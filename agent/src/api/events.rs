//! Server-sent events: what changes, as it does.
//!
//! - A viewer costs its place, what its connection may leave unwritten, and nothing else: what is told is shared.
//! - It is shown nothing once it is no reader any more, and holds up no shutdown.

use std::convert::Infallible;

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_TYPE, HeaderName};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use gaitway_service::server::{Answering, Caller};
use tokio_util::sync::CancellationToken;

use super::live::Ear;
use super::problem::Problem;
use super::viewers::{ALL, NoPlace, OF_ONE, Place};
use crate::page::Pass;

/// When a browser that was cut off comes again, milliseconds.
const RETRY: &[u8] = b"retry: 2000\n\n";

/// A proxy, such as nginx, is to pass each event on as it comes.
const UNBUFFERED: (HeaderName, &str) = (HeaderName::from_static("x-accel-buffering"), "no");

/// One viewer.
struct Viewer {
    ear: Ear,
    _place: Place,
    pass: Option<Pass>,
    caller: Option<Caller>,
    answering: Option<Answering>,
    has_begun: bool,
    shutdown: CancellationToken,
}

impl From<NoPlace> for Problem {
    fn from(why: NoPlace) -> Self {
        match why {
            NoPlace::OfOne => Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                format!("{OF_ONE} viewers of this address follow the events: close one, or ask for /api/v1/status."),
            ),
            NoPlace::AtAll => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                format!("{ALL} viewers follow the events, as many as may: ask for /api/v1/status now and then."),
            ),
        }
    }
}

/// The answer to a viewer with this place. `pass` lets it look.
pub(super) fn stream(
    ear: Ear,
    place: Place,
    pass: Option<Pass>,
    caller: Option<Caller>,
    shutdown: CancellationToken,
) -> Response {
    let viewer = Viewer { ear, _place: place, pass, caller, answering: None, has_begun: false, shutdown };
    let told = stream::unfold(viewer, |mut viewer| async {
        let told = viewer.next().await?;
        Some((Ok::<_, Infallible>(told), viewer))
    });
    ([(CONTENT_TYPE, "text/event-stream"), UNBUFFERED], Body::from_stream(told)).into_response()
}

impl Viewer {
    async fn next(&mut self) -> Option<Bytes> {
        if !self.has_begun {
            self.has_begun = true;
            // Not before the head is written, which says that nothing more is asked.
            self.answering = self.caller.take().map(Caller::answering);
            return Some(Bytes::from_static(RETRY));
        }
        let told = tokio::select! {
            biased;
            () = self.shutdown.cancelled() => None,
            told = self.ear.hear() => told,
        };
        told.filter(|_| self.pass.as_ref().is_none_or(Pass::holds))
    }
}
