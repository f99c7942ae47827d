//! TLS towards Snowflake: rustls with ring; the system's certificates, or those of a file and no others.

use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// A configuration that trusts the system's authorities, or `authorities` in PEM form. An error is a sentence.
pub(super) fn config(authorities: Option<&str>) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let Some(pem) = authorities else {
        let builder = builder.with_platform_verifier().map_err(|error| error.to_string())?;
        return Ok(builder.with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| format!("`ca_file` is not PEM: {error}"))?;
        roots.add(certificate).map_err(|error| format!("`ca_file` holds no certificate of an authority: {error}"))?;
    }
    if roots.is_empty() {
        return Err("`ca_file` holds no certificate".into());
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_certificates_is_refused() {
        for pem in ["", "text", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            assert!(config(Some(pem)).unwrap_err().contains("ca_file"), "{pem}");
        }
    }
}
