//! Who may look: programs on this machine, and browsers that came by a link. Pure but for the list's file.
//!
//! - Nothing is told to anybody else, nor changed for them.
//! - What a proxy on this machine passes on comes from elsewhere, if the proxy says that it is one.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

use crate::kept::{KeptFile, Unusable};
use crate::readers::Readers;

/// Who may look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Viewer {
    /// It may add phones: a program on this machine, or a browser whose link said so.
    pub(crate) may_add: bool,
    /// The browser, if it came by a link.
    pub(crate) browser: Option<Browser>,
}

/// A browser that came by a link.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Browser {
    /// Of its token: SHA-256, hexadecimal.
    pub(crate) token_sha256: String,
    /// The phone with whose link it came.
    pub(crate) of_phone: Option<String>,
}

/// Headers of which a proxy sets one.
const PASSED_ON: [&str; 5] = ["forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-real-ip"];

/// The name of the cookie: browsers tell no ports of a host apart.
pub(super) fn cookie_name(port: u16) -> String {
    format!("gaitway_{port}")
}

/// What makes a browser keep `token` for as long as it is good.
pub(super) fn cookie(name: &str, token: &str, is_https: bool) -> String {
    let secure = if is_https { "; Secure" } else { "" };
    format!("{name}={token}; Path=/; Max-Age={}; HttpOnly; SameSite=Lax{secure}", crate::readers::READER_FOR)
}

/// Whether a proxy says that it passes this on.
pub(crate) fn is_passed_on(headers: &HeaderMap) -> bool {
    PASSED_ON.iter().any(|header| headers.contains_key(*header))
}

/// Who sees what is shown with a request of these `headers`; none if nobody may. `is_here`: it comes from this machine;
/// `now`: seconds since 1970.
pub(super) fn viewer(
    headers: &HeaderMap,
    is_here: bool,
    readers: &KeptFile<Readers>,
    cookie_name: &str,
    now: i64,
) -> Result<Option<Viewer>, Unusable> {
    let is_here = is_here && !is_passed_on(headers);
    let shown = tokens(headers, cookie_name);
    let readers = if shown.is_empty() { Ok(None) } else { readers.current() };
    let readers = if is_here { readers.unwrap_or_default() } else { readers? };
    let known = shown.iter().find_map(|token| readers.as_ref()?.with_token(token, now));
    if !is_here && known.is_none() {
        return Ok(None);
    }
    let browser = known.map(|reader| Browser {
        token_sha256: reader.token_sha256.clone(),
        of_phone: reader.of_phone.then(|| reader.name.clone()),
    });
    Ok(Some(Viewer { may_add: is_here || known.is_some_and(|reader| reader.may_add), browser }))
}

/// Cookies of this name: a browser may have one for a path or a domain above as well.
fn tokens<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
    let values = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let pairs = values.flat_map(|value| value.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.filter(|(found, _)| *found == name).map(|(_, token)| token.trim().trim_matches('"')).take(4).collect()
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;
    use crate::phones::Token;
    use crate::readers::{Link, Right};

    const NOW: i64 = 1_800_000_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn with_reader(file: &KeptFile<Readers>, right: Right) -> Token {
        let (code, token) = (Token::random().unwrap(), Token::random().unwrap());
        let entered = file.change(|readers| {
            readers.invite(&Link { name: "a".to_owned(), right }, &code, NOW)?;
            readers.enter(code.reveal(), &token, NOW)
        });
        entered.unwrap().unwrap();
        token
    }

    #[test]
    fn a_browser_with_the_cookie_may_look_and_whoever_is_on_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeptFile::<Readers>::new(dir.path());
        let may = |pairs: &[(&'static str, &str)], is_here| {
            viewer(&headers(pairs), is_here, &file, "gaitway_80", NOW).map(|viewer| viewer.is_some())
        };
        assert_eq!(may(&[], true), Ok(true));
        assert_eq!(may(&[("cookie", "gaitway_80=x")], false), Ok(false), "nobody has a link yet");
        let token = with_reader(&file, Right::Look);
        let token = token.reveal();
        for cookie in [
            format!("gaitway_80={token}"),
            format!("other=1; gaitway_80={token} ; more=2"),
            format!("gaitway_80=former; gaitway_80=\"{token}\""),
        ] {
            assert_eq!(may(&[("cookie", &cookie)], false), Ok(true), "{cookie}");
        }
        for cookie in ["", "gaitway_80", "gaitway_80=", &format!("gaitway_81={token}"), &format!("gaitway_80={token}x")]
        {
            assert_eq!(may(&[("cookie", cookie)], false), Ok(false), "{cookie}");
        }
        std::fs::write(file.path(), "{").unwrap();
        assert!(may(&[("cookie", &format!("gaitway_80={token}"))], false).is_err());
        assert_eq!(may(&[], false), Ok(false));
    }

    #[test]
    fn what_a_proxy_on_this_machine_passes_on_comes_from_elsewhere() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeptFile::<Readers>::new(dir.path());
        for header in PASSED_ON {
            let from_proxy = headers(&[(header, "192.0.2.1")]);
            assert_eq!(viewer(&from_proxy, true, &file, "gaitway_80", NOW), Ok(None), "{header}");
        }
    }

    #[test]
    fn this_machine_may_add_phones_and_of_browsers_those_whose_link_said_so() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeptFile::<Readers>::new(dir.path());
        for (right, may_add, of_phone) in [
            (Right::Look, false, None),
            (Right::AddPhones, true, None),
            (Right::SetUp(Token::random().unwrap()), false, Some("a".to_owned())),
        ] {
            let cookie = format!("gaitway_80={}", with_reader(&file, right).reveal());
            let seen = |is_here| {
                let found = viewer(&headers(&[("cookie", &cookie)]), is_here, &file, "gaitway_80", NOW);
                found.unwrap().map(|viewer| (viewer.may_add, viewer.browser.unwrap().of_phone))
            };
            assert_eq!((seen(false), seen(true)), (Some((may_add, of_phone.clone())), Some((true, of_phone))));
        }
        let here = viewer(&HeaderMap::new(), true, &file, "gaitway_80", NOW);
        assert_eq!(here, Ok(Some(Viewer { may_add: true, browser: None })));
    }

    #[test]
    fn the_cookie_is_for_this_agent_and_no_script() {
        let over_http = cookie("gaitway_80", "t", false);
        assert_eq!(over_http, "gaitway_80=t; Path=/; Max-Age=34560000; HttpOnly; SameSite=Lax");
        assert!(cookie("gaitway_80", "t", true).ends_with("; Secure"));
    }

    proptest! {
        #[test]
        fn no_cookie_panics_or_lets_in(value in prop::collection::vec(any::<u8>(), 0..200)) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            let dir = tempfile::tempdir().unwrap();
            let file = KeptFile::<Readers>::new(dir.path());
            with_reader(&file, Right::AddPhones);
            let found = viewer(&HeaderMap::from_iter([(COOKIE, value)]), false, &file, "gaitway_80", NOW);
            prop_assert_eq!(found, Ok(None));
        }
    }
}
