//! How long a push takes until readers of committed records see it in Kafka.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gaitway_kafka::records::{Reader, Seen, Start};
use nix::sys::signal::Signal;
use serde::Deserialize;

use super::Bench;
use super::body::{FIRST_ID, Phone, Platform};
use super::broker::{self, Service};
use super::harness;
use super::serve::{self, Agent, Connection};
use super::table::{Figure, median, number, quantile};
use super::{machine, recordings};

const PHONES: usize = 10;

const READINGS_A_PUSH: u32 = 400;

/// From one push of a phone to its next.
const PACE: Duration = Duration::from_secs(1);

/// Pushes of each phone before counting begins.
const BEFORE: u64 = 3;

/// A push: its phone and its number.
type Name = (usize, u64);

/// What tells the push of a record.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Value<'a> {
    message_id: u64,
    device_id: &'a str,
}

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    broker::with("push → visible in Kafka", |broker| vec![measure(broker, bench.size(30, 8))])
}

fn measure(broker: &str, seconds: u64) -> Figure {
    let traces = recordings::traces();
    let phones: Vec<_> = (0..PHONES).map(|number| Phone::new(number, Platform::Android, 4, &traces)).collect();
    let folder = machine::folder();
    let kafka = broker::topics(broker);
    serve::agent_program();
    let mut relay = Service::relay(folder.path(), &kafka, "");
    let agent = Agent::start(&folder.path().join("agent"), &format!("mqtt://{}", relay.process.mqtt_address()));
    let mut reader = Reader::open(&kafka, "figures", &kafka.topics.raw, Start::Now).unwrap();

    let pushes = BEFORE + seconds;
    let (visible, sent) = std::thread::scope(|scope| {
        let watching = scope.spawn(|| watch(&mut reader, &phones, PHONES * pushes as usize));
        let sent = push(&agent, &phones, pushes);
        (watching.join().unwrap(), sent)
    });
    let commits = relay.metric("gaitway_relay_commits_total");
    let commit = relay.metric("gaitway_relay_commit_seconds_sum") / commits * 1e3;
    assert!(agent.process.terminate(Signal::SIGTERM).success());
    assert!(relay.process.terminate(Signal::SIGTERM).success());

    let counted = || sent.iter().filter(|((_, number), _)| *number >= BEFORE);
    let millis = |time: Duration| time.as_secs_f64() * 1e3;
    let mut times: Vec<f64> = counted().map(|(name, (begun, _))| millis(visible[name] - *begun)).collect();
    let mut answered: Vec<f64> = counted().map(|(_, (_, heard))| millis(*heard)).collect();
    let (half, most) = (median(&mut times), quantile(&mut times, 0.99));
    Figure::new(
        "push → visible to readers of committed records in Kafka",
        format!("p50 {} ms, p99 {} ms", number(half), number(most)),
    )
    .note(format!(
        "ten phones, each a push of {READINGS_A_PUSH} readings a second, {} pushes through the processes of agent and relay until the last reading is read; of this until 200: p50 {} ms; a commit takes {} ms on average",
        times.len(),
        number(median(&mut answered)),
        number(commit),
    ))
}

/// Pushes at their pace, the phones one after the other; gives when each push was sent and how long its 200 took.
fn push(agent: &Agent, phones: &[Phone<'_>], pushes: u64) -> HashMap<Name, (Instant, Duration)> {
    let mut sending: Vec<_> =
        phones.iter().map(|phone| (phone.push(0), Connection::open(agent.address).unwrap())).collect();
    let mut sent = HashMap::new();
    let (begun, apart) = (Instant::now(), PACE / phones.len() as u32);
    for number in 0..pushes {
        for (index, (phone, (push, connection))) in phones.iter().zip(&mut sending).enumerate() {
            let due = begun + PACE * number as u32 + apart * index as u32;
            push.renumber(phone, number);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let at = Instant::now();
            connection.push(push.request(), push.readings).unwrap();
            sent.insert((index, number), (at, at.elapsed()));
        }
    }
    sent
}

/// Reads until all of `pushes` pushes are here; gives when the last reading of each came.
fn watch(reader: &mut Reader, phones: &[Phone<'_>], pushes: usize) -> HashMap<Name, Instant> {
    let by_device: HashMap<&str, usize> = phones.iter().map(|phone| phone.device.as_str()).zip(0..).collect();
    let (mut readings, mut whole) = (HashMap::<Name, u32>::new(), HashMap::new());
    let end = Instant::now() + harness::PATIENCE;
    while whole.len() < pushes {
        assert!(Instant::now() < end, "{} of {pushes} pushes came", whole.len());
        let show = |record: Seen<'_>| {
            let Value { message_id, device_id } = serde_json::from_slice(record.value).unwrap();
            let name = (by_device[device_id], message_id - FIRST_ID);
            let count = readings.entry(name).or_default();
            *count += 1;
            if *count == READINGS_A_PUSH {
                whole.insert(name, Instant::now());
            }
        };
        reader.next(Duration::from_millis(100), show).unwrap();
    }
    assert!(readings.values().all(|count| *count == READINGS_A_PUSH), "a reading came twice");
    whole
}
