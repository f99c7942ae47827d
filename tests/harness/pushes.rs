//! A connection that a phone keeps for its pushes, plain or with TLS, and a certificate for HTTPS that is made anew.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::certificate;

/// See the module.
pub(crate) struct Kept(BufReader<Box<dyn Carrier>>);

trait Carrier: Read + Write + Send {}

impl<S: Read + Write + Send> Carrier for S {}

impl Kept {
    /// A new connection to `to`, over TLS where there is a client for it.
    pub(crate) fn open(to: SocketAddr, https: Option<Arc<ClientConfig>>) -> std::io::Result<Self> {
        let stream = TcpStream::connect(to)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let stream: Box<dyn Carrier> = match https {
            Some(client) => {
                let name = ServerName::try_from("localhost").unwrap();
                Box::new(StreamOwned::new(ClientConnection::new(client, name).unwrap(), stream))
            }
            None => Box::new(stream),
        };
        Ok(Self(BufReader::new(stream)))
    }

    /// Posts `body` to `path`; the status and what was said.
    pub(crate) fn post(&mut self, path: &str, body: &str) -> std::io::Result<(u16, String)> {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.0.get_mut().write_all(format!("{head}{body}").as_bytes())?;
        self.0.get_mut().flush()?;
        let (mut status, mut length, mut line) = (None, 0, String::new());
        while self.0.read_line(&mut line)? > 2 {
            let said = line.to_ascii_lowercase();
            if let Some(rest) = said.strip_prefix("http/1.1 ") {
                status = rest.get(..3).and_then(|status| status.parse().ok());
            } else if let Some(rest) = said.strip_prefix("content-length: ") {
                length = rest.trim().parse().unwrap();
            }
            line.clear();
        }
        let status = status.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let mut answer = vec![0; length];
        self.0.read_exact(&mut answer)?;
        Ok((status, String::from_utf8(answer).unwrap()))
    }
}

/// The files of a certificate for `localhost`, and whoever trusts all that ever were in them. Clones are the same.
#[derive(Clone)]
pub(crate) struct Https {
    dir: PathBuf,
    trusted: Arc<Mutex<Vec<CertificateDer<'static>>>>,
}

impl Https {
    pub(crate) fn new(dir: &Path) -> Self {
        let https = Self { dir: dir.to_owned(), trusted: Arc::default() };
        https.renew();
        https
    }

    /// Replaces both files, one after the other.
    pub(crate) fn renew(&self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        self.trusted.lock().unwrap().push(made.cert.der().clone());
        let key = self.dir.join("key.pem");
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(self.dir.join("cert.pem"), made.cert.pem()).unwrap();
    }

    /// Lines of the table `https`.
    pub(crate) fn lines(&self) -> String {
        let (certificate, key) = (self.dir.join("cert.pem"), self.dir.join("key.pem"));
        format!("certificate_file = \"{}\"\nkey_file = \"{}\"\n", certificate.display(), key.display())
    }

    /// A client that trusts what was in the files so far.
    pub(crate) fn client(&self) -> Arc<ClientConfig> {
        certificate::client(self.trusted.lock().unwrap().iter(), None, b"")
    }

    /// The certificate that is shown at `address` now.
    pub(crate) fn shown(&self, address: SocketAddr) -> CertificateDer<'static> {
        let mut socket = TcpStream::connect(address).unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        let mut connection = ClientConnection::new(self.client(), name).unwrap();
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).unwrap();
        }
        connection.peer_certificates().unwrap()[0].clone().into_owned()
    }

    /// The certificate that is in the file.
    pub(crate) fn newest(&self) -> CertificateDer<'static> {
        self.trusted.lock().unwrap().last().unwrap().clone()
    }
}
