//! Durable ingest over HTTP, as fast as it is answered.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gaitway_proto::frame::Frame;
use gaitway_proto::message::Reading;
use gaitway_proto::value::Value;
use nix::sys::signal::Signal;

use super::Bench;
use super::body::{FIRST_ID, Phone, Platform, Push};
use super::harness::warehouse;
use super::parsers::Message;
use super::serve::{Agent, Connection, NO_RELAY};
use super::table::{Aim, Figure, median, number};
use super::{machine, proc, recordings};

const PHONES: usize = 16;

/// Different seconds of each phone.
const BODIES: usize = 4;

const READINGS: u32 = 400;

/// One frame in so many is compared value by value.
const COMPARED: u64 = 16;

/// What passed between two looks at the clock.
struct Span {
    readings_a_second: f64,
    agent_micros: f64,
    generator_micros: f64,
    /// Cores that others kept busy.
    others: f64,
}

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    let traces = recordings::traces();
    let phones: Vec<Phone<'_>> = (0..PHONES).map(|number| Phone::new(number, Platform::Android, 4, &traces)).collect();
    let folder = machine::folder();
    let agent = Agent::start(folder.path(), NO_RELAY);
    let length = Duration::from_secs(bench.size(5, 2));

    let (answered, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let (spans, pushed) = std::thread::scope(|scope| {
        let pushing: Vec<_> = phones
            .iter()
            .map(|phone| {
                let (answered, stop, to) = (&answered, &stop, agent.address);
                scope.spawn(move || push_on(phone, to, answered, stop))
            })
            .collect();
        std::thread::sleep(Duration::from_secs(1));
        let pid = agent.process.pid();
        let spans: Vec<Span> = (0..3).map(|_| span(pid, length, &answered)).collect();
        stop.store(true, Ordering::Relaxed);
        (spans, pushing.into_iter().map(|thread| thread.join().unwrap()).collect::<Vec<u64>>())
    });
    assert!(agent.process.terminate(Signal::SIGTERM).success());
    verify(&folder.path().join("spool.db"), &phones, &pushed);

    let middle = |pick: fn(&Span) -> f64| median(&mut spans.iter().map(pick).collect::<Vec<_>>());
    let rate = middle(|span| span.readings_a_second);
    let figure = Figure::new("durable ingest over HTTP, 16 phones, 400 readings a push", format!("{} readings/s", number(rate)))
        .beside("a Flask server, not durable: 38,000/s, tuned 169,000/s")
        .aim(rate, &Aim::AtLeast(1_000_000.0), "/s")
        .note(format!(
            "CPU a reading: agent {} µs, load generator {} µs on the same cores, of which others used {}; {} pushes answered, all of them and nothing else in the spool",
            number(middle(|span| span.agent_micros)),
            number(middle(|span| span.generator_micros)),
            number(middle(|span| span.others)),
            number(pushed.iter().sum::<u64>() as f64),
        ));
    vec![figure]
}

/// Pushes until `stop`; gives how many were answered.
fn push_on(phone: &Phone<'_>, to: std::net::SocketAddr, answered: &AtomicU64, stop: &AtomicBool) -> u64 {
    let mut bodies: Vec<Push> = (0..BODIES).map(|second| phone.push(second)).collect();
    let mut connection = Connection::open(to).unwrap();
    let mut count = 0;
    while !stop.load(Ordering::Relaxed) {
        let push = &mut bodies[count as usize % BODIES];
        push.renumber(phone, count);
        connection.push(push.request(), READINGS).unwrap();
        count += 1;
        answered.fetch_add(1, Ordering::Relaxed);
    }
    count
}

fn span(agent: u32, length: Duration, answered: &AtomicU64) -> Span {
    let look = || {
        let cpu = [proc::cpu_seconds(agent), proc::cpu_seconds("self"), proc::busy_seconds()];
        (Instant::now(), cpu, answered.load(Ordering::Relaxed) as f64 * f64::from(READINGS))
    };
    let before = look();
    std::thread::sleep(length);
    let after = look();
    let (seconds, readings) = ((after.0 - before.0).as_secs_f64(), after.2 - before.2);
    let [agent, generator, all] = [0, 1, 2].map(|of| after.1[of] - before.1[of]);
    Span {
        readings_a_second: readings / seconds,
        agent_micros: agent * 1e6 / readings,
        generator_micros: generator * 1e6 / readings,
        others: (all - agent - generator).max(0.0) / seconds,
    }
}

/// Asserts that the spool holds the first `pushed` messages of each phone, each once, and nothing else.
fn verify(spool: &Path, phones: &[Phone<'_>], pushed: &[u64]) {
    let by_device: HashMap<&str, usize> = phones.iter().map(|phone| phone.device.as_str()).zip(0..).collect();
    let mut held: Vec<Vec<bool>> = pushed.iter().map(|count| vec![false; *count as usize]).collect();
    let mut bodies: Vec<Vec<Push>> =
        phones.iter().map(|phone| (0..BODIES).map(|second| phone.push(second)).collect()).collect();
    let connection = warehouse::open(spool);
    let mut statement = connection.prepare("SELECT frame FROM raw").unwrap();
    let mut rows = statement.query([]).unwrap();
    while let Some(row) = rows.next().unwrap() {
        let frame = Frame::decode(row.get_ref(0).unwrap().as_blob().unwrap()).unwrap();
        assert_eq!(frame.readings(), READINGS as usize);
        let phone = by_device[frame.header.device.as_str()];
        let count = frame.header.message_id.unwrap() - FIRST_ID;
        let held = &mut held[phone][count as usize];
        assert!(!std::mem::replace(held, true), "message {count} of phone {phone} is there twice");
        if count.is_multiple_of(COMPARED) {
            let push = &mut bodies[phone][count as usize % BODIES];
            push.renumber(&phones[phone], count);
            compare(&frame, push.body());
        }
    }
    assert!(held.iter().flatten().all(|held| *held), "a push that was answered is not in the spool");
}

fn compare(frame: &Frame, body: &[u8]) {
    let sent: Message<'_> = serde_json::from_slice(body).unwrap();
    assert_eq!(frame.header.session, sent.session);
    let stored = frame.to_message().readings;
    assert_eq!(stored.len(), sent.payload.len());
    for (stored, sent) in stored.iter().zip(&sent.payload) {
        let Reading::Plain(stored) = stored else { panic!("a reading of the app's format was not taken as one") };
        assert_eq!((&*stored.name, stored.time, stored.accuracy), (sent.name, sent.time, sent.accuracy));
        let axes = ["x", "y", "z"].map(|key| stored.values.get(key).and_then(Value::as_number));
        assert_eq!(axes, [sent.values.x, sent.values.y, sent.values.z].map(Some));
    }
}
