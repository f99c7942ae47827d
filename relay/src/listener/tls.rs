//! TLS: who comes with which certificate, and for what.
//!
//! - Who says [`ALPN_ENROL`] wants a certificate and may come without one; anybody else speaks MQTT and needs one.
//! - A certificate is honoured if the relay's authority signed it for a client and it stands in the book, now.
//! - A handshake is whole within [`WITHIN`], in a place of the lobby's. Nothing is resumed: who comes again shows again.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use anyhow::Context as _;
use gaitway_proto::enrolment::{ALPN_ENROL, ALPN_MQTT, renew_at};
use gaitway_proto::topic::AgentId;
use gaitway_service::clock;
use gaitway_service::tls::certified;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{Acceptor, ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, ServerConfig, SignatureScheme,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::peeked::Peeked;
use crate::identity::{Attempts, Authority, Book, Desk, Serial, Standing};

/// Time for a handshake, from the first byte to the last.
const WITHIN: Duration = Duration::from_secs(10);

/// The first byte of every record that begins a handshake.
const HANDSHAKE: u8 = 0x16;

/// What the listener needs for TLS.
pub(crate) struct Tls {
    mqtt: Arc<ServerConfig>,
    enrol: Arc<ServerConfig>,
    own: Arc<OwnKey>,
    pub(super) book: watch::Receiver<Arc<Book>>,
    pub(super) desk: Desk,
    pub(super) attempts: Mutex<Attempts>,
}

/// The certificate that was shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shown {
    /// Its number.
    pub serial: Serial,
    /// Whose it is.
    pub agent: AgentId,
}

/// A connection whose handshake is done.
pub(super) enum Shaken<S> {
    /// It speaks MQTT, and has shown this.
    Mqtt(TlsStream<S>, Shown),
    /// It wants a certificate, and has shown this or nothing.
    Enrol(TlsStream<S>, Option<Shown>),
}

/// Why there was no handshake.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoHandshake {
    /// Not TLS at all.
    #[error("it speaks no TLS, which is a must here")]
    PlainText,
    /// Too slow.
    #[error("no TLS handshake within {} s", WITHIN.as_secs())]
    Slow,
    /// A certificate that is not honoured.
    #[error("the certificate is not honoured: {0}")]
    Certificate(rustls::Error),
    /// No certificate where one is a must.
    #[error("no certificate was shown: enrol it with a code of `gaitway relay agent add`")]
    NoCertificate,
    /// Anything else of TLS: an older version, damage, a peer that does not trust the relay.
    #[error("the TLS handshake failed: {0}")]
    Failed(rustls::Error),
    /// The connection itself.
    #[error("{0}")]
    Io(io::Error),
}

impl NoHandshake {
    /// The label of the counter.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::PlainText => "plain_text",
            Self::Slow => "tls_timeout",
            Self::Certificate(_) => "certificate",
            Self::NoCertificate => "no_certificate",
            Self::Failed(_) => "tls",
            Self::Io(_) => "io",
        }
    }

    fn of(error: io::Error) -> Self {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(error @ rustls::Error::InvalidCertificate(_)) => Self::Certificate(error.clone()),
            Some(error) => Self::Failed(error.clone()),
            None => Self::Io(error),
        }
    }
}

impl Tls {
    /// For the relay's own `authority`; `now` is in seconds of the Unix epoch.
    pub(crate) fn new(
        authority: &Authority,
        book: watch::Receiver<Arc<Book>>,
        desk: Desk,
        now: fn() -> i64,
    ) -> anyhow::Result<Self> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let own = Arc::new(OwnKey::new(authority, now())?);
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate().clone()).context("the authority's certificate")?;
        let signed = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
            .build()
            .context("the check of certificates")?;
        let config = |alpn: &[u8], mandatory| {
            let honoured = Honoured { signed: signed.clone(), book: book.clone(), mandatory };
            let mut config = ServerConfig::builder_with_provider(provider.clone())
                .with_safe_default_protocol_versions()
                .context("TLS versions")?
                .with_client_cert_verifier(Arc::new(honoured))
                .with_cert_resolver(own.clone());
            config.alpn_protocols = vec![alpn.to_vec()];
            config.session_storage = Arc::new(NoServerSessionStorage {});
            config.send_tls13_tickets = 0;
            anyhow::Ok(Arc::new(config))
        };
        let (mqtt, enrol) = (config(ALPN_MQTT, true)?, config(ALPN_ENROL, false)?);
        let attempts = Mutex::new(Attempts::new(std::time::Instant::now()));
        Ok(Self { mqtt, enrol, own, book, desk, attempts })
    }

    /// The relay's own key and certificate.
    pub(crate) fn own(&self) -> &Arc<OwnKey> {
        &self.own
    }

    /// The handshake with whoever is at the other end of `stream`.
    pub(super) async fn shake<S>(&self, stream: S) -> Result<Shaken<Peeked<S>>, NoHandshake>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let by = Instant::now() + WITHIN;
        tokio::time::timeout_at(by, self.shake_in_time(stream)).await.unwrap_or(Err(NoHandshake::Slow))
    }

    async fn shake_in_time<S>(&self, stream: S) -> Result<Shaken<Peeked<S>>, NoHandshake>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = Peeked::peek(stream).await.map_err(NoHandshake::Io)?;
        if stream.first() != HANDSHAKE {
            return Err(NoHandshake::PlainText);
        }
        let start = LazyConfigAcceptor::new(Acceptor::default(), stream).await.map_err(NoHandshake::of)?;
        let enrols = start.client_hello().alpn().is_some_and(|mut said| said.any(|name| name == ALPN_ENROL));
        let config = if enrols { &self.enrol } else { &self.mqtt };
        let stream = start.into_stream(config.clone()).await.map_err(NoHandshake::of)?;
        let shown = stream.get_ref().1.peer_certificates().and_then(|chain| self.shown(chain.first()?));
        match (enrols, shown) {
            (true, shown) => Ok(Shaken::Enrol(stream, shown)),
            (false, Some(shown)) => Ok(Shaken::Mqtt(stream, shown)),
            (false, None) => Err(NoHandshake::NoCertificate),
        }
    }

    fn shown(&self, certificate: &CertificateDer<'_>) -> Option<Shown> {
        let serial = serial_of(certificate)?;
        match self.book.borrow().standing(now(), serial) {
            Standing::Good { agent, .. } => Some(Shown { serial, agent: agent.clone() }),
            _ => None,
        }
    }

    /// What the book says of the certificate `serial` now.
    pub(super) fn watch(&self, serial: Serial) -> Watch {
        Watch { book: self.book.clone(), serial }
    }

    /// Somebody at `peer` is about to try a code; or seconds to wait.
    pub(super) fn take_attempt(&self, peer: SocketAddr) -> Result<(), u32> {
        let now = Instant::now().into_std();
        let mut attempts = self.attempts.lock().unwrap_or_else(PoisonError::into_inner);
        attempts.take(now, peer.ip()).map_err(|wait| wait.as_secs_f64().ceil() as u32)
    }

    /// The code was right.
    pub(super) fn give_attempt_back(&self, peer: SocketAddr) {
        let now = Instant::now().into_std();
        self.attempts.lock().unwrap_or_else(PoisonError::into_inner).give_back(now, peer.ip());
    }
}

/// Seconds of the Unix epoch.
fn now() -> i64 {
    clock::now_micros().div_euclid(1_000_000)
}

fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

fn serial_of(certificate: &CertificateDer<'_>) -> Option<Serial> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    Serial::from_bytes(parsed.raw_serial())
}

/// Follows one certificate in the book.
pub(super) struct Watch {
    book: watch::Receiver<Arc<Book>>,
    serial: Serial,
}

impl Watch {
    /// Resolves once the certificate is not honoured any more. Also looks each minute, for one may end.
    pub(super) async fn dishonoured(mut self) -> &'static str {
        loop {
            let why = match self.book.borrow_and_update().standing(now(), self.serial) {
                Standing::Good { .. } => None,
                Standing::Revoked => Some("its certificate was revoked"),
                Standing::Ended => Some("its certificate has ended"),
                Standing::Unknown => Some("its certificate is not known any more"),
            };
            if let Some(why) = why {
                return why;
            }
            self.changed().await;
        }
    }

    /// Resolves once another certificate is wanted in the place of this one.
    pub(super) async fn outdated(&mut self) {
        loop {
            if let Standing::Good { rotate: true, .. } = self.book.borrow_and_update().standing(now(), self.serial) {
                return;
            }
            self.changed().await;
        }
    }

    async fn changed(&mut self) {
        const LOOK_EVERY: Duration = Duration::from_secs(60);
        if let Ok(Err(_)) = tokio::time::timeout(LOOK_EVERY, self.book.changed()).await {
            // Nobody keeps the book any more: the relay ends.
            std::future::pending::<()>().await;
        }
    }
}

/// Lets in who shows a certificate that is signed and stands in the book.
#[derive(Debug)]
struct Honoured {
    signed: Arc<dyn ClientCertVerifier>,
    book: watch::Receiver<Arc<Book>>,
    mandatory: bool,
}

impl ClientCertVerifier for Honoured {
    fn client_auth_mandatory(&self) -> bool {
        self.mandatory
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.signed.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let verified = self.signed.verify_client_cert(end_entity, intermediates, now)?;
        let serial = serial_of(end_entity).ok_or(CertificateError::BadEncoding)?;
        match self.book.borrow().standing(seconds(now), serial) {
            Standing::Good { .. } => Ok(verified),
            Standing::Revoked => Err(CertificateError::Revoked.into()),
            Standing::Ended => Err(CertificateError::Expired.into()),
            Standing::Unknown => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signed.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.signed.supported_verify_schemes()
    }
}

/// The relay's own key, in memory, and its certificate.
pub(crate) struct OwnKey {
    present: RwLock<Arc<CertifiedKey>>,
    /// When another is to be made, seconds of the Unix epoch.
    renew_at: Mutex<i64>,
}

impl OwnKey {
    fn new(authority: &Authority, now: i64) -> anyhow::Result<Self> {
        let (key, renew_at) = Self::make(authority, now)?;
        Ok(Self { present: RwLock::new(key), renew_at: Mutex::new(renew_at) })
    }

    fn make(authority: &Authority, now: i64) -> anyhow::Result<(Arc<CertifiedKey>, i64)> {
        let bits = || getrandom::u64().map(u128::from).context("the system gives no random numbers");
        let serial = Serial::from_random(bits()? << 64 | bits()?);
        let (certificate, key, validity) = authority.certify_relay(serial, now).context("the relay's certificate")?;
        let chain = vec![certificate, authority.certificate().clone()];
        let key = certified(chain, &key).context("the relay's key")?;
        Ok((Arc::new(key), renew_at(validity.not_before, validity.not_after)))
    }

    /// Makes another where it is time to.
    pub(crate) fn renew_if_due(&self, authority: &Authority, now: i64) -> anyhow::Result<()> {
        let mut due = self.renew_at.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= *due {
            let (key, renew_at) = Self::make(authority, now)?;
            *self.present.write().unwrap_or_else(PoisonError::into_inner) = key;
            *due = renew_at;
            tracing::info!("the relay has a new certificate");
        }
        Ok(())
    }
}

impl fmt::Debug for OwnKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OwnKey(…)")
    }
}

impl ResolvesServerCert for OwnKey {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.present.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use gaitway_proto::enrolment::{Answer, Ask, RELAY_NAME};
    use gaitway_service::health::Health;
    use rcgen::{CertificateParams, KeyPair};
    use rustls::ClientConfig;
    use rustls::pki_types::{PrivatePkcs8KeyDer, ServerName};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio_rustls::{TlsConnector, client};
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::identity::{Clerk, Store};

    /// How far the relay's clock is behind, seconds.
    static BEHIND: AtomicI64 = AtomicI64::new(0);

    fn clock_that_is_set() -> i64 {
        now() - BEHIND.load(Ordering::SeqCst)
    }

    /// A connection of an agent, both its ends.
    type Connection = (client::TlsStream<DuplexStream>, TlsStream<Peeked<DuplexStream>>);

    async fn connection(tls: &Tls, agent: &TlsConnector) -> Connection {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let name = ServerName::try_from(RELAY_NAME).unwrap();
        let (shaken, near) = tokio::join!(tls.shake(far), agent.connect(name, near));
        let Ok(Shaken::Mqtt(far, shown)) = shaken else { panic!("not let in") };
        assert_eq!(shown.agent.as_str(), "attic");
        (near.unwrap(), far)
    }

    fn certificate_shown(connection: &Connection) -> CertificateDer<'static> {
        connection.0.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    }

    async fn carries(connection: &mut Connection, byte: u8) {
        let (near, far) = connection;
        near.write_u8(byte).await.unwrap();
        near.flush().await.unwrap();
        assert_eq!(far.read_u8().await.unwrap(), byte);
        far.write_u8(byte).await.unwrap();
        far.flush().await.unwrap();
        assert_eq!(near.read_u8().await.unwrap(), byte);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_relays_certificate_is_renewed_while_it_runs_and_connected_agents_go_on() {
        // Beyond two thirds of its life, which it begins a day old.
        BEHIND.store(61 * 24 * 3600, Ordering::SeqCst);
        let dir = tempfile::tempdir().unwrap();
        let now = clock_that_is_set;
        let mut store = Store::open(dir.path(), now()).unwrap();
        let secret = store.add(now(), &"attic".parse().unwrap()).unwrap().code.secret;
        let mut roots = RootCertStore::empty();
        roots.add(store.authority().certificate().clone()).unwrap();
        let (book, books) = watch::channel(Arc::default());
        let (desk, inbox) = Desk::new();
        let tls = Tls::new(store.authority(), books, desk.clone(), now).unwrap();
        let (own, shutdown) = (tls.own().clone(), CancellationToken::new());
        let health = Health::new().part("identities");
        let clerk = Clerk { store, inbox, book, own, health, now, shutdown: shutdown.clone() };
        let working = tokio::task::spawn_blocking(move || clerk.work());

        let key = KeyPair::generate().unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap().der().to_vec();
        let Answer::Issued(issued) = desk.certify(Ask::Enrol { secret, request }, None).await else { panic!() };
        let chain = vec![issued.certificate.into()];
        let mut config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        config.alpn_protocols = vec![ALPN_MQTT.to_vec()];
        let agent = TlsConnector::from(Arc::new(config));
        let mut first = connection(&tls, &agent).await;
        carries(&mut first, 1).await;
        let before = certificate_shown(&first);
        assert_eq!(certificate_shown(&connection(&tls, &agent).await), before, "it is not due");

        BEHIND.store(0, Ordering::SeqCst);
        let end = Instant::now() + Duration::from_secs(60);
        let mut second = loop {
            let second = connection(&tls, &agent).await;
            if certificate_shown(&second) != before {
                break second;
            }
            assert!(Instant::now() < end, "no other certificate is shown");
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        carries(&mut first, 2).await;
        carries(&mut second, 3).await;
        shutdown.cancel();
        working.await.unwrap();
    }
}
