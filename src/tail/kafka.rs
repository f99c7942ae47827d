//! Committed records of a topic; the place is `PARTITION@OFFSET`.

use std::time::{Duration, Instant};

use gaitway_kafka::KafkaConfig;
use gaitway_kafka::records::{self, Reader as Records};
use gaitway_proto::record::{Metadata, Place};
use gaitway_proto::schema::Table;

use super::{BATCH, Found, PAUSE, Reader, Start};

const CLIENT: &str = "gaitway-tail";

/// Offsets without a record beside the one that ends each transaction: of a few that were aborted.
const NOTHING: u32 = 10_000;

/// See the module.
pub(super) struct Committed {
    records: Records,
    topic: String,
    table: &'static Table,
}

impl Committed {
    pub(super) fn open(config: &KafkaConfig, table: &'static Table, start: Start) -> Result<Self, String> {
        let topic = config.topics.of(table).to_owned();
        let start = match start {
            Start::Now => records::Start::Now,
            Start::Beginning => records::Start::Beginning,
            Start::Last(count) => records::Start::Last(count.saturating_mul(2).saturating_add(NOTHING)),
        };
        Ok(Self { records: Records::open(config, CLIENT, &topic, start)?, topic, table })
    }
}

impl Reader for Committed {
    fn read(&mut self, out: &mut Vec<Found>) -> Result<(), String> {
        let Self { records, topic, table } = self;
        let begun = Instant::now();
        while out.len() < BATCH && begun.elapsed() < PAUSE {
            let wait = if out.is_empty() { PAUSE } else { Duration::ZERO };
            let came = records.next(wait, |seen| {
                let (partition, offset, key, written) = (seen.partition, seen.offset, seen.key, seen.written);
                let place = Place { topic, partition, offset, key, written, unknown: None };
                let name = seen.name.as_ref().map(|name| name.as_name());
                let metadata = Metadata { name, place: Some(&place) }.to_json();
                let value = seen.value.to_vec();
                out.push(Found { place: format!("{partition}@{offset}"), metadata, value, table });
            })?;
            if !came {
                break;
            }
        }
        Ok(())
    }

    fn is_caught_up(&self) -> bool {
        self.records.is_caught_up()
    }
}
