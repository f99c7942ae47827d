//! A client of the broker that does what an agent would not.

use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::mosquitto::Mosquitto;

/// How long anything may take that must come.
const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Client {
    pub(crate) name: String,
    stream: StreamOwned<ClientConnection, TcpStream>,
    /// Messages that came while something else was waited for: topic and payload.
    heard: Vec<(String, Vec<u8>)>,
}

/// As whom a client comes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Shown<'a> {
    /// With the certificate of that name.
    Certificate(&'a str),
    /// With a name and a password.
    Password(&'a str, &'a str),
    /// With neither.
    Nothing,
}

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
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

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes(), text.as_bytes()].concat()
}

impl Client {
    /// Connects and is let in, or tells why not. Where it does not say who it is, its client id is `id`.
    pub(crate) fn connect(broker: &Mosquitto, id: &str, shown: Shown<'_>, trusts: bool) -> Result<Self, String> {
        let port = match shown {
            Shown::Certificate(_) => broker.certified,
            Shown::Password(..) | Shown::Nothing => broker.named,
        };
        Self::connect_to(broker, port, id, shown, trusts)
    }

    /// The same at a listener that may be another's.
    pub(crate) fn connect_to(
        broker: &Mosquitto,
        port: u16,
        id: &str,
        shown: Shown<'_>,
        trusts: bool,
    ) -> Result<Self, String> {
        let mut roots = RootCertStore::empty();
        if trusts {
            roots.add(CertificateDer::from_pem_file(broker.path("ca.pem")).unwrap()).unwrap();
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let config = match shown {
            Shown::Certificate(name) => {
                let chain = vec![CertificateDer::from_pem_file(broker.path(&format!("{name}.pem"))).unwrap()];
                let key = PrivateKeyDer::from_pem_file(broker.path(&format!("{name}.key"))).unwrap();
                builder.with_client_auth_cert(chain, key).unwrap()
            }
            Shown::Password(..) | Shown::Nothing => builder.with_no_client_auth(),
        };
        let name = ServerName::try_from("localhost").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let socket = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
        socket.set_read_timeout(Some(SOON)).unwrap();
        socket.set_nodelay(true).unwrap();
        let stream = StreamOwned::new(connection, socket);
        let mut client = Self { name: id.to_owned(), stream, heard: Vec::new() };
        let (flags, login) = match shown {
            Shown::Password(user, password) => (0xc2, [text(user), text(password)].concat()),
            Shown::Certificate(_) | Shown::Nothing => (0x02, Vec::new()),
        };
        let head = [0, 4, b'M', b'Q', b'T', b'T', 4, flags, 0, 60];
        client.send(&packet(0x10, &[&head[..], &text(id), &login].concat())).map_err(|error| error.to_string())?;
        match client.packet().map_err(|error| error.to_string())? {
            (0x20, body) if body == [0, 0] => Ok(client),
            other => Err(format!("CONNACK {other:?}")),
        }
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)?;
        self.stream.flush()
    }

    /// Publishes with quality of service 1 and waits for the PUBACK: whatever was to be sent here before has come then.
    pub(crate) fn publish(&mut self, topic: &str, payload: &[u8]) -> io::Result<()> {
        self.publish_flagged(0x32, topic, payload)?;
        self.await_packet(0x40)
    }

    /// Publishes with whatever flags and does not wait.
    pub(crate) fn publish_flagged(&mut self, first: u8, topic: &str, payload: &[u8]) -> io::Result<()> {
        self.send(&packet(first, &[&text(topic), &[0, 1][..], payload].concat()))
    }

    pub(crate) fn subscribe(&mut self, filter: &str) -> io::Result<()> {
        self.send(&packet(0x82, &[&[0, 1][..], &text(filter), &[1]].concat()))?;
        self.await_packet(0x90)
    }

    pub(crate) fn unsubscribe(&mut self, filter: &str) -> io::Result<()> {
        self.send(&packet(0xa2, &[&[0, 1][..], &text(filter)].concat()))?;
        self.await_packet(0xb0)
    }

    /// Waits until the broker has said all that it had for this client.
    pub(crate) fn settle(&mut self) -> io::Result<()> {
        self.send(&[0xc0, 0])?;
        self.await_packet(0xd0)
    }

    /// What was heard since this was last asked: topics and payloads.
    pub(crate) fn heard(&mut self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.heard)
    }

    /// Whether the broker ends the connection.
    pub(crate) fn ends(mut self) -> bool {
        loop {
            match self.packet() {
                Ok((first, body)) if first & 0xf0 == 0x30 => self.take(first, &body).unwrap(),
                Ok((0x40 | 0x50, _)) => return false,
                Ok(_) => {}
                Err(error) => return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut),
            }
        }
    }

    fn await_packet(&mut self, wanted: u8) -> io::Result<()> {
        loop {
            let (first, body) = self.packet()?;
            if first == wanted {
                return Ok(());
            }
            if first & 0xf0 == 0x30 {
                self.take(first, &body)?;
            }
        }
    }

    fn take(&mut self, first: u8, body: &[u8]) -> io::Result<()> {
        let length = usize::from(u16::from_be_bytes([body[0], body[1]]));
        let (topic, mut rest) = body[2..].split_at(length);
        if first & 0b110 != 0 {
            let id = &rest[..2];
            self.send(&[0x40, 2, id[0], id[1]])?;
            rest = &rest[2..];
        }
        self.heard.push((String::from_utf8(topic.to_vec()).unwrap(), rest.to_vec()));
        Ok(())
    }

    fn packet(&mut self) -> io::Result<(u8, Vec<u8>)> {
        let mut byte = [0];
        self.stream.read_exact(&mut byte)?;
        let first = byte[0];
        let (mut length, mut shift) = (0_usize, 0);
        loop {
            self.stream.read_exact(&mut byte)?;
            length |= usize::from(byte[0] & 0x7f) << shift;
            shift += 7;
            if byte[0] & 0x80 == 0 {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        Ok((first, body))
    }
}
