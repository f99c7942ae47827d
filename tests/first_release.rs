//! What the first release wrote is read by this one: a folder of an agent with all in its spool, and what an agent said to a relay.
//! `tests/data/first-release` holds both; they are never made anew.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod harness;

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use gaitway_proto::envelope::Down;
use harness::process::Process;
use harness::warehouse::{count, open, readings};
use harness::{PATIENCE, await_that, data};
use serde_json::Value;

const AGENT: &str = "first-release";

/// The lines of a packed file.
fn lines(name: &str) -> impl Iterator<Item = String> {
    BufReader::new(GzDecoder::new(File::open(data(name)).unwrap())).lines().map(Result::unwrap)
}

/// What was pushed then: message, place in it, sensor and time of each reading.
fn pushed() -> BTreeSet<(i64, i64, String, i64)> {
    let messages = lines("golden/late/pushes.ndjson.gz").map(|line| serde_json::from_str::<Value>(&line).unwrap());
    let of = |message: Value| {
        let id = message["messageId"].as_i64().unwrap();
        let readings = message["payload"].as_array().unwrap().clone();
        (0..).zip(readings).map(move |(at, reading)| {
            (id, at, reading["name"].as_str().unwrap().to_owned(), reading["time"].as_i64().unwrap())
        })
    };
    messages.flat_map(of).collect()
}

/// Spark's windows of them: end, activity and mean.
fn golden() -> Vec<(String, String, f64)> {
    let text = std::fs::read_to_string(data("golden/late/windows.csv")).unwrap();
    let rows = text.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>());
    rows.map(|row| (row[0].clone(), row[3].clone(), row[4].parse().unwrap())).collect()
}

/// Waits until the warehouse holds what was pushed, and finds each reading once and all of Spark's windows in it.
fn assert_all_is_there(warehouse: &Path) {
    let pushed = pushed();
    await_that("all readings are there", || readings(warehouse) >= pushed.len() as i64);
    let golden = golden();
    let windows = "SELECT count(*) FROM USER_ACTIVITY_PROCESSED";
    await_that("the windows are there", || count(warehouse, windows) >= golden.len() as i64);
    let connection = open(warehouse);
    let mut rows = connection
        .prepare("SELECT messageId, readingIndex, sensorType, timestamp, agentId FROM ACTIVITY_RECORDS")
        .unwrap();
    let found: Vec<_> = rows
        .query_map([], |row| {
            assert_eq!(row.get::<_, String>(4)?, AGENT);
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })
        .unwrap()
        .map(Result::unwrap)
        .collect();
    assert_eq!(found.len(), pushed.len(), "each is there once");
    assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), pushed);
    let mut rows = connection
        .prepare(
            "SELECT substr(timestamp, 1, 19), activity, avg_magnitude FROM USER_ACTIVITY_PROCESSED ORDER BY timestamp",
        )
        .unwrap();
    let found: Vec<(String, String, f64)> =
        rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?))).unwrap().map(Result::unwrap).collect();
    for (end, activity, mean) in golden {
        let is_it = |(at, label, found): &&(String, String, f64)| {
            at.replace('T', " ") == end && *label == activity && (found - mean).abs() <= 1e-9 * mean
        };
        assert_eq!(found.iter().filter(is_it).count(), 1, "the window of {end} is there once: {found:?}");
    }
}

#[test]
fn a_spool_of_the_first_release_is_forwarded_whole() {
    let dir = tempfile::tempdir().unwrap();
    let agent = dir.path().join("agent");
    std::fs::create_dir(&agent).unwrap();
    let unpacked =
        Command::new("tar").arg("-xzf").arg(data("first-release/agent.tar.gz")).arg("-C").arg(&agent).status();
    assert!(unpacked.unwrap().success());
    let up = Process::up(dir.path(), &[]);
    assert_all_is_there(&dir.path().join("warehouse.db"));
    up.kill(&[]);
}

/// The relay's end of a connection, as the agent hears it.
struct Relay {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// Packets that confirm one of the agent's, not looked at yet.
    confirmed: VecDeque<(u8, Vec<u8>)>,
    welcomed: bool,
}

impl Relay {
    /// Waits for its next packet.
    fn hear(&mut self) {
        let ((kind, body), length) = loop {
            if let Some(packet) = first(&self.bytes) {
                break packet;
            }
            let mut some = [0; 4096];
            let read = self.stream.read(&mut some).unwrap();
            assert!(read > 0, "the relay hung up");
            self.bytes.extend(&some[..read]);
        };
        self.bytes.drain(..length);
        if kind == PUBLISH {
            let word = said(&body);
            assert!(
                matches!(word, Down::Welcome(_) | Down::Ack(_)),
                "the relay takes everything as it comes: {word:?}"
            );
            self.welcomed |= matches!(word, Down::Welcome(_));
        } else {
            self.confirmed.push_back((kind, body));
        }
    }

    fn confirms(&mut self) -> (u8, Vec<u8>) {
        loop {
            if let Some(packet) = self.confirmed.pop_front() {
                return packet;
            }
            self.hear();
        }
    }
}

/// The packet at the start of `bytes`, and how long it is.
fn first(bytes: &[u8]) -> Option<((u8, Vec<u8>), usize)> {
    let (mut length, mut at) = (0, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7f) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    Some(((bytes[0] >> 4, bytes.get(at..at + length)?.to_vec()), at + length))
}

const PUBLISH: u8 = 3;

/// What a relay says in a packet that wants no answer.
fn said(body: &[u8]) -> Down {
    let topic = usize::from(u16::from_be_bytes([body[0], body[1]]));
    Down::decode(&body[2 + topic..]).unwrap()
}

#[test]
fn an_agent_of_the_first_release_is_understood_and_so_is_its_relay() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = Process::up(dir.path(), &[]);
    let stream = TcpStream::connect(up.mqtt_address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut relay = Relay { stream, bytes: Vec::new(), confirmed: VecDeque::new(), welcomed: false };
    let (mut recorded, mut words) = (Vec::new(), Vec::new());
    for line in lines("first-release/wire.ndjson.gz") {
        let (from, piece): (String, String) = serde_json::from_str(&line).unwrap();
        let piece = STANDARD.decode(piece).unwrap();
        if from == "agent" {
            relay.stream.write_all(&piece).unwrap();
            continue;
        }
        // The agent went on when it had heard this.
        recorded.extend(piece);
        while let Some(((kind, body), length)) = first(&recorded) {
            recorded.drain(..length);
            if kind == PUBLISH {
                words.push(said(&body));
                while !relay.welcomed {
                    relay.hear();
                }
            } else {
                assert_eq!(relay.confirms(), (kind, body), "CONNACK, SUBACK, PUBACK");
            }
        }
    }
    assert!(matches!(words.first(), Some(Down::Welcome(_))), "{:?}", words.first());
    assert!(words.iter().any(|word| matches!(word, Down::Ack(_))));
    assert_all_is_there(&dir.path().join("warehouse.db"));
    up.kill(&[]);
}
