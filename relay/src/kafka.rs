//! The Kafka ledger: records and watermarks of a batch are one transaction.
//!
//! - The transactional id is made of the progress topic's name: whoever begins anew fences whoever was there before.
//! - A start begins with `init_transactions`, which ends what a former owner left open; then it commits that it owns the topic; only
//!   then are positions read, all of them, so that none moves any more. It owns the topic only if it finds its own name there.
//! - A mark moves by compare-and-set against these positions. Nobody else can move them.
//! - Everything is drained by hand before the commit: librdkafka's own flush waits in steps of 100 ms.
//! - After any error the producer is dropped, and what is true is read again.
//! - Fenced is who finds another owner's name in the topic. A coordinator that gave up on a transaction fences too, and leaves the
//!   name as it was: then this relay goes on.
//! - Who owned the topic once looks for the owner before it begins anew: it never takes the topic back from who took it over.
//! - Once the service stops, nothing is waited for but the commit under way, and that no longer than the intake does.
//!
//! On a cluster with fewer than three replicas an acknowledged record may be lost with a disk; [`topics`] says so.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use gaitway_kafka::KafkaConfig;
use gaitway_kafka::client::sentence_needing;
use gaitway_kafka::progress::{self, Kept, Progress, Reading};
use gaitway_kafka::rights::Right;
use gaitway_kafka::topics::{self, Finding, Weight, written_by_relay};
use gaitway_proto::ledger::{self, Ledger, LedgerError, Mark, Source, Watermark};
use gaitway_proto::record::Record;
use gaitway_service::clock;
use rdkafka::error::KafkaError;
use tokio_util::sync::CancellationToken;

mod expiry;
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
    stop: CancellationToken,
    open: Option<Open>,
    /// How often it has begun.
    begun: u64,
    /// It has been the owner.
    owned: bool,
    /// What was said of the topics.
    told: Vec<Finding>,
    /// When it was looked last for sources to forget.
    looked: Option<Instant>,
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
    /// A ledger that has to recover first. `name` tells this process from every other that ever owned the topics. Calls that
    /// wait for brokers end within seconds once `stop` is cancelled, as a service does that shuts down.
    pub fn new(config: KafkaConfig, name: impl Into<String>, stop: CancellationToken) -> Self {
        Self { config, name: name.into(), stop, open: None, begun: 0, owned: false, told: Vec::new(), looked: None }
    }

    fn prepare_topics(&mut self) -> Result<(), LedgerError> {
        let (created, findings) =
            topics::ensure(&self.config, CLIENT, written_by_relay, &self.stop).map_err(LedgerError::Unavailable)?;
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
        // Before anybody is fenced.
        self.check_owner()?;
        let producer =
            Producer::begin(&self.config, &self.stop).map_err(|failed| self.lost("begin transactions", &failed))?;
        // Nobody becomes the owner any more, and who did since is seen.
        self.check_owner()?;
        let config = self.config.clone();
        let stop = self.stop.clone();
        let reading = Reading::open(&config, CLIENT, &stop).map_err(LedgerError::Unavailable)?;
        self.begun += 1;
        let begun = format!("{}, {}", self.name, self.begun);
        let mut told = vec![(progress::OWNER, 0, Some(self.name.as_str()))];
        told.extend((0..reading.partitions()).map(|partition| (progress::BEGUN, partition, Some(begun.as_str()))));
        producer.commit(&[], &told).map_err(|failed| self.lost("become the owner", &failed))?;
        self.owned = true;
        let progress = reading.read(Some(&begun)).map_err(LedgerError::Unavailable)?;
        self.owns(progress.owner.as_deref())?;
        if progress.foreign > 0 {
            let (topic, records) = (&self.config.topics.progress, progress.foreign);
            tracing::warn!(topic, records, "records in the progress topic are no marks and are passed over");
        }
        Ok(Open { producer, progress })
    }

    /// Whether the topic is still this relay's, if it ever was. Who never owned it takes it over, whoever has it.
    fn check_owner(&self) -> Result<(), LedgerError> {
        if !self.owned {
            return Ok(());
        }
        match self.owner() {
            Ok(Some(owner)) if owner != self.name => Err(self.taken_by(&owner)),
            Ok(_) => Ok(()),
            Err(said) => Err(LedgerError::Unavailable(said)),
        }
    }

    fn owner(&self) -> Result<Option<String>, String> {
        Reading::open(&self.config, CLIENT, &self.stop)?.owner()
    }

    /// Whether the name that was found behind this relay's own is its own.
    fn owns(&self, owner: Option<&str>) -> Result<(), LedgerError> {
        match owner {
            Some(owner) if owner == self.name => Ok(()),
            Some(owner) => Err(self.taken_by(owner)),
            None => Err(LedgerError::Unavailable(format!(
                "the topic {} at Kafka {} does not show the owner that was committed to it",
                self.config.topics.progress, self.config.brokers
            ))),
        }
    }

    /// An error before this relay owned anything: whoever was faster is found out at the next try.
    fn lost(&self, doing: &str, failed: &Failed) -> LedgerError {
        LedgerError::Unavailable(self.said(doing, failed))
    }

    fn said(&self, doing: &str, failed: &Failed) -> String {
        match failed {
            Failed::Kafka(error, trouble) => {
                let (topics, id) = (&self.config.topics, transaction::transactional_id(&self.config));
                let [raw, activity, gaps, progress] =
                    [&topics.raw, &topics.activity, &topics.gaps, &topics.progress].map(|topic| Right::Write(topic));
                let needed = [raw, activity, gaps, progress, Right::Transactions(&id)];
                sentence_needing(&self.config, doing, &needed, error, trouble)
            }
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
        while begun.elapsed() < OWNER_WITHIN && !self.stop.is_cancelled() {
            match self.owner() {
                Ok(Some(owner)) if owner != self.name => return self.taken_by(&owner),
                // It may come yet; brokers that are away may as well.
                Ok(_) | Err(_) => std::thread::sleep(Duration::from_millis(250)),
            }
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
        let now = Instant::now();
        if !expiry::is_due(self.looked, now) || !clock::synchronised() {
            return Ok(());
        }
        let Progress { positions, elsewhere, partitions, .. } = &mut open.progress;
        let expired = expiry::expired(positions, clock::now_micros() / 1000);
        self.looked = expiry::looked(expired.len(), now);
        if expired.is_empty() {
            return Ok(());
        }
        let places = |source| {
            let home = progress::partition(progress::agent_of(source), *partitions);
            elsewhere.get(source).into_iter().flatten().copied().chain([home])
        };
        let gone: Vec<_> = expired
            .iter()
            .flat_map(|source| places(&**source).map(move |partition| (&**source, partition, None)))
            .collect();
        if let Err(failed) = open.producer.commit(&[], &gone) {
            self.open = None;
            return Err(self.judge(&failed));
        }
        for source in &expired {
            positions.remove(source);
            elsewhere.remove(source);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_who_finds_its_own_name() {
        let ledger = KafkaLedger::new(KafkaConfig::default(), "one", CancellationToken::new());
        assert!(ledger.owns(Some("one")).is_ok());
        assert!(matches!(ledger.owns(Some("two")), Err(LedgerError::Fenced(who)) if who.contains("two")));
        assert!(matches!(ledger.owns(None), Err(LedgerError::Unavailable(_))));
    }
}
