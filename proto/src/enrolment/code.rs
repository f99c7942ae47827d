//! The code that lets an agent in: 26 characters that people read out and type.
//!
//! - 80 bits of the SHA-256 of the authority's public key: the agent talks to nobody else, whoever is in between.
//! - 50 bits of a secret. The first 15 say which code is meant, so that wrong tries count against that one; the other 35
//!   prove it.
//! - The secret is erased from memory with its last owner.
//! - Crockford's base 32: capitals or not; `o` is 0, `i` and `l` are 1; dashes and white space do not count.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, ZeroizeOnDrop};

/// Crockford's alphabet: without I, L, O, U.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Characters of the fingerprint, five bits each.
const FINGERPRINT_CHARACTERS: usize = 16;

/// Characters of a code.
const CHARACTERS: usize = 26;

/// Bits of the secret, and of those that prove.
const SECRET_BITS: u32 = 50;
const PROOF_BITS: u32 = 35;

/// What the digest of a secret begins with, so that it is the digest of nothing else.
const DOMAIN: &[u8] = b"gaitway-enroll/1 secret";

/// The first 80 bits of the SHA-256 of an authority's `SubjectPublicKeyInfo` in DER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 10]);

impl Fingerprint {
    /// Of a public key in DER.
    pub fn of(subject_public_key_info: &[u8]) -> Self {
        let digest = Sha256::digest(subject_public_key_info);
        let mut first = [0; 10];
        first.copy_from_slice(&digest[..10]);
        Self(first)
    }
}

/// The secret of a code: 50 bits.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct CodeSecret(u64);

impl CodeSecret {
    /// Made of random bits, of which 50 are used.
    pub fn from_random(bits: u64) -> Self {
        Self(bits & ((1 << SECRET_BITS) - 1))
    }

    /// Which code is meant: 15 bits.
    pub fn selector(&self) -> u16 {
        (self.0 >> PROOF_BITS) as u16
    }

    /// What is kept of it.
    pub fn digest(&self) -> [u8; 32] {
        Sha256::new().chain_update(DOMAIN).chain_update(self.0.to_be_bytes()).finalize().into()
    }
}

impl Drop for CodeSecret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for CodeSecret {}

impl fmt::Debug for CodeSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CodeSecret(…)")
    }
}

impl<'de> Deserialize<'de> for CodeSecret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        u64::deserialize(deserializer).map(Self::from_random)
    }
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Code {
    /// Of the authority.
    pub fingerprint: Fingerprint,
    /// Known to the relay and to whoever was given the code.
    pub secret: CodeSecret,
}

/// Why a text is no code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadCode {
    /// Too few or too many characters.
    #[error(
        "a code has {CHARACTERS} characters, this one has {0}: copy it whole, as `gaitway relay agent add` printed it"
    )]
    Length(usize),
    /// A character that is in no code.
    #[error("{0:?} is in no code, whose characters are digits and letters without u: look at it again")]
    Character(char),
}

impl FromStr for Code {
    type Err = BadCode;

    fn from_str(text: &str) -> Result<Self, BadCode> {
        let (mut values, mut count) = ([0_u8; CHARACTERS], 0);
        for character in text.chars().filter(|c| *c != '-' && !c.is_whitespace()) {
            let value = value_of(character).ok_or(BadCode::Character(character))?;
            if let Some(slot) = values.get_mut(count) {
                *slot = value;
            }
            count += 1;
        }
        if count != CHARACTERS {
            return Err(BadCode::Length(count));
        }
        let (fingerprint, secret) = values.split_at(FINGERPRINT_CHARACTERS);
        let bits = fingerprint.iter().fold(0_u128, |bits, value| bits << 5 | u128::from(*value));
        let mut first = [0; 10];
        first.copy_from_slice(&bits.to_be_bytes()[6..]);
        let secret = secret.iter().fold(0_u64, |bits, value| bits << 5 | u64::from(*value));
        Ok(Self { fingerprint: Fingerprint(first), secret: CodeSecret(secret) })
    }
}

fn value_of(character: char) -> Option<u8> {
    let plain = match character.to_ascii_uppercase() {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let at = ALPHABET.iter().position(|of| char::from(*of) == plain)?;
    u8::try_from(at).ok()
}

/// In groups: four of four characters, which are the fingerprint, and two of five.
impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bits = [0; 16];
        bits[6..].copy_from_slice(&self.fingerprint.0);
        let fingerprint = u128::from_be_bytes(bits);
        let symbol = |value: u64| char::from(ALPHABET[(value & 31) as usize]);
        for place in 0..FINGERPRINT_CHARACTERS {
            if place > 0 && place % 4 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", symbol((fingerprint >> (5 * (FINGERPRINT_CHARACTERS - 1 - place))) as u64))?;
        }
        for place in 0..CHARACTERS - FINGERPRINT_CHARACTERS {
            if place % 5 == 0 {
                f.write_str("-")?;
            }
            write!(f, "{}", symbol(self.secret.0 >> (5 * (CHARACTERS - FINGERPRINT_CHARACTERS - 1 - place))))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn code(key: &[u8], secret: u64) -> Code {
        Code { fingerprint: Fingerprint::of(key), secret: CodeSecret::from_random(secret) }
    }

    #[test]
    fn a_code_is_26_characters_of_which_16_are_the_fingerprint() {
        let text = code(b"key", 0).to_string();
        assert_eq!(text, "5HRE-2AVT-0S3F-J8KS-00000-00000");
        assert!(code(b"key", u64::MAX).to_string().ends_with("-ZZZZZ-ZZZZZ"));
        assert_eq!(code(b"key", 0x7fff << PROOF_BITS).secret.selector(), 0x7fff);
    }

    #[test]
    fn what_is_no_code_is_refused_with_what_to_do() {
        let text = code(b"key", 7).to_string();
        assert_eq!(text[1..].parse::<Code>(), Err(BadCode::Length(25)));
        assert_eq!(format!("{text}0").parse::<Code>(), Err(BadCode::Length(27)));
        assert_eq!("".parse::<Code>(), Err(BadCode::Length(0)));
        assert_eq!(text.replace('-', "u").parse::<Code>(), Err(BadCode::Character('u')));
        assert_eq!("é".parse::<Code>(), Err(BadCode::Character('é')));
    }

    #[test]
    fn a_secret_is_not_shown_and_is_erased() {
        fn is_erased<T: ZeroizeOnDrop>(_: &T) {}
        let secret = CodeSecret::from_random(0x1234_5678);
        assert!(!format!("{:?}", code(b"key", 0x1234_5678)).contains(&0x1234_5678_u64.to_string()));
        assert_eq!(format!("{secret:?}"), "CodeSecret(…)");
        is_erased(&secret);
    }

    proptest! {
        #[test]
        fn a_code_survives_people(key: [u8; 8], secret: u64, lower: bool, dashes in "[ -]{0,3}") {
            let code = code(&key, secret);
            let text = code.to_string();
            prop_assert_eq!(text.parse::<Code>(), Ok(code.clone()));
            let mut typed = text.replace('-', &dashes).replace('0', "o").replace('1', "l");
            if lower {
                typed = typed.to_lowercase();
            }
            prop_assert_eq!(typed.parse::<Code>(), Ok(code));
        }

        #[test]
        fn one_wrong_character_is_another_code(secret: u64, at in 0_usize..26, other in 0_usize..32) {
            let code = code(b"key", secret);
            let mut plain: Vec<u8> = code.to_string().bytes().filter(|b| *b != b'-').collect();
            let changed = plain[at] != ALPHABET[other];
            plain[at] = ALPHABET[other];
            let parsed: Code = String::from_utf8(plain).unwrap().parse().unwrap();
            prop_assert_eq!(parsed != code, changed);
            prop_assert_eq!(parsed.secret.digest() != code.secret.digest(), changed && at >= 16);
        }

        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}") {
            let _ = text.parse::<Code>();
        }
    }
}
