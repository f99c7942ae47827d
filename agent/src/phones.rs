//! The phones that may push: a name and a token for each.
//!
//! - A token is 100 random bits and is shown once; here is only its SHA-256, from which nobody gets it back.
//! - A token is one phone's: the device that first pushes with it is the only one that may.
//! - While there is no list anybody may push. Once there is one, nobody may who is not on it, also if it is empty or cannot
//!   be read.
//! - What is kept of a phone stands beside its token. A list that says it in words unknown here cannot be read.

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use zeroize::{Zeroize as _, Zeroizing};

mod file;
mod privacy;

pub use file::PhonesFile;
pub use privacy::{Decimals, Keep, NoDecimals, Privacy};

/// Letters and digits of which none looks like another (Crockford's base 32, lower case).
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Of a token: 100 bits.
const TOKEN_LENGTH: usize = 20;

/// Longest name of a phone, characters.
const MAX_NAME: usize = 64;

/// Most phones of an agent: a study's, and far more than one network has.
const MOST: usize = 1_000;

/// What a phone pushes with. It is never logged, and erased from memory with its last owner.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(Zeroizing<String>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(…)")
    }
}

impl Token {
    /// A new one. The error is the operating system's, which has no random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut random = [0; TOKEN_LENGTH];
        getrandom::fill(&mut random)?;
        let text = random.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 31)])).collect();
        random.zeroize();
        Ok(Self(Zeroizing::new(text)))
    }

    /// One that was kept.
    pub(crate) fn kept(text: Zeroizing<String>) -> Self {
        Self(text)
    }

    /// As it stands in a push URL.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// A phone that may push.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phone {
    /// What people call it.
    pub name: String,
    /// Of its token: SHA-256, hexadecimal.
    token_sha256: String,
    /// When it was added, RFC 3339, UTC.
    pub added: String,
    /// The device that pushes with it; none before its first push.
    pub device: Option<String>,
    #[serde(default, skip_serializing_if = "is_default")]
    keep: Keep,
    #[serde(default, skip_serializing_if = "is_default")]
    location_decimals: Option<Decimals>,
}

/// All of them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Phones {
    phones: Vec<Phone>,
}

/// Why the list is not changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// A name that cannot be one.
    #[error("a phone's name has 1 to {MAX_NAME} characters, and no line ends or other control characters")]
    BadName,
    /// The name is taken.
    #[error("there is a phone {0:?}: choose another name, or revoke that one first")]
    Taken(String),
    /// No phone has this name.
    #[error("there is no phone {0:?}: `gaitway agent phone list` shows those that there are")]
    Unknown(String),
    /// The list is full.
    #[error("there are {MOST} phones, the most that an agent takes: revoke those that are not used any more")]
    Full,
}

/// A push that its token does not let in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherDevice {
    /// Whose token it is.
    pub phone: String,
}

impl Phones {
    /// In the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = &Phone> {
        self.phones.iter()
    }

    /// Adds a phone that pushes with `token`. `now`: RFC 3339.
    pub fn add(&mut self, name: &str, token: &Token, now: String) -> Result<(), Refused> {
        let name = name.trim();
        if !is_name(name) {
            return Err(Refused::BadName);
        }
        if self.phones.iter().any(|phone| phone.name == name) {
            return Err(Refused::Taken(name.to_owned()));
        }
        if self.phones.len() >= MOST {
            return Err(Refused::Full);
        }
        let token_sha256 = hash(token.reveal());
        let Privacy { keep, location } = Privacy::default();
        let name = name.to_owned();
        self.phones.push(Phone { name, token_sha256, added: now, device: None, keep, location_decimals: location });
        Ok(())
    }

    /// Changes what is kept of a phone from its next push on; gives what that is now.
    pub fn set(&mut self, name: &str, change: impl FnOnce(&mut Privacy)) -> Result<Privacy, Refused> {
        let found = self.phones.iter_mut().find(|phone| phone.name == name.trim());
        let phone = found.ok_or_else(|| Refused::Unknown(name.trim().to_owned()))?;
        let mut privacy = phone.privacy();
        change(&mut privacy);
        (phone.keep, phone.location_decimals) = (privacy.keep, privacy.location);
        Ok(privacy)
    }

    /// Takes the token of a phone out of force.
    pub fn revoke(&mut self, name: &str) -> Result<Phone, Refused> {
        let at = self.phones.iter().position(|phone| phone.name == name.trim());
        at.map(|at| self.phones.remove(at)).ok_or_else(|| Refused::Unknown(name.trim().to_owned()))
    }

    /// The names of the phones that `device` pushes as.
    pub fn of_device(&self, device: &str) -> Vec<String> {
        self.phones.iter().filter(|phone| phone.is_of(device) == Some(true)).map(|phone| phone.name.clone()).collect()
    }

    /// Forgets which phones `device` pushes as: they stay on the list, as before their first push.
    pub fn unbind(&mut self, device: &str) {
        for phone in self.phones.iter_mut().filter(|phone| phone.is_of(device) == Some(true)) {
            phone.device = None;
        }
    }

    /// The phone whose token this is. It takes as long whichever it is.
    pub fn with_token(&self, token: &str) -> Option<&Phone> {
        let hash = hash(token);
        self.phones.iter().fold(None, |found, phone| {
            if bool::from(phone.token_sha256.as_bytes().ct_eq(hash.as_bytes())) { Some(phone) } else { found }
        })
    }

    /// Whether `device` may push with the token of `phone`, as this list has it now; where it is the first that does, it is
    /// noted.
    fn bind(&mut self, phone: &Phone, device: &str) -> Result<(), OtherDevice> {
        let refused = || OtherDevice { phone: phone.name.clone() };
        let found = self.phones.iter_mut().find(|listed| listed.token_sha256 == phone.token_sha256);
        let listed = found.ok_or_else(refused)?;
        if listed.device.get_or_insert_with(|| device.to_owned()) == device { Ok(()) } else { Err(refused()) }
    }
}

impl Phone {
    /// What is kept of it.
    pub fn privacy(&self) -> Privacy {
        Privacy { keep: self.keep, location: self.location_decimals }
    }

    /// Whether `device` may push with its token; none if no device has done so yet.
    pub fn is_of(&self, device: &str) -> Option<bool> {
        self.device.as_deref().map(|known| known == device)
    }
}

/// Whether people can tell it from other names.
pub(crate) fn is_name(text: &str) -> bool {
    // Some characters have what stands beside them read in another order.
    let turns = |letter| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_refused = |letter: char| letter.is_control() || turns(letter);
    !text.is_empty() && text.chars().count() <= MAX_NAME && !text.chars().any(is_refused)
}

/// What is as it would be without being said is not said: a gaitway from before it could be reads such a list.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Of a token: SHA-256, hexadecimal.
pub(crate) fn hash(token: &str) -> String {
    use std::fmt::Write as _;
    Sha256::digest(token.as_bytes()).iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(text: &str) -> Token {
        Token(Zeroizing::new(text.to_owned()))
    }

    #[test]
    fn a_token_is_known_by_its_hash_alone_until_it_is_revoked() {
        let (mut phones, one, other) = (Phones::default(), Token::random().unwrap(), Token::random().unwrap());
        assert_ne!(one, other);
        assert!(one.reveal().len() == TOKEN_LENGTH && one.reveal().bytes().all(|byte| ALPHABET.contains(&byte)));
        phones.add(" anna ", &one, "2026-01-31T12:00:00Z".to_owned()).unwrap();
        phones.add("ben", &other, String::new()).unwrap();
        let kept = serde_json::to_string(&phones).unwrap();
        assert!(!kept.contains(one.reveal()) && !format!("{phones:?} {one:?}").contains(one.reveal()), "{kept}");
        let mut phones: Phones = serde_json::from_str(&kept).unwrap();
        assert_eq!(phones.with_token(one.reveal()).unwrap().name, "anna");
        assert_eq!(phones.with_token(other.reveal()).unwrap().name, "ben");
        phones.revoke("anna").unwrap();
        assert_eq!(phones.with_token(one.reveal()), None);
        assert_eq!(phones.revoke("anna").unwrap_err(), Refused::Unknown("anna".to_owned()));
    }

    #[test]
    fn a_token_is_the_first_device_s() {
        let mut phones = Phones::default();
        phones.add("anna", &token("a"), String::new()).unwrap();
        let anna = phones.with_token("a").unwrap().clone();
        assert_eq!(anna.is_of("d1"), None);
        phones.bind(&anna, "d1").unwrap();
        // Whoever looked before it was bound hears the same.
        assert_eq!(phones.bind(&anna, "d2"), Err(OtherDevice { phone: "anna".to_owned() }));
        let anna = phones.with_token("a").unwrap().clone();
        assert_eq!((anna.is_of("d1"), anna.is_of("d2")), (Some(true), Some(false)));
        assert_eq!((phones.of_device("d1"), phones.of_device("d2")), (vec!["anna".to_owned()], vec![]));
        phones.unbind("d2");
        assert_eq!(phones.with_token("a").unwrap().is_of("d1"), Some(true));
        phones.unbind("d1");
        assert_eq!(phones.with_token("a").unwrap().is_of("d1"), None);
        phones.revoke("anna").unwrap();
        assert!(phones.bind(&anna, "d1").is_err(), "revoked while the push was read");
        phones.add("anna", &token("b"), String::new()).unwrap();
        assert!(phones.bind(&anna, "d1").is_err(), "another token of the same name");
    }

    #[test]
    fn what_is_kept_of_a_phone_is_everything_unless_it_is_set_and_is_only_its_own() {
        let mut phones = Phones::default();
        phones.add("anna", &token("a"), String::new()).unwrap();
        phones.add("ben", &token("b"), String::new()).unwrap();
        let of = |phones: &Phones, text| phones.with_token(text).unwrap().privacy();
        let everything = serde_json::to_string(&phones).unwrap();
        assert!(of(&phones, "a").keeps_everything() && !everything.contains("keep"), "{everything}");
        let location = Some(Decimals::try_from(2).unwrap());
        phones.set(" anna", |privacy| privacy.keep = Keep::Activity).unwrap();
        let set = phones.set("anna", |privacy| privacy.location = location).unwrap();
        assert_eq!(set, Privacy { keep: Keep::Activity, location });
        assert_eq!((of(&phones, "a"), of(&phones, "b")), (set, Privacy::default()));
        let mut phones: Phones = serde_json::from_str(&serde_json::to_string(&phones).unwrap()).unwrap();
        assert_eq!(of(&phones, "a"), set);
        phones.bind(&phones.with_token("a").unwrap().clone(), "d1").unwrap();
        assert_eq!(of(&phones, "a"), set, "a first push changes nothing of it");
        phones.set("anna", |privacy| *privacy = Privacy::default()).unwrap();
        assert!(of(&phones, "a").keeps_everything());
        assert_eq!(phones.set("carl", |_| ()), Err(Refused::Unknown("carl".to_owned())));
    }

    #[test]
    fn a_name_is_one_phone_s_and_readable() {
        let mut phones = Phones::default();
        for bad in ["", "  ", "a\nb", "ben\u{202e}anna", "\u{2066}a", "a\u{200f}", &"x".repeat(MAX_NAME + 1)] {
            assert_eq!(phones.add(bad, &token("t"), String::new()), Err(Refused::BadName), "{bad:?}");
        }
        phones.add(&"ü".repeat(MAX_NAME), &token("t"), String::new()).unwrap();
        phones.add("a", &token("u"), String::new()).unwrap();
        assert_eq!(phones.add(" a", &token("v"), String::new()), Err(Refused::Taken("a".to_owned())));
        for number in 2..MOST {
            phones.add(&number.to_string(), &token(&number.to_string()), String::new()).unwrap();
        }
        assert_eq!(phones.add("one more", &token("w"), String::new()), Err(Refused::Full));
    }

    proptest! {
        #[test]
        fn no_text_but_the_token_is_let_in(text in ".{0,40}") {
            let mut phones = Phones::default();
            phones.add("a", &token("0123456789abcdefghjk"), String::new()).unwrap();
            prop_assert_eq!(phones.with_token(&text).is_some(), text == "0123456789abcdefghjk");
        }
    }
}
