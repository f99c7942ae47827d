//! A test CA and the certificate of 127.0.0.1 and localhost, made anew for each emulator.

use std::sync::Arc;

use anyhow::Context as _;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivatePkcs8KeyDer;

/// The CA's certificate as PEM text, and a server's TLS configuration that chains to it.
pub(crate) fn test_identity() -> anyhow::Result<(String, ServerConfig)> {
    let mut ca = CertificateParams::default();
    ca.distinguished_name.push(DnType::CommonName, "Snowpipe Streaming emulator test CA");
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let ca_key = KeyPair::generate().context("making the CA's key")?;
    let ca_certificate = ca.self_signed(&ca_key).context("making the CA's certificate")?;

    let mut leaf = CertificateParams::new(["127.0.0.1".to_owned(), "localhost".to_owned()]).context("leaf names")?;
    leaf.distinguished_name.push(DnType::CommonName, "Snowpipe Streaming emulator");
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    let leaf_key = KeyPair::generate().context("making the server's key")?;
    let leaf_certificate = leaf.signed_by(&leaf_key, &Issuer::new(ca, ca_key)).context("signing the server's key")?;

    let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .context("TLS versions")?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf_certificate.der().clone()],
            PrivatePkcs8KeyDer::from(leaf_key.serialize_der()).into(),
        )
        .context("server certificate")?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok((ca_certificate.pem(), config))
}
