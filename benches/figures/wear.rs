//! What the agent writes to its card at a push a second.

use std::ops::Range;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Bench;
use super::body::{Phone, Platform};
use super::harness::process::Process;
use super::serve::{Agent, Connection};
use super::table::{Aim, Figure, number};
use super::{machine, proc, recordings};

/// Pushes of each phone before counting begins: the file has its tables and the log its size.
const BEFORE: u64 = 5;

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    let traces = recordings::traces();
    let folder = machine::folder();
    let mut relay = Process::up(&folder.path().join("relay"), &[]);
    let address = format!("mqtt://{}", relay.mqtt_address());
    let seconds = bench.size(90, 20);
    let crowds = [1, 10];
    let figures = std::thread::scope(|scope| {
        let address = &address;
        let measuring = crowds.map(|phones| {
            let data_dir = folder.path().join(format!("agent-{phones}"));
            let traces = &traces;
            scope.spawn(move || {
                let phones: Vec<_> =
                    (0..phones).map(|number| Phone::new(number, Platform::Android, 4, traces)).collect();
                let agent = Agent::named(&format!("wear-{}", phones.len()), &data_dir, address);
                let (json, written) = wear(&agent, &phones, seconds);
                assert!(agent.process.terminate(Signal::SIGTERM).success());
                figure(phones.len(), seconds, json, written)
            })
        });
        measuring.map(|thread| thread.join().unwrap())
    });
    assert!(relay.terminate(Signal::SIGTERM).success());
    figures.into()
}

fn figure(phones: usize, seconds: u64, json: u64, written: u64) -> Figure {
    let phones = if phones == 1 { "one phone".to_owned() } else { format!("{phones} phones") };
    let a_push = |bytes: u64| number(bytes as f64 / seconds as f64 / 1000.0);
    Figure::new(
        format!("bytes written per byte of JSON, {phones}, a push a second"),
        format!("{} kB/s written", a_push(written)),
    )
    .beside(format!("{} kB/s of JSON", a_push(json)))
    .aim(written as f64 / json as f64, &Aim::AtMost(0.5), "")
    .note(format!("400 readings a push, relay connected, {seconds} s; write_bytes of gaitway-agent in /proc"))
}

/// Bytes of JSON accepted and bytes written in `seconds` of pushes at a second's pace.
fn wear(agent: &Agent, phones: &[Phone<'_>], seconds: u64) -> (u64, u64) {
    push(agent, phones, 0..BEFORE);
    let before = proc::written(agent.process.pid());
    let json = push(agent, phones, BEFORE..BEFORE + seconds);
    (json, proc::written(agent.process.pid()) - before)
}

/// Pushes these messages of all phones, each message of a phone a second after the one before; gives their bytes.
pub(crate) fn push(agent: &Agent, phones: &[Phone<'_>], messages: Range<u64>) -> u64 {
    let mut sending: Vec<_> =
        phones.iter().map(|phone| (phone.push(0), Connection::open(agent.address).unwrap())).collect();
    let mut json = 0;
    let begun = Instant::now();
    let (length, apart) = (messages.end - messages.start, Duration::from_secs(1) / phones.len() as u32);
    for (second, number) in (0..).zip(messages) {
        for (index, (phone, (push, connection))) in phones.iter().zip(&mut sending).enumerate() {
            let due = begun + Duration::from_secs(second) + apart * index as u32;
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            push.renumber(phone, number);
            connection.push(push.request(), push.readings).unwrap();
            json += push.body().len() as u64;
        }
    }
    // The last pushes have their second too.
    std::thread::sleep((begun + Duration::from_secs(length)).saturating_duration_since(Instant::now()));
    json
}
