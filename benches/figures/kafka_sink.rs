//! What the sink brings from Kafka into a warehouse, beside a consumer alone that drains the same topics.

use std::path::Path;
use std::time::{Duration, Instant};

use gaitway_emulator::{Emulator, Keep, Look, Options};
use gaitway_kafka::{KafkaConfig, client};
use nix::sys::signal::Signal;
use rdkafka::consumer::{BaseConsumer, Consumer as _};

use super::Bench;
use super::body::{Phone, Platform};
use super::broker::{self, Service};
use super::commits::{Committer, frames};
use super::harness::{self, kafka, warehouse};
use super::postgres_server::{self, Server};
use super::table::{Aim, Figure, median, number};
use super::{machine, recordings};

/// So many that no partition has much more than another.
const PHONES: usize = 240;

const READINGS_A_PUSH: u64 = 400;

/// What `sink/src/consume/reader.rs` comes to with the sink's defaults and 18 partitions.
const FETCHES: [(&str, &str); 5] = [
    ("fetch.message.max.bytes", "233016"),
    ("queued.max.messages.kbytes", "227"),
    ("queued.min.messages", "455"),
    ("fetch.wait.max.ms", "20"),
    ("fetch.queue.backoff.ms", "1"),
];

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    broker::with("sink from Kafka", |broker| {
        let run = Run::fill(broker, PHONES, bench.size(50, 2));
        let alone = Run::fill(broker, 1, bench.size(4_000, 100));
        vec![run.snowflake(bench.size(3, 1)), alone.one_phone(), run.postgres(), run.sqlite()]
    })
}

/// Full topics.
struct Run {
    kafka: KafkaConfig,
    rows: u64,
}

impl Run {
    fn fill(broker: &str, phones: usize, pushes: u64) -> Self {
        let traces = recordings::traces();
        let kafka = broker::topics(broker);
        let rows = pushes * READINGS_A_PUSH * phones as u64;
        let phones: Vec<_> = (0..phones).map(|number| Phone::new(number, Platform::Android, 4, &traces)).collect();
        Committer::open(&kafka).commit_all(&frames(&phones, pushes));
        Self { kafka, rows }
    }

    fn rate(&self, seconds: f64) -> String {
        number(self.rows as f64 / seconds)
    }

    fn snowflake(&self, rounds: usize) -> Figure {
        let (mut ours, mut theirs, mut plain) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(self.emulated());
            theirs.push(self.consume(&FETCHES));
            plain.push(self.consume(&[]));
        }
        let mut ratios: Vec<f64> = ours.iter().zip(&theirs).map(|(ours, theirs)| theirs / ours).collect();
        Figure::new("sink from Kafka into emulated Snowflake", format!("{} rows/s", self.rate(median(&mut ours))))
            .beside(format!("consumer alone {}/s", self.rate(median(&mut theirs))))
            .aim(median(&mut ratios), &Aim::AtLeast(0.5), " ×")
            .note(format!(
                "{} rows, from the start of gaitway sink to the last row committed, group and channels included; emulator and broker on these cores; the consumer is librdkafka in a group, read_committed, with the sink's fetch settings (with its own {}/s); median of {rounds} in turns",
                number(self.rows as f64),
                self.rate(median(&mut plain)),
            ))
    }

    /// Seconds of the sink into emulated Snowflake.
    fn emulated(&self) -> f64 {
        let folder = machine::folder();
        let options = Options { keep: Keep::Counts(Look::Lines), ..Options::default() };
        let emulator = Emulator::start(options).unwrap();
        let (ca, key) = (folder.path().join("ca.pem"), folder.path().join("key.pem"));
        emulator.write_ca(&ca).unwrap();
        emulator.write_key(&key).unwrap();
        let table = format!(
            "[snowflake]\nurl = \"{}\"\naccount = \"{}\"\nuser = \"{}\"\nca_file = \"{}\"\nprivate_key_file = \"{}\"\n",
            emulator.url(),
            emulator.account(),
            emulator.user(),
            ca.display(),
            key.display(),
        );
        let stored = |_: &Service| emulator.count("RAW_DATA", "ACTIVITY_RECORDS");
        let seconds = self.sink(folder.path(), "snowflake", &table, stored);
        assert_eq!(emulator.count("RAW_DATA", "ACTIVITY_RECORDS"), self.rows);
        seconds
    }

    fn one_phone(&self) -> Figure {
        Figure::new("  what one phone left, in one partition", format!("{} rows/s", self.rate(self.emulated())))
            .beside(format!("consumer alone {}/s", self.rate(self.consume(&FETCHES))))
            .note(format!("{} rows into emulated Snowflake, one round", number(self.rows as f64)))
    }

    fn postgres(&self) -> Figure {
        const WHAT: &str = "sink from Kafka into PostgreSQL";
        if !postgres_server::is_installed() {
            return Figure::new(WHAT, "skipped: PostgreSQL's server is missing, install it");
        }
        let folder = machine::folder();
        let server = Server::start(&[]);
        let database = server.database();
        let table = format!("[postgres]\nurl = \"{}\"\n", database.url);
        let seconds = self.sink(folder.path(), "postgres", &table, accepted);
        let count = database.reader().number("SELECT count(*) FROM raw_data.activity_records");
        assert_eq!(count as u64, self.rows);
        Figure::new(WHAT, format!("{} rows/s", self.rate(seconds)))
            .beside(format!("consumer alone {}/s", self.rate(self.consume(&FETCHES))))
            .note("binary COPY, fsync on, one round; Debian's server on these cores, its files in the temporary folder")
    }

    fn sqlite(&self) -> Figure {
        let folder = machine::folder();
        let file = folder.path().join("warehouse.db");
        // Rows are not to go because the disk is full of something else.
        let table = format!("[sqlite]\npath = \"{}\"\nmin_free_percent = 0\n", file.display());
        let seconds = self.sink(folder.path(), "sqlite", &table, accepted);
        assert_eq!(warehouse::count(&file, "SELECT count(*) FROM ACTIVITY_RECORDS") as u64, self.rows);
        Figure::new("sink from Kafka into SQLite", format!("{} rows/s", self.rate(seconds)))
            .beside(format!("consumer alone {}/s", self.rate(self.consume(&FETCHES))))
            .note("the local warehouse, one round")
    }

    /// Seconds from the sink's start until `stored` says that all is.
    fn sink(&self, folder: &Path, kind: &str, table: &str, stored: impl Fn(&Service) -> u64) -> f64 {
        let group = kafka::unique("figures");
        let keys = format!("group = \"{group}\"\nwarehouse = \"{kind}\"\n");
        let begun = Instant::now();
        let sink = Service::sink(folder, &self.kafka, &keys, table);
        harness::await_that("every row is stored", || stored(&sink) == self.rows);
        let seconds = begun.elapsed().as_secs_f64();
        assert!(sink.process.terminate(Signal::SIGTERM).success());
        seconds
    }

    /// Seconds that a consumer takes to see every record of these topics, and to do nothing with it.
    fn consume(&self, fetches: &[(&str, &str)]) -> f64 {
        let begun = Instant::now();
        let mut settings = client::reader(&self.kafka, "figures").unwrap();
        settings.set("group.id", kafka::unique("figures")).set("auto.offset.reset", "earliest");
        for (name, value) in fetches {
            settings.set(*name, *value);
        }
        let consumer: BaseConsumer = settings.create().unwrap();
        let topics = &self.kafka.topics;
        consumer.subscribe(&[&topics.raw, &topics.activity, &topics.gaps]).unwrap();
        let mut seen = 0;
        while seen < self.rows {
            assert!(begun.elapsed() < harness::PATIENCE, "{seen} of {} records came", self.rows);
            if let Some(message) = consumer.poll(Duration::from_millis(100)) {
                message.unwrap();
                seen += 1;
            }
        }
        begun.elapsed().as_secs_f64()
    }
}

/// What the warehouse has accepted, which in SQL is what it has committed.
fn accepted(sink: &Service) -> u64 {
    sink.metric("gaitway_sink_rows_total") as u64
}
