//! What one push costs before it is stored, beside the parse alone.

use std::hint::black_box;
use std::time::Instant;

use gaitway_agent::ingest;
use gaitway_agent::seen::{Seen, Verdict};
use gaitway_agent::windows::{Batch, Params, SessionWindows};
use gaitway_proto::frame::Frame;
use gaitway_proto::message::{Header, Reading};
use gaitway_proto::value::Value;

use super::Bench;
use super::body::{Phone, Platform, Push};
use super::parsers::{Axes, Message, PARSERS, Parser};
use super::recordings;
use super::table::{Aim, Figure, median, number};

/// Different seconds of a recording, so that no digits are known by heart.
const BODIES: usize = 16;

/// The agent's part, for one phone.
#[derive(Default)]
pub(crate) struct Agent {
    seen: Seen,
    windows: SessionWindows,
    params: Params,
}

impl Agent {
    /// Everything between a body and the bytes that the spool stores.
    pub(crate) fn take(&mut self, body: &[u8]) -> Vec<u8> {
        let push = ingest::parse(body).unwrap();
        let Verdict::New(message_id) = self.seen.judge(push.message_id, push.hash) else {
            panic!("every push is a new one")
        };
        self.seen.admit(message_id, push.hash);
        let batch = Batch { median_time: push.median_time, samples: &push.samples };
        black_box(self.windows.observe(&self.params, &batch));
        let header = Header {
            device: push.device,
            session: push.session,
            user: push.user,
            message_id,
            received_at: 1_760_000_000_123_456,
            clock_synced: true,
        };
        push.packed.seal(&header)
    }
}

/// Microseconds a body, one entry a round.
struct Rounds {
    ours: Vec<f64>,
    parsers: [Vec<f64>; PARSERS.len()],
    bytes: usize,
    frame: usize,
}

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    let traces = recordings::traces();
    let rounds = bench.size(250, 50);
    let [android, ios] =
        [Platform::Android, Platform::Ios].map(|platform| measure(&Phone::new(0, platform, 4, &traces), rounds));
    vec![
        figure("parse + dedupe + windows + frame of a push (Android)", android),
        figure("the same from an iPhone (f32 × 9.80665, no accuracy)", ios),
    ]
}

fn figure(what: &str, rounds: Rounds) -> Figure {
    let Rounds { mut ours, mut parsers, bytes, frame } = rounds;
    let medians = parsers.each_ref().map(|times| median(&mut times.clone()));
    let fastest = (0..PARSERS.len()).min_by(|a, b| medians[*a].total_cmp(&medians[*b])).unwrap();
    let mut ratios: Vec<f64> = ours.iter().zip(&parsers[fastest]).map(|(ours, theirs)| ours / theirs).collect();
    let others: Vec<String> = (0..PARSERS.len())
        .map(|index| format!("{} {} µs", PARSERS[index].0, number(median(&mut parsers[index]))))
        .collect();
    let (name, ours) = (PARSERS[fastest].0, median(&mut ours));
    Figure::new(what, format!("{} µs", number(ours)))
        .beside(format!("{name} {} µs", number(medians[fastest])))
        .aim(median(&mut ratios), &Aim::AtMost(2.5), " ×")
        .note(format!(
            "400 readings, {bytes} bytes of JSON, frame of {frame} bytes; {} ns a reading; parse alone: {}",
            number(ours * 1000.0 / 400.0),
            others.join(", "),
        ))
}

fn measure(phone: &Phone<'_>, rounds: usize) -> Rounds {
    let mut bodies: Vec<Push> = (0..BODIES).map(|second| phone.push(second)).collect();
    for body in &bodies {
        compare(body.body());
    }
    let mut agent = Agent::default();
    let mut buffers = simd_json::Buffers::default();
    let mut all = Rounds { ours: Vec::new(), parsers: Default::default(), bytes: bodies[0].body().len(), frame: 0 };
    let mut number = 0;
    for round in 0..rounds {
        let (mut ours, mut theirs) = (0.0, [0.0; PARSERS.len()]);
        for push in &mut bodies {
            push.renumber(phone, number);
            number += 1;
            // Whoever comes first finds the caches otherwise than the next: all take turns.
            for turn in 0..=PARSERS.len() {
                let mut body = push.body().to_vec();
                let begun = Instant::now();
                match (turn + round) % (PARSERS.len() + 1) {
                    0 => {
                        all.frame = black_box(agent.take(&body)).len();
                        ours += begun.elapsed().as_secs_f64();
                    }
                    parser => {
                        let (_, parse): Parser = PARSERS[parser - 1];
                        black_box(parse(&mut body, &mut buffers));
                        theirs[parser - 1] += begun.elapsed().as_secs_f64();
                    }
                }
            }
        }
        let each = |seconds: f64| seconds * 1e6 / BODIES as f64;
        all.ours.push(each(ours));
        all.parsers.iter_mut().zip(theirs).for_each(|(times, seconds)| times.push(each(seconds)));
    }
    all
}

/// Asserts that all parsers and the agent read the same, numbers bit for bit.
fn compare(body: &[u8]) {
    let mut buffers = simd_json::Buffers::default();
    let mut texts = PARSERS.map(|_| body.to_vec());
    let mut read = PARSERS.iter().zip(&mut texts).map(|((_, parse), text)| parse(text, &mut buffers));
    let first = read.next().unwrap();
    for (other, (name, _)) in read.zip(&PARSERS[1..]) {
        assert_eq!(first.payload.len(), other.payload.len(), "{name}");
        assert!(first == other && bits(&first) == bits(&other), "{name} reads otherwise than {}", PARSERS[0].0);
    }
    let frame = Frame::decode(&Agent::default().take(body)).unwrap().to_message();
    assert_eq!((frame.header.message_id, &*frame.header.device), (Some(first.id), first.device));
    assert_eq!(frame.readings.len(), first.payload.len());
    for (ours, theirs) in frame.readings.iter().zip(&first.payload) {
        let Reading::Plain(ours) = ours else { panic!("a reading of the app's format was not taken as one") };
        assert_eq!((&*ours.name, ours.time, ours.accuracy), (theirs.name, theirs.time, theirs.accuracy));
        let axis = |key: &str| match ours.values.get(key).unwrap() {
            Value::F64(number) => number.to_bits(),
            Value::I64(number) => (*number as f64).to_bits(),
            other => panic!("{other:?} is no number"),
        };
        assert_eq!(["x", "y", "z"].map(axis), axes_bits(&theirs.values));
    }
}

fn bits(message: &Message<'_>) -> Vec<[u64; 3]> {
    message.payload.iter().map(|reading| axes_bits(&reading.values)).collect()
}

fn axes_bits(axes: &Axes) -> [u64; 3] {
    [axes.x, axes.y, axes.z].map(f64::to_bits)
}
