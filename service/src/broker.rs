//! How an MQTT broker that is not ours lets a client in: by a certificate, by a user name and a password, or both.
//!
//! - Over TLS the broker is verified: by certificates that a file names, for the host that is spoken to.
//! - Files are read anew for each connection, so that what was replaced is used from the next one on.
//! - What others may read is refused where it is a secret.

use std::error::Error;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::sign::SingleCertAndKey;
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use serde::{Deserialize, Serialize};

use crate::config::Wrong;
use crate::secret::{self, Secret, SecretError};
use crate::tls::{Pair, Unusable, certificates, tls_error};

/// What a client shows and whom it trusts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// A file with certificates in PEM form: one of them must have signed the broker's. It must be set where the broker
    /// is spoken to over TLS.
    pub ca_file: Option<PathBuf>,
    /// A file with the client's own certificate in PEM form, then those between it and an authority, for brokers that
    /// ask for one. `key_file` is set too then.
    pub certificate_file: Option<PathBuf>,
    /// A file with the certificate's private key in PEM form, which nobody else may read.
    pub key_file: Option<PathBuf>,
    /// The user name. If it is not set, it is the client id.
    pub username: Option<String>,
    /// The user's password. If neither this nor `password_file` is set, none is shown.
    pub password: Option<Secret>,
    /// A file that holds the password instead of `password`, and that nobody else may read.
    pub password_file: Option<PathBuf>,
}

/// The keys of [`Access`] as they are spelled where it is configured.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "named as the keys are")]
pub struct Keys {
    pub ca_file: &'static str,
    pub certificate_file: &'static str,
    pub key_file: &'static str,
    pub username: &'static str,
    pub password: &'static str,
    pub password_file: &'static str,
}

/// Why a client has nothing to show, or nobody to trust.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// A file with certificates or the key cannot be used.
    #[error(transparent)]
    Certificate(#[from] Unusable),
    /// The password cannot be had.
    #[error(transparent)]
    Password(#[from] SecretError),
    /// A certificate of an authority is none that can be trusted.
    #[error("{} cannot be used: {why}", .path.display())]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        why: rustls::Error,
    },
    /// rustls does not do.
    #[error("TLS is not available: {0}")]
    Tls(rustls::Error),
}

impl Access {
    /// Refuses what does not go together, over TLS (`is_secure`) or without.
    pub fn check(&self, is_secure: bool, keys: &Keys) -> Result<(), Wrong> {
        Wrong::unless_together(
            (keys.certificate_file, self.certificate_file.is_some()),
            (keys.key_file, self.key_file.is_some()),
        )?;
        if self.password.is_some() && self.password_file.is_some() {
            let problem = format!("must not stand beside `{}`: keep one of them", keys.password);
            return Err(Wrong::new(keys.password_file, problem).naming(keys.password));
        }
        if self.username.as_ref().is_some_and(String::is_empty) {
            return Err(Wrong::new(keys.username, "must not be empty: remove it to be known by the client id"));
        }
        if !is_secure && self.certificate_file.is_some() {
            return Err(Wrong::new(keys.certificate_file, "cannot be shown without TLS: use mqtts://, or remove it"));
        }
        match (&self.ca_file, is_secure) {
            (None, true) => Err(Wrong::new(
                keys.ca_file,
                "must be set where the broker is spoken to over TLS: a PEM file with whoever has signed its certificate, \
                 such as /etc/ssl/certs/ca-certificates.crt",
            )),
            (Some(_), false) => Err(Wrong::new(keys.ca_file, "cannot help without TLS: use mqtts://, or remove it")),
            _ => Ok(()),
        }
    }

    /// For handshakes with the broker, as the files are now. Nothing is resumed: who comes again shows its certificate again.
    pub fn tls(&self) -> Result<Arc<ClientConfig>, AccessError> {
        let mut roots = RootCertStore::empty();
        if let Some(path) = &self.ca_file {
            let mut refused = None;
            for certificate in certificates(path)? {
                // A file of a whole system may hold one that no verifier takes.
                refused = roots.add(certificate).err().or(refused);
            }
            if let Some(why) = refused.filter(|_| roots.is_empty()) {
                return Err(AccessError::Authority { path: path.clone(), why });
            }
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(AccessError::Tls)?
            .with_root_certificates(roots);
        let mut config = match self.certificate_file.clone().zip(self.key_file.clone()) {
            Some((certificate, key)) => {
                let certified = Pair { certificate, key }.certified()?;
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(certified)))
            }
            None => builder.with_no_client_auth(),
        };
        config.resumption = Resumption::disabled();
        Ok(Arc::new(config))
    }

    /// The password, empty if there is none.
    pub fn password(&self) -> Result<Secret, SecretError> {
        match (&self.password, &self.password_file) {
            (Some(password), _) => Ok(password.clone()),
            (None, Some(path)) => secret::read(path),
            (None, None) => Ok(Secret::new("")),
        }
    }

    /// Whether all that is configured can be had now.
    pub fn check_files(&self) -> Result<(), AccessError> {
        self.tls()?;
        self.password()?;
        Ok(())
    }
}

/// What TLS trouble below `error` means and what to do; none if it is no trouble of TLS.
pub fn explain(error: &(dyn Error + 'static)) -> Option<String> {
    Some(match tls_error(error)? {
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::UnknownCA
            | AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::DecryptError),
        ) => format!(
            "the broker does not take this client's certificate ({alert:?}): look at certificate_file and key_file"
        ),
        rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "the broker's certificate is for another name than the one that it is reached by".to_owned(),
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the broker's certificate is signed by nobody in ca_file, or somebody is in between".to_owned()
        }
        rustls::Error::InvalidCertificate(why) => format!("the broker's certificate is refused: {why}"),
        rustls::Error::InvalidMessage(_) => "what answers there speaks no TLS".to_owned(),
        error => format!("TLS failed: {error}"),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io;
    use std::os::unix::fs::PermissionsExt as _;
    use std::path::Path;

    use super::*;

    const KEYS: Keys = Keys {
        ca_file: "ca_file",
        certificate_file: "certificate_file",
        key_file: "key_file",
        username: "username",
        password: "password",
        password_file: "password_file",
    };

    fn file(dir: &Path, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = dir.join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    #[test]
    fn what_does_not_go_together_is_refused_with_its_key() {
        let tls = || Access { ca_file: Some("ca".into()), ..Access::default() };
        tls().check(true, &KEYS).unwrap();
        Access::default().check(false, &KEYS).unwrap();
        let cases = [
            (Access::default(), true, "`ca_file` must be set"),
            (tls(), false, "`ca_file` cannot help without TLS"),
            (Access { key_file: Some("k".into()), ..tls() }, true, "must stand beside `certificate_file`"),
            (
                Access { key_file: Some("k".into()), certificate_file: Some("c".into()), ..Access::default() },
                false,
                "`certificate_file` cannot be shown without TLS",
            ),
            (
                Access { password: Some(Secret::new("hush")), password_file: Some("p".into()), ..tls() },
                true,
                "`password_file` must not stand beside `password`",
            ),
            (Access { username: Some(String::new()), ..tls() }, true, "`username` must not be empty"),
        ];
        for (access, is_secure, expected) in cases {
            let said = access.check(is_secure, &KEYS).unwrap_err().to_string();
            assert!(said.contains(expected) && !said.contains("hush"), "{said}");
        }
    }

    #[test]
    fn files_are_read_anew_each_time_and_what_others_may_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let issued = rcgen::generate_simple_self_signed(["broker".to_owned()]).unwrap();
        let (certificate, key) = (issued.cert.pem(), issued.signing_key.serialize_pem());
        let access = Access {
            ca_file: Some(file(dir.path(), "ca.pem", &certificate, 0o644)),
            certificate_file: Some(file(dir.path(), "cert.pem", &certificate, 0o644)),
            key_file: Some(file(dir.path(), "key.pem", &key, 0o600)),
            password_file: Some(file(dir.path(), "password", "hush\n", 0o600)),
            ..Access::default()
        };
        access.check_files().unwrap();
        assert_eq!(access.password().unwrap().reveal(), "hush");
        file(dir.path(), "password", "hushed\n", 0o600);
        assert_eq!(access.password().unwrap().reveal(), "hushed");

        file(dir.path(), "password", "hush\n", 0o644);
        assert!(access.check_files().unwrap_err().to_string().contains("chmod 600"));
        file(dir.path(), "password", "hush\n", 0o600);
        file(dir.path(), "key.pem", &key, 0o640);
        assert!(access.check_files().unwrap_err().to_string().contains("key.pem holds a secret"));
        file(dir.path(), "ca.pem", "nothing", 0o644);
        assert!(access.tls().unwrap_err().to_string().contains("ca.pem holds no certificate"));
    }

    #[test]
    fn without_a_password_there_is_an_empty_one() {
        assert_eq!(Access::default().password().unwrap().reveal(), "");
        assert!(!format!("{:?}", Access { password: Some(Secret::new("hush")), ..Access::default() }).contains("hush"));
    }

    #[test]
    fn trouble_of_tls_says_what_to_look_at() {
        let of = |error: rustls::Error| explain(&io::Error::new(io::ErrorKind::InvalidData, error)).unwrap();
        assert!(of(rustls::Error::AlertReceived(AlertDescription::UnknownCA)).contains("certificate_file"));
        assert!(of(CertificateError::UnknownIssuer.into()).contains("ca_file"));
        assert!(of(CertificateError::NotValidForName.into()).contains("another name"));
        assert!(explain(&io::Error::from(io::ErrorKind::ConnectionRefused)).is_none());
    }
}
