//! The way into the intake: bounded in events and in bytes, so that what agents send too fast waits in their sockets.
//! Of one link one publish at most is under way here.

use std::sync::Arc;

use bytes::Bytes;
use gaitway_proto::envelope::Down;
use gaitway_proto::topic::{AgentId, Up};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::link::LinkId;

/// Events that may wait.
const EVENTS: usize = 1024;

/// Bytes of payloads that may wait; the greatest payload fits.
const BYTES: usize = 2 * gaitway_proto::limits::MAX_PACKET;

/// What happens on connections, in order for each of them: `Linked`, any number of `Publish`, `Gone`.
#[derive(Debug)]
pub(crate) enum Event {
    /// An agent is connected and proven to be the one; words for it go into `outbox`. Dropping that ends the link.
    Linked { link: LinkId, agent: AgentId, outbox: mpsc::Sender<Down> },
    /// It published `payload`, which keeps its `room` until it was read. The link hands over nothing more while `turn` is
    /// kept.
    Publish { link: LinkId, up: Up, payload: Bytes, room: OwnedSemaphorePermit, turn: OwnedSemaphorePermit },
    /// The connection ended. `newer`: the one that took its place while its agent was alive; it is linked next.
    Gone { link: LinkId, newer: Option<LinkId> },
}

/// The intake takes nothing any more: the relay shuts down.
#[derive(Debug, thiserror::Error)]
#[error("the relay shuts down")]
pub(crate) struct Closed;

/// See the module. Clones lead to the same intake.
#[derive(Debug, Clone)]
pub(crate) struct Inlet {
    events: mpsc::Sender<Event>,
    room: Arc<Semaphore>,
}

/// A way in, and its inner end.
pub(crate) fn inlet() -> (Inlet, mpsc::Receiver<Event>) {
    let (events, inner) = mpsc::channel(EVENTS);
    (Inlet { events, room: Arc::new(Semaphore::new(BYTES)) }, inner)
}

impl Inlet {
    /// Tells of a new connection.
    pub(crate) async fn linked(&self, link: LinkId, agent: AgentId, outbox: mpsc::Sender<Down>) -> Result<(), Closed> {
        self.send(Event::Linked { link, agent, outbox }).await
    }

    /// Hands over a publish as soon as it is the link's `turn` and there is room for it.
    pub(crate) async fn publish(
        &self,
        link: LinkId,
        turn: Arc<Semaphore>,
        up: Up,
        payload: Bytes,
    ) -> Result<(), Closed> {
        let turn = turn.acquire_owned().await.map_err(|_| Closed)?;
        let bytes = payload.len().clamp(1, BYTES) as u32;
        let room = Arc::clone(&self.room).acquire_many_owned(bytes).await.map_err(|_| Closed)?;
        self.send(Event::Publish { link, up, payload, room, turn }).await
    }

    /// Tells of a connection's end, and which one took its place while its agent was alive.
    pub(crate) async fn gone(&self, link: LinkId, newer: Option<LinkId>) -> Result<(), Closed> {
        self.send(Event::Gone { link, newer }).await
    }

    async fn send(&self, event: Event) -> Result<(), Closed> {
        self.events.send(event).await.map_err(|_| Closed)
    }
}
