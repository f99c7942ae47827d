//! The Kafka ledger: records and watermarks of a batch are one transaction.
//!
//! - The transactional id is made of the progress topic's name: whoever begins anew fences whoever was there before.
//! - A start begins with `init_transactions`, which ends what a former owner left open; then it commits that it owns the topic; only
//!   then are positions read, all of them, so that none moves any more.
//! - A mark moves by compare-and-set against these positions. Nobody else can move them.
//! - Everything is drained by hand before the commit: librdkafka's own flush waits in steps of 100 ms.
//! - After any error the producer is dropped, and what is true is read again.
//! - Fenced is who finds another owner's name in the topic. A coordinator that gave up on a transaction fences too, and leaves the
//!   name as it was: then this relay goes on.
//!
//! On a cluster with fewer than three replicas an acknowledged record may be lost with a disk; [`topics`] says so.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gaitway_kafka::KafkaConfig;
use gaitway_kafka::client::sentence;
use gaitway_kafka::progress::{self, Kept, Progress};
use gaitway_kafka::topics::{self, Finding, Weight, written_by_relay};
use gaitway_proto::ledger::{self, Ledger, LedgerError, Mark, Source, Watermark};
use gaitway_proto::record::Record;
use gaitway_service::clock;
use rdkafka::error::KafkaError;

pub(crate) mod expiry;
mod transaction;

use transaction::{Failed, Producer};

/// The client's name at the brokers.
pub const CLIENT: &str = "gaitway-relay";

/// How long another relay that fenced this one may take to say so.
const OWNER_WITHIN: Duration = Duration::from_secs(5);

/// A ledger whose store is Kafka.
#[derive(Debug)]
pub struct KafkaLedger {
    config: KafkaConfig,
    /// This process's name as an owner.
    name: String,
    open: Option<Open>,
    /// What was said of the topics.
    told: Vec<Finding>,
    expired: Option<Instant>,
}

/// What holds between a recovery and the next error.
struct Open {
    producer: Producer,
    progress: Progress,
}

impl std::fmt::Debug for Open {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Open").field("sources", &self.progress.positions.len()).finish_non_exhaustive()
    }
}

impl KafkaLedger {
    /// A ledger that has to recover first. `name` tells this process from every other that ever owned the topics.
    pub fn new(config: KafkaConfig, name: impl Into<String>) -> Self {
        Self { config, name: name.into(), open: None, told: Vec::new(), expired: None }
    }

    fn prepare_topics(&mut self) -> Result<(), LedgerError> {
        let (created, findings) =
            topics::ensure(&self.config, CLIENT, written_by_relay).map_err(LedgerError::Unavailable)?;
        for topic in created {
            let (topic, partitions, replicas) = (topic.name, topic.partitions, topic.replication);
            tracing::info!(topic, partitions, replicas, "topic created");
        }
        if let Some(forbids) = findings.iter().find(|finding| finding.weight == Weight::Forbids) {
            return Err(LedgerError::Unavailable(forbids.to_string()));
        }
        if findings != self.told {
            for finding in &findings {
                match finding.weight {
                    Weight::Differs => tracing::info!("{finding}"),
                    Weight::Weakens | Weight::Forbids => tracing::warn!("{finding}"),
                }
            }
            self.told = findings;
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<Open, LedgerError> {
        self.prepare_topics()?;
        let producer = Producer::begin(&self.config).map_err(|failed| self.lost("begin transactions", &failed))?;
        let owner = [(progress::OWNER, 0, Some(self.name.as_str()))];
        producer.commit(&[], &owner).map_err(|failed| self.lost("become the owner", &failed))?;
        let progress = progress::read(&self.config, CLIENT).map_err(LedgerError::Unavailable)?;
        match &progress.owner {
            Some(owner) if *owner != self.name => return Err(self.taken_by(owner)),
            _ => {}
        }
        if progress.foreign > 0 {
            let (topic, records) = (&self.config.topics.progress, progress.foreign);
            tracing::warn!(topic, records, "records in the progress topic are no marks and are passed over");
        }
        Ok(Open { producer, progress })
    }

    /// An error before this relay owned anything: whoever was faster is found out at the next try.
    fn lost(&self, doing: &str, failed: &Failed) -> LedgerError {
        LedgerError::Unavailable(self.said(doing, failed))
    }

    fn said(&self, doing: &str, failed: &Failed) -> String {
        match failed {
            Failed::Kafka(error, trouble) => sentence(&self.config, doing, error, trouble),
            Failed::TooLarge(what) | Failed::Slow(what) => {
                format!("cannot {doing} at Kafka {}: {what}", self.config.brokers)
            }
        }
    }

    fn taken_by(&self, owner: &str) -> LedgerError {
        LedgerError::Fenced(format!("{owner} commits to the topic {} now", self.config.topics.progress))
    }

    /// What an error of a transaction is, once somebody may have taken over.
    fn judge(&self, failed: &Failed) -> LedgerError {
        match failed {
            Failed::TooLarge(what) => LedgerError::Rejected(what.clone()),
            Failed::Kafka(error, _) if fences(error) => self.find_owner(failed),
            failed => LedgerError::Unavailable(self.said("commit", failed)),
        }
    }

    fn find_owner(&self, failed: &Failed) -> LedgerError {
        let begun = Instant::now();
        while begun.elapsed() < OWNER_WITHIN {
            match progress::read(&self.config, CLIENT) {
                Ok(Progress { owner: Some(owner), .. }) if owner != self.name => return self.taken_by(&owner),
                Ok(_) => {}
                Err(said) => return LedgerError::Unavailable(said),
            }
            std::thread::sleep(Duration::from_millis(250));
        }
        LedgerError::Unavailable(self.said("commit", failed))
    }

    fn open(&self) -> Result<&Open, LedgerError> {
        self.open.as_ref().ok_or_else(|| LedgerError::Unavailable("the Kafka ledger has not recovered".to_owned()))
    }
}

/// Whether the producer's epoch is over.
fn fences(error: &KafkaError) -> bool {
    use rdkafka::error::RDKafkaErrorCode::{Fenced, InvalidProducerEpoch, ProducerFenced};
    matches!(error.rdkafka_error_code(), Some(Fenced | ProducerFenced | InvalidProducerEpoch))
}

/// The marks against the positions.
fn compare(positions: &HashMap<Box<str>, Kept>, marks: &[Mark]) -> Result<(), LedgerError> {
    for mark in marks {
        let found = positions.get(mark.source.as_str()).map(|kept| kept.position);
        if found != mark.from {
            return Err(LedgerError::Conflict { source_name: mark.source.clone(), found });
        }
    }
    Ok(())
}

impl Ledger for KafkaLedger {
    fn recover(&mut self) -> Result<(), LedgerError> {
        self.open = None;
        let open = self.begin()?;
        let sources = open.progress.positions.len();
        tracing::info!(topic = self.config.topics.progress, sources, "owner of the progress topic");
        self.open = Some(open);
        Ok(())
    }

    fn submit(&mut self, records: &[Record<'_>], marks: &[Mark]) -> Result<(), LedgerError> {
        ledger::check(records, marks)?;
        let Open { producer, progress } = self.open()?;
        compare(&progress.positions, marks)?;
        if marks.is_empty() {
            return Ok(());
        }
        let values: Vec<String> = marks.iter().map(|mark| mark.to.to_string()).collect();
        let moved: Vec<_> = marks
            .iter()
            .zip(&values)
            .map(|(mark, value)| {
                let partition = progress::partition_of(&mark.source, progress.partitions);
                (mark.source.as_str(), partition, Some(value.as_str()))
            })
            .collect();
        let committed = producer.commit(records, &moved);
        match (committed, &mut self.open) {
            (Ok(()), Some(open)) => {
                let at = clock::now_micros() / 1000;
                for mark in marks {
                    open.progress.positions.insert(mark.source.as_str().into(), Kept { position: mark.to, at });
                }
                Ok(())
            }
            (Ok(()), None) => Err(LedgerError::Unavailable("the Kafka ledger has not recovered".to_owned())),
            (Err(failed), _) => {
                self.open = None;
                Err(self.judge(&failed))
            }
        }
    }

    fn committed(&mut self, sources: &[Source]) -> Result<Watermark, LedgerError> {
        let positions = &self.open()?.progress.positions;
        let found = sources.iter().filter_map(|source| {
            let kept = positions.get(source.as_str())?;
            Some((source.clone(), kept.position))
        });
        Ok(found.collect())
    }

    /// Lets go of sources that nobody has moved for long, a few at a time.
    fn tend(&mut self) -> Result<(), LedgerError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        open.producer.poll();
        if !expiry::is_due(&mut self.expired, Instant::now()) || !clock::synchronised() {
            return Ok(());
        }
        let Progress { positions, partitions, .. } = &mut open.progress;
        let expired = expiry::expired(positions, clock::now_micros() / 1000);
        if expired.is_empty() {
            return Ok(());
        }
        let gone: Vec<_> = expired
            .iter()
            .map(|source| (&**source, progress::partition(expiry::agent(source), *partitions), None))
            .collect();
        if let Err(failed) = open.producer.commit(&[], &gone) {
            self.open = None;
            return Err(self.judge(&failed));
        }
        for source in &expired {
            positions.remove(source);
        }
        tracing::info!(sources = expired.len(), "forgot how far sources were read that nobody moved for 400 days");
        Ok(())
    }
}

/// A name for this process as an owner: where it runs, and what no other has.
///
/// # Errors
/// If the system gives no random numbers.
pub fn owner_name() -> Result<String, getrandom::Error> {
    Ok(format!("relay {:016x} (process {})", getrandom::u64()?, std::process::id()))
}
