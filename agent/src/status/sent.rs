//! What a phone sends: sensors and how often each is read. Pure.
//!
//! - At most [`MAX_SENSORS`] sensors a phone, names of at most [`MAX_NAME`] bytes: names are what a stranger may send.
//! - The phone's clock measures, so a push that comes late changes nothing.
//! - A sensor that is not heard of for [`FORGET`] is not sent any more.

use std::collections::BTreeMap;

use gaitway_proto::frame::Builder;

use super::Sensor;

/// Sensors shown of a phone.
pub const MAX_SENSORS: usize = 64;

/// Bytes of a sensor's name that are shown.
pub const MAX_NAME: usize = 64;

/// A time this far from its message's median says nothing, ns.
const WILD: i64 = 60_000_000_000;

/// Rates are measured over one to two of these, ns.
const SPAN: i64 = 5_000_000_000;

/// Readings so far from the last ones are no neighbours of theirs, ns: the slowest sensor is read once a minute.
const APART: i64 = 90_000_000_000;

/// After so long without a reading a sensor is forgotten, ns.
const FORGET: i64 = 300_000_000_000;

/// What one push has of one sensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// As the app calls it; a long one is cut.
    pub name: String,
    /// Readings.
    pub count: u32,
    /// Time of the first reading, ns, phone's clock.
    pub first: i64,
    /// Time of the last.
    pub last: i64,
}

/// The sensors in a message that is being read. `median`: of the times of all its readings.
pub(crate) fn sent(message: &Builder, median: Option<i64>) -> Vec<Sent> {
    let Some(median) = median else { return Vec::new() };
    let mut found: Vec<Sent> = Vec::new();
    for (name, times) in message.sensors() {
        let name = cut(name);
        let (mut count, mut first, mut last) = (0, i64::MAX, i64::MIN);
        for &time in times.iter().filter(|time| time.abs_diff(median) <= WILD.unsigned_abs()) {
            (count, first, last) = (count + 1, first.min(time), last.max(time));
        }
        // The same sensor may send readings of several shapes.
        if count == 0 {
            continue;
        }
        if let Some(sent) = found.iter_mut().find(|sent| sent.name == name) {
            (sent.count, sent.first, sent.last) = (sent.count + count, sent.first.min(first), sent.last.max(last));
        } else if found.len() < MAX_SENSORS {
            found.push(Sent { name: name.to_owned(), count, first, last });
        }
    }
    found
}

fn cut(name: &str) -> &str {
    let end = (0..=MAX_NAME.min(name.len())).rfind(|end| name.is_char_boundary(*end));
    &name[..end.unwrap_or(0)]
}

/// The sensors of one phone.
#[derive(Debug, Clone, Default)]
pub(super) struct Meters {
    sensors: BTreeMap<String, Meter>,
}

/// Readings of one sensor: those of the present span and those of the one before.
#[derive(Debug, Clone, Copy)]
struct Meter {
    before: Option<Span>,
    now: Span,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    count: u64,
    first: i64,
    last: i64,
}

impl Meters {
    /// Takes what the next push has.
    pub(super) fn take(&mut self, sent: Vec<Sent>) {
        let Some(newest) = sent.iter().map(|sent| sent.last).max() else { return };
        self.sensors.retain(|_, meter| newest.abs_diff(meter.now.last) <= FORGET.unsigned_abs());
        for Sent { name, count, first, last } in sent {
            let span = Span { count: u64::from(count), first, last };
            if let Some(meter) = self.sensors.get_mut(&name) {
                meter.take(span);
            } else if self.sensors.len() < MAX_SENSORS {
                self.sensors.insert(name, Meter { before: None, now: span });
            }
        }
    }

    /// Begins anew: after a pause, or in another recording.
    pub(super) fn clear(&mut self) {
        self.sensors.clear();
    }

    /// What it sends, by name.
    pub(super) fn shown(&self) -> Vec<Sensor> {
        self.sensors.iter().map(|(name, meter)| Sensor { name: name.clone(), hertz: meter.hertz() }).collect()
    }
}

impl Meter {
    fn take(&mut self, span: Span) {
        if span.first - self.now.last > APART || self.now.first - span.last > APART {
            *self = Self { before: None, now: span };
        } else if span.last < self.now.first {
            // A push that comes late is of a time that was measured.
        } else if self.now.last - self.now.first >= SPAN {
            self.before = Some(self.now);
            self.now = span;
        } else {
            self.now = self.now.and(span);
        }
    }

    /// Readings per second; 0 where there is but one.
    fn hertz(&self) -> f64 {
        let Span { count, first, last } = self.before.map_or(self.now, |before| before.and(self.now));
        if last > first { (count - 1) as f64 / ((last - first) as f64 / 1e9) } else { 0.0 }
    }
}

impl Span {
    fn and(self, other: Self) -> Self {
        Self { count: self.count + other.count, first: self.first.min(other.first), last: self.last.max(other.last) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, hertz: i64, second: i64) -> Sent {
        let first = second * 1_000_000_000;
        Sent { name: name.to_owned(), count: hertz as u32, first, last: first + 1_000_000_000 / hertz * (hertz - 1) }
    }

    #[test]
    fn a_sensor_is_read_as_often_as_the_phones_clock_says_whatever_is_lost_or_slow() {
        let mut meters = Meters::default();
        for second in 0..130 {
            let mut push = vec![at("accelerometer", 100, second), at("location", 1, second)];
            if second % 60 == 0 {
                push.push(at("battery", 1, second));
            }
            meters.take(push);
        }
        let shown: Vec<(String, i64)> =
            meters.shown().into_iter().map(|s| (s.name, (s.hertz * 1000.0).round() as i64)).collect();
        let expected = [("accelerometer", 100_000), ("battery", 17), ("location", 1000)];
        assert_eq!(shown, expected.map(|(name, hertz)| (name.to_owned(), hertz)));
    }

    #[test]
    fn a_rate_that_changes_is_known_within_ten_seconds_and_a_sensor_that_ends_is_forgotten() {
        let mut meters = Meters::default();
        for second in 0..20 {
            meters.take(vec![at("accelerometer", 100, second), at("gyroscope", 100, second)]);
        }
        for second in 20..32 {
            meters.take(vec![at("accelerometer", 50, second)]);
        }
        let hertz = |meters: &Meters| meters.shown().iter().map(|s| s.hertz.round() as i64).collect::<Vec<_>>();
        assert_eq!(hertz(&meters), [50, 100]);
        meters.take(vec![at("accelerometer", 50, 330)]);
        assert_eq!(meters.shown().len(), 1);
    }

    #[test]
    fn a_push_that_comes_late_and_a_clock_that_is_set_back_do_not_lower_a_rate() {
        let mut meters = Meters::default();
        for second in (100..120).chain([101, 102]).chain(120..125) {
            meters.take(vec![at("accelerometer", 100, second)]);
        }
        assert_eq!(meters.shown()[0].hertz.round() as i64, 100);
        meters.take(vec![at("accelerometer", 50, 3)]);
        assert_eq!(meters.shown()[0].hertz.round() as i64, 50);
    }

    #[test]
    fn sensors_and_their_names_are_bounded() {
        let mut meters = Meters::default();
        for second in 0..10 {
            meters.take((0..100).map(|n| at(&format!("sensor {second} {n}"), 10, second)).collect());
        }
        assert_eq!(meters.shown().len(), MAX_SENSORS);
        assert_eq!(cut(&"ä".repeat(100)).len(), MAX_NAME);
        assert_eq!(cut(&format!("a{}", "ä".repeat(100))).len(), MAX_NAME - 1);
    }
}
