//! Clients for HTTP.
//!
//! - Over plain HTTP nobody's certificate is verified: whether this system has authorities does not matter.

use std::sync::Arc;

use reqwest::ClientBuilder;
use rustls::client::WantsClientCert;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt as _;

/// For plain HTTP.
pub(crate) fn plain() -> Result<ClientBuilder, rustls::Error> {
    Ok(with(tls()?.with_root_certificates(RootCertStore::empty())))
}

/// For HTTPS, by rustls with ring, trusting the system's authorities. The error may pass: that they are not there yet.
pub(crate) fn verifying() -> Result<ClientBuilder, rustls::Error> {
    Ok(with(tls()?.with_platform_verifier()?))
}

fn tls() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()
}

fn with(tls: ConfigBuilder<ClientConfig, WantsClientCert>) -> ClientBuilder {
    reqwest::Client::builder().tls_backend_preconfigured(tls.with_no_client_auth())
}
