//! Whom the agent takes for its relay, and what to say when it is somebody else.
//!
//! - Before it has a certificate: whoever is certified, as a relay, by an authority whose key the code names.
//! - From then on: whoever is certified, as a relay, by that authority.
//! - Where the relay is reached makes no difference: its certificate bears one fixed name.

use std::error::Error;
use std::sync::Arc;

use gaitway_proto::enrolment::{Fingerprint, RELAY_NAME};
use gaitway_proto::schema::rfc3339;
use gaitway_service::clock;
use gaitway_service::tls::tls_error;
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
    use std::io;

    use rcgen::{
        BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        date_time_ymd,
    };

    use super::*;

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        certificate: CertificateDer<'static>,
    }

    fn authority() -> Authority {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().der().clone();
        Authority { issuer: Issuer::new(params, key), certificate }
    }

    impl Authority {
        /// Good in 2026.
        fn certifies(&self, name: &str, usage: ExtendedKeyUsagePurpose) -> CertificateDer<'static> {
            let mut params = CertificateParams::new([name.to_owned()]).unwrap();
            params.extended_key_usages = vec![usage];
            (params.not_before, params.not_after) = (date_time_ymd(2026, 1, 1), date_time_ymd(2026, 12, 31));
            params.signed_by(&KeyPair::generate().unwrap(), &self.issuer).unwrap().der().clone()
        }
    }

    /// What whoever has a code of `of` says of `leaf`, shown with `chain`, in the middle of `year`.
    fn judged(
        of: &Authority,
        leaf: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        year: u64,
    ) -> Result<(), rustls::Error> {
        let now = UnixTime::since_unix_epoch(std::time::Duration::from_secs((year - 1970) * 31_556_952 + 15_778_476));
        let trust = NamedByCode(fingerprint(&of.certificate).unwrap());
        // Whatever name it is reached by.
        let reached = ServerName::try_from("balancer.example").unwrap();
        trust.verify_server_cert(leaf, chain, &reached, &[], now).map(drop)
    }

    #[test]
    fn only_a_relay_of_the_authority_that_the_code_names_is_trusted() {
        use ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
        let [right, other] = [authority(), authority()];
        let chain = std::slice::from_ref(&right.certificate);
        let relay = right.certifies(RELAY_NAME, ServerAuth);
        assert_eq!(judged(&right, &relay, chain, 2026), Ok(()));
        let unknown = Err(CertificateError::UnknownIssuer.into());
        assert_eq!(judged(&other, &relay, chain, 2026), unknown, "another code");
        assert_eq!(judged(&right, &relay, &[], 2026), unknown, "no authority shown");
        let impostor = other.certifies(RELAY_NAME, ServerAuth);
        assert!(
            judged(&right, &impostor, chain, 2026).is_err(),
            "the right authority is public: showing it proves nothing"
        );
        let both = [other.certificate.clone(), right.certificate.clone()];
        assert!(judged(&right, &impostor, &both, 2026).is_err());
        assert_eq!(judged(&right, &relay, &both, 2026), Ok(()));
        assert!(judged(&right, &right.certifies(RELAY_NAME, ClientAuth), chain, 2026).is_err(), "an agent's");
        assert!(judged(&right, &right.certifies("attic", ServerAuth), chain, 2026).is_err(), "another name");
    }

    #[test]
    fn a_clock_that_is_wrong_is_said_to_be() {
        let right = authority();
        let relay = right.certifies(RELAY_NAME, ExtendedKeyUsagePurpose::ServerAuth);
        for (year, what) in [(1970, "has not begun: set the clock"), (2027, "has ended: set the clock")] {
            let error = judged(&right, &relay, std::slice::from_ref(&right.certificate), year).unwrap_err();
            let said = explain(&error).unwrap();
            assert!(said.contains(what), "{said}");
        }
    }

    #[test]
    fn trouble_of_tls_is_found_below_and_says_what_to_do() {
        let of = |error: rustls::Error| explain(&io::Error::new(io::ErrorKind::InvalidData, error)).unwrap();
        assert!(of(rustls::Error::AlertReceived(AlertDescription::CertificateRevoked)).contains("revoked"));
        assert!(of(CertificateError::NotValidYet.into()).contains("set the clock"));
        assert!(of(CertificateError::UnknownIssuer.into()).contains("somebody is in between"));
        assert!(explain(&io::Error::from(io::ErrorKind::ConnectionRefused)).is_none());
    }
}
