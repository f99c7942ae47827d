//! What the relay commits to Kafka, beside librdkafka alone that produces the same bytes.

use std::path::Path;
use std::time::{Duration, Instant};

use gaitway_kafka::topics::{self, written_by_relay};
use gaitway_kafka::{KafkaConfig, client};
use nix::sys::signal::Signal;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Message as _, OwnedMessage};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use tokio_util::sync::CancellationToken;

use super::Bench;
use super::body::{Phone, Platform};
use super::broker::{self, Service};
use super::commits::{Committer, frames};
use super::harness::{self, topic};
use super::serve::{self, Agent};
use super::table::{Aim, Figure, median, number, quantile};
use super::{machine, recordings, spool};

const PHONES: usize = 10;

const READINGS_A_PUSH: u64 = 400;

/// As `relay/src/kafka/transaction.rs` has them; what makes a transaction is left out.
const SETTINGS: [(&str, &str); 8] = [
    ("compression.codec", "lz4"),
    ("linger.ms", "1"),
    ("queue.buffering.max.messages", "500000"),
    ("queue.buffering.max.kbytes", "262144"),
    ("enable.idempotence", "true"),
    ("acks", "all"),
    ("delivery.report.only.error", "true"),
    ("partitioner", "murmur2_random"),
];

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    broker::with("relay into Kafka", |broker| {
        let traces = recordings::traces();
        let phones: Vec<_> = (0..PHONES).map(|number| Phone::new(number, Platform::Android, 4, &traces)).collect();
        let pushes = bench.size(500_000, 100_000) / READINGS_A_PUSH / PHONES as u64;
        let rounds = bench.size(5, 1);
        vec![
            ledger(broker, &frames(&phones, pushes), rounds),
            alone(broker, &frames(&phones[..1], bench.size(200, 50))),
            path(broker, &phones, pushes, bench.size(3, 1)),
        ]
    })
}

/// The ledger's thread in turns with a producer.
fn ledger(broker: &str, frames: &[Vec<u8>], rounds: usize) -> Figure {
    let (kafka, bare) = (broker::topics(broker), broker::topics(broker));
    topics::ensure(&bare, "figures", written_by_relay, &CancellationToken::new()).unwrap();
    let mut committer = Committer::open(&kafka);
    let producer = producer(&bare);
    let readings = frames.len() * READINGS_A_PUSH as usize;
    let (mut ours, mut theirs, mut commits, mut records) = (Vec::new(), Vec::new(), 0, Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        commits = committer.commit_all(frames);
        ours.push(begun.elapsed().as_secs_f64());
        if records.is_empty() {
            records = topic::read(broker, &kafka.topics.raw);
            assert_eq!(records.len(), readings);
        }
        let begun = Instant::now();
        produce(&producer, &bare.topics.raw, &records);
        theirs.push(begun.elapsed().as_secs_f64());
    }
    assert_eq!(topic::read(broker, &bare.topics.raw).len(), readings * rounds);

    let bytes: usize = records.iter().map(|record| record.payload().unwrap().len()).sum();
    let mut ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| theirs / ours).collect();
    let rate = |seconds: &mut [f64]| number(readings as f64 / median(seconds));
    Figure::new("relay's ledger into Kafka", format!("{} readings/s", rate(&mut ours)))
        .beside(format!("librdkafka alone {}/s", rate(&mut theirs)))
        .aim(median(&mut ratios), &Aim::AtLeast(0.7), " ×")
        .note(format!(
            "from frames to durable records, {readings} readings in {commits} transactions, {} bytes a value and a name in seven headers; the producer has the same records in memory, idempotent, acks=all, lz4, same partitions, and waits once, at the end; median of {rounds} in turns",
            number(bytes as f64 / readings as f64),
            readings = number(readings as f64),
        ))
}

fn producer(kafka: &KafkaConfig) -> BaseProducer {
    let mut settings = client::base(kafka, "figures").unwrap();
    for (name, value) in SETTINGS {
        settings.set(name, value);
    }
    settings.set("message.max.bytes", topics::MESSAGE_BYTES.to_string());
    settings.create().unwrap()
}

/// Produces `records` to `topic` and waits until the last is acknowledged.
fn produce(producer: &BaseProducer, topic: &str, records: &[OwnedMessage]) {
    for record in records {
        let mut message = BaseRecord::to(topic).payload(record.payload().unwrap()).key(record.key().unwrap());
        message.headers = record.headers().cloned();
        loop {
            message = match producer.send(message) {
                Ok(()) => break,
                Err((KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull), back)) => back,
                Err((error, _)) => panic!("producing: {error}"),
            };
            producer.poll(Duration::from_millis(1));
        }
    }
    while producer.in_flight_count() > 0 {
        producer.poll(Duration::from_millis(1));
    }
}

/// Commits of one reading each.
fn alone(broker: &str, frames: &[Vec<u8>]) -> Figure {
    let mut committer = Committer::open(&broker::topics(broker));
    let mut times: Vec<f64> = frames
        .iter()
        .map(|frame| {
            let begun = Instant::now();
            committer.commit(std::slice::from_ref(frame), 1);
            begun.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    let (half, most) = (median(&mut times), quantile(&mut times, 0.99));
    Figure::new("commit of one reading to Kafka", format!("p50 {} ms, p99 {} ms", number(half), number(most)))
        .note(format!("a transaction of one record and one mark, {} one after the other", frames.len()))
}

/// A full spool through the processes of agent and relay.
fn path(broker: &str, phones: &[Phone<'_>], pushes: u64, rounds: usize) -> Figure {
    let folder = machine::folder();
    let full = folder.path().join("full");
    spool::fill(&full, phones, pushes);
    // Not built while the clock runs.
    serve::agent_program();
    let readings = pushes * READINGS_A_PUSH * phones.len() as u64;
    let mut commits = 0.0;
    let mut seconds: Vec<f64> = (0..rounds)
        .map(|round| {
            let place = folder.path().join(format!("round-{round}"));
            std::fs::create_dir(&place).unwrap();
            let (seconds, made) = drain(broker, &full, &place, readings);
            commits = made;
            std::fs::remove_dir_all(&place).unwrap();
            seconds
        })
        .collect();
    Figure::new(
        format!("drain of {} readings from spool to Kafka", number(readings as f64)),
        format!("{} readings/s", number(readings as f64 / median(&mut seconds))),
    )
    .note(format!(
        "processes of agent, relay and broker on these cores, from the agent's start to the last commit, windows among it, {} commits; median of {rounds}",
        number(commits)
    ))
}

fn drain(broker: &str, full: &Path, place: &Path, readings: u64) -> (f64, f64) {
    let data_dir = place.join("agent");
    spool::copy(full, &data_dir);
    let kafka = broker::topics(broker);
    let mut relay = Service::relay(place, &kafka, "");
    let address = format!("mqtt://{}", relay.process.mqtt_address());
    let begun = Instant::now();
    let agent = Agent::start(&data_dir, &address);
    harness::await_that("the spool is drained", || relay.metric("gaitway_relay_readings_total") as u64 == readings);
    let seconds = begun.elapsed().as_secs_f64();
    let commits = relay.metric("gaitway_relay_commits_total");
    assert!(agent.process.terminate(Signal::SIGTERM).success());
    assert!(relay.process.terminate(Signal::SIGTERM).success());
    assert_eq!(topic::read(broker, &kafka.topics.raw).len() as u64, readings);
    (seconds, commits)
}
