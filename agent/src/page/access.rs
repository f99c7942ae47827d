//! Who may look: programs on this machine, and browsers that came by a link. Pure but for the list's file.
//!
//! - Nothing is told to anybody else, nor changed for them.
//! - What a proxy on this machine passes on comes from elsewhere, if the proxy says that it is one.

use axum::http::HeaderMap;
use axum::http::header::COOKIE;

use crate::kept::{KeptFile, Unusable};
use crate::readers::Readers;

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

/// Whether a request with `headers` may see what is shown. `is_here`: it comes from this machine; `now`: seconds since 1970.
pub(super) fn may_look(
    headers: &HeaderMap,
    is_here: bool,
    readers: &KeptFile<Readers>,
    cookie_name: &str,
    now: i64,
) -> Result<bool, Unusable> {
    if is_here && !is_passed_on(headers) {
        return Ok(true);
    }
    let shown = tokens(headers, cookie_name);
    if shown.is_empty() {
        return Ok(false);
    }
    let readers = readers.current()?;
    Ok(readers.is_some_and(|readers| shown.iter().any(|token| readers.with_token(token, now).is_some())))
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
    use crate::readers::Link;

    const NOW: i64 = 1_800_000_000;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn with_reader(file: &KeptFile<Readers>) -> Token {
        let (code, token) = (Token::random().unwrap(), Token::random().unwrap());
        let entered = file.change(|readers| {
            readers.invite(&Link { name: "a".to_owned(), of_phone: false }, &code, NOW)?;
            readers.enter(code.reveal(), &token, NOW)
        });
        entered.unwrap().unwrap();
        token
    }

    #[test]
    fn a_browser_with_the_cookie_may_look_and_whoever_is_on_this_machine() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeptFile::<Readers>::new(dir.path());
        let may =
            |pairs: &[(&'static str, &str)], is_here| may_look(&headers(pairs), is_here, &file, "gaitway_80", NOW);
        assert_eq!(may(&[], true), Ok(true));
        assert_eq!(may(&[("cookie", "gaitway_80=x")], false), Ok(false), "nobody has a link yet");
        let token = with_reader(&file);
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
            assert_eq!(may_look(&from_proxy, true, &file, "gaitway_80", NOW), Ok(false), "{header}");
        }
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
            with_reader(&file);
            let found = may_look(&HeaderMap::from_iter([(COOKIE, value)]), false, &file, "gaitway_80", NOW);
            prop_assert_eq!(found, Ok(false));
        }
    }
}
