use bytes::Bytes;
use gaitway_proto::envelope::{Down, Item, Offer, Welcome};
use gaitway_proto::ledger::Epoch;
use gaitway_proto::topic::AgentId;
use gaitway_service::health::Health;
use gaitway_service::metrics::Metrics;
use rumqttc::ConnectReturnCode;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use zeroize::Zeroizing;

use super::peer::{Heard, Peer, last_of};
use super::*;
use crate::identity::Route;
use crate::uplink::UplinkSnapshot;

const PASSWORD: &str = "secret";
const FRAME: usize = 30_000;

/// Frame n of every stream holds n, in 30 kB.
struct Numbered {
    next: u64,
}

impl Frames for Numbered {
    fn read(
        &mut self,
        _: Epoch,
        _: Stream,
        from: u64,
        max_bytes: usize,
        max_items: usize,
    ) -> anyhow::Result<Vec<Item>> {
        let count = (max_bytes / FRAME).clamp(1, max_items) as u64;
        Ok((from..self.next.min(from + count)).map(frame).collect())
    }
}

fn frame(seq: u64) -> Item {
    let mut bytes = seq.to_be_bytes().to_vec();
    bytes.resize(FRAME - 4, 0);
    Item::Frame(Bytes::from(bytes))
}

struct Agent {
    id: AgentId,
    listener: TcpListener,
    state: watch::Sender<SpoolState>,
    told: mpsc::Receiver<ToAgent>,
    /// Whether the writer was told of the welcome.
    welcomed: bool,
    status: Arc<UplinkStatus>,
    health: Health,
    metrics: Metrics,
    shutdown: CancellationToken,
    running: JoinHandle<anyhow::Result<()>>,
}

/// Towards `listener` in plain text, with the word.
fn config(listener: &TcpListener, agent: &AgentId) -> UplinkConfig {
    let relay: RelayAddress = format!("mqtt://{}", listener.local_addr().unwrap()).parse().unwrap();
    let (_, routes) = watch::channel(Route::choose(Some(&relay), None));
    UplinkConfig {
        routes,
        agent: agent.clone(),
        word: Some(Zeroizing::new(PASSWORD.to_owned())),
        wanted: Arc::default(),
    }
}

fn epoch() -> Epoch {
    Epoch::from_random(5)
}

/// An uplink with raw frames 1 to `next` − 1 that calls a fresh listener.
async fn agent(next: u64) -> Agent {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let id: AgentId = "pi".parse().unwrap();
    let offer = |stream, next| Offer { epoch: epoch(), ordinal: 1, stream, first: 1, next };
    let streams = vec![offer(Stream::Raw, next), offer(Stream::Activity, 1)];
    let (state, states) = watch::channel(SpoolState { epoch: epoch(), ancestors: vec![], streams });
    let (to_agent, told) = mpsc::channel(1);
    let (status, health, metrics) = (Arc::<UplinkStatus>::default(), Health::new(), Metrics::new());
    let shutdown = CancellationToken::new();
    let config = config(&listener, &id);
    let running = {
        let counters = UplinkMetrics::default();
        counters.register(&metrics);
        let (status, part, shutdown) = (status.clone(), health.part("relay link"), shutdown.clone());
        tokio::spawn(run(config, Numbered { next }, states, to_agent, status, part, counters, shutdown))
    };
    Agent { id, listener, state, told, welcomed: false, status, health, metrics, shutdown, running }
}

impl Agent {
    async fn call(&self) -> Peer {
        Peer::welcome_in(&self.listener, &self.id, PASSWORD).await
    }

    /// What the writer is told next.
    async fn next_word(&mut self) -> ToAgent {
        let word = tokio::time::timeout(Duration::from_secs(30), self.told.recv()).await;
        word.unwrap_or_else(|_| panic!("the writer is told nothing: {:?}", self.status.snapshot()))
            .expect("the uplink runs")
    }

    /// Waits until the writer has been told of `up_to`; it is never told less than before.
    async fn told_up_to(&mut self, up_to: u64) {
        let mut before = 0;
        while before < up_to {
            match self.next_word().await {
                ToAgent::Acknowledged { epoch: of, stream: Stream::Raw, up_to } => {
                    assert_eq!(of, epoch());
                    assert!(up_to > before);
                    before = up_to;
                }
                ToAgent::Welcomed => assert!(!std::mem::replace(&mut self.welcomed, true), "told twice"),
                other => panic!("not an acknowledgement: {other:?}"),
            }
        }
        assert!(self.welcomed, "acknowledged before the welcome");
        assert_eq!(before, up_to);
    }

    /// Waits until the status is as wanted.
    async fn shows(&self, wanted: impl Fn(&UplinkSnapshot) -> bool) -> UplinkSnapshot {
        for _ in 0..3_000 {
            let snapshot = self.status.snapshot();
            if wanted(&snapshot) {
                return snapshot;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("still {:?}", self.status.snapshot());
    }

    async fn ends(self) {
        self.shutdown.cancel();
        tokio::time::timeout(Duration::from_secs(30), self.running).await.expect("the uplink ends").unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_backlog_crosses_a_link_that_breaks_in_the_middle_of_a_batch() {
    let mut agent = agent(41).await;

    let mut peer = agent.call().await;
    let hello = peer.hear_hello().await;
    assert_eq!(hello.streams.len(), 2);
    peer.say_welcome(&hello, 0).await;
    let first = peer.hear_batch().await;
    assert_eq!((first.first, first.session), (1, hello.session));
    peer.say_ack(&first).await;
    let committed = last_of(&first);
    agent.told_up_to(committed).await;
    assert!(agent.shows(|s| s.committed_frames == committed).await.welcomed);
    assert!(agent.health.report().ready);
    // Taken, not committed: has to come again.
    assert_eq!(peer.hear_batch().await.first, committed + 1);
    drop(peer);

    let lost = agent.shows(|s| !s.welcomed).await;
    assert!(lost.waiting.unwrap().starts_with("waiting for relay 127.0.0.1:"));
    assert!(!agent.health.report().ready);

    let mut peer = agent.call().await;
    let again = peer.hear_hello().await;
    assert_ne!(again.session, hello.session);
    assert_eq!(again.streams.iter().map(|o| o.first).max(), Some(committed + 1));
    peer.say_welcome(&again, committed).await;
    let mut next = committed + 1;
    while next < 41 {
        let batch = peer.hear_batch().await;
        assert_eq!((batch.first, batch.session), (next, again.session));
        let expected: Vec<_> = (next..).take(batch.items.len()).map(frame).collect();
        assert_eq!(batch.items, expected);
        next += batch.items.len() as u64;
        peer.say_ack(&batch).await;
    }
    agent.told_up_to(40).await;
    let drained = agent.shows(|s| s.committed_frames == 40).await;
    assert_eq!((drained.in_flight_bytes, drained.waiting), (0, None));
    let metrics = agent.metrics.encode();
    assert!(metrics.contains("gaitway_agent_uplink_acknowledged_frames_total 40\n"), "{metrics}");

    agent.shutdown.cancel();
    assert!(matches!(peer.hear().await, Heard::Goodbye));
    agent.ends().await;
}

#[tokio::test]
async fn new_frames_go_out_as_they_are_committed() {
    let mut agent = agent(3).await;
    let mut peer = agent.call().await;
    let hello = peer.hear_hello().await;
    peer.say_welcome(&hello, 2).await;
    agent.told_up_to(2).await;
    agent.state.send_modify(|state| state.streams[1].next = 3);
    let batch = peer.hear_batch().await;
    assert_eq!((batch.stream, batch.first, batch.items.len()), (Stream::Activity, 1, 2));
    agent.ends().await;
}

#[tokio::test]
async fn the_end_waits_for_acknowledgements_under_way() {
    let mut agent = agent(3).await;
    let mut peer = agent.call().await;
    let hello = peer.hear_hello().await;
    peer.say_welcome(&hello, 0).await;
    let batch = peer.hear_batch().await;
    agent.shows(|s| s.in_flight_bytes > 0).await;
    agent.shutdown.cancel();
    peer.say_ack(&batch).await;
    agent.told_up_to(2).await;
    assert!(matches!(peer.hear().await, Heard::Goodbye));
    agent.ends().await;
}

#[tokio::test]
async fn a_copy_is_told_before_anything_is_sent() {
    let mut agent = agent(3).await;
    let mut peer = agent.call().await;
    let hello = peer.hear_hello().await;
    let granted =
        |o: &Offer| gaitway_proto::envelope::Granted { epoch: o.epoch, stream: o.stream, committed: 0, grant: 0 };
    let streams = hello.streams.iter().map(granted).collect();
    peer.say(&Down::Welcome(Welcome { session: hello.session, forked: Some(epoch()), streams })).await;
    let ToAgent::Copied { common: 1, why, done } = agent.next_word().await else { panic!("not the copy") };
    assert!(why.contains("copy"));
    let early = tokio::time::timeout(Duration::from_millis(50), peer.hear_batch()).await;
    assert!(early.is_err(), "{early:?}");
    done.send(()).unwrap();
    assert_eq!(peer.hear_batch().await.first, 1);
    agent.ends().await;
}

#[tokio::test]
async fn a_refusal_says_what_to_do() {
    let agent = agent(1).await;
    let mut peer = Peer::accept(&agent.listener, &agent.id, PASSWORD).await;
    peer.answer(ConnectReturnCode::BadUserNamePassword).await;
    let refused = agent.shows(|s| s.waiting.as_ref().is_some_and(|why| why.contains("refuses agent"))).await;
    assert!(refused.waiting.unwrap().contains("another one's certificate"));
    agent.ends().await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_read_ends_the_connection_not_the_agent() {
    let agent = agent(1).await;
    let mut peer = agent.call().await;
    peer.hear_hello().await;
    peer.say_bytes(vec![9, 1, 2, 3, 4, 5, 6]).await;
    agent.shows(|s| s.waiting.as_ref().is_some_and(|why| why.contains("version 9 is unknown"))).await;
    let mut peer = agent.call().await;
    peer.hear_hello().await;
    agent.ends().await;
}

#[tokio::test]
async fn a_frame_of_the_greatest_size_fits() {
    struct Large;
    impl Frames for Large {
        fn read(&mut self, _: Epoch, _: Stream, _: u64, _: usize, _: usize) -> anyhow::Result<Vec<Item>> {
            Ok(vec![Item::Frame(Bytes::from(vec![7; gaitway_proto::limits::MAX_FRAME]))])
        }
    }
    let mut agent = agent(2).await;
    agent.running.abort();
    let config = config(&agent.listener, &agent.id);
    let (states, shutdown) = (agent.state.subscribe(), agent.shutdown.clone());
    let (to_agent, told) = mpsc::channel(1);
    let (status, part) = (agent.status.clone(), agent.health.part("large"));
    agent.told = told;
    let counters = UplinkMetrics::default();
    agent.running = tokio::spawn(run(config, Large, states, to_agent, status, part, counters, shutdown));
    let mut peer = agent.call().await;
    let hello = peer.hear_hello().await;
    peer.say_welcome(&hello, 0).await;
    let batch = peer.hear_batch().await;
    peer.say_ack(&batch).await;
    agent.told_up_to(1).await;
    agent.ends().await;
}

#[tokio::test]
async fn a_reader_that_dies_ends_the_uplink_with_a_reason() {
    struct Dies;
    impl Frames for Dies {
        fn read(&mut self, _: Epoch, _: Stream, _: u64, _: usize, _: usize) -> anyhow::Result<Vec<Item>> {
            panic!("a broken spool")
        }
    }
    let reader = Reader::spawn(Dies).unwrap();
    let mut reader = reader;
    let read =
        crate::uplink::session::Read { epoch: epoch(), stream: Stream::Raw, from: 1, max_bytes: 1, max_items: 1 };
    reader.ask(read).unwrap();
    assert!(reader.frames().await.unwrap_err().to_string().contains("has ended"));
    assert!(reader.ask(read).is_err());
}
