use std::collections::BTreeSet;

use axum::body::Body;
use http_body_util::BodyExt as _;
use tower::ServiceExt as _;

use super::code::tests::read_svg;
use super::link::PREFIX;
use super::link::tests::read;
use super::*;
use crate::kept::KeptFile;
use crate::page;
use crate::phones::PhonesFile;
use crate::readers::{self, Link, Right};

const ORIGINS: [(&str, &str); 3] =
    [("host", "192.168.1.20:8000"), ("origin", "http://192.168.1.20:8000"), ("sec-fetch-site", "same-origin")];

struct Site {
    dir: tempfile::TempDir,
    router: Router,
    local: watch::Sender<Option<String>>,
    phones: PhonesFile,
}

struct Answer {
    status: StatusCode,
    head: String,
    body: String,
}

impl Site {
    fn new(listener: &str, is_https: bool, push_host: Option<&str>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (local, receiver) = watch::channel(None);
        let page = Page {
            readers: Arc::new(KeptFile::new(dir.path())),
            phones: Arc::new(PhonesFile::new(dir.path())),
            status: Arc::default(),
            agent: watch::channel("home".parse().ok()).1,
            listener: listener.parse().unwrap(),
            flag: String::new(),
            is_https,
            setup: Setup::new(push_host.map(str::to_owned), receiver),
        };
        let phones = PhonesFile::new(dir.path());
        Self {
            router: page::under_own_names(page::router(Arc::new(page), Router::new()), Names::default()),
            dir,
            local,
            phones,
        }
    }

    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let request = headers.iter().fold(Request::builder().method(method).uri(path), |r, (k, v)| r.header(*k, *v));
        let response = self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (status, head) = (response.status(), format!("{:?}", response.headers()));
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, head, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    /// The cookie of a browser that comes by a link, and where it is sent.
    async fn enter(&self, right: Right) -> (String, String) {
        let link = Link { name: "anna".to_owned(), right };
        let (code, _) = readers::invite(self.dir.path(), &link).unwrap();
        let Answer { status, head, .. } = self.ask("POST", &readers::path(&code), &[], "").await;
        assert_eq!(status, StatusCode::SEE_OTHER, "{head}");
        let told = |name: &str| {
            let rest = head.split_once(&format!("\"{name}\": \"")).unwrap().1;
            rest.split(['"', ';']).next().unwrap().to_owned()
        };
        (told("set-cookie"), told("location"))
    }

    async fn shown(&self, cookie: &str, path: &str) -> String {
        let Answer { status, body, .. } = self.ask("GET", path, &[("cookie", cookie)], "").await;
        assert_eq!(status, StatusCode::OK, "{body}");
        body
    }

    /// A phone with a token, and that token.
    fn add(&self, name: &str) -> Token {
        let token = Token::random().unwrap();
        self.phones.change(|phones| phones.add(name, &token, String::new())).unwrap().unwrap();
        token
    }
}

/// What is in the page's link and codes: `url` and `authToken` of (the link to tap, the iPhone's code, the Android's).
fn links(page: &str) -> [(String, Option<String>); 3] {
    let tapped = page.split_once("class=\"open-app\" href=\"").unwrap().1.split_once('"').unwrap().0.to_owned();
    let scanned = ["ios", "android"].map(|of| {
        let svg = page.split_once(&format!("data-for=\"{of}\"")).unwrap().1.split_once("</svg>").unwrap().0;
        read_svg(svg, 320).pop().unwrap()
    });
    let [ios, android] = scanned;
    [tapped, ios, android].map(|link| {
        let http = &read(&link)["http"];
        (http["url"].as_str().unwrap().to_owned(), http["authToken"].as_str().map(str::to_owned))
    })
}

fn state(page: &str) -> &str {
    page.split_once("id=\"light\" data-state=\"").unwrap().1.split_once('"').unwrap().0
}

#[tokio::test]
async fn strangers_see_nothing_of_it() {
    let site = Site::new("192.168.1.20:8000", false, None);
    for method in ["GET", "POST"] {
        let Answer { status, body, .. } = site.ask(method, "/setup", &ORIGINS, "name=eve").await;
        assert!(status == StatusCode::FORBIDDEN && !body.contains("192.168") && !body.contains(PREFIX), "{body}");
    }
    assert_eq!(site.phones.current(), Ok(None));
    for (path, kind) in [("/setup.css", "text/css"), ("/page/setup.js", "text/javascript")] {
        let Answer { status, head, .. } = site.ask("GET", path, &[], "").await;
        assert!(status == StatusCode::OK && head.contains(kind), "{path}: {head}");
    }
}

#[tokio::test]
async fn without_a_list_of_phones_any_phone_is_set_up_and_the_page_says_so() {
    let site = Site::new("192.168.1.20:8000", false, None);
    let (cookie, path) = site.enter(Right::Look).await;
    assert_eq!(path, "/", "who may look is shown what phones do");
    let page = site.shown(&cookie, "/setup").await;
    let expected = ("http://192.168.1.20:8000/data".to_owned(), None);
    assert_eq!(links(&page), [expected.clone(), expected.clone(), expected]);
    assert!(page.contains("Anybody in this network may push.") && page.contains("phone add NAME"), "{page}");
    assert!(page.contains("replaces the app's settings") && page.contains("not yet confirmed"), "{page}");
    assert!(state(&page) == "waiting" && page.contains("<a href=\"/setup\">Show the present one</a>"), "{page}");
    assert!(!page.contains("<form"), "it may add no phone: {page}");
    let sensors = |page: &str| -> BTreeSet<String> {
        let link = page.split_once("href=\"sensorlogger").unwrap().1.split_once('"').unwrap().0;
        read(&format!("sensorlogger{link}"))["sensorState"].as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(sensors(&page).len(), 8);
    let fewer = site.shown(&cookie, "/setup?sensors=activity").await;
    assert_eq!(sensors(&fewer), BTreeSet::from(["Accelerometer".to_owned()]));
}

#[tokio::test]
async fn an_iphone_gets_the_name_and_an_android_the_address() {
    let site = Site::new("192.168.1.20:8000", false, None);
    let (cookie, _) = site.enter(Right::Look).await;
    for named in ["gaitway-home.local", "gaitway-home"] {
        site.local.send_replace(Some(named.to_owned()));
        let by_name = ("http://gaitway-home.local:8000/data".to_owned(), None);
        let by_address = ("http://192.168.1.20:8000/data".to_owned(), None);
        let iphone = "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X)";
        for (device, tapped) in [(iphone, &by_name), ("Mozilla/5.0 (Linux; Android 15)", &by_address)] {
            let headers = [("cookie", cookie.as_str()), ("user-agent", device)];
            let page = site.ask("GET", "/setup", &headers, "").await.body;
            assert_eq!(links(&page), [tapped.clone(), by_name.clone(), by_address.clone()], "{device}");
            assert!(page.contains(&by_name.0) && page.contains(&by_address.0), "both can be typed: {page}");
        }
    }
    for (is_https, host, url) in [
        (true, Some("pi.example.org"), "https://pi.example.org:8000/data"),
        (true, None, "https://192.168.1.20:8000/data"),
        (false, Some("pi.example.org"), "http://pi.example.org:8000/data"),
    ] {
        let site = Site::new("192.168.1.20:8000", is_https, host);
        site.local.send_replace(Some("gaitway-home.local".to_owned()));
        let (cookie, _) = site.enter(Right::Look).await;
        let page = site.shown(&cookie, "/setup").await;
        assert!(links(&page).iter().all(|(found, _)| found == url), "{url}: {page}");
    }
}

#[tokio::test]
async fn a_phone_that_comes_by_its_own_link_finds_its_token_there_until_it_is_taken_out_of_force() {
    let site = Site::new("192.168.1.20:8000", false, None);
    let token = site.add("anna");
    let (cookie, path) = site.enter(Right::SetUp(token.clone())).await;
    assert_eq!(path, "/setup");
    for _ in 0..2 {
        let page = site.shown(&cookie, "/setup").await;
        let expected = ("http://192.168.1.20:8000/data".to_owned(), Some(token.reveal().to_owned()));
        assert_eq!(links(&page), [expected.clone(), expected.clone(), expected]);
        assert!(page.contains("data-phone=\"anna\"") && page.contains(&format!("/data/{}<", token.reveal())), "{page}");
        assert!(!page.contains("<form"), "{page}");
    }
    let (other, _) = site.enter(Right::Look).await;
    let page = site.shown(&other, "/setup").await;
    assert!(!page.contains(token.reveal()) && !page.contains(PREFIX) && page.contains("--may-add-phones"), "{page}");
    assert!(!page.contains("id=\"light\"") && !page.contains("id=\"steps\""), "{page}");
    site.phones.change(|phones| phones.revoke("anna")).unwrap().unwrap();
    site.add("anna");
    let page = site.shown(&cookie, "/setup").await;
    assert!(!page.contains(token.reveal()) && page.contains("phone revoke anna"), "{page}");
}

#[tokio::test]
async fn who_may_add_phones_makes_a_token_that_its_browser_sees_again_and_that_is_kept_as_a_hash() {
    let site = Site::new("192.168.1.20:8000", false, None);
    let (cookie, path) = site.enter(Right::AddPhones).await;
    assert_eq!(path, "/setup");
    let page = site.shown(&cookie, "/setup").await;
    assert!(page.contains("<form") && page.contains("pushes without a token are refused"), "{page}");
    assert!(page.find("id=\"add\"") < page.find("class=\"link\"") && page.contains("set up again"), "{page}");
    let mut headers = ORIGINS.to_vec();
    headers.push(("cookie", &cookie));
    let Answer { status, head, body } =
        site.ask("POST", "/setup", &headers, "name=+Ben%27s+phone+&sensors=activity").await;
    assert!(status == StatusCode::SEE_OTHER && !body.contains(PREFIX), "{head} {body}");
    assert!(head.contains("\"location\": \"/setup?sensors=activity\""), "{head}");
    // Phones load a page again when they come back to it from the app.
    let pages = [site.shown(&cookie, "/setup?sensors=activity").await, site.shown(&cookie, "/setup").await];
    let [(url, token), ..] = links(&pages[0]);
    assert_eq!(links(&pages[1])[0], (url.clone(), token.clone()));
    let token = token.unwrap();
    assert_eq!(url, "http://192.168.1.20:8000/data");
    assert!(pages.iter().all(|page| page.contains("Set up Ben's phone") && page.contains("Add another phone")));
    let listed = site.phones.current().unwrap().unwrap();
    assert_eq!(listed.with_token(&token).unwrap().name, "Ben's phone");
    for file in std::fs::read_dir(site.dir.path()).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        assert!(!text.contains(&token), "{text}");
    }
    let (other, _) = site.enter(Right::AddPhones).await;
    let page = site.shown(&other, "/setup").await;
    assert!(!page.contains(&token) && !page.contains(PREFIX) && page.contains("<form"), "{page}");
    assert!(!page.contains("id=\"light\"") && !page.contains("<script"), "no phone is awaited: {page}");
    headers[3] = ("cookie", &other);
    for (form, expected) in [
        ("name=Ben%27s+phone", (StatusCode::CONFLICT, "There is a phone")),
        ("name=+", (StatusCode::BAD_REQUEST, "1 to 64 characters")),
        ("other=x", (StatusCode::BAD_REQUEST, "1 to 64 characters")),
        (&format!("name={}", "x".repeat(LONGEST_FORM)), (StatusCode::BAD_REQUEST, "did not come whole")),
    ] {
        let Answer { status, body, .. } = site.ask("POST", "/setup", &headers, form).await;
        assert!(status == expected.0 && body.contains(expected.1) && !body.contains(PREFIX), "{form}: {status} {body}");
    }
    assert_eq!(site.phones.current().unwrap().unwrap().iter().count(), 1);
}

#[tokio::test]
async fn nothing_that_another_site_sends_and_nobody_without_the_right_adds_a_phone() {
    let site = Site::new("192.168.1.20:8000", false, None);
    let (cookie, _) = site.enter(Right::AddPhones).await;
    let (host, cookie) = (ORIGINS[0], ("cookie", cookie.as_str()));
    for from in [
        &[][..],
        &[("origin", "null")],
        &[("origin", "http://evil.example")],
        &[("origin", "http://192.168.1.20")],
        &[("origin", "http://192.168.1.20:8000"), ("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
    ] {
        let headers = [&[host, cookie], from].concat();
        let Answer { status, body, .. } = site.ask("POST", "/setup", &headers, "name=eve").await;
        assert!(status == StatusCode::FORBIDDEN && body.contains("own form"), "{from:?}: {body}");
    }
    let named = [("host", "evil.example:8000"), cookie, ("origin", "http://evil.example:8000")];
    let Answer { status, .. } = site.ask("POST", "/setup", &named, "name=eve").await;
    assert_eq!(status, StatusCode::MISDIRECTED_REQUEST, "a name that somebody else may have");
    for right in [Right::Look, Right::SetUp(Token::random().unwrap())] {
        let (cookie, _) = site.enter(right).await;
        let headers = [&ORIGINS[..], &[("cookie", &cookie)]].concat();
        let Answer { status, body, .. } = site.ask("POST", "/setup", &headers, "name=eve").await;
        assert!(status == StatusCode::FORBIDDEN && body.contains("may not add"), "{body}");
    }
    assert_eq!(site.phones.current(), Ok(None), "nothing was added");
}

#[tokio::test]
async fn a_list_that_cannot_be_read_shows_no_link() {
    let site = Site::new("192.168.1.20:8000", false, None);
    let (cookie, _) = site.enter(Right::AddPhones).await;
    std::fs::write(site.phones.path(), "{").unwrap();
    let page = site.shown(&cookie, "/setup").await;
    assert!(page.contains("nobody may push") && !page.contains(PREFIX) && !page.contains("id=\"light\""), "{page}");
    let headers = [&ORIGINS[..], &[("cookie", &cookie)]].concat();
    let Answer { status, .. } = site.ask("POST", "/setup", &headers, "name=ben").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
}

#[tokio::test]
async fn a_list_that_cannot_be_written_is_told_and_not_blamed_for_pushes() {
    let site = Site::new("192.168.1.20:8000", false, None);
    let (cookie, _) = site.enter(Right::AddPhones).await;
    std::fs::create_dir(site.phones.unfinished()).unwrap();
    let headers = [&ORIGINS[..], &[("cookie", &cookie)]].concat();
    let Answer { status, body, .. } = site.ask("POST", "/setup", &headers, "name=ben").await;
    assert_eq!(status, StatusCode::INTERNAL_SERVER_ERROR);
    assert!(body.contains("nothing was changed") && !body.contains("nobody may push"), "{body}");
}

#[tokio::test]
async fn an_agent_that_no_phone_reaches_offers_no_code_unless_it_is_told_a_name() {
    let site = Site::new("127.0.0.1:8123", false, None);
    let (cookie, _) = site.enter(Right::AddPhones).await;
    let page = site.shown(&cookie, "/setup").await;
    assert!(
        page.contains("--http 0.0.0.0:8123")
            && !page.contains(PREFIX)
            && !page.contains("<svg")
            && !page.contains("Open the code"),
        "{page}"
    );
    assert!(!page.contains("Anybody"), "{page}");
    let site = Site::new("127.0.0.1:8123", true, Some("pi.example.org"));
    let (cookie, _) = site.enter(Right::AddPhones).await;
    let page = site.shown(&cookie, "/setup").await;
    assert!(links(&page)[0].0 == "https://pi.example.org:8123/data" && !page.contains("--http"), "{page}");
}

#[tokio::test]
async fn a_command_that_is_shown_can_be_pasted() {
    let site = Site::new("192.168.1.20:8000", false, None);
    site.add("other");
    let link = Link { name: "Anna's phone".to_owned(), right: Right::SetUp(Token::random().unwrap()) };
    let (code, _) = readers::invite(site.dir.path(), &link).unwrap();
    let Answer { head, .. } = site.ask("POST", &readers::path(&code), &[], "").await;
    let cookie = head.split_once("\"set-cookie\": \"").unwrap().1.split(';').next().unwrap();
    let page = site.shown(cookie, "/setup").await;
    assert!(page.contains(r"gaitway agent phone revoke 'Anna'\''s phone'<"), "{page}");
}

#[tokio::test]
async fn a_code_s_short_link_leads_to_the_written_one() {
    let site = Site::new("192.168.1.20:8000", false, None);
    let Answer { status, head, .. } = site.ask("GET", "/E/MWM3SVH2G7ZJFSJ3YW83", &[], "").await;
    assert!(
        status == StatusCode::SEE_OTHER && head.contains("\"location\": \"/enter/mwm3svh2g7zjfsj3yw83\""),
        "{head}"
    );
    let Answer { status, head, .. } = site.ask("GET", "/E/%0d%0aset-cookie:%20a=b", &[], "").await;
    assert!(status == StatusCode::FORBIDDEN && !head.contains("a=b"), "{head}");
}

#[test]
fn the_page_and_its_script_say_the_same_words() {
    let script = include_str!("setup.js");
    for said in [
        "Waiting for the phone…",
        "The test push arrived.",
        "It works: what arrives is accepted.",
        "Phone last heard ",
        "Nothing came since. See in the app that the recording runs.",
        "Tap “Tap to Test Pushing” in the app, or start a recording.",
        "Sensor Logger reaches this agent. Now tap “Start Recording” on the Logger page.",
    ] {
        assert!(script.contains(said) && include_str!("light.rs").contains(said), "{said}");
    }
}
