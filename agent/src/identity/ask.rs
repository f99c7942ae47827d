//! Asking the relay for a certificate: the first one with a code, later ones with the one before.
//!
//! - The key is made here and leaves this machine never.
//! - Nothing is sent before it is certain that it is the right relay.
//! - Until the whole identity is kept, durably, there is what was there before.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use gaitway_proto::enrolment::{
    ALPN_ENROL, Answer, Ask, Code, Issued, MAX_ANSWER, RELAY_NAME, Refusal, announced, framed,
};
use gaitway_proto::envelope::WireError;
use gaitway_proto::topic::AgentId;
use gaitway_service::key_file::KeyFileError;
use gaitway_service::lock::{DataDir, LockError};
use gaitway_service::tls::tls_error;
use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, ClientConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

use super::kept::Kept;
use super::trust::{NamedByCode, explain, fingerprint, provider};
use super::{Identity, IdentityError};
use crate::uplink::RelayAddress;

/// For all of it.
const WITHIN: Duration = Duration::from_secs(20);

/// Why there is no (new) certificate.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// Nobody is there.
    #[error(
        "no relay answers at {address} ({why}): is it running, is the address right, does a firewall let this through?"
    )]
    Away {
        /// Where.
        address: String,
        /// Why. It is in the sentence, so it is no source beside it.
        why: io::Error,
    },
    /// Somebody is there who does not answer.
    #[error("what listens at {0} does not answer: is it a gaitway relay with TLS?")]
    Silent(String),
    /// The relay is not the one that made the code.
    #[error(
        "what answers at {0} is not the relay that made this code: the address or the first 16 characters of the code are \
         mistyped, or somebody is in between; nothing was sent"
    )]
    OtherRelay(String),
    /// Other trouble of TLS.
    #[error("{address}: {why}")]
    Tls {
        /// Where.
        address: String,
        /// What to do.
        why: String,
    },
    /// The relay says no.
    #[error("{0}")]
    Refused(Refusal),
    /// The answer cannot be used.
    #[error("the relay's answer cannot be used: {0}")]
    Answer(String),
    /// Making a key failed.
    #[error("cannot make a key: {0}")]
    Key(#[from] rcgen::Error),
    /// The data directory cannot be made.
    #[error(transparent)]
    Folder(#[from] LockError),
    /// The identity cannot be kept.
    #[error(transparent)]
    File(#[from] KeyFileError),
}

impl From<WireError> for EnrolError {
    fn from(error: WireError) -> Self {
        Self::Answer(error.to_string())
    }
}

/// Brings `code` to `relay` and keeps the identity in `dir`; whose it is.
pub async fn enrol(relay: &RelayAddress, code: &Code, dir: &Path) -> Result<AgentId, EnrolError> {
    DataDir::create(dir)?;
    let (key, request) = key_and_request()?;
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| EnrolError::Answer(error.to_string()))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(NamedByCode(code.fingerprint)))
        .with_no_client_auth();
    config.alpn_protocols = vec![ALPN_ENROL.to_vec()];
    let issued = ask(relay, Arc::new(config), &Ask::Enrol { secret: code.secret.clone(), request }).await?;
    if fingerprint(&CertificateDer::from(issued.authority.as_slice())) != Some(code.fingerprint) {
        return Err(EnrolError::Answer("it names another authority than the code".to_owned()));
    }
    let kept = Kept::new(relay.clone(), Zeroizing::new(key.serialize_pem()), &issued);
    kept.identity().map_err(EnrolError::Answer)?;
    kept.keep(dir)?;
    Ok(issued.agent)
}

/// Whether `dir` holds a certificate, not ended at `now` (seconds of the Unix epoch), of the relay that made `code`.
pub fn is_enrolled(code: &Code, dir: &Path, now: i64) -> Result<bool, IdentityError> {
    let Some(present) = Identity::load(dir)? else { return Ok(false) };
    Ok(fingerprint(present.authority()) == Some(code.fingerprint) && present.validity.1 > now)
}

/// Replaces `present` in `dir` by an identity with a new key.
pub(super) async fn renew(present: &Identity, relay: &RelayAddress, dir: &Path) -> Result<Identity, EnrolError> {
    let (key, request) = key_and_request()?;
    let issued = ask(relay, present.enrol.clone(), &Ask::Renew { request }).await?;
    if issued.agent != present.agent || issued.authority != present.authority.as_ref() {
        return Err(EnrolError::Answer("it is for another agent or of another authority".to_owned()));
    }
    let kept = Kept::new(present.relay.clone(), Zeroizing::new(key.serialize_pem()), &issued);
    let identity = kept.identity().map_err(EnrolError::Answer)?;
    kept.keep(dir)?;
    Ok(identity)
}

fn key_and_request() -> Result<(Zeroizing<KeyPair>, Vec<u8>), rcgen::Error> {
    let key = Zeroizing::new(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?);
    let request = CertificateParams::default().serialize_request(&*key)?.der().to_vec();
    Ok((key, request))
}

async fn ask(relay: &RelayAddress, config: Arc<ClientConfig>, ask: &Ask) -> Result<Issued, EnrolError> {
    let asked = tokio::time::timeout(WITHIN, ask_in_time(relay, config, ask)).await;
    match asked.unwrap_or_else(|_| Err(EnrolError::Silent(relay.to_string())))? {
        Answer::Issued(issued) => Ok(issued),
        Answer::Refused(refusal) => Err(EnrolError::Refused(refusal)),
    }
}

async fn ask_in_time(relay: &RelayAddress, config: Arc<ClientConfig>, ask: &Ask) -> Result<Answer, EnrolError> {
    let address = || relay.to_string();
    let stream = TcpStream::connect((relay.bare_host(), relay.port()))
        .await
        .map_err(|why| EnrolError::Away { address: address(), why })?;
    let name = ServerName::try_from(RELAY_NAME).expect("a constant that is a DNS name");
    let broken = |error: io::Error| match tls_error(&error) {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature)) => {
            EnrolError::OtherRelay(address())
        }
        _ => match explain(&error) {
            Some(why) => EnrolError::Tls { address: address(), why },
            None => EnrolError::Silent(address()),
        },
    };
    let mut stream = TlsConnector::from(config).connect(name, stream).await.map_err(broken)?;
    stream.write_all(&Zeroizing::new(framed(&ask.encode()))).await.map_err(broken)?;
    stream.flush().await.map_err(broken)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.map_err(broken)?;
    let mut payload = vec![0; announced(length, "answer", MAX_ANSWER)?];
    stream.read_exact(&mut payload).await.map_err(broken)?;
    Ok(Answer::decode(&payload)?)
}
