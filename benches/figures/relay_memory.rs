//! What connected agents take of the relay's memory.

use std::net::SocketAddr;
use std::time::Duration;

use gaitway_proto::envelope::{Ack, Down};
use gaitway_proto::ledger::{Epoch, Stream};
use gaitway_proto::topic::{self, AgentId, Up};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;

use super::Bench;
use super::body::{Phone, Platform};
use super::broker::{self, Service};
use super::client::{Client, batch, hello, subscribe};
use super::table::{Figure, number};
use super::{commits, machine, proc, recordings};

const THOUSAND: usize = 1_000;

/// Frames of 400 readings that each agent sends.
const FRAMES: u64 = 3;

/// Seconds in which an agent need not be heard.
const KEEP_ALIVE: u16 = 120;

/// Agents that wait for their answers at the same time.
const TOGETHER: usize = 100;

pub(crate) fn figures(bench: &Bench) -> Vec<Figure> {
    broker::with("RSS of gaitway relay with agents", |broker| vec![measure(broker, bench.size(4, 2))])
}

fn measure(broker: &str, thousands: usize) -> Figure {
    let agents = thousands * THOUSAND;
    provide(agents as u64 + 512);
    let traces = recordings::traces();
    let frames = commits::frames(&[Phone::new(0, Platform::Android, 4, &traces)], FRAMES);
    let folder = machine::folder();
    let more = format!("max_connections = {}\n", agents + 100);
    let mut relay = Service::relay(folder.path(), &broker::topics(broker), &more);
    let address = relay.process.mqtt_address().parse().unwrap();
    let look = |relay: &Service| {
        std::thread::sleep(Duration::from_secs(2));
        proc::resident(relay.process.pid()).0 as f64 / 1e6
    };
    let before = look(&relay);
    let mut clients = Vec::new();
    let after: Vec<f64> = (0..thousands)
        .map(|_| {
            for _ in 0..THOUSAND / TOGETHER {
                let entered = enter(address, clients.len(), &frames);
                clients.extend(entered);
            }
            assert_eq!(relay.metric("gaitway_relay_sessions") as usize, clients.len());
            look(&relay)
        })
        .collect();
    assert_eq!(relay.metric("gaitway_relay_frames_total") as u64, agents as u64 * FRAMES);
    drop(clients);
    assert!(relay.process.terminate(Signal::SIGTERM).success());

    let further = (after[thousands - 1] - after[0]) / (thousands - 1) as f64;
    let steps: Vec<String> = after.iter().map(|megabytes| number(*megabytes)).collect();
    Figure::new("RSS of gaitway relay with 1,000 agents connected", format!("{} MB", number(after[0])))
        .beside(format!("with none {} MB", number(before)))
        .note(format!(
            "each further thousand {} MB (in turn {}); each agent said hello and sent {FRAMES} frames of 400 readings, all committed to Kafka, and stays",
            number(further),
            steps.join(", "),
        ))
}

/// Connects agents `first` and the following, has them say hello and send `frames`, and waits until all is committed.
fn enter(relay: SocketAddr, first: usize, frames: &[Vec<u8>]) -> Vec<Client> {
    let last = frames.len() as u64;
    let mut clients: Vec<(Client, Epoch)> = (first..first + TOGETHER)
        .map(|number| {
            let epoch = Epoch::from_random(number as u64 + 1);
            let agent: AgentId = format!("agent-{number}").parse().unwrap();
            let mut client = Client::log_in(relay, agent.as_str(), KEEP_ALIVE).unwrap();
            client.send(&subscribe(topic::down(&agent).as_bytes()));
            client.tell(Up::Hello, &hello(epoch).encode());
            (client, epoch)
        })
        .collect();
    for (client, epoch) in &mut clients {
        assert!(std::iter::from_fn(|| client.word()).any(|word| matches!(word, Down::Welcome(_))), "no welcome");
        client.tell(Up::Raw, &batch(*epoch, Stream::Raw, 1, frames.to_vec()).encode());
    }
    for (client, _) in &mut clients {
        let committed = |word: Down| matches!(word, Down::Ack(Ack { up_to, .. }) if up_to == last);
        assert!(std::iter::from_fn(|| client.word()).any(committed), "no acknowledgement");
    }
    clients.into_iter().map(|(client, _)| client).collect()
}

/// Lets this process have so many connections.
pub(super) fn provide(descriptors: u64) {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    if soft < descriptors {
        setrlimit(Resource::RLIMIT_NOFILE, descriptors, hard).unwrap();
    }
}
