//! A minimal MQTT peer that stands in for a relay, with rumqttc's own codec on a real socket.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use gaitway_proto::envelope::{Ack, Batch, Down, Granted, Hello, Welcome};
use gaitway_proto::limits::MAX_PACKET;
use gaitway_proto::topic::{self, AgentId, Up};
use rumqttc::mqttbytes::v4::{ConnAck, ConnectReturnCode, Packet, PubAck, Publish, SubAck, SubscribeReasonCode};
use rumqttc::mqttbytes::{Error, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

/// Far beyond anything a test waits for.
const TIMEOUT: Duration = Duration::from_secs(30);

/// What the agent published.
#[derive(Debug)]
pub(super) enum Heard {
    Hello(Hello),
    Batch(Batch),
    Goodbye,
}

pub(super) struct Peer {
    /// Reads all the time: the client does not read while it writes.
    reading: JoinHandle<()>,
    packets: mpsc::Receiver<Packet>,
    socket: OwnedWriteHalf,
    agent: AgentId,
}

impl Peer {
    /// Accepts a connection and reads its CONNECT.
    pub(super) async fn accept(listener: &TcpListener, agent: &AgentId, password: &str) -> Self {
        let (socket, _) = tokio::time::timeout(TIMEOUT, listener.accept()).await.unwrap().unwrap();
        let (reader, socket) = socket.into_split();
        let (heard, packets) = mpsc::channel(1_000);
        let reading = tokio::spawn(read(reader, heard));
        let mut peer = Self { reading, packets, socket, agent: agent.clone() };
        let Some(Packet::Connect(connect)) = peer.packet().await else { panic!("not a CONNECT") };
        assert_eq!((connect.client_id.as_str(), connect.clean_session, connect.keep_alive), (agent.as_str(), true, 30));
        let login = connect.login.unwrap();
        assert_eq!((login.username.as_str(), login.password.as_str()), (agent.as_str(), password));
        peer
    }

    /// Accepts a connection, lets it in and takes its subscription.
    pub(super) async fn welcome_in(listener: &TcpListener, agent: &AgentId, password: &str) -> Self {
        let mut peer = Self::accept(listener, agent, password).await;
        peer.answer(ConnectReturnCode::Success).await;
        let Some(Packet::Subscribe(subscribe)) = peer.packet().await else { panic!("not a SUBSCRIBE") };
        let filters: Vec<_> = subscribe.filters.iter().map(|f| (f.path.as_str(), f.qos)).collect();
        assert_eq!(filters, [(topic::down(agent).as_str(), QoS::AtLeastOnce)]);
        let granted = vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)];
        peer.send(Packet::SubAck(SubAck::new(subscribe.pkid, granted))).await;
        peer
    }

    pub(super) async fn answer(&mut self, code: ConnectReturnCode) {
        self.send(Packet::ConnAck(ConnAck::new(code, false))).await;
    }

    /// The agent's next word.
    pub(super) async fn hear(&mut self) -> Heard {
        loop {
            match self.packet().await {
                None | Some(Packet::Disconnect) => return Heard::Goodbye,
                Some(Packet::Publish(publish)) => {
                    assert_eq!(publish.qos, QoS::AtLeastOnce);
                    self.send(Packet::PubAck(PubAck::new(publish.pkid))).await;
                    return match Up::parse(&publish.topic, &self.agent).expect("a topic of the agent's own") {
                        Up::Hello => Heard::Hello(Hello::decode(&publish.payload).unwrap()),
                        Up::Raw | Up::Activity => Heard::Batch(Batch::decode(&publish.payload).unwrap()),
                    };
                }
                Some(Packet::PubAck(_)) => {}
                Some(other) => panic!("unexpected: {other:?}"),
            }
        }
    }

    pub(super) async fn hear_hello(&mut self) -> Hello {
        match self.hear().await {
            Heard::Hello(hello) => hello,
            other => panic!("not a hello: {other:?}"),
        }
    }

    pub(super) async fn hear_batch(&mut self) -> Batch {
        match self.hear().await {
            Heard::Batch(batch) => batch,
            other => panic!("not a batch: {other:?}"),
        }
    }

    pub(super) async fn say(&mut self, down: &Down) {
        self.say_bytes(down.encode()).await;
    }

    pub(super) async fn say_bytes(&mut self, payload: Vec<u8>) {
        let mut publish = Publish::new(topic::down(&self.agent), QoS::AtLeastOnce, payload);
        publish.pkid = 1;
        self.send(Packet::Publish(publish)).await;
    }

    pub(super) async fn say_welcome(&mut self, hello: &Hello, committed: u64) {
        let granted = |o: &gaitway_proto::envelope::Offer| Granted {
            epoch: o.epoch,
            stream: o.stream,
            committed,
            grant: 1 << 20,
        };
        let streams =
            hello.streams.iter().map(|o| if o.next > 1 { granted(o) } else { Granted { committed: 0, ..granted(o) } });
        let streams = streams.collect();
        self.say(&Down::Welcome(Welcome { session: hello.session, forked: None, streams })).await;
    }

    /// Acknowledges all of `batch`.
    pub(super) async fn say_ack(&mut self, batch: &Batch) {
        let up_to = last_of(batch);
        let Batch { session, epoch, stream, .. } = *batch;
        self.say(&Down::Ack(Ack { session, epoch, stream, up_to, grant: 1 << 20 })).await;
    }

    /// The next packet, none at the end of the connection.
    async fn packet(&mut self) -> Option<Packet> {
        tokio::time::timeout(TIMEOUT, self.packets.recv()).await.unwrap()
    }

    async fn send(&mut self, packet: Packet) {
        let mut out = BytesMut::new();
        packet.write(&mut out, MAX_PACKET).unwrap();
        while out.has_remaining() {
            self.socket.write_buf(&mut out).await.unwrap();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

async fn read(mut socket: OwnedReadHalf, heard: mpsc::Sender<Packet>) {
    let mut buffer = BytesMut::new();
    loop {
        match Packet::read(&mut buffer, MAX_PACKET) {
            Ok(packet) => heard.send(packet).await.unwrap(),
            Err(Error::InsufficientBytes(_)) => {
                if socket.read_buf(&mut buffer).await.unwrap_or(0) == 0 {
                    return;
                }
            }
            Err(error) => panic!("{error}"),
        }
    }
}

pub(super) fn last_of(batch: &Batch) -> u64 {
    batch.first + batch.items.iter().map(gaitway_proto::envelope::Item::span).sum::<u64>() - 1
}
