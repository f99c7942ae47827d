//! Whom the agent takes for its relay, and what to say when it is somebody else.
//!
//! - Before it has a certificate: whoever is certified, as a relay, by an authority whose key the code names.
//! - From then on: whoever is certified, as a relay, by that authority.
//! - Where the relay is reached makes no difference: its certificate bears one fixed name.

use std::error::Error;
use std::io;
use std::sync::Arc;

use gaitway_proto::enrolment::{Fingerprint, RELAY_NAME};
use gaitway_proto::schema::rfc3339;
use gaitway_service::clock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{AlertDescription, CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Certificates beside the relay's own that are looked at.
const CHAIN: usize = 4;

pub(super) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn relay_name() -> ServerName<'static> {
    ServerName::try_from(RELAY_NAME).expect("a constant that is a DNS name")
}

/// Checks that a relay is certified by one authority.
#[derive(Debug)]
pub(super) struct SignedByAuthority(Arc<WebPkiServerVerifier>);

impl SignedByAuthority {
    pub(super) fn new(authority: CertificateDer<'static>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        roots.add(authority)?;
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .map(Self)
            .map_err(|error| rustls::Error::General(error.to_string()))
    }
}

/// Checks that a relay is certified by the authority that a code names.
#[derive(Debug)]
pub(super) struct NamedByCode(pub(super) Fingerprint);

impl ServerCertVerifier for SignedByAuthority {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.0.verify_server_cert(end_entity, intermediates, &relay_name(), ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}

impl ServerCertVerifier for NamedByCode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let is_named = |certificate: &&CertificateDer<'_>| fingerprint(certificate) == Some(self.0);
        let authority = intermediates.iter().take(CHAIN).find(is_named).ok_or(CertificateError::UnknownIssuer)?;
        let signed = SignedByAuthority::new(authority.clone().into_owned())?;
        signed.verify_server_cert(end_entity, &[], name, ocsp, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &provider().signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Of the key of a certificate.
pub(super) fn fingerprint(certificate: &CertificateDer<'_>) -> Option<Fingerprint> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    Some(Fingerprint::of(&parsed.subject_public_key_info()))
}

/// What went wrong in TLS, somewhere below `error`.
pub(super) fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref());
        if let Some(found) = error.downcast_ref().or(inner) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// What TLS trouble below `error` means and what to do; none if it is no trouble of TLS.
pub(crate) fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    const AGAIN: &str = "enrol it again with a new code, `gaitway agent enroll`";
    let error = tls_error(error)?;
    let now = || rfc3339(clock::now_micros().div_euclid(1_000_000).saturating_mul(1_000_000_000));
    Some(match error {
        rustls::Error::AlertReceived(AlertDescription::CertificateRevoked) => {
            format!("the relay has revoked this agent's certificate: {AGAIN}")
        }
        rustls::Error::AlertReceived(AlertDescription::CertificateExpired) => {
            format!("this agent's certificate has ended, by the relay's clock: {AGAIN}")
        }
        rustls::Error::AlertReceived(
            AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::DecryptError,
        ) => format!("the relay does not know this agent's certificate: {AGAIN}"),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        ) => format!("by this machine's clock, {}, the relay's certificate has not begun: set the clock", now()),
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!(
                "by this machine's clock, {}, the relay's certificate has ended: set the clock if it is wrong",
                now()
            )
        }
        rustls::Error::InvalidCertificate(_) => {
            "what answers there is another relay than the one that this agent knows, or somebody is in between"
                .to_owned()
        }
        rustls::Error::InvalidMessage(_) => "what answers there speaks no TLS".to_owned(),
        error => format!("TLS failed: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trouble_of_tls_is_found_below_and_says_what_to_do() {
        let of = |error: rustls::Error| explain(&io::Error::new(io::ErrorKind::InvalidData, error)).unwrap();
        assert!(of(rustls::Error::AlertReceived(AlertDescription::CertificateRevoked)).contains("revoked"));
        assert!(of(CertificateError::NotValidYet.into()).contains("set the clock"));
        assert!(of(CertificateError::UnknownIssuer.into()).contains("somebody is in between"));
        assert!(explain(&io::Error::from(io::ErrorKind::ConnectionRefused)).is_none());
    }
}
