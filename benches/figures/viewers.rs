//! What people who look cost the agent, beside the same agent with nobody looking.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::Bench;
use super::body::{Phone, Platform};
use super::harness::process::Process;
use super::serve::Agent;
use super::table::{Aim, Figure, median, number};
use super::{machine, proc, recordings, wear};

const VIEWERS: usize = 5;

/// Sensors of the phone: four at 100 Hz are 400 readings/s.
const SENSORS: usize = 4;

/// Rounds with nobody and as many with viewers, in turns.
const ROUNDS: usize = 4;

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    let traces = recordings::traces();
    let phones = [Phone::new(0, Platform::Android, SENSORS, &traces)];
    let folder = machine::folder();
    let mut relay = Process::up(&folder.path().join("relay"), &[]);
    let agent = Agent::start(&folder.path().join("agent"), &format!("mqtt://{}", relay.mqtt_address()));
    let seconds = bench.size(30, 5);
    wear::push(&agent, &phones, 0..5);
    let (mut alone, mut watched, mut resident, mut told) = (Vec::new(), Vec::new(), [0; 2], 0);
    let mut next = 5;
    for _ in 0..ROUNDS {
        alone.push(share(&agent, &phones, next, seconds));
        resident[0] = proc::resident(agent.process.pid()).0;
        next += seconds;
        let viewers: Vec<Viewer> = (0..VIEWERS).map(|_| Viewer::open(agent.address)).collect();
        let heard = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for viewer in &viewers {
                scope.spawn(|| heard.fetch_add(viewer.follow(), Ordering::Relaxed));
            }
            watched.push(share(&agent, &phones, next, seconds));
            resident[1] = proc::resident(agent.process.pid()).0;
            viewers.iter().for_each(Viewer::leave);
        });
        next += seconds;
        told += heard.into_inner();
    }
    assert!(told > 0, "viewers are told something");
    assert!(agent.process.terminate(Signal::SIGTERM).success());
    assert!(relay.terminate(Signal::SIGTERM).success());
    let (alone, watched) = (median(&mut alone) * 100.0, median(&mut watched) * 100.0);
    let cost = (watched - alone).max(0.0);
    let each = told as f64 / (ROUNDS * VIEWERS) as f64 / seconds as f64 / 1e3;
    vec![
        Figure::new(format!("CPU of {VIEWERS} viewers of the live page"), format!("{} % of a core", number(watched)))
            .beside(format!("{} % with nobody", number(alone)))
            .aim(cost, &Aim::AtMost(1.0), " %")
            .note(format!(
                "one phone of {} readings a second in a push a second; {ROUNDS} rounds of {seconds} s each, in turns; {} kB/s to each \
                 viewer; RSS {} MB beside {} MB",
                SENSORS * 100,
                number(each),
                number(resident[1] as f64 / 1e6),
                number(resident[0] as f64 / 1e6),
            )),
    ]
}

/// Part of a core that the agent takes while the phone pushes for `seconds`.
fn share(agent: &Agent, phones: &[Phone<'_>], first: u64, seconds: u64) -> f64 {
    let before = proc::cpu_seconds(agent.process.pid());
    wear::push(agent, phones, first..first + seconds);
    (proc::cpu_seconds(agent.process.pid()) - before) / seconds as f64
}

/// A browser that follows the events.
struct Viewer(TcpStream);

impl Viewer {
    fn open(agent: SocketAddr) -> Self {
        let mut stream = TcpStream::connect(agent).unwrap();
        write!(stream, "GET /api/v1/events HTTP/1.1\r\nHost: {agent}\r\n\r\n").unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Self(stream)
    }

    /// Bytes that it was told until it left.
    fn follow(&self) -> u64 {
        let (mut stream, mut buffer, mut told) = (&self.0, [0; 16 * 1024], 0);
        loop {
            match stream.read(&mut buffer).unwrap() {
                0 => return told,
                read => told += read as u64,
            }
        }
    }

    fn leave(&self) {
        self.0.shutdown(std::net::Shutdown::Both).unwrap();
    }
}
