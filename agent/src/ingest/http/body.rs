//! The bytes of a body.
//!
//! - A body is read only once there is room for all that it may have: what is held of all bodies is bounded, and what
//!   one address holds of that is bounded too.
//! - A body of a second's push waits for nobody's large ones: it is bounded by the number of connections.
//! - A body that comes in one piece is not copied; another is put together once.
//! - A body that takes too long ends.

use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use bytes::{Bytes, BytesMut};
use flate2::read::MultiGzDecoder;
use gaitway_proto::limits;
use gaitway_service::server::Caller;
use http_body_util::BodyExt as _;
use std::io::Read as _;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use super::head::Coding;
use crate::ingest::Refusal;

/// Bytes of bodies held at a time; beyond it pushes wait for room, as long as a body may take to arrive.
pub(super) const BODIES: usize = 32 * 1024 * 1024;

/// What one address may hold of [`BODIES`]: the greatest body.
pub(super) const SHARE: usize = limits::MAX_BODY;

const _: () = assert!(4 * SHARE <= BODIES, "three addresses leave room for a fourth");

/// A body that says it is no larger needs no room: with as many connections as there may be, as much as [`BODIES`].
const SMALL: usize = 64 * 1024;

const BODY_WITHIN: Duration = Duration::from_secs(30);

/// Room for bodies, one permit a byte.
#[derive(Debug)]
pub(super) struct Room(Semaphore);

impl Default for Room {
    fn default() -> Self {
        Self(Semaphore::new(BODIES))
    }
}

/// Keeps the room of a body until it is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    _room: Option<SemaphorePermit<'a>>,
    _share: Option<tokio::sync::OwnedSemaphorePermit>,
}

impl Room {
    /// The bytes of `body`, at most [`limits::MAX_BODY`].
    pub(super) async fn read(
        &self,
        body: Body,
        coding: Coding,
        caller: Option<&Caller>,
    ) -> Result<(Bytes, Held<'_>), Refusal> {
        let told = body.size_hint().exact().map(|told| usize::try_from(told).unwrap_or(usize::MAX));
        if told.is_some_and(|told| told > limits::MAX_BODY) {
            return Err(Refusal::too_large("the body", limits::MAX_BODY));
        }
        let most = told.filter(|_| coding == Coding::Plain).unwrap_or(limits::MAX_BODY);
        if most <= SMALL {
            let bytes = timeout(BODY_WITHIN, collect(body, told)).await.map_err(|_| Refusal::Slow(BODY_WITHIN))??;
            return Ok((bytes, Held { _room: None, _share: None }));
        }
        let held = timeout(BODY_WITHIN, self.reserve(most as u32, caller)).await.map_err(|_| Refusal::Busy)??;
        let bytes = timeout(BODY_WITHIN, collect(body, told)).await.map_err(|_| Refusal::Slow(BODY_WITHIN))??;
        Ok((bytes, held))
    }

    /// The address's own share first: who waits for it keeps nobody else waiting.
    async fn reserve(&self, bytes: u32, caller: Option<&Caller>) -> Result<Held<'_>, Refusal> {
        let share = match caller {
            Some(caller) => Some(caller.share().clone().acquire_many_owned(bytes).await),
            None => None,
        };
        let share = share.transpose().map_err(|_| Refusal::Closing)?;
        let room = self.0.acquire_many(bytes).await.map_err(|_| Refusal::Closing)?;
        Ok(Held { _room: Some(room), _share: share })
    }
}

async fn collect(mut body: Body, told: Option<usize>) -> Result<Bytes, Refusal> {
    let Some(first) = next(&mut body).await? else { return Ok(Bytes::new()) };
    if told == Some(first.len()) {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(told.unwrap_or(2 * first.len()));
    let mut piece = Some(first);
    while let Some(bytes) = piece {
        if whole.len() + bytes.len() > limits::MAX_BODY {
            return Err(Refusal::too_large("the body", limits::MAX_BODY));
        }
        whole.extend_from_slice(&bytes);
        piece = next(&mut body).await?;
    }
    Ok(whole.freeze())
}

/// The next bytes; none at the end. Trailers say nothing here.
async fn next(body: &mut Body) -> Result<Option<Bytes>, Refusal> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Refusal::Encoding("the body did not arrive whole".to_owned()))?;
        match frame.into_data() {
            Ok(bytes) if bytes.is_empty() => {}
            Ok(bytes) => return Ok(Some(bytes)),
            Err(_) => {}
        }
    }
    Ok(None)
}

/// The decoded body, at most [`limits::MAX_BODY`].
pub(super) fn gunzip(body: &[u8]) -> Result<Bytes, Refusal> {
    let mut decoded = Vec::with_capacity(limits::MAX_BODY.min(body.len() * 8));
    MultiGzDecoder::new(body)
        .take(limits::MAX_BODY as u64 + 1)
        .read_to_end(&mut decoded)
        .map_err(|_| Refusal::Encoding("the body is not whole gzip, as its Content-Encoding says".to_owned()))?;
    if decoded.len() > limits::MAX_BODY {
        return Err(Refusal::too_large("the decoded body", limits::MAX_BODY));
    }
    Ok(Bytes::from(decoded))
}
