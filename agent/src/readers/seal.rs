//! A phone's token beside the link that sets the phone up: readable with the link's code and not without.
//!
//! - The key is made of the code, of which only a hash is kept, by HKDF under a label of its own: the hash tells
//!   nothing of it.
//! - A code seals one token, so that a key is used once and its nonce may be constant.
//! - What was sealed for one name does not open under another.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use zeroize::{Zeroize as _, Zeroizing};

use crate::phones::Token;

const LABEL: &[u8] = b"gaitway: a phone's token beside its link, version 1";

/// `token`, as it is kept beside the link of `code` to the phone `name`: base64.
pub(super) fn seal(token: &Token, code: &Token, name: &str) -> String {
    let mut text = token.reveal().as_bytes().to_vec();
    key(code.reveal())
        .seal_in_place_append_tag(nonce(), Aad::from(name), &mut text)
        .expect("a token is shorter than what the cipher takes");
    STANDARD.encode(text)
}

/// What [`seal`] made, if `code` and `name` are those and nobody changed it.
pub(super) fn open(sealed: &str, code: &str, name: &str) -> Option<Token> {
    let mut bytes = Zeroizing::new(STANDARD.decode(sealed).ok()?);
    let opened = key(code).open_in_place(nonce(), Aad::from(name), &mut bytes).ok()?;
    let text = Zeroizing::new(String::from_utf8(opened.to_vec()).ok()?);
    Some(Token::kept(text))
}

fn key(code: &str) -> LessSafeKey {
    let label = [LABEL];
    let okm = Salt::new(HKDF_SHA256, b"").extract(code.as_bytes());
    let okm = okm.expand(&label, &CHACHA20_POLY1305).expect("HKDF gives far more than one key");
    let mut bytes = [0; 32];
    okm.fill(&mut bytes).expect("the cipher's key has 32 bytes");
    let key = UnboundKey::new(&CHACHA20_POLY1305, &bytes).expect("the cipher's key has 32 bytes");
    bytes.zeroize();
    LessSafeKey::new(key)
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::phones::hash;

    #[test]
    fn a_sealed_token_opens_with_its_code_and_name_alone() {
        let (token, code, other) = (Token::random().unwrap(), Token::random().unwrap(), Token::random().unwrap());
        let sealed = seal(&token, &code, "anna");
        assert_eq!(open(&sealed, code.reveal(), "anna"), Some(token.clone()));
        assert_eq!(open(&sealed, code.reveal(), "ben"), None);
        assert_eq!(open(&sealed, other.reveal(), "anna"), None);
        assert_eq!(open(&sealed, &hash(code.reveal()), "anna"), None, "what is kept of the code opens nothing");
        let bytes = STANDARD.decode(&sealed).unwrap();
        assert_eq!(bytes.len(), token.reveal().len() + 16);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            assert_eq!(open(&STANDARD.encode(changed), code.reveal(), "anna"), None, "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_file_is_no_token_and_no_panic(text in ".{0,80}") {
            prop_assert_eq!(open(&text, "0123456789abcdefghjk", "anna"), None);
        }
    }
}
