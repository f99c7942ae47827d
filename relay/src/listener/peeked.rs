//! A stream whose first byte was looked at and is read once more.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};

/// See the module.
pub(super) struct Peeked<S> {
    first: u8,
    read: bool,
    stream: S,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peeked<S> {
    /// Waits for the first byte.
    pub(super) async fn peek(mut stream: S) -> io::Result<Self> {
        let first = stream.read_u8().await?;
        Ok(Self { first, read: false, stream })
    }

    /// The first byte.
    pub(super) fn first(&self) -> u8 {
        self.first
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Peeked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.read && buffer.remaining() > 0 {
            self.read = true;
            buffer.put_slice(&[self.first]);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Peeked<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
