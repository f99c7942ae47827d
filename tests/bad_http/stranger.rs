//! Somebody in the network who follows no rule.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;

/// An address of its own, 127.0.0.N.
pub(crate) struct Stranger {
    from: Ipv4Addr,
    to: SocketAddr,
    runtime: tokio::runtime::Runtime,
}

/// One of its connections.
pub(crate) struct Stream(TcpStream);

impl Stranger {
    pub(crate) fn at(to: SocketAddr, number: u8) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        Self { from: Ipv4Addr::new(127, 0, 0, number), to, runtime }
    }

    /// `n` connections.
    pub(crate) fn connect(&self, n: usize) -> Vec<Stream> {
        (0..n).map(|_| self.stream()).collect()
    }

    fn stream(&self) -> Stream {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind((self.from, 0).into()).unwrap();
        let stream = self.runtime.block_on(socket.connect(self.to)).unwrap();
        let stream = stream.into_std().unwrap();
        stream.set_nonblocking(false).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        Stream(stream)
    }

    /// Sends `request` on a connection of its own and ends it; everything that is answered.
    pub(crate) fn ask(&self, request: &[u8]) -> String {
        let mut stream = self.stream();
        // It may be refused and closed while it still sends.
        let _ = stream.send(request);
        stream.rest()
    }
}

impl Stream {
    pub(crate) fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Ends its own side; everything that comes until the other ends too.
    fn rest(mut self) -> String {
        let _ = self.0.shutdown(Shutdown::Write);
        let mut answer = Vec::new();
        // A reset comes behind what was sent before it.
        let _ = self.0.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// What is answered, without ending anything first.
    pub(crate) fn rest_of_one(mut self) -> String {
        let mut answer = vec![0; 4096];
        let read = self.0.read(&mut answer).unwrap_or(0);
        String::from_utf8_lossy(&answer[..read]).into_owned()
    }
}

pub(crate) fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

/// How often which status was answered; "none" where nothing was.
pub(crate) fn statuses(answers: &[String]) -> BTreeMap<String, usize> {
    let mut statuses = BTreeMap::new();
    for answer in answers {
        let status = answer.strip_prefix("HTTP/1.1 ").map_or("none", |rest| &rest[..3]);
        *statuses.entry(status.to_owned()).or_default() += 1;
    }
    statuses
}
