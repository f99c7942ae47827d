//! The way to a server: its name, the route, the port, TLS. Where it ends decides what to do.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

const NAME_WITHIN: Duration = Duration::from_secs(5);
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// How long a server may take to refuse a certificate, which it does after the client's handshake is done (RFC 8446).
const REFUSED_WITHIN: Duration = Duration::from_millis(500);

/// Addresses of a name that are tried.
const TRIED: usize = 4;

/// Why a server is not reached, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum Unreached {
    /// Its name has no address.
    #[error("name not found: {host} has no address ({why}); is it spelled right, does this machine's DNS know it?")]
    Name {
        /// The name.
        host: String,
        /// Why.
        why: String,
    },
    /// Nothing listens.
    #[error(
        "port closed: {0} refuses the connection; that machine is there, but nothing listens at this port: is it running, is the port right?"
    )]
    Closed(SocketAddr),
    /// The network does not lead there.
    #[error("no route: {0} cannot be reached from this network; is a cable, the Wi-Fi or a VPN missing?")]
    Route(SocketAddr),
    /// Nobody answers.
    #[error("no answer: {0} is silent for 5 s; is that machine switched on, does a firewall on the way drop this?")]
    Silent(SocketAddr),
    /// Something else.
    #[error("{0} cannot be connected to: {1}")]
    Other(SocketAddr, io::Error),
}

/// A connection.
#[derive(Debug)]
pub struct Reached {
    /// It.
    pub stream: TcpStream,
    /// To whom.
    pub address: SocketAddr,
    /// How long connecting took.
    pub took: Duration,
}

/// Connects to the first address of `host` that answers.
pub async fn connect(host: &str, port: u16) -> Result<Reached, Unreached> {
    let no_name = |why: String| Unreached::Name { host: host.to_owned(), why };
    let found = match timeout(NAME_WITHIN, lookup_host((host, port))).await {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(no_name(error.to_string())),
        Err(_) => return Err(no_name("no name server answers within 5 s".to_owned())),
    };
    let mut last = None;
    for address in found.take(TRIED) {
        let begun = Instant::now();
        match timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(Reached { stream, address, took: begun.elapsed() }),
            Ok(Err(error)) => {
                last = Some(match error.kind() {
                    io::ErrorKind::ConnectionRefused => Unreached::Closed(address),
                    io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => Unreached::Route(address),
                    io::ErrorKind::TimedOut => Unreached::Silent(address),
                    _ => Unreached::Other(address, error),
                });
            }
            Err(_) => last = Some(Unreached::Silent(address)),
        }
    }
    Err(last.unwrap_or_else(|| no_name("it has no address".to_owned())))
}

/// A connection over TLS.
#[derive(Debug)]
pub struct Secured {
    /// It.
    pub stream: TlsStream<TcpStream>,
    /// What the server showed, its own certificate first.
    pub chain: Vec<CertificateDer<'static>>,
}

/// Shakes hands, and waits a little whether what was shown is refused; sends nothing more.
pub async fn handshake(stream: TcpStream, config: Arc<ClientConfig>, name: ServerName<'static>) -> io::Result<Secured> {
    let shaken = timeout(HANDSHAKE_WITHIN, TlsConnector::from(config).connect(name, stream)).await;
    let mut stream = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))?;
    match timeout(REFUSED_WITHIN, stream.read_u8()).await {
        Ok(Err(error)) => return Err(error),
        Ok(Ok(_)) => return Err(io::Error::new(io::ErrorKind::InvalidData, "it speaks first: it is no MQTT server")),
        Err(_) => {}
    }
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let chain = chain.iter().map(|certificate| certificate.clone().into_owned()).collect();
    Ok(Secured { stream, chain })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn where_the_way_ends_is_told() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        assert_eq!(connect("127.0.0.1", address.port()).await.unwrap().address, address);
        drop(listener);
        let closed = connect("127.0.0.1", address.port()).await.unwrap_err();
        assert!(matches!(closed, Unreached::Closed(_)), "{closed}");
        // Never a name (RFC 6761).
        let unknown = connect("relay.invalid", 8883).await.unwrap_err();
        assert!(unknown.to_string().contains("name not found: relay.invalid"), "{unknown}");
    }
}
