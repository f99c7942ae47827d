//! The relay's own authority: it certifies agents, and relays under one name.
//!
//! - Its key is in `ca.key`, for its owner alone; whoever has it is every agent and every relay.
//! - What an agent's certificate says is decided here: of a request only the key counts.
//! - An agent's certificate is for clients only, a relay's for servers only, so neither can pose as the other.
//! - Its own certificate says that it certifies no other name than the relays': who trusts it trusts it for nothing else.
//! - The relay's own key is made at each start and again before its certificate ends, and is in no file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use gaitway_proto::enrolment::{BACKDATED, CERTIFICATE_LIFE, Fingerprint, RELAY_NAME};
use gaitway_proto::topic::AgentId;
use gaitway_service::key_file::{self, KeyFileError};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CidrSubnet, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints,
    PKCS_ECDSA_P256_SHA256, PublicKeyData, SerialNumber, SignatureAlgorithm, SigningKey,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::ParsedCertificate;
use zeroize::Zeroizing;

use super::Serial;

/// Its files in the relay's data directory.
pub(super) const KEY: &str = "ca.key";
pub(crate) const CERTIFICATE: &str = "ca.pem";

/// How long the authority's own certificate lasts: longer than any machine here.
const LIFE: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// Why there is no authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// Its key cannot be read or kept.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A file is not what it should be.
    #[error("{} is no {what}: bring it back from a backup, or move it and the files beside it away; then every agent enrols again", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it should be.
        what: &'static str,
    },
    /// The certificate is there and its key is not.
    #[error(
        "the key {} of the relay's authority is gone: bring it back from a backup, or move the files beside it away; then \
         every agent enrols again",
        .0.display()
    )]
    KeyGone(PathBuf),
    /// Making a certificate failed.
    #[error("cannot make a certificate: {0}")]
    Making(#[from] rcgen::Error),
}

/// A request that is not signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a PKCS#10 request of an ECDSA P-256 key")]
pub(crate) struct BadRequest;

/// From when to when a certificate is good, seconds of the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Validity {
    pub not_before: i64,
    pub not_after: i64,
}

impl Validity {
    /// Of a certificate that is made `now`.
    pub(crate) fn from(now: i64, life: Duration) -> Self {
        let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
        Self { not_before: now.saturating_sub(seconds(BACKDATED)).max(0), not_after: now.saturating_add(seconds(life)) }
    }

    fn put(self, params: &mut CertificateParams) {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let at = |seconds: i64| epoch + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        (params.not_before, params.not_after) = (at(self.not_before), at(self.not_after));
    }
}

/// A request whose signature shows that its sender has the key.
#[derive(Debug)]
pub(crate) struct Request(CertificateSigningRequestParams);

impl Request {
    /// From DER.
    pub(crate) fn read(der: &[u8]) -> Result<Self, BadRequest> {
        let request = CertificateSigningRequestParams::from_der(&der.into()).map_err(|_| BadRequest)?;
        if request.public_key.algorithm() == &PKCS_ECDSA_P256_SHA256 { Ok(Self(request)) } else { Err(BadRequest) }
    }
}

/// The authority's key. What it was made of is erased from memory with it.
struct CaKey(Zeroizing<KeyPair>);

impl CaKey {
    fn new(key: KeyPair) -> Self {
        Self(Zeroizing::new(key))
    }
}

impl PublicKeyData for CaKey {
    fn der_bytes(&self) -> &[u8] {
        self.0.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.0.algorithm()
    }
}

impl SigningKey for CaKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        self.0.sign(message)
    }
}

/// See the module.
pub(crate) struct Authority {
    issuer: Issuer<'static, CaKey>,
    certificate: CertificateDer<'static>,
    fingerprint: Fingerprint,
}

impl Authority {
    /// The one in `dir`, made there if there is none. Whoever calls this holds the store's lock.
    pub(crate) fn open(dir: &Path, now: i64) -> Result<Self, AuthorityError> {
        let (key_path, path) = (dir.join(KEY), dir.join(CERTIFICATE));
        key_file::sweep(&key_path)?;
        key_file::sweep(&path)?;
        let pem = std::fs::read(&path).ok();
        let key = match key_file::read(&key_path)? {
            Some(pem) => std::str::from_utf8(&pem)
                .ok()
                .and_then(|pem| KeyPair::from_pkcs8_pem_and_sign_algo(pem, &PKCS_ECDSA_P256_SHA256).ok())
                .map(CaKey::new)
                .ok_or(AuthorityError::Damaged { path: key_path, what: "key of ECDSA P-256 in PKCS#8" })?,
            None if pem.is_some() => return Err(AuthorityError::KeyGone(key_path)),
            None => {
                let key = CaKey::new(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?);
                key_file::write(&key_path, Zeroizing::new(key.0.serialize_pem()).as_bytes())?;
                key
            }
        };
        let certificate = if let Some(pem) = pem {
            CertificateDer::from_pem_slice(&pem)
                .ok()
                .filter(|der| public_key(der).as_deref() == Some(&key.subject_public_key_info()))
                .ok_or(AuthorityError::Damaged { path, what: "certificate of the key beside it" })?
        } else {
            let certificate = own_params(now).self_signed(&key)?;
            key_file::write(&path, certificate.pem().as_bytes())?;
            certificate.der().clone()
        };
        let fingerprint = Fingerprint::of(&key.subject_public_key_info());
        Ok(Self { issuer: Issuer::from_ca_cert_der(&certificate, key)?, certificate, fingerprint })
    }

    /// What codes say of its key.
    pub(crate) fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Its own certificate.
    pub(crate) fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// A certificate of `agent` for the key in `request`.
    pub(crate) fn certify_agent(
        &self,
        agent: &AgentId,
        serial: Serial,
        validity: Validity,
        request: &Request,
    ) -> Result<CertificateDer<'static>, rcgen::Error> {
        let params = leaf(agent.as_str(), serial, validity, ExtendedKeyUsagePurpose::ClientAuth);
        Ok(params.signed_by(&request.0.public_key, &self.issuer)?.der().clone())
    }

    /// A certificate of the relay itself, with a new key; and until when it is good.
    pub(crate) fn certify_relay(
        &self,
        serial: Serial,
        now: i64,
    ) -> Result<(CertificateDer<'static>, Zeroizing<PrivateKeyDer<'static>>, Validity), rcgen::Error> {
        let validity = Validity::from(now, CERTIFICATE_LIFE);
        let mut params = leaf(RELAY_NAME, serial, validity, ExtendedKeyUsagePurpose::ServerAuth);
        params.subject_alt_names = vec![rcgen::SanType::DnsName(RELAY_NAME.try_into()?)];
        let key = Zeroizing::new(KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?);
        let certificate = params.signed_by(&*key, &self.issuer)?.der().clone();
        Ok((certificate, Zeroizing::new(PrivatePkcs8KeyDer::from(key.serialize_der()).into()), validity))
    }
}

fn own_params(now: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name("gaitway relay authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let no_address = |ip: IpAddr| GeneralSubtree::IpAddress(CidrSubnet::from_addr_prefix(ip, 0));
    params.name_constraints = Some(NameConstraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(RELAY_NAME.to_owned())],
        excluded_subtrees: vec![no_address(Ipv4Addr::UNSPECIFIED.into()), no_address(Ipv6Addr::UNSPECIFIED.into())],
    });
    Validity::from(now, LIFE).put(&mut params);
    params
}

fn leaf(common_name: &str, serial: Serial, validity: Validity, usage: ExtendedKeyUsagePurpose) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = name(common_name);
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_bytes()));
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![usage];
    params.use_authority_key_identifier_extension = true;
    validity.put(&mut params);
    params
}

fn name(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

/// The `SubjectPublicKeyInfo` of a certificate.
fn public_key(certificate: &CertificateDer<'_>) -> Option<Vec<u8>> {
    let parsed = ParsedCertificate::try_from(certificate).ok()?;
    Some(parsed.subject_public_key_info().to_vec())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn request() -> Vec<u8> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        CertificateParams::default().serialize_request(&key).unwrap().der().to_vec()
    }

    #[test]
    fn an_authority_is_made_once_and_its_key_is_its_owners_alone() {
        let dir = tempfile::tempdir().unwrap();
        let made = Authority::open(dir.path(), NOW).unwrap();
        let again = Authority::open(dir.path(), NOW + 9).unwrap();
        assert_eq!(made.fingerprint(), again.fingerprint());
        assert_eq!(made.certificate(), again.certificate());
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            let mode = fs::metadata(dir.path().join(KEY)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
    }

    #[test]
    fn killed_between_key_and_certificate_it_goes_on_with_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let made = Authority::open(dir.path(), NOW).unwrap();
        fs::remove_file(dir.path().join(CERTIFICATE)).unwrap();
        let left = dir.path().join("ca.pem.new");
        fs::write(&left, "-----BEG").unwrap();
        assert_eq!(Authority::open(dir.path(), NOW).unwrap().fingerprint(), made.fingerprint());
        assert!(!left.exists());
    }

    #[test]
    fn what_is_missing_or_damaged_is_said_and_nothing_is_made_anew() {
        let refused = |spoil: fn(&Path)| {
            let dir = tempfile::tempdir().unwrap();
            Authority::open(dir.path(), NOW).unwrap();
            spoil(dir.path());
            Authority::open(dir.path(), NOW).err().unwrap().to_string()
        };
        let gone = refused(|dir| fs::remove_file(dir.join(KEY)).unwrap());
        assert!(gone.contains("ca.key of the relay's authority is gone"), "{gone}");
        let torn = refused(|dir| key_file::write(&dir.join(KEY), b"-----BEGIN").unwrap());
        assert!(torn.contains("ca.key is no key"), "{torn}");
        let other = refused(|dir| {
            let other = own_params(NOW).self_signed(&KeyPair::generate().unwrap()).unwrap();
            fs::write(dir.join(CERTIFICATE), other.pem()).unwrap();
        });
        assert!(other.contains("ca.pem is no certificate of the key beside it"), "{other}");
    }

    #[test]
    fn of_a_request_only_the_key_counts() {
        use x509_parser::prelude::{FromDer as _, X509Certificate};
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW).unwrap();
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let mut greedy = CertificateParams::new([RELAY_NAME.to_owned()]).unwrap();
        greedy.distinguished_name = name("root");
        greedy.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let greedy = greedy.serialize_request(&key).unwrap();
        let request = Request::read(greedy.der()).unwrap();
        let serial = Serial::from_random(5);
        let validity = Validity::from(NOW, CERTIFICATE_LIFE);
        let der = authority.certify_agent(&"attic".parse().unwrap(), serial, validity, &request).unwrap();
        let (_, made) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(made.subject().to_string(), "CN=attic");
        assert_eq!(Serial::from_bytes(made.raw_serial()), Some(serial));
        assert!(made.subject_alternative_name().unwrap().is_none() && !made.is_ca());
        let usage = made.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert_eq!(made.validity().not_before.timestamp(), NOW - 86_400);
        assert_eq!(made.validity().not_after.timestamp(), NOW + 90 * 86_400);
        assert_eq!(made.public_key().raw, key.subject_public_key_info());
    }

    #[test]
    fn certificates_are_for_their_side_and_the_authority_certifies_no_other_name() {
        use rustls::CertificateError;
        use rustls::client::WebPkiServerVerifier;
        use rustls::client::danger::ServerCertVerifier as _;
        use rustls::pki_types::{ServerName, UnixTime};
        use rustls::server::WebPkiClientVerifier;
        let dir = tempfile::tempdir().unwrap();
        let authority = Authority::open(dir.path(), NOW).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(authority.certificate().clone()).unwrap();
        let roots = std::sync::Arc::new(roots);
        let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
        let client = WebPkiServerVerifier::builder_with_provider(roots.clone(), provider.clone()).build().unwrap();
        let server = WebPkiClientVerifier::builder_with_provider(roots, provider).build().unwrap();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(NOW as u64));
        let as_server = |certificate: &CertificateDer<'_>, name: &str| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            client.verify_server_cert(certificate, &[], &name, &[], time).map(drop)
        };
        let as_client = |certificate: &CertificateDer<'_>| server.verify_client_cert(certificate, &[], time).map(drop);
        let is_of_the_other_side = |judged| match judged {
            Err(rustls::Error::InvalidCertificate(error)) => {
                matches!(error, CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. })
            }
            _ => false,
        };

        let serial = Serial::from_random(5);
        let (relay, ..) = authority.certify_relay(serial, NOW).unwrap();
        assert_eq!(as_server(&relay, RELAY_NAME), Ok(()));
        assert!(is_of_the_other_side(as_client(&relay)));
        let validity = Validity::from(NOW, CERTIFICATE_LIFE);
        let request = Request::read(&request()).unwrap();
        let agent = authority.certify_agent(&"attic".parse().unwrap(), serial, validity, &request).unwrap();
        assert_eq!(as_client(&agent), Ok(()));
        assert!(is_of_the_other_side(as_server(&agent, RELAY_NAME)));

        // What whoever has the key of the authority could make of it.
        let key = KeyPair::generate().unwrap();
        for name in ["relay.example.org", "bank.example", "10.0.0.7", "::1"] {
            for usages in [vec![ExtendedKeyUsagePurpose::ServerAuth], vec![]] {
                let mut params = CertificateParams::new([name.to_owned()]).unwrap();
                params.extended_key_usages = usages;
                validity.put(&mut params);
                let forged = params.signed_by(&key, &authority.issuer).unwrap().der().clone();
                let refused = as_server(&forged, name).unwrap_err();
                assert!(format!("{refused:?}").contains("NameConstraintViolation"), "{name}: {refused:?}");
            }
        }
    }

    #[test]
    fn a_request_that_is_torn_or_of_another_kind_of_key_is_not_signed() {
        let good = request();
        assert!(Request::read(&good).is_ok());
        for at in [0, good.len() / 2, good.len() - 1] {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(Request::read(&bad).is_err(), "{at}");
            assert!(Request::read(&good[..at]).is_err());
        }
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let other = CertificateParams::default().serialize_request(&key).unwrap();
        assert!(Request::read(other.der()).is_err());
    }
}
