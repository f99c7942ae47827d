//! An emulated account, a channel into it, and whoever reads Kafka for it.

use std::time::{Duration, Instant};

use gaitway_emulator::{Emulator, Options as Emulated};
use gaitway_proto::ledger::{Ledger as _, LedgerError, Mark, Source};
use gaitway_proto::record::{Body, Metadata, Place, Raw, Record};
use gaitway_proto::schema::{RAW, RECORD_METADATA};
use gaitway_service::clock;
use gaitway_sink::snowflake::{Channel, Client, Options, Pace};
use tempfile::TempDir;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio_util::sync::CancellationToken;

pub(crate) const TOPIC: &str = "raw_sensor_data";
pub(crate) const PARTITION: i32 = 3;
pub(crate) const CHANNEL: &str = "gaitway_raw_sensor_data_3";

/// Like [`Pace::default`], in a hurry.
pub(crate) const PACE: Pace = Pace {
    first: Duration::from_millis(10),
    most: Duration::from_millis(80),
    patience: Duration::from_secs(3),
    status: Duration::from_millis(5),
    idle: Duration::from_millis(20),
    answer: Duration::from_secs(2),
};

pub(crate) struct Account {
    pub(crate) emulator: Emulator,
    pub(crate) stop: CancellationToken,
    runtime: Runtime,
    dir: TempDir,
}

impl Account {
    pub(crate) fn new() -> Self {
        Self::with(Emulated { commit_lag: Duration::from_millis(20), ..Emulated::default() })
    }

    pub(crate) fn with(options: Emulated) -> Self {
        let emulator = Emulator::start(options).unwrap();
        let dir = tempfile::tempdir().unwrap();
        emulator.write_ca(&dir.path().join("ca.pem")).unwrap();
        emulator.write_key(&dir.path().join("key.p8")).unwrap();
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        Self { emulator, stop: CancellationToken::new(), runtime, dir }
    }

    pub(crate) fn options(&self) -> Options {
        Options {
            url: Some(self.emulator.url()),
            ca_file: Some(self.dir.path().join("ca.pem")),
            role: Some(self.emulator.role().to_ascii_lowercase()),
            ..Options::new(self.emulator.account(), self.emulator.user(), self.dir.path().join("key.p8"))
        }
    }

    pub(crate) fn runtime(&self) -> Handle {
        self.runtime.handle().clone()
    }

    pub(crate) fn client(&self) -> Client {
        self.client_with(self.options(), PACE, clock::now_micros)
    }

    pub(crate) fn client_with(&self, options: Options, pace: Pace, clock: fn() -> i64) -> Client {
        Client::new(options, self.runtime(), self.stop.clone()).unwrap().paced(pace, clock)
    }

    pub(crate) fn channel(&self) -> Channel {
        self.client().channel(&RAW, TOPIC, PARTITION)
    }

    /// The offsets of all rows that are stored, in the order of storage.
    pub(crate) fn stored(&self) -> Vec<u64> {
        let rows = self.emulator.rows(RAW.schema, RAW.name);
        rows.iter().map(|row| row[RECORD_METADATA]["offset"].as_u64().unwrap()).collect()
    }
}

pub(crate) fn source() -> Source {
    Source::partition(TOPIC, PARTITION)
}

pub(crate) fn position(channel: &mut Channel) -> Result<Option<u64>, LedgerError> {
    Ok(channel.committed(&[source()])?.get(&source()).copied())
}

/// Submits one row for each offset behind `from`, up to `to`.
pub(crate) fn submit(channel: &mut Channel, from: Option<u64>, to: u64) -> Result<(), LedgerError> {
    let places = places(from.map_or(0, |from| from + 1), to);
    channel.submit(&records(&places), &[Mark { source: source(), from, to }])
}

pub(crate) fn places(first: u64, last: u64) -> Vec<Place<'static>> {
    let place =
        |offset| Place { topic: TOPIC, partition: PARTITION, offset, key: Some("phone"), written: None, unknown: None };
    (first as i64..=last as i64).map(place).collect()
}

pub(crate) fn records<'a>(places: &'a [Place<'a>]) -> Vec<Record<'a>> {
    let record = |place: &'a Place<'a>| Record {
        metadata: Metadata { name: None, place: Some(place) },
        body: Body::Raw(Raw {
            message_id: Some(place.offset as u64),
            session: "walk",
            device: "phone",
            sensor: Some("accelerometer"),
            xyz: [Some(0.1), Some(-0.2), Some(9.81)],
            accuracy: Some(3),
            timestamp: Some(1_700_000_000_000_000_000 + place.offset),
            reading: None,
            reading_index: 0,
            user: None,
            received_at: 1_700_000_000_000_000,
        }),
    };
    places.iter().map(record).collect()
}

/// What whoever reads Kafka does: goes on from the position, and after an error opens and reads anew. Everything up to `to` in
/// batches of five, until it is committed; the errors on the way. An error that somebody must look at ends it.
pub(crate) fn deliver(channel: &mut Channel, to: u64) -> Result<Vec<LedgerError>, LedgerError> {
    let end = Instant::now() + Duration::from_secs(30);
    let mut errors = Vec::new();
    let mut at = None;
    let mut ready = false;
    loop {
        assert!(Instant::now() < end, "not delivered: {errors:?}");
        let outcome = if !ready {
            channel.recover().and_then(|()| position(channel)).map(|position| at = position)
        } else if at < Some(to) {
            let next = at.map_or(4, |at| at + 5).min(to);
            submit(channel, at, next).map(|()| at = Some(next))
        } else {
            match position(channel) {
                Ok(position) if position == Some(to) => return Ok(errors),
                other => other.map(|_| std::thread::sleep(Duration::from_millis(5))),
            }
        };
        ready = outcome.is_ok();
        match outcome {
            Ok(()) => {}
            Err(error @ (LedgerError::Unavailable(_) | LedgerError::Conflict { .. })) => errors.push(error),
            Err(error) => return Err(error),
        }
    }
}
