//! The workers: one a partition, each on a thread of its own.
//!
//! - A partition has one worker at a time: one that is given back to us before its former worker has ended waits for that.
//! - A worker that panics ends the sink.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use gaitway_kafka::KafkaConfig;

use super::board::Which;
use super::reader::Source;
use super::submitter::Submitter;
use super::worker::{Shop, Stopper, Worker};
use crate::partition::Hint;

/// See the module.
pub(super) struct Crew {
    config: Arc<KafkaConfig>,
    shop: Shop,
    /// What is ours, with the worker once there is one.
    ours: BTreeMap<Which, Option<Hand>>,
    /// Workers that were asked to end.
    leaving: Vec<(Which, Hand)>,
}

struct Hand {
    stopper: Stopper,
    thread: JoinHandle<()>,
}

impl Crew {
    pub(super) fn new(config: Arc<KafkaConfig>, shop: Shop) -> Self {
        Self { config, shop, ours: BTreeMap::new(), leaving: Vec::new() }
    }

    /// `which` are ours now.
    pub(super) fn hire(&mut self, which: Vec<Which>) {
        for which in which {
            self.ours.entry(which).or_default();
        }
    }

    /// Starts the workers that are due. The error is a sentence.
    pub(super) fn start(&mut self, source: &Source) -> Result<(), String> {
        let Self { config, shop, ours, leaving } = self;
        for (which, hand) in ours.iter_mut().filter(|(_, hand)| hand.is_none()) {
            if leaving.iter().any(|(left, _)| left == which) {
                continue;
            }
            let (topic, partition) = which;
            let Some(table) = config.topics.table(topic) else { continue };
            let (stopper, seed) = (Stopper::default(), getrandom::u64().unwrap_or_default());
            let reader = source.reader(topic, *partition)?;
            let cannot = |error| format!("cannot start a thread for {topic}/{partition}: {error}");
            let submitter = Submitter::start(shop.clone(), table, which.clone()).map_err(cannot)?;
            let worker = Worker::new(shop.clone(), table, which.clone(), reader, submitter, stopper.clone(), seed);
            let thread = std::thread::Builder::new()
                .name(format!("{topic}/{partition}"))
                .spawn(move || worker.run())
                .map_err(cannot)?;
            *hand = Some(Hand { stopper, thread });
        }
        Ok(())
    }

    /// `which` are another's: their workers are asked to end, and may take `long`. Gives what the group was not told of them.
    pub(super) fn dismiss(&mut self, which: &[Which], long: Duration) -> BTreeMap<Which, Hint> {
        for which in which {
            if let Some(Some(hand)) = self.ours.remove(which) {
                hand.stopper.stop();
                self.leaving.push((which.clone(), hand));
            }
        }
        let end = Instant::now() + long;
        while self.leaving.iter().any(|(left, hand)| which.contains(left) && !hand.thread.is_finished()) {
            if Instant::now() >= end {
                for (left, _) in self.leaving.iter().filter(|(_, hand)| !hand.thread.is_finished()) {
                    tracing::warn!(
                        topic = left.0,
                        partition = left.1,
                        "a submit is still under way, it is left to the warehouse"
                    );
                }
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let hints = self.shop.board.take_hints(|hinted| which.contains(hinted));
        for which in which {
            self.shop.board.remove(which);
        }
        hints
    }

    /// All that is ours.
    pub(super) fn all(&self) -> Vec<Which> {
        self.ours.keys().cloned().collect()
    }

    /// Lets go of workers that have ended. The error names one that panicked.
    pub(super) fn reap(&mut self) -> Result<(), String> {
        let ended = |hand: &Hand| hand.thread.is_finished();
        let mut done: Vec<(Which, Hand)> = self.leaving.extract_if(.., |(_, hand)| ended(hand)).collect();
        for (which, _) in done.iter().filter(|(which, _)| !self.ours.contains_key(which)) {
            self.shop.board.remove(which);
        }
        for (which, hand) in &mut self.ours {
            if hand.as_ref().is_some_and(ended) {
                done.extend(hand.take().map(|hand| (which.clone(), hand)));
            }
        }
        for ((topic, partition), hand) in done {
            if let Err(panic) = hand.thread.join() {
                let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                return Err(format!("the worker of {topic}/{partition} panicked: {text}"));
            }
        }
        Ok(())
    }
}
