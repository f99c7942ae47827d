//! The door for phones: what is answered with which status and sentence.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Method, Request, StatusCode, header};
use flate2::Compression;
use flate2::write::GzEncoder;
use gaitway_agent::config::LimitsConfig;
use gaitway_agent::ingest::Refusal;
use gaitway_agent::ingest::http::{self, Door, Quotas, router};
use gaitway_agent::metrics::AgentMetrics;
use gaitway_agent::names::Names;
use gaitway_agent::phones::{PhonesFile, Token};
use gaitway_agent::writer::{Accepted, Command};
use gaitway_proto::limits;
use http_body_util::BodyExt as _;
use hyper::body::Frame;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

const PUSH: &str = r#"{"messageId":1,"deviceId":"d","sessionId":"s","payload":[{"name":"a","time":1,"values":{}}]}"#;

/// A body that does not say how long it is.
struct Pieces {
    rest: VecDeque<Bytes>,
    ends: bool,
}

impl Pieces {
    fn of(body: &[u8], each: usize) -> Self {
        Self { rest: body.chunks(each).map(Bytes::copy_from_slice).collect(), ends: true }
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = std::io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        match self.rest.pop_front() {
            Some(piece) => Poll::Ready(Some(Ok(Frame::data(piece)))),
            None if self.ends => Poll::Ready(None),
            None => Poll::Pending,
        }
    }
}

/// A body of which nothing ever comes.
fn endless() -> Body {
    Body::new(Pieces { rest: VecDeque::new(), ends: false })
}

/// A door without a list of phones.
fn door_of(writer: mpsc::Sender<Command>) -> Door {
    Door {
        writer,
        metrics: AgentMetrics::default(),
        status: Arc::default(),
        phones: Arc::new(PhonesFile::new(Path::new("there is no such folder"))),
        quotas: Quotas::new(&LimitsConfig::default()),
        names: Names::default(),
    }
}

/// A door whose writer answers every push with `answer`.
fn door(answer: Result<Accepted, Refusal>) -> axum::Router {
    let (writer, mut commands) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(command) = commands.recv().await {
            let Command::Push(_, to) = command else { panic!("the door only pushes") };
            to.send(answer.clone()).unwrap();
        }
    });
    router(door_of(writer))
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
    let router = router(door_of(writer));
    let test = r#"{"messageId":0,"sessionId":"s","deviceId":"d","payload":[{"name":"test","time":0,"values":[]}]}"#;
    assert_eq!(push(router, test).await.0, 200);
    assert!(commands.try_recv().is_err());
}

#[tokio::test]
async fn what_is_no_push_is_answered_400_with_a_sentence() {
    let deep = "[".repeat(100_000);
    for (body, sentence) in [
        ("", "not JSON"),
        (" ", "not JSON"),
        ("nope", "not JSON"),
        ("{\"deviceId\":\"d", "not JSON"),
        ("{} {}", "not JSON"),
        ("{\"deviceId\":NaN}", "not JSON"),
        ("{\"deviceId\":\"d\",\"sessionId\":\"s\",\"payload\":[{\"values\":{\"x\":Infinity}}]}", "not JSON"),
        ("{\"deviceId\":\"d\",\"sessionId\":\"s\",\"payload\":[{\"values\":{\"x\":-NaN}}]}", "not JSON"),
        ("{\"deviceId\":\"\\ud800\"}", "not JSON"),
        ("{'deviceId':'d'}", "not JSON"),
        ("{}", "no deviceId"),
        ("[]", "not an object"),
        ("7", "not an object"),
        ("\"text\"", "not an object"),
        ("null", "not an object"),
        (r#"{"deviceId":"d"}"#, "no sessionId"),
        (r#"{"deviceId":"d","sessionId":""}"#, "no sessionId"),
        (r#"{"deviceId":7,"sessionId":"s"}"#, "no deviceId"),
        (r#"{"deviceId":["d"],"sessionId":"s"}"#, "no deviceId"),
        (r#"{"deviceId":"d","sessionId":null}"#, "no sessionId"),
    ] {
        let (status, answer) = push(open(), body.to_owned()).await;
        assert_eq!(status, 400, "{body}");
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(answer["status"], "error");
        assert!(answer["message"].as_str().unwrap().contains(sentence), "{body}: {answer}");
    }
    let (status, answer) = push(open(), b"\xff\xfe{}".to_vec()).await;
    assert_eq!(status, 400, "{answer}");
    let (status, answer) = push(open(), deep).await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer.contains("nesting"), "{answer}");
}

#[tokio::test]
async fn what_is_over_the_limits_is_answered_413() {
    let (status, answer) = push(open(), vec![b' '; limits::MAX_BODY + 1]).await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer.contains("the body is above the limit"), "{answer}");
    for key in ["deviceId", "sessionId", "userId"] {
        let long = PUSH.replacen('{', &format!(r#"{{"userId":"u","{key}":"{}","#, "i".repeat(limits::MAX_ID + 1)), 1);
        // The last of duplicate keys wins.
        let long = long.replace(&format!(r#","{key}":"{}""#, &key[..1]), "");
        let (status, answer) = push(open(), long).await;
        assert_eq!(status, 413, "{key}: {answer}");
        assert!(answer.contains(key) && !answer.contains("iii"), "{answer}");
    }
    for deep in ["[".repeat(100_000), "{\"a\":".repeat(100_000)] {
        let nested = PUSH.replacen("\"values\":{}", &format!("\"values\":{{\"x\":{deep}"), 1);
        let (status, answer) = push(open(), nested).await;
        assert_eq!(status, 413, "{answer}");
        assert!(answer.contains("nesting"), "{answer}");
    }
}

#[tokio::test]
async fn what_would_take_far_more_memory_than_its_bytes_is_answered_413() {
    let nested = PUSH.replacen("\"values\":{}", &format!("\"values\":{{\"x\":[{}0]}}", "0,".repeat(300_000)), 1);
    let (status, answer) = push(open(), nested).await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer.contains("nested in one field"), "{answer}");
    let rows = format!(r#"{{"deviceId":"d","sessionId":"s","payload":[{}0]}}"#, "0,".repeat(300_000));
    let (status, answer) = push(open(), rows).await;
    assert_eq!(status, 413, "{answer}");
    assert!(answer.contains("the number of readings"), "{answer}");
}

#[tokio::test]
async fn a_body_without_a_length_is_taken_up_to_the_limit() {
    assert_eq!(push(open(), Body::new(Pieces::of(PUSH.as_bytes(), 7))).await.0, 200);
    let large = vec![b' '; limits::MAX_BODY + 1];
    assert_eq!(push(open(), Body::new(Pieces::of(&large, 64 * 1024))).await.0, 413);
}

#[tokio::test]
async fn valid_json_of_odd_types_is_kept_and_answered_200() {
    for odd in [
        r#"{"deviceId":"d","sessionId":"s"}"#,
        r#"{"deviceId":"d","sessionId":"s","payload":[]}"#,
        r#"{"deviceId":"d","sessionId":"s","payload":null}"#,
        r#"{"deviceId":"d","sessionId":"s","payload":7}"#,
        r#"{"deviceId":"d","sessionId":"s","payload":[7,null,"x",[]]}"#,
        r#"{"deviceId":"d","sessionId":"s","messageId":-1,"payload":[{"name":"a","time":1,"values":{}}]}"#,
        r#"{"deviceId":"d","sessionId":"s","messageId":1.5,"payload":[{"name":"a","time":1,"values":{}}]}"#,
        r#"{"deviceId":"d","sessionId":"s","messageId":1e300,"payload":[{"name":"a","time":1,"values":{}}]}"#,
        r#"{"deviceId":"d","sessionId":"s","messageId":"1","payload":[{"name":"a","time":1,"values":{}}]}"#,
        r#"{"deviceId":"d","sessionId":"s","messageId":99999999999999999999999,"userId":7,"payload":[]}"#,
        r#"{"deviceId":"d","sessionId":"s","payload":[{"name":"a","time":1e999,"values":{"x":1e999,"y":-1e999,"z":"NaN"}}]}"#,
        r#"{"deviceId":"d","sessionId":"s","payload":[{"name":7,"time":"x","values":[1,2],"accuracy":{}}]}"#,
    ] {
        let (status, answer) = push(open(), odd).await;
        assert_eq!(status, 200, "{odd}: {answer}");
    }
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
    let whole = gzip(PUSH.as_bytes());
    assert_eq!(send(open(), encoded(whole.clone(), "gzip")).await.0, 200);
    let (one, other) = PUSH.as_bytes().split_at(20);
    let members = [gzip(one), gzip(b""), gzip(other)].concat();
    assert_eq!(send(open(), encoded(members, "gzip")).await.0, 200);
    let bomb = gzip(&vec![b' '; 4 * limits::MAX_BODY]);
    assert!(bomb.len() < limits::MAX_BODY / 10);
    assert_eq!(send(open(), encoded(bomb, "gzip")).await.0, 413);
    let many = gzip(&vec![b' '; 1 << 20]).repeat(9);
    assert_eq!(send(open(), encoded(many, "gzip")).await.0, 413);
    let mut flipped = whole.clone();
    let checksum = flipped.len() - 5;
    flipped[checksum] ^= 1;
    for broken in [PUSH.into(), whole[..whole.len() - 9].to_vec(), [&whole[..], b"more"].concat(), flipped, Vec::new()]
    {
        assert_eq!(send(open(), encoded(broken, "gzip")).await.0, 400);
    }
    for encoding in ["br", "deflate", "gzip, gzip"] {
        let (status, answer) = send(open(), encoded(PUSH.into(), encoding)).await;
        assert_eq!(status, 415);
        assert!(answer.contains(encoding) && answer.contains("must be gzip"), "{answer}");
    }
}

#[tokio::test]
async fn what_no_phone_sends_is_refused_before_its_body_is_read() {
    let kind = |kind: &str| Request::post("/data").header(header::CONTENT_TYPE, kind);
    let (status, answer) = send(open(), kind("text/plain;charset=UTF-8").body(endless()).unwrap()).await;
    assert_eq!(status, 415);
    assert!(answer.contains("text/plain;charset=UTF-8") && answer.contains("application/json"), "{answer}");
    let foreign = kind("application/json").header(header::ORIGIN, "https://evil.example");
    let (status, answer) = send(open(), foreign.body(endless()).unwrap()).await;
    assert_eq!(status, 403);
    assert!(answer.contains("https://evil.example"), "{answer}");
    let json = kind("application/json; charset=utf-8").body(Body::from(PUSH)).unwrap();
    assert_eq!(send(open(), json).await.0, 200);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_takes_too_long_is_answered_408() {
    let (status, answer) = push(open(), endless()).await;
    assert_eq!(status, 408);
    assert!(answer.contains("did not arrive within 30 s"), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_push_that_finds_no_room_for_its_body_is_asked_to_come_again() {
    let router = open();
    // Without a length each may have the greatest body: four fill the room for as long as they may take, four wait.
    let slow: Vec<_> = (0..8).map(|_| tokio::spawn(push(router.clone(), endless()))).collect();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(push(router.clone(), PUSH).await.0, 200, "the push of a second needs no room");
    let large = PUSH.replace("}}]}", &format!("}}}}]{}}}", " ".repeat(64 * 1024)));
    let (status, answer) = push(router.clone(), large.clone()).await;
    assert_eq!(status, 503);
    assert!(answer.contains("busy with other pushes"), "{answer}");
    for slow in slow {
        assert_eq!(slow.await.unwrap().0, 408);
    }
    assert_eq!(push(router, large).await.0, 200);
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
    let router = router(door_of(writer));
    assert_eq!(push(router, PUSH).await.0, StatusCode::SERVICE_UNAVAILABLE.as_u16());
}

#[tokio::test]
async fn a_browser_is_told_what_the_address_is_for() {
    let request = Request::builder().method(Method::GET).uri("/data").body(Body::empty()).unwrap();
    let (status, answer) = send(open(), request).await;
    assert_eq!(status, 405);
    assert!(answer.contains("Sensor Logger pushes to this address"), "{answer}");
    for method in [Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::PATCH] {
        let request = Request::builder().method(method).uri("/data").body(Body::empty()).unwrap();
        let response = open().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 405);
        assert_eq!(response.headers()[header::ALLOW], "POST");
        assert!(!response.headers().contains_key(header::ACCESS_CONTROL_ALLOW_ORIGIN));
    }
    let elsewhere = Request::get("/favicon.ico").body(Body::empty()).unwrap();
    assert_eq!(send(open(), elsewhere).await.0, 404);
}

#[tokio::test]
async fn once_there_is_a_list_only_its_phones_push_and_the_others_are_told_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let phones = Arc::new(PhonesFile::new(dir.path()));
    let (writer, mut commands) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(Command::Push(_, to)) = commands.recv().await {
            to.send(Ok(Accepted { readings: 1, duplicate: false })).unwrap();
        }
    });
    let door = router(Door { phones: phones.clone(), ..door_of(writer) });
    let push = async |path: &str, authorization: Option<&str>, device: &str| {
        let body = PUSH.replace("\"d\"", &format!("\"{device}\""));
        let mut request = Request::post(path);
        if let Some(value) = authorization {
            request = request.header(header::AUTHORIZATION, value);
        }
        send(door.clone(), request.body(Body::from(body)).unwrap()).await
    };
    assert_eq!(push("/data", None, "d").await.0, 200, "the door is open");
    let token = Token::random().unwrap();
    phones.change(|phones| phones.add("anna", &token, String::new())).unwrap().unwrap();
    let (with_token, bearer) = (format!("/data/{}", token.reveal()), format!("Bearer {}", token.reveal()));

    let (status, said) = push("/data", None, "d").await;
    assert!(status == 499 && said.contains("gaitway agent phone add"), "{status} {said}");
    let (status, said) = push("/data/0123456789abcdefghjk", None, "d").await;
    assert!(status == 499 && said.contains("not in force"), "{status} {said}");
    assert_eq!(push("/data", Some(&bearer), "d").await.0, 200);
    for path in [with_token.clone(), with_token.replace("/data", "/sensor-data")] {
        assert_eq!(push(&path, None, "d").await.0, 200, "{path}");
    }
    let (status, said) = push(&with_token, None, "e").await;
    assert!(status == 499 && said.contains("another phone, \"anna\""), "{status} {said}");
    assert!(!said.contains(token.reveal()));

    phones.change(|phones| phones.revoke("anna")).unwrap().unwrap();
    assert_eq!(push(&with_token, None, "d").await.0, 499, "the last one was revoked: nobody may push");
    std::fs::write(phones.path(), "{").unwrap();
    let (status, said) = push(&with_token, None, "d").await;
    assert!(status == 499 && !said.contains("phones.json"), "{status} {said}");
}

#[tokio::test]
async fn who_pushes_more_than_one_phone_can_is_told_when_to_come_again_and_the_others_go_on() {
    let (writer, mut commands) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Some(Command::Push(_, to)) = commands.recv().await {
            to.send(Ok(Accepted { readings: 1, duplicate: false })).unwrap();
        }
    });
    let dir = tempfile::tempdir().unwrap();
    let phones = Arc::new(PhonesFile::new(dir.path()));
    let limits = LimitsConfig { pushes_per_second: 0.1, ..LimitsConfig::default() };
    let quotas = Quotas::new(&limits).for_all();
    let door = Door { phones: phones.clone(), quotas, ..door_of(writer) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let serving = tokio::spawn(http::serve(listener, router(door), None, shutdown.clone()));
    let push = async |from: [u8; 4], path: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        let mut stream = socket.connect(address).await.unwrap();
        let length = PUSH.len();
        let head = format!("POST {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n");
        stream.write_all(format!("{head}{PUSH}").as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    // A minute's worth at once.
    for _ in 0..6 {
        assert!(push([127, 0, 0, 2], "/data").await.starts_with("HTTP/1.1 200 "));
    }
    let refused = push([127, 0, 0, 2], "/data").await;
    assert!(refused.starts_with("HTTP/1.1 429 ") && refused.contains("too many pushes come from here"), "{refused}");
    let again = refused.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((1..=11).contains(&again.parse::<u64>().unwrap()), "{refused}");
    assert!(push([127, 0, 0, 3], "/data").await.starts_with("HTTP/1.1 200 "), "another address");

    let [anna, ben] = ["anna", "ben"].map(|name| {
        let token = Token::random().unwrap();
        phones.change(|phones| phones.add(name, &token, String::new())).unwrap().unwrap();
        format!("/data/{}", token.reveal())
    });
    for _ in 0..6 {
        assert!(push([127, 0, 0, 2], &anna).await.starts_with("HTTP/1.1 200 "));
    }
    for from in [[127, 0, 0, 2], [127, 0, 0, 4]] {
        assert!(push(from, &anna).await.starts_with("HTTP/1.1 429 "), "a token counts wherever it comes from");
    }
    assert!(push([127, 0, 0, 2], &ben).await.starts_with("HTTP/1.1 200 "));
    shutdown.cancel();
    serving.await.unwrap().unwrap();
}
