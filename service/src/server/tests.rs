use std::convert::Infallible;

use axum::Extension;
use axum::body::Body;
use axum::http::HeaderMap;
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::wire::HANDSHAKE;
use super::*;
use crate::tls::Pair;

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n";

struct Served {
    address: SocketAddr,
    shutdown: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

async fn served(connections: usize) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let echo = |headers: HeaderMap, body: String| async move { format!("{} {body}", headers.len()) };
    let slow = async || {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "slow\n"
    };
    let router = Router::new()
        .route("/", get(async || "ok\n"))
        .route("/slow", get(slow))
        .route("/echo", post(echo))
        .route("/short", get(short))
        .route("/stream", get(streamed));
    let task = tokio::spawn(serve(listener, router, Allowance { connections, share: 1 }, None, shutdown.clone()));
    Served { address, shutdown, task }
}

/// A line, and another half a second later.
async fn short(Extension(caller): Extension<Caller>) -> Body {
    let lines = futures_util::stream::unfold((Some(caller), None), |(caller, answering)| async move {
        let Some(caller) = caller else {
            tokio::time::sleep(Duration::from_millis(500)).await;
            return answering.map(|_: Answering| (Ok("the end\n"), (None, None)));
        };
        Some((Ok::<_, Infallible>("the beginning\n"), (None, Some(caller.answering()))))
    });
    Body::from_stream(lines)
}

/// Twenty lines, ten seconds apart.
async fn streamed(Extension(caller): Extension<Caller>) -> Body {
    let lines = futures_util::stream::unfold((0, Some(caller), None), |(n, caller, answering)| async move {
        let answering = answering.or_else(|| caller.map(Caller::answering));
        tokio::time::sleep(Duration::from_secs(10)).await;
        (n < 20).then(|| (Ok::<_, Infallible>(format!("line {n}\n")), (n + 1, None, answering)))
    });
    Body::from_stream(lines)
}

async fn connected(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.unwrap()
}

/// Everything until the other side ends it.
async fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let _ = stream.read_to_end(&mut text).await;
    String::from_utf8(text).unwrap()
}

/// What comes within one read.
async fn some(stream: &mut TcpStream) -> String {
    let mut text = vec![0; 4096];
    let n = stream.read(&mut text).await.unwrap();
    String::from_utf8_lossy(&text[..n]).into_owned()
}

async fn sends(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = connected(address).await;
    // It may be answered and closed before it has sent everything.
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    rest(&mut stream).await
}

#[test]
fn a_listener_on_every_address_is_reached_by_loopback() {
    for (listener, reached) in
        [("0.0.0.0:1883", "127.0.0.1:1883"), ("[::]:1883", "[::1]:1883"), ("192.168.1.9:80", "192.168.1.9:80")]
    {
        assert_eq!(reachable(listener.parse().unwrap()), reached.parse().unwrap());
    }
}

#[tokio::test]
async fn what_is_no_request_is_answered_with_its_status() {
    let served = served(8).await;
    let flood = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(1000));
    let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "b".repeat(1 << 20));
    let url = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(70_000));
    let cases: [(&[u8], &[&str]); 9] = [
        (b"\r\n\r\n\x00\x01\x02garbage\r\n\r\n", &["400"]),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", &["400"]),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &["505"]),
        (b"POST /echo HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\nabcde", &["400"]),
        (b"POST /echo HTTP/1.1\r\nContent-Length: -3\r\n\r\nabc", &["400"]),
        (b"POST /echo HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\nabc", &["400"]),
        (flood.as_bytes(), &["431"]),
        (long.as_bytes(), &["431"]),
        (url.as_bytes(), &["414", "431"]),
    ];
    for (request, statuses) in cases {
        let answer = sends(served.address, request).await;
        let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or_default();
        let shown = String::from_utf8_lossy(&request[..request.len().min(60)]).into_owned();
        assert!(statuses.contains(&status), "{shown:?}: {answer}");
    }
}

#[tokio::test]
async fn a_length_beside_chunks_smuggles_nothing() {
    let served = served(8).await;
    let both = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n\
                 0\r\n\r\nGET /slow HTTP/1.1\r\nHost: x\r\n\r\n";
    let answer = sends(served.address, both).await;
    assert!(!answer.contains("slow"), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_their_order() {
    let served = served(8).await;
    let slow = "GET /slow HTTP/1.1\r\nHost: x\r\n\r\n";
    let last = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    let answer = sends(served.address, format!("{slow}{}{slow}{last}", String::from_utf8_lossy(GET)).as_bytes()).await;
    let bodies: Vec<_> = answer.lines().filter(|line| matches!(*line, "ok" | "slow")).collect();
    assert_eq!(bodies, ["slow", "ok", "slow", "ok"], "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_takes_too_long_is_answered_408_and_a_silent_connection_is_closed() {
    let served = served(8).await;
    let (mut slow, mut silent, mut served_once) =
        (connected(served.address).await, connected(served.address).await, connected(served.address).await);
    slow.write_all(b"GET / HT").await.unwrap();
    served_once.write_all(GET).await.unwrap();
    assert!(some(&mut served_once).await.starts_with("HTTP/1.1 200 "));
    let began = Instant::now();
    let answer = rest(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("must arrive within 10 s"), "{answer}");
    assert!((10..15).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
    assert_eq!(rest(&mut served_once).await, "");
    assert!(rest(&mut silent).await.starts_with("HTTP/1.1 408 "));
    assert!((75..80).contains(&began.elapsed().as_secs()), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_goes_on_keeps_its_place_until_its_end() {
    let served = served(2).await;
    let mut follower = connected(served.address).await;
    follower.write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let mut told = some(&mut follower).await;
    let began = Instant::now();
    for second in 0..40 {
        // Others come and go meanwhile, and one stays.
        let asks = if second % 2 == 0 { GET } else { b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" };
        let mut other = connected(served.address).await;
        other.write_all(asks).await.unwrap();
        some(&mut other).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    while !told.contains("line 19") {
        let more = some(&mut follower).await;
        assert!(!more.is_empty(), "cut off after {:?}: {told}", began.elapsed());
        told.push_str(&more);
    }
    assert!(began.elapsed() > Duration::from_secs(150), "{:?}", began.elapsed());
    // Then it waits as any other.
    rest(&mut follower).await;
    assert!(began.elapsed() < Duration::from_secs(300), "{:?}", began.elapsed());
}

#[tokio::test]
async fn an_answer_that_goes_on_ends_once_nobody_hears_it() {
    let served = served(1).await;
    let mut follower = connected(served.address).await;
    follower.write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    assert!(some(&mut follower).await.starts_with("HTTP/1.1 200 "));
    assert!(sends(served.address, GET).await.starts_with("HTTP/1.1 503 "), "its place is taken");
    drop(follower);
    let began = Instant::now();
    while !sends(served.address, GET).await.starts_with("HTTP/1.1 200 ") {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // The first line would be written after ten.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
}

#[tokio::test]
async fn what_is_asked_while_an_answer_goes_on_is_answered_after_it() {
    let served = served(1).await;
    let mut follower = connected(served.address).await;
    follower.write_all(b"GET /short HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    some(&mut follower).await;
    follower.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let told = rest(&mut follower).await;
    assert!(told.contains("the end\n") && told.contains("HTTP/1.1 200 ") && told.ends_with("ok\n"), "{told}");
}

#[tokio::test]
async fn one_address_cannot_lock_the_others_out() {
    let served = served(4).await;
    let mut hogs = Vec::new();
    for _ in 0..4 {
        let mut hog = connected(served.address).await;
        hog.write_all(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1").await.unwrap();
        hogs.push(hog);
    }
    // A fifth of them is refused, which shows that the four are seated.
    let refused = sends(served.address, GET).await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("all connections are busy"), "{refused}");
    for number in 2..5 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, number], 0))).unwrap();
        let mut neighbour = socket.connect(served.address).await.unwrap();
        neighbour.write_all(GET).await.unwrap();
        assert!(some(&mut neighbour).await.starts_with("HTTP/1.1 200 "));
        hogs.push(neighbour);
    }
    let mut sent_away = 0;
    for hog in &mut hogs[..4] {
        if let Ok(answer) = tokio::time::timeout(Duration::from_millis(200), rest(hog)).await {
            assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("others wait"), "{answer}");
            sent_away += 1;
        }
    }
    assert_eq!(sent_away, 3, "those that made room heard why");
}

#[tokio::test]
async fn an_answer_under_way_at_shutdown_is_finished() {
    let served = served(8).await;
    let mut stream = connected(served.address).await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    served.shutdown.cancel();
    assert!(rest(&mut stream).await.ends_with("slow\n"));
    served.task.await.unwrap().unwrap();
}

/// A server over TLS, and a client's way to it.
async fn secured(connections: usize) -> (Served, TlsConnector, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let pair = Pair { certificate: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    std::fs::write(&pair.certificate, made.cert.pem()).unwrap();
    std::fs::write(&pair.key, made.signing_key.serialize_pem()).unwrap();
    std::fs::set_permissions(&pair.key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let tls = Tls::load(pair).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, shutdown) = (listener.local_addr().unwrap(), CancellationToken::new());
    let router = Router::new().route("/", get(async || "ok\n"));
    let allowance = Allowance { connections, share: 1 };
    let task = tokio::spawn(serve(listener, router, allowance, Some(tls), shutdown.clone()));
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let client = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    (Served { address, shutdown, task }, TlsConnector::from(Arc::new(client)), dir)
}

/// What is answered to a request over TLS on `stream`.
async fn answered(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(GET).await.unwrap();
    let mut text = vec![0; 4096];
    let n = stream.read(&mut text).await.unwrap();
    String::from_utf8_lossy(&text[..n]).into_owned()
}

#[tokio::test]
async fn over_tls_requests_are_answered_and_plain_ones_are_told_to_use_it() {
    let (served, connector, _dir) = secured(8).await;
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, connected(served.address).await).await.unwrap();
    for _ in 0..2 {
        assert!(answered(&mut stream).await.ends_with("ok\n"));
    }
    let answer = sends(served.address, GET).await;
    assert!(answer.starts_with("HTTP/1.1 499 ") && answer.contains("must begin with https://"), "{answer}");
    served.shutdown.cancel();
    served.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn handshakes_that_never_end_lock_nobody_out() {
    let (served, connector, _dir) = secured(8).await;
    let mut silent = Vec::new();
    for _ in 0..8 {
        let mut stream = connected(served.address).await;
        stream.write_all(&[HANDSHAKE, 3, 1]).await.unwrap();
        silent.push(stream);
    }
    // The greatest crowd makes room for another address.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let stream = socket.connect(served.address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    assert!(answered(&mut stream).await.ends_with("ok\n"));
    served.shutdown.cancel();
    served.task.await.unwrap().unwrap();
}
