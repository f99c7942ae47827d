//! Cuts the readings of one session into push messages, as the app does at the end of each batch period.
//!
//! - Every reading is in exactly one message, and the messages hold the readings in the order they came.
//! - Message ids count up from 0 without a hole; no message is empty.
//! - Readings of one message lie in one batch period of phone time, counted from the first reading.
//! - A message stays below the greatest body that an agent takes, unless a single reading is larger.

use bytes::Bytes;
use gaitway_proto::limits;

use super::reading::Reading;

/// What ids and punctuation around the readings take at most.
const HEAD_ROOM: usize = 4 * 1024;

/// One push message without the ids of its phone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Message {
    /// `messageId`.
    pub(super) id: u64,
    /// The elements of `payload` as JSON with commas between them.
    pub(super) payload: Bytes,
    /// How many elements.
    pub(super) readings: u64,
    /// Their greatest time, nanoseconds since the Unix epoch.
    pub(super) time: i64,
}

/// Takes readings in order of time, gives messages.
#[derive(Debug)]
pub(super) struct Cutter {
    batch: u64,
    origin: Option<i64>,
    period: u64,
    next_id: u64,
    payload: Vec<u8>,
    readings: u64,
    time: i64,
}

impl Cutter {
    /// A cutter for one session; `batch` is the period in nanoseconds, at least 1.
    pub(super) fn new(batch: u64) -> Self {
        Self {
            batch: batch.max(1),
            origin: None,
            period: 0,
            next_id: 0,
            payload: Vec::new(),
            readings: 0,
            time: i64::MIN,
        }
    }

    /// Takes the next reading; gives the message that it completes, which it is not part of.
    pub(super) fn push(&mut self, reading: &Reading) -> Option<Message> {
        let origin = *self.origin.get_or_insert(reading.time);
        let period = reading.time.abs_diff(origin) / self.batch;
        let size = self.payload.len() + 1 + reading.json.len();
        let complete = (period != self.period || size > limits::MAX_BODY - HEAD_ROOM).then(|| self.finish()).flatten();
        self.period = period;
        if !self.payload.is_empty() {
            self.payload.push(b',');
        }
        self.payload.extend_from_slice(reading.json.as_bytes());
        self.readings += 1;
        self.time = self.time.max(reading.time);
        complete
    }

    /// The message still open, if there is one.
    pub(super) fn finish(&mut self) -> Option<Message> {
        if self.readings == 0 {
            return None;
        }
        let id = self.next_id;
        self.next_id += 1;
        let capacity = self.payload.len();
        let payload = std::mem::replace(&mut self.payload, Vec::with_capacity(capacity));
        let readings = std::mem::take(&mut self.readings);
        let time = std::mem::replace(&mut self.time, i64::MIN);
        Some(Message { id, payload: payload.into(), readings, time })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reading(number: usize, time: i64, padding: usize) -> Reading {
        Reading { time, json: format!(r#"{{"n":{number},"time":{time},"pad":"{}"}}"#, "x".repeat(padding)) }
    }

    fn cut(batch: u64, readings: &[Reading]) -> Vec<Message> {
        let mut cutter = Cutter::new(batch);
        let mut messages: Vec<_> = readings.iter().filter_map(|reading| cutter.push(reading)).collect();
        messages.extend(cutter.finish());
        assert_eq!(cutter.finish(), None);
        messages
    }

    fn elements(message: &Message) -> Vec<serde_json::Value> {
        serde_json::from_slice(&[b"[", message.payload.as_ref(), b"]"].concat()).unwrap()
    }

    proptest! {
        #[test]
        fn every_reading_is_in_exactly_one_message_in_order(
            mut times in prop::collection::vec(prop_oneof![0i64..5_000, any::<i64>()], 0..200),
            batch in 1u64..2_000,
        ) {
            times.sort_unstable();
            let readings: Vec<_> = times.iter().enumerate().map(|(n, t)| reading(n, *t, 0)).collect();
            let messages = cut(batch, &readings);
            let mut seen = Vec::new();
            for (id, message) in (0u64..).zip(&messages) {
                let elements = elements(message);
                prop_assert_eq!(message.id, id);
                prop_assert_eq!(message.readings, elements.len() as u64);
                prop_assert!(!elements.is_empty());
                let times: Vec<_> = elements.iter().map(|e| e["time"].as_i64().unwrap()).collect();
                prop_assert_eq!(message.time, *times.iter().max().unwrap());
                let period = |t: i64| t.abs_diff(readings[0].time) / batch;
                prop_assert!(times.iter().all(|t| period(*t) == period(times[0])));
                seen.extend(elements.iter().map(|e| e["n"].as_u64().unwrap()));
            }
            prop_assert_eq!(seen, (0..readings.len() as u64).collect::<Vec<_>>());
            let distinct: std::collections::BTreeSet<_> =
                times.iter().map(|t| t.abs_diff(times[0]) / batch).collect();
            prop_assert_eq!(messages.len(), distinct.len());
        }
    }

    #[test]
    fn a_message_stays_below_the_greatest_body() {
        let mega = 1024 * 1024;
        let readings: Vec<_> = (0..20).map(|n| reading(n, 0, mega)).collect();
        let messages = cut(1_000, &readings);
        assert_eq!(messages.iter().map(|m| m.readings).collect::<Vec<_>>(), [7, 7, 6]);
        assert!(messages.iter().all(|m| m.payload.len() < limits::MAX_BODY - HEAD_ROOM));
        let alone = cut(1_000, &[reading(0, 0, 1), reading(1, 0, 9 * mega), reading(2, 0, 1)]);
        assert_eq!(alone.iter().map(|m| m.readings).collect::<Vec<_>>(), [1, 1, 1]);
    }
}
