//! A relay in this process and a client that writes its own packets.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its own part of this test code"
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use gaitway_proto::activity::{Activity, ActivityFrame, Window};
use gaitway_proto::envelope::{Batch, Down, Hello, Item, Offer};
use gaitway_proto::ledger::{Epoch, Ledger, Stream};
use gaitway_proto::topic::{self, AgentId, Up};
use gaitway_relay::{RelayConfig, RelayStatus};
use gaitway_service::health::Health;
use gaitway_service::metrics::Metrics;
use rumqttc::mqttbytes::QoS;
use rumqttc::mqttbytes::v4::{Connect, ConnectReturnCode, Packet, PubAck, Publish, Subscribe};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::memory::MemoryLedger;

pub struct Relay {
    pub address: SocketAddr,
    pub ledger: MemoryLedger,
    pub status: Arc<RelayStatus>,
    pub health: Health,
    pub metrics: Metrics,
    pub shutdown: CancellationToken,
    pub task: JoinHandle<anyhow::Result<()>>,
}

impl Relay {
    pub fn start(change: impl FnOnce(&mut RelayConfig)) -> Self {
        let ledger = MemoryLedger::default();
        Self { ledger: ledger.clone(), ..Self::serve(Box::new(ledger), CancellationToken::new(), change) }
    }

    /// A relay that commits to `committed_to`; nothing is in its `ledger`.
    pub fn serve(
        committed_to: Box<dyn Ledger>,
        shutdown: CancellationToken,
        change: impl FnOnce(&mut RelayConfig),
    ) -> Self {
        let mut config = RelayConfig { mqtt: "127.0.0.1:0".parse().unwrap(), ..RelayConfig::default() };
        change(&mut config);
        let listener = gaitway_relay::bind(&config).unwrap();
        let address = listener.local_addr().unwrap();
        let (status, health, metrics) = (Arc::default(), Health::new(), Metrics::new());
        let task = tokio::spawn({
            let (status, shutdown) = (Arc::clone(&status), shutdown.clone());
            let (health, metrics) = (health.clone(), metrics.clone());
            async move { gaitway_relay::run(config, listener, committed_to, status, &health, &metrics, shutdown).await }
        });
        Self { address, ledger: MemoryLedger::default(), status, health, metrics, shutdown, task }
    }

    pub async fn stop(self) -> anyhow::Result<()> {
        self.shutdown.cancel();
        self.task.await.unwrap()
    }
}

pub struct Client {
    pub id: AgentId,
    stream: Box<dyn Carrier>,
    buffer: BytesMut,
    pkid: u16,
}

/// What carries a connection.
pub trait Carrier: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Carrier for S {}

impl Client {
    /// A bare connection.
    pub async fn dial(relay: &Relay, id: &str) -> Self {
        Self::over(TcpStream::connect(relay.address).await.unwrap(), id)
    }

    /// Over a stream that is there.
    pub fn over(stream: impl Carrier + 'static, id: &str) -> Self {
        Self { id: id.parse().unwrap(), stream: Box::new(stream), buffer: BytesMut::new(), pkid: 0 }
    }

    /// Connected and subscribed.
    pub async fn enter(relay: &Relay, id: &str) -> Self {
        Self::dial(relay, id).await.entered().await
    }

    /// Connects and subscribes.
    pub async fn entered(mut self) -> Self {
        assert_eq!(self.connect().await, Some(ConnectReturnCode::Success));
        self.send(Packet::Subscribe(Subscribe { pkid: 1, ..Subscribe::new(topic::down(&self.id), QoS::AtLeastOnce) }))
            .await;
        assert!(matches!(self.receive().await, Some(Packet::SubAck(_))));
        self
    }

    /// Sends CONNECT; the answer.
    pub async fn connect(&mut self) -> Option<ConnectReturnCode> {
        self.connect_as(Connect::new(self.id.as_str())).await
    }

    pub async fn connect_as(&mut self, connect: Connect) -> Option<ConnectReturnCode> {
        self.send(Packet::Connect(connect)).await;
        match self.receive().await? {
            Packet::ConnAck(ack) => Some(ack.code),
            other => panic!("{other:?}"),
        }
    }

    pub async fn send(&mut self, packet: Packet) {
        let mut bytes = BytesMut::new();
        packet.write(&mut bytes, usize::MAX).unwrap();
        // The relay may have closed the connection: the next receive tells.
        let _ = self.stream.write_all(&bytes).await;
        let _ = self.stream.flush().await;
    }

    /// The next packet; none once the connection is closed.
    pub async fn receive(&mut self) -> Option<Packet> {
        let read = async {
            loop {
                if let Ok(packet) = Packet::read(&mut self.buffer, usize::MAX) {
                    return Some(packet);
                }
                if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    return None;
                }
            }
        };
        tokio::time::timeout(Duration::from_secs(20), read).await.expect("neither a packet nor the end")
    }

    pub async fn publish(&mut self, up: Up, payload: Vec<u8>) {
        self.pkid += 1;
        let publish = Publish::new(up.topic(&self.id), QoS::AtLeastOnce, payload);
        self.send(Packet::Publish(Publish { pkid: self.pkid, ..publish })).await;
    }

    /// The next word of the relay, PUBACKs left out.
    pub async fn word(&mut self) -> Option<Down> {
        loop {
            match self.receive().await? {
                Packet::Publish(publish) => return Some(Down::decode(&publish.payload).unwrap()),
                Packet::PubAck(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn hello(&mut self, session: u64, next: u64) -> Option<Down> {
        let offer = |stream| Offer { epoch: epoch(), ordinal: 1, stream, first: 1, next };
        let streams = Stream::ALL.map(offer).to_vec();
        let hello = Hello { session, software: "test".to_owned(), epoch: epoch(), ancestors: vec![], streams };
        self.publish(Up::Hello, hello.encode()).await;
        self.word().await
    }

    pub async fn activity(&mut self, session: u64, first: u64, frames: u64) {
        let items = (first..first + frames).map(|seq| Item::Frame(frame(seq).into())).collect();
        let batch = Batch { session, epoch: epoch(), stream: Stream::Activity, first, items };
        self.publish(Up::Activity, batch.encode()).await;
    }

    /// Answers that it is alive when a newer connection comes, and is closed.
    pub async fn is_taken_over(&mut self) {
        let Some(Packet::Publish(probe)) = self.receive().await else { panic!("not asked") };
        assert_eq!(probe.qos, QoS::AtLeastOnce);
        self.send(Packet::PubAck(PubAck::new(probe.pkid))).await;
        assert_eq!(self.receive().await, None);
    }

    pub async fn is_alive(&mut self) -> bool {
        self.send(Packet::PingReq).await;
        self.receive().await == Some(Packet::PingResp)
    }
}

pub fn epoch() -> Epoch {
    Epoch::from_random(7)
}

pub fn frame(seq: u64) -> Vec<u8> {
    let window = Window {
        start: seq as i64,
        end: seq as i64 + 10,
        count: 1,
        mean: 1.0,
        activity: Activity::Walking,
        confidence: 0.9,
        revision: 0,
    };
    ActivityFrame { device: "d".into(), session: format!("s{seq}"), classifier: "c".into(), windows: vec![window] }
        .encode()
}
