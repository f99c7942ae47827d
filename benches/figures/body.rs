//! Push bodies as the app prints them, and the same body again under another number and time at little cost.

use std::fmt::Write as _;

use super::harness::Random;
use super::recordings::Trace;

/// Readings a second of each sensor.
const RATE: usize = 100;

/// The first `messageId`: as many digits as the last, so that a body keeps its length.
pub(crate) const FIRST_ID: u64 = 1_000_000;

/// Jitter of a reading's time, in steps of a JavaScript number's resolution.
const JITTER: u64 = 4000;
const RESOLUTION: i64 = 256;

/// What sends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Platform {
    /// Numbers are f32; readings have an `accuracy`.
    Android,
    /// Numbers are f32 × 9.80665.
    Ios,
}

/// One phone: its names and what its sensors feel.
pub(crate) struct Phone<'t> {
    pub(crate) device: String,
    pub(crate) session: String,
    pub(crate) platform: Platform,
    /// Names and traces of its sensors; each sensor reads another trace.
    sensors: Vec<(&'static str, &'t Trace)>,
    /// Seconds since the Unix epoch at which message [`FIRST_ID`] begins.
    pub(crate) start: u64,
}

/// One second of readings, ready to be sent again and again.
pub(crate) struct Push {
    text: Vec<u8>,
    id_at: usize,
    /// Where the seconds of each time stand, and how far they are past the push's own.
    seconds_at: Vec<(usize, u64)>,
    /// What comes before the body.
    head: usize,
    pub(crate) readings: u32,
}

impl<'t> Phone<'t> {
    /// Phone `number` with the first `sensors` of eight.
    pub(crate) fn new(number: usize, platform: Platform, sensors: usize, traces: &'t [Trace]) -> Self {
        const SENSORS: [&str; 8] = [
            "accelerometer",
            "gravity",
            "gyroscope",
            "magnetometer",
            "totalacceleration",
            "accelerometeruncalibrated",
            "gyroscopeuncalibrated",
            "magnetometeruncalibrated",
        ];
        let sensors = SENSORS.iter().take(sensors).enumerate();
        Self {
            device: format!("3f6c0a52-0000-4000-8000-{number:012}"),
            session: format!("9b1d7e44-0000-4000-8000-{number:012}"),
            platform,
            sensors: sensors.map(|(index, name)| (*name, &traces[(number + index) % traces.len()])).collect(),
            start: 1_760_000_000 + number as u64 * 100_000,
        }
    }

    /// The readings of second `second` of the traces, as a request to `/data`.
    pub(crate) fn push(&self, second: usize) -> Push {
        let mut random = Random::new(second as u64 ^ 0x9e37);
        let mut body =
            format!(r#"{{"messageId":{FIRST_ID},"sessionId":"{}","deviceId":"{}","#, self.session, self.device);
        let mut seconds_at = Vec::new();
        body.push_str(r#""payload":["#);
        for tick in 0..RATE {
            for (name, trace) in &self.sensors {
                let jitter = random.below(JITTER) as i64;
                let nanos = (tick * 1_000_000_000 / RATE) as i64 + jitter * RESOLUTION;
                let time = printed_time(self.start as i64 * 1_000_000_000 + nanos);
                let comma = if seconds_at.is_empty() { "" } else { "," };
                write!(body, r#"{comma}{{"name":"{name}","time":"#).unwrap();
                seconds_at.push((body.len(), nanos as u64 / 1_000_000_000));
                body.push_str(&time);
                if self.platform == Platform::Android {
                    body.push_str(r#","accuracy":3"#);
                }
                let [x, y, z] = trace[(second * RATE + tick) % trace.len()].map(|axis| printed(self.number(axis)));
                write!(body, r#","values":{{"z":{z},"y":{y},"x":{x}}}}}"#).unwrap();
            }
        }
        body.push_str("]}");
        let head = format!(
            "POST /data HTTP/1.1\r\nHost: agent\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        Push {
            id_at: head.len() + r#"{"messageId":"#.len(),
            readings: seconds_at.len() as u32,
            seconds_at: seconds_at.into_iter().map(|(at, past)| (at + head.len(), past)).collect(),
            head: head.len(),
            text: (head + &body).into_bytes(),
        }
    }

    /// What the phone's sensor would say.
    fn number(&self, axis: f64) -> f64 {
        match self.platform {
            Platform::Android => f64::from(axis as f32),
            Platform::Ios => f64::from((axis / 9.80665) as f32) * 9.80665,
        }
    }
}

impl Push {
    /// Makes it message `number` after the first of `phone`, that many seconds later.
    pub(crate) fn renumber(&mut self, phone: &Phone<'_>, number: u64) {
        write_digits(&mut self.text[self.id_at..self.id_at + 7], FIRST_ID + number);
        for &(at, past) in &self.seconds_at {
            write_digits(&mut self.text[at..at + 10], phone.start + number + past);
        }
    }

    /// Head and body.
    pub(crate) fn request(&self) -> &[u8] {
        &self.text
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.text[self.head..]
    }
}

fn write_digits(place: &mut [u8], mut number: u64) {
    for digit in place.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    assert_eq!(number, 0, "more digits than before");
}

/// A number as JavaScript prints it: as few digits as give it back.
fn printed(number: f64) -> String {
    match number.abs() {
        0.0 => "0".to_owned(),
        size if size < 1e-6 => format!("{number:e}"),
        _ => format!("{number}"),
    }
}

/// Nanoseconds as JavaScript prints them: the digits that tell a double, then zeros.
fn printed_time(nanoseconds: i64) -> String {
    let digits = format!("{:e}", nanoseconds as f64);
    let (digits, exponent) = digits.split_once('e').unwrap();
    let digits = digits.replace('.', "");
    let length = exponent.parse::<usize>().unwrap() + 1;
    format!("{digits:0<length$}")
}
