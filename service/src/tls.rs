//! TLS for a listener: a certificate and its key from PEM files, which may be replaced while it runs.
//!
//! - rustls with ring, TLS 1.2 and 1.3, HTTP/1.1.
//! - A key that others may read is refused; it may be a credential of systemd, see `secret`.
//! - Connections that come after the files were replaced get the new certificate, within a second. Files that cannot be used leave
//!   the former certificate in force, and the log says why, once: as a warning while the other file may still be on its way, as
//!   an error if it is so `SETTLES_WITHIN` later.

use std::error::Error;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::crypto::ring::sign::any_supported_type;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{InconsistentKeys, ServerConfig};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use zeroize::Zeroizing;

use crate::checkup::certificate;
use crate::secret::{self, SecretError};
use crate::stamp::Stamp;

/// How often it is looked whether the files changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long one file may be there before the other.
const SETTLES_WITHIN: Duration = Duration::from_secs(5);

/// Greatest file that is read, bytes.
const LONGEST: u64 = 1 << 20;

/// Why a certificate and its key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A file cannot be read.
    #[error("{path} cannot be read: {why}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The key cannot be had, or others may read it.
    #[error(transparent)]
    Key(#[from] SecretError),
    /// The file does not hold what it should.
    #[error("{path} holds no {what} in PEM form")]
    Nothing {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// They do not do.
    #[error("{certificate} and {key} cannot be used together: {why}")]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        why: String,
    },
}

impl Unusable {
    /// Whether it is the file of the key that is at fault, rather than the certificate's or both.
    pub fn is_of_key(&self, pair: &Pair) -> bool {
        match self {
            Self::Key(_) => true,
            Self::Unreadable { path, .. } | Self::Nothing { path, .. } => *path == pair.key,
            Self::Mismatch { .. } => false,
        }
    }
}

/// A certificate chain and its private key, as files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The server's certificate, then those between it and an authority.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// TLS of one listener.
#[derive(Debug)]
pub struct Tls {
    pair: Pair,
    state: Mutex<State>,
    ends: Ends,
}

/// When the certificate in use ends. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Ends(Arc<AtomicI64>);

impl Ends {
    /// Seconds since the Unix epoch; none if the certificate cannot be read.
    pub fn at(&self) -> Option<i64> {
        Some(self.0.load(Relaxed)).filter(|at| *at != UNKNOWN)
    }

    fn note(&self, chain: &[CertificateDer<'_>]) {
        // The chain is good for as long as all of it is.
        let first = chain.iter().filter_map(certificate::validity).map(|(_, until)| until).min();
        self.0.store(first.unwrap_or(UNKNOWN), Relaxed);
    }
}

const UNKNOWN: i64 = i64::MIN;

#[derive(Debug)]
struct State {
    looked: Instant,
    stamps: Option<[Stamp; 2]>,
    /// Since when the files cannot be used, and whether that is known to be an error.
    broken: Option<(Instant, bool)>,
    config: Arc<ServerConfig>,
}

/// What a look at the files found.
#[derive(Debug)]
enum Found {
    /// Nothing new.
    Same,
    /// Another certificate, which is in use now.
    New,
    /// Files that cannot be used; perhaps one of two is there.
    Unsettled(Unusable),
    /// Files that can still not be used.
    Broken(Unusable),
}

impl Tls {
    /// With the files as they are now.
    pub fn load(pair: Pair) -> Result<Self, Unusable> {
        let stamps = pair.stamps();
        let ends = Ends(Arc::new(AtomicI64::new(UNKNOWN)));
        let config = Arc::new(pair.load(&ends)?);
        let state = State { looked: Instant::now(), stamps, broken: None, config };
        Ok(Self { pair, state: Mutex::new(state), ends })
    }

    /// When the certificate in use ends.
    pub fn ends(&self) -> Ends {
        self.ends.clone()
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let certificate = self.pair.certificate.display();
        match state.look(&self.pair, &self.ends) {
            Found::Same => {}
            Found::New => tracing::info!(%certificate, "a new certificate is in use"),
            Found::Unsettled(why) => {
                tracing::warn!("{why}; the former certificate stays in use, the other file may be on its way");
            }
            Found::Broken(why) => tracing::error!("{why}; the former certificate stays in use"),
        }
        TlsAcceptor::from(Arc::clone(&state.config))
    }
}

impl State {
    /// Looks at the files if it is time to.
    fn look(&mut self, pair: &Pair, ends: &Ends) -> Found {
        if self.looked.elapsed() < LOOK_EVERY {
            return Found::Same;
        }
        self.looked = Instant::now();
        let stamps = pair.stamps();
        let is_overdue = |(since, is_error): (Instant, bool)| !is_error && since.elapsed() >= SETTLES_WITHIN;
        if stamps == self.stamps && !self.broken.is_some_and(is_overdue) {
            return Found::Same;
        }
        self.stamps = stamps;
        match pair.load(ends) {
            Ok(config) => {
                self.config = Arc::new(config);
                self.broken = None;
                Found::New
            }
            Err(why) => {
                let since = self.broken.map_or(self.looked, |(since, _)| since);
                let is_error = since.elapsed() >= SETTLES_WITHIN;
                self.broken = Some((since, is_error));
                if is_error { Found::Broken(why) } else { Found::Unsettled(why) }
            }
        }
    }
}

impl Pair {
    fn stamps(&self) -> Option<[Stamp; 2]> {
        let stamp = |path: &Path| fs::metadata(path).ok().map(|file| Stamp::of(&file));
        Some([stamp(&self.certificate)?, stamp(&secret::place(&self.key).ok()?)?])
    }

    fn load(&self, ends: &Ends) -> Result<ServerConfig, Unusable> {
        let certified = self.certified()?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| self.mismatch(&error))?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified.clone())));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        ends.note(&certified.cert);
        Ok(config)
    }

    /// For handshakes, as the files are now.
    pub(crate) fn certified(&self) -> Result<CertifiedKey, Unusable> {
        let chain = certificates(&self.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(secret::read(&self.key)?.reveal().as_bytes())
            .map(Zeroizing::new)
            .map_err(|_| Unusable::Nothing { path: self.key.clone(), what: "private key" })?;
        certified(chain, &key).map_err(|error| self.mismatch(&error))
    }

    fn mismatch(&self, error: &rustls::Error) -> Unusable {
        Unusable::Mismatch { certificate: self.certificate.clone(), key: self.key.clone(), why: error.to_string() }
    }
}

/// The certificates in the file at `path`, one at least.
pub(crate) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let found: Vec<_> = CertificateDer::pem_slice_iter(&read(path)?).collect::<Result<_, _>>().unwrap_or_default();
    if found.is_empty() {
        return Err(Unusable::Nothing { path: path.to_owned(), what: "certificate" });
    }
    Ok(found)
}

/// What went wrong in TLS, somewhere below `error`.
pub fn tls_error<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a rustls::Error> {
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

/// A certificate, with those between it and an authority, and its key for handshakes. The caller erases what the key came from.
pub fn certified(chain: Vec<CertificateDer<'static>>, key: &PrivateKeyDer<'_>) -> Result<CertifiedKey, rustls::Error> {
    let certified = CertifiedKey::new(chain, any_supported_type(key)?);
    match certified.keys_match() {
        // Some keys do not say what their public half is.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Unusable> {
    let length = fs::metadata(path).map_err(|error| unreadable(path, &error))?.len();
    if length > LONGEST {
        return Err(unreadable(path, &io::Error::other(format!("it has {length} bytes"))));
    }
    fs::read(path).map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> Unusable {
    Unusable::Unreadable { path: path.to_owned(), why: error.to_string() }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn pair(dir: &Path) -> Pair {
        let pair = Pair { certificate: dir.join("cert.pem"), key: dir.join("key.pem") };
        renew(&pair);
        pair
    }

    fn renew(pair: &Pair) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        fs::write(&pair.certificate, made.cert.pem()).unwrap();
        fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&pair.key, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let pair = pair(dir.path());
        Tls::load(pair.clone()).unwrap();
        fs::set_permissions(&pair.key, fs::Permissions::from_mode(0o640)).unwrap();
        assert!(Tls::load(pair.clone()).unwrap_err().to_string().contains("chmod 600"));
        let other = tempfile::tempdir().unwrap();
        let foreign = Pair { key: self::pair(other.path()).key, ..pair.clone() };
        assert!(Tls::load(foreign).unwrap_err().to_string().contains("cannot be used together"));
        let swapped = Pair { certificate: pair.key.clone(), key: pair.certificate.clone() };
        assert!(Tls::load(swapped).unwrap_err().to_string().contains("holds no certificate"));
        let none = Pair { key: dir.path().join("none.pem"), ..pair };
        assert!(Tls::load(none).unwrap_err().to_string().contains("none.pem cannot be read"));
    }

    #[tokio::test(start_paused = true)]
    async fn files_that_are_replaced_are_used_and_broken_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let pair = pair(dir.path());
        let tls = Tls::load(pair.clone()).unwrap();
        let used = || Arc::clone(tls.acceptor().config());
        let first = used();
        renew(&pair);
        assert!(Arc::ptr_eq(&used(), &first), "it is looked once a second");
        tokio::time::advance(LOOK_EVERY).await;
        let second = used();
        assert!(!Arc::ptr_eq(&second, &first));
        for broken in ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
            fs::write(&pair.certificate, broken).unwrap();
            tokio::time::advance(LOOK_EVERY).await;
            assert!(Arc::ptr_eq(&used(), &second));
        }
        fs::remove_file(&pair.certificate).unwrap();
        tokio::time::advance(LOOK_EVERY).await;
        assert!(Arc::ptr_eq(&used(), &second));
        renew(&pair);
        tokio::time::advance(LOOK_EVERY).await;
        assert!(!Arc::ptr_eq(&used(), &second));
    }
    #[tokio::test(start_paused = true)]
    async fn two_files_that_come_one_after_the_other_are_no_error_and_files_that_stay_apart_are() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (pair, next) = (pair(dir.path()), self::pair(other.path()));
        let tls = Tls::load(pair.clone()).unwrap();
        let later = async |time| {
            tokio::time::advance(time).await;
            tls.state.lock().unwrap().look(&pair, &tls.ends)
        };
        fs::copy(&next.certificate, &pair.certificate).unwrap();
        let found = later(LOOK_EVERY).await;
        assert!(matches!(&found, Found::Unsettled(Unusable::Mismatch { .. })), "{found:?}");
        assert!(matches!(later(LOOK_EVERY).await, Found::Same), "it is said once");
        fs::copy(&next.key, &pair.key).unwrap();
        assert!(matches!(later(LOOK_EVERY).await, Found::New));

        fs::write(&pair.key, "no key").unwrap();
        assert!(matches!(later(LOOK_EVERY).await, Found::Unsettled(_)));
        assert!(matches!(later(SETTLES_WITHIN).await, Found::Broken(_)));
        assert!(matches!(later(SETTLES_WITHIN).await, Found::Same), "it is said once");
        fs::write(&pair.key, "no key either").unwrap();
        assert!(matches!(later(LOOK_EVERY).await, Found::Broken(_)), "it was an error already");
        renew(&pair);
        assert!(matches!(later(LOOK_EVERY).await, Found::New));
        fs::write(&pair.key, "no key again").unwrap();
        assert!(matches!(later(LOOK_EVERY).await, Found::Unsettled(_)), "the former trouble is over");
    }
}
