//! The listener over pipes and a clock that the test moves.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};
use gaitway_proto::envelope::Down;
use gaitway_proto::limits;
use gaitway_proto::topic::{self, Up};
use gaitway_service::metrics::Metrics;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet, PubAck, Publish, Subscribe, SubscribeReasonCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::*;
use crate::intake::{Event, inlet};

const PEER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 1);

struct Client {
    stream: DuplexStream,
    buffer: BytesMut,
}

impl Client {
    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        self.write(&bytes).await;
    }

    async fn connect(&mut self, id: &str, keep_alive: u16) {
        let mut connect = Connect::new(id);
        connect.keep_alive = keep_alive;
        self.send(Packet::Connect(connect)).await;
    }

    /// The next packet; none once the connection is closed.
    async fn receive(&mut self) -> Option<Packet> {
        loop {
            if let Ok(packet) = Packet::read(&mut self.buffer, usize::MAX) {
                return Some(packet);
            }
            if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                return None;
            }
        }
    }

    async fn publish(&mut self, pkid: u16, payload: impl Into<Vec<u8>>) {
        let mut publish = Publish::new("gaitway/v1/pi/up/raw", QoS::AtLeastOnce, payload);
        publish.pkid = pkid;
        self.send(Packet::Publish(publish)).await;
    }

    /// Subscribes agent `id` to the words for it.
    async fn subscribe(&mut self, id: &str, qos: QoS) {
        let mut subscribe = Subscribe::new(topic::down(&id.parse().unwrap()), qos);
        subscribe.pkid = 1;
        self.send(Packet::Subscribe(subscribe)).await;
        let Some(Packet::SubAck(ack)) = self.receive().await else { panic!() };
        assert_eq!((ack.pkid, ack.return_codes), (1, vec![SubscribeReasonCode::Success(qos)]));
    }

    /// The packet id of the probe, which must come next.
    async fn probed(&mut self) -> u16 {
        let Some(Packet::Publish(probe)) = self.receive().await else { panic!() };
        assert_eq!(probe.qos, QoS::AtLeastOnce);
        assert_eq!(Down::decode(&probe.payload), Ok(Down::HelloAgain { session: 0 }));
        probe.pkid
    }

    /// How long until the connection is closed.
    async fn closed_after(&mut self) -> Duration {
        let begun = Instant::now();
        while self.receive().await.is_some() {}
        begun.elapsed()
    }
}

/// A source of connections that the test makes, or of errors.
struct Script(VecDeque<io::Result<DuplexStream>>);

impl Accept for Script {
    type Stream = DuplexStream;

    async fn accept(&mut self) -> io::Result<(DuplexStream, SocketAddr)> {
        match self.0.pop_front() {
            Some(next) => Ok((next?, PEER)),
            None => std::future::pending().await,
        }
    }
}

struct House {
    context: Arc<Context>,
    events: mpsc::Receiver<Event>,
}

fn house() -> House {
    let (way_in, events) = inlet();
    let metrics = RelayMetrics::register(&Metrics::new());
    let context = Context::new(way_in, 10, metrics, Arc::default(), CancellationToken::new());
    House { context: Arc::new(context), events }
}

impl House {
    fn client(&self) -> Client {
        let (near, far) = tokio::io::duplex(64 * 1024);
        let context = Arc::clone(&self.context);
        tokio::spawn(async move {
            let place = context.lobby.enter(PEER.ip(), context.lobby.room().await);
            connection::serve(near, PEER, place, &Door::Plain(Access::Open), &context).await;
        });
        Client { stream: far, buffer: BytesMut::new() }
    }

    /// A client that is connected, and the way to it.
    async fn connected(&mut self, keep_alive: u16) -> (Client, mpsc::Sender<Down>) {
        let mut client = self.client();
        client.connect("pi", keep_alive).await;
        assert!(matches!(client.receive().await, Some(Packet::ConnAck(ack)) if ack.code == ConnectReturnCode::Success));
        let Some(Event::Linked { outbox, .. }) = self.events.recv().await else { panic!() };
        (client, outbox)
    }

    fn closed(&self, reason: &'static str) -> u64 {
        self.context.metrics.closed.get_or_create(&[("reason", reason)]).get()
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_connect_is_closed_after_five_seconds() {
    let house = house();
    let mut silent = house.client();
    assert_eq!(silent.closed_after().await, Duration::from_secs(5));
    let mut torn = house.client();
    torn.write(&[0x10, 0x20, 0]).await;
    assert_eq!(torn.closed_after().await, Duration::from_secs(5));
    assert_eq!(house.closed("connect_timeout"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_silent_client_is_closed_after_one_and_a_half_times_its_keep_alive() {
    for (keep_alive, patience) in [(10, 15), (0, 180), (u16::MAX, 180)] {
        let mut house = house();
        let (mut client, _outbox) = house.connected(keep_alive).await;
        assert_eq!(client.closed_after().await, Duration::from_secs(patience), "{keep_alive}");
        assert!(matches!(house.events.recv().await, Some(Event::Gone { .. })));
        assert_eq!(house.closed("idle"), 1);
    }
    let mut house = house();
    let (mut client, _outbox) = house.connected(10).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_secs(14)).await;
        client.send(Packet::PingReq).await;
        assert_eq!(client.receive().await, Some(Packet::PingResp));
    }
}

#[tokio::test(start_paused = true)]
async fn a_packet_that_drips_is_closed() {
    let mut house = house();
    let (mut client, _outbox) = house.connected(10).await;
    let begun = Instant::now();
    client.write(&[0x32, 0x80, 0x08]).await;
    while client.stream.write_all(&[0]).await.is_ok() {
        tokio::time::sleep(Duration::from_secs(5)).await;
        assert!(begun.elapsed() < Duration::from_secs(70));
    }
    assert_eq!(house.closed("slow_packet"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_publish_is_acknowledged_when_the_intake_has_room_for_it_and_words_flow_meanwhile() {
    let mut house = house();
    let (mut client, outbox) = house.connected(60).await;
    client.subscribe("pi", QoS::AtLeastOnce).await;

    client.publish(1, vec![0; limits::MAX_PAYLOAD]).await;
    assert!(matches!(client.receive().await, Some(Packet::PubAck(ack)) if ack.pkid == 1));
    client.publish(2, vec![0; limits::MAX_PAYLOAD]).await;
    assert!(timeout(Duration::from_secs(30), client.receive()).await.is_err());
    outbox.send(Down::HelloAgain { session: 9 }).await.unwrap();
    let Some(Packet::Publish(word)) = client.receive().await else { panic!() };
    assert_eq!(Down::decode(&word.payload), Ok(Down::HelloAgain { session: 9 }));

    let Some(Event::Publish { up: Up::Raw, turn, .. }) = house.events.recv().await else { panic!() };
    assert!(timeout(Duration::from_secs(30), client.receive()).await.is_err(), "the intake keeps its turn");
    drop(turn);
    assert!(matches!(client.receive().await, Some(Packet::PubAck(ack)) if ack.pkid == 2));
}

#[tokio::test(start_paused = true)]
async fn however_many_idle_ones_there_are_an_agent_comes_in_and_they_push_out_their_own() {
    let mut house = house();
    let mut idle: Vec<Client> = (0..lobby::PLACES + 50).map(|_| house.client()).collect();
    for client in &mut idle {
        // Half a CONNECT.
        client.write(&[0x10, 0x20, 0]).await;
    }
    let (mut agent, _outbox) = house.connected(60).await;
    let begun = Instant::now();
    for client in &mut idle[..50] {
        assert_eq!(client.closed_after().await, Duration::ZERO);
    }
    assert_eq!((house.closed("pushed_out"), begun.elapsed()), (51, Duration::ZERO));
    agent.send(Packet::PingReq).await;
    assert_eq!(agent.receive().await, Some(Packet::PingResp));
    for client in &mut idle[51..] {
        client.closed_after().await;
    }
    assert_eq!(begun.elapsed(), Duration::from_secs(5));
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_is_closed_and_the_others_are_not() {
    let mut house = house();
    let (mut reader, _outbox) = house.connected(0).await;
    let mut slow = house.client();
    slow.connect("slow", 0).await;
    let Some(Event::Linked { outbox, .. }) = house.events.recv().await else { panic!() };
    let mut subscribe = Subscribe::new("gaitway/v1/slow/down/ack", QoS::AtLeastOnce);
    subscribe.pkid = 1;
    slow.send(Packet::Subscribe(subscribe)).await;
    while let Some(packet) = slow.receive().await {
        if let Packet::SubAck(_) = packet {
            break;
        }
    }
    let reason = "x".repeat(10_000);
    for _ in 0..20 {
        outbox.send(Down::Refused { session: 1, reason: reason.clone() }).await.unwrap();
    }
    assert!(matches!(house.events.recv().await, Some(Event::Gone { .. })));
    assert_eq!(house.closed("write_timeout"), 1);
    reader.send(Packet::PingReq).await;
    assert_eq!(reader.receive().await, Some(Packet::PingResp));
}

#[tokio::test(start_paused = true)]
async fn a_link_that_the_intake_drops_is_closed_after_its_last_words() {
    let mut house = house();
    let (mut client, outbox) = house.connected(60).await;
    client.subscribe("pi", QoS::AtLeastOnce).await;
    outbox.send(Down::HelloAgain { session: 9 }).await.unwrap();
    drop(outbox);
    assert!(matches!(client.receive().await, Some(Packet::Publish(_))));
    assert_eq!(client.receive().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_older_connection_is_unlinked_before_the_newer_is_linked() {
    let mut house = house();
    let (mut older, _outbox) = house.connected(60).await;
    let mut newer = house.client();
    newer.connect("pi", 60).await;
    assert!(matches!(house.events.recv().await, Some(Event::Gone { .. })));
    assert!(matches!(house.events.recv().await, Some(Event::Linked { .. })));
    assert_eq!(older.receive().await, None);
    assert!(matches!(newer.receive().await, Some(Packet::ConnAck(_))));
}

/// Connects once more as "pi"; tells whether the older connection was alive, and how long the newer waited.
async fn taken_over(house: &mut House) -> (bool, Duration, Client) {
    let begun = Instant::now();
    let mut newer = house.client();
    newer.connect("pi", 60).await;
    let told = loop {
        match house.events.recv().await {
            Some(Event::Gone { newer, .. }) => break newer,
            Some(Event::Publish { .. }) => {}
            other => panic!("{other:?}"),
        }
    };
    let Some(Event::Linked { link, outbox, .. }) = house.events.recv().await else { panic!() };
    // The house's own outbox for it lives as long as its client.
    tokio::spawn(async move { outbox.closed().await });
    assert!(matches!(newer.receive().await, Some(Packet::ConnAck(_))));
    assert!(told.is_none_or(|newer| newer == link), "the newer one's name");
    (told.is_some(), begun.elapsed(), newer)
}

#[tokio::test(start_paused = true)]
async fn an_older_connection_that_answers_is_alive_and_closed_at_once() {
    let mut house = house();
    let (mut older, _outbox) = house.connected(60).await;
    older.subscribe("pi", QoS::AtLeastOnce).await;
    let answering = async {
        let pkid = older.probed().await;
        // What it had under way comes before the answer, and is not acknowledged any more.
        older.publish(7, "x").await;
        older.send(Packet::PingReq).await;
        older.send(Packet::PubAck(PubAck::new(pkid))).await;
        older.receive().await
    };
    let ((alive, waited, mut newer), end) = tokio::join!(taken_over(&mut house), answering);
    assert_eq!((alive, waited, end), (true, Duration::ZERO, None));
    assert_eq!(house.closed("taken_over"), 1);
    newer.send(Packet::PingReq).await;
    assert_eq!(newer.receive().await, Some(Packet::PingResp));
}

#[tokio::test(start_paused = true)]
async fn an_older_connection_whose_publish_waits_for_the_intake_can_still_answer() {
    let mut house = house();
    let (mut older, _outbox) = house.connected(60).await;
    older.subscribe("pi", QoS::AtLeastOnce).await;
    older.publish(1, vec![0; limits::MAX_PAYLOAD]).await;
    assert!(matches!(older.receive().await, Some(Packet::PubAck(_))));
    for pkid in 2..=3 {
        older.publish(pkid, vec![0; 40_000]).await;
    }
    let answering = async {
        let pkid = older.probed().await;
        older.send(Packet::PubAck(PubAck::new(pkid))).await;
    };
    let ((alive, ..), ()) = tokio::join!(taken_over(&mut house), answering);
    assert!(alive);
}

#[tokio::test(start_paused = true)]
async fn an_older_connection_that_does_not_answer_is_dead_after_two_seconds_whatever_else_it_sends() {
    let mut silent = house();
    let (mut older, _outbox) = silent.connected(60).await;
    older.subscribe("pi", QoS::AtLeastOnce).await;
    let (alive, waited, _newer) = taken_over(&mut silent).await;
    assert_eq!((alive, waited), (false, Duration::from_secs(2)));
    assert!(older.closed_after().await < Duration::from_secs(1));

    let mut busy = house();
    let (mut older, _outbox) = busy.connected(60).await;
    older.subscribe("pi", QoS::AtLeastOnce).await;
    let pinging = tokio::spawn(async move {
        let other = older.probed().await + 1;
        let mut bytes = BytesMut::new();
        Packet::PingReq.write(&mut bytes, usize::MAX).unwrap();
        Packet::PubAck(PubAck::new(other)).write(&mut bytes, usize::MAX).unwrap();
        while older.stream.write_all(&bytes).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    let (alive, waited, _newer) = taken_over(&mut busy).await;
    assert_eq!((alive, waited), (false, Duration::from_secs(2)));
    pinging.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_older_connection_that_ends_while_it_is_asked_is_dead() {
    for last in [Some(Packet::Disconnect), Some(Packet::PingResp), None] {
        let mut house = house();
        let (mut older, _outbox) = house.connected(60).await;
        older.subscribe("pi", QoS::AtLeastOnce).await;
        let ending = async {
            older.probed().await;
            if let Some(last) = last.clone() {
                older.send(last).await;
                return Some(older);
            }
            drop(older);
            None
        };
        let ((alive, waited, _newer), _older) = tokio::join!(taken_over(&mut house), ending);
        assert_eq!((alive, waited), (false, Duration::ZERO), "{last:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_older_connection_that_does_not_read_is_dead_after_two_seconds() {
    let mut house = house();
    let (mut older, outbox) = house.connected(60).await;
    older.subscribe("pi", QoS::AtLeastOnce).await;
    for _ in 0..20 {
        outbox.send(Down::Refused { session: 1, reason: "x".repeat(10_000) }).await.unwrap();
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (alive, waited, _newer) = taken_over(&mut house).await;
    assert_eq!((alive, waited), (false, Duration::from_secs(2)));
}

#[tokio::test(start_paused = true)]
async fn an_older_connection_that_subscribed_to_nothing_is_not_asked() {
    let mut house = house();
    let (mut bare, _outbox) = house.connected(60).await;
    let (alive, waited, mut newer) = taken_over(&mut house).await;
    assert_eq!((alive, waited), (false, Duration::ZERO));
    assert_eq!(bare.receive().await, None);
    newer.subscribe("pi", QoS::AtMostOnce).await;
    let (alive, waited, _newest) = taken_over(&mut house).await;
    assert_eq!((alive, waited), (false, Duration::ZERO));
    assert_eq!(newer.receive().await, None);
}

#[tokio::test(start_paused = true)]
async fn the_shutdown_does_not_wait_for_an_answer() {
    let mut house = house();
    let (mut older, _outbox) = house.connected(60).await;
    older.subscribe("pi", QoS::AtLeastOnce).await;
    let begun = Instant::now();
    let mut newer = house.client();
    newer.connect("pi", 60).await;
    older.probed().await;
    house.context.shutdown.cancel();
    assert!(matches!(house.events.recv().await, Some(Event::Gone { newer: None, .. })));
    assert_eq!(begun.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_listener_survives_every_error_of_accept() {
    let house = house();
    let (near, far) = tokio::io::duplex(1024);
    let errors = [io::ErrorKind::ConnectionAborted, io::ErrorKind::Other, io::ErrorKind::OutOfMemory];
    let mut script: VecDeque<_> = errors.into_iter().map(|kind| Err(kind.into())).collect();
    script.push_back(Ok(near));
    let listening = tokio::spawn(listen(Script(script), Door::Plain(Access::Open), Arc::clone(&house.context)));
    let mut first = Client { stream: far, buffer: BytesMut::new() };
    first.connect("pi", 60).await;
    assert!(matches!(first.receive().await, Some(Packet::ConnAck(_))));
    assert_eq!(house.closed("accept_error"), 3);

    house.context.shutdown.cancel();
    assert!(!listening.is_finished(), "it waits for the connection");
    drop(first);
    listening.await.unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn garbage_ends_its_own_connection_only() {
    let mut house = house();
    let (mut other, _outbox) = house.connected(0).await;
    let packets: [(&[u8], &str); 5] = [
        (b"GET / HTTP/1.1\r\n\r\n", "unexpected_packet"),
        (&[0x10, 0x80, 0x80, 0x80, 0x80, 1], "malformed"),
        (&[0x10, 0x80, 0x80, 0x01], "too_large"),
        (&[0x10, 10, 0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3, 2], "protocol"),
        (&[0x10, 2, 0, 9], "malformed"),
    ];
    for (bytes, reason) in packets {
        let (mut client, before) = (house.client(), house.closed(reason));
        client.write(bytes).await;
        assert!(client.closed_after().await < Duration::from_secs(1), "{reason}");
        assert_eq!(house.closed(reason), before + 1, "{reason}");
    }
    let late: [&[u8]; 4] = [&[0x10, 0], &[0x20, 2, 0, 0], &[0x34, 4, 0, 1, b't', 0], &[0xff; 64]];
    for bytes in late {
        let mut client = house.client();
        client.connect("late", 60).await;
        client.write(bytes).await;
        assert!(client.closed_after().await < Duration::from_secs(1), "{bytes:?}");
    }
    other.send(Packet::PingReq).await;
    assert_eq!(other.receive().await, Some(Packet::PingResp));
    other.send(Packet::Publish(Publish::from_bytes("t", QoS::AtMostOnce, Bytes::new()))).await;
    assert_eq!(other.receive().await, None);
    assert!(house.closed("forbidden") >= 1);
}

#[tokio::test]
async fn an_idle_connection_costs_a_few_kilobytes() {
    let house = house();
    let (near, _far) = tokio::io::duplex(1);
    let (place, door) =
        (house.context.lobby.enter(PEER.ip(), house.context.lobby.room().await), Door::Plain(Access::Open));
    let task = std::mem::size_of_val(&connection::serve(near, PEER, place, &door, &house.context));
    let words = 32 * size_of::<Down>();
    assert!(task + words + 2 * 1024 <= 10 * 1024, "{task} + {words} bytes, and a buffer of 2 KiB");
}
