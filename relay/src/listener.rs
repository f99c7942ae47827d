//! MQTT 3.1.1, as far as agents speak it: no broker, for there is nobody else to send anything to.
//!
//! - Whatever one client does ends its own connection at most.
//! - At the cap a new connection is closed at once; those that are open do not notice.
//! - The listener survives every error of `accept`.
//! - An agent id has one connection: a newer one takes over after the older is closed and unlinked.
//! - Before it is closed, the older shows whether its agent is alive; that takes two seconds at most.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::intake::Inlet;
use crate::link::LinkIds;
use crate::metrics::RelayMetrics;
use crate::status::RelayStatus;

mod access;
mod connection;
mod packets;
mod probe;
mod seats;
#[cfg(test)]
mod tests;
mod wire;

pub(crate) use access::Access;
use seats::Seats;

/// The pause after a failed `accept`, such as one for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// What all connections share.
pub(crate) struct Context {
    pub access: Access,
    pub inlet: Inlet,
    pub links: LinkIds,
    pub seats: Arc<Mutex<Seats>>,
    pub metrics: RelayMetrics,
    pub status: Arc<RelayStatus>,
    pub shutdown: CancellationToken,
}

impl Context {
    pub(crate) fn new(
        access: Access,
        inlet: Inlet,
        metrics: RelayMetrics,
        status: Arc<RelayStatus>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { access, inlet, links: LinkIds::default(), seats: Arc::default(), metrics, status, shutdown }
    }
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
pub(crate) async fn listen(mut source: impl Accept, context: Arc<Context>, most: usize) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(most));
    let connections = TaskTracker::new();
    let (mut full, mut failing) = (false, false);
    loop {
        let accepted = tokio::select! {
            () = context.shutdown.cancelled() => break,
            accepted = source.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(connection) => connection,
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::warn!(%error, "cannot accept connections now, trying on");
                }
                context.metrics.count_closed("accept_error");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        failing = false;
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            if !std::mem::replace(&mut full, true) {
                tracing::warn!(max_connections = most, %peer, "too many connections, closing new ones");
            }
            context.metrics.count_closed("capacity");
            continue;
        };
        full = false;
        let context = Arc::clone(&context);
        connections.spawn(async move {
            context.metrics.connections.inc();
            context.status.connected();
            connection::serve(stream, peer, &context).await;
            context.status.disconnected();
            context.metrics.connections.dec();
            drop(place);
        });
    }
    drop(source);
    connections.close();
    connections.wait().await;
    Ok(())
}
