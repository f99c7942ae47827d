//! The thread of one partition: asks its machine what is to be done, and does it.
//!
//! - It holds at most one submit's records, and those only while it reads.
//! - It ends within a poll of being asked, once the submit under way has its outcome.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use gaitway_proto::ledger::{Ledger, LedgerError, Mark, Source};
use gaitway_proto::schema::Table;
use gaitway_proto::topic::AgentId;
use gaitway_service::clock;
use tokio_util::sync::CancellationToken;

use super::board::{Board, Standing, Which};
use super::budget::{Budget, Claim};
use super::dead_letter::DeadLetters;
use super::metrics::Of;
use super::reader::{Read, Reader};
use super::taken::{self, Taken};
use crate::ledgers::Ledgers;
use crate::partition::{Batch, Effect, Found, Limits, Machine, Print};

/// Longest wait for a record: so soon a worker hears that it is to end.
const POLL: Duration = Duration::from_millis(100);

/// How often the ledger keeps house.
const TEND_EVERY: Duration = Duration::from_secs(1);

/// How often the end of a partition that is not read is asked for.
const MEASURE_EVERY: Duration = Duration::from_secs(10);

/// So many records are taken before anything else is looked at.
const BURST: usize = 256;

/// Characters of a dead letter's reason in the log; its header has more.
const MOST_OF_REASON: usize = 200;

/// Asks a worker to end, and its ledger to let go of the partition. Clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Stopper {
    asked: Arc<(Mutex<bool>, Condvar)>,
    let_go: CancellationToken,
}

impl Stopper {
    pub(super) fn stop(&self) {
        *self.asked.0.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.asked.1.notify_all();
        self.let_go.cancel();
    }

    fn is_stopped(&self) -> bool {
        *self.asked.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait(&self, long: Duration) {
        let asked = self.asked.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.asked.1.wait_timeout_while(asked, long, |asked| !*asked));
    }
}

/// What all workers share.
#[derive(Clone)]
pub(super) struct Shop {
    pub ledgers: Arc<dyn Ledgers>,
    pub letters: DeadLetters,
    pub board: Arc<Board>,
    pub budget: Budget,
    pub limits: Limits,
    pub adopt: bool,
    pub memories: Memories,
}

/// What the warehouse held of a partition when that was last known here, and the record there: for the partition's next
/// worker.
pub(super) type Memories = Arc<Mutex<BTreeMap<Which, (u64, Print)>>>;

/// See the module.
pub(super) struct Worker {
    shop: Shop,
    table: &'static Table,
    which: Which,
    source: Source,
    machine: Machine<Taken>,
    reader: Reader,
    /// None before the first recovery.
    ledger: Option<Box<dyn Ledger>>,
    claim: Claim,
    agent: Option<AgentId>,
    tended: Instant,
    measured: Instant,
    /// The first offset that may not be stored, as far as that was seen.
    next: Option<i64>,
    stopper: Stopper,
    stopped: bool,
    /// All letters about records up to this offset are written.
    lettered: i64,
}

impl Worker {
    /// The worker of `which`, which feeds `table`. `seed`: any number.
    pub(super) fn new(
        shop: Shop,
        table: &'static Table,
        which: Which,
        reader: Reader,
        stopper: Stopper,
        seed: u64,
    ) -> Self {
        shop.board.set(&which, Standing::Opening);
        let memory = shop.memories.lock().unwrap_or_else(PoisonError::into_inner).get(&which).copied();
        Self {
            machine: Machine::new(shop.limits, shop.adopt, seed, memory),
            claim: shop.budget.claim(),
            source: Source::partition(&which.0, which.1),
            shop,
            table,
            which,
            reader,
            ledger: None,
            agent: None,
            tended: Instant::now(),
            measured: Instant::now(),
            next: None,
            stopper,
            stopped: false,
            lettered: -1,
        }
    }

    /// Works until it is stopped.
    pub(super) fn run(mut self) {
        while !self.stopper.is_stopped() {
            let now = Instant::now();
            if let Some(effect) = self.machine.poll_effect(now) {
                self.perform(effect);
                self.show();
            } else if self.machine.is_reading() {
                self.tend(now);
                self.read(now);
            } else {
                self.show();
                self.measure_unread(now);
                let until = self.machine.poll_timeout().map_or(POLL, |until| until.saturating_duration_since(now));
                self.stopper.wait(until.max(Duration::from_millis(1)));
            }
        }
        if let Some(memory) = self.machine.memory() {
            self.shop.memories.lock().unwrap_or_else(PoisonError::into_inner).insert(self.which.clone(), memory);
        }
    }

    fn show(&mut self) {
        if self.stopped || self.stopper.is_stopped() {
            return;
        }
        let standing = match self.machine.trouble(Instant::now()) {
            Some(why) => Standing::Waiting(why.to_owned()),
            None if self.machine.is_reading() => Standing::Moving,
            None => Standing::Opening,
        };
        self.shop.board.set(&self.which, standing);
        if !self.machine.is_reading() {
            self.reader.stop();
            self.claim.clear();
        }
    }

    fn perform(&mut self, effect: Effect<Taken>) {
        match effect {
            Effect::Recover => {
                let outcome = self.recover();
                self.machine.handle_recovered(Instant::now(), self.counted(outcome));
            }
            Effect::Ask => {
                let before = self.machine.token();
                let outcome = self.committed();
                if let (Ok(found), false) = (&outcome, self.machine.is_reading()) {
                    self.next = found.position.and_then(|token| i64::try_from(token).ok()?.checked_add(1));
                }
                if outcome.as_ref().is_ok_and(|found| self.machine.is_reading() && found.position > before) {
                    self.shop.board.metrics.committed_at.set(clock::now_micros() / 1_000_000);
                }
                self.machine.handle_committed(Instant::now(), self.counted(outcome));
            }
            Effect::Survey => {
                let outcome = self.reader.survey();
                if let Ok(survey) = &outcome {
                    self.measured = Instant::now();
                    self.next = self.next.or(Some(survey.low));
                    self.show_lag(survey.high);
                }
                self.machine.handle_survey(Instant::now(), outcome);
            }
            Effect::Adopt(token) => {
                let outcome = self.begin_at(token);
                self.machine.handle_adopted(Instant::now(), self.counted(outcome));
            }
            Effect::Start(at) => {
                self.claim.clear();
                self.stopped = false;
                let (topic, partition) = &self.which;
                tracing::info!(topic, partition, offset = at, "reading");
                if let Err(why) = self.reader.start(at) {
                    self.machine.handle_unreadable(Instant::now(), why);
                }
            }
            Effect::Submit(batch) => {
                let outcome = self.submit(&batch);
                let weight = batch.records.iter().map(Taken::weight).sum();
                drop(batch);
                self.claim.give_back(weight);
                self.machine.handle_submitted(Instant::now(), self.counted(outcome));
            }
            Effect::Commit(hint) => {
                self.shop.board.hint(&self.which, hint);
                self.measure();
            }
            Effect::Stop(stop) => {
                self.stopped = true;
                self.reader.stop();
                self.claim.clear();
                let (topic, partition) = &self.which;
                tracing::error!(topic, partition, reason = stop.reason(), "partition stopped: {stop}");
                self.shop.board.set(&self.which, Standing::Stopped(stop.to_string()));
            }
        }
    }

    fn counted<T>(&self, outcome: Result<T, LedgerError>) -> Result<T, LedgerError> {
        if outcome.is_err() {
            self.shop.board.metrics.ledger_errors.inc();
        }
        outcome
    }

    fn recover(&mut self) -> Result<(), LedgerError> {
        let (topic, partition) = (&self.which.0, self.which.1);
        let ledger = match &mut self.ledger {
            Some(ledger) => ledger,
            none => none.insert(self.shop.ledgers.open(self.table, topic, partition, &self.stopper.let_go)?),
        };
        ledger.recover()
    }

    fn committed(&mut self) -> Result<Found, LedgerError> {
        let Self { ledger, source, machine, .. } = self;
        let ledger = ledger.as_mut().ok_or_else(not_open)?;
        let position = ledger.committed(std::slice::from_ref(source))?.get(source).copied();
        let marked_at = if machine.is_reading() { None } else { ledger.marked_at(source)? };
        Ok(Found { position, kept: ledger.kept(source, position), marked_at: marked_at.map(|micros| micros / 1_000) })
    }

    fn begin_at(&mut self, token: u64) -> Result<(), LedgerError> {
        let (topic, partition) = &self.which;
        tracing::info!(
            topic,
            partition,
            offset = token,
            "the group's offset is adopted: records up to here are stored"
        );
        self.ledger.as_mut().ok_or_else(not_open)?.begin_at(&self.source, token)
    }

    fn submit(&mut self, batch: &Batch<Taken>) -> Result<(), LedgerError> {
        let Self { shop, table, which, source, ledger, lettered, .. } = self;
        let (topic, partition) = &*which;
        let ledger = ledger.as_mut().ok_or_else(not_open)?;
        let (letters, metrics, begun) = (&shop.letters, &shop.board.metrics, Instant::now());
        let marks = [Mark { source: source.clone(), from: batch.from, to: batch.to }];
        taken::sorted(table, (topic, *partition), &batch.records, &mut **ledger, |ledger, records, refused| {
            // Before the mark passes them; once, however often the warehouse is tried.
            let unwritten = refused.partition_point(|(taken, _)| taken.offset <= *lettered);
            let unwritten = &refused[unwritten..];
            letters.write(topic, *partition, unwritten).map_err(LedgerError::Unavailable)?;
            if let Some((taken, why)) = unwritten.last() {
                let reason = why.said().chars().take(MOST_OF_REASON).collect();
                shop.board.set_aside(which, unwritten.len(), taken.offset, reason);
            }
            *lettered = refused.last().map_or(*lettered, |(taken, _)| taken.offset.max(*lettered));
            ledger.submit(records, &marks)?;
            for (_, why) in refused {
                metrics.dead_letters.get_or_create(&[("reason", why.kind())]).inc();
            }
            metrics.rows.inc_by(records.len() as u64);
            Ok(())
        })?;
        metrics.batches.inc();
        metrics.bytes.inc_by(batch.records.iter().map(Taken::bytes).sum::<usize>() as u64);
        metrics.submit_seconds.observe(begun.elapsed().as_secs_f64());
        Ok(())
    }

    fn tend(&mut self, now: Instant) {
        if now.saturating_duration_since(self.tended) < TEND_EVERY {
            return;
        }
        self.tended = now;
        self.measure();
        if let Some(Err(error)) = self.ledger.as_mut().map(|ledger| ledger.tend()) {
            self.shop.board.metrics.ledger_errors.inc();
            self.machine.handle_failed(now, error);
        }
        self.show();
    }

    fn measure(&mut self) {
        if let Some(next) = self.machine.next_unstored() {
            self.next = Some(next);
            if let Some(end) = self.reader.end() {
                self.show_lag(end);
            }
        }
    }

    /// The client knows the ends only of what it reads. Whoever watches the lag is to see one that stands still.
    fn measure_unread(&mut self, now: Instant) {
        if self.next.is_none() || now.saturating_duration_since(self.measured) < MEASURE_EVERY {
            return;
        }
        if let Ok((_, end)) = self.reader.ends() {
            self.show_lag(end);
        }
        self.measured = Instant::now();
    }

    fn show_lag(&self, end: i64) {
        if let (Some(next), false) = (self.next, self.stopper.is_stopped()) {
            let (topic, partition) = self.which.clone();
            self.shop.board.metrics.lag.get_or_create(&Of { topic, partition }).set(end.saturating_sub(next).max(0));
        }
    }

    /// Takes what is there, or waits for it.
    fn read(&mut self, now: Instant) {
        let until = self.machine.poll_timeout().map_or(POLL, |until| until.saturating_duration_since(now)).min(POLL);
        if !self.machine.wants_records() {
            return self.stopper.wait(until.max(Duration::from_millis(1)));
        }
        if !self.claim.has_room() {
            // What is here goes first; else others hold the memory.
            if !self.machine.press() {
                self.stopper.wait(Duration::from_millis(5));
            }
            return;
        }
        let (mut long, mut now) = (until, None);
        for _ in 0..BURST {
            match self.reader.poll(long) {
                Read::Record(message) => {
                    let now = *now.get_or_insert_with(Instant::now);
                    let taken = Taken::copy(&message, &mut self.agent);
                    let (offset, bytes, weight, print) = (taken.offset, taken.bytes(), taken.weight(), taken.print());
                    drop(message);
                    if self.machine.handle_record(now, offset, bytes, print, taken) {
                        self.claim.add(weight);
                    }
                }
                Read::End(next) => self.machine.handle_end(next),
                Read::Broken(why) => self.machine.handle_unreadable(Instant::now(), why),
                Read::Damaged(why) => self.machine.handle_damaged(Instant::now(), why),
                Read::Nothing => return,
            }
            if !self.machine.wants_records() || !self.claim.has_room() {
                return;
            }
            long = Duration::ZERO;
        }
    }
}

/// Nothing is asked of a ledger before its first recovery.
fn not_open() -> LedgerError {
    LedgerError::Unavailable("the warehouse is not open".to_owned())
}
