//! Strangers in the network send whatever they like, on a thousand connections. Meanwhile a phone that behaves is answered
//! 200, every time; what it was answered for is in the warehouse; the process stays within its memory.
//!
//! `GAITWAY_SEED` gives other random bytes.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_http {
    pub(crate) mod home;
    pub(crate) mod stranger;
}
mod harness;

use std::time::{Duration, Instant};

use bad_http::home::{Home, MIB};
use bad_http::stranger::{Stranger, Stream, gzip, statuses};
use gaitway_proto::limits;
use harness::{Random, await_that};

/// A push of nothing.
const PUSH: &str = r#"{"deviceId":"stranger","sessionId":"s","messageId":1,"payload":[]}"#;

/// Stands in bodies; must not stand in a log.
const MARK: &str = "stranger-things";

fn seed() -> u64 {
    std::env::var("GAITWAY_SEED").map_or(5, |text| text.parse().expect("GAITWAY_SEED is a number"))
}

fn post(body: &str) -> String {
    format!("POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn a_thousand_connections_at_once_are_each_answered() {
    let home = Home::with_phones();
    let stranger = Stranger::at(home.address(), 66);
    let began = Instant::now();
    let mut all = stranger.connect(1_000);
    println!("1,000 connections in {:?}", began.elapsed());
    for stream in &mut all {
        // Who is refused may be told before it asks.
        let _ = stream.send(post(PUSH).as_bytes());
    }
    let mut answered = [0, 0];
    for stream in all {
        let answer = stream.rest_of_one();
        match answer.as_str() {
            answer if answer.starts_with("HTTP/1.1 200 ") => answered[0] += 1,
            answer if answer.starts_with("HTTP/1.1 503 ") => answered[1] += 1,
            answer => panic!("{answer:?}"),
        }
    }
    println!("of 1,000 connections {} were served, {} told to come again", answered[0], answered[1]);
    assert!(answered[0] >= 500, "all places but those of the phones are used");
    home.leave();
}

#[test]
fn slow_senders_on_every_connection_keep_no_phone_from_being_answered() {
    let home = Home::with_phones();
    let stranger = Stranger::at(home.address(), 66);
    let silent = stranger.connect(200);
    let mut heads = stranger.connect(200);
    for stream in &mut heads {
        stream.send(b"POST /data HTTP/1.1\r\nHost: x\r\nX-Slow: ").unwrap();
    }
    // As large as bodies may be, so that together they would take all the room for bodies.
    let mut bodies = stranger.connect(400);
    let head = format!("POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n[", limits::MAX_BODY);
    for stream in &mut bodies {
        let _ = stream.send(head.as_bytes());
    }
    let begun = home.pushes();
    for _ in 0..20 {
        std::thread::sleep(Duration::from_millis(100));
        for stream in heads.iter_mut().chain(&mut bodies) {
            let _ = stream.send(b" ");
        }
    }
    assert!(home.pushes() > begun + 20, "phones go on pushing");
    // Somebody else who comes now is served at once.
    for number in 67..70 {
        let newcomer = Stranger::at(home.address(), number).ask(post(PUSH).as_bytes());
        assert!(newcomer.starts_with("HTTP/1.1 200 "), "{newcomer:?}");
    }
    let slow = heads.into_iter().map(Stream::rest_of_one).collect::<Vec<_>>();
    let told = statuses(&slow);
    println!("slow heads were told: {told:?}");
    assert!(told.contains_key("408") || told.contains_key("503"), "{told:?}");
    assert!(!told.contains_key("none"), "{told:?}");
    drop(silent);
    home.leave();
}

#[test]
fn large_bodies_held_back_by_many_addresses_keep_no_phone_from_being_answered() {
    let home = Home::with_phones();
    let head = format!("POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n[", limits::MAX_BODY);
    let mut held: Vec<_> = (70..78).flat_map(|number| Stranger::at(home.address(), number).connect(4)).collect();
    for stream in &mut held {
        stream.send(head.as_bytes()).unwrap();
    }
    let begun = home.pushes();
    await_that("phones go on pushing", || home.pushes() > begun + 100);
    drop(held);
    home.leave();
}

#[test]
fn every_lie_is_answered_with_its_status() {
    let home = Home::with_phones();
    let stranger = Stranger::at(home.address(), 66);
    let flood = format!("POST /data HTTP/1.1\r\n{}\r\n", format!("X: {MARK}\r\n").repeat(5_000));
    let long = format!("POST /data HTTP/1.1\r\nX: {}\r\n\r\n", MARK.repeat(10_000));
    let url = format!("GET /data?{} HTTP/1.1\r\nHost: x\r\n\r\n", MARK.repeat(8_000));
    let marked = format!(r#"{{"deviceId":"{MARK}","sessionId":7}}"#);
    let chunked = "POST /data HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let typed = |kind: &str| post(PUSH).replacen("\r\n", &format!("\r\nContent-Type: {kind}\r\n"), 1);
    let over = format!("POST /data HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", limits::MAX_BODY + 1);
    let chunks = |n: usize| {
        let piece = format!("10000\r\n{}\r\n", " ".repeat(0x1_0000));
        format!("{chunked}{}0\r\n\r\n", piece.repeat(n))
    };
    let cases: Vec<(String, &[&str], &str)> = vec![
        (post(PUSH), &["200"], "success"),
        (post(PUSH).replace("HTTP/1.1", "HTTP/1.0"), &["200"], "success"),
        (post(PUSH).replace("/data", "http://gaitway.example/data"), &["200"], "success"),
        (post(PUSH).replacen("\r\n", "\r\nExpect: 100-continue\r\n", 1), &["100"], "HTTP/1.1 200 "),
        (format!("{chunked}{:x}\r\n{PUSH}\r\n0\r\n\r\n", PUSH.len()), &["200"], "success"),
        (post(&marked), &["400"], "no sessionId"),
        (post(&MARK.repeat(100)), &["400"], "not JSON"),
        (post(""), &["400"], "not JSON"),
        (post(&"[".repeat(100_000)), &["413"], "nesting"),
        (over, &["413"], "above the limit of 8388608 bytes"),
        (chunks(limits::MAX_BODY / 0x1_0000 + 2), &["413"], "above the limit"),
        (chunks(3), &["400"], "not JSON"),
        (format!("{chunked}ffff\r\n{PUSH}"), &["400"], "did not arrive whole"),
        (format!("{chunked}zz\r\n{PUSH}"), &["400"], ""),
        (post(PUSH).replace("Content-Length: ", "Content-Length: 9"), &["400"], "did not arrive whole"),
        (post(PUSH).replacen("\r\n", "\r\nContent-Length: 3\r\n", 1), &["400"], ""),
        (post(PUSH).replacen("\r\n", "\r\nTransfer-Encoding: identity\r\n", 1), &["400"], ""),
        (post(PUSH).replacen("\r\n", "\r\nTransfer-Encoding: chunked, gzip\r\n", 1), &["400"], ""),
        (typed("text/plain"), &["415"], "Sensor Logger sends application/json"),
        (typed(MARK), &["415"], "Sensor Logger sends application/json"),
        (typed("application/json\r\nOrigin: http://evil.example"), &["403"], "only Sensor Logger may push"),
        (typed("application/json\r\nContent-Encoding: br"), &["415"], "must be gzip"),
        ("GET /data HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &["405"], "Sensor Logger pushes to this address"),
        ("HEAD /data HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &["405"], "POST"),
        ("OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &["404", "405"], ""),
        ("BREW /data HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &["405"], ""),
        ("GET /nothing HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), &["404"], "Sensor Logger pushes to /data"),
        (url, &["414", "431"], ""),
        (flood, &["431"], ""),
        (long, &["431"], ""),
        ("\x16\x03\x01\x02\0\x01\0\x01\u{fc}\x03\x03".to_owned(), &["400"], ""),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), &["505"], "speaks HTTP/1.1 only"),
        ("\r\n\r\n\r\nhello\r\n\r\n".to_owned(), &["400"], ""),
    ];
    for (request, expected, words) in &cases {
        let answer = stranger.ask(request.as_bytes());
        let status = answer.strip_prefix("HTTP/1.1 ").or(answer.strip_prefix("HTTP/1.0 ")).unwrap_or_default();
        let shown = &request[..request.len().min(120)];
        assert!(expected.iter().any(|expected| status.starts_with(expected)), "{shown:?}: {answer}");
        assert!(answer.contains(words), "{shown:?}: {answer}");
        assert!(answer.len() < 1_000, "{answer}");
    }
    let three = format!("{}{}{}", post(PUSH), post("nope"), post(PUSH));
    let answers = stranger.ask(three.as_bytes());
    let order: Vec<_> = answers.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(order, ["200", "400", "200"], "pipelined requests are answered in their order");

    let seed = seed();
    let mut random = Random::new(seed);
    for round in 0..300 {
        let mut request = post(PUSH).into_bytes();
        for _ in 0..=random.below(6) {
            let at = random.below(request.len() as u64) as usize;
            match random.below(3) {
                0 => request[at] = random.bits() as u8,
                1 => request.truncate(at.max(1)),
                _ => request.insert(at, random.bits() as u8),
            }
        }
        // Whatever it is, the connection ends soon and the process lives: the phones see to that.
        let answer = stranger.ask(&request);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1."), "seed {seed}, round {round}: {answer:?}");
    }
    home.leave();
}

#[test]
fn bombs_are_refused_within_bounded_memory() {
    let home = Home::with_phones();
    let stranger = Stranger::at(home.address(), 66);
    let head = |body: &[u8], more: &str| {
        format!("POST /data HTTP/1.1\r\nHost: x\r\n{more}Content-Length: {}\r\n\r\n", body.len()).into_bytes()
    };
    let full = |piece: &str| {
        let start = r#"{"deviceId":"d","sessionId":"s","payload":[{"name":"a","time":1,"values":{"x":["#;
        let n = (limits::MAX_BODY - start.len() - 8) / (piece.len() + 1);
        format!("{start}{}]}}}}]}}", vec![piece; n].join(","))
    };
    let mut requests = Vec::new();
    for bomb in [vec![b' '; 40 * MIB as usize], vec![b'['; 8 * MIB as usize], full("{}").into_bytes()] {
        let packed = gzip(&bomb);
        requests.push([head(&packed, "Content-Encoding: gzip\r\n"), packed].concat());
    }
    for piece in ["[]", "\"\"", "{\"\":0}", "{\"a\":[]}", "0"] {
        let body = full(piece);
        requests.push([head(body.as_bytes(), ""), body.into_bytes()].concat());
    }
    let rows =
        format!(r#"{{"deviceId":"d","sessionId":"s","payload":[{}]}}"#, vec!["0"; limits::MAX_BODY / 2 - 40].join(","));
    requests.push([head(rows.as_bytes(), ""), rows.into_bytes()].concat());
    let named = (0..400_000).map(|n| format!("{{\"name\":\"{n}\"}}")).collect::<Vec<_>>().join(",");
    let named = format!(r#"{{"deviceId":"d","sessionId":"s","payload":[{named}]}}"#);
    requests.push([head(named.as_bytes(), ""), named.into_bytes()].concat());
    let answers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..2)
            .map(|thread| {
                let (requests, stranger) = (&requests, &stranger);
                scope.spawn(move || {
                    let turned = requests.iter().cycle().skip(thread * 5).take(requests.len());
                    turned.map(|request| stranger.ask(request)).collect::<Vec<_>>()
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    println!("bombs were answered: {:?}", statuses(&answers));
    assert!(answers.iter().all(|answer| answer.starts_with("HTTP/1.1 ")), "{answers:?}");
    home.leave();
}
