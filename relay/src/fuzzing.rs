//! The listener, the intake and the commit machine behind it, with a ledger in memory, over a pipe and a clock that stands still
//! until everybody waits.
//!
//! - A connection ends, whether its client hangs up or stays and says no more, and nothing is held of it then.
//! - What is said to a client is MQTT, and on its topic the relay's words; at the door of TLS it is TLS.
//! - Nothing is acknowledged that the ledger has not.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use bytes::BytesMut;
use gaitway_proto::envelope::Down;
use gaitway_proto::ledger::Source;
use gaitway_proto::topic::{AgentId, down};
use gaitway_service::clock;
use gaitway_service::health::Health;
use gaitway_service::metrics::Metrics;
use rumqttc::mqttbytes::v4::Packet;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::REQUESTS;
use crate::agents::Agents;
use crate::commit::Machine;
use crate::config::RelayConfig;
use crate::identity::{self, Authority};
use crate::intake::{Event, Intake, Patience, inlet};
use crate::ledger::{Desk, Request};
use crate::listener::{Accept, Access, Context, Door, Tls, listen};
use crate::memory::MemoryLedger;
use crate::metrics::RelayMetrics;
use crate::throttle::{Throttle, Trouble};

const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

/// The longest keep-alive believed, one and a half times, and what closing takes.
const ENDS_WITHIN: Duration = Duration::from_secs(200);

/// First byte of a PUBLISH, its flags aside.
const PUBLISH: u8 = 0x30;

/// Bytes of a pipe.
const PIPE: usize = 64 * 1024;

static METRICS: LazyLock<RelayMetrics> = LazyLock::new(|| RelayMetrics::register(&Metrics::new()));

/// A relay's that has let nobody in yet.
static TLS: LazyLock<Arc<Tls>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a temporary folder is to be had");
    let now = || clock::now_micros().div_euclid(1_000_000);
    let authority = Authority::open(folder.path(), now()).expect("an empty folder takes an authority");
    let (_, nobody) = watch::channel(Arc::default());
    let (desk, _) = identity::Desk::new();
    Arc::new(Tls::new(&authority, nobody, desk, now).expect("a new authority makes sense"))
});

/// Any bytes on a connection to the relay. The first says how many are sent at a time, whether the client then stays, whether
/// the door asks for TLS, and whether the checksums of the payloads in them are still to be made.
pub fn mqtt(bytes: &[u8]) {
    let Some((&how, bytes)) = bytes.split_first() else { return };
    let mut bytes = bytes.to_vec();
    if how & 1 == 1 {
        checksum(&mut bytes);
    }
    let door = if how & 2 == 2 { Door::Tls(TLS.clone()) } else { Door::Plain(Access::Open) };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime: Runtime = runtime.expect("a runtime without sockets is to be had");
    let client = Client { bytes: &bytes, at_a_time: usize::from(how >> 3) + 1, stays: how & 4 == 4 };
    runtime.block_on(client.visit(door));
}

/// Any bytes as an agent's request for a certificate.
pub fn certificate_request(der: &[u8]) {
    // What it is refused for is one sentence, whatever it is.
    let _ = crate::identity::Request::read(der);
}

/// Who says `bytes`.
struct Client<'a> {
    bytes: &'a [u8],
    at_a_time: usize,
    /// Does not hang up then.
    stays: bool,
}

impl Client<'_> {
    /// Is at `door` alone, until the connection ends.
    async fn visit(&self, door: Door) {
        let (way_in, mut events) = inlet();
        let shutdown = CancellationToken::new();
        let context = Context::new(way_in, 10, METRICS.clone(), Arc::default(), shutdown.clone());
        let (near, far) = tokio::io::duplex(PIPE);
        let encrypted = matches!(door, Door::Tls(_));
        let listening = tokio::spawn(listen(Once(Some(near)), door, Arc::new(context)));
        let client = tokio::time::timeout(ENDS_WITHIN, self.converse(far));
        tokio::pin!(client);
        let mut house = House::new();
        let heard = loop {
            tokio::select! {
                biased;
                Some(event) = events.recv() => house.take(event),
                heard = &mut client => break heard.expect("the connection ends"),
            }
        };
        shutdown.cancel();
        listening.await.expect("the listener's task lives").expect("the listener ends well");
        while let Ok(event) = events.try_recv() {
            house.take(event);
        }
        house.assert_empty();
        if encrypted { assert_tls(&heard) } else { house.assert_words(heard) }
    }

    /// Says everything while it hears what is answered.
    async fn converse(&self, stream: DuplexStream) -> BytesMut {
        let (mut hear, mut say) = tokio::io::split(stream);
        let said = async {
            for piece in self.bytes.chunks(self.at_a_time) {
                if say.write_all(piece).await.is_err() {
                    return;
                }
            }
            if !self.stays {
                // A listener that has closed need not hear it.
                let _ = say.shutdown().await;
            }
        };
        let mut heard = BytesMut::new();
        let hearing = async { while hear.read_buf(&mut heard).await.is_ok_and(|bytes| bytes > 0) {} };
        tokio::join!(said, hearing);
        heard
    }
}

/// Whole records of TLS, whose types are 20 to 23.
fn assert_tls(mut heard: &[u8]) {
    while !heard.is_empty() {
        let [20..=23, 3, _, high, low, rest @ ..] = heard else { panic!("no TLS: {heard:?}") };
        heard = rest.get(usize::from(u16::from_be_bytes([*high, *low]))..).expect("a record is whole");
    }
}

/// One connection, then none.
struct Once(Option<DuplexStream>);

impl Accept for Once {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.take() {
            Some(stream) => Ok((stream, PEER)),
            None => std::future::pending().await,
        }
    }
}

/// The intake and its ledger, which answers at once.
struct House {
    intake: Intake,
    asked: std::sync::mpsc::Receiver<Request>,
    desk: Desk,
    ledger: MemoryLedger,
}

impl House {
    fn new() -> Self {
        let config = RelayConfig::default();
        let (requests, asked) = sync_channel(REQUESTS);
        let intake = Intake {
            machine: Machine::new(config.limits().expect("the defaults make sense"), 1),
            requests,
            most_held: config.most_held(),
            metrics: METRICS.clone(),
            status: Arc::default(),
            agents: Arc::new(Agents::default()),
            health: Health::default().part("fuzz"),
            links: HashMap::new(),
            throttle: Throttle::default(),
            trouble: Trouble::default(),
            patience: Patience::default(),
        };
        let ledger = MemoryLedger::default();
        let mut house = Self { intake, asked, desk: Desk::new(Box::new(ledger.clone())), ledger };
        house.carry_out();
        house
    }

    fn take(&mut self, event: Event) {
        self.intake.handle(event);
        self.carry_out();
    }

    fn carry_out(&mut self) {
        loop {
            self.intake.carry_out().expect("the ledger is this relay's, and takes what it is asked");
            self.intake.machine.handle_timeout(Instant::now());
            let Ok(request) = self.asked.try_recv() else { return };
            self.intake.conclude(self.desk.answer(request, 0));
        }
    }

    fn assert_empty(&self) {
        assert!(self.intake.links.is_empty(), "a link whose connection has ended");
        assert_eq!((self.intake.machine.sessions(), self.intake.machine.held()), (0, 0));
    }

    /// Looks at all that a client was told.
    fn assert_words(&self, mut heard: BytesMut) {
        while let Ok(packet) = Packet::read(&mut heard, usize::MAX) {
            match packet {
                Packet::ConnAck(_) | Packet::PubAck(_) | Packet::SubAck(_) | Packet::PingResp => {}
                Packet::Publish(publish) => {
                    let agent = publish.topic.split('/').nth(2).and_then(|agent| agent.parse().ok());
                    let agent: AgentId = agent.expect("it is told something as an agent");
                    assert_eq!(publish.topic, down(&agent));
                    self.assert_true(&agent, &Down::decode(&publish.payload).expect("the relay's words are such"));
                }
                other => panic!("no relay says {other:?}"),
            }
        }
        assert!(heard.is_empty(), "half a packet, or none: {heard:?}");
    }

    fn assert_true(&self, agent: &AgentId, said: &Down) {
        if let Down::Ack(ack) = said {
            let stored = self.ledger.position(&Source::stream(agent, ack.epoch, ack.stream));
            assert!(stored >= Some(ack.up_to), "acknowledged, and the ledger has {stored:?}: {ack:?}");
        }
    }
}

/// Puts the checksum of what stands before them into the last four bytes of every payload.
fn checksum(mut rest: &mut [u8]) {
    while let Some((header, body)) = fixed_header(rest) {
        let Some((packet, behind)) = std::mem::take(&mut rest).split_at_mut_checked(header + body) else { return };
        if packet[0] & 0xf0 == PUBLISH {
            seal(&mut packet[header..]);
        }
        rest = behind;
    }
}

/// How long a packet's header is, and what stands behind it.
fn fixed_header(packet: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for at in 0..4 {
        let byte = usize::from(*packet.get(1 + at)?);
        length |= (byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Some((2 + at, length));
        }
    }
    None
}

/// A PUBLISH of quality of service 1: topic, packet id, payload.
fn seal(publish: &mut [u8]) {
    let [high, low, ..] = *publish else { return };
    let payload = 2 + usize::from(u16::from_be_bytes([high, low])) + 2;
    let Some(payload) = publish.get_mut(payload..) else { return };
    if let Some((said, sum)) = payload.split_last_chunk_mut::<4>() {
        *sum = crc32c::crc32c(said).to_le_bytes();
    }
}
