//! Records to store: plain ones by the dozen, and a set with every value that a store might bend.

use std::borrow::Cow;

use crate::ledger::{Epoch, Source, Stream};
use crate::record::{Activity, Body, GapNotice, Origin, Place, Raw, Record, Written};
use crate::topic::AgentId;

/// One stream of an agent, or a Kafka partition with the records of one.
#[derive(Debug, Clone)]
pub(super) struct Feed {
    agent: AgentId,
    epoch: Epoch,
    stream: Stream,
    partition: Option<(&'static str, i32)>,
}

/// 2023-11-14T22:13:20Z, nanoseconds.
const BASE: i64 = 1_700_000_000_000_000_000;

impl Feed {
    pub(super) fn new(agent: &str, epoch: u64, stream: Stream) -> Self {
        let agent = agent.parse().expect("samples have valid agent ids");
        Self { agent, epoch: Epoch::from_random(epoch), stream, partition: None }
    }

    /// The readings of a Kafka partition; a record's seq is its offset.
    pub(super) fn of_partition(topic: &'static str, partition: i32) -> Self {
        Self { partition: Some((topic, partition)), ..Self::new("pi", 0x11, Stream::Raw) }
    }

    /// Whether its gaps go the same way.
    pub(super) fn has_gaps(&self) -> bool {
        self.partition.is_none()
    }

    pub(super) fn source(&self) -> Source {
        match self.partition {
            Some((topic, partition)) => Source::partition(topic, partition),
            None => Source::stream(&self.agent, self.epoch, self.stream),
        }
    }

    pub(super) fn heir(&self) -> Source {
        Source::heir(&self.agent, self.epoch)
    }

    /// `count` records named `seq`.
    pub(super) fn frame(&self, seq: u64, count: u32) -> Vec<Record<'_>> {
        (0..count).map(|index| self.record(seq, index, self.plain(seq, index))).collect()
    }

    /// One gap record named `seq`.
    pub(super) fn gap(&self, seq: u64, to_seq: u64) -> Record<'_> {
        let reason = "spool is full: \"dropped\"".to_owned();
        let notice = GapNotice { to_seq, messages: Some(3), readings: None, reason, noticed_at: BASE / 1000 };
        self.record(seq, 0, Body::Gap(notice))
    }

    /// A record for every value that a store might bend.
    pub(super) fn odd(&self, seq: u64) -> Vec<Record<'_>> {
        odd_readings().into_iter().zip(0..).map(|(raw, index)| self.record(seq, index, Body::Raw(raw))).collect()
    }

    fn record<'a>(&'a self, seq: u64, index: u32, body: Body<'a>) -> Record<'a> {
        let synced = [Some(true), Some(false), None][(seq % 3) as usize];
        let Self { agent, epoch, stream, partition } = self;
        let origin = Origin { agent, epoch: *epoch, ordinal: 7, stream: *stream, seq };
        let mut metadata = origin.metadata(index, synced);
        // A record only borrows its place; a test's few may stay.
        metadata.place = partition.map(|(topic, partition)| {
            let written = Some(Written::CreateTime(BASE.div_euclid(1_000_000).saturating_add(seq as i64)));
            let (offset, key) = (seq as i64, Some("phone"));
            &*Box::leak(Box::new(Place { topic, partition, offset, key, written, unknown: None }))
        });
        Record { metadata, body }
    }

    fn plain(&self, seq: u64, index: u32) -> Body<'static> {
        // Instants in whole microseconds: a PostgreSQL `timestamp` holds no more.
        let at =
            BASE.saturating_add((seq as i64).saturating_mul(1_000_000_000)).saturating_add(i64::from(index) * 1000);
        let device = if index.is_multiple_of(2) { "phone" } else { "watch" };
        let sample = f64::from(index) + 0.1;
        match self.stream {
            Stream::Raw => Body::Raw(Raw {
                message_id: Some(seq % (1 << 53)),
                session: "walk",
                device,
                sensor: Some("accelerometer"),
                xyz: [Some(sample), Some(-sample), Some(9.806_65)],
                accuracy: Some(3),
                timestamp: Some(at),
                reading: None,
                reading_index: index,
                user: None,
                received_at: at / 1000,
            }),
            Stream::Activity => Body::Activity(Activity {
                session: "walk",
                device,
                activity: "walking",
                confidence: 0.75,
                avg_magnitude: sample,
                window_start: at,
                window_end: at.saturating_add(10_000_000_000),
                sample_count: 500,
                classifier: "threshold",
                revision: index,
            }),
        }
    }
}

fn odd_readings() -> Vec<Raw<'static>> {
    let blank = Raw {
        message_id: None,
        session: "",
        device: "phone",
        sensor: None,
        xyz: [None; 3],
        accuracy: None,
        timestamp: None,
        reading: None,
        reading_index: 0,
        user: None,
        received_at: 0,
    };
    let floats = [
        [0.1 + 0.2, 1.0 / 3.0, -9.806_65],
        [0.0, -1.0, 1.0],
        [f64::MAX, f64::MIN, f64::MIN_POSITIVE],
        [5e-324, 1e308, -1e-300],
        [9_007_199_254_740_993.0, 1e22, 123_456_789_012_345_680.0],
    ];
    let texts =
        ["it's", "\"quoted\"", "back\\slash", "two\nlines\tand more", "naïve 加速度 🏃‍♀️", "%s ? ?1 :x $1 ; --", "null"];
    let objects = [
        "{}",
        r#"{"values":{"x":null,"y":"1.5","z":[1,[2,{"deep":true}]]},"q":"it's \"so\" \\ \u00e9 🏃"}"#,
        r#"{"big":9007199254740993,"most":9223372036854775807,"least":-9223372036854775808,"tenth":0.1}"#,
    ];
    let integers = [i64::MAX, i64::MIN, 0, -1, (1 << 53) + 1];

    let mut readings = vec![blank.clone()];
    readings.extend(floats.map(|xyz| Raw { xyz: xyz.map(Some), ..blank.clone() }));
    readings.extend(texts.map(|text| Raw { sensor: Some(text), session: text, user: Some(text), ..blank.clone() }));
    readings.extend(objects.map(|json| Raw { reading: Some(Cow::Borrowed(json)), ..blank.clone() }));
    readings.extend(integers.map(|v| Raw { accuracy: Some(v), timestamp: Some(v), ..blank.clone() }));
    readings.push(Raw {
        message_id: Some(1 << 53),
        reading_index: u32::MAX,
        received_at: 1_700_000_000_123_456,
        ..blank
    });
    readings
}
