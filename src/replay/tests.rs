//! Replays to a small server that answers as it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::pending;
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

use super::*;

/// What the server does with a message.
#[derive(Clone, Copy)]
enum Does {
    Answer(u16, &'static str),
    /// Closes the connection with the request unanswered.
    Reset,
    /// Never answers.
    Hang,
}

const OK: Does = Does::Answer(200, r#"{"status":"success","processed_readings":1}"#);

type Rule = Box<dyn Fn(usize, &[u8]) -> Does + Send + Sync>;

struct Server {
    url: String,
    /// Number of the connection, first lines, body.
    heard: Mutex<Vec<(usize, String, Vec<u8>)>>,
    woken: Notify,
    rule: Rule,
}

impl Server {
    /// A server whose `rule` gets the number of the message from 0 and its body.
    async fn start(rule: impl Fn(usize, &[u8]) -> Does + Send + Sync + 'static) -> Arc<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (heard, woken) = (Mutex::default(), Notify::new());
        let server = Arc::new(Self { url, heard, woken, rule: Box::new(rule) });
        let serving = server.clone();
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let server = serving.clone();
                tokio::spawn(async move { server.serve(connection, stream).await });
            }
        });
        server
    }

    async fn serve(&self, connection: usize, mut stream: TcpStream) {
        while let Some((head, body)) = request(&mut stream).await {
            let does = {
                let mut heard = self.heard.lock().unwrap();
                heard.push((connection, head, body.clone()));
                (self.rule)(heard.len() - 1, &body)
            };
            self.woken.notify_one();
            match does {
                Does::Reset => return,
                Does::Hang => pending().await,
                Does::Answer(status, text) => {
                    let length = text.len();
                    let answer = format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n{text}");
                    stream.write_all(answer.as_bytes()).await.unwrap();
                }
            }
        }
    }

    fn bodies(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().iter().map(|(.., body)| body.clone()).collect()
    }

    fn connections(&self) -> usize {
        self.heard.lock().unwrap().iter().map(|(connection, ..)| connection).collect::<BTreeSet<_>>().len()
    }
}

/// Head and body of the next request, none at the end of the connection.
async fn request(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.split_once("content-length: ").unwrap().1.lines().next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.ok()?;
    Some((head, body))
}

struct Replay {
    folder: TempDir,
    options: Options,
}

impl Replay {
    fn to(server: &Server) -> Self {
        let options = Options {
            target: server.url.parse().unwrap(),
            speed: Speed::Max,
            phones: 1,
            batch: Duration::from_secs(1),
            give_up: Duration::from_secs(60),
        };
        Self { folder: TempDir::new().unwrap(), options }
    }

    fn file(&self, name: &str, text: &str) {
        fs::write(self.folder.path().join(name), text).unwrap();
    }

    async fn until(&self, interrupt: impl Future<Output = ()>) -> Report {
        let recordings = source::gather(&[self.folder.path().to_owned()]).unwrap();
        let quiet = Progress::Plain { next: Duration::MAX };
        play::play(recordings, &self.options, quiet, interrupt).await.unwrap()
    }

    async fn play(&self) -> Report {
        self.until(pending()).await
    }
}

fn pushes(device: &str, seconds: &[i64]) -> String {
    let push = |(id, second): (usize, &i64)| {
        let time = second * 1_000_000_000;
        format!(
            "{{\"messageId\":{id}, \"sessionId\":\"s-{device}\",\"deviceId\":\"{device}\",\"payload\":[{{\"time\":{time}}}]}}\n"
        )
    };
    seconds.iter().enumerate().map(push).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_phone_sends_every_line_as_it_stands_over_one_connection() {
    let server = Server::start(|_, _| OK).await;
    let replay = Replay::to(&server);
    let text = pushes("a", &[1, 2, 900]) + "not json\n";
    replay.file("a.ndjson", &text);
    let report = replay.play().await;
    assert_eq!((report.messages, report.readings, report.complete()), (4, 3, true));
    let sent: Vec<_> = server.bodies().into_iter().map(|body| String::from_utf8(body).unwrap()).collect();
    assert_eq!(sent, text.lines().collect::<Vec<_>>());
    assert_eq!(server.connections(), 1);
    let heard = server.heard.lock().unwrap();
    assert!(heard.iter().all(|(_, head, _)| {
        head.starts_with("post /data http/1.1\r\n") && head.contains("content-type: application/json\r\n")
    }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refusals_are_grouped_and_not_tried_again() {
    let server = Server::start(|_, body| match body {
        b"not json" => Does::Answer(400, r#"{"status":"error","message":"not JSON"}"#),
        body if body.starts_with(b"{\"messageId\":1") => Does::Answer(499, "disk full"),
        _ => OK,
    })
    .await;
    let replay = Replay::to(&server);
    replay.file("a.ndjson", &(pushes("a", &[1, 2, 3]) + "not json\nnot json\n"));
    let report = replay.play().await;
    assert_eq!((report.messages, report.answered(), report.retries), (2, 5, 0));
    assert!(!report.complete());
    let text = report.to_string();
    assert!(text.contains("  2 × 400 not JSON\n  1 × 499 disk full\n"), "{text}");
    assert_eq!(exit_code(&report), ExitCode::FAILURE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_answered_is_sent_again_until_it_is() {
    let failures = [Does::Reset, Does::Answer(503, "starting"), Does::Answer(429, "slow down"), Does::Reset];
    let server = Server::start(move |number, _| failures.get(number).copied().unwrap_or(OK)).await;
    let replay = Replay::to(&server);
    let text = pushes("a", &[1, 2, 3]);
    replay.file("a.ndjson", &text);
    let report = replay.play().await;
    assert_eq!((report.messages, report.retries, report.complete()), (3, 4, true));
    let lines: Vec<_> = text.lines().map(str::as_bytes).collect();
    assert_eq!(server.bodies(), [lines[0], lines[0], lines[0], lines[0], lines[0], lines[1], lines[2]]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_gives_up_without_stopping_another() {
    let server = Server::start(|_, body| if body.ends_with(b"000000}]}") { OK } else { Does::Reset }).await;
    let mut replay = Replay::to(&server);
    replay.options.give_up = Duration::from_millis(300);
    replay.file("a.ndjson", &pushes("a", &[1, 2, 3]));
    replay.file("b.ndjson", "never answered\n".repeat(100).as_str());
    let report = replay.play().await;
    assert_eq!(report.messages, 3);
    assert_eq!(exit_code(&report), ExitCode::FAILURE);
    let text = report.to_string();
    assert!(text.contains("gave up: b: no answer from 127.0.0.1:"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_phones_play_the_same_recording_with_ids_of_their_own() {
    let server = Server::start(|_, _| OK).await;
    let mut replay = Replay::to(&server);
    replay.options.phones = 3;
    replay.file("a.ndjson", &pushes("a", &[1, 2]));
    let rows: Vec<_> = (0..150_i64).map(|n| format!("{},0.1,0,-1,b\n", n * 20_000_000)).collect();
    let gz = fs::File::create(replay.folder.path().join("b.csv.gz")).unwrap();
    let mut gz = flate2::write::GzEncoder::new(gz, flate2::Compression::fast());
    gz.write_all(format!("time_ns,x,y,z,subject\n{}", rows.concat()).as_bytes()).unwrap();
    gz.finish().unwrap();
    let report = replay.play().await;
    assert_eq!((report.messages, report.readings), (3 * (2 + 3), 3 * (2 + 150)));
    let mut sessions: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for body in server.bodies() {
        let body: Value = serde_json::from_slice(&body).unwrap();
        let name = format!("{}/{}", body["deviceId"].as_str().unwrap(), body["sessionId"].as_str().unwrap());
        sessions.entry(name).or_default().push(body["messageId"].as_u64().unwrap());
    }
    let of_a = |n| (format!("a-{n}/s-a-{n}"), vec![0, 1]);
    let of_b = |n| (format!("phone-b-{n}/session-b-{n}"), vec![0, 1, 2]);
    let expected = BTreeMap::from([of_a(1), of_a(2), of_a(3), of_b(1), of_b(2), of_b(3)]);
    assert_eq!(sessions, expected);
    assert_eq!(server.connections(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_are_not_sent_before_they_are_due() {
    let server = Server::start(|_, _| OK).await;
    let mut replay = Replay::to(&server);
    replay.options.speed = Speed::Factor(100.0);
    replay.file("a.ndjson", &pushes("a", &[10, 25, 30]));
    let report = replay.play().await;
    assert_eq!(report.messages, 3);
    assert!(report.elapsed >= Duration::from_millis(200), "{:?}", report.elapsed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_replay_reports_what_was_answered() {
    let server = Server::start(|number, _| if number < 2 { OK } else { Does::Hang }).await;
    let replay = Replay::to(&server);
    replay.file("a.ndjson", &pushes("a", &[1, 2, 3, 4]));
    let third = async {
        while server.bodies().len() < 3 {
            server.woken.notified().await;
        }
    };
    let report = replay.until(third).await;
    assert_eq!((report.messages, report.interrupted), (2, true));
    assert_eq!(exit_code(&report), ExitCode::from(130));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_that_breaks_off_is_reported() {
    let server = Server::start(|_, _| OK).await;
    let replay = Replay::to(&server);
    let mut packed = Vec::new();
    let mut gz = flate2::write::GzEncoder::new(&mut packed, flate2::Compression::fast());
    gz.write_all(pushes("a", &(0..2_000).collect::<Vec<_>>()).as_bytes()).unwrap();
    gz.finish().unwrap();
    fs::write(replay.folder.path().join("a.ndjson.gz"), &packed[..packed.len() / 2]).unwrap();
    let report = replay.play().await;
    assert!(report.messages > 100 && report.messages < 2_000);
    assert!(!report.complete());
    let text = report.to_string();
    assert!(text.contains("not read to its end: ") && text.contains("a.ndjson.gz: line "), "{text}");
}
