//! MQTT 3.1.1, as far as agents speak it: no broker, for there is nobody else to send anything to.
//!
//! - Whatever one client does ends its own connection at most.
//! - Whoever has not proven who it is takes no place of an agent's, and is heard of in the log once a minute,
//!   by the agent id that was claimed.
//! - At the cap of agents a new one is told so and closed; those that are connected do not notice.
//! - The listener survives every error of `accept`, and accepts nobody for whom there is no room.
//! - TLS or not is the listener's, not the client's, choice; with TLS the certificate says who is there.
//! - A certificate that is not honoured any more ends its connection, whatever that is doing.
//! - An agent id has one connection: a newer one takes over after the older is closed and unlinked.
//! - Before it is closed, the older shows whether its agent is alive; that takes two seconds at most.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gaitway_proto::topic::AgentId;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::intake::Inlet;
use crate::link::LinkIds;
use crate::metrics::RelayMetrics;
use crate::status::RelayStatus;
use crate::throttle::{Before, Throttle};

mod access;
mod connection;
mod enrol;
mod lobby;
mod packets;
mod peeked;
mod probe;
mod seats;
#[cfg(test)]
mod tests;
mod tls;
mod wire;

pub(crate) use access::Access;
use lobby::Lobby;
pub(crate) use lobby::neighbourhood;
use seats::Seats;
pub(crate) use tls::{OwnKey, Tls};

/// The pause after a failed `accept`, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What all connections share, those of a broker's agents among them.
pub(crate) struct Context {
    pub inlet: Inlet,
    pub links: LinkIds,
    lobby: Lobby,
    seats: Arc<Mutex<Seats>>,
    throttle: Mutex<Throttle>,
    pub metrics: RelayMetrics,
    pub status: Arc<RelayStatus>,
    pub shutdown: CancellationToken,
}

impl Context {
    /// For at most `most` agents at a time.
    pub(crate) fn new(
        inlet: Inlet,
        most: usize,
        metrics: RelayMetrics,
        status: Arc<RelayStatus>,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            inlet,
            links: LinkIds::default(),
            lobby: Lobby::new(lobby::PLACES),
            seats: Arc::new(Mutex::new(Seats::new(most))),
            throttle: Mutex::default(),
            metrics,
            status,
            shutdown,
        }
    }

    /// Whether to log an event of `kind`; see [`Throttle::tell`].
    pub(crate) fn tell(&self, agent: Option<&AgentId>, kind: &'static str) -> Option<Before> {
        let now = tokio::time::Instant::now().into_std();
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner).tell(now, agent, kind)
    }
}

/// What a listener asks of whoever comes.
#[derive(Clone)]
pub(crate) enum Door {
    /// What CONNECT must say; nothing is encrypted.
    Plain(Access),
    /// TLS and a certificate.
    Tls(Arc<Tls>),
}

/// Where connections come from.
pub(crate) trait Accept: Send {
    /// What carries one.
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one and who it is.
    fn accept(&mut self) -> impl Future<Output = io::Result<(Self::Stream, SocketAddr)>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn accept(&mut self) -> io::Result<(TcpStream, SocketAddr)> {
        let (stream, peer) = TcpListener::accept(self).await?;
        // Without it acknowledgements may wait for the peer's delayed ACK; harmless if it fails.
        let _ = stream.set_nodelay(true);
        Ok((stream, peer))
    }
}

/// Serves connections until shutdown, then waits for those that are open to end.
pub(crate) async fn listen(mut source: impl Accept, door: Door, context: Arc<Context>) -> anyhow::Result<()> {
    let connections = TaskTracker::new();
    loop {
        let (room, accepted) = tokio::select! {
            () = context.shutdown.cancelled() => break,
            next = async { (context.lobby.room().await, source.accept().await) } => next,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                if let Some(before) = context.tell(None, "accept_error") {
                    tracing::warn!(%error, like_it_before = before.count(), "cannot accept connections now, trying on");
                }
                context.metrics.count_closed("accept_error");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (context, door) = (Arc::clone(&context), door.clone());
        // Before its task runs, so that whoever has no place is told so however many tasks wait to run.
        let place = context.lobby.enter(peer.ip(), room);
        connections.spawn(async move {
            context.metrics.connections.inc();
            context.status.connected();
            connection::serve(stream, peer, place, &door, &context).await;
            context.status.disconnected();
            context.metrics.connections.dec();
        });
    }
    drop(source);
    connections.close();
    connections.wait().await;
    Ok(())
}
