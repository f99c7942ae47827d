use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use gaitway_proto::activity::{Activity, Window};
use http_body_util::BodyExt as _;
use prometheus_client::metrics::counter::Counter;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};
use serde_json::Value;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::problem::PROBLEM;
use super::shape::Status;
use super::*;
use crate::kept::KeptFile;
use crate::phones::PhonesFile;
use crate::recent::Told;
use crate::setup::Setup;
use crate::status::{AgentStatus, Waiting};
use crate::writer::news::{Closing, Heard};

const SECOND: i64 = 1_000_000_000;

/// 2023-11-14T22:13:20Z.
const NOON: i64 = 1_700_000_000 * SECOND;

/// What is shown of `agent` alone.
pub(super) fn status_of(agent: &AgentStatus) -> Status {
    Status::of(None, agent.snapshot(), &agent.uplink.snapshot(), Ok(None), "", Instant::now())
}

/// Ten seconds of walking that end so many slides after [`NOON`].
fn window(slides: i64) -> Window {
    let end = NOON + slides * 2 * SECOND;
    Window {
        start: end - 10 * SECOND,
        end,
        count: slides.unsigned_abs(),
        mean: 3.5,
        activity: Activity::Walking,
        confidence: 0.9,
        revision: 0,
    }
}

/// A push that closed such a window is on the disk.
pub(super) fn push(agent: &AgentStatus, device: &str, slides: i64) {
    let heard = Heard {
        device: device.to_owned(),
        session: "session".to_owned(),
        at: Instant::now(),
        readings: 100,
        running: Some(window(slides + 1)),
        present: Vec::new(),
        closed: vec![closing(window(slides))],
        sent: Vec::new(),
        bins: Vec::new(),
        holes: 0,
        late: 0,
        is_silence: false,
        is_withheld: false,
    };
    agent.tell(vec![heard], 0, Waiting::default());
}

fn closing(window: Window) -> Closing {
    Closing { window, slide: 2 * SECOND, covered: 2 * SECOND }
}

struct Site {
    dir: tempfile::TempDir,
    status: Arc<AgentStatus>,
    router: Router,
    shutdown: CancellationToken,
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let status = Arc::new(AgentStatus::default());
        let page = Arc::new(Page {
            readers: Arc::new(KeptFile::new(dir.path())),
            phones: Arc::new(PhonesFile::new(dir.path())),
            status: Arc::clone(&status),
            agent: watch::channel("home".parse().ok()).1,
            listener: "127.0.0.1:8000".parse().unwrap(),
            flag: String::new(),
            is_https: false,
            setup: Setup::new(None, watch::channel(None).1),
        });
        let (live, shutdown) = (Arc::new(Live::default()), CancellationToken::new());
        let api = Api::new(Arc::clone(&page), Recent::of(dir.path()), Arc::clone(&live), shutdown.clone());
        let router = router(api);
        let stop = shutdown.clone();
        tokio::spawn(async move { live.tell(&page.status, || page.now(), stop).await });
        Self { dir, status, router, shutdown }
    }

    /// Windows of `device` that were closed, with their recordings.
    fn keep(&self, device: &str, windows: impl IntoIterator<Item = (String, Window)>) {
        let (feed, keeper) = Recent::of(self.dir.path()).filled(0.0, Counter::default());
        for (session, window) in windows {
            feed.tell(Told { device: device.to_owned(), session, closed: vec![closing(window)] });
        }
        drop(feed);
        keeper.run().unwrap();
    }

    async fn answer(&self, method: &str, path: &str) -> axum::response::Response {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Status, media type and JSON.
    async fn ask(&self, method: &str, path: &str) -> (StatusCode, String, Value) {
        let response = self.answer(method, path).await;
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, kind, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    async fn get(&self, path: &str) -> Value {
        let (status, kind, shown) = self.ask("GET", path).await;
        assert_eq!((status, kind.as_str()), (StatusCode::OK, "application/json"), "{path}: {shown}");
        shown
    }
}

fn encoded(device: &str) -> String {
    device.bytes().fold(String::new(), |text, byte| text + &format!("%{byte:02X}"))
}

#[tokio::test]
async fn what_goes_wrong_is_a_problem() {
    let site = Site::new();
    for (method, path, status, told) in [
        ("GET", "/api", 404, "openapi.json lists"),
        ("GET", "/api/", 404, "openapi.json lists"),
        ("GET", "/api/v1", 404, "openapi.json lists"),
        ("GET", "/api/v2/status", 404, "openapi.json lists"),
        ("POST", "/api/v1/nothing", 404, "openapi.json lists"),
        ("GET", "/api/v1/phones/", 404, "openapi.json lists"),
        ("GET", "/api/v1/phones/nobody", 404, "\"nobody\""),
        ("GET", "/api/v1/phones/nobody/windows", 404, "\"nobody\""),
        ("GET", "/api/v1/phones/nobody/activities", 404, "\"nobody\""),
        ("GET", "/api/v1/phones/nobody/windows?limit=x", 400, "whole number"),
        ("GET", "/api/v1/phones/nobody/activities?limit=5", 400, "from and to"),
        ("GET", "/api/v1/phones/%FF", 400, "UTF-8"),
        ("POST", "/api/v1/status", 405, "GET or HEAD"),
        ("OPTIONS", "/api/v1/events", 405, "GET or HEAD"),
        ("DELETE", "/api/v1/phones/nobody", 405, "GET or HEAD"),
    ] {
        let (answered, kind, problem) = site.ask(method, path).await;
        assert_eq!((answered.as_u16(), kind.as_str()), (status, PROBLEM), "{method} {path}: {problem}");
        assert_eq!((&problem["type"], &problem["status"]), (&"about:blank".into(), &status.into()), "{path}");
        assert_eq!(problem["title"], answered.canonical_reason().unwrap(), "{path}");
        assert!(problem["detail"].as_str().unwrap().contains(told), "{method} {path}: {problem}");
    }
    assert_eq!(site.answer("PUT", "/api/v1/phones").await.headers()["allow"], "GET,HEAD");
}

#[tokio::test]
async fn what_is_asked_is_answered_and_heads_alone_as_well() {
    let site = Site::new();
    let status = site.get("/api/v1/status").await;
    assert_eq!(
        (&status["agent"], &status["isOpen"], &status["phones"]),
        (&"home".into(), &true.into(), &Value::Array(vec![]))
    );
    assert_eq!(site.get("/api/v1/phones?whatever=1").await, serde_json::json!({"phones": []}));
    assert!(site.get("/api/v1/openapi.json").await["openapi"].as_str().unwrap().starts_with("3.1."));
    for path in ["/api/v1/status", "/api/v1/phones", "/api/v1/openapi.json", "/api/v1/events"] {
        let response = site.answer("HEAD", path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        assert!(response.into_body().collect().await.unwrap().to_bytes().is_empty(), "{path}");
    }
}

#[tokio::test]
async fn pages_give_every_window_once_though_recordings_end_together() {
    let site = Site::new();
    let device = "a/b ?#%ä\u{0}\"";
    let of_slide = |slides| (0..[1, 3, 2][slides as usize % 3]).map(move |n| (format!("session-{n}"), window(slides)));
    site.keep(device, (0..40).flat_map(of_slide));
    site.keep("other", [("session".to_owned(), window(7))]);
    for limit in [1, 2, 3, 4, 7, 100] {
        let (mut found, mut from) = (Vec::new(), "2023-11-14T22:13:20Z".to_owned());
        loop {
            let path = format!("/api/v1/phones/{}/windows?limit={limit}&from={from}", encoded(device));
            let page = site.get(&path).await;
            let windows = page["windows"].as_array().unwrap();
            assert!(!windows.is_empty() && windows.len() < limit + 3, "{path}: {page}");
            found.extend(windows.iter().map(|window| (window["end"].to_string(), window["sessionId"].to_string())));
            match page["next"].as_str() {
                Some(next) => next.clone_into(&mut from),
                None => break,
            }
        }
        assert_eq!(found.len(), 79, "by {limit}");
        let mut once = found.clone();
        once.dedup();
        assert!(once == found && found.is_sorted_by_key(|(end, _)| end.len()), "{found:?}");
    }
    let newest = site.get(&format!("/api/v1/phones/{}/windows", encoded(device))).await;
    let last = newest["windows"].as_array().unwrap().last().unwrap();
    assert_eq!(last["end"], "2023-11-14T22:14:38Z", "the last that the phone has");
    let shown = serde_json::json!({
        "start": "2023-11-14T22:13:24Z", "end": "2023-11-14T22:13:34Z", "samples": 7, "magnitude": 3.5,
        "activity": "walking", "confidence": 0.9, "sessionId": "session"
    });
    assert_eq!(site.get("/api/v1/phones/other/windows").await["windows"], Value::Array(vec![shown]));
}

#[tokio::test]
async fn activities_of_a_span_are_told_with_their_sums() {
    let site = Site::new();
    let running = Window { activity: Activity::Running, ..window(5) };
    site.keep("phone", [window(1), running].map(|window| ("session".to_owned(), window)));
    let path = "/api/v1/phones/phone/activities?from=2023-11-14T22:00:00Z&to=2023-11-14T23:00:00Z";
    let shown = site.get(path).await;
    assert_eq!(
        shown["seconds"],
        serde_json::json!({"stationary": 0.0, "walking": 2.0, "running": 2.0, "sprinting": 0.0})
    );
    assert_eq!(
        shown["activities"][1],
        serde_json::json!({
            "activity": "running", "start": "2023-11-14T22:13:28Z", "end": "2023-11-14T22:13:30Z", "confidence": 0.9
        })
    );
    let path = "/api/v1/phones/phone/activities?from=2023-11-14T22:13:21.5Z&to=2023-11-14T22:13:20.5Z";
    assert_eq!(site.get(path).await["activities"], Value::Array(vec![]), "nothing is between");
    let today = site.get("/api/v1/phones/phone/activities").await;
    assert_eq!(today["activities"], Value::Array(vec![]), "years have passed since");
}

#[tokio::test]
async fn of_a_phone_that_was_heard_before_the_start_it_is_said_where_its_windows_are() {
    let site = Site::new();
    site.keep("phone", [("session".to_owned(), window(1))]);
    let (status, kind, told) = site.ask("GET", "/api/v1/phones/phone").await;
    assert_eq!((status, kind.as_str()), (StatusCode::NOT_FOUND, PROBLEM));
    let detail = told["detail"].as_str().unwrap();
    assert!(
        detail.contains("\"phone\" was not heard since the agent's start") && detail.contains("/windows"),
        "{detail}"
    );
    push(&site.status, "phone", 3);
    assert_eq!(site.get("/api/v1/phones/phone").await["deviceId"], "phone");
}

/// What comes next.
async fn next(body: &mut Body) -> Option<String> {
    let frame = tokio::time::timeout(Duration::from_secs(60), body.frame()).await.expect("something comes in time")?;
    Some(String::from_utf8(frame.unwrap().into_data().unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn viewers_hear_the_status_at_once_and_pushes_as_they_come_until_the_end() {
    let site = Site::new();
    let response = site.answer("GET", "/api/v1/events").await;
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    assert_eq!(response.headers()["x-accel-buffering"], "no");
    let mut body = response.into_body();
    assert_eq!(next(&mut body).await.unwrap(), "retry: 2000\n\n");
    let status = next(&mut body).await.unwrap();
    let data = status.strip_prefix("event: status\ndata: ").and_then(|rest| rest.strip_suffix("\n\n")).unwrap();
    assert_eq!(serde_json::from_str::<Value>(data).unwrap()["agent"], "home");
    push(&site.status, "two\nlines", 3);
    let motion = loop {
        let told = next(&mut body).await.unwrap();
        if told.starts_with("event: motion\n") {
            break told;
        }
    };
    let data = motion.strip_prefix("event: motion\ndata: ").and_then(|rest| rest.strip_suffix("\n\n")).unwrap();
    assert!(!data.contains('\n'), "{motion}");
    let motion: Value = serde_json::from_str(data).unwrap();
    assert_eq!((&motion["deviceId"], &motion["closed"][0]["samples"]), (&"two\nlines".into(), &3.into()));
    site.shutdown.cancel();
    while next(&mut body).await.is_some() {}
}

#[tokio::test]
async fn who_finds_no_place_is_told_and_comes_again() {
    let site = Site::new();
    let mut viewers = Vec::new();
    for _ in 0..viewers::OF_ONE {
        viewers.push(site.answer("GET", "/api/v1/events").await);
    }
    assert!(viewers.iter().all(|viewer| viewer.status() == StatusCode::OK));
    let refused = site.answer("GET", "/api/v1/events").await;
    assert_eq!(
        (refused.status(), &refused.headers()["retry-after"]),
        (StatusCode::TOO_MANY_REQUESTS, &"10".parse().unwrap())
    );
    viewers.pop();
    assert_eq!(site.answer("GET", "/api/v1/events").await.status(), StatusCode::OK);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn whatever_is_asked_is_answered_in_json(
        device in any::<String>(),
        below in "(/windows|/activities|)",
        name in "(from|to|limit)",
        query in "[ -~]{0,40}",
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let site = Site::new();
            site.keep(&device, [("session".to_owned(), window(3))]);
            let query: String = form_urlencoded::byte_serialize(query.as_bytes()).collect();
            let path = format!("/api/v1/phones/{}{below}?{name}={query}", encoded(&device));
            let (status, kind, shown) = site.ask("GET", &path).await;
            prop_assert!(!status.is_server_error(), "{} {}", path, shown);
            prop_assert_eq!(&kind, if status == StatusCode::OK { "application/json" } else { PROBLEM });
            prop_assert!(shown.is_object());
            Ok(())
        })?;
    }
}
