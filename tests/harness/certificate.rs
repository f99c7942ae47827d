//! TLS as an agent speaks it to the relay: certificates of the relay's own authority, and clients that show them.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gaitway_proto::enrolment::{ALPN_ENROL, Answer, Ask, Code, MAX_ANSWER, RELAY_NAME, announced, framed};
use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read as _, Write as _};

/// A key and the certificate that a relay issued for it.
pub(crate) struct Certified {
    pub(crate) agent: String,
    certificate: CertificateDer<'static>,
    key: KeyPair,
}

/// A connection of TLS.
pub(crate) type Secured = StreamOwned<ClientConnection, TcpStream>;

/// A client that trusts these certificates, shows `shown` and says that it speaks `alpn`, where that is anything.
pub(crate) fn client<'a>(
    trusted: impl IntoIterator<Item = &'a CertificateDer<'static>>,
    shown: Option<&Certified>,
    alpn: &[u8],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    for certificate in trusted {
        roots.add(certificate.clone()).unwrap();
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match shown {
        Some(Certified { certificate, key, .. }) => {
            let key = PrivatePkcs8KeyDer::from(key.serialize_der());
            builder.with_client_auth_cert(vec![certificate.clone()], key.into()).unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    if !alpn.is_empty() {
        config.alpn_protocols = vec![alpn.to_vec()];
    }
    Arc::new(config)
}

/// The authority of the relay whose folder is `dir`.
pub(crate) fn authority(dir: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(dir.join("ca.pem")).unwrap()
}

/// A request for a certificate of `key`.
pub(crate) fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

/// Uses `code` at `relay`, whose authority is `authority`.
pub(crate) fn enrol(relay: SocketAddr, authority: &CertificateDer<'static>, code: &str) -> Certified {
    let key = KeyPair::generate().unwrap();
    let secret = code.parse::<Code>().unwrap().secret;
    match ask(relay, &client([authority], None, ALPN_ENROL), &Ask::Enrol { secret, request: request(&key) }) {
        Answer::Issued(issued) => {
            Certified { agent: issued.agent.to_string(), certificate: issued.certificate.into(), key }
        }
        Answer::Refused(refusal) => panic!("{refusal}"),
    }
}

/// Asks the relay for a certificate.
pub(crate) fn ask(relay: SocketAddr, client: &Arc<ClientConfig>, ask: &Ask) -> Answer {
    let mut stream = connect(relay, client).unwrap();
    stream.write_all(&framed(&ask.encode())).unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut payload = vec![0; announced(length, "answer", MAX_ANSWER).unwrap()];
    stream.read_exact(&mut payload).unwrap();
    Answer::decode(&payload).unwrap()
}

/// A connection to the relay whose handshake is done, as far as a client can tell.
pub(crate) fn connect(relay: SocketAddr, client: &Arc<ClientConfig>) -> std::io::Result<Secured> {
    let mut socket = TcpStream::connect(relay)?;
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut connection = ClientConnection::new(client.clone(), name()).unwrap();
    while connection.is_handshaking() {
        connection.complete_io(&mut socket)?;
    }
    Ok(StreamOwned::new(connection, socket))
}

/// Whom agents expect.
pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from(RELAY_NAME).unwrap()
}
