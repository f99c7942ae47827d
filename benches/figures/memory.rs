//! How large the agent is, on the disk and in memory, and how soon it answers.

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::Bench;
use super::body::{Phone, Platform};
use super::harness::process::Process;
use super::recordings::Trace;
use super::serve::{Agent, Connection, NO_RELAY, agent_program};
use super::table::{Aim, Figure, median, number};
use super::{machine, proc, recordings, wear};

const PHONES: usize = 10;

/// Sensors of each phone: eight at 100 Hz are 800 readings/s.
const SENSORS: usize = 8;

const STARTS: usize = 10;

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    let traces = recordings::traces();
    let binary = agent_program().metadata().unwrap().len() as f64 / 1e6;
    vec![
        resident(&traces, bench.size(300, 30)),
        Figure::new("gaitway-agent, stripped binary", format!("{} MB", number(binary))).aim(
            binary,
            &Aim::AtMost(10.0),
            " MB",
        ),
        start(&traces),
    ]
}

fn resident(traces: &[Trace], seconds: u64) -> Figure {
    let phones: Vec<Phone<'_>> =
        (0..PHONES).map(|number| Phone::new(number, Platform::Android, SENSORS, traces)).collect();
    let folder = machine::folder();
    let mut relay = Process::up(&folder.path().join("relay"), &[]);
    let agent = Agent::start(&folder.path().join("agent"), &format!("mqtt://{}", relay.mqtt_address()));
    let cpu = proc::cpu_seconds(agent.process.pid());
    wear::push(&agent, &phones, 0..seconds);
    let cpu = (proc::cpu_seconds(agent.process.pid()) - cpu) / seconds as f64;
    let (now, peak) = proc::resident(agent.process.pid());
    assert!(agent.process.terminate(Signal::SIGTERM).success());
    assert!(relay.terminate(Signal::SIGTERM).success());

    let megabytes = |bytes: u64| bytes as f64 / 1e6;
    Figure::new(
        format!("RSS of gaitway-agent after {seconds} s of ten phones"),
        format!("{} MB", number(megabytes(now))),
    )
    .aim(megabytes(now), &Aim::AtMost(25.0), " MB")
    .note(format!(
        "each phone 800 readings/s in a push a second, relay connected; at most {} MB; CPU {} % of one core",
        number(megabytes(peak)),
        number(cpu * 100.0),
    ))
}

fn start(traces: &[Trace]) -> Figure {
    let push = Phone::new(0, Platform::Android, 4, traces).push(0);
    let mut times: Vec<f64> = (0..STARTS)
        .map(|_| {
            let folder = machine::folder();
            let address = free_address();
            let mut command = Command::new(agent_program());
            command.arg("--data-dir").arg(folder.path().join("agent"));
            command.args(["--http", &address.to_string(), "--relay", NO_RELAY]);
            let begun = Instant::now();
            let process = Process::of(command);
            let mut connection = loop {
                match Connection::open(address) {
                    Ok(connection) => break connection,
                    Err(_) => std::thread::sleep(Duration::from_micros(200)),
                }
                assert!(begun.elapsed() < Duration::from_secs(60), "the agent does not listen: {:#?}", process.log());
            };
            connection.push(push.request(), push.readings).unwrap();
            let took = begun.elapsed();
            assert!(process.terminate(Signal::SIGTERM).success());
            took.as_secs_f64() * 1e3
        })
        .collect();
    let middle = median(&mut times);
    Figure::new("start of gaitway-agent to the first 200", format!("{} ms", number(middle)))
        .aim(middle, &Aim::AtMost(200.0), " ms")
        .note(format!(
            "median of {STARTS} with a new spool each; {} to {} ms",
            number(times[0]),
            number(times[STARTS - 1])
        ))
}

/// A port that was free just now.
pub(crate) fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}
