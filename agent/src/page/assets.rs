//! What pages load: style, scripts, the icon. Part of the program, the same for everybody.
//!
//! - A browser asks each time whether its copy is still right, and is not sent the same twice.
//! - Compressed once, when a browser first asks.

use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::body::Body;
use axum::http::header::{ACCEPT_ENCODING, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use axum::http::{HeaderMap, HeaderName, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use xxhash_rust::xxh3::xxh3_128;

const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file of the pages: where it is, what it is, what is in it.
pub(super) type Asset = (&'static str, &'static str, &'static [u8]);

/// All of them.
pub(super) const ASSETS: [Asset; 13] = [
    ("/page.css", CSS, include_bytes!("page.css")),
    ("/favicon.svg", SVG, include_bytes!("favicon.svg")),
    ("/page/main.js", JS, include_bytes!("main.js")),
    ("/page/phone.js", JS, include_bytes!("phone.js")),
    ("/page/way.js", JS, include_bytes!("way.js")),
    ("/page/stream.js", JS, include_bytes!("stream.js")),
    ("/page/chart.js", JS, include_bytes!("chart.js")),
    ("/page/ribbon.js", JS, include_bytes!("ribbon.js")),
    ("/page/series.js", JS, include_bytes!("series.js")),
    ("/page/stretches.js", JS, include_bytes!("stretches.js")),
    ("/page/words.js", JS, include_bytes!("words.js")),
    ("/setup.css", CSS, include_bytes!("../setup/setup.css")),
    ("/page/setup.js", JS, include_bytes!("../setup/setup.js")),
];

/// Routes to all of them.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.into_iter().fold(Router::new(), |router, asset| {
        let packed = Arc::new(OnceLock::new());
        router.route(asset.0, get(async move |headers: HeaderMap| answer(asset, &packed, &headers)))
    })
}

/// The file's bytes, or that the browser has them.
fn answer((_, kind, plain): Asset, packed: &OnceLock<Bytes>, headers: &HeaderMap) -> Response {
    // Weak: the same file, compressed or not.
    let tag = format!("W/\"{:032x}\"", xxh3_128(plain));
    let about = [(ETAG, tag.as_str()), (CACHE_CONTROL, "no-cache"), (VARY, "accept-encoding")];
    if lists(headers, &IF_NONE_MATCH).any(|known| known == tag || known == "*") {
        return (StatusCode::NOT_MODIFIED, about).into_response();
    }
    let takes = |coding: &str| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next() == Some("gzip") && !parts.any(|weight| matches!(weight, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
    };
    if lists(headers, &ACCEPT_ENCODING).any(takes) {
        let body = Body::from(packed.get_or_init(|| gzip(plain)).clone());
        return (about, [(CONTENT_TYPE, kind), (CONTENT_ENCODING, "gzip")], body).into_response();
    }
    (about, [(CONTENT_TYPE, kind)], plain).into_response()
}

/// The elements of a header that is a list.
fn lists<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim)
}

fn gzip(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(plain).expect("memory takes bytes");
    encoder.finish().expect("memory takes bytes").into()
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    use super::*;

    async fn ask(path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Bytes) {
        let request = headers.iter().fold(axum::http::Request::get(path), |r, (name, value)| r.header(*name, *value));
        let response = routes::<()>().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        (status, headers, response.into_body().collect().await.unwrap().to_bytes())
    }

    #[tokio::test]
    async fn each_file_is_served_as_what_it_is_plain_and_compressed() {
        let mut together = 0;
        for (path, kind, plain) in ASSETS {
            let (status, headers, body) = ask(path, &[]).await;
            assert!(status == StatusCode::OK && headers[CONTENT_TYPE] == kind && body == plain, "{path}");
            assert!(!headers.contains_key(CONTENT_ENCODING) && headers[VARY] == "accept-encoding", "{path}");
            let (_, headers, body) = ask(path, &[("accept-encoding", "br, gzip;q=0.8")]).await;
            assert!(headers[CONTENT_ENCODING] == "gzip" && headers[CONTENT_TYPE] == kind, "{path}");
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&*body).read_to_end(&mut back).unwrap();
            assert_eq!(back, plain, "{path}");
            together += body.len();
        }
        assert!(together < 40_000, "{together} bytes compressed");
    }

    #[tokio::test]
    async fn a_browser_that_has_a_file_is_not_sent_it_again() {
        let (_, headers, _) = ask("/page/main.js", &[]).await;
        assert_eq!(headers[CACHE_CONTROL], "no-cache");
        let tag = headers[ETAG].to_str().unwrap();
        let (status, headers, body) = ask("/page/main.js", &[("if-none-match", &format!("W/\"0\", {tag}"))]).await;
        assert!(status == StatusCode::NOT_MODIFIED && body.is_empty() && headers[ETAG] == tag, "{headers:?}");
        let (status, _, body) = ask("/page/words.js", &[("if-none-match", tag)]).await;
        assert!(status == StatusCode::OK && !body.is_empty());
    }

    #[tokio::test]
    async fn a_browser_that_takes_no_gzip_gets_none() {
        for accepted in ["", "br", "gzip;q=0", "xgzip"] {
            let (_, headers, _) = ask("/page.css", &[("accept-encoding", accepted)]).await;
            assert!(!headers.contains_key(CONTENT_ENCODING), "{accepted}");
        }
    }

    #[test]
    fn a_script_imports_nothing_that_is_not_served() {
        let mut imports = 0;
        for (path, _, plain) in ASSETS.into_iter().filter(|(_, kind, _)| *kind == JS) {
            let text = std::str::from_utf8(plain).unwrap();
            for import in text.split(" from \"./").skip(1).filter_map(|rest| rest.split('"').next()) {
                imports += 1;
                assert!(ASSETS.iter().any(|(served, ..)| *served == format!("/page/{import}")), "{path}: {import}");
            }
            assert!(!text.contains("innerHTML") && !text.contains("://"), "{path}");
        }
        assert!(imports > 10, "{imports}");
    }
}
