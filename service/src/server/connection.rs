//! One connection, from its first byte to its last.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::Caller;
use super::parting::{Lobby, Parting};
use super::places::Doing;
use super::wire::{HANDSHAKE, Wire};

/// Greatest head of a request, bytes.
const HEAD: usize = 16 * 1024;

/// What a connection may hold unread and unwritten, bytes each. A second's push of a phone mostly fits.
const BUFFER: usize = 64 * 1024;

/// How long a client may take nothing of what is written to it.
#[cfg(target_os = "linux")]
const TAKEN_WITHIN: std::time::Duration = std::time::Duration::from_secs(20);

/// What a connection's task needs.
pub(super) struct Connection {
    pub(super) caller: Caller,
    /// Tells it to leave.
    pub(super) told: oneshot::Receiver<Parting>,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) lobby: Lobby,
    pub(super) shutdown: CancellationToken,
}

impl Connection {
    /// Serves `stream` until it ends, is told to leave, or the server shuts down.
    pub(super) async fn run(self, stream: TcpStream, router: Router) {
        let Self { caller, mut told, tls, lobby, shutdown } = self;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection cannot be made to answer at once");
        }
        if let Err(error) = give_up_on_the_deaf(&stream) {
            tracing::debug!(%error, "a connection cannot be given up on");
        }
        let stream = match tls {
            None => Wire::Plain(stream),
            Some(acceptor) => {
                // Its time is that of a head.
                caller.is(Doing::Head);
                let secured = tokio::select! {
                    secured = secure(stream, &acceptor) => secured,
                    _ = &mut told => return,
                    () = shutdown.cancelled() => return,
                };
                match secured {
                    Ok(stream) => stream,
                    Err(Insecure::Plain(stream)) => {
                        return lobby.see_off(Wire::Plain(stream), Some(Parting::Plain)).await;
                    }
                    Err(Insecure::Failed(error)) => return tracing::debug!(%error, "a handshake failed"),
                }
            }
        };
        caller.is(Doing::Waiting);
        let router = TowerToHyperService::new(router);
        let asked = caller.clone();
        let service = service_fn(move |request: Request<Incoming>| {
            asked.is(Doing::Body);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(asked.clone());
            let (answer, asked) = (router.call(request), asked.clone());
            Box::pin(async move {
                let answer = answer.await;
                asked.is(Doing::Waiting);
                answer
            })
        });
        let stream = Heard { stream, caller: caller.clone(), answered: false, early: None };
        let mut http = http1::Builder::new()
            .half_close(true)
            .max_header_size(HEAD)
            .max_buf_size(BUFFER)
            .serve_connection(TokioIo::new(stream), service);
        let (mut may_be_told, mut stopping) = (true, false);
        let parting = loop {
            tokio::select! {
                ended = poll_fn(|context| http.poll_without_shutdown(context)) => {
                    let Err(error) = ended else { break None };
                    tracing::debug!(%error, "a connection failed");
                    break error.is_parse().then_some(Parting::Foreign);
                }
                why = &mut told, if may_be_told => {
                    may_be_told = false;
                    match (why, caller.pulse().read().0) {
                        (Ok(why), Doing::Waiting | Doing::Head | Doing::Body) => break Some(why),
                        (Ok(_), Doing::Working) => Pin::new(&mut http).graceful_shutdown(),
                        (Err(_), _) => {}
                    }
                }
                () = shutdown.cancelled(), if !stopping => {
                    stopping = true;
                    Pin::new(&mut http).graceful_shutdown();
                }
            }
        };
        let Heard { stream, answered, .. } = http.into_parts().io.into_inner();
        // Between two requests a connection may end without a word; one that never asked is told why.
        let silent = match parting {
            Some(Parting::Foreign) => answered,
            _ => answered && caller.pulse().read().0 == Doing::Waiting,
        };
        lobby.see_off(stream, parting.filter(|_| !silent)).await;
    }
}

/// The system ends the connection where nothing that was written is acknowledged for `TAKEN_WITHIN`, or no room is made
/// for more.
#[cfg(target_os = "linux")]
fn give_up_on_the_deaf(stream: &TcpStream) -> io::Result<()> {
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(TAKEN_WITHIN))
}

/// Other systems have a time-out of their own, of minutes.
#[cfg(not(target_os = "linux"))]
fn give_up_on_the_deaf(_: &TcpStream) -> io::Result<()> {
    Ok(())
}

/// Why a connection has no TLS.
enum Insecure {
    /// It speaks something else.
    Plain(TcpStream),
    /// It failed.
    Failed(io::Error),
}

async fn secure(stream: TcpStream, acceptor: &TlsAcceptor) -> Result<Wire, Insecure> {
    let mut first = [0];
    match stream.peek(&mut first).await {
        Ok(1) if first[0] != HANDSHAKE => return Err(Insecure::Plain(stream)),
        Ok(_) => {}
        Err(error) => return Err(Insecure::Failed(error)),
    }
    acceptor.accept(stream).await.map(|stream| Wire::Tls(Box::new(stream))).map_err(Insecure::Failed)
}

/// A stream that tells when something is heard.
struct Heard {
    stream: Wire,
    caller: Caller,
    /// Something was written.
    answered: bool,
    /// What came while an answer without an end goes on: one byte, so that no more than that is read of a next request.
    early: Option<u8>,
}

impl Heard {
    /// An error once nobody hears an answer without an end any more. The server itself reads nothing while it answers, and
    /// would notice only when it writes.
    fn is_heard(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if self.early.is_some() || !self.caller.is_answered() {
            return Ok(());
        }
        let mut byte = [0];
        let mut buffer = ReadBuf::new(&mut byte);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Pending => Ok(()),
            Poll::Ready(Err(error)) => Err(error),
            Poll::Ready(Ok(())) => {
                self.early = buffer.filled().first().copied();
                self.early.map(drop).ok_or_else(|| io::ErrorKind::ConnectionAborted.into())
            }
        }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        if buffer.remaining() > 0
            && let Some(early) = self.early.take()
        {
            buffer.put_slice(&[early]);
            self.caller.heard();
            return Poll::Ready(Ok(()));
        }
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > before {
            self.caller.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.answered = true;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.answered = true;
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_heard(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
