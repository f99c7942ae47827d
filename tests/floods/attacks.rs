//! What strangers do, from addresses all over 127/8.

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use gaitway_proto::enrolment::{ALPN_ENROL, ALPN_MQTT};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, sleep, timeout};
use tokio_rustls::TlsConnector;

use crate::harness::certificate::{self, Certified};

/// By when whoever is not done must have been closed: a handshake and a question have 10 s each, a CONNECT has 5; the rest
/// is for machines that have much to do.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);

/// Between two bytes of who is slow.
const DRIP: Duration = Duration::from_millis(150);

/// What strangers run on.
pub(crate) fn strangers() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// The `n`-th of 15 million addresses; none is one that a good client comes from.
pub(crate) fn address(n: u32) -> Ipv4Addr {
    let [low, middle, high] = [n, n / 250, n / 62_500].map(|n| 1 + (n % 250) as u8);
    Ipv4Addr::new(127, high, middle, low)
}

/// A connection from there.
pub(crate) async fn dial(from: Ipv4Addr, to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    let stream = socket.connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// How a client begins.
pub(crate) fn client_hello(client: &Arc<ClientConfig>, name: ServerName<'static>) -> Vec<u8> {
    let mut bytes = Vec::new();
    ClientConnection::new(client.clone(), name).unwrap().write_tls(&mut bytes).unwrap();
    bytes
}

/// Reads until the other end closes; what was heard.
async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut heard = Vec::new();
    // A reset is an end too.
    let read = timeout(CLOSED_WITHIN, stream.read_to_end(&mut heard)).await;
    assert!(read.is_ok(), "not closed within {CLOSED_WITHIN:?}");
    heard
}

/// Writes `bytes` one at a time until the other end closes; how many it took.
async fn drip(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), bytes: &[u8]) -> usize {
    let end = Instant::now() + CLOSED_WITHIN;
    let mut read = [0; 1024];
    for (n, byte) in bytes.iter().enumerate() {
        if stream.write_all(&[*byte]).await.is_err() || stream.flush().await.is_err() {
            return n;
        }
        // It may say something before the end.
        if let Ok(Ok(0) | Err(_)) = timeout(DRIP, stream.read(&mut read)).await {
            return n;
        }
        assert!(Instant::now() < end, "not closed within {CLOSED_WITHIN:?}");
    }
    panic!("it took all {} bytes", bytes.len());
}

/// `many` handshakes that are never done, at once: a third say nothing, a third half of a `ClientHello`, a third nothing
/// after a whole one. Each must be closed.
pub(crate) async fn half_open(relay: SocketAddr, authority: &CertificateDer<'static>, many: u32) {
    let hello = client_hello(&certificate::client([authority], None, ALPN_MQTT), certificate::name());
    let hello: Arc<[u8]> = hello.into();
    let all: Vec<_> = (0..many)
        .map(|n| {
            let hello = hello.clone();
            tokio::spawn(async move {
                let mut stream = dial(address(n), relay).await.unwrap();
                let says = [0, hello.len() / 2, hello.len()][n as usize % 3];
                // It may be pushed out at once.
                let _ = stream.write_all(&hello[..says]).await;
                until_closed(&mut stream).await
            })
        })
        .collect();
    for (n, stream) in all.into_iter().enumerate() {
        let heard = stream.await.unwrap();
        assert!(n % 3 == 2 || heard.first().is_none_or(|first| *first == 0x15), "{n} heard {heard:?}");
    }
}

/// Who says what it says a byte at a time: the `ClientHello`, the question for a certificate, and, with certificates of
/// their own, CONNECT. Each must be closed.
pub(crate) async fn slow_mqtt(relay: SocketAddr, authority: &CertificateDer<'static>, agents: &[Certified]) {
    let stranger = certificate::client([authority], None, ALPN_MQTT);
    let hello: Arc<[u8]> = client_hello(&stranger, certificate::name()).into();
    let enrols = TlsConnector::from(certificate::client([authority], None, ALPN_ENROL));
    let mut all: Vec<_> = (0..64)
        .map(|n| {
            let hello = hello.clone();
            tokio::spawn(async move { drip(&mut dial(address(n), relay).await.unwrap(), &hello).await })
        })
        .collect();
    all.extend((64..96).map(|n| {
        let enrols = enrols.clone();
        tokio::spawn(async move {
            let stream = dial(address(n), relay).await.unwrap();
            let mut stream = enrols.connect(certificate::name(), stream).await.unwrap();
            drip(&mut stream, &[&[1, 0][..], &[1; 256]].concat()).await
        })
    }));
    all.extend(agents.iter().zip(96..).map(|(agent, n)| {
        let connector = TlsConnector::from(certificate::client([authority], Some(agent), ALPN_MQTT));
        tokio::spawn(async move {
            let stream = dial(address(n), relay).await.unwrap();
            let mut stream = connector.connect(certificate::name(), stream).await.unwrap();
            // A CONNECT of 200 bytes, of which its name is long in coming.
            let head = [0x10, 0xc8, 1, 0, 4, b'M', b'Q', b'T', b'T', 4, 2, 0, 60, 0, 188];
            drip(&mut stream, &[&head[..], &[b'a'; 185]].concat()).await
        })
    }));
    for stream in all {
        let taken = stream.await.unwrap();
        assert!(taken > 5, "closed after {taken} bytes");
    }
}

trait Carrier: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Carrier for S {}

/// Pushes whose head or body comes a byte at a time, over TLS where `https` says so. The heads must be closed.
pub(crate) async fn slow_pushes(agent: SocketAddr, https: Option<Arc<ClientConfig>>) {
    const HEAD: &str =
        "POST /data HTTP/1.1\r\nHost: x\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const BODY: &str = "POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n";
    let slow = |n: u32, at_once: &'static str| {
        let https = https.clone().map(TlsConnector::from);
        tokio::spawn(async move {
            let stream = dial(address(n), agent).await.unwrap();
            let mut stream: Box<dyn Carrier> = match https {
                Some(https) => {
                    Box::new(https.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap())
                }
                None => Box::new(stream),
            };
            stream.write_all(at_once.as_bytes()).await.unwrap();
            drip(&mut stream, HEAD.repeat(4).as_bytes()).await
        })
    };
    let bodies: Vec<_> = (0..200).map(|n| slow(n, BODY)).collect();
    let heads: Vec<_> = (200..300).map(|n| slow(n, "")).collect();
    if let Some(https) = https {
        let hello: Arc<[u8]> = client_hello(&https, ServerName::try_from("localhost").unwrap()).into();
        let greetings: Vec<_> = (300..400)
            .map(|n| {
                let hello = hello.clone();
                tokio::spawn(async move { drip(&mut dial(address(n), agent).await.unwrap(), &hello).await })
            })
            .collect();
        for stream in greetings {
            assert!(stream.await.unwrap() > 5);
        }
    }
    for stream in heads {
        assert!(stream.await.unwrap() > 5);
    }
    // These have 30 s, which nobody waits for here.
    bodies.iter().for_each(tokio::task::JoinHandle::abort);
}

/// As many connections as can be made for so long, each from another address. Each says `says` and stays until a thousand
/// others came after it. How many there were.
pub(crate) async fn connects(to: SocketAddr, how_long: Duration, says: &[u8]) -> u64 {
    const TOGETHER: u32 = 64;
    const STAY: usize = 1_000 / TOGETHER as usize;
    let (end, made): (_, Arc<AtomicU64>) = (Instant::now() + how_long, Arc::default());
    let says: Arc<[u8]> = says.into();
    let all: Vec<_> = (0..TOGETHER)
        .map(|task| {
            let (made, says) = (made.clone(), says.clone());
            tokio::spawn(async move {
                let mut staying = VecDeque::new();
                for turn in 0.. {
                    if Instant::now() >= end {
                        break;
                    }
                    match timeout(CLOSED_WITHIN, dial(address(turn * TOGETHER + task), to)).await {
                        Ok(Ok(mut stream)) => {
                            // Whether it is taken makes no difference.
                            let _ = stream.write_all(&says).await;
                            made.fetch_add(1, Ordering::Relaxed);
                            staying.push_back(stream);
                            if staying.len() > STAY {
                                staying.pop_front();
                            }
                        }
                        _ => sleep(Duration::from_millis(10)).await,
                    }
                }
            })
        })
        .collect();
    for task in all {
        task.await.unwrap();
    }
    made.load(Ordering::Relaxed)
}
