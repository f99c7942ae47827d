//! The key pair by which Snowflake knows a user, and the tokens that it signs.
//!
//! - The private half is shown nowhere: not in `Debug`, not in an error.
//! - A token is RS256 and good for less than the hour that Snowflake allows. It begins five minutes ago, so that a clock
//!   that is ahead by less does no harm, and ends in [`LIFETIME`] from then, so that neither does one that is behind.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use pkcs8::der::asn1::{AnyRef, BitStringRef};
use pkcs8::der::{Encode as _, SecretDocument};
use pkcs8::spki::{AlgorithmIdentifier, SubjectPublicKeyInfo};
use pkcs8::{EncryptedPrivateKeyInfoRef, ObjectIdentifier};
use ring::digest;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use zeroize::Zeroizing;

/// `rsaEncryption` (RFC 8017, appendix C).
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");

/// Characters in a line of PEM (RFC 7468, section 2).
const PEM_LINE: usize = 64;

/// How far in the past a token begins, seconds.
const BEGUN: i64 = 300;

/// From a token's beginning to its end, seconds: a minute less than Snowflake allows, as its own SDK has it.
const LIFETIME: i64 = 3_540;

/// A private key that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// Not PEM, or not of a private key.
    #[error("is no private key in PEM form; make one with `openssl genrsa 2048 | openssl pkcs8 -topk8 -nocrypt`")]
    NoPem,
    /// Encrypted, and no passphrase is configured.
    #[error("is encrypted: set `private_key_passphrase` or `private_key_passphrase_file`")]
    NoPassphrase,
    /// Encrypted, and it cannot be decrypted.
    #[error(
        "cannot be decrypted: the passphrase is wrong, or the encryption is none of PBES2 (`openssl pkcs8 -topk8 -v2 aes-256-cbc`)"
    )]
    Sealed,
    /// Not an RSA key of a size that is taken.
    #[error("is no RSA key of 2048 to 4096 bits")]
    NotRsa,
}

/// A key pair.
pub(super) struct Key {
    pair: RsaKeyPair,
    fingerprint: String,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Key {
    /// From PEM (PKCS#8, encrypted or not, or PKCS#1), or from what stands between the lines of PEM in a PKCS#8 key, in one line or several.
    pub(super) fn read(text: &str, passphrase: Option<&str>) -> Result<Self, BadKey> {
        if text.contains("-----BEGIN") {
            return Self::from_pem(text, passphrase);
        }
        let label = if passphrase.is_some() { "ENCRYPTED PRIVATE KEY" } else { "PRIVATE KEY" };
        let mut pem = Zeroizing::new(String::with_capacity(text.len() * 2 + 100));
        pem.push_str("-----BEGIN ");
        pem.push_str(label);
        for (place, c) in text.chars().filter(|c| !c.is_whitespace()).enumerate() {
            pem.push_str(match place {
                0 => "-----\n",
                place if place % PEM_LINE == 0 => "\n",
                _ => "",
            });
            pem.push(c);
        }
        pem.push_str("\n-----END ");
        pem.push_str(label);
        pem.push_str("-----\n");
        Self::from_pem(&pem, passphrase)
    }

    fn from_pem(pem: &str, passphrase: Option<&str>) -> Result<Self, BadKey> {
        let (label, document) = SecretDocument::from_pem(pem.trim()).map_err(|_| BadKey::NoPem)?;
        let pair = match label {
            "PRIVATE KEY" => RsaKeyPair::from_pkcs8(document.as_bytes()),
            "RSA PRIVATE KEY" => RsaKeyPair::from_der(document.as_bytes()),
            "ENCRYPTED PRIVATE KEY" => {
                let sealed = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(|_| BadKey::Sealed)?;
                let opened = sealed.decrypt(passphrase.ok_or(BadKey::NoPassphrase)?).map_err(|_| BadKey::Sealed)?;
                RsaKeyPair::from_pkcs8(opened.as_bytes())
            }
            _ => return Err(BadKey::NoPem),
        };
        let pair = pair.map_err(|_| BadKey::NotRsa)?;
        let fingerprint = fingerprint(pair.public_key().as_ref()).ok_or(BadKey::NotRsa)?;
        Ok(Self { pair, fingerprint })
    }

    /// `SHA256:<base64>`, as `DESCRIBE USER` shows it in `RSA_PUBLIC_KEY_FP`.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// A token for `user` of `account`, both as Snowflake spells them, made `now` seconds after the Unix epoch. With a
    /// `role` it asks for that one.
    pub(super) fn token(&self, account: &str, user: &str, role: Option<&str>, now: i64) -> String {
        let subject = format!("{account}.{user}");
        let begun = now - BEGUN;
        let mut claims = serde_json::json!({
            "iss": format!("{subject}.{}", self.fingerprint),
            "sub": subject,
            "iat": begun,
            "exp": begun + LIFETIME,
        });
        if let Some(role) = role {
            claims["scp"] = format!("session:role:{role}").into();
        }
        let header = r#"{"typ":"JWT","alg":"RS256"}"#;
        let signed = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mut signature = vec![0; self.pair.public().modulus_len()];
        self.pair
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
            .expect("the buffer has the modulus' length and the system has random numbers");
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

/// Of a PKCS#1 public key: the hash of its `SubjectPublicKeyInfo` in DER.
fn fingerprint(public_key: &[u8]) -> Option<String> {
    let info = SubjectPublicKeyInfo {
        algorithm: AlgorithmIdentifier { oid: RSA_ENCRYPTION, parameters: Some(AnyRef::NULL) },
        subject_public_key: BitStringRef::from_bytes(public_key).ok()?,
    };
    let hash = digest::digest(&digest::SHA256, &info.to_der().ok()?);
    Some(format!("SHA256:{}", STANDARD.encode(hash)))
}
