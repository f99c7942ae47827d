//! What a request's head must say for its body to be read. Pure.
//!
//! - Sensor Logger sends `application/json`; a request that names no type is taken at its word.
//! - What a web page of another site can make a browser send is refused: by its type, by `Origin`, by `Sec-Fetch-Site`.

use axum::http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, ORIGIN};
use axum::http::{HeaderMap, HeaderName, HeaderValue};

use crate::ingest::Refusal;
use crate::names::Names;

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Longest piece of a header that is told back, characters.
const MAX_SHOWN: usize = 60;

/// How a body is encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Coding {
    /// As it is.
    Plain,
    /// gzip
    Gzip,
}

/// How the body of a push with these headers is encoded.
pub(super) fn check(headers: &HeaderMap, names: &Names) -> Result<Coding, Refusal> {
    check_origin(headers, names)?;
    check_type(headers)?;
    let mut codings = headers.get_all(CONTENT_ENCODING).iter();
    let (coding, more) = (codings.next(), codings.next());
    match coding.map(|coding| coding.as_bytes().trim_ascii().to_ascii_lowercase()).as_deref() {
        None | Some(b"" | b"identity") if more.is_none() => Ok(Coding::Plain),
        Some(b"gzip" | b"x-gzip") if more.is_none() => Ok(Coding::Gzip),
        _ => Err(Refusal::Unsupported(format!(
            "the body's Content-Encoding is {}; it must be gzip, or not be there",
            coding.map_or_else(String::new, shown)
        ))),
    }
}

/// Browsers name the site of the page that posts; phones name none, and may know this machine by any name.
pub(crate) fn check_origin(headers: &HeaderMap, names: &Names) -> Result<(), Refusal> {
    if (headers.contains_key(ORIGIN) || headers.contains_key(SEC_FETCH_SITE))
        && let Some(stranger) = names.stranger(headers)
    {
        return Err(Refusal::Foreign(format!("{stranger:?}")));
    }
    let own = headers.get(HOST).map(HeaderValue::as_bytes);
    for origin in headers.get_all(ORIGIN) {
        let site = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map(|(_, site)| site.as_bytes());
        if !site.zip(own).is_some_and(|(site, own)| site.eq_ignore_ascii_case(own)) {
            return Err(Refusal::Foreign(shown(origin)));
        }
    }
    match headers.get(SEC_FETCH_SITE).map(HeaderValue::as_bytes) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(Refusal::Foreign("another site".to_owned())),
    }
}

fn check_type(headers: &HeaderMap) -> Result<(), Refusal> {
    match headers.get_all(CONTENT_TYPE).iter().find(|kind| !is_json(kind)) {
        None => Ok(()),
        Some(other) => Err(Refusal::Unsupported(format!(
            "the body's Content-Type is {}; Sensor Logger sends application/json",
            shown(other)
        ))),
    }
}

fn is_json(kind: &HeaderValue) -> bool {
    let kind = kind.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default();
    let kind = kind.trim_ascii().to_ascii_lowercase();
    match kind.iter().position(|byte| *byte == b'/').map(|slash| kind.split_at(slash)) {
        Some((b"application" | b"text", b"/json")) => true,
        Some((kind, suffixed)) => !kind.is_empty() && suffixed.len() > b"/+json".len() && suffixed.ends_with(b"+json"),
        None => false,
    }
}

/// Enough of a header to recognise it.
fn shown(value: &HeaderValue) -> String {
    let text = String::from_utf8_lossy(value.as_bytes());
    let cut = text.chars().nth(MAX_SHOWN).map_or("", |_| "…");
    format!("{:?}{cut}", text.chars().take(MAX_SHOWN).collect::<String>())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(headers: &HeaderMap) -> Result<Coding, Refusal> {
        super::check(headers, &Names::default())
    }

    fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse::<HeaderValue>().unwrap())).collect()
    }

    #[test]
    fn json_by_any_of_its_names_is_taken_and_so_is_a_body_without_a_type() {
        for kind in [
            "application/json",
            "Application/JSON; charset=utf-8",
            "application/json;charset=\"UTF-8\"",
            " text/json",
            "application/vnd.sensors+json",
        ] {
            assert_eq!(check(&headers(&[(CONTENT_TYPE, kind)])), Ok(Coding::Plain), "{kind}");
        }
        assert_eq!(check(&HeaderMap::new()), Ok(Coding::Plain));
    }

    #[test]
    fn any_other_type_is_refused_with_what_came_and_what_the_app_sends() {
        for kind in [
            "text/plain",
            "text/plain;charset=UTF-8",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=json",
            "application/jsonp",
            "application/+json",
            "json",
            "",
        ] {
            let refusal = check(&headers(&[(CONTENT_TYPE, kind)])).unwrap_err();
            assert!(matches!(refusal, Refusal::Unsupported(_)), "{kind}");
            let said = refusal.to_string();
            assert!(said.contains("Sensor Logger sends application/json") && said.contains(kind), "{said}");
        }
        let two = headers(&[(CONTENT_TYPE, "application/json")]);
        let mut two = two;
        two.append(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
        assert!(check(&two).is_err());
    }

    #[test]
    fn gzip_is_the_only_encoding() {
        for (coding, read) in [("gzip", Coding::Gzip), (" X-GZIP ", Coding::Gzip), ("identity", Coding::Plain)] {
            assert_eq!(check(&headers(&[(CONTENT_ENCODING, coding)])), Ok(read), "{coding}");
        }
        for coding in ["br", "deflate", "zstd", "gzip, gzip", "gzipped"] {
            let refusal = check(&headers(&[(CONTENT_ENCODING, coding)])).unwrap_err();
            assert!(matches!(&refusal, Refusal::Unsupported(said) if said.contains(coding)), "{refusal}");
        }
        let mut twice = headers(&[(CONTENT_ENCODING, "gzip")]);
        twice.append(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        assert!(check(&twice).is_err());
    }

    #[test]
    fn a_post_of_another_site_s_page_is_refused_and_one_of_its_own_is_not() {
        let own = [(HOST, "pi:8000"), (ORIGIN, "http://PI:8000"), (SEC_FETCH_SITE, "same-origin")];
        assert_eq!(check(&headers(&own)), Ok(Coding::Plain));
        assert_eq!(check(&headers(&[(HOST, "push.example.org")])), Ok(Coding::Plain), "a phone's");
        for foreign in [
            &[(HOST, "pi:8000"), (ORIGIN, "https://evil.example")][..],
            &[(HOST, "pi:8000"), (ORIGIN, "http://pi:8001")],
            &[(HOST, "pi:8000"), (ORIGIN, "null")],
            &[(ORIGIN, "http://pi")],
            &[(SEC_FETCH_SITE, "cross-site")],
            &[(SEC_FETCH_SITE, "same-site")],
            // Its own name leads to this machine now.
            &[(HOST, "evil.example"), (ORIGIN, "http://evil.example"), (SEC_FETCH_SITE, "same-origin")],
            &[(HOST, "evil.example"), (SEC_FETCH_SITE, "same-origin")],
        ] {
            assert!(matches!(check(&headers(foreign)), Err(Refusal::Foreign(_))), "{foreign:?}");
        }
    }

    proptest! {
        #[test]
        fn no_header_panics_and_little_of_it_is_told_back(value in prop::collection::vec(any::<u8>(), 0..500)) {
            let Ok(value) = HeaderValue::from_bytes(&value) else { return Ok(()) };
            for name in [CONTENT_TYPE, CONTENT_ENCODING, ORIGIN, SEC_FETCH_SITE] {
                let mut headers = HeaderMap::new();
                headers.insert(name, value.clone());
                if let Err(refusal) = check(&headers) {
                    prop_assert!(refusal.to_string().len() < 1000);
                }
            }
        }
    }
}
