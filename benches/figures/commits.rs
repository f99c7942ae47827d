//! Frames as an agent makes them, committed to Kafka as the relay's ledger thread does it.

use gaitway_kafka::KafkaConfig;
use gaitway_proto::frame::Frame;
use gaitway_proto::ledger::{Epoch, Ledger as _, Mark, Source, Stream};
use gaitway_proto::record::{Origin, Record};
use gaitway_proto::topic::AgentId;
use gaitway_relay::CommitConfig;
use gaitway_relay::kafka::KafkaLedger;
use tokio_util::sync::CancellationToken;

use super::body::{Phone, Push};
use super::frame::Agent;
use super::serve;

/// Different seconds of each phone.
const BODIES: usize = 16;

/// `pushes` of each phone, the phones in turns.
pub(crate) fn frames(phones: &[Phone<'_>], pushes: u64) -> Vec<Vec<u8>> {
    let mut sending: Vec<(&Phone<'_>, Vec<Push>, Agent)> = phones
        .iter()
        .map(|phone| (phone, (0..BODIES).map(|second| phone.push(second)).collect(), Agent::default()))
        .collect();
    let mut frames = Vec::new();
    for number in 0..pushes {
        for (phone, bodies, agent) in &mut sending {
            let push = &mut bodies[number as usize % BODIES];
            push.renumber(phone, number);
            frames.push(agent.take(push.body()));
        }
    }
    frames
}

/// A relay's ledger and one agent's stream into it.
pub(crate) struct Committer {
    ledger: KafkaLedger,
    agent: AgentId,
    epoch: Epoch,
    /// The stream's position.
    at: Option<u64>,
}

impl Committer {
    /// Owns the topics of `kafka`, which are made if need be.
    pub(crate) fn open(kafka: &KafkaConfig) -> Self {
        let mut ledger = KafkaLedger::new(kafka.clone(), "figures", CancellationToken::new());
        ledger.recover().unwrap();
        Self { ledger, agent: serve::AGENT.parse().unwrap(), epoch: Epoch::from_random(7), at: None }
    }

    /// Commits `frames`, as many at a time as the relay does; gives the number of commits.
    pub(crate) fn commit_all(&mut self, frames: &[Vec<u8>]) -> u64 {
        let most = CommitConfig::default().max_bytes;
        let (mut first, mut bytes, mut commits) = (0, 0, 0);
        for (next, frame) in (1..).zip(frames) {
            bytes += frame.len() as u64;
            if bytes >= most || next == frames.len() {
                self.commit(&frames[first..next], usize::MAX);
                (first, bytes, commits) = (next, 0, commits + 1);
            }
        }
        commits
    }

    /// Decodes `frames` and commits the first `most` records of them, from bytes to what the ledger tells as durable.
    pub(crate) fn commit(&mut self, frames: &[Vec<u8>], most: usize) {
        let Self { ledger, agent, epoch, at } = self;
        let decoded: Vec<Frame> = frames.iter().map(|frame| Frame::decode(frame).unwrap()).collect();
        let mut records: Vec<Record<'_>> = Vec::new();
        for (seq, frame) in (at.unwrap_or(0) + 1..).zip(&decoded) {
            frame.records(Origin { agent, epoch: *epoch, ordinal: 1, stream: Stream::Raw, seq }, &mut records);
        }
        records.truncate(most);
        let source = Source::stream(agent, *epoch, Stream::Raw);
        let to = at.unwrap_or(0) + frames.len() as u64;
        ledger.submit(&records, &[Mark { source: source.clone(), from: *at, to }]).unwrap();
        assert_eq!(ledger.committed(std::slice::from_ref(&source)).unwrap().get(&source), Some(&to));
        *at = Some(to);
    }
}
