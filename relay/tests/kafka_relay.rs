//! A whole relay over a real broker.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod client;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../../tests/harness/kafka.rs"]
mod kafka;
mod memory;
#[allow(dead_code, reason = "each test uses its part")]
#[path = "../../tests/harness/topic.rs"]
mod topic;

use client::{Client, Relay};
use gaitway_kafka::KafkaConfig;
use gaitway_kafka::config::Topics;
use gaitway_proto::envelope::Down;
use gaitway_proto::ledger::{Ledger, LedgerError, Mark, Source, Stream, Watermark};
use gaitway_proto::record::Record;
use gaitway_relay::kafka::KafkaLedger;
use tokio_util::sync::CancellationToken;

fn config() -> KafkaConfig {
    let own = kafka::unique("relay");
    let topics = Topics {
        raw: format!("{own}-raw"),
        activity: format!("{own}-activity"),
        gaps: format!("{own}-gaps"),
        progress: format!("{own}-progress"),
        dead_letter: format!("{own}-dead"),
    };
    let mut config = KafkaConfig { brokers: kafka::broker().to_owned(), topics, ..KafkaConfig::default() };
    config.create.partitions = 2;
    config
}

fn ledger(config: &KafkaConfig, name: &str, stop: &CancellationToken) -> KafkaLedger {
    KafkaLedger::new(config.clone(), name, stop.clone())
}

/// Dies as soon as records are committed.
struct Dying(KafkaLedger);

impl Ledger for Dying {
    fn recover(&mut self) -> Result<(), LedgerError> {
        self.0.recover()
    }

    fn submit(&mut self, records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError> {
        self.0.submit(records, marks)?;
        assert!(records.is_empty(), "dies here: committed, and nobody was told");
        Ok(())
    }

    fn committed(&mut self, sources: &[Source]) -> Result<Watermark, LedgerError> {
        self.0.committed(sources)
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs kafka"]
async fn a_relay_that_dies_between_commit_and_ack_leaves_one_copy_and_the_next_one_says_so() {
    let config = config();
    let stop = CancellationToken::new();
    let relay = Relay::serve(Box::new(Dying(ledger(&config, "dying", &stop))), stop, |_| {});
    let mut agent = Client::enter(&relay, "pi").await;
    let Some(Down::Welcome(welcome)) = agent.hello(1, 4).await else { panic!("not welcomed") };
    assert!(welcome.streams.iter().all(|granted| granted.committed == 0));
    agent.activity(1, 1, 3).await;
    assert_eq!(agent.word().await, None, "no acknowledgement, only the end");
    let died = relay.task.await.unwrap().unwrap_err();
    assert!(format!("{died:#}").contains("ledger"), "{died:#}");

    let stop = CancellationToken::new();
    let relay = Relay::serve(Box::new(ledger(&config, "next", &stop)), stop, |_| {});
    let mut agent = Client::enter(&relay, "pi").await;
    let Some(Down::Welcome(welcome)) = agent.hello(2, 4).await else { panic!("not welcomed") };
    let of = |stream| welcome.streams.iter().find(|granted| granted.stream == stream).unwrap().committed;
    assert_eq!((of(Stream::Activity), of(Stream::Raw)), (3, 0));
    // Who sends all the same hears that it is there.
    agent.activity(2, 1, 3).await;
    let Some(Down::Ack(ack)) = agent.word().await else { panic!("not acknowledged") };
    assert_eq!(ack.up_to, 3);
    agent.activity(2, 4, 1).await;
    let Some(Down::Ack(ack)) = agent.word().await else { panic!("not acknowledged") };
    assert_eq!(ack.up_to, 4);
    relay.stop().await.unwrap();

    let seqs = topic::read(&config.brokers, &config.topics.activity);
    let mut seqs: Vec<_> =
        seqs.iter().map(|m| topic::headers(m).into_iter().find(|(key, _)| key.ends_with("seq"))).collect();
    seqs.sort();
    let seqs: Vec<_> = seqs.into_iter().map(|seq| seq.unwrap().1).collect();
    assert_eq!(seqs, ["1", "2", "3", "4"]);
}
