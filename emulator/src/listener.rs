//! HTTPS on one port of 127.0.0.1, which can go away and come back.
//!
//! - While the service is away its port is bound and does not listen: connections are refused, and nobody else takes it.
//! - When it goes away or ends, its open connections are closed.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::service::HangUp;

/// Connections at a time; more wait in the backlog.
const MOST_CONNECTIONS: usize = 1_024;

/// For a TLS handshake and for a request's head.
const PATIENCE: Duration = Duration::from_secs(10);

/// Until a port that was ours is so again.
const AGAIN_WITHIN: Duration = Duration::from_secs(30);

/// What the listener is told to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Presence {
    Here,
    Away,
    Ended,
}

/// What the listener is told, and what it is.
#[derive(Debug)]
pub(crate) struct Switch {
    told: watch::Sender<Presence>,
    is: Mutex<Presence>,
    changed: Condvar,
}

impl Switch {
    pub(crate) fn new() -> Self {
        Self { told: watch::Sender::new(Presence::Here), is: Mutex::new(Presence::Here), changed: Condvar::new() }
    }

    /// Tells the listener, and waits until it is so, or somebody else has told it otherwise.
    pub(crate) fn turn(&self, presence: Presence) {
        self.tell(presence);
        let is = self.is.lock().unwrap_or_else(PoisonError::into_inner);
        let reached = self
            .changed
            .wait_while(is, |is| *is != presence && *is != Presence::Ended && *self.told.borrow() == presence);
        drop(reached);
    }

    /// Tells the listener; an end is final.
    pub(crate) fn tell(&self, presence: Presence) {
        self.told.send_if_modified(|told| {
            let changes = *told != Presence::Ended && *told != presence;
            if changes {
                *told = presence;
            }
            changes
        });
    }

    pub(crate) fn set(&self, presence: Presence) {
        *self.is.lock().unwrap_or_else(PoisonError::into_inner) = presence;
        self.changed.notify_all();
    }
}

/// A socket on `port` of 127.0.0.1 that does not listen yet; 0: a free port.
pub(crate) fn bind(port: u16) -> anyhow::Result<(Socket, u16)> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).context("making a socket")?;
    // Connections of the time before may linger on the port.
    socket.set_reuse_address(true).context("SO_REUSEADDR")?;
    socket.set_nonblocking(true).context("non-blocking socket")?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    socket.bind(&address.into()).with_context(|| format!("binding {address}"))?;
    let bound = socket.local_addr().context("the socket's address")?;
    let port = bound.as_socket().context("the socket has no address")?.port();
    Ok((socket, port))
}

/// As [`bind`], of a port that was ours a moment ago: a connection from here may have taken it meanwhile.
async fn bind_again(port: u16) -> anyhow::Result<Socket> {
    let end = Instant::now() + AGAIN_WITHIN;
    loop {
        match bind(port) {
            Ok((socket, _)) => return Ok(socket),
            Err(error) if Instant::now() >= end => return Err(error),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// Serves until it is told to end.
pub(crate) async fn serve(
    mut socket: Socket,
    port: u16,
    tls: TlsAcceptor,
    router: Router,
    switch: Arc<Switch>,
) -> anyhow::Result<()> {
    let mut told = switch.told.subscribe();
    loop {
        socket.listen(1_024).context("listening")?;
        let listener = TcpListener::from_std(socket.into()).context("listening")?;
        switch.set(Presence::Here);
        accept(listener, &tls, &router, &mut told).await;
        if *told.borrow() == Presence::Ended {
            return Ok(());
        }
        socket = bind_again(port).await?;
        switch.set(Presence::Away);
        let presence = *told.wait_for(|presence| *presence != Presence::Away).await.context("the switch is gone")?;
        if presence == Presence::Ended {
            return Ok(());
        }
    }
}

/// Accepts connections until told to be anything but here; all of them end with this.
async fn accept(listener: TcpListener, tls: &TlsAcceptor, router: &Router, told: &mut watch::Receiver<Presence>) {
    let mut connections = JoinSet::new();
    loop {
        let free = connections.len() < MOST_CONNECTIONS;
        tokio::select! {
            _ = told.wait_for(|presence| *presence != Presence::Here) => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if free => match accepted {
                Ok((stream, _)) => drop(connections.spawn(connection(stream, tls.clone(), router.clone()))),
                // Out of file descriptors: those of others become free.
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            },
        }
    }
    connections.shutdown().await;
}

async fn connection(stream: TcpStream, tls: TlsAcceptor, router: Router) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let Ok(Ok(stream)) = tokio::time::timeout(PATIENCE, tls.accept(stream)).await else { return };
    let reset = Arc::new(AtomicBool::new(false));
    let service = service_fn(|request: hyper::Request<hyper::body::Incoming>| {
        let (router, reset) = (router.clone(), reset.clone());
        async move {
            let Ok(response) = router.oneshot(request.map(Body::new)).await;
            match response.extensions().get::<HangUp>() {
                Some(hang_up) => {
                    reset.store(hang_up.reset, Ordering::Relaxed);
                    Err("hung up on purpose")
                }
                None => Ok(response),
            }
        }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(None)
        .serve_connection(TokioIo::new(stream), service);
    let served = (&mut connection).await;
    if served.is_err() && reset.load(Ordering::Relaxed) {
        let stream = connection.into_parts().io.into_inner();
        // Closed with nothing to linger for, a connection is reset. If it cannot be set, an orderly end is what is left.
        drop(SockRef::from(stream.get_ref().0).set_linger(Some(Duration::ZERO)));
    }
}
