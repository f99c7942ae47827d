//! Guesses at codes, each over a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use gaitway_proto::enrolment::{ALPN_ENROL, Answer, Ask, CodeSecret, MAX_ANSWER, Refusal, announced, framed};
use rcgen::KeyPair;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;

use crate::attacks::{address, dial};
use crate::harness::certificate;

/// How guesses were answered.
#[derive(Debug, Default)]
pub(crate) struct Guessed {
    /// Refused before anybody looked at a code.
    pub(crate) too_many: AtomicU64,
    /// There is no code that begins so.
    pub(crate) unknown: AtomicU64,
    /// It begins like a code and goes on otherwise.
    pub(crate) wrong: AtomicU64,
    /// It begins like a code that was tried wrongly too often.
    pub(crate) exhausted: AtomicU64,
}

impl Guessed {
    /// How many were answered.
    pub(crate) fn all(&self) -> u64 {
        self.too_many.load(Ordering::Relaxed) + self.heard()
    }

    /// How many the limit let through to the codes.
    pub(crate) fn heard(&self) -> u64 {
        [&self.unknown, &self.wrong, &self.exhausted].map(|count| count.load(Ordering::Relaxed)).iter().sum()
    }
}

/// Guesses codes `times` times or for so long, each guess a connection with a whole handshake, from a thousand addresses:
/// half of them at codes that nobody made (all but those that begin like `spared`), half at the one that begins like
/// `victim`.
pub(crate) async fn guess(
    relay: SocketAddr,
    [spared, victim]: [&CodeSecret; 2],
    times: u64,
    within: Duration,
) -> Arc<Guessed> {
    const TOGETHER: u64 = 64;
    let (guessed, next, over) = (Arc::<Guessed>::default(), Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
    let enrols = TlsConnector::from(credulous(ALPN_ENROL));
    let request = certificate::request(&KeyPair::generate().unwrap());
    let (end, begins, known) = (Instant::now() + within, victim.selector(), [spared.selector(), victim.selector()]);
    let all: Vec<_> = (0..TOGETHER)
        .map(|_| {
            let (guessed, next, over) = (guessed.clone(), next.clone(), over.clone());
            let (enrols, request) = (enrols.clone(), request.clone());
            tokio::spawn(async move {
                while !over.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    if n >= times || Instant::now() >= end {
                        over.store(true, Ordering::Relaxed);
                        break;
                    }
                    let selector = if n % 2 == 0 { (n / 2 % 0x7fff) as u16 } else { begins };
                    if n % 2 == 0 && known.contains(&selector) {
                        continue;
                    }
                    let secret = CodeSecret::from_random(u64::from(selector) << 35 | n);
                    let ask = Ask::Enrol { secret, request: request.clone() };
                    let stream = dial(address(n as u32 % 1_000), relay).await.unwrap();
                    let mut stream = enrols.connect(certificate::name(), stream).await.unwrap();
                    stream.write_all(&framed(&ask.encode())).await.unwrap();
                    let mut length = [0; 2];
                    stream.read_exact(&mut length).await.unwrap();
                    let mut payload = vec![0; announced(length, "answer", MAX_ANSWER).unwrap()];
                    stream.read_exact(&mut payload).await.unwrap();
                    let count = match Answer::decode(&payload).unwrap() {
                        Answer::Refused(Refusal::TooMany { .. }) => &guessed.too_many,
                        Answer::Refused(Refusal::WrongCode { tries_left: None }) => &guessed.unknown,
                        Answer::Refused(Refusal::WrongCode { tries_left: Some(_) }) => &guessed.wrong,
                        Answer::Refused(Refusal::Exhausted) => &guessed.exhausted,
                        answer => panic!("a guess was answered {answer:?}"),
                    };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for task in all {
        task.await.unwrap();
    }
    guessed
}

/// A client that looks at no certificate: whoever guesses has no time for it.
fn credulous(alpn: &[u8]) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Credulous))
        .with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

#[derive(Debug)]
struct Credulous;

impl ServerCertVerifier for Credulous {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
