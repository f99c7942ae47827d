//! Who calls: key-pair JWTs at the account's host, scoped tokens everywhere else. Pure: time is an argument, milliseconds
//! since the Unix epoch.
//!
//! - A key-pair JWT is RS256, signed by the registered key, names that key's fingerprint in `iss` and the user in `sub`,
//!   and lives at most an hour. Times are seconds, or the milliseconds that Snowflake's SDK sends.
//! - A scoped token is a JWT of the emulator's own, for the user and until a time.

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{KeyPair, PublicKeyData as _};
use ring::{digest, hmac, signature};
use serde::Deserialize;
use serde_json::{Value, json};

/// The longest time between `iat` and `exp`, as Snowflake documents it.
const LONGEST_MS: u64 = 3_600_000;

/// From here on a time is in milliseconds: as seconds it would lie beyond the year 5000.
const MILLISECONDS: u64 = 100_000_000_000;

/// The test key: it protects nothing and may be known to everybody.
pub(crate) const PRIVATE_KEY: &str = include_str!("../keys/throwaway-test-key.pem");

/// Who may call.
#[derive(Debug)]
pub(crate) struct Auth {
    issuer: String,
    subject: String,
    role: String,
    public_key: Vec<u8>,
    secret: hmac::Key,
    lifetime_ms: u64,
    ahead_ms: u64,
}

#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    #[serde(default)]
    scp: Option<String>,
    iat: u64,
    exp: u64,
}

impl Auth {
    /// Registers the test key for `user` of `account`, whose clock may be ahead by `ahead_ms`. Scoped tokens live `lifetime_ms`.
    pub(crate) fn new(account: &str, user: &str, role: &str, lifetime_ms: u64, ahead_ms: u64) -> anyhow::Result<Self> {
        let key = KeyPair::from_pem(PRIVATE_KEY).context("the test key cannot be read")?;
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).context("the system has no random numbers")?;
        let subject = format!("{}.{}", account.replace('.', "-"), user).to_ascii_uppercase();
        let fingerprint = STANDARD.encode(digest::digest(&digest::SHA256, &key.subject_public_key_info()));
        Ok(Self {
            issuer: format!("{subject}.SHA256:{fingerprint}"),
            subject,
            role: role.to_ascii_uppercase(),
            public_key: key.public_key_raw().to_vec(),
            secret: hmac::Key::new(hmac::HMAC_SHA256, &secret),
            lifetime_ms,
            ahead_ms,
        })
    }

    /// `ACCOUNT.USER.SHA256:<fingerprint>`, what `iss` has to be.
    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Checks a key-pair JWT. `Err` says what is wrong with it.
    pub(crate) fn check_key_pair(&self, now_ms: u64, jwt: &str) -> Result<(), String> {
        let (signed, header, claims, signature) = parts(jwt)?;
        if header["alg"] != "RS256" {
            return Err(format!("alg is {}, not RS256", header["alg"]));
        }
        let key = signature::UnparsedPublicKey::new(&signature::RSA_PKCS1_2048_8192_SHA256, &self.public_key);
        key.verify(signed.as_bytes(), &signature).map_err(|_| "signature is not the registered key's".to_owned())?;
        let claims: Claims = serde_json::from_value(claims).map_err(|error| format!("claims: {error}"))?;
        if claims.iss != self.issuer {
            return Err(format!("iss is {}, not {}", claims.iss, self.issuer));
        }
        if claims.sub != self.subject {
            return Err(format!("sub is {}, not {}", claims.sub, self.subject));
        }
        if let Some(scope) = claims.scp.filter(|scope| *scope != format!("session:role:{}", self.role)) {
            return Err(format!("scp is {scope}, but the user's role is {}", self.role));
        }
        let milliseconds = |time: u64| if time < MILLISECONDS { time * 1_000 } else { time };
        let (issued, expires) = (milliseconds(claims.iat), milliseconds(claims.exp));
        if expires.saturating_sub(issued) > LONGEST_MS {
            return Err("exp is more than an hour after iat".into());
        }
        if issued > now_ms + self.ahead_ms {
            return Err(format!("iat is {} ms in the future", issued - now_ms));
        }
        if expires <= now_ms {
            return Err(format!("expired {} ms ago", now_ms - expires));
        }
        Ok(())
    }

    /// A new scoped token.
    pub(crate) fn scoped_token(&self, now_ms: u64) -> String {
        let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let ends_ms = now_ms.saturating_add(self.lifetime_ms);
        let (issued, expires) = (now_ms / 1_000, ends_ms / 1_000);
        let signed = format!(
            "{}.{}",
            part(json!({"alg": "HS256", "typ": "JWT"})),
            part(json!({"iss": "snowpipe-emulator", "sub": self.subject, "iat": issued, "exp": expires,
                        "exp_ms": ends_ms}))
        );
        let signature = hmac::sign(&self.secret, signed.as_bytes());
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// Checks a scoped token. `Err` says what is wrong with it.
    pub(crate) fn check_scoped(&self, now_ms: u64, token: &str) -> Result<(), String> {
        let (signed, _, claims, signature) = parts(token)?;
        hmac::verify(&self.secret, signed.as_bytes(), &signature).map_err(|_| "not a scoped token of this host")?;
        match claims["exp_ms"].as_u64() {
            Some(expires) if now_ms < expires => Ok(()),
            _ => Err("scoped token has expired".into()),
        }
    }
}

/// The signed text, the header, the claims and the signature of a JWT.
fn parts(jwt: &str) -> Result<(&str, Value, Value, Vec<u8>), String> {
    let broken = || "not a JWT".to_owned();
    let (signed, signature) = jwt.rsplit_once('.').ok_or_else(broken)?;
    let (header, claims) = signed.split_once('.').ok_or_else(broken)?;
    let bytes = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| broken());
    let json = |part: &str| serde_json::from_slice(&bytes(part)?).map_err(|_| broken());
    Ok((signed, json(header)?, json(claims)?, bytes(signature)?))
}

#[cfg(test)]
mod tests {
    use ring::rand::SystemRandom;

    use super::*;

    const NOW: u64 = 1_700_000_000_000;

    fn auth() -> Auth {
        Auth::new("my.acct", "user", "role", 1_500, 60_000).unwrap()
    }

    fn sign(header: &Value, claims: &Value) -> String {
        let key = KeyPair::from_pem(PRIVATE_KEY).unwrap();
        let key = signature::RsaKeyPair::from_pkcs8(&key.serialize_der()).unwrap();
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let mut signature = vec![0; key.public().modulus_len()];
        key.sign(&signature::RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    fn claims(auth: &Auth, change: &Value) -> Value {
        let mut claims =
            json!({"iss": auth.issuer(), "sub": "MY-ACCT.USER", "iat": NOW / 1_000, "exp": NOW / 1_000 + 3_600});
        claims.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        claims
    }

    fn check(change: &Value) -> Result<(), String> {
        let auth = auth();
        auth.check_key_pair(NOW, &sign(&json!({"alg": "RS256"}), &claims(&auth, change)))
    }

    #[test]
    fn a_jwt_as_documented_and_one_as_the_sdk_writes_it_are_good() {
        assert_eq!(check(&json!({})), Ok(()));
        let sdk = json!({"scp": "session:role:ROLE", "iat": NOW, "exp": NOW + 3_540_000});
        assert_eq!(check(&sdk), Ok(()));
    }

    #[test]
    fn a_jwt_of_another_user_key_or_role_is_refused() {
        for change in
            [json!({"iss": "MY-ACCT.USER.SHA256:x"}), json!({"sub": "MY.ACCT.USER"}), json!({"sub": "my-acct.user"})]
        {
            assert!(check(&change).is_err(), "{change}");
        }
        assert!(check(&json!({"scp": "session:role:OTHER"})).unwrap_err().contains("the user's role is ROLE"));
    }

    #[test]
    fn a_jwt_lives_an_hour_at_most_and_ends() {
        let now = NOW / 1_000;
        assert!(check(&json!({"exp": now + 3_601})).unwrap_err().contains("more than an hour"));
        assert_eq!(check(&json!({"iat": now - 3_599, "exp": now + 1})), Ok(()));
        assert!(check(&json!({"iat": now - 60, "exp": now})).unwrap_err().contains("expired"));
        assert_eq!(check(&json!({"iat": now + 60, "exp": now + 120})), Ok(()));
        assert!(check(&json!({"iat": now + 61, "exp": now + 120})).unwrap_err().contains("future"));
    }

    #[test]
    fn a_jwt_that_was_changed_or_is_none_is_refused() {
        let auth = auth();
        let good = sign(&json!({"alg": "RS256"}), &claims(&auth, &json!({})));
        let other = sign(&json!({"alg": "RS256"}), &claims(&auth, &json!({"exp": NOW / 1_000 + 60})));
        let (_, signature) = good.rsplit_once('.').unwrap();
        let (signed, _) = other.rsplit_once('.').unwrap();
        let forged = format!("{signed}.{signature}");
        assert!(auth.check_key_pair(NOW, &forged).unwrap_err().contains("signature"));
        let other_alg = sign(&json!({"alg": "none"}), &claims(&auth, &json!({})));
        assert!(auth.check_key_pair(NOW, &other_alg).unwrap_err().contains("RS256"));
        for none in ["", ".", "..", "a.b.c", &good[1..]] {
            assert!(auth.check_key_pair(NOW, none).is_err(), "{none}");
        }
    }

    #[test]
    fn a_scoped_token_ends_and_belongs_to_its_emulator() {
        let auth = auth();
        let token = auth.scoped_token(NOW);
        assert_eq!(auth.check_scoped(NOW + 1_499, &token), Ok(()));
        assert!(auth.check_scoped(NOW + 1_500, &token).is_err());
        assert!(self::auth().check_scoped(NOW, &token).is_err());
        assert!(auth.check_key_pair(NOW, &token).is_err());
    }
}
