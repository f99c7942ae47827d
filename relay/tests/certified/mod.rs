//! A relay with TLS, and clients with whatever certificate.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of this test code"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gaitway_proto::enrolment::{
    ALPN_ENROL, ALPN_MQTT, Answer, Ask, Code, CodeSecret, Issued, MAX_ANSWER, RELAY_NAME, Refusal, announced, framed,
};
use gaitway_relay::RelayConfig;
use gaitway_relay::identity::Store;
use gaitway_service::clock;
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, Issuer, KeyPair};
use rumqttc::mqttbytes::v4::ConnectReturnCode;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::client::{Client, Relay};

/// A relay with TLS whose folder is `dir`.
pub fn relay(dir: &Path) -> Relay {
    Relay::start(|config: &mut RelayConfig| {
        config.tls = Some(true);
        config.data_dir = dir.join("relay");
    })
}

pub fn now() -> i64 {
    clock::now_micros() / 1_000_000
}

pub fn store(dir: &Path) -> Store {
    Store::open(&dir.join("relay"), now()).unwrap()
}

pub fn code(dir: &Path, agent: &str) -> Code {
    store(dir).add(now(), &agent.parse().unwrap()).unwrap().code
}

/// A key and what was issued for it.
pub struct Certified {
    pub key: KeyPair,
    pub issued: Issued,
}

pub fn request(key: &KeyPair) -> Vec<u8> {
    CertificateParams::default().serialize_request(key).unwrap().der().to_vec()
}

pub type Chain = Option<(Vec<CertificateDer<'static>>, PrivatePkcs8KeyDer<'static>)>;

/// A client that trusts `authority` and shows `chain`.
pub fn tls(authority: &CertificateDer<'static>, chain: Chain, alpn: &[u8]) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut config = match chain {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key.into()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config).into()
}

pub fn authority(dir: &Path) -> CertificateDer<'static> {
    use rustls::pki_types::pem::PemObject as _;
    CertificateDer::from_pem_file(dir.join("relay/ca.pem")).unwrap()
}

impl Certified {
    #[expect(clippy::unnecessary_wraps, reason = "what a client shows, which may be nothing")]
    pub fn chain(&self) -> Chain {
        let key = PrivatePkcs8KeyDer::from(self.key.serialize_der());
        Some((vec![self.issued.certificate.clone().into()], key))
    }
}

/// The handshake; with TLS 1.3 a certificate is refused only after it.
pub async fn shake(relay: &Relay, tls: &TlsConnector) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(relay.address).await?;
    tls.connect(ServerName::try_from(RELAY_NAME).unwrap(), stream).await
}

/// Whether the relay lets in who comes with this: TLS, then CONNECT.
pub async fn comes_in(relay: &Relay, tls: &TlsConnector, id: &str) -> bool {
    let Ok(stream) = shake(relay, tls).await else { return false };
    Client::over(stream, id).connect().await == Some(ConnectReturnCode::Success)
}

pub async fn enter(relay: &Relay, dir: &Path, certified: &Certified) -> Client {
    let stream = shake(relay, &tls(&authority(dir), certified.chain(), ALPN_MQTT)).await.unwrap();
    Client::over(stream, certified.issued.agent.as_str()).entered().await
}

/// Asks, over a connection that shows `chain`.
pub async fn ask(relay: &Relay, dir: &Path, chain: Chain, ask: &Ask) -> Answer {
    let mut stream = shake(relay, &tls(&authority(dir), chain, ALPN_ENROL)).await.unwrap();
    stream.write_all(&framed(&ask.encode())).await.unwrap();
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.unwrap();
    let mut payload = vec![0; announced(length, "answer", MAX_ANSWER).unwrap()];
    stream.read_exact(&mut payload).await.unwrap();
    Answer::decode(&payload).unwrap()
}

pub async fn try_code(relay: &Relay, dir: &Path, secret: &CodeSecret) -> Result<Certified, Refusal> {
    let key = KeyPair::generate().unwrap();
    match ask(relay, dir, None, &Ask::Enrol { secret: secret.clone(), request: request(&key) }).await {
        Answer::Issued(issued) => Ok(Certified { key, issued }),
        Answer::Refused(refusal) => Err(refusal),
    }
}

pub async fn enrolled(relay: &Relay, dir: &Path, agent: &str) -> Certified {
    try_code(relay, dir, &code(dir, agent).secret).await.unwrap_or_else(|refusal| panic!("{refusal}"))
}

pub fn closed(relay: &Relay, reason: &str) -> u64 {
    let text = relay.metrics.encode();
    let line = format!("gaitway_relay_closed_connections_total{{reason=\"{reason}\"}} ");
    text.lines().find_map(|l| l.strip_prefix(&line)).map_or(0, |count| count.parse().unwrap())
}

pub async fn counted(relay: &Relay, reason: &str, count: u64) {
    let begun = std::time::Instant::now();
    while closed(relay, reason) < count {
        assert!(begun.elapsed() < Duration::from_secs(20), "{reason}: {}", relay.metrics.encode());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A client's certificate that is signed with the key of the relay in `dir`, without the relay's doing; it ends with `year`.
#[expect(clippy::unnecessary_wraps, reason = "what a client shows, which may be nothing")]
pub fn forged(dir: &Path, year: i32) -> Chain {
    let key = KeyPair::from_pem(&std::fs::read_to_string(dir.join("relay/ca.key")).unwrap()).unwrap();
    let issuer = Issuer::from_ca_cert_der(&authority(dir), key).unwrap();
    let mut params = CertificateParams::default();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.not_after = rcgen::date_time_ymd(year, 12, 31);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
    Some((vec![certificate], PrivatePkcs8KeyDer::from(key.serialize_der())))
}

/// How a client of TLS 1.1 begins that offers one suite, RSA with AES.
pub fn hello_of_tls_1_1() -> Vec<u8> {
    let mut hello = vec![0x16, 3, 1, 0, 45, 1, 0, 0, 41, 3, 2];
    hello.extend([7; 32]);
    hello.extend([0, 0, 2, 0, 0x2f, 1, 0]);
    hello
}
