//! The bytes of one connection.
//!
//! - The buffer grows with the bytes that came, never with those announced, and is given back after a large packet.
//! - A write that the peer does not read fails after a while.
//! - Bytes go out whole and in order, even if a write is abandoned and taken up again.

use std::io;
use std::time::Duration;

use bytes::BytesMut;
use rumqttc::mqttbytes::v4::Packet;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::packets::{Expect, Read, Violation, read};

/// Read at a time while little is expected.
const SMALL_READ: usize = 2 * 1024;

/// Read at a time while a large packet comes.
const LARGE_READ: usize = 64 * 1024;

/// A buffer above this is given back once it is empty.
const KEEP: usize = 8 * 1024;

const WRITE_WITHIN: Duration = Duration::from_secs(10);

/// Time for any packet, and for each [`SLOWEST`] bytes of it.
const PACKET_WITHIN: Duration = Duration::from_secs(60);
const SLOWEST: u64 = 4 * 1024;

/// See the module.
pub(super) struct Wire<S> {
    stream: S,
    incoming: BytesMut,
    outgoing: BytesMut,
    /// Bytes of `outgoing` that the stream has taken.
    written: usize,
    /// Bytes that the packet begun still lacks, at least.
    lacks: usize,
    /// When the packet begun must be whole.
    due: Option<Instant>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(super) fn new(stream: S) -> Self {
        Self { stream, incoming: BytesMut::new(), outgoing: BytesMut::new(), written: 0, lacks: 2, due: None }
    }

    /// The next packet among the bytes that came, if it is whole.
    pub(super) fn packet(&mut self, expect: Expect) -> Result<Option<Packet>, Violation> {
        match read(&mut self.incoming, expect)? {
            Read::Packet(packet) => {
                self.due = None;
                Ok(Some(packet))
            }
            Read::Partial(lacks) => {
                self.lacks = lacks;
                if self.incoming.is_empty() {
                    self.due = None;
                } else if self.incoming.len() >= 5 || self.due.is_none() {
                    // With five bytes the header is whole, so `lacks` tells the packet's size: once is enough.
                    let size = (self.incoming.len() + lacks) as u64;
                    let within = PACKET_WITHIN + Duration::from_secs(size / SLOWEST);
                    self.due.get_or_insert_with(|| Instant::now() + within);
                }
                Ok(None)
            }
        }
    }

    /// When the packet begun must be whole; none if none is begun.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Waits for bytes; false at the end of the stream. Nothing is lost if the future is dropped.
    pub(super) async fn fill(&mut self) -> io::Result<bool> {
        if self.incoming.is_empty() && self.incoming.capacity() > KEEP {
            self.incoming = BytesMut::new();
        }
        self.incoming.reserve(self.lacks.clamp(SMALL_READ, LARGE_READ));
        Ok(self.stream.read_buf(&mut self.incoming).await? > 0)
    }

    /// Adds `packet` to what is to be written.
    pub(super) fn put(&mut self, packet: &Packet) {
        let written = packet.write(&mut self.outgoing, usize::MAX);
        debug_assert!(written.is_ok(), "own packets are well formed: {written:?}");
    }

    /// Writes what was put. Nothing is lost or doubled if the future is dropped.
    pub(super) async fn flush(&mut self) -> io::Result<()> {
        if self.outgoing.is_empty() {
            return Ok(());
        }
        let write = async {
            while self.written < self.outgoing.len() {
                match self.stream.write(&self.outgoing[self.written..]).await? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    bytes => self.written += bytes,
                }
            }
            self.stream.flush().await
        };
        timeout(WRITE_WITHIN, write).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        self.written = 0;
        if self.outgoing.capacity() > KEEP {
            self.outgoing = BytesMut::new();
        } else {
            self.outgoing.clear();
        }
        Ok(())
    }

    /// Says that nothing more will come.
    pub(super) async fn close(&mut self) {
        // Whether the peer hears it makes no difference any more.
        let _ = timeout(WRITE_WITHIN, self.stream.shutdown()).await;
    }

    /// Bytes held for reading and writing.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.incoming.capacity() + self.outgoing.capacity()
    }
}

#[cfg(test)]
mod tests {
    use gaitway_proto::limits;
    use rumqttc::mqttbytes::QoS;
    use rumqttc::mqttbytes::v4::Publish;

    use super::*;

    async fn receive<S: AsyncRead + AsyncWrite + Unpin>(wire: &mut Wire<S>) -> Packet {
        loop {
            if let Some(packet) = wire.packet(Expect::Session).unwrap() {
                return packet;
            }
            assert!(wire.fill().await.unwrap());
        }
    }

    #[tokio::test]
    async fn an_idle_connection_gives_its_buffer_back() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut wire = Wire::new(near);
        let mut large = Publish::new("t", QoS::AtLeastOnce, vec![7; limits::MAX_FRAME]);
        large.pkid = 1;
        let mut bytes = BytesMut::new();
        Packet::Publish(large).write(&mut bytes, usize::MAX).unwrap();
        let sending = tokio::spawn(async move {
            far.write_all(&bytes).await.unwrap();
            far
        });
        assert!(matches!(receive(&mut wire).await, Packet::Publish(p) if p.payload.len() == limits::MAX_FRAME));
        let mut far = sending.await.unwrap();
        far.write_all(&[0xc0, 0]).await.unwrap();
        assert_eq!(receive(&mut wire).await, Packet::PingReq);
        assert!(wire.held() <= KEEP, "{}", wire.held());
    }

    #[tokio::test]
    async fn a_buffer_grows_with_the_bytes_that_came_not_with_those_announced() {
        let (near, mut far) = tokio::io::duplex(64 * 1024);
        let mut wire = Wire::new(near);
        far.write_all(&[0x32, 0xff, 0xff, 0x7f, 0, 1]).await.unwrap();
        for _ in 0..2 {
            assert!(wire.packet(Expect::Session).unwrap().is_none());
            let _ = timeout(Duration::from_millis(1), wire.fill()).await;
        }
        assert!(wire.held() <= 2 * LARGE_READ, "{}", wire.held());
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_go_out_whole_and_in_order_though_a_write_is_abandoned() {
        let (near, far) = tokio::io::duplex(16);
        let (mut wire, mut far) = (Wire::new(near), Wire::new(far));
        let publish = |text: &str| Publish::new("t", QoS::AtMostOnce, text);
        wire.put(&Packet::Publish(publish("longer than what the pipe holds")));
        assert!(timeout(Duration::from_secs(1), wire.flush()).await.is_err());
        wire.put(&Packet::Publish(publish("next")));
        let read = async { [receive(&mut far).await, receive(&mut far).await] };
        let (written, read) = tokio::join!(wire.flush(), read);
        written.unwrap();
        let payloads = read.map(|packet| if let Packet::Publish(p) = packet { p.payload } else { panic!() });
        assert_eq!(payloads, ["longer than what the pipe holds", "next"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_write_that_is_not_read_fails_after_a_while() {
        let (near, _far) = tokio::io::duplex(16);
        let mut wire = Wire::new(near);
        (0..20).for_each(|_| wire.put(&Packet::PingResp));
        assert_eq!(wire.flush().await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
