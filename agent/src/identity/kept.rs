//! The file with the agent's identity.
//!
//! - Key, certificate, authority and address are one file, so they are there together or not at all.
//! - It is the owner's alone.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use gaitway_proto::enrolment::{ALPN_ENROL, ALPN_MQTT, Issued, MAX_ANSWER};
use gaitway_proto::topic::AgentId;
use gaitway_service::key_file::{self, KeyFileError};
use gaitway_service::tls::certified;
use pem::Pem;
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::SingleCertAndKey;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::trust::{SignedByAuthority, provider};
use crate::uplink::RelayAddress;

/// Its name in the data directory.
pub(crate) const FILE: &str = "identity.json";

const CERTIFICATE: &str = "CERTIFICATE";

/// Why there is no usable identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// Its file cannot be read or written, or others can.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// It is not what it should be.
    #[error("{} is damaged ({why}): enrol again with a new code, `gaitway agent enroll`", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: String,
    },
}

/// As it lies in the file. Keys and certificates are PEM, times seconds of the Unix epoch.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Kept {
    relay: RelayAddress,
    agent: AgentId,
    not_before: i64,
    not_after: i64,
    certificate: String,
    authority: String,
    key: Zeroizing<String>,
}

/// An identity in use.
pub struct Identity {
    /// The agent's name.
    pub agent: AgentId,
    /// Where its relay was when it enrolled.
    pub relay: RelayAddress,
    /// The certificate's first and last second, of the Unix epoch.
    pub validity: (i64, i64),
    /// The authority's certificate.
    pub(super) authority: CertificateDer<'static>,
    /// For MQTT.
    pub(crate) mqtt: Arc<ClientConfig>,
    /// For the next certificate.
    pub(super) enrol: Arc<ClientConfig>,
}

impl Kept {
    /// What was issued for the key in `key_pem` by the relay at `relay`.
    pub(super) fn new(relay: RelayAddress, key_pem: Zeroizing<String>, issued: &Issued) -> Self {
        let pem = |der: &[u8]| pem::encode(&Pem::new(CERTIFICATE, der));
        Self {
            relay,
            agent: issued.agent.clone(),
            not_before: issued.not_before,
            not_after: issued.not_after,
            certificate: pem(&issued.certificate),
            authority: pem(&issued.authority),
            key: key_pem,
        }
    }

    /// The identity, if all of it fits together.
    pub(super) fn identity(&self) -> Result<Identity, String> {
        let certificate = |pem: &str, whose: &str| {
            CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| format!("{whose} certificate: {error}"))
        };
        let authority = certificate(&self.authority, "the authority's")?;
        let own = certificate(&self.certificate, "the agent's")?;
        let key = PrivateKeyDer::from_pem_slice(self.key.as_bytes()).map(Zeroizing::new);
        let key = key.map_err(|error| format!("the key: {error}"))?;
        let certified = certified(vec![own], &key).map_err(|error| error.to_string())?;
        let shown = Arc::new(SingleCertAndKey::from(certified));
        let trust = Arc::new(SignedByAuthority::new(authority.clone()).map_err(|error| error.to_string())?);
        let config = |alpn: &[u8]| {
            let mut config = ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?
                .dangerous()
                .with_custom_certificate_verifier(trust.clone())
                .with_client_cert_resolver(shown.clone());
            config.alpn_protocols = vec![alpn.to_vec()];
            config.resumption = Resumption::disabled();
            Ok::<_, String>(Arc::new(config))
        };
        Ok(Identity {
            agent: self.agent.clone(),
            relay: self.relay.clone(),
            validity: (self.not_before, self.not_after),
            mqtt: config(ALPN_MQTT)?,
            enrol: config(ALPN_ENROL)?,
            authority,
        })
    }

    /// Keeps it in `dir`, in the place of what was there.
    pub(super) fn keep(&self, dir: &Path) -> Result<(), KeyFileError> {
        // Of a size from the beginning that it does not outgrow, so that no part of it stays behind.
        let mut text = Zeroizing::new(Vec::with_capacity(2 * MAX_ANSWER));
        serde_json::to_writer_pretty(&mut *text, self).expect("text and numbers are JSON");
        key_file::write(&path(dir), &text)
    }
}

impl Identity {
    /// The certificate of the relay's authority.
    pub(crate) fn authority(&self) -> &CertificateDer<'static> {
        &self.authority
    }

    /// Removes what a process left behind in `dir` that was killed while it kept an identity.
    pub fn sweep(dir: &Path) -> Result<(), KeyFileError> {
        key_file::sweep(&path(dir))
    }

    /// The one kept in `dir`; none if this agent has not enrolled.
    pub fn load(dir: &Path) -> Result<Option<Self>, IdentityError> {
        let Some(text) = key_file::read(&path(dir))? else { return Ok(None) };
        let damaged = |why| IdentityError::Damaged { path: path(dir), why };
        let kept: Kept = serde_json::from_slice(&text).map_err(|error| damaged(format!("at line {}", error.line())))?;
        kept.identity().map(Some).map_err(damaged)
    }
}

/// Where the identity lies.
pub(super) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE)
}
