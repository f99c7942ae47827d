//! A client that writes its own MQTT, well formed or not.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use gaitway_proto::envelope::{Batch, Down, Hello, Item, Offer};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::topic::{self, AgentId, Up};

/// CONNACK that lets a client in.
pub(crate) const WELCOME: &[u8] = &[0x20, 2, 0, 0];

/// How long anything may take that must come.
const SOON: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    pub(crate) id: String,
    stream: Box<dyn Carrier>,
}

/// What carries its bytes.
pub(crate) trait Carrier: Read + Write + Send {
    /// The socket below.
    fn socket(&self) -> &TcpStream;
}

impl Carrier for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

/// A packet: its first byte and what follows the length.
pub(crate) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    let mut rest = body.len();
    loop {
        let more = if rest > 0x7f { 0x80 } else { 0 };
        bytes.push((rest & 0x7f) as u8 | more);
        rest >>= 7;
        if rest == 0 {
            break;
        }
    }
    bytes.extend_from_slice(body);
    bytes
}

fn text(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes(), bytes].concat()
}

/// CONNECT for a clean session, with whatever bytes as id, user name and password.
pub(crate) fn connect(id: &[u8], user: &[u8], password: &[u8], keep_alive: u16) -> Vec<u8> {
    let head = [0, 4, b'M', b'Q', b'T', b'T', 4, 0xc2];
    packet(0x10, &[&head[..], &keep_alive.to_be_bytes(), &text(id), &text(user), &text(password)].concat())
}

/// PUBLISH of quality of service 1.
pub(crate) fn publish(topic: &[u8], payload: &[u8]) -> Vec<u8> {
    packet(0x32, &[&text(topic), &[0, 1][..], payload].concat())
}

pub(crate) fn subscribe(filter: &[u8]) -> Vec<u8> {
    packet(0x82, &[&[0, 1][..], &text(filter), &[1]].concat())
}

pub(crate) const PINGREQ: &[u8] = &[0xc0, 0];

impl Client {
    /// A bare connection.
    pub(crate) fn dial(relay: SocketAddr) -> Self {
        let stream = TcpStream::connect(relay).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::over(stream)
    }

    /// A bare connection that `stream` carries.
    pub(crate) fn over(stream: impl Carrier + 'static) -> Self {
        Self { id: String::new(), stream: Box::new(stream) }
    }

    /// Connected as `id`, and nothing more; none if the relay would not have it.
    pub(crate) fn log_in(relay: SocketAddr, id: &str, keep_alive: u16) -> Option<Self> {
        Self::dial(relay).logged_in(id, keep_alive)
    }

    /// As [`log_in`](Self::log_in), on this connection.
    pub(crate) fn logged_in(mut self, id: &str, keep_alive: u16) -> Option<Self> {
        id.clone_into(&mut self.id);
        self.send(&connect(id.as_bytes(), id.as_bytes(), b"", keep_alive));
        (self.receive()? == WELCOME).then_some(self)
    }

    /// Connected and subscribed.
    pub(crate) fn enter(relay: SocketAddr, id: &str) -> Option<Self> {
        Self::log_in(relay, id, 60)?.subscribed()
    }

    /// Subscribed to what is for it.
    pub(crate) fn subscribed(mut self) -> Option<Self> {
        self.send(&subscribe(topic::down(&self.agent()).as_bytes()));
        (self.receive()? == [0x90, 3, 0, 1, 1]).then_some(self)
    }

    fn agent(&self) -> AgentId {
        self.id.parse().unwrap()
    }

    /// Writes `bytes`; false if the relay has closed the connection, or does not read for a while.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.socket().set_write_timeout(Some(SOON)).unwrap();
        self.stream.write_all(bytes).is_ok()
    }

    /// Writes what the connection takes of `bytes` at once; none if it is closed.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Option<usize> {
        self.stream.socket().set_nonblocking(true).unwrap();
        let written = self.stream.write(bytes);
        self.stream.socket().set_nonblocking(false).unwrap();
        match written {
            Ok(written) => Some(written),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Some(0),
            Err(_) => None,
        }
    }

    /// The next packet, whole; none once the connection is closed.
    pub(crate) fn receive(&mut self) -> Option<Vec<u8>> {
        self.stream.socket().set_read_timeout(Some(SOON)).unwrap();
        let mut bytes = vec![0; 2];
        self.read(&mut bytes)?;
        let (mut length, mut shift) = (usize::from(bytes[1] & 0x7f), 7);
        while bytes[bytes.len() - 1] & 0x80 != 0 {
            let mut next = [0];
            self.read(&mut next)?;
            length |= usize::from(next[0] & 0x7f) << shift;
            shift += 7;
            bytes.push(next[0]);
        }
        let head = bytes.len();
        bytes.resize(head + length, 0);
        self.read(&mut bytes[head..])?;
        Some(bytes)
    }

    fn read(&mut self, bytes: &mut [u8]) -> Option<()> {
        match self.stream.read_exact(bytes) {
            Ok(()) => Some(()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("{}: neither a packet nor the end within {SOON:?}", self.id)
            }
            Err(_) => None,
        }
    }

    /// Whether the relay closes the connection, after whatever it says before.
    pub(crate) fn is_closed(&mut self) -> bool {
        while self.receive().is_some() {}
        true
    }

    /// Whether the relay still answers, after whatever it says before.
    pub(crate) fn is_served(&mut self) -> bool {
        if !self.send(PINGREQ) {
            return false;
        }
        while let Some(packet) = self.receive() {
            if packet == [0xd0, 0] {
                return true;
            }
        }
        false
    }

    /// The next word of the relay; none once the connection is closed.
    pub(crate) fn word(&mut self) -> Option<Down> {
        loop {
            let packet = self.receive()?;
            if packet[0] & 0xf0 == 0x30 {
                let topic = topic::down(&self.agent());
                let start = packet.windows(topic.len()).position(|w| w == topic.as_bytes()).expect("its own topic");
                return Some(Down::decode(&packet[start + topic.len()..]).expect("a word of the relay"));
            }
        }
    }

    /// Publishes `payload` as an agent would; false if the relay has closed the connection.
    pub(crate) fn tell(&mut self, up: Up, payload: &[u8]) -> bool {
        self.send(&publish(up.topic(&self.agent()).as_bytes(), payload))
    }

    /// Says hello, whether or not anything comes of it.
    pub(crate) fn hello_without_answer(&mut self, epoch: Epoch) {
        self.tell(Up::Hello, &hello(epoch).encode());
    }

    /// Says hello as the first start of an agent with nothing to send yet; whether it was welcomed.
    pub(crate) fn hello(&mut self, epoch: Epoch) -> bool {
        self.tell(Up::Hello, &hello(epoch).encode())
            && std::iter::from_fn(|| self.word()).any(|word| matches!(word, Down::Welcome(_)))
    }
}

/// As session 1.
pub(crate) fn hello(epoch: Epoch) -> Hello {
    let streams = Stream::ALL.map(|stream| Offer { epoch, ordinal: 1, stream, first: 1, next: 1 }).to_vec();
    Hello { session: 1, software: "hostile".to_owned(), epoch, ancestors: Vec::new(), streams }
}

/// In session 1.
pub(crate) fn batch(epoch: Epoch, stream: Stream, first: u64, frames: Vec<Vec<u8>>) -> Batch {
    let items = frames.into_iter().map(|frame| Item::Frame(frame.into())).collect();
    Batch { session: 1, epoch, stream, first, items }
}
