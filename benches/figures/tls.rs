//! What TLS with certificates costs between agents and the relay, beside plain MQTT to a relay of the same kind.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gaitway_proto::enrolment::ALPN_MQTT;
use gaitway_proto::envelope::{Ack, Down};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::limits;
use gaitway_proto::topic::Up;
use gaitway_relay::identity::Store;
use gaitway_service::clock;
use nix::sys::signal::Signal;
use rustls::ClientConfig;

use super::Bench;
use super::body::{Phone, Platform};
use super::client::{Carrier, Client, batch};
use super::harness::certificate::{self, Secured};
use super::harness::process::Process;
use super::table::{Figure, median, number, quantile};
use super::{commits, machine, proc, recordings, relay_memory};

/// Agents with a certificate each: half as many as codes may wait.
const AGENTS: usize = 500;

/// Agents that connect at the same time, for the machine has two cores.
const TOGETHER: usize = 4;

/// Batches that are sent before the first is acknowledged.
const PIPELINED: u64 = 8;

/// DISCONNECT.
const GOODBYE: &[u8] = &[0xe0, 0];

impl Carrier for Secured {
    fn socket(&self) -> &TcpStream {
        &self.sock
    }
}

/// `gaitway up` and clients for its relay.
struct Relay {
    _folder: tempfile::TempDir,
    up: Process,
    address: SocketAddr,
    /// Of each agent, where it speaks TLS.
    agents: Vec<Arc<ClientConfig>>,
}

impl Relay {
    fn start(is_tls: bool) -> Self {
        let folder = machine::folder();
        let (config, data) = (folder.path().join("up.toml"), folder.path().join("up"));
        std::fs::write(&config, format!("[relay]\ntls = {is_tls}\n")).unwrap();
        let mut up = Process::up(&data, &["--config", config.to_str().unwrap()]);
        let address = up.mqtt_address().parse().unwrap();
        let agents = if is_tls { enrolled(address, &data.join("relay")) } else { Vec::new() };
        Self { _folder: folder, up, address, agents }
    }

    /// Connected as agent `number`.
    fn enter(&self, number: usize) -> Client {
        let client = match self.agents.get(number) {
            Some(tls) => Client::over(certificate::connect(self.address, tls).unwrap()),
            None => Client::dial(self.address),
        };
        client.logged_in(&format!("agent-{number}"), 600).expect("it is let in")
    }

    /// Connections a second of agents that come, are let in and go, and CPU seconds of the relay for each.
    fn connects(&self) -> (f64, f64) {
        let (begun, cpu) = (Instant::now(), proc::cpu_seconds(self.up.pid()));
        std::thread::scope(|scope| {
            for first in 0..TOGETHER {
                scope.spawn(move || {
                    for number in (first..AGENTS).step_by(TOGETHER) {
                        self.enter(number).send(GOODBYE);
                    }
                });
            }
        });
        let (took, cpu) = (begun.elapsed().as_secs_f64(), proc::cpu_seconds(self.up.pid()) - cpu);
        (AGENTS as f64 / took, cpu / AGENTS as f64)
    }

    /// Frames a second that one agent has committed in this round, and CPU seconds of the relay for each.
    fn frames(&self, batches: &[Vec<Vec<u8>>], round: u64) -> (f64, f64) {
        let epoch = Epoch::from_random(round + 1);
        let mut client = self.enter(round as usize).subscribed().unwrap();
        assert!(client.hello(epoch));
        let (begun, cpu) = (Instant::now(), proc::cpu_seconds(self.up.pid()));
        let (mut sent, mut committed) = (0, 0);
        let mut ends = Vec::new();
        let mut waiting = batches.iter();
        loop {
            let under_way = ends.iter().filter(|end| **end > committed).count() as u64;
            if under_way < PIPELINED
                && let Some(frames) = waiting.next()
            {
                client.tell(Up::Raw, &batch(epoch, Stream::Raw, sent + 1, frames.clone()).encode());
                sent += frames.len() as u64;
                ends.push(sent);
            } else if under_way == 0 {
                break;
            } else if let Some(Down::Ack(Ack { up_to, .. })) = client.word() {
                committed = up_to;
            }
        }
        let (took, cpu) = (begun.elapsed().as_secs_f64(), proc::cpu_seconds(self.up.pid()) - cpu);
        client.send(GOODBYE);
        (sent as f64 / took, cpu / sent as f64)
    }

    /// Resident memory of the process, bytes, once it has come to rest.
    fn resident(&self) -> f64 {
        std::thread::sleep(Duration::from_secs(2));
        proc::resident(self.up.pid()).0 as f64
    }

    /// Bytes that it takes for each of its agents which is connected and silent.
    fn idle(&self) -> f64 {
        let before = self.resident();
        let clients: Vec<Client> = (0..AGENTS).map(|number| self.enter(number).subscribed().unwrap()).collect();
        let each = (self.resident() - before) / AGENTS as f64;
        drop(clients);
        each
    }
}

/// Clients with the certificates of [`AGENTS`] agents, of the relay that keeps `folder`.
fn enrolled(relay: SocketAddr, folder: &Path) -> Vec<Arc<ClientConfig>> {
    let now = || clock::now_micros() / 1_000_000;
    let mut store = Store::open(folder, now()).unwrap();
    let authority = certificate::authority(folder);
    let enrolled = (0..AGENTS).map(|number| {
        let code = store.add(now(), &format!("agent-{number}").parse().unwrap()).unwrap().code;
        let shown = certificate::enrol(relay, &authority, &code.to_string());
        certificate::client([&authority], Some(&shown), ALPN_MQTT)
    });
    enrolled.collect()
}

/// Of rounds `(rate, CPU seconds)`: the median rate, the least and greatest, and the median CPU time in microseconds.
fn middle(rounds: &[(f64, f64)]) -> (f64, String, f64) {
    let (mut rates, mut cpu): (Vec<f64>, Vec<f64>) = rounds.iter().copied().unzip();
    let range = format!("{} to {}", number(quantile(&mut rates, 0.0)), number(quantile(&mut rates, 1.0)));
    (median(&mut rates), range, median(&mut cpu) * 1e6)
}

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    relay_memory::provide(AGENTS as u64 + 512);
    let (plain, tls) = (Relay::start(false), Relay::start(true));
    // Before anything else was held and given back.
    let (idle_plain, idle_tls) = (plain.idle(), tls.idle());
    let rounds = bench.size(9, 3);
    let both = |measure: &dyn Fn(&Relay, u64) -> (f64, f64)| {
        let rounds: Vec<_> = (0..rounds).map(|round| (measure(&plain, round), measure(&tls, round))).collect();
        let (plain, tls): (Vec<_>, Vec<_>) = rounds.into_iter().unzip();
        (middle(&plain), middle(&tls))
    };
    let (plain_connects, tls_connects) = both(&|relay, _| relay.connects());
    let traces = recordings::traces();
    let frames = commits::frames(&[Phone::new(0, Platform::Android, 4, &traces)], bench.size(400, 100));
    let each = (limits::BATCH_TARGET / frames[0].len()).max(1);
    let batches: Vec<_> = frames.chunks(each).map(<[_]>::to_vec).collect();
    let (plain_frames, tls_frames) = both(&|relay, round| relay.frames(&batches, round));
    for Relay { up, .. } in [plain, tls] {
        assert!(up.terminate(Signal::SIGTERM).success());
    }

    let figure = |what: &str, unit: &str, tls: &(f64, String, f64), plain: &(f64, String, f64)| {
        Figure::new(what, format!("{} {unit}/s", number(tls.0)))
            .beside(format!("plain {} {unit}/s", number(plain.0)))
            .ratio(tls.0 / plain.0)
            .note(format!(
                "median of {rounds} rounds in turns, {} and {}; CPU of the relay for each {} µs and {} µs",
                tls.1,
                plain.1,
                number(tls.2),
                number(plain.2)
            ))
    };
    let kilobytes = |bytes: f64| format!("{} kB", number(bytes / 1e3));
    vec![
        figure("agents let in over TLS, both sides certified", "agents", &tls_connects, &plain_connects).note(format!(
            "from connect to CONNACK, {TOGETHER} at a time, client and relay on the same cores, nothing resumed"
        )),
        figure("frames committed to SQLite and acknowledged over TLS", "frames", &tls_frames, &plain_frames)
            .note(format!("frames of 400 readings, {each} in a batch, {PIPELINED} batches under way, one agent")),
        Figure::new("RSS of the relay for an idle agent over TLS", kilobytes(idle_tls))
            .beside(format!("plain {}", kilobytes(idle_plain)))
            .ratio(idle_tls / idle_plain)
            .note(format!("{AGENTS} agents that are connected and subscribed, and silent")),
    ]
}
