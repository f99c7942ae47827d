//! Who may push: phones with a token, or anybody while there is no list of phones.
//!
//! - A token comes in `Authorization`, bare, as `Bearer` or as the password of `Basic`, or as the last piece of the path.
//! - It is looked at before a byte of the body is read, and the device that it belongs to once that was.

use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::ingest::Refusal;
use crate::phones::{Phone, PhonesFile, Privacy};

/// Who pushes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Pusher {
    /// Anybody: there is no list.
    Anybody,
    /// This phone.
    Phone(Box<Phone>),
}

impl Pusher {
    /// What is kept of it.
    pub(super) fn privacy(&self) -> Privacy {
        match self {
            Self::Anybody => Privacy::default(),
            Self::Phone(phone) => phone.privacy(),
        }
    }
}

/// Who pushes with these headers to `/data`, or `/data/<token>`.
pub(super) fn pusher(phones: &PhonesFile, headers: &HeaderMap, in_path: Option<&str>) -> Result<Pusher, Refusal> {
    let Some(phones) = phones.current().map_err(|_| Refusal::NoList)? else {
        return Ok(Pusher::Anybody);
    };
    let mut shown = in_path.map(str::to_owned).into_iter().chain(in_headers(headers)).peekable();
    if shown.peek().is_none() {
        return Err(Refusal::NoToken);
    }
    let found = shown.find_map(|token| phones.with_token(&token).cloned());
    found.map(|phone| Pusher::Phone(Box::new(phone))).ok_or(Refusal::UnknownToken)
}

/// Whether `device` may push as `pusher`. Blocks where it is the first that does.
pub(super) async fn admit(phones: &Arc<PhonesFile>, pusher: Pusher, device: &str) -> Result<(), Refusal> {
    let Pusher::Phone(phone) = pusher else { return Ok(()) };
    let refused = |name: &str| Refusal::OtherPhone(name.to_owned());
    match phone.is_of(device) {
        Some(true) => Ok(()),
        Some(false) => Err(refused(&phone.name)),
        None => {
            let (phones, device) = (Arc::clone(phones), device.to_owned());
            let bind = move || phones.bind(&phone, &device);
            let bound = tokio::task::spawn_blocking(bind).await.map_err(|_| Refusal::Closing)?;
            bound.map_err(|_| Refusal::NoList)?.map_err(|other| refused(&other.phone))
        }
    }
}

fn in_headers(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers.get_all(AUTHORIZATION).iter().filter_map(|value| in_authorization(value.to_str().ok()?.trim()))
}

fn in_authorization(value: &str) -> Option<String> {
    let Some((scheme, credentials)) = value.split_once(' ') else { return Some(value.to_owned()) };
    let credentials = credentials.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(credentials.to_owned());
    }
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = String::from_utf8(STANDARD.decode(credentials).ok()?).ok()?;
        return decoded.split_once(':').map(|(_, password)| password.to_owned());
    }
    None
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;
    use crate::phones::Token;

    fn headers(authorization: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, authorization.parse::<HeaderValue>().unwrap())])
    }

    fn with_phone(file: &PhonesFile) -> Token {
        let token = Token::random().unwrap();
        file.change(|phones| phones.add("anna", &token, String::new())).unwrap().unwrap();
        token
    }

    #[test]
    fn a_token_is_found_wherever_an_app_may_put_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = PhonesFile::new(dir.path());
        assert_eq!(pusher(&file, &HeaderMap::new(), None), Ok(Pusher::Anybody));
        assert_eq!(pusher(&file, &headers("Bearer x"), Some("y")), Ok(Pusher::Anybody));
        let token = with_phone(&file);
        let token = token.reveal();
        let basic = |text: String| format!("Basic {}", STANDARD.encode(text));
        for value in [
            token.to_owned(),
            format!("  {token} "),
            format!("Bearer {token}"),
            format!("bearer   {token}"),
            basic(format!("anna:{token}")),
            basic(format!(":{token}")),
        ] {
            let found = pusher(&file, &headers(&value), None);
            assert!(matches!(found, Ok(Pusher::Phone(phone)) if phone.name == "anna"), "{value}");
        }
        for (value, path) in [("Bearer other", token), ("nonsense", token)] {
            assert!(matches!(pusher(&file, &headers(value), Some(path)), Ok(Pusher::Phone(_))), "{value}");
        }
        assert!(matches!(pusher(&file, &HeaderMap::new(), Some(token)), Ok(Pusher::Phone(_))));
        assert_eq!(pusher(&file, &HeaderMap::new(), None), Err(Refusal::NoToken));
        for value in [
            "",
            "Bearer",
            "Bearer ",
            &token[1..],
            &format!("Digest {token}"),
            &format!("Bearer {token}x"),
            &basic(token.to_owned()),
            &basic(format!("{token}:")),
            "Basic !",
        ] {
            let refused = pusher(&file, &headers(value), None).unwrap_err();
            assert!(matches!(refused, Refusal::UnknownToken | Refusal::NoToken), "{value}: {refused}");
        }
    }

    #[tokio::test]
    async fn a_token_lets_its_first_device_in_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let file = Arc::new(PhonesFile::new(dir.path()));
        let token = with_phone(&file);
        let anna = || pusher(&file, &HeaderMap::new(), Some(token.reveal())).unwrap();
        let early = anna();
        admit(&file, anna(), "d1").await.unwrap();
        admit(&file, anna(), "d1").await.unwrap();
        for late in [anna(), early] {
            assert_eq!(admit(&file, late, "d2").await, Err(Refusal::OtherPhone("anna".to_owned())));
        }
        let gone = anna();
        file.change(|phones| phones.revoke("anna")).unwrap().unwrap();
        assert_eq!(pusher(&file, &HeaderMap::new(), Some(token.reveal())), Err(Refusal::UnknownToken));
        admit(&file, gone, "d1").await.unwrap();
        std::fs::write(file.path(), "").unwrap();
        assert!(matches!(pusher(&file, &HeaderMap::new(), Some(token.reveal())), Err(Refusal::NoList)));
    }

    proptest! {
        #[test]
        fn no_header_panics_or_opens_the_door(value in prop::collection::vec(any::<u8>(), 0..200)) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let dir = tempfile::tempdir().unwrap();
            let file = PhonesFile::new(dir.path());
            with_phone(&file);
            let found = pusher(&file, &HeaderMap::from_iter([(AUTHORIZATION, value)]), None);
            prop_assert!(found.is_err());
        }
    }
}
