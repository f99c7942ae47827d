//! The door for phones: what is answered with which status and sentence.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::io::Write as _;

use axum::body::Body;
use axum::http::{Method, Request, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use gaitway_agent::ingest::Refusal;
use gaitway_agent::ingest::http::{Door, router};
use gaitway_agent::metrics::AgentMetrics;
use gaitway_agent::writer::{Accepted, Command};
use gaitway_proto::limits;
use http_body_util::BodyExt as _;
use tokio::sync::mpsc;
use tower::ServiceExt as _;

const PUSH: &str = r#"{"messageId":1,"deviceId":"d","sessionId":"s","payload":[{"name":"a","time":1,"values":{}}]}"#;

/// A door whose writer answers every push with `answer`.
fn door(answer: Result<Accepted, Refusal>) -> axum::Router {
    let (writer, mut commands) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            let Command::Push(_, to) = command else { panic!("the door only pushes") };
            to.send(answer.clone()).unwrap();
        }
    });
    router(Door { writer, metrics: AgentMetrics::default() })
}

fn open() -> axum::Router {
    door(Ok(Accepted { readings: 1, duplicate: false }))
}

async fn send(router: axum::Router, request: Request<Body>) -> (u16, String) {
    let response = router.oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn push(router: axum::Router, body: impl Into<Body>) -> (u16, String) {
    send(router, Request::post("/data").body(body.into()).unwrap()).await
}

#[tokio::test]
async fn both_paths_take_pushes() {
    for path in ["/data", "/sensor-data"] {
        let request = Request::post(path).body(Body::from(PUSH)).unwrap();
        assert_eq!(send(open(), request).await, (200, r#"{"status":"success","processed_readings":1}"#.to_owned()));
    }
}

#[tokio::test]
async fn the_test_button_is_answered_and_nothing_reaches_the_writer() {
    let (writer, mut commands) = mpsc::channel(1);
    let router = router(Door { writer, metrics: AgentMetrics::default() });
    let test = r#"{"messageId":0,"sessionId":"s","deviceId":"d","payload":[{"name":"test","time":0,"values":[]}]}"#;
    assert_eq!(push(router, test).await.0, 200);
    assert!(commands.try_recv().is_err());
}

#[tokio::test]
async fn what_is_no_push_is_answered_400_with_a_sentence() {
    for (body, sentence) in [("nope", "not JSON"), ("{}", "no deviceId"), (r#"{"deviceId":"d"}"#, "no sessionId")] {
        let (status, answer) = push(open(), body).await;
        assert_eq!(status, 400, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "error");
        assert!(answer["message"].as_str().unwrap().contains(sentence), "{answer}");
    }
}

#[tokio::test]
async fn what_is_over_the_limits_is_answered_413() {
    let (status, answer) = push(open(), vec![b' '; limits::MAX_BODY + 1]).await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer.contains("the body is above the limit"), "{answer}");
}

#[tokio::test]
async fn a_gzip_body_is_decoded_up_to_the_limit() {
    let gzip = |plain: &[u8]| {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    };
    let encoded = |body: Vec<u8>, encoding: &str| {
        Request::post("/data").header(header::CONTENT_ENCODING, encoding).body(Body::from(body)).unwrap()
    };
    assert_eq!(send(open(), encoded(gzip(PUSH.as_bytes()), "gzip")).await.0, 200);
    let bomb = gzip(&vec![b' '; 4 * limits::MAX_BODY]);
    assert!(bomb.len() < limits::MAX_BODY / 10);
    assert_eq!(send(open(), encoded(bomb, "gzip")).await.0, 413);
    assert_eq!(send(open(), encoded(PUSH.into(), "gzip")).await.0, 400);
    assert_eq!(send(open(), encoded(PUSH.into(), "br")).await.0, 400);
}

#[tokio::test]
async fn what_the_phones_owner_must_act_on_is_answered_499_in_plain_text() {
    let full = "The agent's disk is nearly full.";
    let (status, answer) = push(door(Err(Refusal::NoRoom(full.to_owned()))), PUSH).await;
    assert_eq!((status, answer.as_str()), (499, full));
}

#[tokio::test]
async fn without_a_writer_the_phone_is_asked_to_push_again() {
    let (writer, _) = mpsc::channel(1);
    let router = router(Door { writer, metrics: AgentMetrics::default() });
    assert_eq!(push(router, PUSH).await.0, StatusCode::SERVICE_UNAVAILABLE.as_u16());
}

#[tokio::test]
async fn a_browser_is_told_what_the_address_is_for() {
    let request = Request::builder().method(Method::GET).uri("/data").body(Body::empty()).unwrap();
    let (status, answer) = send(open(), request).await;
    assert_eq!(status, 405);
    assert!(answer.contains("Sensor Logger pushes to this address"), "{answer}");
}
