use axum::body::Body;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::api::live::Live;
use crate::api::{self, Api};
use crate::readers::{Link, Right};
use crate::recent::Recent;

struct Site {
    dir: tempfile::TempDir,
    status: Arc<AgentStatus>,
    router: Router,
}

impl Site {
    fn new(is_https: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (status, live) = (Arc::<AgentStatus>::default(), Arc::<Live>::default());
        let page = Arc::new(Page {
            readers: Arc::new(KeptFile::new(dir.path())),
            phones: Arc::new(PhonesFile::new(dir.path())),
            status: Arc::clone(&status),
            agent: watch::channel("home".parse().ok()).1,
            listener: "0.0.0.0:8000".parse().unwrap(),
            flag: String::new(),
            is_https,
            setup: Setup::new(None, watch::channel(None).1),
        });
        let api = Api::new(Arc::clone(&page), Recent::of(dir.path()), Arc::clone(&live), CancellationToken::new());
        let shown = Arc::clone(&page);
        tokio::spawn(async move { live.tell(&shown.status, || shown.now(), CancellationToken::new()).await });
        Self { dir, status, router: under_own_names(router(page, api::router(api)), Names::default()) }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, String, String) {
        let request = headers.iter().fold(Request::builder().method(method).uri(path), |r, (k, v)| r.header(*k, *v));
        let response = self.router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (status, head) = (response.status(), format!("{:?}", response.headers()));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, head, String::from_utf8(body.to_vec()).unwrap())
    }
}

/// The path of a link.
fn invite(site: &Site) -> String {
    let link = Link { name: "anna".to_owned(), right: Right::Look };
    readers::path(&readers::invite(site.dir.path(), &link).unwrap().0)
}

#[tokio::test]
async fn a_link_lets_one_browser_in_by_a_tap_and_nobody_by_looking_ahead() {
    let site = Site::new(false);
    for path in ["/", "/api/v1/status"] {
        let (status, _, said) = site.ask("GET", path, &[("cookie", "gaitway_8000=0")]).await;
        assert!(status == StatusCode::FORBIDDEN && said.contains("gaitway agent reader add"), "{path}: {said}");
    }
    let link = invite(&site);
    for _ in 0..2 {
        let (status, head, said) = site.ask("GET", &link, &[]).await;
        assert!(status == StatusCode::OK && said.contains("<button") && !head.contains("set-cookie"), "{head} {said}");
    }
    let (status, head, _) = site.ask("POST", &link, &[]).await;
    assert_eq!(status, StatusCode::SEE_OTHER, "{head}");
    let cookie = head.split_once("\"set-cookie\": \"").and_then(|(_, rest)| rest.split_once(';')).unwrap().0.to_owned();
    for method in ["GET", "POST"] {
        let (status, head, said) = site.ask(method, &link, &[]).await;
        assert!(status == StatusCode::FORBIDDEN && said.contains("not in force"), "{said}");
        assert!(!head.contains("set-cookie"), "{head}");
    }
    let (status, _, page) = site.ask("GET", "/", &[("cookie", &cookie)]).await;
    assert!(status == StatusCode::OK && page.contains("<span id=\"agent\">home</span>"), "{page}");
    let (_, head, json) = site.ask("GET", "/api/v1/status", &[("cookie", &cookie)]).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert!(json["agent"] == "home" && head.contains("application/json"), "{json}");
    KeptFile::<Readers>::new(site.dir.path()).change(|readers| readers.revoke("anna")).unwrap().unwrap();
    assert_eq!(site.ask("GET", "/", &[("cookie", &cookie)]).await.0, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn who_opens_a_link_is_told_what_it_lets_do_and_whether_that_could_be_written() {
    let site = Site::new(false);
    for (right, may_add) in [(Right::Look, false), (Right::AddPhones, true)] {
        let link = Link { name: "anna".to_owned(), right };
        let link = readers::path(&readers::invite(site.dir.path(), &link).unwrap().0);
        let (_, _, said) = site.ask("GET", &link, &[]).await;
        assert_eq!(said.contains("what your phones do, and may add phones, until"), may_add, "{said}");
        std::fs::create_dir_all(KeptFile::<Readers>::new(site.dir.path()).unfinished()).unwrap();
        let (status, head, said) = site.ask("POST", &link, &[]).await;
        assert!(status == StatusCode::INTERNAL_SERVER_ERROR && !head.contains("set-cookie"), "{head}");
        assert!(said.contains("nothing was changed") && !said.contains("cannot be used"), "{said}");
        std::fs::remove_dir(KeptFile::<Readers>::new(site.dir.path()).unfinished()).unwrap();
    }
}

#[tokio::test]
async fn nothing_is_answered_under_a_name_that_somebody_else_may_have() {
    let site = Site::new(false);
    let link = invite(&site);
    for (method, path) in
        [("GET", "/"), ("GET", "/api/v1/status"), ("GET", &link), ("POST", &link), ("GET", "/page.css")]
    {
        let (status, head, said) = site.ask(method, path, &[("host", "evil.example:8000")]).await;
        assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "{method} {path}");
        assert!(said.contains("push_host") && !head.contains("set-cookie"), "{said}");
    }
    assert_eq!(site.ask("POST", &link, &[("host", "pi.local:8000")]).await.0, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn programs_are_told_problems_by_the_guards_too() {
    let site = Site::new(false);
    let is_told = |(status, head, said): &(StatusCode, String, String)| {
        let problem: serde_json::Value = serde_json::from_str(said).unwrap();
        assert!(head.contains("application/problem+json") && head.contains("no-store"), "{head}");
        assert_eq!(problem["status"], status.as_u16(), "{said}");
    };
    for path in ["/api/v1/status", "/api/v1/events", "/api/v1/openapi.json", "/api/v1/phones/x", "/api/nothing", "/api"]
    {
        let stranger = site.ask("GET", path, &[]).await;
        assert_eq!(stranger.0, StatusCode::FORBIDDEN, "{path}");
        is_told(&stranger);
        let misdirected = site.ask("GET", path, &[("host", "evil.example")]).await;
        assert!(misdirected.0 == StatusCode::MISDIRECTED_REQUEST && misdirected.1.contains("application/problem+json"));
    }
    std::fs::write(site.dir.path().join("readers.json"), "{").unwrap();
    let broken = site.ask("GET", "/api/v1/status", &[("cookie", "gaitway_8000=1")]).await;
    assert_eq!(broken.0, StatusCode::INTERNAL_SERVER_ERROR);
    is_told(&broken);
}

#[tokio::test]
async fn pages_load_nothing_from_elsewhere_and_tell_no_address() {
    let site = Site::new(true);
    let link = invite(&site);
    let (_, entered, _) = site.ask("POST", &link, &[]).await;
    assert!(entered.contains("; Secure"), "{entered}");
    for path in ["/", link.as_str()] {
        let (_, head, page) = site.ask("GET", path, &[]).await;
        for said in ["default-src 'none'", "no-referrer", "no-store", "nosniff", "frame-ancestors 'none'"] {
            assert!(head.contains(said), "{said}: {head}");
        }
        assert!(!head.contains("unsafe-") && !page.contains("<style") && !page.contains("://"), "{head} {page}");
        assert!(page.split("<script").skip(1).all(|script| script.contains(" src=\"/page/")), "{page}");
    }
    for (path, kind, _) in assets::ASSETS {
        let (status, head, _) = site.ask("GET", path, &[]).await;
        assert!(status == StatusCode::OK && head.contains(kind), "{path}: {head}");
        for said in ["default-src 'none'", "nosniff", "same-origin", "\"no-cache\""] {
            assert!(head.contains(said), "{path}: {said}: {head}");
        }
    }
}

#[tokio::test]
async fn a_list_that_cannot_be_read_lets_nobody_in() {
    let site = Site::new(false);
    let link = invite(&site);
    std::fs::write(site.dir.path().join("readers.json"), "{").unwrap();
    for (method, path) in [("GET", "/"), ("GET", &link), ("POST", &link)] {
        let (status, head, said) = site.ask(method, path, &[("cookie", "gaitway_8000=1")]).await;
        assert!(
            status == StatusCode::INTERNAL_SERVER_ERROR && said.contains("log says why"),
            "{method} {path}: {said}"
        );
        assert!(!head.contains("set-cookie"), "{head}");
    }
}

#[tokio::test]
async fn who_is_no_reader_any_more_is_shown_nothing_more() {
    let site = Site::new(false);
    let link = invite(&site);
    let (_, head, _) = site.ask("POST", &link, &[]).await;
    let cookie = head.split_once("\"set-cookie\": \"").and_then(|(_, rest)| rest.split_once(';')).unwrap().0.to_owned();
    let request = Request::get("/api/v1/events").header("cookie", &cookie).body(Body::empty()).unwrap();
    let response = site.router.clone().oneshot(request).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body();
    for told in ["retry: ", "event: status"] {
        let frame = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(frame.starts_with(told.as_bytes()), "{frame:?}");
    }
    KeptFile::<Readers>::new(site.dir.path()).change(|readers| readers.revoke("anna")).unwrap().unwrap();
    site.status.tested(None);
    assert!(body.frame().await.is_none());
}
